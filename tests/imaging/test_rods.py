"""Rods: one piece per side, with the right radius and length; streaks are none."""

import numpy as np
import pytest

from cases.augmented_spines import fixation
from cemscope.findings import MetalKind, Side
from cemscope.segmentation.implants.metal import MetalSettings, map_spinal_metal
from cemscope.segmentation.implants.rods import RodModel, find_rods
from cemscope.segmentation.implants.screw_profile import ScrewAxis
from cemscope.segmentation.implants.screws import search_screws
from cemscope.segmentation.scan_region import ScanRegion, box_around
from cemscope.testing.phantoms import Phantom, Scanner, screw_axis

LEVELS = ("L4", "L3")
CLIPPED_LEVEL_HU = 0.93 * 3071


def region_of(phantom: Phantom) -> ScanRegion:
    box = box_around(phantom.spine.labels.labels > 0, phantom.ct.geometry, 40.0)
    assert box is not None
    return ScanRegion.of_box(phantom.ct, phantom.spine.labels, box)


def rod_ends(side: int) -> tuple[np.ndarray, np.ndarray]:
    """End points of the phantoms' rods; see `cemscope.testing.phantoms.rod`."""
    lower, upper = (np.array(screw_axis(k, side)[0]) for k in (1, 2))
    behind, along = np.array([0.0, 4.0, 0.0]), np.array([0.0, 0.0, 8.0])
    return lower + behind - along, upper + behind + along


@pytest.mark.parametrize(
    ("scanner", "level_hu", "error_mm"),
    [
        (None, CLIPPED_LEVEL_HU, 0.3),
        (Scanner(clip_hu=None), 4000.0, 0.15),
        (Scanner(spacing_mm=(2.0, 0.7, 0.7)), CLIPPED_LEVEL_HU, 0.4),
    ],
    ids=["clipped", "extended", "slices of 2 mm"],
)
def test_one_rod_per_side(
    scanner: Scanner | None, level_hu: float, error_mm: float
) -> None:
    phantom = fixation(scanner, levels=LEVELS)
    screws = search_screws(phantom.ct, phantom.spine, level_hu).screws
    ceiling = None if phantom.ct.clipped_at_hu is None else 3071.0
    rods = find_rods(region_of(phantom), screws, level_hu, ceiling)
    assert [rod.side for rod in rods] == [Side.LEFT, Side.RIGHT]
    for rod in rods:
        low, high = rod_ends(1 if rod.side is Side.LEFT else -1)
        assert rod.radius_mm == pytest.approx(2.75, abs=error_mm)
        assert rod.length_mm == pytest.approx(np.linalg.norm(high - low), abs=4.0)
        line = low + np.linspace(0.1, 0.9, 20)[:, None] * (high - low)
        assert rod.distances_mm(line).max() <= 1.0


def test_metal_is_two_screws_and_a_rod_per_side() -> None:
    phantom = fixation(levels=LEVELS)
    screws = search_screws(phantom.ct, phantom.spine, CLIPPED_LEVEL_HU).screws
    region = region_of(phantom)
    metal = map_spinal_metal(
        region, phantom.spine, screws, CLIPPED_LEVEL_HU, MetalSettings()
    )
    assert [part.kind for part in metal.volumes] == [MetalKind.ROD, MetalKind.ROD]
    low, high = rod_ends(1)
    true_ml = np.pi * 2.75**2 * np.linalg.norm(high - low) / 1000.0
    for part in metal.volumes:
        assert part.volume_ml == pytest.approx(true_ml, rel=0.25)
    middle = np.round(region.geometry.lps_to_index(0.5 * (low + high))).astype(int)
    assert metal.hardware[tuple(middle)] == 2
    # No voxel is counted twice.
    assert not np.any((metal.shafts > 0) & (metal.hardware > 0))


def test_screws_without_rod_have_none() -> None:
    phantom = fixation()
    screws = search_screws(phantom.ct, phantom.spine, CLIPPED_LEVEL_HU).screws
    assert len(screws) == 2
    assert find_rods(region_of(phantom), screws, CLIPPED_LEVEL_HU, 3071.0) == ()


def test_measures_of_a_curve() -> None:
    points = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 10.0], [0.0, 10.0, 10.0]])
    rod = RodModel(Side.LEFT, points, 2.0)
    assert rod.length_mm == pytest.approx(20.0)
    assert rod.volume_ml == pytest.approx(np.pi * 4.0 * 20.0 / 1000.0)
    query = np.array([[3.0, 0.0, 5.0], [0.0, 14.0, 10.0]])
    assert rod.distances_mm(query) == pytest.approx([3.0, 4.0])
    axis = ScrewAxis(np.array([0.0, -7.0, 10.0]), np.array([0.0, 1.0, 0.0]))
    assert rod.nearest_on_axis(axis) == pytest.approx(7.0)
