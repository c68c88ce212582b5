"""Metal of a scan: how bright it is, what belongs to screws, rods and other parts."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.findings import MetalKind, MetalVolume
from cemscope.segmentation.implants.hardware import (
    body_voxels,
    dense_parts,
    held_by_bodies,
    join_to_heads,
    name_parts,
    parts_behind,
    point_of,
)
from cemscope.segmentation.implants.implant_metals import TITANIUM_HU, titanium_hu
from cemscope.segmentation.implants.rods import RodModel, find_rods
from cemscope.segmentation.implants.screws import ScrewModel
from cemscope.segmentation.scan_region import (
    Box,
    FloatArray,
    ScanRegion,
    box_of,
)
from cemscope.spine import Spine
from cemscope.volume import BoolArray, CTVolume


@dataclass(frozen=True, slots=True)
class MetalSettings:
    """What counts as metal.

    Attributes
    ----------
    clipped_share
        On a clipped scan, metal is brighter than this share of the ceiling.
    minimum_level_hu
        Nothing darker is searched for metal.
    certain_level_hu
        On an extended scale, brighter than usual bone cement (20 % barium sulphate at
        120 kVp: 3,000-4,100 HU): metal whatever its shape. At lower tube voltages
        cement is as much brighter as metal is: what hangs together with cement of a
        body is judged by that.
    head_reach_mm
        Metal within this distance of a head's centre is part of the screw.
    rim_mm
        Blooming and streaks around heads and rods reach this far: no cement is
        measured there.
    minimum_volume_ml
        Smaller bright parts away from the spine are not listed.
    """

    clipped_share: float = 0.93
    minimum_level_hu: float = 2000.0
    certain_level_hu: float = 5000.0
    head_reach_mm: float = 9.0
    rim_mm: float = 3.0
    minimum_volume_ml: float = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class SpinalMetal:
    """Metal of the spine's region.

    Attributes
    ----------
    shafts : ndarray of uint8
        Index + 1 of the screw whose fitted shaft holds the voxel, else 0.
    hardware : ndarray of uint8
        1 screw heads, 2 rods, 3 other parts joined to them, behind the spine, or
        brighter than any cement.
    rods : tuple of RodModel
        In one piece each.
    volumes : tuple of MetalVolume
        Rods and other parts; screws are added by the caller.
    head_ml : tuple of float
        Volume of each screw's head.
    """

    shafts: np.ndarray
    hardware: np.ndarray
    rods: tuple[RodModel, ...]
    volumes: tuple[MetalVolume, ...]
    head_ml: tuple[float, ...]


def metal_core_level_hu(
    region: ScanRegion, ceiling_hu: int | None, settings: MetalSettings
) -> float:
    """Brightness that the inside of any metal implant exceeds.

    On an extended scale 60 % of the robust maximum: above cement, below the half value
    of no screw's inside.
    """
    if ceiling_hu is not None:
        return settings.clipped_share * ceiling_hu
    bright = region.hu[region.hu > settings.minimum_level_hu]
    if bright.size * region.voxel_ml < 0.1:
        return settings.minimum_level_hu
    top = float(
        np.quantile(bright, max(0.5, 1.0 - 0.3 / (bright.size * region.voxel_ml)))
    )
    return max(settings.minimum_level_hu, 0.6 * top)


def map_spinal_metal(
    region: ScanRegion,
    spine: Spine,
    screws: tuple[ScrewModel, ...],
    level_hu: float,
    settings: MetalSettings,
    kvp: float | None = None,
) -> SpinalMetal:
    """Decompose the metal around the spine into shafts, heads, rods and other parts.

    Screw, rod, head and cement are usually one connected component. It is cut where the
    fitted shafts leave their heads; what hangs on the heads is hardware, and of this
    the traced rods are taken out first.
    """
    shape = region.hu.shape
    shafts = np.zeros(shape, np.uint8)
    hardware = np.zeros(shape, np.uint8)
    # A clipped scan holds nothing above the ceiling that its level came from.
    ceiling: float | None = level_hu / settings.clipped_share
    if region.hu.max() > level_hu / settings.clipped_share + 1.0:
        ceiling = None
    heads = [_head(region, screw, settings.head_reach_mm) for screw in screws]
    if ceiling is None:
        level_hu = _hardware_level_hu(region, heads, level_hu, settings)
    bright = region.hu >= level_hu
    in_front = np.zeros(shape, np.bool_)
    beside = np.zeros(shape, np.bool_)
    for number, screw in enumerate(screws, start=1):
        box = box_near(region, screw, margin_mm=IN_FRONT_MM)
        distance, t = screw.distances_on(region.geometry.crop(box))
        depth = screw.metal_depth_mm(distance, t)
        shafts[box][(depth >= 0.0) & (shafts[box] == 0)] = number
        beside[box] |= depth >= -SHAFT_RIM_MM
        in_front[box] |= (t > screw.neck_mm + 1.0) & (distance < IN_FRONT_MM)
    join_to_heads(region, spine, bright & ~in_front & (shafts == 0), heads, hardware)
    rods = find_rods(region, screws, level_hu, ceiling)
    # The blurred rim of a rod is neither a head nor another part.
    reach = ROD_RIM_MM if ceiling is None else CLIPPED_ROD_RIM_MM
    volumes: tuple[MetalVolume, ...] = ()
    rims = []
    for rod in rods:
        around, distance = rod.distances_on(region.geometry, reach)
        rims.append((around, distance))
        volumes += (MetalVolume(MetalKind.ROD, rod.volume_ml, rod.middle_lps_mm),)
    head_ml = []
    for box, near in heads:
        part = near & (hardware[box] > 0)
        hardware[box][part] = 1
        head_ml.append(float(part.sum()) * region.voxel_ml)
    for around, distance in rims:
        free = (shafts[around] == 0) & (hardware[around] != 1)
        hardware[around][free & (distance < reach)] = 0
        hardware[around][free & (distance <= 0.0)] = 2
    volumes += name_parts(region, hardware, heads)
    dense = bright & ~in_front & (shafts == 0) & (hardware == 0)
    for around, distance in rims:
        dense[around] &= distance > reach
    # Noise must not tear a string of cement off its body: nothing else joins them.
    joined = dense if screws else region.hu >= JOINED_SHARE * level_hu
    volumes += parts_behind(
        region, spine, dense, joined, hardware, settings.minimum_volume_ml
    )
    if ceiling is None and level_hu >= settings.certain_level_hu * 0.4:
        # Inside a vertebra only shape tells: dense cement at 80 kVp is as bright.
        free = (region.hu >= settings.minimum_level_hu) & ~beside & (hardware == 0)
        cement = region.hu[body_voxels(region.labels, spine) & free]
        certain_hu = settings.certain_level_hu
        if cement.size * region.voxel_ml >= LEAST_CEMENT_ML:
            certain_hu = max(certain_hu, ABOVE_CEMENT * float(np.median(cement)))
        certain = (region.hu >= certain_hu) & (region.labels == 0)
        certain &= dense & (hardware == 0)
        voltage_hu = settings.certain_level_hu * titanium_hu(kvp) / TITANIUM_HU
        if voltage_hu > certain_hu and certain.any():
            linked = (region.hu >= level_hu) & ~beside & (shafts == 0) & (hardware == 0)
            for around, distance in rims:
                linked[around] &= distance > reach
            least_ml = settings.minimum_volume_ml
            certain &= ~held_by_bodies(region, spine, linked, voltage_hu, least_ml)
        volumes += dense_parts(region, certain, hardware, settings.minimum_volume_ml)
    return SpinalMetal(shafts, hardware, rods, volumes, tuple(head_ml))


JOINED_SHARE = 0.6
"""Cement of a needle's way is one string down to this share of the brightness."""

