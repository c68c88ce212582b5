"""Screws under review: what the list tells, and the rim of a screw that was moved."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cases.review_case import LEAK_ID, TinyCase, write_case
from cemscope_pipelines.report import (
    GrownLucencyEntry,
    LeakEvidenceEntry,
    LucencyPartEntry,
    NotAssessedEntry,
    Report,
)
from cemscope_pipelines.review import anatomy_corrections, leak_corrections
from cemscope_pipelines.review.finding_list import FindingRow
from cemscope_pipelines.review.review_document import FindingId
from cemscope_pipelines.review.review_session import ReviewSession

SCREW = FindingId("screw", "L3-left")
PART = LucencyPartEntry(
    max_width_mm=1.8,
    mean_width_mm=1.2,
    arc_deg=300.0,
    length_fraction=0.55,
    seen_fraction=0.9,
)
LOOSE = GrownLucencyEntry(
    **PART.model_dump(),
    grade="loose",
    double_halo=False,
    cement_covered_fraction=0.0,
    pedicle=PART,
    body=NotAssessedEntry(reason="covered by cement"),
    growth_mm=0.9,
)
SENTENCE = "leaves the side of the body in the middle of its height"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> TinyCase:
    return write_case(tmp_path_factory.mktemp("screws"))


@pytest.fixture
def session(original: TinyCase, tmp_path: Path) -> ReviewSession:
    folder = Path(shutil.copytree(original.folder, tmp_path / "case"))
    path = folder / "report.json"
    report = Report.model_validate_json(path.read_text())
    screw = report.screws[0].model_copy(update={"lucency": LOOSE})
    below, above = report.vertebrae
    evidence = LeakEvidenceEntry(
        sentence=SENTENCE,
        candidates=(), exit_lps_mm=(-16.0, -8.0, -286.0), exit_wall="right",
        exit_height=0.5, midline_mm=-16.0, midline_share=-0.5, opening_mm=3.0,
        cortex_gap=0.5, length_mm=7.0, width_mm=4.0, elongation=1.8, slope_deg=0.0,
        off_surface_mm=3.0, track_mm=NotAssessedEntry(reason="no screw"),
        canal_depth_mm=0.0,
    )  # fmt: skip
    told = below.leaks[0].model_copy(update={"evidence": evidence})
    below = below.model_copy(update={"leaks": (told,)})
    changed = {"screws": (screw,), "vertebrae": (below, above)}
    path.write_text(report.model_copy(update=changed).to_json())
    return ReviewSession(folder)


def row_of(session: ReviewSession, finding: FindingId) -> FindingRow:
    return next(row for row in session.rows if row.finding == finding)


def test_the_list_tells_the_lucent_rim_with_its_size(session: ReviewSession) -> None:
    row = row_of(session, SCREW)
    assert row.type_text == "no cement, loose"
    assert (
        "Lucent rim: loose, up to 1.8 mm wide, 300° around, along 55% of the shaft, "
        "+0.9 mm since the baseline"
    ) in row.detail


@pytest.mark.parametrize(
    ("aside_mm", "along_mm", "kept"),
    [(0.0, 4.0, True), (0.9, 0.0, True), (1.1, 0.0, False), (3.0, -2.0, False)],
)
def test_the_rim_of_a_screw_stands_while_its_axis_does(
    session: ReviewSession, aside_mm: float, along_mm: float, kept: bool
) -> None:
    screw = session.state.screws[0]  # runs against y
    x, y, z = screw.tip_lps_mm
    tip = (x + aside_mm, y - along_mm, z)
    anatomy_corrections.move_screw(session, screw.id, screw.head_lps_mm, tip)
    moved = session.state.screws[0]
    np.testing.assert_allclose(moved.tip_lps_mm, tip, atol=0.01)
    assert (moved.lucency == LOOSE) == kept
    if not kept:
        assert isinstance(moved.lucency, NotAssessedEntry)
        assert "not assessed" in row_of(session, SCREW).detail
    session.undo()
    assert session.state.screws[0].lucency == LOOSE


def test_what_argues_for_the_machines_type_is_called_the_machines(
    session: ReviewSession,
) -> None:
    leak = FindingId("leak", LEAK_ID)
    lines = row_of(session, leak).detail.split("\n")
    assert lines[-1] == SENTENCE[:1].upper() + SENTENCE[1:]
    assert "right paravertebral" in row_of(session, leak).detail
    leak_corrections.set_leak_types(session, LEAK_ID, ("C",))
    lines = row_of(session, leak).detail.split("\n")
    assert lines[1] == f"Machine: B right paravertebral (definite): {SENTENCE}"
    assert sum(SENTENCE in line.lower() for line in lines) == 1
