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


def grown(mask: BoolArray, radius_mm: float, geometry: VoxelGeometry) -> BoolArray:
    """Voxels within a distance of a mask, by an exact distance transform."""
    if not mask.any():
        return mask.copy()
    distance = ndimage.distance_transform_edt(~mask, sampling=geometry.spacing_mm)
    near: BoolArray = distance <= radius_mm
    return near
