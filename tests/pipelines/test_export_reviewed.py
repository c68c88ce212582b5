"""What a reader changed stands in the objects as the reader meant it."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from cases.dicom_validators import dciodvfy_errors
from cases.export_cases import CasePlan, draw_nothing, make_case, series_input
from cases.lucent_screws import with_lucency
from cases.review_case import LEAK_ID, TinyCase, write_case
from cases.sr_groups import codes_of, groups_of, numbers_of, texts_of, tracking_uids
from cemscope.dicom import list_series, read_series
from cemscope.dicom.objects.segmentation_object import SegmentationEncoding
from cemscope.errors import EvidenceError
from cemscope_pipelines.export.case_objects import ObjectChoice
from cemscope_pipelines.export.export_case import ExportJob, export_case
from cemscope_pipelines.label_files import read_label_map
from cemscope_pipelines.provenance import Provenance
from cemscope_pipelines.report import (
    CementElsewhereEntry,
    CementEntry,
    Report,
)
from cemscope_pipelines.review import (
    anatomy_corrections,
    cement_corrections,
    leak_corrections,
)
from cemscope_pipelines.review.review_document import FindingId
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.reviewed_result import (
    NO_CEMENT,
    NO_SCREW,
    WITHIN_BONE,
)

LEAK = FindingId("leak", "L3-1")


@pytest.fixture(scope="module", autouse=True)
def quick_pictures() -> Iterator[None]:
    """Pictures are looked at in test_export_pdf; here they would only take time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cemscope_pipelines.export.case_objects.draw_case", draw_nothing)
        yield


def exported(case: Path, name: str = "out", **changes: object) -> Path:
    target = case.parent / name
    export_case(ExportJob(case, target, **changes))  # type: ignore[arg-type]
    return target


def accept_the_rest(session: ReviewSession) -> None:
    while (finding := session.next_open()) is not None:
        session.accept(finding)
    session.save()


# --- tracking -----------------------------------------------------------------------


def second_leak(report: Report) -> Report:
    """The machine's report with a leak L2-1, too."""
    first = report.vertebrae[0].leaks[0]
    leak = first.model_copy(update={"id": "L2-1", "types": ("S",), "volume_ml": 0.05})
    changed = report.vertebrae[1].model_copy(update={"leaks": (leak,)})
    return report.model_copy(update={"vertebrae": (report.vertebrae[0], changed)})


def test_tracking_is_one_to_one_after_levels_were_renamed(tmp_path: Path) -> None:
    case = make_case(tmp_path, CasePlan(change=second_leak))
    machine = tracking_uids(exported(case, "draft") / "report_sr.dcm")
    session = ReviewSession(case)
    anatomy_corrections.shift_levels(session, -1)  # L3 is L4, L2 is L3
    session.reject(LEAK, NO_CEMENT)
    accept_the_rest(session)
    out = exported(case)
    reader = tracking_uids(out / "report_sr.dcm")
    assert len(set(reader.values())) == len(reader)
    rejected = "L3-1 leak of the machine, rejected"
    assert {rejected, "L3-1 leak", "L4 cement", "L3 cement"} <= reader.keys()
    for mine, theirs in (
        (rejected, "L3-1 leak"), ("L3-1 leak", "L2-1 leak"),
        ("L4 cement", "L3 cement"), ("L3 cement", "L2 cement"),
        ("L4-left screw", "L3-left screw"),
    ):  # fmt: skip
        assert reader[mine] == machine[theirs], mine
    group = groups_of(out / "report_sr.dcm")[rejected]
    site = next(
        item.ConceptCodeSequence[0].CodeMeaning
        for item in group.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "363698007"
    )
    assert site == "L4 vertebra"
    assert "level: reader: L4; machine: L3" in texts_of(group)
    segments = hd.seg.segread(out / "seg_materials.dcm")
    drawn = {
        d.tracking_id: d.tracking_uid
        for d in map(segments.get_segment_description, segments.segment_numbers)
    }
    assert drawn["L4 cement"] == machine["L3 cement"]


def test_levels_without_a_name_are_not_those_of_another_scan(tmp_path: Path) -> None:
    def unnamed(report: Report) -> Report:
        names = {"L3": "V1", "L2": "V2"}
        return report.model_copy(
            update={
                "vertebrae": tuple(
                    v.model_copy(update={"level": names[v.level], "leaks": ()})
                    for v in report.vertebrae
                ),
                "screws": (),
            }
        )

    found = []
    for key in ("first", "later"):
        identity = replace(CasePlan().identity, study_key=key)
        case = make_case(tmp_path / key, CasePlan(identity, change=unnamed))
        found.append(tracking_uids(exported(case) / "report_sr.dcm"))
    assert found[0].keys() == found[1].keys()
    assert found[0]["V1 cement"] != found[1]["V1 cement"]


