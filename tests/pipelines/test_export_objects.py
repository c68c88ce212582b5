"""DICOM objects of a case, judged by validators of others and read back by others."""

from dataclasses import dataclass, replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.sr._concepts_dict import concepts

from cases.dicom_validators import (
    dciodvfy_errors,
    dcmqi_report,
    dcmqi_segments,
    sr_tree,
)
from cases.export_cases import (
    CEMENT,
    IDENTITY,
    L2,
    L3,
    CasePlan,
    make_case,
    make_report,
    material_labels,
    vertebra_labels,
)
from cases.sr_groups import codes_of, groups_of, numbers_of, tracking_uids
from cemscope.anatomy import CRANIOCAUDAL_ORDER
from cemscope.dicom.objects import terms as standard_terms
from cemscope.dicom.objects.segmentation_object import SegmentationEncoding
from cemscope.dicom.objects.terms import PRIVATE_SCHEME, Term, vertebra_term
from cemscope.dicom.seg import read_segmentation
from cemscope.errors import EvidenceError
from cemscope_pipelines.export import finding_groups, private_terms
from cemscope_pipelines.export.case_objects import ObjectChoice
from cemscope_pipelines.export.export_case import ExportJob, export_case
from cemscope_pipelines.report import NotAssessedEntry

EVERYTHING = ObjectChoice(pdf=True, pictures=True, key_objects=True)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_case(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def exported(case: Path) -> Path:
    target = case.parent / "objects"
    export_case(ExportJob(case, target, choice=EVERYTHING))
    return target


def test_no_validator_finds_an_error(exported: Path) -> None:
    files = sorted(exported.glob("*.dcm"))
    assert {path.name for path in files} == {
        "seg_vertebrae.dcm", "seg_materials.dcm", "report_sr.dcm", "report_pdf.dcm",
        "key_image_1.dcm", "key_image_2.dcm", "leak_slices_ko.dcm",
    }  # fmt: skip
    assert {path.name: dciodvfy_errors(path) for path in files} == {
        path.name: [] for path in files
    }


def test_dsrdump_prints_the_tree(exported: Path) -> None:
    tree = sr_tree(exported / "report_sr.dcm")
    assert "Comprehensive 3D SR Document" in tree
    for words in ("UNVERIFIED", "PRELIMINARY", "COMPLETE", '"L3-1 leak"', '"0.871"'):
        assert words in tree


def test_every_code_is_in_the_dictionaries_or_private() -> None:
    found = [
        value
        for module in (standard_terms, private_terms, finding_groups)
        for value in vars(module).values()
        if isinstance(value, Term)
    ]
    found += [vertebra_term(level) for level in CRANIOCAUDAL_ORDER]
    found += [
        term
        for table in (private_terms.LEAK_PLACES, private_terms.CERTAINTIES)
        for term in table.values()
    ]
    for term in found:
        if term.scheme in ("SCT", "DCM"):
            known = {
                code: meaning
                for by_code in concepts[term.scheme].values()
                for code, (meaning, _) in by_code.items()
            }
            assert term.value in known, term
        else:
            assert term.scheme in (PRIVATE_SCHEME, "UCUM", "LN"), term


def test_the_private_scheme_is_identified(exported: Path) -> None:
    for name in ("seg_materials.dcm", "report_sr.dcm"):
        items = pydicom.dcmread(exported / name).CodingSchemeIdentificationSequence
        assert [i.CodingSchemeDesignator for i in items] == [PRIVATE_SCHEME]
        assert pydicom.uid.UID(items[0].CodingSchemeUID).is_valid


def test_the_report_tells_what_report_json_tells(exported: Path) -> None:
    report = make_report(IDENTITY)
    groups = groups_of(exported / "report_sr.dcm")
    for vertebra in report.vertebrae:
        cement = vertebra.cement
        assert not isinstance(cement, NotAssessedEntry)
        assert numbers_of(groups[f"{vertebra.level} cement"]) == {
            "118565006": cement.volume_ml,
            "CEMVOLLOW": cement.interval_ml[0],
            "CEMVOLHIGH": cement.interval_ml[1],
            "CEMVOLBODY": cement.intrabody_ml,
            "CEMVOLLEAKED": cement.leaked_ml,
            "CEMVOLTHRESH": cement.threshold_volume_ml,
            "FILLRATIO": cement.fill_ratio,
            "BODYVOL": vertebra.body_volume_ml,
            "LEVELCONF": vertebra.level_confidence,
        }
    leak = groups["L3-1 leak"]
    assert numbers_of(leak) == {
        "118565006": 0.064, "LEAKDIST": 4.13, "CANALSHARE": 12.4
    }  # fmt: skip
    assert {
        ("LEAKTYPE", "LEAK-B"), ("LEAKCERT", "DEFINITE"), ("LEAKPLACE", "61853006")
    } <= codes_of(leak)  # fmt: skip
    texts = [i.TextValue for i in leak.ContentSequence if i.ValueType == "TEXT"]
    assert report.vertebrae[0].leaks[0].evidence.sentence in texts
    screw = groups["L3-left screw"]
    assert numbers_of(screw) == {
        "81827009": 5.53, "410668003": 30.0, "SCREWCEM": 0.31
    }  # fmt: skip
    assert ("112084", "114007") in codes_of(screw)


@pytest.mark.parametrize("encoding", list(SegmentationEncoding))
def test_segments_come_back_voxel_by_voxel(
    case: Path, tmp_path: Path, encoding: SegmentationEncoding
) -> None:
    export_case(ExportJob(case, tmp_path / "out", choice=ObjectChoice(encoding)))
    materials = material_labels()
    owner = vertebra_labels()
    expected = {
        "Cement in L3": (materials == CEMENT) & (owner == L3),
        "Cement in L2": (materials == CEMENT) & (owner == L2),
        "Cement leak L3-1": materials == 2,
        "Screw L3-left": materials == 3,
        "Rods and other metal": materials == 4,
    }
    path = tmp_path / "out" / "seg_materials.dcm"
    for label, image in dcmqi_segments(path, tmp_path / "dcmqi").items():
        found = np.zeros(materials.shape, bool)
        array = sitk.GetArrayFromImage(image)
        # dcmqi keeps the slices that hold segments only
        start = round((image.GetOrigin()[2] + 10.0) / 2.0)
        found[start : start + array.shape[0]] = array > 0
        assert np.array_equal(found, expected.pop(label)), label
    assert not expected
    read = hd.seg.segread(path)
    tracked = {d.tracking_id for d in map(read.get_segment_description, [1, 2])}
    assert tracked == {"L2 cement", "L3 cement"}


def test_vertebrae_are_read_back_by_our_own_reader(exported: Path) -> None:
    labels = read_segmentation(exported / "seg_vertebrae.dcm")
    assert set(labels.names.values()) == {"L2", "L3", "L3 arch"}
    cropped = vertebra_labels()[2:22]
    assert np.array_equal(labels.labels, cropped)


def test_dcmqi_reads_the_report(exported: Path, tmp_path: Path) -> None:
    found = dcmqi_report(exported / "report_sr.dcm", tmp_path)
    assert found["VerificationFlag"] == "UNVERIFIED"
    measured = {m["TrackingIdentifier"]: m for m in found["Measurements"]}
    assert set(measured) == {
        "whole scan cement", "L2 cement", "L3 cement", "L3-1 leak", "L3-left screw",
    }  # fmt: skip
    volumes = {
        name: float(one["measurementItems"][0]["value"])
        for name, one in measured.items()
        if one["measurementItems"][0]["quantity"]["CodeValue"] == "118565006"
    }
    assert volumes == {
        "whole scan cement": 1.35, "L2 cement": 0.479, "L3 cement": 0.871,
        "L3-1 leak": 0.064,
    }  # fmt: skip
    types = {
        one["conceptValue"]["CodeValue"]
        for one in measured["L3-1 leak"]["qualitativeEvaluations"]
        if one["conceptCode"]["CodeValue"] == "LEAKTYPE"
    }
    assert types == {"LEAK-B"}


def test_objects_refer_to_the_slices_and_to_each_other(exported: Path) -> None:
    seg = pydicom.dcmread(exported / "seg_materials.dcm")
    slices = {IDENTITY.sop_instance_uid(i) for i in range(24)}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        index = round((float(position[2]) + 10.0) / 2.0)
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == IDENTITY.sop_instance_uid(index)
    report = pydicom.dcmread(exported / "report_sr.dcm")
    evidence = {
        item.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert slices | {seg.SOPInstanceUID} <= evidence
    leaks = pydicom.dcmread(exported / "leak_slices_ko.dcm")
    chosen = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in leaks.ContentSequence
        if item.ValueType == "IMAGE"
    ]
    assert len(chosen) == 1
    assert chosen[0] in {IDENTITY.sop_instance_uid(5), IDENTITY.sop_instance_uid(6)}


def test_the_same_case_gives_the_same_bytes(case: Path, exported: Path) -> None:
    again = case.parent / "again"
    export_case(ExportJob(case, again, choice=EVERYTHING))
    assert {p.name: p.read_bytes() for p in exported.iterdir()} == {
        p.name: p.read_bytes() for p in again.iterdir()
    }


def test_tracking_lasts_over_studies_but_not_over_patients(
    exported: Path, tmp_path: Path
) -> None:
    later = replace(IDENTITY, study_key="later", study_date="20270102")
    other = replace(IDENTITY, patient_id="EXPORT-2")
    first = tracking_uids(exported / "report_sr.dcm")
    uids = {}
    for name, identity in (("later", later), ("other", other)):
        folder = make_case(tmp_path / name, CasePlan(identity))
        export_case(ExportJob(folder, tmp_path / f"{name}-out"))
        uids[name] = tracking_uids(tmp_path / f"{name}-out" / "report_sr.dcm")
    lasting = {"L3 cement", "L2 cement", "L3-left screw"}
    for name in lasting:
        assert uids["later"][name] == first[name] != uids["other"][name]
    # leaks are numbered anew in each scan: the same number is not the same leak
    assert uids["later"]["L3-1 leak"] != first["L3-1 leak"]


@dataclass(frozen=True)
class WrongSeries:
    name: str
    identity_changes: dict[str, str]
    says: str


WRONG_SERIES = (
    WrongSeries("another series", {"series_key": "other"}, "other series"),
    WrongSeries("another study", {"study_key": "other"}, "other series"),
    WrongSeries("another patient", {"patient_id": "EXPORT-9"}, "other series"),
)


@pytest.mark.parametrize("wrong", WRONG_SERIES, ids=lambda w: w.name)
def test_another_series_is_refused(
    case: Path, tmp_path: Path, wrong: WrongSeries
) -> None:
    make_case(tmp_path, CasePlan(replace(IDENTITY, **wrong.identity_changes)))
    job = ExportJob(case, tmp_path / "out", series=tmp_path / "ct")
    with pytest.raises(EvidenceError, match=wrong.says):
        export_case(job)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("keyword", "value", "says"),
    [
        ("PatientID", "SOMEONE-ELSE", "different patient ids"),
        ("StudyInstanceUID", "1.2.3", "another study"),
        ("FrameOfReferenceUID", "1.2.3.4", "another frame of reference"),
        ("SOPInstanceUID", "1.2.3.5", "23 of 24 slices are the same"),
    ],
)
def test_a_changed_header_is_refused(
    case: Path, tmp_path: Path, keyword: str, value: str, says: str
) -> None:
    make_case(tmp_path)
    changed = sorted((tmp_path / "ct").iterdir())
    if keyword in ("PatientID", "SOPInstanceUID"):
        changed = changed[3:4]
    for path in changed:
        dataset = pydicom.dcmread(path)
        setattr(dataset, keyword, value)
        dataset.save_as(path)
    job = ExportJob(case, tmp_path / "out", series=tmp_path / "ct")
    with pytest.raises(EvidenceError, match=says) as raised:
        export_case(job)
    assert "SOMEONE-ELSE" not in str(raised.value)
