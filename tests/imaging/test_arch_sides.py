"""How dense the bone of a scan is, read from vertebrae of which some hold cement."""

import numpy as np
import pytest

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.scan_region import ScanRegion
from cemscope.segmentation.tissue_levels import (
    TissueLevelSettings,
    estimate_tissue_levels,
)
from cemscope.spine import Spine, Vertebra, VertebraFrame, VertebraLevel, VertebraSource
from cemscope.volume import CTVolume, LabelMap

ARCH_HU, CEMENT_HU, NOISE_HU = 700.0, 1400.0, 5.0
LEVELS = [VertebraLevel("L2"), VertebraLevel("L3")]


def arch_level_hu(tracks: tuple[tuple[int, int], ...]) -> float:
    """Densest arch of two vertebrae with tracks of cement, each (level, side)."""
    geometry = VoxelGeometry.from_axes((64, 60, 60), (1.0, 1.0, 1.0), (-30, -20, -32))
    index = np.moveaxis(np.indices(geometry.shape), 0, -1)
    x, y, z = np.moveaxis(geometry.index_to_lps(index), -1, 0)
    hu = np.random.default_rng(7).normal(40.0, NOISE_HU, geometry.shape)
    labels = np.zeros(geometry.shape, np.uint8)
    vertebrae = []
    for number, level in enumerate(LEVELS):
        up = z - (16.0 - 32.0 * number)
        body = (np.abs(x) <= 18) & (np.abs(y) <= 12) & (np.abs(up) <= 12)
        arch = (np.abs(x) <= 18) & (y >= 18) & (y <= 30) & (np.abs(up) <= 8)
        labels[body], labels[arch] = level.number, level.arch_number
        hu[body] += 100.0
        hu[arch] += ARCH_HU - 40.0
        for at, side in tracks:
            if at == number:
                off = np.hypot(x - 9.0 * side, up)
                hu[arch & (off <= 2.0)] = CEMENT_HU
        frame = VertebraFrame(np.array([0.0, 0.0, 16.0 - 32.0 * number]), *np.eye(3))
        vertebrae.append(
            Vertebra(level, 1.0, VertebraSource.EMBEDDED, True, frame, 21.0)
        )
    spine = Spine(LabelMap(labels, geometry), tuple(vertebrae))
    whole = (slice(0, 64), slice(0, 60), slice(0, 60))
    ct = CTVolume(np.rint(hu).astype(np.int16), geometry)
    region = ScanRegion.of_box(ct, spine.labels, whole)
    levels = estimate_tissue_levels(region, spine, None, TissueLevelSettings())
    return levels.arch_upper_hu


@pytest.mark.parametrize(
    "tracks", [(), ((0, 1),), ((0, 1), (1, -1))], ids=["none", "one", "in both"]
)
def test_cement_on_one_side_is_not_the_densest_arch(
    tracks: tuple[tuple[int, int], ...],
) -> None:
    # The quantile lies three or four standard deviations above the mean.
    assert arch_level_hu(tracks) == pytest.approx(ARCH_HU, abs=5 * NOISE_HU)