def test_a_rejected_find_elsewhere_leaves_the_others_their_names(
    tmp_path: Path,
) -> None:
    def two_elsewhere(report: Report) -> Report:
        away = tuple(
            CementElsewhereEntry(
                location=place, volume_ml=volume, centroid_lps_mm=(0.0, 0.0, 500.0)
            )
            for place, volume in (("lung", 0.2), ("heart", 0.3))
        )
        return report.model_copy(update={"cement_elsewhere": away})

    case = make_case(tmp_path, CasePlan(change=two_elsewhere))
    machine = tracking_uids(exported(case, "draft") / "report_sr.dcm")
    session = ReviewSession(case)
    session.reject(FindingId("elsewhere", "elsewhere-1"), NO_CEMENT)
    accept_the_rest(session)
    out = exported(case)
    reader = tracking_uids(out / "report_sr.dcm")
    assert len(set(reader.values())) == len(reader)
    assert reader["elsewhere-2"] == machine["elsewhere-2"]
    kept = groups_of(out / "report_sr.dcm")["elsewhere-2"]
    assert numbers_of(kept)["118565006"] == 0.3
    assert ("DECISION", "ACCEPTED") in codes_of(kept)


# --- what the machine said beside it ----------------------------------------------


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader says C and prevertebral where the machine said B and epidural."""
    case = make_case(tmp_path_factory.mktemp("corrected"))
    session = ReviewSession(case)
    leak_corrections.set_leak_types(session, "L3-1", ("C",))
    leak_corrections.set_leak_places(session, "L3-1", ("prevertebral",))
    accept_the_rest(session)
    return exported(case, choice=ObjectChoice(pdf=True))


def test_reader_and_machine_stand_side_by_side(corrected: Path) -> None:
    leak = groups_of(corrected / "report_sr.dcm")["L3-1 leak"]
    codes = codes_of(leak)
    assert {
        ("LEAKTYPE", "LEAK-C"), ("LEAKPLACE", "PLACE-PREVERT"),
        ("MACHINETYPE", "LEAK-B"), ("MACHINEPLACE", "61853006"),
        ("DECISION", "MODIFIED"),
    } <= codes  # fmt: skip
    assert ("LEAKTYPE", "LEAK-B") not in codes
    texts = texts_of(leak)
    assert "type: reader: C, definite; machine: B, definite" in texts
    assert "place: reader: prevertebral; machine: epidural" in texts


def test_the_evidence_is_marked_as_the_machines(corrected: Path) -> None:
    leak = groups_of(corrected / "report_sr.dcm")["L3-1 leak"]
    named = {
        item.ConceptNameCodeSequence[0].CodeValue: item.TextValue
        for item in leak.ContentSequence
        if item.ValueType == "TEXT"
    }
    assert "LEAKEVIDENCE" not in named
    assert named["MACHINEEVIDENCE"].startswith("machine's evidence for B, definite: ")


def test_the_page_says_both(corrected: Path) -> None:
    tool = shutil.which("pdftotext")
    if tool is None:
        pytest.skip("pdftotext is missing: run scripts/install_dicom_validators.sh")
    from cases.dicom_validators import run

    text = " ".join(run(tool, "-layout", corrected / "report.pdf", "-").stdout.split())
    assert (
        "L3-1: type: reader: C, definite; machine: B, definite; place: reader: "
        "prevertebral; machine: epidural." in text
    )
    assert "L3-1: machine's evidence for B, definite: leaves the posterior" in text


def test_dciodvfy_accepts_what_a_reader_changed(corrected: Path) -> None:
    assert dciodvfy_errors(corrected / "report_sr.dcm") == []  # PixelMed: see grids


# --- voxels ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> TinyCase:
    """A case whose volumes follow from drawn bodies, with its provenance."""
    tiny = write_case(tmp_path_factory.mktemp("tiny"))
    series = list_series(tiny.series)[0]
    provenance = Provenance(
        created_utc="2026-01-02T12:30:00+00:00", command=(), software_version="test",
        python_version="3", platform="test", package_versions={},
        input=series_input(series, tiny.series), config={}, config_hash="0" * 64,
        timings=(), peak_memory_mib=0.0,
    )  # fmt: skip
    (tiny.folder / "provenance.json").write_text(provenance.to_json())
    return tiny


@pytest.fixture
def session(original: TinyCase, tmp_path: Path) -> ReviewSession:
    case = Path(shutil.copytree(original.folder, tmp_path / "case"))
    return ReviewSession(case, read_series(original.series))


def segment_ml(folder: Path) -> dict[str, float]:
    """Volume of each segment's voxels."""
    seg = hd.seg.segread(folder / "seg_materials.dcm")
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    voxel_mm3 = float(np.prod([float(v) for v in measures.PixelSpacing])) * float(
        measures.SpacingBetweenSlices
    )
    found = {}
    for number in seg.segment_numbers:
        description = seg.get_segment_description(number)
        voxels = seg.get_volume(segment_numbers=[number], combine_segments=False)
        found[str(description.SegmentLabel)] = voxels.array.sum() * voxel_mm3 / 1000.0
    return found


