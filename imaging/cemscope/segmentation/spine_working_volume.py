"""A small, clean copy of a CT for the vertebra finder.

The finder works on cubes of 1-2 mm aligned with the patient (LPS), whatever the
order or tilt of the slices was. Intensities are tamed first: metal gets the value
of bone and everything is cut to a window between fat and cortex, so that screws,
cement and streaks barely move an outline.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.segmentation.worker_threads import side_by_side
from cemscope.volume import CTVolume, HUArray

WorkingArray = npt.NDArray[np.float32]

PADDED_BELOW_HU = -1000
"""At or below this lies padding or free air outside the patient."""

MAX_WORKING_VOXELS = 60_000_000
"""A request for more voxels than this is a mistake in the caller."""

CURVED_FROM = 1.4
"""Samples further apart than this many cubes are joined by cubic splines, not by lines
[ours]: lines blur the endplates in slices of 2 to 3 mm as much as the slices do, most
half way between two, and the two plates of a thin disc melt into one."""

SPLINE_BORDER = 2
"""Samples that a spline needs beyond the border."""

TURNED_SLAB = 16
"""Slices of an oblique scan's cubes that are interpolated at a time."""


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
    scan : VoxelGeometry or None
        Position of the scan's own voxels, None where it is not known.
    """

    hu: WorkingArray
    inside: WorkingArray
    geometry: VoxelGeometry
    scan: VoxelGeometry | None = None

    def voxel_width_mm(self, direction_lps: FloatArray) -> float:
        """How wide the scan's voxels are in a direction; 0 if not known."""
        if self.scan is None:
            return 0.0
        cosines = self.scan.directions_lps @ direction_lps
        return float(np.linalg.norm(cosines * np.array(self.scan.spacing_mm)))

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
        return replace(self, hu=np.minimum(self.hu, np.float32(ceiling_hu)))

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
    *,
    splines: bool = False,
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
    splines
        Join samples that lie far apart (`CURVED_FROM`) by cubic splines: edges keep
        their place and width. They do not leave the range of the samples.

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
    geometry = _cubes(low, high, spacing_mm)
    hu, inside, coarse = _averaged(ct, geometry, spacing_mm, window)
    to_coarse = np.linalg.inv(coarse.affine_lps) @ geometry.affine_lps
    return WorkingVolume(
        _interpolated(hu, to_coarse, geometry.shape, extended=True, splines=splines),
        _interpolated(inside, to_coarse, geometry.shape, extended=False),
        geometry,
        ct.geometry,
    )


def coarser(volume: WorkingVolume, spacing_mm: float) -> WorkingVolume:
    """Bring a working volume to larger cubes, if it does not have them already."""
    corners = volume.geometry.corners_lps_mm()
    own_mm = volume.geometry.spacing_mm[0]
    if spacing_mm <= own_mm * 1.01:
        return volume
    geometry = _cubes(corners.min(axis=0), corners.max(axis=0), spacing_mm)
    mapping = np.linalg.inv(volume.geometry.affine_lps) @ geometry.affine_lps
    # Blur makes up for the difference of two boxes' widths (variance a twelfth).
    sigma = np.sqrt((spacing_mm**2 - own_mm**2) / 12.0) / own_mm
    hu = ndimage.gaussian_filter(volume.hu, sigma, mode="nearest", truncate=2.5)
    return WorkingVolume(
        _interpolated(hu, mapping, geometry.shape, extended=True),
        _interpolated(volume.inside, mapping, geometry.shape, extended=False),
        geometry,
    )


def _cubes(low: FloatArray, high: FloatArray, spacing_mm: float) -> VoxelGeometry:
    """Cubes at whole multiples of their edge.

    So a shifted, cropped or flipped scan of a patient is read at the same points.
    """
    first = np.ceil(low / spacing_mm - 1e-6) * spacing_mm
    count = np.maximum(np.floor((high - first) / spacing_mm + 1e-6), 0).astype(int) + 1
    if int(np.prod(count)) > MAX_WORKING_VOXELS:
        raise ValueError(f"{count} cubes of {spacing_mm} mm are too many")
    return VoxelGeometry.from_axes(
        (int(count[2]), int(count[1]), int(count[0])),
        (spacing_mm,) * 3,
        origin_lps_mm=tuple(first),
    )