LEAST_CEMENT_ML, ABOVE_CEMENT = 0.1, 1.5
"""So much dense matter in bodies shows how bright this scan's cement can be; what is
brighter than it by this factor is metal: opacifier is mixed more evenly [ours]."""

SHAFT_RIM_MM = 1.5
"""Nearer to a shaft its blur makes cement brighter."""

ROD_RIM_MM, CLIPPED_ROD_RIM_MM = 1.0, 2.0
"""Blur of a rod's edge; on a clipped scan the bright side of the edge is wider."""


def _hardware_level_hu(
    region: ScanRegion,
    heads: list[tuple[Box, BoolArray]],
    level_hu: float,
    settings: MetalSettings,
) -> float:
    """Half of the brightness of the heads: where their edges lie."""
    tops = [np.quantile(region.hu[box][near], 0.9) for box, near in heads if near.any()]
    if not tops:
        return level_hu
    half = 0.5 * float(np.median(tops))
    return max(settings.minimum_level_hu, min(half, level_hu))


IN_FRONT_MM = 10.0
"""Bright things this near to a shaft in front of its neck are cement, not hardware."""


def points_near(
    region: ScanRegion, screw: ScrewModel, margin_mm: float
) -> tuple[Box, FloatArray]:
    """Box around a screw, and the patient points of its voxels."""
    box = box_near(region, screw, margin_mm)
    return box, _points(region, box)