def volume_of(session: ReviewSession, level: str) -> float:
    result = session.document().result
    cement = next(v.cement for v in result.vertebrae if v.level == level)
    assert isinstance(cement, CementEntry)
    return cement.volume_ml


def test_cement_given_to_another_vertebra_is_drawn_there(
    session: ReviewSession,
) -> None:
    before = volume_of(session, "L4")
    draft = segment_ml(exported(session.case_folder, "draft"))
    assert draft["Cement in L3"] == pytest.approx(volume_of(session, "L3"), rel=0.1)
    blob = cement_corrections.piece_at(session, (42, 20, 40))
    cement_corrections.give_cement(session, blob, "L4")
    accept_the_rest(session)
    given = volume_of(session, "L4") - before
    assert given > 0.08
    assert volume_of(session, "L3") == 0.0
    drawn = segment_ml(exported(session.case_folder))
    assert "Cement in L3" not in drawn
    assert drawn["Cement in L4"] - draft["Cement in L4"] == pytest.approx(
        draft["Cement in L3"]
    )
    whole = drawn["Cement in L4"] + drawn[f"Cement leak {LEAK_ID}"]
    assert whole == pytest.approx(volume_of(session, "L4"), rel=0.06)


def test_what_was_rejected_is_not_drawn(session: ReviewSession) -> None:
    draft = segment_ml(exported(session.case_folder, "draft"))
    assert {"Cement in L3", "Screw L3-left"} <= draft.keys()
    session.reject(FindingId("vertebra", "L3"), NO_CEMENT)
    session.reject(FindingId("screw", "L3-left"), NO_SCREW)
    session.reject(FindingId("leak", LEAK_ID), NO_CEMENT)
    accept_the_rest(session)
    out = exported(session.case_folder, nifti=True)
    assert segment_ml(out) == {"Cement in L4": draft["Cement in L4"]}
    materials = read_label_map(out / "materials.nii.gz").labels
    assert set(np.unique(materials)) == {0, 1}


def test_a_leak_that_is_within_the_bone_is_drawn_as_its_vertebras_cement(
    session: ReviewSession,
) -> None:
    draft = segment_ml(exported(session.case_folder, "draft"))
    session.reject(FindingId("leak", LEAK_ID), WITHIN_BONE)
    accept_the_rest(session)
    drawn = segment_ml(exported(session.case_folder))
    leak = draft[f"Cement leak {LEAK_ID}"]
    assert drawn["Cement in L4"] == pytest.approx(draft["Cement in L4"] + leak)
    assert drawn["Cement in L4"] == pytest.approx(volume_of(session, "L4"), rel=0.06)


def test_a_vertebra_refers_to_all_that_its_volume_counts(original: TinyCase) -> None:
    out = exported(original.folder, "refers")
    seg = hd.seg.segread(out / "seg_materials.dcm")
    numbers = {
        str(seg.get_segment_description(n).SegmentLabel): n for n in seg.segment_numbers
    }
    referred = next(
        item.ReferencedSOPSequence[0].ReferencedSegmentNumber
        for item in groups_of(out / "report_sr.dcm")["L4 cement"].ContentSequence
        if "ReferencedSOPSequence" in item
        and "ReferencedSegmentNumber" in item.ReferencedSOPSequence[0]
    )
    assert sorted(int(n) for n in referred) == sorted(
        [numbers["Cement in L4"], numbers[f"Cement leak {LEAK_ID}"]]
    )


def test_a_corrected_map_that_was_edited_by_hand_is_refused(
    session: ReviewSession,
) -> None:
    blob = cement_corrections.piece_at(session, (42, 20, 40))
    cement_corrections.erase_cement(session, blob)
    accept_the_rest(session)
    exported(session.case_folder)
    shutil.copyfile(
        session.case_folder / "materials.nii.gz",
        session.case_folder / "review_materials.nii.gz",
    )
    with pytest.raises(EvidenceError, match=r"review_materials\.nii\.gz in the case"):
        exported(session.case_folder, "again")