def _interpolated(
    values: WorkingArray,
    mapping: FloatArray,
    shape: tuple[int, int, int],
    *,
    extended: bool,
    splines: bool = False,
) -> WorkingArray:
    """Interpolate; beyond the array its border is extended, or 0 stands."""
    matrix, offset = mapping[:3, :3], mapping[:3, 3]
    if not np.allclose(matrix, np.diag(np.diag(matrix)), rtol=0.0, atol=1e-9):
        return _turned(values, mapping, shape, extended=extended, splines=splines)
    # Grids with the same axes: axis by axis is several times faster.
    places = []
    for axis, (n, size) in enumerate(zip(shape, values.shape, strict=True)):
        at = matrix[axis, axis] * np.arange(n) + offset[axis]
        clipped = np.clip(at, 0.0, size - 1)
        places.append((clipped, np.abs(clipped - at) < 1e-6))
    everywhere = not extended and bool(values.all())
    if everywhere:
        values = np.ones(shape, np.float32)
    else:
        low, high = values.min(), values.max()
        shares = [n / m for n, m in zip(shape, values.shape, strict=True)]
        for axis in map(int, np.argsort(shares)):
            curved = splines and CURVED_FROM * abs(matrix[axis, axis]) < 1.0
            line = _curved_between if curved else _between
            values = line(values, places[axis][0], axis)
        if splines:
            np.clip(values, low, high, out=values)
    if not extended:
        for axis, (_, within) in enumerate(places):
            if not within.all():
                index: list[slice | npt.NDArray[np.bool_]] = [slice(None)] * 3
                index[axis] = ~within
                values[tuple(index)] = 0.0
    return values


def _turned(
    values: WorkingArray,
    mapping: FloatArray,
    shape: tuple[int, int, int],
    *,
    extended: bool,
    splines: bool,
) -> WorkingArray:
    """`_interpolated` for grids with different axes."""
    matrix, offset = mapping[:3, :3], mapping[:3, 3]
    result = np.empty(shape, np.float32)
    everywhere = not extended and bool(values.all())
    order, low, high = 1, values.min(), values.max()
    if splines and CURVED_FROM * np.linalg.norm(matrix, axis=1).min() < 1.0:
        order, padded = 3, np.pad(values, SPLINE_BORDER, mode="edge")
        values = ndimage.spline_filter(padded, output=np.float32, mode="mirror")
        offset = offset + SPLINE_BORDER
    rows, columns = np.arange(shape[1])[:, None], np.arange(shape[2])

    def fill(first: int) -> None:
        part = result[first : first + TURNED_SLAB]
        start = matrix[:, 0] * first + offset
        if not everywhere:
            ndimage.affine_transform(
                values,
                matrix,
                start,
                part.shape,
                part,
                order=order,
                mode="nearest" if extended else "constant",
                cval=0.0,
                prefilter=False,
            )
            if order > 1:
                np.clip(part, low, high, out=part)
            return
        for k in range(len(part)):
            within = np.ones(shape[1:], np.bool_)
            for axis, size in enumerate(values.shape):
                line, across = matrix[axis, 1] * rows, matrix[axis, 2] * columns
                at = line + (across + (start[axis] + matrix[axis, 0] * k))
                within &= (at >= 0.0) & (at <= size - 1)
            part[k] = within

    side_by_side(fill, range(0, shape[0], TURNED_SLAB))
    return result


