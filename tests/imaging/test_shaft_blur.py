"""A shaft's metal taken off: what is left is the tissue that was put there.

The scan is calculated from the model itself with another radius, blur and axis than
the fit says, so that what is left over is the error of the refinement alone.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import special

from cases.oblique_shaft import shaft_axis, shaft_geometry
from cemscope.findings import Side
from cemscope.measurement.shaft_blur import without_shaft
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import ShaftProfile
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.segmentation.scan_region import ScanRegion, box_of

MARROW_HU, METAL_HU, RADIUS_MM = 120.0, 6000.0, 3.0
SHAPE = (30, 60, 40)


@dataclass(frozen=True)
class BlurCase:
    name: str
    radius_mm: float = RADIUS_MM
    plane_mm: float = 0.5
    through_mm: float = 0.5
    shift_mm: float = 0.0


CASES = (
    BlurCase("as fitted"),
    BlurCase("thicker slices than the fit knows", through_mm=0.7),
    BlurCase("sharper across the slices", through_mm=0.38),
    BlurCase("radius misfitted", radius_mm=3.1),
    BlurCase("axis misfitted", shift_mm=0.12),
)


def scan(case: BlurCase) -> tuple[ScanRegion, np.ndarray]:
    """The scan of a smooth shaft in marrow, and the distance outside its surface."""
    grid = shaft_geometry(SHAPE)
    points = grid.index_to_lps(
        np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).reshape(-1, 3)
    )
    line = shaft_axis(case.shift_mm)
    offset = points - line.point
    offset -= (offset @ line.forward)[:, None] * line.forward
    radius = np.linalg.norm(offset, axis=1)
    share = (offset[:, 2] / np.maximum(radius, 1e-6)) ** 2
    sigma = np.sqrt(case.plane_mm**2 * (1 - share) + case.through_mm**2 * share)
    inside = 0.5**2 / (2.0 * RADIUS_MM)
    outside = radius - case.radius_mm
    hu = MARROW_HU + METAL_HU * special.ndtr(-(outside + inside) / sigma)
    noise = np.random.default_rng(1).normal(0.0, 15.0, hu.shape)
    array = np.rint(hu + noise).astype(np.int16).reshape(SHAPE)
    labels = np.full(SHAPE, 22, np.uint8)
    whole = box_of(np.zeros(3, int), np.array(SHAPE))
    return ScanRegion(whole, array, labels, grid), outside.reshape(SHAPE)


SCREW = ScrewModel(
    level="L3",
    side=Side.LEFT,
    axis=shaft_axis(),
    neck_mm=2.0,
    tip_mm=40.0,
    shaft=ShaftProfile(RADIUS_MM, 0.5, METAL_HU),
    thread=ThreadEstimate(RADIUS_MM, 0.0),
    tip_uncertainty_mm=0.5,
    free_length_mm=38.0,
)


def left_over(case: BlurCase, screw: ScrewModel = SCREW) -> float:
    """Root mean square of what is not marrow, 0.7 to 1.5 mm from the surface."""
    region, outside = scan(case)
    away = outside > 0.0
    found = without_shaft(region, screw, away, (4.0, 36.0))
    beside = (outside > 0.7) & (outside < 1.5) & (found.weight > 0)
    error = found.hu[beside] - MARROW_HU
    return float(np.sqrt(np.mean(error**2)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_only_tissue_is_left(case: BlurCase) -> None:
    # The flank adds up to 970 HU at 0.7 mm; noise of 15 HU stays.
    assert left_over(case) < 40.0


def test_the_blur_across_the_slices_is_found() -> None:
    region, outside = scan(BlurCase("thick", through_mm=0.7))
    found = without_shaft(region, SCREW, outside > 0.0, (4.0, 36.0)).blur
    across = found.sigma_mm(np.array([0.0, 1.0]))
    assert across[0] == pytest.approx(0.5, abs=0.04)
    assert across[1] == pytest.approx(0.7, abs=0.06)
