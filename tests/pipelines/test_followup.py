import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from cases.export_cases import IDENTITY, CasePlan, make_case
from cases.reports import LevelCase, ReportCase, made_report
from cases.small_series import small_ct, written
from cemscope.findings import NotAssessed, Side
from cemscope.measurement.followup import (
    FollowedPair,
    FollowupComparison,
    OnlyOneScan,
)
from cemscope.measurement.followup_findings import (
    BodyHeights,
    CementMovement,
    Change,
    Displacement,
    HeightChange,
    Integrity,
    Registration,
    RodFollowup,
    ScrewFollowup,
    ScrewMovement,
    VertebraFollowup,
)
from cemscope.measurement.followup_scan import FollowedScrew
from cemscope.measurement.lucency_profiles import ANGLES, CellState
from cemscope.measurement.lucency_surface import LucencyMap
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import ScrewAxis, ShaftProfile
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.testing.dicom_writer import write_series
from cemscope_pipelines.cli import main
from cemscope_pipelines.cli.followup_table import followup_table
from cemscope_pipelines.followup.baseline_case import open_baseline
from cemscope_pipelines.followup.followup_run import followed_report
from cemscope_pipelines.pictures.rim_map import (
    CEMENT_COLOUR,
    HIDDEN_COLOUR,
    NO_RIM_COLOUR,
    MapDirections,
    map_rgb,
)
from cemscope_pipelines.report import (
    GrownLucencyEntry,
    LucencyEntry,
    NotAssessedEntry,
    Report,
    report_json_schema,
)
from cemscope_pipelines.report_followup import PatientCheckEntry

SAME = PatientCheckEntry(result="same", reason="the patient IDs are equal")
RIM = LucencyEntry(
    max_width_mm=1.8,
    mean_width_mm=1.5,
    arc_deg=300.0,
    length_fraction=0.9,
    seen_fraction=0.7,
    grade="loose",
    double_halo=True,
    cement_covered_fraction=0.2,
    pedicle=NotAssessedEntry(reason="too short"),
    body=NotAssessedEntry(reason="too short"),
)


def screw_model(side: Side) -> ScrewModel:
    return ScrewModel(
        "L4",
        side,
        ScrewAxis(np.zeros(3), np.array([0.0, -1.0, 0.0])),
        6.0,
        50.0,
        ShaftProfile(3.0, 0.5, 9000.0),
        ThreadEstimate(2.8, 4.0),
        0.5,
        30.0,
    )


def movement(*, moved: bool) -> ScrewMovement:
    tip = Displacement(Change(3.2 if moved else 0.2, 0.9), (0.1, 0.2, 3.1))
    tilt = Change(4.1 if moved else 0.1, 0.7)
    still = Change(0.0, 0.7)
    return ScrewMovement("L4", Side.LEFT, tilt, still, tip, tip, still, moved)


def heights(loss_mm: float, *, broken: bool) -> BodyHeights:
    change = HeightChange(25.0, 25.0 - loss_mm, Change(loss_mm, 0.5), 4.0 * loss_mm)
    hidden = NotAssessed("cement hides the upper endplate")
    grade = 1 if broken else 0
    return BodyHeights(change, change, hidden, grade, broken, "edges")


def comparison(*, changed: bool) -> FollowupComparison:
    screws, pairs = [], []
    for side in Side:
        growth: float | NotAssessed = 1.5 if changed else 0.1
        if side is Side.RIGHT:
            growth = NotAssessed("only 12 % of the surface is seen in both scans")
        screws.append(
            ScrewFollowup(
                f"L4-{side}",
                "L4",
                side,
                movement(moved=changed and side is Side.LEFT),
                growth,
                0.6,
                Integrity.SUSPECTED_BREAK if changed else Integrity.WHOLE,
                "the shaft bends by 6.0 degrees" if changed else "",
            )
        )
        one = FollowedScrew(f"L4-{side}", screw_model(side), None, "streaks")
        pairs.append(FollowedPair(one, one, NotAssessed("refused"), None))
    cement = CementMovement(
        Displacement(Change(2.5 if changed else 0.1, 0.3), (0.0, 0.0, 2.5)),
        1.0,
        2.7,
        Change(-0.1, 0.3),
        changed,
    )
    refused = NotAssessed("the registration left 1.20 mm on bone")
    vertebrae = (
        VertebraFollowup(
            "L5", "L5", refused, NotAssessed("cut"), NotAssessed("not registered")
        ),
        VertebraFollowup(
            "L4",
            "L4",
            Registration(0.12, 0.97, 1800),
            heights(6.0 if changed else 0.1, broken=changed),
            cement,
        ),
    )
    rods = (
        RodFollowup(
            Side.LEFT,
            ("L5", "L4"),
            Integrity.SUSPECTED_BREAK if changed else Integrity.WHOLE,
        ),
    )
    return FollowupComparison(
        vertebrae, tuple(screws), rods, tuple(pairs), (), OnlyOneScan(), {}
    )