def _between(values: WorkingArray, at: FloatArray, axis: int) -> WorkingArray:
    """Interpolate linearly along one axis at fractional places inside it."""
    low = np.minimum(at.astype(int), max(values.shape[axis] - 2, 0))
    across = [1, 1, 1]
    across[axis] = len(at)
    share = (at - low).astype(np.float32).reshape(across)
    shape = list(values.shape)
    shape[axis] = len(at)
    mixed = np.empty(shape, np.float32)
    other = 1 if axis == 0 else 0

    def mix(part: tuple[slice, ...]) -> None:
        # All places lie inside; numpy need not check each (and is twice as fast).
        target = mixed[part]
        np.take(values[part], low, axis, out=target, mode="clip")
        if share.any():
            upper = np.take(values[part], low + 1, axis, mode="clip")
            upper -= target
            upper *= share
            target += upper

    slabs = range(0, shape[other], MIXED_SLAB)
    side_by_side(
        mix, [(slice(None),) * other + (slice(k, k + MIXED_SLAB),) for k in slabs]
    )
    return mixed


def _curved_between(values: WorkingArray, at: FloatArray, axis: int) -> WorkingArray:
    """Interpolate along one axis at fractional places inside it, by cubic splines."""
    border = [(SPLINE_BORDER, SPLINE_BORDER) if k == axis else (0, 0) for k in range(3)]
    weights = ndimage.spline_filter1d(
        np.pad(values, border, mode="edge"), axis=axis, output=np.float32, mode="mirror"
    )
    low = np.floor(at).astype(int)
    t = at - low
    taps = (
        (1 - t) ** 3,
        3 * t**3 - 6 * t**2 + 4,
        -3 * t**3 + 3 * t**2 + 3 * t + 1,
        t**3,
    )
    across = [1, 1, 1]
    across[axis] = len(at)
    shape = list(values.shape)
    shape[axis] = len(at)
    joined = np.zeros(shape, np.float32)
    for k, tap in enumerate(taps):
        part = np.take(weights, low + (SPLINE_BORDER - 1 + k), axis, mode="clip")
        part *= (tap / 6.0).astype(np.float32).reshape(across)
        joined += part
    return joined


MIXED_SLAB = 32
"""Planes that one thread interpolates at a time."""


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
    shape = (int(count[0]), int(count[1]), int(count[2]))
    hu = np.empty(shape, np.float32)
    inside = np.empty(shape, np.float32)
    rows = slice(starts[1], starts[1] + count[1] * block[1])
    columns = slice(starts[2], starts[2] + count[2] * block[2])
    row, column = (
        slice(block[1] // 2, None, block[1]),
        slice(block[2] // 2, None, block[2]),
    )

    def average(k: int) -> None:
        first = starts[0] + k * block[0]
        slab = ct.hu[first : first + block[0], rows, columns]
        total = _summed(_tamed(slab, window), block)
        np.divide(total, np.float32(np.prod(block)), out=hu[k])
        inside[k] = slab[block[0] // 2, row, column] > PADDED_BELOW_HU

    side_by_side(average, range(shape[0]))
    affine = ct.geometry.affine_lps.copy()
    affine[:3, 3] = ct.geometry.index_to_lps(starts + (block - 1) / 2)
    affine[:3, :3] *= block
    return hu, inside, VoxelGeometry(shape, affine)


def _tamed(slab: HUArray, window: IntensityWindow) -> HUArray:
    """Cut values to the window; metal gets the value of bone."""
    limits = np.iinfo(np.int16)
    low = np.int16(max(window.floor_hu, limits.min))
    high = np.int16(min(window.ceiling_hu, limits.max))
    tamed: HUArray = np.clip(slab, low, high)
    if window.metal_above_hu < limits.max:
        metal = slab > np.int16(window.metal_above_hu)
        if metal.any():
            tamed[metal] = np.int16(window.metal_as_hu)
    return tamed


def _summed(slab: HUArray, block: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Sum over blocks, shape (rows, columns) of them."""
    total: npt.NDArray[np.int32] = slab[0].astype(np.int32)
    for part in slab[1:]:
        total += part
    rows: npt.NDArray[np.int32] = total[:: block[1]].copy() if block[1] > 1 else total
    for k in range(1, block[1]):
        rows += total[k :: block[1]]
    columns: npt.NDArray[np.int32] = (
        rows[:, :: block[2]].copy() if block[2] > 1 else rows
    )
    for k in range(1, block[2]):
        columns += rows[:, k :: block[2]]
    return columns
