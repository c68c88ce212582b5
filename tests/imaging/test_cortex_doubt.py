"""Cement that touches endplates, and cortex as bright as cement."""

import numpy as np
import pytest

from cases.augmented_spines import cement_of
from cases.leaking_body import cement_map, treated
from cemscope.findings import CementVolume, Interval
from cemscope.measurement.augmentation import measure_augmentation
from cemscope.measurement.cement_fraction import assign_owners
from cemscope.measurement.cement_volume import CementCluster
from cemscope.measurement.cortex_doubt import (
    CORTEX_MM,
    cement_at_cortex_ml,
    cortex_counts,
    cortex_notices,
    doubt_cortex,
)
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.cement.cement_settings import CementSettings
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid
from cemscope.testing.phantoms import Contrast, Implant, Scanner, build_phantom


@pytest.mark.parametrize("cement_hu", [1500.0, 2000.0, 2600.0])
def test_endplates_that_cement_touches_do_not_count(cement_hu: float) -> None:
    """A column from endplate to endplate; either reads 750 HU over 1.2 mm."""
    column = Cylinder((0.0, -2.0, 24.0), (0.0, -2.0, 48.0), 8.0)
    phantom = build_phantom(
        ("L3", "L2"),
        (Implant(column, level="L2"),),
        Scanner(clip_hu=None),
        Contrast(cement_hu=cement_hu),
    )
    found = cement_of(measure_augmentation(phantom.ct, phantom.spine), "L2")
    voxel_ml = phantom.ct.geometry.voxel_volume_mm3 / 1000.0
    truth = float(phantom.cement_fraction.sum()) * voxel_ml
    # Its ends (0.4 mL) are blurred into cortex half as bright as the faintest cement.
    assert found.volume_ml == pytest.approx(truth, rel=0.08)
    assert found.interval.low_ml <= truth <= found.interval.high_ml


FAINT = CementLevel(1200.0, 24.0, False)


@pytest.mark.parametrize(
    ("level", "cortex_hu", "counts"),
    [
        (FAINT, 1100.0, True),
        (FAINT, 700.0, False),
        (CementLevel(2500.0, 50.0, False), 1100.0, False),
        (CementLevel(1200.0, 24.0, True), 1100.0, False),
        (None, 1100.0, False),
    ],
    ids=["as bright", "dark cortex", "bright cement", "clipped", "no cement"],
)
def test_weak_cement_leaves_no_room_above_bright_cortex(
    level: CementLevel | None, cortex_hu: float, counts: bool
) -> None:
    levels = TissueLevels(150.0, cortex_hu, 240.0, cortex_hu, 6.0, None, 1)
    assert cortex_counts(level, levels, CementSettings()) is counts
    codes = [notice.code for notice in cortex_notices(counts, level)]
    assert codes == (["cortex_like_cement"] if counts else [])


@pytest.mark.parametrize(
    ("piece", "part"),
    [
        (Ellipsoid((0.0, -2.0, 36.0), (8.0, 7.0, 6.0)), 0.0),
        (Cylinder((0.0, -2.0, 47.2), (0.0, -2.0, 49.0), 8.0), 1.0),
        (Cylinder((0.0, -2.0, 36.0), (0.0, -2.0, 49.0), 8.0), CORTEX_MM / 13.0),
    ],
    ids=["deep", "at the endplate", "a column up to it"],
)
def test_cement_at_the_cortex(piece: Cylinder | Ellipsoid, part: float) -> None:
    """The upper endplate of L2 lies at 49 mm."""
    phantom = treated((piece,))
    maps = cement_map(phantom)
    owners = assign_owners(maps, phantom.spine)
    none = np.zeros(maps.fraction.shape, np.uint8)
    lower_ml, found_ml = cement_at_cortex_ml(
        (CementCluster(maps, owners, none),), phantom.spine
    )
    total_ml = float(maps.fraction[owners.owner == 2].sum()) * maps.part.region.voxel_ml
    assert lower_ml == 0.0
    # Slices of 1 mm: the depth is known to half a slice of 13 mm, and the blur.
    assert found_ml / total_ml == pytest.approx(part, abs=0.1)


def test_intervals_reach_down_to_what_is_left() -> None:
    value = CementVolume("L2", 3.0, Interval(2.7, 3.3), 3.0, 3.0, 0.0, 0.1)
    empty, large, small, all_of_it = doubt_cortex(
        (None, value, value, value), np.array([0.5, 1.6, 0.1, 4.0])
    )
    assert empty is None
    assert large is not None
    assert large.interval.low_ml == pytest.approx(1.4)
    assert large.interval.high_ml == 3.3
    assert small == value
    assert all_of_it is not None
    assert all_of_it.interval == Interval(0.0, 3.3)
    assert large.volume_ml == 3.0