def later_report(*, loose: bool) -> Report:
    levels = (
        LevelCase("L5"),
        LevelCase("L4", 2.0, screws=(("left", 1.0), ("right", 1.0))),
    )
    report = made_report(ReportCase("1.2.3", "1.2.3.4", levels, date="20250901"))
    first, second = report.screws
    rim = RIM if loose else RIM.model_copy(update={"grade": "none"})
    return report.model_copy(
        update={"screws": (first.model_copy(update={"lucency": rim}), second)}
    )


@pytest.fixture(scope="module")
def baseline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_case(tmp_path_factory.mktemp("baseline"))


def reported(folder: Path, *, changed: bool) -> Report:
    from cemscope.dicom import ReadSettings

    baseline = open_baseline(folder, None, ReadSettings())
    return followed_report(
        later_report(loose=changed), baseline, comparison(changed=changed), SAME
    )


def test_the_report_tells_what_changed_and_fits_the_schema(
    baseline_folder: Path,
) -> None:
    report = reported(baseline_folder, changed=True)
    data = json.loads(report.to_json())
    jsonschema.validate(data, report_json_schema())
    found = data["followup"]
    assert len(found["baseline_report_hash"]) == 64
    assert found["baseline_acquisition_date"] == "20260102"
    assert found["vertebrae"][1]["residual_mm"] == 0.12
    assert found["vertebrae"][0]["residual_mm"]["status"] == "not_assessed"
    assert data["screws"][0]["lucency"]["growth_mm"] == 1.5
    assert data["screws"][1]["lucency"]["status"] == "not_assessed"
    assert [c["code"] for c in found["conclusions"]] == [
        "screw_loose",
        "screw_moved",
        "screw_broken",
        "screw_broken",
        "rod_broken",
        "new_fracture",
        "cement_moved",
    ]
    assert Report.model_validate_json(report.to_json()) == report
    assert isinstance(report.screws[0].lucency, GrownLucencyEntry)


def test_a_growth_that_was_not_measured_says_why(baseline_folder: Path) -> None:
    later = later_report(loose=True)
    both = tuple(s.model_copy(update={"lucency": RIM}) for s in later.screws)
    from cemscope.dicom import ReadSettings

    report = followed_report(
        later.model_copy(update={"screws": both}),
        open_baseline(baseline_folder, None, ReadSettings()),
        comparison(changed=True),
        SAME,
    )
    lucency = report.screws[1].lucency
    assert isinstance(lucency, GrownLucencyEntry)
    assert isinstance(lucency.growth_mm, NotAssessedEntry)
    assert "both scans" in lucency.growth_mm.reason


def test_where_nothing_changed_there_is_nothing_to_look_at(
    baseline_folder: Path,
) -> None:
    report = reported(baseline_folder, changed=False)
    assert report.followup is not None
    assert report.followup.conclusions == ()
    assert "nothing changed beyond the limits" in followup_table(report)


def test_what_only_one_scan_shows_is_told_and_not_assessed(
    baseline_folder: Path,
) -> None:
    from cemscope.dicom import ReadSettings

    found = comparison(changed=False)
    alone = replace(
        found,
        vertebrae=found.vertebrae[1:],
        screws=found.screws[:1],
        pairs=found.pairs[:1],
        only_one=OnlyOneScan(
            lost_levels=("S1",),
            new_levels=("L5",),
            lost_screws=("L4-left",),
            new_screws=("L4-right",),
        ),
    )
    report = followed_report(
        later_report(loose=False),
        open_baseline(baseline_folder, None, ReadSettings()),
        alone,
        SAME,
    )
    jsonschema.validate(json.loads(report.to_json()), report_json_schema())
    told = report.followup
    assert told is not None
    assert [v.level for v in told.vertebrae] == ["L5", "L4"]
    assert isinstance(told.vertebrae[0].residual_mm, NotAssessedEntry)
    assert isinstance(told.vertebrae[0].heights, NotAssessedEntry)
    assert [s.id for s in told.screws] == ["L4-left", "L4-right"]
    assert isinstance(told.screws[1].baseline_id, NotAssessedEntry)
    assert isinstance(told.screws[1].movement, NotAssessedEntry)
    assert [c.code for c in told.conclusions] == ["screw_missing", "screw_new"]
    table = followup_table(report)
    assert "L4-left of the baseline was not found in this scan" in table


