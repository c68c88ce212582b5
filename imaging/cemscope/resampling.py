"""Bring an image onto another voxel grid; pure functions over the patient's mm.

Labels are never blended as numbers. Each one is carried over on its own, in a crop
around it, so that memory follows the structures and not the scan.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.volume import LabelArray, LabelMap

Box = tuple[slice, slice, slice]
FloatField = npt.NDArray[np.float32]

_OUTSIDE_MM = -1e6
"""Distance that stands for 'nowhere near this label'."""


def label_boxes(labels: LabelArray) -> dict[int, Box]:
    """Smallest box around each label that occurs, background left out.

    Parameters
    ----------
    labels : ndarray of uint8, shape (slices, rows, columns)

    Returns
    -------
    dict of int to tuple of slice
        In the order of the numbers.
    """
    found = ndimage.find_objects(labels)
    return {number + 1: box for number, box in enumerate(found) if box is not None}


def grow_box(box: Box, shape: tuple[int, int, int], voxels: tuple[int, ...]) -> Box:
    """Widen a box by some voxels along each axis, within the array."""
    low = [max(part.start - n, 0) for part, n in zip(box, voxels, strict=True)]
    high = [
        min(part.stop + n, size)
        for part, n, size in zip(box, voxels, shape, strict=True)
    ]
    return (
        slice(low[0], high[0]),
        slice(low[1], high[1]),
        slice(low[2], high[2]),
    )


def resample_labels_nearest(source: LabelMap, target: VoxelGeometry) -> LabelMap:
    """Give each target voxel the label of the source voxel it lies in.

    Right for a grid that is the same, flipped, permuted or cropped; on a finer grid
    the outlines keep the steps of the source (see `resample_labels_smooth`).

    Parameters
    ----------
    source
        Labels on any grid.
    target
        Grid of the result; voxels outside the source become 0.
    """
    if not source.geometry.describe_difference(target):
        return LabelMap(source.labels, target, source.names)
    result = np.zeros(target.shape, dtype=np.uint8)
    boxes = label_boxes(source.labels)
    if boxes:
        everything = _union(list(boxes.values()))
        box = _target_box(source.geometry, everything, target, margin_voxels=0)
        if box is not None:
            matrix, offset = _index_map(target.crop(box), source.geometry)
            result[box] = ndimage.affine_transform(
                source.labels,
                matrix,
                offset=offset,
                output_shape=result[box].shape,
                order=0,
                mode="grid-constant",
                cval=0,
                prefilter=False,
            )
    return LabelMap(result, target, source.names)


def resample_labels_smooth(source: LabelMap, target: VoxelGeometry) -> LabelMap:
    """Carry each label over by shape-based interpolation.

    The signed distance to the outline of a label (mm, positive inside) is interpolated
    linearly; a target voxel takes the label whose distance is largest, if that is
    positive. Outlines stay smooth between thick slices and volumes are kept, where
    nearest neighbour leaves steps (Raya and Udupa 1990, doi:10.1109/42.52980).

    Parameters
    ----------
    source
        Labels on any grid.
    target
        Grid of the result; voxels outside the source become 0. Where both grids are
        one grid the labels are handed through untouched.
    """
    if not source.geometry.describe_difference(target):
        return LabelMap(source.labels, target, source.names)
    result = np.zeros(target.shape, dtype=np.uint8)
    boxes = label_boxes(source.labels)
    placed = {
        number: _target_box(source.geometry, box, target, margin_voxels=1)
        for number, box in boxes.items()
    }
    inside = [box for box in placed.values() if box is not None]
    if not inside:
        return LabelMap(result, target, source.names)
    whole = _union(inside)
    best = np.zeros(result[whole].shape, dtype=np.float32)
    winners = result[whole]
    for number, box in placed.items():
        if box is None:
            continue
        distance = _distance_on(source, number, boxes[number], target.crop(box))
        local = _relative(box, whole)
        nearer = distance > best[local]
        best[local][nearer] = distance[nearer]
        winners[local][nearer] = number
    return LabelMap(result, target, source.names)


def signed_distance_mm(
    mask: npt.NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> FloatField:
    """Distance to the outline of a mask, positive inside, in mm.

    The outline runs half-way between the centres of neighbouring voxels of which one
    is set; the space beyond the array counts as outside.

    Parameters
    ----------
    mask : ndarray of bool, shape (slices, rows, columns)
    spacing_mm
        Along (slice, row, column).

    Returns
    -------
    ndarray of float32
        On the same grid.
    """
    padded = np.pad(mask, 1)
    within = ndimage.distance_transform_edt(padded, sampling=spacing_mm)
    beyond = ndimage.distance_transform_edt(~padded, sampling=spacing_mm)
    centre = (slice(1, -1),) * 3
    field: FloatField = (within - beyond)[centre].astype(np.float32)
    return field


def _distance_on(
    source: LabelMap, number: int, box: Box, target: VoxelGeometry
) -> FloatField:
    """Signed distance to one label, interpolated on a piece of the target grid."""
    # Two voxels of background around the label: the linear interpolation needs them.
    start = [part.start - 2 for part in box]
    mask = np.pad(source.labels[box] == number, 2)
    distance = signed_distance_mm(mask, source.geometry.spacing_mm)
    matrix, offset = _index_map(target, source.geometry)
    sampled: FloatField = ndimage.affine_transform(
        distance,
        matrix,
        offset=offset - start,
        output_shape=target.shape,
        order=1,
        mode="constant",
        cval=_OUTSIDE_MM,
        prefilter=False,
    )
    return sampled


def _index_map(
    start: VoxelGeometry, end: VoxelGeometry
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Matrix and offset from the indices of one grid to those of another."""
    combined = np.linalg.inv(end.affine_lps) @ start.affine_lps
    # Rounding noise would move samples that lie exactly between two voxels.
    combined = np.round(combined, 9)
    return combined[:3, :3], combined[:3, 3]


def _target_box(
    source: VoxelGeometry, box: Box, target: VoxelGeometry, margin_voxels: int
) -> Box | None:
    """Box on the target grid that covers a box of the source; None where it misses."""
    low = np.array([part.start for part in box]) - 0.5 - margin_voxels
    high = np.array([part.stop for part in box]) - 0.5 + margin_voxels
    unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), float)
    corners = low + unit.reshape(3, -1).T * (high - low)
    indices = target.lps_to_index(source.index_to_lps(corners))
    first = np.maximum(np.floor(indices.min(axis=0)).astype(int), 0)
    last = np.minimum(np.ceil(indices.max(axis=0)).astype(int) + 1, target.shape)
    if np.any(first >= last):
        return None
    return (
        slice(int(first[0]), int(last[0])),
        slice(int(first[1]), int(last[1])),
        slice(int(first[2]), int(last[2])),
    )


def _union(boxes: list[Box]) -> Box:
    low = np.min([[part.start for part in box] for box in boxes], axis=0)
    high = np.max([[part.stop for part in box] for box in boxes], axis=0)
    return (
        slice(int(low[0]), int(high[0])),
        slice(int(low[1]), int(high[1])),
        slice(int(low[2]), int(high[2])),
    )


def _relative(box: Box, whole: Box) -> Box:
    shifted = [
        slice(part.start - base.start, part.stop - base.start)
        for part, base in zip(box, whole, strict=True)
    ]
    return shifted[0], shifted[1], shifted[2]
