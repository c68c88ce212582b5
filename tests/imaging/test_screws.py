"""Pedicle screws: found with level and side, axis, tip and diameter; none invented."""

from dataclasses import dataclass

import numpy as np
import pytest

from cases.augmented_spines import (
    NEEDLE_TRACK,
    THREADED_TRUTH,
    fixation,
    threaded_fixation,
    vertebroplasty,
)
from cemscope.findings import Side
from cemscope.segmentation.implants.screw_thread import USUAL_TAPER_RADII
from cemscope.segmentation.implants.screws import ScrewModel, search_screws
from cemscope.testing.phantoms import Contrast, Phantom, Scanner, screw_axis

CLIPPED_LEVEL_HU = 2850.0
TRUE_SCREWS = {("L4", Side.LEFT), ("L4", Side.RIGHT)}


def truth_of(model: ScrewModel) -> tuple[np.ndarray, np.ndarray]:
    assert model.level == "L4"
    head, tip = screw_axis(1, 1 if model.side is Side.LEFT else -1)
    return np.array(head), np.array(tip)


@dataclass(frozen=True)
class ScrewCase:
    name: str
    scanner: Scanner | None = None
    contrast: Contrast | None = None
    radius_mm: float = 3.0
    level_hu: float = CLIPPED_LEVEL_HU
    diameter_error_mm: float = 0.4
    # Flat ends in cement are taken for cones whose thin point is not seen.
    tip_error_mm: float = 1.3


CASES = (
    ScrewCase("clipped titanium, cement below the ceiling"),
    ScrewCase("streaks", Scanner(streak_hu=800.0)),
    ScrewCase(
        "extended scale",
        Scanner(clip_hu=None),
        level_hu=4500.0,
        diameter_error_mm=0.2,
    ),
    # Cobalt chrome is twice as bright as the titanium prior: 0.7 mm is the goal.
    ScrewCase(
        "steel, thin screw",
        Scanner(spacing_mm=(1.0, 0.5, 0.5)),
        Contrast(metal_hu=13000.0),
        2.25,
        diameter_error_mm=0.7,
    ),
    ScrewCase("weakly opaque cement", contrast=Contrast(cement_hu=1100.0)),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_screw_is_found_and_none_invented(case: ScrewCase) -> None:
    phantom = fixation(case.scanner, case.contrast, case.radius_mm)
    screws = search_screws(phantom.ct, phantom.spine, case.level_hu).screws
    assert {(s.level, s.side) for s in screws} == TRUE_SCREWS
    assert len(screws) == 2
    for screw in screws:
        head, tip = truth_of(screw)
        assert np.linalg.norm(screw.tip_lps_mm - tip) <= case.tip_error_mm
        assert np.linalg.norm(screw.head_lps_mm - head) <= 2.0
        error = 2 * screw.shaft.radius_mm - 2 * case.radius_mm
        assert abs(error) <= case.diameter_error_mm
        assert screw.tip_uncertainty_mm <= 2.0


def test_tip_in_cement_as_bright_as_metal_is_a_range_that_holds_it() -> None:
    phantom = fixation(contrast=Contrast(cement_hu=3600.0))
    screws = search_screws(phantom.ct, phantom.spine, CLIPPED_LEVEL_HU).screws
    assert {(s.level, s.side) for s in screws} == TRUE_SCREWS
    for screw in screws:
        _, tip = truth_of(screw)
        along = abs(float((tip - screw.tip_lps_mm) @ screw.axis.forward))
        assert screw.tip_uncertainty_mm > 2.0
        assert along <= screw.tip_uncertainty_mm + 0.5


@pytest.mark.parametrize(
    "phantom",
    [
        vertebroplasty(),
        vertebroplasty(extra=(NEEDLE_TRACK,), contrast=Contrast(cement_hu=3600.0)),
    ],
    ids=["cement only", "cement as bright as metal, with a needle track"],
)
def test_cement_is_no_screw(phantom: Phantom) -> None:
    assert search_screws(phantom.ct, phantom.spine, CLIPPED_LEVEL_HU).screws == ()


def test_distances_are_those_of_a_capped_cylinder() -> None:
    phantom = fixation()
    screw = search_screws(phantom.ct, phantom.spine, CLIPPED_LEVEL_HU).screws[0]
    first, _ = screw.axis.cross_vectors()
    r = screw.shaft.radius_mm
    middle = screw.axis.at(0.5 * screw.tip_mm)
    beyond = screw.axis.at(screw.tip_mm + 3.0)
    points = np.array(
        [middle, middle + (r + 2.0) * first, beyond, beyond + (r + 4.0) * first]
    )
    distance, t = screw.distances_mm(points)
    assert distance == pytest.approx([-r, 2.0, 3.0, 5.0], abs=1e-6)
    assert t[2] == pytest.approx(screw.tip_mm + 3.0)


def test_grooves_of_a_thread_and_the_tip_are_not_metal() -> None:
    phantom = threaded_fixation()
    screws = search_screws(phantom.ct, phantom.spine, CLIPPED_LEVEL_HU).screws
    assert {(s.level, s.side) for s in screws} == TRUE_SCREWS
    for screw in screws:
        _, tip = truth_of(screw)
        assert np.linalg.norm(screw.tip_lps_mm - tip) <= 1.5
        # The diameter is that over the thread, the metal's mean radius lies below it.
        assert abs(2 * screw.shaft.radius_mm - 6.5) <= 0.5
        assert screw.thread.metal_radius_mm == pytest.approx(
            THREADED_TRUTH.mean_radius_mm, abs=0.3
        )
        # The foremost millimetres of a 5 mm cone are too thin to be seen.
        assert 1.5 <= screw.thread.taper_mm <= 6.0


@pytest.mark.parametrize("cemented", [True, False])
def test_smooth_shaft_is_all_metal(cemented: bool) -> None:
    phantom = fixation(cemented=cemented)
    for screw in search_screws(phantom.ct, phantom.spine, CLIPPED_LEVEL_HU).screws:
        assert screw.thread.metal_radius_mm == pytest.approx(
            screw.shaft.radius_mm, abs=0.1
        )
        # A flat end is seen in marrow; in cement the usual cone is assumed.
        usual_mm = USUAL_TAPER_RADII * screw.shaft.radius_mm
        longest_mm = usual_mm + 0.5 if cemented else 2.0
        assert screw.thread.taper_mm < longest_mm