def box_near(region: ScanRegion, screw: ScrewModel, margin_mm: float) -> Box:
    """Box around a screw."""
    ends = np.array([screw.head_lps_mm, screw.tip_lps_mm])
    return _box_round(region, ends, margin_mm)


def _box_round(region: ScanRegion, ends: FloatArray, margin_mm: float) -> Box:
    """Box around some patient points."""
    lower, upper = ends.min(0) - margin_mm, ends.max(0) + margin_mm
    corners = np.array(np.meshgrid(*zip(lower, upper, strict=True))).reshape(3, -1).T
    index = region.geometry.lps_to_index(corners)
    shape = np.array(region.hu.shape)
    start = np.clip(np.floor(index.min(0)).astype(int), 0, shape)
    stop = np.clip(np.ceil(index.max(0)).astype(int) + 1, start, shape)
    return box_of(start, stop)


def _head(
    region: ScanRegion, screw: ScrewModel, reach_mm: float
) -> tuple[Box, BoolArray]:
    """Voxels near the centre of a screw's head."""
    margin_mm = reach_mm + 3.0 * max(region.geometry.spacing_mm)
    box = _box_round(region, screw.head_lps_mm[None], margin_mm)
    offset = _points(region, box) - screw.head_lps_mm
    return box, (offset**2).sum(-1) <= reach_mm**2


def _points(region: ScanRegion, box: Box) -> FloatArray:
    ranges = (np.arange(part.start, part.stop) for part in box)
    grid = np.stack(np.meshgrid(*ranges, indexing="ij"), -1)
    return region.geometry.index_to_lps(grid)


_BLOCK = 4


def find_distant_metal(
    ct: CTVolume, spine_box: Box | None, settings: MetalSettings
) -> tuple[tuple[MetalVolume, BoolArray, Box], ...]:
    """Metal outside the spine's region: nails, prostheses, teeth.

    Searched on a grid of block maxima, so that a long scan is read only once.

    Returns
    -------
    tuple of (MetalVolume, ndarray of bool, box)
        Each part with its voxels inside a box of the scan.
    """
    level = settings.minimum_level_hu
    coarse = _block_maximum(ct) >= level
    if spine_box is not None:
        inner = tuple(
            slice(-(-part.start // _BLOCK), part.stop // _BLOCK) for part in spine_box
        )
        coarse[inner] = False
    parts, count = ndimage.label(coarse, np.ones((3, 3, 3)))
    found = []
    for box in ndimage.find_objects(parts) if count else ():
        fine = tuple(
            slice(part.start * _BLOCK, min(part.stop * _BLOCK, n))
            for part, n in zip(box, ct.hu.shape, strict=True)
        )
        fine_box: Box = (fine[0], fine[1], fine[2])
        hu = ct.hu[fine_box]
        # A part's edge lies at half of its own brightness.
        inside = hu >= max(0.5 * float(np.quantile(hu[hu >= level], 0.9)), 0.5 * level)
        if spine_box is not None:
            inside &= ~_overlap(fine_box, spine_box)
        ml = float(inside.sum()) * ct.geometry.voxel_volume_mm3 / 1000.0
        if ml < settings.minimum_volume_ml:
            continue
        index = np.argwhere(inside) + [part.start for part in fine_box]
        points = ct.geometry.index_to_lps(index)
        volume = MetalVolume(MetalKind.OTHER, ml, point_of(points))
        found.append((volume, inside, fine_box))
    return tuple(found)


def _block_maximum(ct: CTVolume) -> np.ndarray:
    """Maximum of blocks of 4 x 4 x 4 voxels, slab by slab."""
    slabs = []
    rows = np.arange(0, ct.hu.shape[1], _BLOCK)
    columns = np.arange(0, ct.hu.shape[2], _BLOCK)
    for start in range(0, ct.hu.shape[0], _BLOCK):
        slab = ct.hu[start : start + _BLOCK].max(axis=0)
        slab = np.maximum.reduceat(slab, rows, axis=0)
        slabs.append(np.maximum.reduceat(slab, columns, axis=1))
    return np.stack(slabs)


def _overlap(box: Box, other: Box) -> BoolArray:
    mask = np.zeros(tuple(part.stop - part.start for part in box), np.bool_)
    inner = tuple(
        slice(max(o.start - b.start, 0), max(o.stop - b.start, 0))
        for b, o in zip(box, other, strict=True)
    )
    mask[inner] = True
    return mask
