"""Nothing that names a patient or a reader leaves for research."""

import gzip
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from cases.dicom_validators import dciodvfy_errors
from cases.export_cases import (
    IDENTITY,
    CasePlan,
    draw_nothing,
    make_case,
    note_patient,
)
from cases.lucent_screws import with_followup
from cemscope.dicom.objects.deidentified_source import ResearchKey
from cemscope.errors import ConfigError
from cemscope_pipelines.cli.main import main
from cemscope_pipelines.export.case_objects import ObjectChoice
from cemscope_pipelines.export.research import (
    ResearchJob,
    export_for_research,
    load_research_key,
)
from cemscope_pipelines.signing.sign_case import SigningJob, sign_case

MARK = "CANARY"
KEY = ResearchKey(b"a secret of one project")
OTHER_KEY = ResearchKey(b"a secret of another one")

IDENTIFYING = {
    "LO": f"{MARK}", "SH": f"{MARK}", "PN": f"{MARK}^{MARK}", "LT": MARK, "ST": MARK,
    "UT": MARK, "UC": MARK, "AE": MARK, "DS": "7.654321", "IS": "7654321",
}  # fmt: skip
IDENTITY_DATES = "19470718"
KEEP = {
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "ImageType", "Modality", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "Rows", "Columns",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "WindowCenter", "WindowWidth",
    "PhotometricInterpretation", "PatientPosition", "InstanceNumber", "PixelData",
    "KVP", "ConvolutionKernel", "PatientSex", "SpecificCharacterSet",
    "AcquisitionNumber", "SeriesNumber", "Manufacturer",
}  # fmt: skip
EXTRA_TAGS = (
    "OtherPatientNames", "PatientAddress", "PatientComments", "InstitutionName",
    "InstitutionAddress", "PerformingPhysicianName", "OperatorsName", "StationName",
    "PhysiciansOfRecord", "RequestingPhysician", "DeviceSerialNumber", "ProtocolName",
    "SeriesDescription", "StudyDescription", "AccessionNumber", "StudyID",
    "PatientBirthName", "MilitaryRank", "EthnicGroup", "Occupation", "ImageComments",
    "RequestedProcedureDescription", "InstitutionalDepartmentName",
)  # fmt: skip


