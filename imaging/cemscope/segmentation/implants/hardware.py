"""Metal besides shafts: heads, what hangs on them, and parts of their own."""

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
from cemscope.spine import Spine
from cemscope.volume import BoolArray, LabelArray


def join_to_heads(
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
    rest = bright[crop] & ~body_voxels(region.labels[crop], spine)
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


def body_voxels(labels: LabelArray, spine: Spine) -> BoolArray:
    """Voxels of vertebral bodies."""
    is_body = np.zeros(256, np.bool_)
    is_body[[v.level.number for v in spine.vertebrae]] = True
    bodies: BoolArray = is_body[labels]
    return bodies


def name_parts(
    region: ScanRegion, hardware: np.ndarray, heads: list[tuple[Box, BoolArray]]
) -> tuple[MetalVolume, ...]:
    """Name what hangs on the heads besides rods: stubs go with the head."""
    unnamed = hardware == 3
    crop = box_around(unnamed, region.geometry, 0.0)
    if crop is None:
        return ()
    hardware = hardware[crop]
    region = region.sub_box(crop)
    parts, _ = ndimage.label(unnamed[crop], np.ones((3, 3, 3)))
    volumes = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        inside = parts[box] == number
        ml = float(inside.sum()) * region.voxel_ml
        if ml < STUB_ML:
            # Set screws and corners of a head go with it.
            hardware[box][inside] = 1
            continue
        index = np.argwhere(inside) + [part.start for part in box]
        point = point_of(region.geometry.index_to_lps(index))
        volumes.append(MetalVolume(MetalKind.OTHER, ml, point))
    return tuple(volumes)


STUB_ML = 0.15
"""Smaller parts on a head are its corners or the set screw."""


def parts_behind(
    region: ScanRegion,
    spine: Spine,
    dense: BoolArray,
    joined: BoolArray,
    hardware: np.ndarray,
    minimum_ml: float,
) -> tuple[MetalVolume, ...]:
    """Parts behind the spine that touch no vertebral body: rods and wires alone.

    Cement gets there only along a needle, and hangs together with the body then, at
    least by the voxels of ``joined``.
    """
    crop = box_around(dense, region.geometry, 0.0)
    if crop is None:
        return ()
    near = ndimage.binary_dilation(body_voxels(region.labels[crop], spine))
    parts, count = ndimage.label(dense[crop], np.ones((3, 3, 3)))
    strings, string_count = ndimage.label(joined[crop], np.ones((3, 3, 3)))
    held = np.zeros(string_count + 1, np.bool_)
    held[np.unique(strings[near])] = True
    held[0] = False
    at_body = np.zeros(count + 1, np.bool_)
    at_body[np.unique(parts[near | held[strings]])] = True
    volumes = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        inside = parts[box] == number
        ml = float(inside.sum()) * region.voxel_ml
        if at_body[number] or ml < minimum_ml:
            continue
        start = [a.start + b.start for a, b in zip(crop, box, strict=True)]
        points = region.geometry.index_to_lps(np.argwhere(inside) + start)
        centre = points.mean(axis=0)
        vertebra = min(
            spine.vertebrae,
            key=lambda v: float(np.linalg.norm(v.centroid_lps_mm - centre)),
        )
        depth = np.quantile(vertebra.frame.to_local_mm(points)[:, 1], (0.1, 0.9))
        # A screw of a bone that is not outlined (sacrum, ilium) starts behind, too.
        if depth[0] < BEHIND_MM and (depth[1] < BEHIND_MM or ml < LONE_SCREW_ML):
            continue
        hardware[crop][box][inside] = 3
        volumes.append(MetalVolume(MetalKind.OTHER, ml, point_of(points)))
    return tuple(volumes)


BEHIND_MM = 30.0
"""Laminae lie this far behind the centre of a lumbar body (half of its depth of 32 to
36 mm and a canal of 15 mm; Zhou 2000, doi:10.1007/s005860050215)."""


LONE_SCREW_ML = 0.5
"""A screw of 5 x 30 mm: smaller parts that start behind may be cement of a needle."""


def held_by_bodies(
    region: ScanRegion,
    spine: Spine,
    dense: BoolArray,
    brightest_hu: float,
    least_ml: float,
) -> BoolArray:
    """Dense parts that may be cement: joined to some in a body, none of it brighter.

    Both count from ``least_ml`` on: a cage or marker beside a body is brighter.
    """
    held = np.zeros(dense.shape, np.bool_)
    crop = box_around(dense, region.geometry, 0.0)
    if crop is None:
        return held
    parts, count = ndimage.label(dense[crop], np.ones((3, 3, 3)))

    def enough(where: BoolArray) -> BoolArray:
        ml = np.bincount(parts[where], minlength=count + 1) * region.voxel_ml
        return np.asarray(ml >= least_ml, np.bool_)

    in_body = enough(body_voxels(region.labels[crop], spine))
    is_held = in_body & ~enough(region.hu[crop] >= brightest_hu)
    is_held[0] = False
    held[crop] = is_held[parts]
    return held


def dense_parts(
    region: ScanRegion, certain: BoolArray, hardware: np.ndarray, minimum_ml: float
) -> tuple[MetalVolume, ...]:
    """Parts brighter than any cement on an extended scale: cages, markers, clips."""
    parts, count = ndimage.label(certain, np.ones((3, 3, 3)))
    volumes = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1) if count else ():
        inside = parts[box] == number
        ml = float(inside.sum()) * region.voxel_ml
        if ml < minimum_ml:
            continue
        hardware[box][inside] = 3
        index = np.argwhere(inside) + [part.start for part in box]
        points = region.geometry.index_to_lps(index)
        volumes.append(MetalVolume(MetalKind.OTHER, ml, point_of(points)))
    return tuple(volumes)


def point_of(points: FloatArray) -> PointLPS:
    """Centre of some patient points."""
    centre = points.mean(axis=0)
    return float(centre[0]), float(centre[1]), float(centre[2])
