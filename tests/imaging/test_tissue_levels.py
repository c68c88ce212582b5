"""How bright bone can be in this scan, also where every vertebra holds a screw."""

from dataclasses import dataclass

import numpy as np
import pytest

from cemscope.anatomy import VertebraLevel
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.scan_region import ScanRegion, box_of
from cemscope.segmentation.tissue_levels import (
    BRIGHTEST_ARCH_HU,
    FALLBACK_ARCH_HU,
    TissueLevelSettings,
    estimate_tissue_levels,
)
from cemscope.spine import Spine, Vertebra, VertebraFrame, VertebraSource
from cemscope.volume import LabelMap

SHAPE, SPACING_MM = (60, 60, 40), 1.0
FACET_HU, METAL_HU = 1350, 3071
LEVELS = ("L3", "L2")


@dataclass(frozen=True)
class Arches:
    """Two vertebrae, one above the other; screws lie in the arches of some."""

    name: str
    screws: tuple[bool, bool]
    expected_hu: float
    rim_hu: int = 0
    filled: bool = False


ARCHES = (
    Arches("no screw", (False, False), FACET_HU),
    Arches("one screw", (True, False), FACET_HU),
    Arches("a screw in every arch", (True, True), FACET_HU),
    Arches("with a bright rim", (True, True), FACET_HU, rim_hu=1800),
    Arches("all streaks", (True, True), BRIGHTEST_ARCH_HU, rim_hu=1910, filled=True),
)


@pytest.mark.parametrize("arches", ARCHES, ids=lambda arches: arches.name)
def test_bone_of_arches_is_read_away_from_screws(arches: Arches) -> None:
    region, spine = _scene(arches)
    levels = estimate_tissue_levels(region, spine, METAL_HU, TissueLevelSettings())
    # Streaks that fill an arch can only raise what counts as bone.
    tolerance_hu = 15.0
    assert levels.arch_upper_hu == pytest.approx(arches.expected_hu, abs=tolerance_hu)


def test_an_arch_that_metal_fills_tells_nothing() -> None:
    region, spine = _scene(Arches("full", (True, True), FALLBACK_ARCH_HU))
    arch = np.isin(region.labels, [v.level.arch_number for v in spine.vertebrae])
    hu = np.where(arch, np.int16(METAL_HU), region.hu)
    full = ScanRegion(region.box, hu, region.labels, region.geometry)
    levels = estimate_tissue_levels(full, spine, METAL_HU, TissueLevelSettings())
    assert levels.arch_upper_hu == FALLBACK_ARCH_HU


def test_a_half_that_is_hardly_there_is_not_compared() -> None:
    region, spine = _scene(ARCHES[0])
    labels = region.labels.copy()
    arch = np.isin(labels, [v.level.arch_number for v in spine.vertebrae])
    # What is left beyond the midline has no facet.
    labels[arch & (np.arange(SHAPE[2]) < 18)] = 0
    cut = ScanRegion(region.box, region.hu, labels, region.geometry)
    levels = estimate_tissue_levels(cut, spine, METAL_HU, TissueLevelSettings())
    assert levels.arch_upper_hu == pytest.approx(FACET_HU, abs=15.0)


def test_cement_on_one_side_of_an_arch_is_not_its_bone() -> None:
    region, spine = _scene(ARCHES[0])
    arch = np.isin(region.labels, [v.level.arch_number for v in spine.vertebrae])
    columns = np.arange(SHAPE[2])
    cement = arch & (columns >= 32)
    hu = np.where(cement, np.int16(1880), region.hu)
    filled = ScanRegion(region.box, hu, region.labels, region.geometry)
    levels = estimate_tissue_levels(filled, spine, METAL_HU, TissueLevelSettings())
    assert levels.arch_upper_hu == pytest.approx(FACET_HU, abs=15.0)


def _scene(arches: Arches) -> tuple[ScanRegion, Spine]:
    geometry = VoxelGeometry.from_axes(SHAPE, (SPACING_MM,) * 3, (0.0, 0.0, 0.0))
    hu = np.full(SHAPE, 40, np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    vertebrae = []
    for index, name in enumerate(LEVELS):
        level = VertebraLevel(name)
        slices = slice(30 * index + 2, 30 * index + 26)
        body, arch = np.zeros(SHAPE, np.bool_), np.zeros(SHAPE, np.bool_)
        body[slices, 4:28, 4:36] = True
        arch[slices, 30:58, 4:36] = True
        labels[body], labels[arch] = level.number, level.arch_number
        hu[body] = 140
        hu[arch] = 200
        columns = np.arange(SHAPE[2])
        hu[arch & ((columns < 8) | (columns >= 32))] = FACET_HU
        if arches.screws[index]:
            middle = slice(30 * index + 12, 30 * index + 17)
            if arches.rim_hu:
                rim = slice(30 * index + 10, 30 * index + 19)
                hu[rim, 30:58, 22:33] = arches.rim_hu
            if arches.filled:
                hu[arch] = BRIGHTEST_ARCH_HU
            hu[middle, 30:58, 25:30] = METAL_HU
        centre = np.argwhere(body).mean(axis=0)
        vertebrae.append(
            Vertebra(
                level,
                1.0,
                VertebraSource.EMBEDDED,
                True,
                VertebraFrame(geometry.index_to_lps(centre), *np.eye(3)),
                float(body.sum()) / 1000.0,
            )
        )
    box = box_of(np.zeros(3, int), np.array(SHAPE))
    spine = Spine(LabelMap(labels, geometry, {}), tuple(vertebrae))
    return ScanRegion(box, hu, labels, geometry), spine
