"""Bone cement: which voxels hold it and how bright pure cement is in this scan.

There is no fixed threshold. Something is cement if it is solid (bright after an erosion
that makes cortex vanish), brighter than the scan's own compact bone, not metal by
shape, and inside a vertebra or joined to cement that is.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage, special

from cemscope.anatomy import ARCH_OFFSET
from cemscope.segmentation.cement_level import (
    CementLevel,
    level_of_cores,
    level_of_flanks,
)
from cemscope.segmentation.metal import MetalSettings, SpinalMetal
from cemscope.segmentation.scan_region import (
    Box,
    FloatArray,
    ScanRegion,
    box_around,
    box_of,
    grown,
)
from cemscope.segmentation.screws import ScrewModel
from cemscope.segmentation.tissue_levels import (
    TissueLevels,
    TissueLevelSettings,
    eroded_hu,
)
from cemscope.volume import BoolArray, LabelArray

BACKGROUND_SIGMA_MM = 2.0
"""Width of the neighbourhood that counts as local background: the reach of the blur."""


@dataclass(frozen=True, slots=True)
class CementSettings:
    """What counts as cement.

    Attributes
    ----------
    core_margin
        A core must exceed the scan's compact bone (99.9th percentile) by this factor.
    minimum_core_hu
        And never be darker than this: dense bone islands reach 1,000 HU at 120 kVp, so
        smaller margins would call them cement.
    minimum_volume_ml
        Smaller pieces are not told from bone.
    level_share
        A voxel belongs to cement above this share of the way from marrow to cement.
    core_depth_mm
        A core darker than the densest arch must lie this deep in a body.
    body_reach_mm
        Brighter cores may lie anywhere in a vertebra, or this near to one.
    satellite_reach_mm
        Pieces this near to cement count as cement even where no voxel joins them.
    shell_metal_hu
        Beside a shaft, voxels in which the metal's blur exceeds this are the uncertain
        shell; farther out the metal's share is subtracted.
    shell_rim_mm
        The shell is at least this wide.
    halo_mm
        How far blurred cement reaches beyond its half-value contour.
    """

    core_margin: float = 1.3
    minimum_core_hu: float = 700.0
    minimum_volume_ml: float = 0.03
    level_share: float = 0.5
    core_depth_mm: float = 2.0
    body_reach_mm: float = 2.0
    satellite_reach_mm: float = 10.0
    shell_metal_hu: float = 800.0
    shell_rim_mm: float = 0.8
    halo_mm: float = 1.6
    levels: TissueLevelSettings = field(default_factory=TissueLevelSettings)


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
        Uncertain voxels: the rim of blooming around shafts.
    metal : ndarray of float32
        Share of metal (shafts) in each voxel.
    tissue_hu : ndarray of float32
        HU without the blurred share of the shafts.
    forbidden : ndarray of bool
        Hardware with its rim: never cement.
    """

    region: ScanRegion
    solid: BoolArray
    shell: BoolArray
    metal: np.ndarray
    tissue_hu: np.ndarray
    forbidden: BoolArray


def core_limit_hu(levels: TissueLevels, settings: CementSettings) -> float:
    """Brightness that the inside of cement exceeds and bone does not."""
    noise = 3.0 * levels.noise_hu / np.sqrt(7.0)
    bone = max(settings.core_margin * levels.compact_upper_hu, levels.cortex_upper_hu)
    return float(max(bone + noise, settings.minimum_core_hu))


def find_cement(
    region: ScanRegion,
    metal: SpinalMetal,
    screws: tuple[ScrewModel, ...],
    levels: TissueLevels,
    settings: CementSettings,
    metal_settings: MetalSettings,
) -> tuple[CementLevel | None, tuple[CementRegion, ...]]:
    """Find the cement of the spine's region.

    Parameters
    ----------
    region
        Spine with margin.
    metal, screws
        What is not cement.
    levels
        Bone of this scan.

    Returns
    -------
    CementLevel or None
        None where there is no cement.
    tuple of CementRegion
        One per cluster of neighbouring pieces.
    """
    limit = core_limit_hu(levels, settings)
    bright = region.hu >= limit
    box = box_around(bright, region.geometry, 8.0)
    if box is None:
        return None, ()
    clusters = _clusters(region, bright & (metal.hardware == 0), limit, settings)
    prepared = [
        _prepare(region, part, metal, screws, metal_settings, settings)
        for part in clusters
    ]
    cores = [_solid_cores(item, limit, levels, settings) for item in prepared]
    level = _scan_level(prepared, cores, levels)
    if level is None:
        return None, ()
    low = lower_limit_hu(levels, level, settings)
    accepted = []
    for item, core in zip(prepared, cores, strict=True):
        solid = _accepted_pieces(
            item,
            core,
            (low, max(low, levels.arch_upper_hu)),
            max(1.1 * limit, 0.75 * level.hu),
            settings,
        )
        if solid.any():
            accepted.append(replace(item, solid=solid))
    return level, tuple(accepted)


