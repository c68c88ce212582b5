"""Where cement surely is: solid, and brighter than the bone of this scan."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.materials import CORTICAL_BONE_MAX_HU
from cemscope.segmentation.cement.cement_settings import CementSettings
from cemscope.segmentation.implants.shaft_rim import TissueImage
from cemscope.segmentation.scan_region import (
    Box,
    ScanRegion,
    box_around,
    grown,
    joint,
    label_boxes,
    narrowed,
    widened,
)
from cemscope.segmentation.tissue_levels import TissueLevels, eroded_hu
from cemscope.spine import Spine
from cemscope.volume import BoolArray, HUArray

MINIMUM_CORE_ML = 0.004
"""Fewer solid voxels tell nothing of the level of cement."""


def core_limit_hu(levels: TissueLevels, settings: CementSettings) -> float:
    """Brightness that the inside of cement exceeds and bone does not."""
    noise = 3.0 * levels.noise_hu / np.sqrt(7.0)
    bone = max(settings.core_margin * levels.compact_upper_hu, levels.cortex_upper_hu)
    return float(max(bone + noise, settings.minimum_core_hu))


@dataclass(frozen=True, slots=True, eq=False)
class VertebraCores:
    """Solid bright voxels of one vertebra, on a box of the region.

    Attributes
    ----------
    number : int
        Label of the body.
    box : tuple of slice
        Where on the region.
    deep : ndarray of bool
        In the body, below its surface.
    shallow : ndarray of bool
        At its surface, in the arch or close beside: only what no bone can reach.
    fine : bool
        Whether its cement is all strands thinner than the erosion.
    """

    number: int
    box: Box
    deep: BoolArray
    shallow: BoolArray
    fine: bool = False

    @property
    def all(self) -> BoolArray:
        """Both."""
        return self.deep | self.shallow


def solid_cores(
    region: ScanRegion,
    spine: Spine,
    tissue: TissueImage,
    levels: TissueLevels,
    settings: CementSettings,
) -> list[VertebraCores]:
    """Find what is solid and brighter than bone, vertebra by vertebra."""
    smooth_mm = SMOOTHING_MM if levels.noise_hu > LOUD_NOISE_HU else 0.0
    limit = core_limit_hu(levels, settings)
    arch_limit = max(limit, settings.core_margin * levels.arch_upper_hu)
    fine_limit = max(
        settings.core_margin * levels.compact_upper_hu + 3.0 * levels.noise_hu,
        settings.minimum_core_hu,
    )
    # Cortex and sclerotic endplates lie at the surface, cement reaches the inside.
    depth_mm = settings.core_depth_mm + 0.5 * region.geometry.voxel_volume_mm3 ** (
        1 / 3
    )
    boxes = label_boxes(region)
    cores = []
    for vertebra in spine.vertebrae:
        numbers = (vertebra.level.number, vertebra.level.arch_number)
        own = tuple(boxes[n] for n in numbers if n in boxes)
        if not own:
            continue
        box = widened(joint(own), settings.body_reach_mm + 1.5, region.geometry)
        bright = box_around(tissue.hu[box] >= limit, region.geometry.crop(box), 0.0)
        if bright is None:
            continue
        # What is eroded needs its surroundings, bone its reach.
        margin_mm = max(
            settings.body_reach_mm, settings.levels.core_radius_mm, depth_mm
        )
        box = narrowed(box, widened(bright, margin_mm + 1.5, region.geometry))
        part = region.sub_box(box)
        eroded = eroded_hu(
            _smoothed(tissue.hu[box], part.geometry, smooth_mm),
            part.geometry,
            settings.levels.core_radius_mm,
        )
        seen = ~tissue.shell[box] & ~tissue.forbidden[box]
        core = (eroded >= limit) & seen
        fine = (eroded >= fine_limit) & seen
        inside = deep_in(part, numbers[0], depth_mm, core | fine)
        strands = not (core & inside).any() and _is_fine_cement(
            tissue.hu[box], part, inside, levels
        )
        if strands:
            core |= fine & inside
        if not core.any():
            continue
        very_bright = core & ~inside & (eroded >= arch_limit)
        deep = core & inside
        own_bone = np.isin(part.labels, numbers)
        treated = bool((tissue.shell[box] & own_bone).any())
        if not treated and deep.sum() * part.voxel_ml < MINIMUM_CORE_ML:
            # Facets and the sacrum's cortex can be the densest bone of a scan: without
            # cement deep in the body, or a screw, only more than bone can reach counts.
            very_bright &= eroded >= CORTICAL_BONE_MAX_HU
        bone = box_around(very_bright, part.geometry, settings.body_reach_mm)
        shallow = np.zeros(core.shape, np.bool_)
        if bone is not None:
            near = grown(
                own_bone[bone], settings.body_reach_mm, part.geometry.crop(bone)
            )
            shallow[bone] = very_bright[bone] & near
        found = VertebraCores(numbers[0], box, deep, shallow, strands)
        if found.all.sum() * region.voxel_ml >= MINIMUM_CORE_ML:
            cores.append(found)
    return cores


def _is_fine_cement(
    hu: HUArray, part: ScanRegion, deep: BoolArray, levels: TissueLevels
) -> bool:
    """Tell cement in strands thinner than the erosion from a bone island.

    Deep in a body nothing but cement exceeds this scan's densest bone.
    """
    if not deep.any():
        return False
    near = grown(deep, FINE_REACH_MM, part.geometry)
    bone = max(levels.cortex_upper_hu, levels.arch_upper_hu, levels.compact_upper_hu)
    bright = near & (hu > FINE_MARGIN * bone + 3.0 * levels.noise_hu)
    return bool(bright.sum() * part.voxel_ml >= FINE_ML)


FINE_REACH_MM, FINE_MARGIN, FINE_ML = 2.0, 1.15, 0.06
"""Strands of cement exceed the scan's densest bone by this factor near their cores, in
so much volume [our choice]."""

LOUD_NOISE_HU = 40.0
"""The darkest of 27 voxels lies two standard deviations below their mean: more noise
than this and weakly opaque cement has no core."""

SMOOTHING_MM = 0.6
"""Gaussian smoothing of loud scans before the erosion; about the blur of a scan."""


def _smoothed(hu: HUArray, geometry: VoxelGeometry, sigma_mm: float) -> HUArray:
    if sigma_mm <= 0.0:
        return hu
    sigma = sigma_mm / np.array(geometry.spacing_mm)
    return np.asarray(ndimage.gaussian_filter(hu, sigma, output=np.int16))


def deep_in(
    part: ScanRegion, number: int, depth_mm: float, where: BoolArray
) -> BoolArray:
    """Voxels of a body, among some, that lie this deep below its surface."""
    deep = np.zeros(part.labels.shape, np.bool_)
    wanted = where & (part.labels == number)
    margin_mm = depth_mm + max(part.geometry.spacing_mm)
    box = box_around(wanted, part.geometry, margin_mm)
    if box is None:
        return deep
    body = part.labels[box] == number
    # Beyond the scan there is no body; a box inside it goes on.
    ends = [
        (int(side.start == 0), int(side.stop == n))
        for side, n in zip(box, part.labels.shape, strict=True)
    ]
    padded = np.pad(body, ends)
    if padded.all():
        deep[box] = True
    else:
        depth = ndimage.distance_transform_edt(
            padded, sampling=part.geometry.spacing_mm
        )
        inner = tuple(
            slice(before, before + n)
            for (before, _), n in zip(ends, body.shape, strict=True)
        )
        deep[box] = depth[inner] >= depth_mm
    deep &= wanted
    return deep