def test_the_table_names_what_to_look_at(baseline_folder: Path) -> None:
    table = followup_table(reported(baseline_folder, changed=True))
    assert "L4 left is suspected to be loose" in table
    assert "+1.5 mm since the baseline" in table
    (row,) = [line for line in table.splitlines() if line.startswith("L4-right")]
    assert "not assessed" in row
    assert "YES" in table


def test_a_report_without_a_baseline_has_no_such_section() -> None:
    report = later_report(loose=False)
    data = json.loads(report.to_json())
    assert "followup" not in data
    jsonschema.validate(data, report_json_schema())
    with pytest.raises(ValueError, match="follow-up"):
        followup_table(report)


def test_the_page_shows_the_comparison(baseline_folder: Path) -> None:
    from cemscope_pipelines.pictures.spine_picture import SpinePicture
    from cemscope_pipelines.report_html import ReportPictures, render_html

    spine = SpinePicture(b"png", 10, 10, "levels", ())
    pictures = ReportPictures(
        spine, b"png", (), (), (("L4-left", "L4 left: loose", b"png"),)
    )
    page = render_html(reported(baseline_folder, changed=True), pictures)
    for words in (
        "Screws since the baseline",
        "L4 left: loose",
        "suspected break",
        "refused: the registration left 1.20 mm on bone",
        "growth",
    ):
        assert words in page
    plain = render_html(later_report(loose=False), ReportPictures(spine, b"png", ()))
    assert "Follow-up" not in plain


# --- the command ------------------------------------------------------------------


def run(*words: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = main(["followup", *(str(word) for word in words)])
    return status, capsys.readouterr().err


def test_a_folder_that_is_no_case_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    written(tmp_path / "ct")
    status, said = run(
        tmp_path / "empty", tmp_path / "ct", "--out", tmp_path / "o", capsys=capsys
    )
    assert status == 2
    assert "report.json" in said
    assert not (tmp_path / "o").exists()


def test_the_baseline_is_never_replaced(
    baseline_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ct = baseline_folder.parent / "ct"
    status, said = run(baseline_folder, ct, "--out", baseline_folder, capsys=capsys)
    assert status == 2
    assert "never replaced" in said


def test_the_scan_of_the_baseline_is_no_followup(
    baseline_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ct = baseline_folder.parent / "ct"
    status, said = run(baseline_folder, ct, "--out", tmp_path / "o", capsys=capsys)
    assert status == 3
    assert "the very series" in said


def test_another_patient_is_refused(
    baseline_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(IDENTITY, patient_id="EXPORT-2", study_key="another")
    write_series(small_ct(), tmp_path / "ct", other)
    words = (baseline_folder, tmp_path / "ct", "--out", tmp_path / "o")
    status, said = run(*words, capsys=capsys)
    assert status == 3
    assert "different patients" in said
    assert "--same-patient" in said
    assert "EXPORT" not in said
    status, said = run(*words, "--same-patient", " ", capsys=capsys)
    assert status == 2


def test_a_baseline_without_its_scan_asks_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = make_case(tmp_path / "root", CasePlan())
    (tmp_path / "root" / "ct").rename(tmp_path / "moved")
    later = replace(IDENTITY, study_key="later")
    write_series(small_ct(), tmp_path / "ct", later)
    status, said = run(case, tmp_path / "ct", "--out", tmp_path / "o", capsys=capsys)
    assert status == 2
    assert "--baseline-series" in said


# --- the unrolled rim -------------------------------------------------------------


def test_a_map_is_unrolled_from_above_the_shaft() -> None:
    axis = ScrewAxis(np.zeros(3), np.array([0.0, -1.0, 0.0]))
    up, left = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    directions = MapDirections.of(axis, up, left)
    first, second = axis.cross_vectors()
    angle = 2.0 * np.pi * directions.columns() / ANGLES
    rays = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
    shown = [rays[k * ANGLES // 4] for k in range(4)]
    for ray, expected in zip(shown, (-up, left, up, -left), strict=True):
        assert np.allclose(ray, expected, atol=0.1)


def test_colours_tell_what_was_seen() -> None:
    state = np.full((4, ANGLES), CellState.SEEN, np.uint8)
    state[1], state[2] = CellState.HIDDEN, CellState.CEMENT
    width = np.zeros((4, ANGLES))
    width[3] = 2.0
    surface = LucencyMap(
        "L4", Side.LEFT, np.arange(4.0), np.ones(4, bool), state, width, width, 0.0, 0.0
    )
    rgb = map_rgb(surface, MapDirections(0, 1))
    assert np.allclose(rgb[0], NO_RIM_COLOUR)
    assert np.allclose(rgb[1], HIDDEN_COLOUR)
    assert np.allclose(rgb[2], CEMENT_COLOUR)
    assert rgb[3].max() > 0.5