def _solid_cores(
    item: CementRegion, limit_hu: float, levels: TissueLevels, settings: CementSettings
) -> BoolArray:
    """Find what is solid and brighter than bone, inside a body or anywhere in bone."""
    region = item.region
    eroded = eroded_hu(item.tissue_hu, region.geometry, settings.levels.core_radius_mm)
    inside = np.pad(is_body(region.labels), 1)
    depth = ndimage.distance_transform_edt(inside, sampling=region.geometry.spacing_mm)
    # Cortex and sclerotic endplates lie at the surface, cement reaches the inside.
    half_voxel = 0.5 * region.geometry.voxel_volume_mm3 ** (1 / 3)
    in_body = depth[1:-1, 1:-1, 1:-1] - half_voxel >= settings.core_depth_mm
    near = grown(region.labels > 0, settings.body_reach_mm, region.geometry)
    arch_limit = max(limit_hu, settings.core_margin * levels.arch_upper_hu)
    bright = (in_body & (eroded >= limit_hu)) | (near & (eroded >= arch_limit))
    cores: BoolArray = bright & ~item.shell & ~item.forbidden
    return cores


def is_body(labels: LabelArray) -> BoolArray:
    """Voxels of vertebral bodies in a label map with arches under number + 100."""
    bodies: BoolArray = (labels > 0) & (labels <= ARCH_OFFSET)
    return bodies


def is_arch(labels: LabelArray) -> BoolArray:
    """Voxels of vertebral arches."""
    arches: BoolArray = labels > ARCH_OFFSET
    return arches


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


def _clusters(
    region: ScanRegion, bright: BoolArray, limit: float, settings: CementSettings
) -> list[Box]:
    """Boxes around bright things near vertebrae; overlapping boxes are merged."""
    parts, count = ndimage.label(bright, np.ones((3, 3, 3)))
    if count == 0:
        return []
    boxes = ndimage.find_objects(parts)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:] * region.voxel_ml
    margin = np.ceil(6.0 / np.array(region.geometry.spacing_mm)).astype(int)
    shape = np.array(region.hu.shape)
    grown_boxes: list[tuple[np.ndarray, np.ndarray]] = []
    for box, ml in zip(boxes, sizes, strict=True):
        if ml < 0.3 * settings.minimum_volume_ml:
            continue
        if not (region.labels[_widened(box, margin, shape)] > 0).any():
            continue
        grown_boxes.append(
            (
                np.maximum([part.start for part in box] - margin, 0),
                np.minimum([part.stop for part in box] + margin, shape),
            )
        )
    merged = _merge(grown_boxes)
    return [box_of(lower, upper) for lower, upper in merged]


def _widened(box: Box, margin: np.ndarray, shape: np.ndarray) -> Box:
    parts = [
        slice(max(part.start - int(m), 0), min(part.stop + int(m), int(n)))
        for part, m, n in zip(box, margin, shape, strict=True)
    ]
    return parts[0], parts[1], parts[2]


def _merge(
    boxes: list[tuple[np.ndarray, np.ndarray]],
) -> list[tuple[np.ndarray, np.ndarray]]:
    merged: list[tuple[np.ndarray, np.ndarray]] = []
    for lower, upper in boxes:
        current = (lower, upper)
        while True:
            touching = next(
                (
                    k
                    for k, (lo, hi) in enumerate(merged)
                    if np.all(lo < current[1]) and np.all(current[0] < hi)
                ),
                None,
            )
            if touching is None:
                break
            lo, hi = merged.pop(touching)
            current = (np.minimum(lo, current[0]), np.maximum(hi, current[1]))
        merged.append(current)
    return merged


