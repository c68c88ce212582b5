"""Metal of a scan: how bright it is, what belongs to screws, rods and other parts."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.findings import MetalKind, MetalVolume, PointLPS
from cemscope.segmentation.scan_region import (
    Box,
    FloatArray,
    ScanRegion,
    box_around,
    box_of,
)
from cemscope.segmentation.screws import ScrewModel
from cemscope.spine import Spine
from cemscope.volume import BoolArray, CTVolume, LabelArray


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
        120 kVp: 3,000-4,100 HU): metal whatever its shape.
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
        1 screw heads, 2 rods, 3 other parts joined to them or brighter than any cement.
    volumes : tuple of MetalVolume
        Rods and other parts; screws are added by the caller.
    head_ml : tuple of float
        Volume of each screw's head.
    """

    shafts: np.ndarray
    hardware: np.ndarray
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
) -> SpinalMetal:
    """Decompose the metal around the spine into shafts, heads, rods and other parts.

    Screw, rod, head and cement are usually one connected component. It is cut where the
    fitted shafts leave their heads; what hangs on the heads is hardware.
    """
    shape = region.hu.shape
    shafts = np.zeros(shape, np.uint8)
    hardware = np.zeros(shape, np.uint8)
    bright = region.hu >= level_hu
    in_front = np.zeros(shape, np.bool_)
    heads: list[tuple[Box, BoolArray]] = []
    for number, screw in enumerate(screws, start=1):
        box = box_near(region, screw, margin_mm=IN_FRONT_MM)
        distance, t = screw.distances_on(region.geometry.crop(box))
        depth = screw.metal_depth_mm(distance, t)
        shafts[box][(depth >= 0.0) & (shafts[box] == 0)] = number
        in_front[box] |= (t > screw.neck_mm + 1.0) & (distance < IN_FRONT_MM)
        heads.append(_head(region, screw, settings.head_reach_mm))
    _join_to_heads(region, spine, bright & ~in_front & (shafts == 0), heads, hardware)
    head_ml = []
    for box, near in heads:
        part = near & (hardware[box] > 0)
        hardware[box][part] = 1
        head_ml.append(float(part.sum()) * region.voxel_ml)
    volumes = _name_parts(region, hardware, tuple(heads))
    if level_hu >= settings.certain_level_hu * 0.6:
        # Inside a vertebra only shape tells: dense cement at 80 kVp is as bright.
        certain = (region.hu >= settings.certain_level_hu) & (region.labels == 0)
        certain &= (shafts == 0) & (hardware == 0)
        volumes += _certain_parts(region, certain & ~in_front, hardware, settings)
    return SpinalMetal(shafts, hardware, volumes, tuple(head_ml))


def _join_to_heads(
    region: ScanRegion,
    spine: Spine,
    bright: BoolArray,
    heads: list[tuple[Box, BoolArray]],
    hardware: np.ndarray,
) -> None:
    """Mark bright components outside the bodies that touch a head as hardware."""
    crop = box_around(bright, region.geometry, 0.0)
    if crop is None or not heads:
        return
    rest = bright[crop] & ~_bodies(region.labels[crop], spine)
    components, count = ndimage.label(rest, np.ones((3, 3, 3)))
    touched = np.zeros(count + 1, np.bool_)
    for box, near in heads:
        shared = _shared(box, crop)
        if shared is not None:
            in_head, in_crop = shared
            touched[np.unique(components[in_crop][near[in_head]])] = True
    touched[0] = False
    hardware[crop][touched[components]] = 3


def _shared(first: Box, second: Box) -> tuple[Box, Box] | None:
    """Where two boxes overlap, in the indices of each; None if they do not."""
    low = [max(a.start, b.start) for a, b in zip(first, second, strict=True)]
    high = [min(a.stop, b.stop) for a, b in zip(first, second, strict=True)]
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return None

    def within(box: Box) -> Box:
        start = np.array([part.start for part in box])
        return box_of(np.array(low) - start, np.array(high) - start)

    return within(first), within(second)


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


def _bodies(labels: LabelArray, spine: Spine) -> BoolArray:
    is_body = np.zeros(256, np.bool_)
    is_body[[v.level.number for v in spine.vertebrae]] = True
    bodies: BoolArray = is_body[labels]
    return bodies


def _name_parts(
    region: ScanRegion, hardware: np.ndarray, heads: tuple[tuple[Box, BoolArray], ...]
) -> tuple[MetalVolume, ...]:
    """Name what hangs on the heads: a part that joins two heads is a rod."""
    unnamed = hardware == 3
    crop = box_around(unnamed, region.geometry, 0.0)
    if crop is None:
        return ()
    hardware = hardware[crop]
    region = region.sub_box(crop)
    parts, count = ndimage.label(unnamed[crop], np.ones((3, 3, 3)))
    joined = np.zeros(count + 1, np.int_)
    for box, near in heads:
        shared = _shared(box, crop)
        if shared is not None:
            in_head, in_crop = shared
            wide = ndimage.binary_dilation(near, np.ones((3, 3, 3)), iterations=2)
            joined[np.unique(parts[in_crop][wide[in_head]])] += 1
    volumes = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        inside = parts[box] == number
        index = np.argwhere(inside) + [part.start for part in box]
        ml = len(index) * region.voxel_ml
        if ml < (STUB_ML if joined[number] < 2 else SPLINTER_ML):
            # Ends of rods and set screws beside a head go with it.
            hardware[box][inside] = 1
            continue
        is_rod = joined[number] >= 2
        hardware[box][inside] = 2 if is_rod else 3
        kind = MetalKind.ROD if is_rod else MetalKind.OTHER
        volumes.append(
            MetalVolume(kind, ml, _point(region.geometry.index_to_lps(index)))
        )
    return tuple(volumes)


STUB_ML = 0.15
"""Smaller parts on a single head are the rod's end or the set screw."""

SPLINTER_ML = 0.05
"""Smaller parts between two heads belong to the heads."""

IN_FRONT_MM = 10.0
"""Bright things this near to a shaft in front of its neck are cement, not hardware."""


def _certain_parts(
    region: ScanRegion,
    certain: BoolArray,
    hardware: np.ndarray,
    settings: MetalSettings,
) -> tuple[MetalVolume, ...]:
    """Parts brighter than any cement on an extended scale: cages, markers, clips."""
    parts, count = ndimage.label(certain, np.ones((3, 3, 3)))
    volumes = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1) if count else ():
        inside = parts[box] == number
        ml = float(inside.sum()) * region.voxel_ml
        if ml < settings.minimum_volume_ml:
            continue
        hardware[box][inside] = 3
        index = np.argwhere(inside) + [part.start for part in box]
        points = region.geometry.index_to_lps(index)
        volumes.append(MetalVolume(MetalKind.OTHER, ml, _point(points)))
    return tuple(volumes)


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
        volume = MetalVolume(MetalKind.OTHER, ml, _point(points))
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


def _point(points: FloatArray) -> PointLPS:
    centre = points.mean(axis=0)
    return float(centre[0]), float(centre[1]), float(centre[2])