def mark_headers(folder: Path) -> None:
    """Put the marker into every element that can hold one."""
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        for keyword in EXTRA_TAGS:
            setattr(dataset, keyword, MARK)
        for element in dataset:
            if element.keyword in KEEP:
                continue
            if element.VR == "DA":
                element.value = IDENTITY_DATES
            elif element.VR in IDENTIFYING:
                element.value = IDENTIFYING[element.VR]
        dataset.PatientID = f"{MARK}-ID"
        dataset.IssuerOfPatientID = MARK
        block = dataset.private_block(0x0011, MARK, create=True)
        block.add_new(0x01, "LO", MARK)
        dataset.save_as(path)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed case whose headers, review and signature are full of markers."""
    root = tmp_path_factory.mktemp(MARK)
    decisions = {
        "L3": ("modified", f"{MARK} told me"), "L3-1": ("rejected", f"{MARK} again"),
    }  # fmt: skip
    identity = replace(IDENTITY, patient_id=f"{MARK}-ID")
    plan = CasePlan(identity, reviewed=True, decisions=decisions, change=with_followup)
    folder = make_case(root, plan)
    mark_headers(root / "ct")
    note_patient(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cemscope_pipelines.export.case_objects.draw_case", draw_nothing)
        sign_case(SigningJob(folder, f"{MARK}^{MARK}", MARK))
    return folder


def export(case: Path, target: Path, **changes: object) -> Path:
    job = ResearchJob(case, target, None, KEY, ObjectChoice())
    export_for_research(replace(job, **changes))  # type: ignore[arg-type]
    return target


@pytest.fixture(scope="module")
def exported(case: Path) -> Path:
    return export(case, case.parent / "research")


def all_bytes(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in folder.iterdir():
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content) + content[:64]
        found[path.name] = content + path.name.encode()
    return found


def test_no_output_byte_names_anybody(case: Path, exported: Path) -> None:
    source = pydicom.dcmread(next((case.parent / "ct").iterdir()))
    uids = [
        str(source.StudyInstanceUID), str(source.SeriesInstanceUID),
        str(source.SOPInstanceUID), str(source.FrameOfReferenceUID),
        IDENTITY.study_date, IDENTITY_DATES, "1.2.3.44", "20250311", "2025-03-11",
    ]  # fmt: skip
    forbidden = [MARK, MARK.title(), MARK.lower(), "7.654321", "7654321", *uids]
    files = all_bytes(exported)
    assert len(files) == 9
    for name, content in files.items():
        for words in forbidden:
            assert words.encode() not in content, (name, words)
            assert words.encode("utf-16-le") not in content, (name, words)


def test_the_canary_would_be_heard(case: Path) -> None:
    """The clinical objects of the same case do sing."""
    files = all_bytes(case / "signed" / "v1")
    for name in ("seg_materials.dcm", "report_sr.dcm", "report_pdf.dcm"):
        assert MARK.encode() in files[name]


def test_objects_say_how_they_were_freed(exported: Path) -> None:
    for path in exported.glob("*.dcm"):
        assert dciodvfy_errors(path) == []
        dataset = pydicom.dcmread(path)
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.LongitudinalTemporalInformationModified == "REMOVED"
        codes = [i.CodeValue for i in dataset.DeidentificationMethodCodeSequence]
        assert codes == ["113100", "113104"]
        assert re.fullmatch(r"P-[0-9a-f]{12}", dataset.PatientID)
        assert dataset.PatientBirthDate == dataset.StudyDate == ""
        assert not [e for e in dataset.iterall() if e.tag.is_private]
    report = pydicom.dcmread(exported / "report_sr.dcm")
    assert report.VerificationFlag == "UNVERIFIED"
    assert "VerifyingObserverSequence" not in report


def references(dataset: pydicom.Dataset) -> set[str]:
    return {
        str(element.value)
        for element in dataset.iterall()
        if element.keyword == "ReferencedSOPInstanceUID"
    }


def test_references_hold_together(case: Path, exported: Path) -> None:
    report = pydicom.dcmread(exported / "report_sr.dcm")
    segs = [pydicom.dcmread(p) for p in exported.glob("seg_*.dcm")]
    slices = {
        KEY.uid(str(pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID))
        for p in (case.parent / "ct").iterdir()
    }
    known = slices | {str(seg.SOPInstanceUID) for seg in segs}
    assert references(report) == known
    for seg in segs:
        assert references(seg) <= slices
    assert len({d.StudyInstanceUID for d in [report, *segs]}) == 1


def test_one_key_keeps_together_what_another_key_parts(
    case: Path, exported: Path, tmp_path: Path
) -> None:
    again = export(case, tmp_path / "again")
    assert all_bytes(again) == all_bytes(exported)
    other = export(case, tmp_path / "other", key=OTHER_KEY)
    for name in ("report_sr.dcm", "seg_materials.dcm"):
        mine, theirs = (pydicom.dcmread(f / name) for f in (exported, other))
        for keyword in ("PatientID", "StudyInstanceUID", "SOPInstanceUID"):
            assert mine[keyword].value != theirs[keyword].value
    tracking = [
        {str(e.value) for e in pydicom.dcmread(f / "report_sr.dcm").iterall()
         if e.keyword == "UID"}
        for f in (exported, other)
    ]  # fmt: skip
    assert len(tracking[0] & tracking[1]) == 1  # the software, as an observer
    assert len(tracking[0]) > 5


def test_dates_are_told_only_shifted(case: Path, tmp_path: Path) -> None:
    moved = export(case, tmp_path / "moved", shift_dates=True)
    report = pydicom.dcmread(moved / "report_sr.dcm")
    assert report.LongitudinalTemporalInformationModified == "MODIFIED"
    days = KEY.shift_days(f"{MARK}-ID")
    assert days < 0
    from datetime import date, timedelta

    expected = date(1947, 7, 18) + timedelta(days=days)
    assert report.StudyDate == expected.strftime("%Y%m%d")
    assert KEY.shift_days("someone else") != days


def test_a_key_is_needed_and_must_be_long(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CEMSCOPE_RESEARCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="needs the secret key"):
        load_research_key(None)
    monkeypatch.setenv("CEMSCOPE_RESEARCH_KEY", "short")
    with pytest.raises(ConfigError, match="5 bytes, expected at least 16"):
        load_research_key(None)
    file = tmp_path / "project.key"
    file.write_bytes(KEY.secret + b"\n")
    assert load_research_key(file) == KEY
    words = ["export", str(case), "--to", str(tmp_path / "o"), "--research"]
    assert main([*words, "--pdf"]) == 2
    shutil.rmtree(tmp_path / "o", ignore_errors=True)
    assert main([*words, "--research-key", str(file), "--quiet"]) == 0