def test_cement_away_from_vertebrae_is_drawn_unless_rejected(tmp_path: Path) -> None:
    """The tiny leak's voxels stand for two such finds; there is no leak."""

    def away(report: Report) -> Report:
        (leak,) = report.vertebrae[0].leaks
        x, y, z = leak.centroid_lps_mm
        entries = tuple(
            CementElsewhereEntry(
                location="vein", volume_ml=0.06, centroid_lps_mm=(x + step, y, z)
            )
            for step in (0.0, 40.0)
        )
        bare = report.vertebrae[0].model_copy(update={"leaks": ()})
        return report.model_copy(
            update={
                "vertebrae": (bare, report.vertebrae[1]), "cement_elsewhere": entries
            }
        )  # fmt: skip

    case = make_case(tmp_path, CasePlan(change=away))
    draft = segment_ml(exported(case, "draft"))
    assert draft["Cement elsewhere-1"] == pytest.approx(0.064)
    assert "Cement elsewhere-2" not in draft
    session = ReviewSession(case)
    session.reject(FindingId("elsewhere", "elsewhere-1"), NO_CEMENT)
    accept_the_rest(session)
    drawn = segment_ml(exported(case))
    del draft["Cement elsewhere-1"]
    assert drawn == draft


# --- identity -----------------------------------------------------------------------


def test_another_patient_under_the_same_uids_is_refused(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    exported(case, "right")
    for path in (tmp_path / "ct").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientID = "SOMEONE-ELSE"
        dataset.save_as(path)
    with pytest.raises(EvidenceError, match="another patient id") as raised:
        exported(case)
    assert "SOMEONE-ELSE" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_the_same_id_of_another_issuer_is_another_patient(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    for path in (tmp_path / "ct").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.IssuerOfPatientID = "ANOTHER CLINIC"
        dataset.save_as(path)
    with pytest.raises(EvidenceError, match="another issuer"):
        exported(case)


def test_the_analysis_notes_whom_it_measured(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    ct = read_series(tmp_path / "ct")
    assert ct.source is not None
    text = (case / "provenance.json").read_text()
    known = Provenance.model_validate_json(text).input.patient_digest
    assert ct.source.patient_digest == known
    assert known is not None
    assert len(known) == 64


def test_what_differs_has_another_uid(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    found = []
    for encoding in SegmentationEncoding:
        out = exported(case, encoding.value, choice=ObjectChoice(encoding))
        read = {p.name: pydicom.dcmread(p) for p in out.glob("*.dcm")}
        found.append({name: one.SOPInstanceUID for name, one in read.items()})
        seg = {
            read[n].SOPInstanceUID for n in ("seg_vertebrae.dcm", "seg_materials.dcm")
        }
        evidence = {
            e.value
            for e in read["report_sr.dcm"].iterall()
            if e.keyword == "ReferencedSOPInstanceUID"
        }
        assert seg <= evidence
    for name in ("seg_vertebrae.dcm", "seg_materials.dcm", "report_sr.dcm"):
        assert found[0][name] != found[1][name], name


# --- lucency ------------------------------------------------------------------------


def test_lucency_is_told_in_each_form(tmp_path: Path) -> None:
    case = make_case(tmp_path, CasePlan(change=with_lucency))
    out = exported(case, csv=True, choice=ObjectChoice(pdf=True))
    assert dciodvfy_errors(out / "report_sr.dcm") == []
    groups = groups_of(out / "report_sr.dcm")
    loose, grown, hidden = (
        groups[f"{name} screw"] for name in ("L3-left", "L2-right", "L3-right")
    )
    assert {
        "LUCMAXWIDTH": 2.1, "LUCMEANWIDTH": 1.2, "LUCARC": 240.0, "LUCLENGTH": 0.55,
        "LUCSEEN": 0.8, "LUCCOVERED": 0.25, "LUCWIDTHPED": 2.1,
    }.items() <= numbers_of(loose).items()  # fmt: skip
    assert "LUCWIDTHBODY" not in numbers_of(loose)
    assert "LUCGROWTH" not in numbers_of(loose)
    assert {("112084", "LUC-LOOSE"), ("DOUBLEHALO", "373066001")} <= codes_of(loose)
    assert "lucency, body part: the streaks hide it" in texts_of(loose)
    assert numbers_of(grown)["LUCGROWTH"] == 0.46
    assert {("112084", "LUC-SUSP"), ("DOUBLEHALO", "373067005")} <= codes_of(grown)
    assert ("112084", "114007") in codes_of(hidden)
    assert "LUCMAXWIDTH" not in numbers_of(hidden)
    rows = (out / "screws.csv").read_text().splitlines()
    assert any("assessed,loose,2.1,1.2,240.0,0.55,,0.8," in row for row in rows)
    assert any(
        "assessed,suspicious,2.1,1.2,240.0,0.55,0.46,0.8," in row for row in rows
    )
    assert any("not_assessed,,,,,,,," in row for row in rows)
