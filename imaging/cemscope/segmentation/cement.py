"""Bone cement: which voxels hold it and how bright pure cement is in this scan.

There is no fixed threshold. Something is cement if it is solid (bright after an erosion
that makes cortex vanish), brighter than the scan's own compact bone, not metal by
shape, and inside a vertebra or joined to cement that is.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import ARCH_OFFSET
from cemscope.segmentation.cement_level import (
    CementLevel,
    level_of_cores,
    level_of_flanks,
)
from cemscope.segmentation.scan_region import (
    Box,
    ScanRegion,
    box_around,
    grown,
    joint,
    label_boxes,
    merged_boxes,
    narrowed,
    widened,
)
from cemscope.segmentation.shaft_rim import ShaftRimSettings, TissueImage
from cemscope.segmentation.tissue_levels import (
    TissueLevels,
    TissueLevelSettings,
    eroded_hu,
)
from cemscope.spine import Spine
from cemscope.volume import BoolArray, HUArray

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CementSettings:
    """What counts as cement.

    Attributes
    ----------
    core_margin
        A core must exceed the scan's compact bone (99.9th percentile) by this factor.
    minimum_core_hu
        And never be darker than this: 10 % zirconium dioxide at 120-140 kVp reads
        1,000-1,300 HU, sclerotic bone seldom more than 800 HU.
    core_depth_mm
        A core darker than the densest arch must lie this deep in a body.
    body_reach_mm
        Brighter cores may lie anywhere in a vertebra, or this near to one.
    minimum_volume_ml
        Smaller pieces are not told from bone.
    level_share
        A voxel belongs to cement above this share of the way from marrow to cement.
    satellite_reach_mm
        Pieces this near to cement count as cement even where no voxel joins them.
    halo_mm
        How far blurred cement reaches beyond its half-value contour.
    levels, rim
        How bone and the surroundings of shafts are read.
    """

    core_margin: float = 1.3
    minimum_core_hu: float = 800.0
    core_depth_mm: float = 2.0
    body_reach_mm: float = 2.0
    minimum_volume_ml: float = 0.03
    level_share: float = 0.5
    satellite_reach_mm: float = 10.0
    halo_mm: float = 1.6
    levels: TissueLevelSettings = field(default_factory=TissueLevelSettings)
    rim: ShaftRimSettings = field(default_factory=ShaftRimSettings)


@dataclass(frozen=True, slots=True, eq=False)
class CementRegion:
    """Cement of one cluster of pieces, on a box of the spine's region.

    Attributes
    ----------
    region : ScanRegion
        The box with a margin for the halo.
    solid : ndarray of bool
        Voxels above the lower limit that belong to accepted pieces.
    shell : ndarray of bool
        Uncertain voxels: shafts and their rim of blooming.
    metal : ndarray of float32
        Share of metal (shafts) in each voxel.
    tissue_hu : ndarray of int16
        HU without the blurred share of the shafts.
    corrected : ndarray of bool
        Voxels from which a noticeable share of metal was subtracted.
    forbidden : ndarray of bool
        Hardware with its rim: never cement.
    """

    region: ScanRegion
    solid: BoolArray
    shell: BoolArray
    metal: Float32Array
    tissue_hu: HUArray
    corrected: BoolArray
    forbidden: BoolArray


def core_limit_hu(levels: TissueLevels, settings: CementSettings) -> float:
    """Brightness that the inside of cement exceeds and bone does not."""
    noise = 3.0 * levels.noise_hu / np.sqrt(7.0)
    bone = max(settings.core_margin * levels.compact_upper_hu, levels.cortex_upper_hu)
    return float(max(bone + noise, settings.minimum_core_hu))


def lower_limit_hu(
    levels: TissueLevels, level: CementLevel, settings: CementSettings
) -> float:
    """Lower limit of a cement voxel: part of the way from marrow to cement.

    Never below the cortex of the scan's unaugmented bodies, unless that would exceed
    three quarters of the way (weakly opaque cement).
    """
    way = level.hu - levels.marrow_hu
    if level.clipped and levels.ceiling_hu is not None:
        way = min(way, 2.0 * (0.9 * levels.ceiling_hu - levels.marrow_hu))
    half = levels.marrow_hu + settings.level_share * way
    return float(max(half, min(levels.cortex_upper_hu, levels.marrow_hu + 0.75 * way)))


def find_cement(
    region: ScanRegion,
    spine: Spine,
    tissue: TissueImage,
    levels: TissueLevels,
    settings: CementSettings,
) -> tuple[CementLevel | None, tuple[CementRegion, ...]]:
    """Find the cement of the spine's region.

    Parameters
    ----------
    region
        Spine with margin.
    spine
        Its vertebrae.
    tissue
        The same region without the blur of metal, and where nothing can be measured.
    levels
        Bone of this scan.
    settings
        What counts as cement.

    Returns
    -------
    CementLevel or None
        None where there is no cement.
    tuple of CementRegion
        One per cluster of neighbouring pieces.
    """
    cores = _solid_cores(region, spine, tissue, levels, settings)
    usable = [
        (box, core)
        for box, core in cores
        if core.sum() * region.voxel_ml >= MINIMUM_CORE_ML
    ]
    if not usable:
        return None, ()
    level = _scan_level(region, tissue, usable, levels)
    solid_pieces, piece_boxes = _accepted_pieces(
        region, tissue, usable, level, levels, settings
    )
    boxes = [
        widened(box, 2.0 * settings.halo_mm + 4.0, region.geometry)
        for box in piece_boxes
    ]
    clusters = []
    for box in merged_boxes(boxes):
        solid = solid_pieces[box]
        clusters.append(
            CementRegion(
                region.sub_box(box),
                solid,
                tissue.shell[box],
                tissue.metal[box].astype(np.float32) / np.float32(100.0),
                tissue.hu[box],
                tissue.corrected[box],
                tissue.forbidden[box],
            )
        )
    return level, tuple(clusters)


MINIMUM_CORE_ML = 0.004
"""Fewer solid voxels tell nothing of the level of cement."""

MINIMUM_CLEAN_ML = 0.03
"""Cement away from metal that is enough to read the level from."""

FLANK_REACH_MM = 3.5
"""Flanks of cement end within this distance of its solid core."""


def _solid_cores(
    region: ScanRegion,
    spine: Spine,
    tissue: TissueImage,
    levels: TissueLevels,
    settings: CementSettings,
) -> list[tuple[Box, BoolArray]]:
    """Find what is solid and brighter than bone, deep in a body or anywhere in bone.

    One box and mask per vertebra that has any.
    """
    limit = core_limit_hu(levels, settings)
    arch_limit = max(limit, settings.core_margin * levels.arch_upper_hu)
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
            tissue.hu[box], part.geometry, settings.levels.core_radius_mm
        )
        core = eroded >= limit
        core &= ~tissue.shell[box] & ~tissue.forbidden[box]
        if not core.any():
            continue
        inside = _deep_in(part, numbers[0], depth_mm, core)
        very_bright = core & ~inside & (eroded >= arch_limit)
        bone = box_around(very_bright, part.geometry, settings.body_reach_mm)
        core &= inside
        if bone is not None:
            own_bone = np.isin(part.labels[bone], numbers)
            near = grown(own_bone, settings.body_reach_mm, part.geometry.crop(bone))
            core[bone] |= very_bright[bone] & near
        if core.any():
            cores.append((box, core))
    return cores


def _deep_in(
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


def _scan_level(
    region: ScanRegion,
    tissue: TissueImage,
    cores: list[tuple[Box, BoolArray]],
    levels: TissueLevels,
) -> CementLevel:
    clean = [(box, core & ~tissue.corrected[box]) for box, core in cores]
    if sum(core.sum() for _, core in clean) * region.voxel_ml < MINIMUM_CLEAN_ML:
        clean = cores
    values = np.concatenate([tissue.hu[box][core] for box, core in clean])
    level = level_of_cores(values.astype(np.float64), levels.ceiling_hu)
    if not level.clipped:
        return level
    flanks = []
    for box, core in cores:
        near = grown(core, FLANK_REACH_MM, region.geometry.crop(box))
        near &= ~tissue.shell[box] & ~tissue.forbidden[box]
        flanks.append(region.hu[box][near])
    return level_of_flanks(np.concatenate(flanks).astype(np.float64), levels)


def _accepted_pieces(
    region: ScanRegion,
    tissue: TissueImage,
    cores: list[tuple[Box, BoolArray]],
    level: CementLevel,
    levels: TissueLevels,
    settings: CementSettings,
) -> tuple[BoolArray, list[Box]]:
    """Tell which of the pieces above the lower limit are cement.

    A piece needs a core; pieces near to accepted ones (veins are thinner than a core,
    and the shell of a screw cuts cement) need cement's brightness.

    Returns
    -------
    ndarray of bool
        Voxels of the accepted pieces.
    list of tuple of slice
        Box of each.
    """
    low = lower_limit_hu(levels, level, settings)
    dense = tissue.hu >= low
    if levels.arch_upper_hu > low:
        dense &= ~((region.labels > ARCH_OFFSET) & (tissue.hu < levels.arch_upper_hu))
    dense &= ~tissue.forbidden & ~tissue.shell
    solid = np.zeros(dense.shape, np.bool_)
    crop = box_around(dense, region.geometry, 0.0)
    if crop is None:
        return solid, []
    pieces, count = ndimage.label(dense[crop], np.ones((3, 3, 3)))
    ml = np.bincount(pieces[dense[crop]], minlength=count + 1) * region.voxel_ml
    start = np.array([part.start for part in crop])
    core_ml = np.zeros(count + 1)
    for box, core in cores:
        core = core & dense[box]
        index = np.argwhere(core) + [part.start for part in box] - start
        held = pieces[tuple(index.T)]
        core_ml += np.bincount(held, minlength=count + 1) * region.voxel_ml
    accepted = core_ml >= 0.2 * settings.minimum_volume_ml
    accepted &= ml >= settings.minimum_volume_ml
    accepted[0] = False
    if not accepted.any():
        return solid, []
    found = ndimage.find_objects(pieces)
    part = region.sub_box(crop)
    own = [found[k - 1] for k in np.flatnonzero(accepted)]
    around = widened(joint(tuple(own)), settings.satellite_reach_mm, part.geometry)
    limit = max(1.1 * core_limit_hu(levels, settings), 0.75 * level.hu)
    if levels.ceiling_hu is not None:
        limit = min(limit, 0.97 * levels.ceiling_hu)
    candidates = (ml >= 0.5 * settings.minimum_volume_ml) & ~accepted
    candidates[0] = False
    bright = candidates[pieces[around]] & (part.hu[around] >= limit)
    if bright.any():
        near = grown(
            accepted[pieces[around]],
            settings.satellite_reach_mm,
            part.geometry.crop(around),
        )
        accepted[np.unique(pieces[around][near & bright])] = True
    solid[crop] = accepted[pieces]
    boxes = [narrowed(crop, found[k - 1]) for k in np.flatnonzero(accepted)]
    return solid, boxes
