"""A small, clean copy of a CT for the vertebra finder.

The finder works on cubes of 1-2 mm aligned with the patient (LPS), whatever the
order or tilt of the slices was. Intensities are tamed first: metal gets the value
of bone and everything is cut to a window between fat and cortex, so that screws,
cement and streaks barely move an outline.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.volume import CTVolume

WorkingArray = npt.NDArray[np.float32]

PADDED_BELOW_HU = -1000
"""At or below this lies padding or free air outside the patient."""

MAX_WORKING_VOXELS = 60_000_000
"""A request for more voxels than this is a mistake in the caller."""


@dataclass(frozen=True, slots=True)
class IntensityWindow:
    """How CT values are tamed.

    Attributes
    ----------
    floor_hu, ceiling_hu : float
        Values are cut to this window (fat and streaks below, cortex above).
    metal_above_hu : float
        Higher values are metal or dense cement.
    metal_as_hu : float
        Value that takes their place; that of bone.
    """

    floor_hu: float = -60.0
    ceiling_hu: float = 450.0
    metal_above_hu: float = 2000.0
    metal_as_hu: float = 300.0


@dataclass(frozen=True, slots=True, eq=False)
class WorkingVolume:
    """Tamed CT values on cubes aligned with LPS.

    Attributes
    ----------
    hu : ndarray of float32, shape (slices, rows, columns)
        Axes run to the head, to the back and to the patient's left.
    inside : ndarray of float32, same shape
        1 where the scan measured something, 0 outside its field of view, between
        at its border.
    geometry : VoxelGeometry
        Position of the voxels.
    """

    hu: WorkingArray
    inside: WorkingArray
    geometry: VoxelGeometry

    def sample(self, points_lps_mm: FloatArray) -> WorkingArray:
        """Interpolate values at LPS points, shape (..., 3); the border is extended."""
        return self._sample(self.hu, points_lps_mm)

    def sample_inside(self, points_lps_mm: FloatArray) -> WorkingArray:
        """Tell how far points lie in the field of view (0 ... 1)."""
        index = self.geometry.lps_to_index(points_lps_mm)
        inside: WorkingArray = ndimage.map_coordinates(
            self.inside, np.moveaxis(index, -1, 0), order=1, mode="constant", cval=0.0
        )
        return inside

    def cut_at(self, ceiling_hu: float) -> "WorkingVolume":
        """Return the same volume with a lower ceiling."""
        return WorkingVolume(
            np.minimum(self.hu, np.float32(ceiling_hu)), self.inside, self.geometry
        )

    def _sample(self, values: WorkingArray, points_lps_mm: FloatArray) -> WorkingArray:
        index = self.geometry.lps_to_index(points_lps_mm)
        sampled: WorkingArray = ndimage.map_coordinates(
            values, np.moveaxis(index, -1, 0), order=1, mode="nearest"
        )
        return sampled


def working_volume(
    ct: CTVolume,
    spacing_mm: float,
    window: IntensityWindow,
    box_lps_mm: tuple[FloatArray, FloatArray] | None = None,
) -> WorkingVolume:
    """Resample a CT to tamed cubes aligned with the patient.

    Parameters
    ----------
    ct
        Scan of any orientation.
    spacing_mm
        Edge of the cubes.
    window
        How intensities are tamed.
    box_lps_mm
        Lower and upper corner of the part that is wanted; the whole scan if None.

    Raises
    ------
    ValueError
        If the box does not touch the scan, or the grid would be far too large.
    """
    corners = ct.geometry.corners_lps_mm()
    low, high = corners.min(axis=0), corners.max(axis=0)
    if box_lps_mm is not None:
        low, high = np.maximum(low, box_lps_mm[0]), np.minimum(high, box_lps_mm[1])
    if (high < low).any():
        raise ValueError("the box lies outside the scan")
    # Whole multiples of the spacing: a shifted or flipped scan of the same patient
    # is sampled at the same points.
    first = np.ceil(low / spacing_mm - 1e-6) * spacing_mm
    count = np.maximum(np.floor((high - first) / spacing_mm + 1e-6), 0).astype(int) + 1
    if int(np.prod(count)) > MAX_WORKING_VOXELS:
        raise ValueError(f"{count} cubes of {spacing_mm} mm are too many")
    geometry = VoxelGeometry.from_axes(
        (int(count[2]), int(count[1]), int(count[0])),
        (spacing_mm,) * 3,
        origin_lps_mm=tuple(first),
    )
    hu, inside, coarse = _averaged(ct, geometry, spacing_mm, window)
    to_coarse = np.linalg.inv(coarse.affine_lps) @ geometry.affine_lps
    return WorkingVolume(
        _interpolated(hu, to_coarse, geometry.shape, extended=True),
        _interpolated(inside, to_coarse, geometry.shape, extended=False),
        geometry,
    )


def _interpolated(
    values: WorkingArray,
    mapping: FloatArray,
    shape: tuple[int, int, int],
    *,
    extended: bool,
) -> WorkingArray:
    """Interpolate linearly; beyond the array its border is extended, or 0 stands."""
    matrix, offset = mapping[:3, :3], mapping[:3, 3]
    if not np.allclose(matrix, np.diag(np.diag(matrix)), rtol=0.0, atol=1e-9):
        result: WorkingArray = ndimage.affine_transform(
            values,
            matrix,
            offset,
            shape,
            order=1,
            mode="nearest" if extended else "constant",
            cval=0.0,
        )
        return result
    # Grids with the same axes: axis by axis is several times faster.
    for axis, (n, size) in enumerate(zip(shape, values.shape, strict=True)):
        at = matrix[axis, axis] * np.arange(n) + offset[axis]
        clipped = np.clip(at, 0.0, size - 1)
        low = np.minimum(clipped.astype(int), max(size - 2, 0))
        across = [1, 1, 1]
        across[axis] = n
        upper = (clipped - low).astype(np.float32).reshape(across)
        values = np.take(values, low, axis) * (1 - upper) + upper * np.take(
            values, np.minimum(low + 1, size - 1), axis
        )
        if not extended:
            values *= (np.abs(clipped - at) < 1e-6).reshape(across)
    return values


def _averaged(
    ct: CTVolume, wanted: VoxelGeometry, spacing_mm: float, window: IntensityWindow
) -> tuple[WorkingArray, WorkingArray, VoxelGeometry]:
    """Tame and average blocks of voxels, slab by slab, in the part that is wanted."""
    index = ct.geometry.lps_to_index(wanted.corners_lps_mm())
    margin = 2.0 + spacing_mm / np.asarray(ct.spacing_mm)
    starts = np.maximum(np.floor(index.min(axis=0) - margin), 0).astype(int)
    stops = np.minimum(np.ceil(index.max(axis=0) + margin) + 1, ct.geometry.shape)
    block = np.maximum(np.floor(spacing_mm / np.asarray(ct.spacing_mm) + 0.05), 1)
    block = np.minimum(block.astype(int), stops.astype(int) - starts)
    count = (stops.astype(int) - starts) // block
    hu = np.empty(tuple(count), np.float32)
    inside = np.empty(tuple(count), np.float32)
    rows = slice(starts[1], starts[1] + count[1] * block[1])
    columns = slice(starts[2], starts[2] + count[2] * block[2])
    shape = (block[0], count[1], block[1], count[2], block[2])
    for k in range(int(count[0])):
        first = starts[0] + k * block[0]
        slab = ct.hu[first : first + block[0], rows, columns]
        tamed = np.clip(slab, window.floor_hu, window.ceiling_hu).astype(np.float32)
        tamed[slab > window.metal_above_hu] = window.metal_as_hu
        # Slices first, then rows, then columns: much faster than all at once.
        hu[k] = tamed.mean(axis=0).reshape(shape[1:]).mean(axis=1).mean(axis=2)
        middle = slab[
            block[0] // 2, block[1] // 2 :: block[1], block[2] // 2 :: block[2]
        ]
        inside[k] = middle > PADDED_BELOW_HU
    affine = ct.geometry.affine_lps.copy()
    affine[:3, 3] = ct.geometry.index_to_lps(starts + (block - 1) / 2)
    affine[:3, :3] *= block
    shape3 = (int(count[0]), int(count[1]), int(count[2]))
    return hu, inside, VoxelGeometry(shape3, affine)
