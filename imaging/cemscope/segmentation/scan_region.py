"""A box of the scan around a structure: no algorithm touches the whole volume."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.volume import BoolArray, CTVolume, HUArray, LabelArray, LabelMap

FloatArray = npt.NDArray[np.float64]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class ScanRegion:
    """Views of the scan and of its vertebra labels on one box.

    Attributes
    ----------
    box
        Where the region lies in the scan's arrays.
    hu, labels
        Views of the scan; not copies.
    geometry
        Position of the region's voxels.
    """

    box: Box
    hu: HUArray
    labels: LabelArray
    geometry: VoxelGeometry

    @classmethod
    def of_box(cls, ct: CTVolume, labels: LabelMap, box: Box) -> Self:
        """Cut a box out of a scan and its labels."""
        return cls(box, ct.hu[box], labels.labels[box], ct.geometry.crop(box))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel."""
        return self.geometry.voxel_volume_mm3 / 1000.0

    def sub_box(self, box: Box) -> "ScanRegion":
        """Cut a smaller box, given in this region's indices."""
        outer = tuple(
            slice(whole.start + part.start, whole.start + part.stop)
            for whole, part in zip(self.box, box, strict=True)
        )
        return ScanRegion(
            (outer[0], outer[1], outer[2]),
            self.hu[box],
            self.labels[box],
            self.geometry.crop(box),
        )

    def sample_hu(self, points_lps_mm: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """HU at patient points, shape (..., 3), by linear interpolation.

        Points outside take the value of the nearest voxel.
        """
        index = self.geometry.lps_to_index(points_lps_mm)
        values: npt.NDArray[np.float32] = ndimage.map_coordinates(
            self.hu,
            np.moveaxis(index, -1, 0),
            output=np.float32,
            order=1,
            mode="nearest",
        )
        return values


def box_around(
    mask: BoolArray, geometry: VoxelGeometry, margin_mm: float
) -> Box | None:
    """Smallest box that holds a mask and a margin; None for an empty mask."""
    parts: list[slice] = []
    for axis, spacing in enumerate(geometry.spacing_mm):
        others = tuple(a for a in range(3) if a != axis)
        used = np.flatnonzero(mask.any(axis=others))
        if used.size == 0:
            return None
        margin = int(np.ceil(margin_mm / spacing))
        parts.append(
            slice(
                max(int(used[0]) - margin, 0),
                min(int(used[-1]) + margin + 1, geometry.shape[axis]),
            )
        )
    return parts[0], parts[1], parts[2]


def box_of(start: npt.NDArray[np.int_], stop: npt.NDArray[np.int_]) -> Box:
    """Box between two corners, given as (slice, row, column)."""
    return (
        slice(int(start[0]), int(stop[0])),
        slice(int(start[1]), int(stop[1])),
        slice(int(start[2]), int(stop[2])),
    )


def ball(radius_mm: float, geometry: VoxelGeometry) -> BoolArray:
    """Structuring element: the voxels within a radius, at least the six neighbours."""
    spacing = np.array(geometry.spacing_mm)
    reach = np.maximum(np.floor(radius_mm / spacing + 1e-6).astype(int), 1)
    grid = np.stack(
        np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), -1
    )
    inside: BoolArray = (((grid * spacing) ** 2).sum(-1) <= radius_mm**2 + 1e-6) | (
        np.abs(grid).sum(-1) <= 1
    )
    return inside