def _prepare(
    outer: ScanRegion,
    box: Box,
    metal: SpinalMetal,
    screws: tuple[ScrewModel, ...],
    metal_settings: MetalSettings,
    settings: CementSettings,
) -> CementRegion:
    region = outer.sub_box(box)
    shape = region.hu.shape
    share = np.zeros(shape, np.float32)
    tissue = region.hu.astype(np.float32)
    shell = np.zeros(shape, np.bool_)
    forbidden = grown(metal.hardware[box] > 0, metal_settings.rim_mm, region.geometry)
    if screws:
        grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
        points = region.geometry.index_to_lps(grid)
        voxel_mm = region.geometry.voxel_volume_mm3 ** (1 / 3)
        blurred = np.zeros(shape, np.float32)
        for screw in screws:
            distance, t = screw.distances_mm(points)
            inside = np.clip(0.5 - distance / voxel_mm, 0.0, 1.0)
            share = np.maximum(share, inside.astype(np.float32))
            spill = special.ndtr(-distance / screw.shaft.sigma_mm).astype(np.float32)
            tissue -= np.where(spill > 1e-3, spill * screw.shaft.metal_hu, 0.0).astype(
                np.float32
            )
            blurred += spill
            limit = min(settings.shell_metal_hu / screw.shaft.metal_hu, 0.4)
            rim = -float(special.ndtri(limit)) * screw.shaft.sigma_mm
            shell |= distance <= max(rim, settings.shell_rim_mm)
            # Beside the head and neck there is hardware all around.
            forbidden |= (t < screw.neck_mm) & (distance <= metal_settings.rim_mm)
        tissue = np.where(shell, region.hu, tissue / np.maximum(1.0 - blurred, 0.5))
    empty = np.zeros(shape, np.bool_)
    return CementRegion(
        region, empty, shell, share, tissue.astype(np.float32), forbidden
    )


def _scan_level(
    parts: list[CementRegion], cores: list[BoolArray], levels: TissueLevels
) -> CementLevel | None:
    pairs = [
        (part, core)
        for part, core in zip(parts, cores, strict=True)
        if core.sum() * part.region.voxel_ml >= MINIMUM_CORE_ML
    ]
    if not pairs:
        return None
    values = np.concatenate([part.tissue_hu[core] for part, core in pairs])
    level = level_of_cores(values.astype(np.float64), levels.ceiling_hu)
    if not level.clipped:
        return level
    flanks = []
    for part, core in pairs:
        near = grown(core, FLANK_REACH_MM, part.region.geometry)
        flanks.append(part.region.hu[near & ~part.shell & ~part.forbidden])
    return level_of_flanks(np.concatenate(flanks).astype(np.float64), levels)


MINIMUM_CORE_ML = 0.004
"""Fewer solid voxels tell nothing of the level of cement."""

FLANK_REACH_MM = 3.5
"""Flanks of cement end within this distance of its solid core."""


def _accepted_pieces(
    item: CementRegion,
    core: BoolArray,
    low: tuple[float, float],
    satellite_hu: float,
    settings: CementSettings,
) -> BoolArray:
    """Pieces above the lower limit that hold a core, and their satellites.

    ``low`` holds the limit in general and the limit inside arches.
    """
    region = item.region
    limit = np.where(is_arch(region.labels), np.float32(low[1]), np.float32(low[0]))
    dense = (item.tissue_hu >= limit) & ~item.forbidden & ~item.shell
    pieces, count = ndimage.label(dense, np.ones((3, 3, 3)))
    if count == 0:
        return np.zeros(dense.shape, np.bool_)
    ml = np.bincount(pieces.ravel(), minlength=count + 1) * region.voxel_ml
    core_ml = np.bincount(pieces[core], minlength=count + 1) * region.voxel_ml
    keep = (core_ml >= 0.2 * settings.minimum_volume_ml) & (
        ml >= settings.minimum_volume_ml
    )
    keep[0] = False
    if not keep.any():
        return np.zeros(dense.shape, np.bool_)
    solid: BoolArray = keep[pieces]
    # Satellites: the shell of a screw cuts cement, and veins are thinner than a core.
    near = grown(solid, settings.satellite_reach_mm, region.geometry)
    brightest = ndimage.maximum(region.hu, pieces, np.arange(count + 1))
    bright = brightest >= min(satellite_hu, 0.97 * float(region.hu.max()))
    inside = np.zeros(count + 1, np.bool_)
    inside[np.unique(pieces[near])] = True
    satellites = inside & bright & (ml >= 0.5 * settings.minimum_volume_ml)
    satellites[0] = False
    accepted: BoolArray = solid | satellites[pieces]
    return accepted


def background_hu(
    part: CementRegion, levels: TissueLevels, halo: BoolArray
) -> FloatArray:
    """Average what is neither cement nor metal around each voxel."""
    usable = ~halo & ~part.shell & ~part.forbidden
    sigma = BACKGROUND_SIGMA_MM / np.array(part.region.geometry.spacing_mm)
    # Cortex is thin: its share of the halo is what its share of the mean is.
    hu = np.clip(part.tissue_hu, -150.0, levels.cortex_upper_hu)
    weight = ndimage.gaussian_filter(usable.astype(np.float32), sigma, truncate=2.5)
    total = ndimage.gaussian_filter(
        np.where(usable, hu, 0.0).astype(np.float32), sigma, truncate=2.5
    )
    prior = 1e-3
    mean: FloatArray = (total + prior * levels.marrow_hu) / (weight + prior)
    return mean
