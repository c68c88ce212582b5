"""From smooth shapes in patient space back to the voxels of the scan."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from cemscope.geometry import FloatArray, VoxelGeometry

SLAB_VOXELS = 2_000_000
"""Voxels whose coordinates are held in memory at a time (48 MB)."""

CELL_MM = 1.2
"""Edge of the cells in which a smooth shape is first looked at."""

CLEAR_MM = 0.5
"""A cell whose corners all lie this deep on one side of a surface is not cut by it."""

LEAST_CELL_VOXELS = 4
"""Smaller cells save nothing."""

DepthFunction = Callable[[FloatArray], FloatArray]
"""Takes LPS points (n, 3); gives depths (n,) in mm, positive inside."""

Box = tuple[slice, slice, slice]


def voxel_box(geometry: VoxelGeometry, points_lps_mm: FloatArray) -> Box | None:
    """Smallest box of voxels round patient points; None if it misses the grid."""
    index = geometry.lps_to_index(points_lps_mm.reshape(-1, 3))
    low = np.clip(np.floor(index.min(axis=0)), 0, None).astype(int)
    high = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 1, geometry.shape)
    if (high <= low).any():
        return None
    return (
        slice(int(low[0]), int(high[0])),
        slice(int(low[1]), int(high[1])),
        slice(int(low[2]), int(high[2])),
    )


def box_corners(
    origin_lps_mm: FloatArray, axes: FloatArray, half_mm: FloatArray
) -> FloatArray:
    """Corners of an oriented box, shape (8, 3).

    Parameters
    ----------
    origin_lps_mm
        Its centre.
    axes : ndarray, shape (3, 3)
        Unit vectors, one per row.
    half_mm
        Half its extent along each.
    """
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    corners: FloatArray = origin_lps_mm + (signs * half_mm) @ axes
    return corners


def voxel_slabs(
    geometry: VoxelGeometry, box: Box
) -> Iterator[tuple[Box, npt.NDArray[np.float64]]]:
    """Walk a box in slabs along the first axis.

    Yields
    ------
    tuple
        The slab's part of the array and the LPS points of its voxels, shape
        (slices, rows, columns, 3).
    """
    area = (box[1].stop - box[1].start) * (box[2].stop - box[2].start)
    thick = max(1, SLAB_VOXELS // max(area, 1))
    for first in range(box[0].start, box[0].stop, thick):
        part = (slice(first, min(first + thick, box[0].stop)), box[1], box[2])
        axes = [np.arange(side.start, side.stop) for side in part]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        yield part, geometry.index_to_lps(index)


def voxels_inside(
    geometry: VoxelGeometry, box: Box, depth_mm: DepthFunction
) -> npt.NDArray[np.bool_]:
    """Voxels of a box whose centres lie inside a smooth shape.

    The depth is computed on cells of `CELL_MM` first, and voxel by voxel only in the
    cells that the surface may cut.

    Parameters
    ----------
    geometry
        Grid of the box.
    box
        Where the shape lies.
    depth_mm
        The shape.

    Returns
    -------
    ndarray of bool
        Of the box's shape.
    """
    shape = tuple(side.stop - side.start for side in box)
    edge = [max(1, round(CELL_MM / spacing)) for spacing in geometry.spacing_mm]
    if np.prod(edge) < LEAST_CELL_VOXELS:
        result = np.zeros(shape, np.bool_)
        for part, points in voxel_slabs(geometry, box):
            first = part[0].start - box[0].start
            depth = depth_mm(points.reshape(-1, 3)).reshape(points.shape[:3])
            result[first : first + len(depth)] = depth > 0.0
        return result
    cells = [-(-n // e) for n, e in zip(shape, edge, strict=True)]
    ticks = [
        side.start + e * np.arange(n + 1)
        for side, e, n in zip(box, edge, cells, strict=True)
    ]
    corners = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1)
    points = geometry.index_to_lps(corners.reshape(-1, 3))
    depth = depth_mm(points).reshape(corners.shape[:3])
    lowest, highest = depth, depth
    for axis in range(3):
        front: list[slice] = [slice(None)] * 3
        back: list[slice] = [slice(None)] * 3
        front[axis], back[axis] = slice(None, -1), slice(1, None)
        lowest = np.minimum(lowest[tuple(front)], lowest[tuple(back)])
        highest = np.maximum(highest[tuple(front)], highest[tuple(back)])
    inside = _spread(lowest > CLEAR_MM, edge, shape)
    cut = (lowest <= CLEAR_MM) & (highest >= -CLEAR_MM)
    index = np.flatnonzero(_spread(cut, edge, shape))
    found = inside.reshape(-1)
    start = np.array([side.start for side in box])
    for few in np.array_split(index, len(index) // SLAB_VOXELS + 1):
        if len(few):
            at = np.column_stack(np.unravel_index(few, shape)) + start
            found[few] = depth_mm(geometry.index_to_lps(at)) > 0.0
    return inside


def _spread(
    cells: npt.NDArray[np.bool_], edge: list[int], shape: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """Give every voxel the value of its cell."""
    for axis, (e, n) in enumerate(zip(edge, shape, strict=True)):
        cells = np.take(cells, np.arange(n) // e, axis=axis)
    return np.ascontiguousarray(cells)
