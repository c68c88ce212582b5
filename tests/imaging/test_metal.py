"""Metal: level, rods and heads apart from shafts, parts far from the spine."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cases.augmented_spines import analysed, fixation, vertebroplasty
from cemscope.findings import MetalKind
from cemscope.segmentation.implants.hardware import held_by_bodies
from cemscope.segmentation.implants.metal import (
    MetalSettings,
    find_distant_metal,
    map_spinal_metal,
    metal_core_level_hu,
)
from cemscope.segmentation.implants.screws import search_screws
from cemscope.segmentation.scan_region import ScanRegion, box_around
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid
from cemscope.testing.phantoms import (
    Contrast,
    Implant,
    Phantom,
    Scanner,
    build_phantom,
    pedicle_screw,
)
from cemscope.volume import CTVolume


def region_of(phantom: Phantom) -> ScanRegion:
    box = box_around(phantom.spine.labels.labels > 0, phantom.ct.geometry, 40.0)
    assert box is not None
    return ScanRegion.of_box(phantom.ct, phantom.spine.labels, box)


def test_level_lies_between_cement_and_metal_on_an_extended_scale() -> None:
    phantom = fixation(Scanner(clip_hu=None), Contrast(cement_hu=3300.0))
    level = metal_core_level_hu(region_of(phantom), None, MetalSettings())
    assert 3300.0 < level < 8000.0 * 0.75


def test_level_is_just_below_the_ceiling_of_a_clipped_scan() -> None:
    level = metal_core_level_hu(region_of(fixation()), 3071, MetalSettings())
    assert 0.9 * 3071 < level < 3071


def test_rods_screws_and_volumes() -> None:
    phantom = fixation(levels=("L4", "L3"))
    found = analysed(phantom)
    kinds = [part.kind for part in found.metal]
    assert kinds.count(MetalKind.SCREW) == 4
    assert kinds.count(MetalKind.ROD) == 2
    assert MetalKind.OTHER not in kinds
    true_ml = (
        float(phantom.metal_fraction.sum()) * phantom.ct.geometry.voxel_volume_mm3 / 1e3
    )
    total = sum(part.volume_ml for part in found.metal)
    # Heads and rods are counted above 93 % of the ceiling, 0.3 mm outside.
    assert total == pytest.approx(true_ml, rel=0.2)


def test_a_nail_far_from_the_spine_is_other_metal() -> None:
    phantom = vertebroplasty()
    ct = phantom.ct
    hu = ct.hu.copy()
    shaft = Cylinder((40.0, 50.0, -20.0), (40.0, 50.0, 10.0), 4.0)
    grid = np.stack(np.meshgrid(*map(np.arange, hu.shape), indexing="ij"), -1)
    hu[shaft.contains(ct.geometry.index_to_lps(grid))] = 3071
    changed = CTVolume(hu, ct.geometry, clipped_at_hu=3071)
    spine_box = box_around(phantom.spine.labels.labels >= 21, ct.geometry, 5.0)
    parts = find_distant_metal(changed, spine_box, MetalSettings())
    assert [part.kind for part, _, _ in parts] == [MetalKind.OTHER]
    volume = parts[0][0]
    assert volume.volume_ml == pytest.approx(shaft.volume_ml, rel=0.1)
    assert volume.centroid_lps_mm == pytest.approx((40.0, 50.0, -5.0), abs=1.0)


def test_nothing_bright_is_no_metal() -> None:
    phantom = vertebroplasty(contrast=Contrast(cement_hu=1200.0))
    assert find_distant_metal(phantom.ct, None, MetalSettings()) == ()


def test_cement_nearly_as_bright_as_metal_is_none_beside_a_body() -> None:
    """Dense barium cement at low voltage reads 5,500 HU in a body and outside of it."""
    bright = Contrast(cement_hu=5500.0, metal_hu=11000.0)
    parts = [
        part
        for side in (-1, 1)
        for part in (
            Implant(Ellipsoid((side * 8.0, -4.0, 40.0), (6.0, 7.0, 6.0)), level="L4"),
            *pedicle_screw(1, side),
        )
    ]
    leak = Ellipsoid((-26.0, -4.0, 36.0), (2.5, 7.0, 7.0))
    clip = Implant(Ellipsoid((28.0, -28.0, 36.0), (5.0, 5.0, 5.0)), is_metal=True)
    phantom = build_phantom(
        ("L5", "L4"),
        (*parts, Implant(leak, level="L4"), clip),
        Scanner(clip_hu=None),
        bright,
    )
    region = region_of(phantom)
    level_hu = metal_core_level_hu(region, None, MetalSettings())
    screws = search_screws(phantom.ct, phantom.spine, level_hu).screws
    assert len(screws) == 2
    metal = map_spinal_metal(region, phantom.spine, screws, level_hu, MetalSettings())
    at = region.geometry.lps_to_index(
        np.array([[-26.0, -4.0, 36.0], [28.0, -28.0, 36.0]])
    )
    in_leak, in_clip = (tuple(k) for k in np.round(at).astype(int))
    assert metal.hardware[in_leak] == 0
    assert metal.hardware[in_clip] == 3


@dataclass(frozen=True)
class HeldCase:
    """A rod of dense matter from ``start_mm`` to the left, brighter at its end."""

    name: str
    start_mm: float
    end_hu: float
    least_ml: float
    is_held: bool


HELD_CASES = (
    HeldCase("string of cement from the body", 4.0, 5500.0, 0.05, True),
    HeldCase("marker that touches cement", 4.0, 6500.0, 0.05, False),
    HeldCase("clip beside the body", 34.0, 5500.0, 0.05, False),
    HeldCase("too little in the body", 4.0, 5500.0, 5.0, False),
)


@pytest.mark.parametrize("case", HELD_CASES, ids=lambda case: case.name)
def test_cement_hangs_together_with_a_body(case: HeldCase) -> None:
    phantom = vertebroplasty()
    region = region_of(phantom)
    grid = np.stack(np.meshgrid(*map(np.arange, region.hu.shape), indexing="ij"), -1)
    points = region.geometry.index_to_lps(grid)
    string = Cylinder((case.start_mm, -2.0, 36.0), (40.0, -2.0, 36.0), 3.0)
    dense = string.contains(points)
    assert (region.labels[dense] == 0).any()
    hu = np.where(dense, 5000, 0).astype(np.int16)
    hu[dense & (points[..., 0] > 35.0)] = int(case.end_hu)
    held = held_by_bodies(
        replace(region, hu=hu), phantom.spine, dense, 6000.0, case.least_ml
    )
    assert np.array_equal(held, dense if case.is_held else np.zeros_like(dense))
