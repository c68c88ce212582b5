"""Lucent rims of analytic phantoms against their exact width.

Bounds: a rim's outer edge is blurred by half a pixel of 0.7 mm and more, widths are
weighed in steps of 0.1 mm and the bone beyond may lie nearer than the cortex: 0.3 mm
with a sclerotic rim, 0.5 mm without one at the 130 HU that marrow and gap differ.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from cemscope.findings import Lucency, LucencyGrade, NotAssessed, Side
from cemscope.measurement.lucency import LucencyScan, ScrewLucency, measure_lucency
from cemscope.measurement.lucency_grade import judge_surface
from cemscope.measurement.lucency_profiles import ANGLES, AXIAL_STEP_MM, CellState
from cemscope.measurement.lucency_surface import LucencyMap, LucencySettings
from cemscope.segmentation.scan_region import ScanRegion, box_of
from cemscope.testing.halo_scene import HaloPlan, build_halo_scene
from cemscope.testing.phantoms import Contrast, Scanner

MARROW = Contrast(marrow_hu=140.0)


@dataclass(frozen=True)
class HaloCase:
    name: str
    plan: HaloPlan
    grades: tuple[str, ...]
    bound_mm: float | None = None
    scanner: Scanner = field(default_factory=Scanner)
    contrast: Contrast = MARROW
    radius_error_mm: float = 0.0


LOOSE, SUSPICIOUS, NONE = "loose", "suspicious", "none"
REFUSED = "not assessed"
"""Where a gap would have hidden, or fits nearly as well as none."""

OBLIQUE = (
    (0.0, -np.sin(0.2), np.cos(0.2)),
    (0.0, np.cos(0.2), np.sin(0.2)),
    (1.0, 0.0, 0.0),
)

CASES = (
    HaloCase("tight", HaloPlan(0.0, radius_mm=2.75), (NONE,)),
    HaloCase("tight, near the pedicle's walls", HaloPlan(0.0), (NONE, REFUSED)),
    HaloCase("half a millimetre", HaloPlan(0.5, 400.0), (NONE, REFUSED)),
    HaloCase("1 mm with rim", HaloPlan(1.0, 400.0), (SUSPICIOUS, LOOSE, REFUSED), 0.3),
    HaloCase("1.5 mm with rim", HaloPlan(1.5, 400.0), (LOOSE,), 0.3),
    HaloCase("1.5 mm without rim", HaloPlan(1.5), (SUSPICIOUS, LOOSE, REFUSED), 0.5),
    HaloCase(
        "1.5 mm without rim, fine",
        HaloPlan(1.5),
        (SUSPICIOUS, LOOSE),
        0.5,
        Scanner(spacing_mm=(0.6, 0.5, 0.5)),
    ),
    HaloCase("2 mm", HaloPlan(2.0), (LOOSE,), 0.5),
    HaloCase("3 mm with rim", HaloPlan(3.0, 400.0), (LOOSE,), 0.3),
    HaloCase(
        "1.5 mm with rim, half of the circle",
        HaloPlan(1.5, 400.0, arc_deg=180.0, middle_deg=30.0),
        (LOOSE,),
        0.3,
    ),
    HaloCase(
        "tight, streaks",
        HaloPlan(0.0),
        (NONE, REFUSED),
        scanner=Scanner(streak_hu=250.0, noise_hu=35.0, seed=3),
    ),
    HaloCase(
        "2 mm with rim, oblique and fine",
        HaloPlan(2.0, 350.0),
        (LOOSE,),
        0.3,
        Scanner(spacing_mm=(0.8, 0.6, 0.6), directions_lps=OBLIQUE, seed=5),
    ),
    HaloCase(
        "tight, radius misfitted",
        HaloPlan(0.0, radius_mm=3.2),
        (NONE, REFUSED),
        contrast=Contrast(marrow_hu=90.0),
        radius_error_mm=0.12,
    ),
)


def measured(case: HaloCase) -> ScrewLucency:
    scene = build_halo_scene(case.plan, case.scanner, case.contrast)
    ct = scene.phantom.ct
    whole = box_of(np.zeros(3, int), np.array(ct.hu.shape))
    region = ScanRegion.of_box(ct, scene.phantom.spine.labels, whole)
    screw = scene.screws[0]
    radius = screw.shaft.radius_mm + case.radius_error_mm
    screw = replace(screw, shaft=replace(screw.shaft, radius_mm=radius))
    scan = LucencyScan(region, scene.materials, ct.spacing_mm[0], ct.clipped_at_hu)
    return measure_lucency(scan, (screw,))[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_halo_is_graded_and_measured(case: HaloCase) -> None:
    finding = measured(case).finding
    if isinstance(finding, NotAssessed):
        assert REFUSED in case.grades, finding
        return
    assert finding.grade.value in case.grades, finding
    if case.bound_mm is not None:
        width = finding.whole.mean_width_mm
        assert abs(width - case.plan.width_mm) <= case.bound_mm, finding


def test_the_place_of_a_partial_halo_is_that_of_the_plan() -> None:
    case = next(c for c in CASES if c.plan.arc_deg == 180.0)
    surface = measured(case).surface
    assert surface is not None
    turn = np.deg2rad(np.arange(ANGLES) * 360.0 / ANGLES - case.plan.middle_deg)
    # The blur along the shaft and around it reaches a little beyond the ends.
    inside = np.cos(turn) > np.cos(np.deg2rad(65.0))
    opposite = np.cos(turn) < np.cos(np.deg2rad(125.0))
    seen = surface.state == CellState.SEEN
    lucent = (surface.width_mm > 0) & seen
    assert lucent[:, inside].sum() > 0.6 * seen[:, inside].sum()
    assert lucent[:, opposite].sum() < 0.15 * seen[:, opposite].sum()


def test_thick_slices_are_not_assessed() -> None:
    scene = build_halo_scene(HaloPlan(2.0), Scanner(spacing_mm=(2.0, 0.7, 0.7)))
    ct = scene.phantom.ct
    whole = box_of(np.zeros(3, int), np.array(ct.hu.shape))
    region = ScanRegion.of_box(ct, scene.phantom.spine.labels, whole)
    found = measure_lucency(LucencyScan(region, scene.materials, 2.0), scene.screws)
    assert len(found) == 2
    for one in found:
        assert isinstance(one.finding, NotAssessed)
        assert "2.00 mm" in one.finding.reason
        assert one.surface is None


PLANES = 60


def surface(
    width_mm: float,
    arc_deg: float = 360.0,
    length: float = 1.0,
    hidden: float = 0.0,
    rim_hu: float = 0.0,
) -> LucencyMap:
    """An unrolled surface as it would be measured without error."""
    width = np.zeros((PLANES, ANGLES))
    width[: round(length * PLANES), : round(arc_deg * ANGLES / 360.0)] = width_mm
    state = np.full(width.shape, CellState.SEEN, np.uint8)
    state[:, ANGLES - round(hidden * ANGLES) :] = CellState.HIDDEN
    width[state == CellState.HIDDEN] = 0.0
    t_mm = np.arange(PLANES) * AXIAL_STEP_MM
    return LucencyMap(
        "L3", Side.LEFT, t_mm, t_mm > 15.0, state, width,
        np.full(width.shape, rim_hu), 120.0, 20.0,
    )  # fmt: skip


@dataclass(frozen=True)
class GradeCase:
    name: str
    surface: LucencyMap
    grade: LucencyGrade


GRADES = (
    GradeCase("nothing", surface(0.0), LucencyGrade.NONE),
    GradeCase("narrow", surface(0.75), LucencyGrade.NONE),
    GradeCase("1 mm", surface(1.0), LucencyGrade.SUSPICIOUS),
    GradeCase("small arc", surface(2.5, arc_deg=60.0), LucencyGrade.NONE),
    GradeCase("short", surface(2.5, length=0.3), LucencyGrade.NONE),
    GradeCase("third of it", surface(1.2, 100.0, 0.4), LucencyGrade.SUSPICIOUS),
    GradeCase("2 mm", surface(2.0, 100.0, 0.4), LucencyGrade.LOOSE),
    GradeCase("double halo", surface(1.2, rim_hu=150.0), LucencyGrade.LOOSE),
    GradeCase("half hidden", surface(1.2, hidden=0.5), LucencyGrade.SUSPICIOUS),
)


@pytest.mark.parametrize("case", GRADES, ids=lambda case: case.name)
def test_grades_follow_their_definition(case: GradeCase) -> None:
    finding = judge_surface(case.surface, LucencySettings())
    assert isinstance(finding, Lucency)
    assert finding.grade is case.grade


@pytest.mark.parametrize(
    ("arc_deg", "grade"), [(90.0, LucencyGrade.NONE), (140.0, LucencyGrade.LOOSE)]
)
def test_the_least_window_must_show_its_length_itself(
    arc_deg: float, grade: LucencyGrade
) -> None:
    """All places together tell of a third of the length, single ones of less."""
    shown = surface(2.5, arc_deg, 0.3)
    told = np.zeros(shown.width_mm.shape, np.bool_)
    told[: round(0.35 * PLANES), : round(arc_deg * ANGLES / 360.0)] = True
    finding = judge_surface(replace(shown, told=told), LucencySettings())
    assert isinstance(finding, Lucency)
    assert finding.grade is grade


@dataclass(frozen=True)
class ToldCase:
    name: str
    shown: float
    sure: bool
    grade: LucencyGrade


TOLD = (
    ToldCase("sure, all of it shown", 1.0, True, LucencyGrade.LOOSE),
    ToldCase("sure, more than half shown", 0.6, True, LucencyGrade.LOOSE),
    ToldCase("sure, a little shown", 0.2, True, LucencyGrade.NONE),
    ToldCase("likely, all of it shown", 1.0, False, LucencyGrade.SUSPICIOUS),
    ToldCase("likely, more than half shown", 0.6, False, LucencyGrade.NONE),
)


@pytest.mark.parametrize("case", TOLD, ids=lambda case: case.name)
def test_likely_gaps_need_more_places_and_are_never_loose(case: ToldCase) -> None:
    shown = surface(2.5, 180.0)
    told = shown.width_mm > 0.0
    # Every so many planes: arcs and length are large enough in each case.
    kept = np.arange(PLANES) % 10 < round(10 * case.shown)
    shown = replace(shown, width_mm=np.where(kept[:, None], shown.width_mm, 0.0))
    judged = replace(shown, told=told, sure=case.sure)
    finding = judge_surface(judged, LucencySettings())
    assert isinstance(finding, Lucency)
    assert finding.grade is case.grade


def test_too_little_seen_is_said_and_never_none() -> None:
    finding = judge_surface(surface(0.0, hidden=0.8), LucencySettings())
    assert isinstance(finding, NotAssessed)
    assert "%" in finding.reason


def test_every_limit_is_a_setting() -> None:
    strict = replace(LucencySettings(), suspicious_width_mm=2.0)
    finding = judge_surface(surface(1.2), strict)
    assert isinstance(finding, Lucency)
    assert finding.grade is LucencyGrade.NONE
    found = judge_surface(surface(1.2), LucencySettings())
    assert isinstance(found, Lucency)
    assert found.whole.mean_width_mm == pytest.approx(1.2)
    assert found.whole.arc_deg == pytest.approx(360.0)
    assert found.whole.length_fraction == pytest.approx(1.0)