def within_mm(
    mask: BoolArray, radius_mm: float, spacing_mm: tuple[float, float, float]
) -> BoolArray:
    """Voxels no further than a distance from a mask that is not empty.

    As an exact distance transform, of which only the comparison is kept: a quarter of
    its memory and half of its time.
    """
    nearest = ndimage.distance_transform_edt(
        ~mask, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    squared = np.zeros(mask.shape, np.float32)
    for axis, (spacing, n) in enumerate(zip(spacing_mm, mask.shape, strict=True)):
        across = [1, 1, 1]
        across[axis] = n
        steps = nearest[axis]
        steps -= np.arange(n, dtype=np.int32).reshape(across)
        away = steps.astype(np.float32)
        away *= np.float32(spacing)
        away *= away
        squared += away
    # Rounding must not lose a voxel that lies exactly at the distance.
    near: BoolArray = squared <= np.float32(radius_mm**2 * (1.0 + 1e-6))
    return near


def grown(mask: BoolArray, radius_mm: float, geometry: VoxelGeometry) -> BoolArray:
    """Voxels within a distance of a mask, by an exact distance transform."""
    near = np.zeros(mask.shape, np.bool_)
    box = box_around(mask, geometry, radius_mm)
    if box is not None:
        near[box] = within_mm(mask[box], radius_mm, geometry.spacing_mm)
    return near


def closed(mask: BoolArray, radius_mm: float, geometry: VoxelGeometry) -> BoolArray:
    """Fill dents and gaps narrower than twice a radius, and holes."""
    result = mask.copy()
    box = box_around(mask, geometry, 2.0 * radius_mm)
    if box is None:
        return result
    # The grid may end at the mask: a margin keeps its faces from being eroded.
    margin = [int(np.ceil(2.0 * radius_mm / s)) for s in geometry.spacing_mm]
    padded = np.pad(mask[box], [(m, m) for m in margin])
    inner = tuple(slice(m, n - m) for m, n in zip(margin, padded.shape, strict=True))
    spacing = geometry.spacing_mm
    wide = within_mm(padded, radius_mm, spacing)
    full = ~within_mm(~wide, radius_mm, spacing)
    full = ndimage.binary_fill_holes(full | padded)
    result[box] = full[inner]
    return result


def label_boxes(region: "ScanRegion") -> dict[int, Box]:
    """Box of every vertebra label that occurs in a region."""
    found = ndimage.find_objects(region.labels)
    return {number: box for number, box in enumerate(found, start=1) if box is not None}


def widened(box: Box, margin_mm: float, geometry: VoxelGeometry) -> Box:
    """Grow a box by a margin, inside the grid."""
    parts = []
    for part, spacing, n in zip(box, geometry.spacing_mm, geometry.shape, strict=True):
        margin = int(np.ceil(margin_mm / spacing))
        parts.append(slice(max(part.start - margin, 0), min(part.stop + margin, n)))
    return parts[0], parts[1], parts[2]


def joint(boxes: tuple[Box, ...]) -> Box:
    """Smallest box that holds some boxes."""
    starts = np.min([[p.start for p in box] for box in boxes], axis=0)
    stops = np.max([[p.stop for p in box] for box in boxes], axis=0)
    return box_of(starts, stops)


def narrowed(box: Box, inner: Box) -> Box:
    """Part of a box, given in the box's own indices."""
    starts = np.array([p.start + q.start for p, q in zip(box, inner, strict=True)])
    stops = np.array(
        [min(p.start + q.stop, p.stop) for p, q in zip(box, inner, strict=True)]
    )
    return box_of(starts, stops)


def merged_boxes(boxes: list[Box]) -> list[Box]:
    """Join boxes that overlap, until none do."""
    merged: list[Box] = []
    for box in boxes:
        current = box
        while True:
            k = next(
                (k for k, other in enumerate(merged) if _touch(other, current)), None
            )
            if k is None:
                break
            current = joint((merged.pop(k), current))
        merged.append(current)
    return merged


def _touch(first: Box, second: Box) -> bool:
    return all(
        a.start < b.stop and b.start < a.stop
        for a, b in zip(first, second, strict=True)
    )


def coordinate_along_mm(
    geometry: VoxelGeometry, origin_lps_mm: FloatArray, axis: FloatArray
) -> FloatArray:
    """Coordinate along an axis of all voxels of a grid, from an origin."""
    per_voxel = axis @ geometry.affine_lps[:3, :3]
    start = float(axis @ (geometry.origin_lps_mm - origin_lps_mm))
    slices, rows, columns = (
        per_voxel[k] * np.arange(n) for k, n in enumerate(geometry.shape)
    )
    coordinate: FloatArray = (start + slices[:, None] + rows)[:, :, None] + columns
    return coordinate
