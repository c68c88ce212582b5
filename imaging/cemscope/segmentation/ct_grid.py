"""From smooth shapes in patient space back to the voxels of the scan."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cemscope.geometry import FloatArray, VoxelGeometry

SLAB_VOXELS = 2_000_000
"""Voxels whose coordinates are held in memory at a time (48 MB)."""

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
