"""Streak crests beside a shaft: taken off where it is bare, left where cement is."""

import numpy as np
import pytest

from cemscope.findings import Side
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.implants.implant_metals import strong_metal_share
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import ScrewAxis, ShaftProfile
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.segmentation.implants.shaft_contour import ShaftContour, neutral_sector
from cemscope.segmentation.implants.shaft_streaks import estimate_crest
from cemscope.segmentation.scan_region import ScanRegion

RADIUS_MM, SIGMA_MM, METAL_HU, BONE_HU = 3.0, 0.5, 6500.0, 120.0
CREST_HU = 1000.0


def scan(crest_hu: float, cement_from_mm: float = 99.0) -> ScanRegion:
    """A shaft along -y in the slice plane, with crests to its left and right."""
    geometry = VoxelGeometry.from_axes(
        (41, 90, 61), (0.7, 0.7, 0.7), (-21.0, -31.0, -14.0), np.eye(3)[::-1], "1.2"
    )
    z, y, x = (
        geometry.origin_lps_mm[axis] + 0.7 * np.arange(n)
        for axis, n in zip((2, 1, 0), geometry.shape, strict=True)
    )
    across, up = x[None, None, :], z[:, None, None]
    r = np.hypot(across, up)
    shaft = ShaftProfile(RADIUS_MM, SIGMA_MM, METAL_HU)
    share = shaft.metal_share(r - RADIUS_MM)
    away = np.maximum(np.abs(across), RADIUS_MM) / RADIUS_MM
    tissue = BONE_HU + crest_hu * away**-2 * (np.abs(up) < RADIUS_MM)
    along = -y[None, :, None]
    cement = (along > cement_from_mm) & (r < RADIUS_MM + 5.0)
    tissue = np.where(cement, 1700.0, tissue)
    hu = np.minimum(METAL_HU * share + tissue * (1.0 - share), 3071.0)
    hu = np.broadcast_to(hu, geometry.shape).round().astype(np.int16)
    whole = (slice(None), slice(None), slice(None))
    return ScanRegion(whole, hu, np.zeros(hu.shape, np.uint8), geometry)


SCREW = ScrewModel(
    "L4",
    Side.LEFT,
    ScrewAxis(np.array([0.0, 25.0, 0.0]), np.array([0.0, -1.0, 0.0])),
    neck_mm=5.0,
    tip_mm=45.0,
    shaft=ShaftProfile(RADIUS_MM, SIGMA_MM, METAL_HU),
    thread=ThreadEstimate(RADIUS_MM, 0.0),
    tip_uncertainty_mm=1.0,
    free_length_mm=30.0,
)


def sides(t_mm: float, crest_hu: float, cement_from_mm: float) -> np.ndarray:
    """Excess at 2 mm outside the surface: left, up, right, down."""
    crest = estimate_crest(scan(crest_hu, cement_from_mm), SCREW)
    if crest is None:
        return np.zeros(4)
    first, second = SCREW.axis.cross_vectors()
    directions = np.array([[1, 0, 0], [0, 0, 1], [-1, 0, 0], [0, 0, -1]], float)
    angle = np.arctan2(directions @ second, directions @ first)
    return crest.at(np.full(4, t_mm), angle, np.full(4, RADIUS_MM + 2.0))


def test_crest_is_read_on_both_sides_of_a_bare_shaft() -> None:
    left, up, right, down = sides(20.0, CREST_HU, 99.0)
    expected = CREST_HU * (RADIUS_MM / (RADIUS_MM + 2.0)) ** 2
    assert left == pytest.approx(expected, rel=0.15)
    assert right == pytest.approx(expected, rel=0.15)
    assert max(up, down) < 100.0


def test_nothing_is_taken_off_where_there_is_no_crest() -> None:
    assert np.all(sides(20.0, 0.0, 99.0) == 0.0)


def test_cement_all_around_is_no_crest() -> None:
    """Cement in front of y = 0, that is from t = 25 mm on."""
    assert np.all(sides(35.0, CREST_HU, 0.0) == 0.0)
    assert sides(12.0, CREST_HU, 0.0)[0] > 0.8 * 0.36 * CREST_HU


def test_a_short_bare_stretch_tells_nothing() -> None:
    assert estimate_crest(scan(CREST_HU, -18.5), SCREW) is None


def test_streaks_leave_the_diagonals_alone() -> None:
    region = scan(0.0)
    sector = neutral_sector(SCREW.axis, region.geometry)
    assert sector is not None
    first, second = SCREW.axis.cross_vectors()
    for direction, held in (((1, 0, 0), False), ((0, 0, 1), False), ((1, 0, 1), True)):
        unit = np.array(direction, float)
        angle = np.array([np.arctan2(unit @ second, unit @ first)])
        assert bool(sector.holds(angle)[0]) is held
    upright = ScrewAxis(np.zeros(3), np.array([0.0, 0.0, 1.0]))
    assert neutral_sector(upright, region.geometry) is None


def test_clipped_contour_of_stronger_metal_lies_farther_out() -> None:
    contour = ShaftContour(3.2, 0.0, 2850.0, 0.5)
    titanium = contour.outer_radius_mm(6500.0, 100.0, 0.0)
    strong = contour.outer_radius_mm(12500.0, 100.0, 0.0)
    # Blur of 0.5 mm: Phi^-1 of the two shares, 0.43 and 0.22, differs by 0.59.
    assert titanium - strong == pytest.approx(0.5 * 0.59, abs=0.01)
    assert contour.deviation_mm(0.3) > contour.deviation_mm(0.0) > 0.1


def test_no_shadow_excludes_a_metal() -> None:
    shares = [strong_metal_share(hu) for hu in (-1024.0, -400.0, 100.0)]
    assert shares == sorted(shares, reverse=True)
    assert 0.0 < shares[2] < 0.1
    assert shares[1] == pytest.approx(0.5)
