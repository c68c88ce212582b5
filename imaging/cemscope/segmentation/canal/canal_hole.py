"""The spinal canal as the hole that one sees when looking through a vertebra.

A vertebra that is projected along its canal has a shadow with a hole; along any other
direction the hole shrinks or closes. This finds the canal of a whole-vertebra outline
without a scanner axis and without its neighbours.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray, VoxelGeometry

BoolImage = npt.NDArray[np.bool_]

PIXEL_MM = 1.5
"""Pixel of the shadow; a third of the thinnest lamina."""

_TILTS_DEG = (20.0, 10.0, 5.0)
"""Steps of the search around the start direction: coarse to fine."""

MIN_HOLE_MM2 = 40.0
"""Smaller holes are transverse foramina or gaps in the outline. The narrowest normal
canal is about 150 mm2; a tilt of 10 degrees hides half of it."""


@dataclass(frozen=True, slots=True, eq=False)
class CanalHole:
    """Shadow of a vertebra along its canal.

    Attributes
    ----------
    axis : ndarray, shape (3,)
        Unit vector along the canal, LPS, on the side of the start direction.
    first, second : ndarray, shape (3,)
        Unit vectors of the shadow's rows and columns, LPS.
    origin_lps_mm : ndarray, shape (3,)
        Patient point at the centre of pixel (0, 0).
    shadow, hole : ndarray of bool, shape (rows, columns)
        Shadow of the bone, and the hole that is the canal (empty if it is open).
    core_mm : ndarray, shape (2,)
        Centre of the largest disc of shadow, the body, from the origin in mm.
    core_radius_mm : float
        Radius of that disc.
    """

    axis: FloatArray
    first: FloatArray
    second: FloatArray
    origin_lps_mm: FloatArray
    shadow: BoolImage
    hole: BoolImage
    core_mm: FloatArray
    core_radius_mm: float

    @property
    def area_mm2(self) -> float:
        """Area of the hole; 0 where the ring of the arch is open."""
        return float(self.hole.sum()) * PIXEL_MM**2

    @property
    def core_lps_mm(self) -> FloatArray:
        """A patient point on the line through the body's centre along the canal."""
        point: FloatArray = (
            self.origin_lps_mm
            + self.core_mm[0] * self.first
            + self.core_mm[1] * self.second
        )
        return point

    @property
    def canal_lps_mm(self) -> FloatArray | None:
        """A patient point on the canal's axis; None where the ring is open."""
        if not self.hole.any():
            return None
        row, column = np.argwhere(self.hole).mean(axis=0) * PIXEL_MM
        point: FloatArray = self.origin_lps_mm + row * self.first + column * self.second
        return point

    def covers(self, points_lps_mm: FloatArray) -> BoolImage:
        """Tell which patient points, shape (n, 3), lie in the hole's cylinder."""
        relative = points_lps_mm - self.origin_lps_mm
        pixels = np.stack([relative @ self.first, relative @ self.second]) / PIXEL_MM
        smooth = ndimage.map_coordinates(
            self.hole.astype(np.float32), pixels, order=1, cval=0.0
        )
        inside: BoolImage = smooth > 0.5
        return inside


def find_canal_hole(
    points_lps_mm: FloatArray, start: FloatArray, *, start_is_trusted: bool
) -> CanalHole:
    """Find the direction along which a vertebra shows the largest hole.

    Parameters
    ----------
    points_lps_mm : ndarray, shape (n, 3)
        Centres of the vertebra's voxels, not further apart than `PIXEL_MM` (or see
        the voxels' size as the resolution of the result).
    start : ndarray, shape (3,)
        Unit vector to begin with, towards the head.
    start_is_trusted
        True searches within 30 degrees of the start (a line through neighbours);
        False looks along all directions on the start's side.

    Returns
    -------
    CanalHole
        With an empty hole, seen along ``start``, where no direction shows one.
    """
    centre = points_lps_mm.mean(axis=0)
    points = points_lps_mm - centre
    if start_is_trusted:
        candidates = _cone(start, (0.0, 10.0, 20.0))
    else:
        candidates = _cone(start, (0.0, 15.0, 30.0, 45.0, 60.0, 75.0))
    best = max(
        (_look(points, axis) for axis in candidates), key=lambda view: view.area_mm2
    )
    if best.area_mm2 >= MIN_HOLE_MM2:
        for tilt_deg in _TILTS_DEG[1:]:
            views = [_look(points, axis) for axis in _cone(best.axis, (tilt_deg / 2,))]
            best = max([best, *views], key=lambda view: view.area_mm2)
    else:
        best = _look(points, start)
    return CanalHole(
        best.axis,
        best.first,
        best.second,
        best.origin_lps_mm + centre,
        best.shadow,
        best.hole if best.area_mm2 >= MIN_HOLE_MM2 else np.zeros_like(best.hole),
        best.core_mm,
        best.core_radius_mm,
    )


def fine_points(mask: BoolImage, geometry: VoxelGeometry) -> FloatArray:
    """Points of the mask no further apart than a pixel of the shadow, nor nearer."""
    spacing = np.array(geometry.spacing_mm)
    zoom = np.minimum(spacing / PIXEL_MM, 3.0)
    if np.all(np.abs(zoom - 1.0) < 0.2):
        return geometry.index_to_lps(np.argwhere(mask))
    counts = [max(2, round(n * z)) for n, z in zip(mask.shape, zoom, strict=True)]
    steps = [np.linspace(0, n - 1, k) for n, k in zip(mask.shape, counts, strict=True)]
    field = mask.astype(np.float32)
    for axis, positions in enumerate(steps):
        field = _interpolate_axis(field, positions, axis)
    found = np.nonzero(field >= 0.5)
    indices = np.stack([steps[k][found[k]] for k in range(3)], axis=1)
    return geometry.index_to_lps(indices)


def _interpolate_axis(
    field: npt.NDArray[np.float32], positions: FloatArray, axis: int
) -> npt.NDArray[np.float32]:
    low = np.minimum(positions.astype(np.intp), max(field.shape[axis] - 2, 0))
    high = np.minimum(low + 1, field.shape[axis] - 1)
    shape = [1, 1, 1]
    shape[axis] = len(positions)
    weight = (positions - low).astype(np.float32).reshape(shape)
    mixed: npt.NDArray[np.float32] = (
        np.take(field, low, axis) * (1 - weight) + np.take(field, high, axis) * weight
    )
    return mixed


def _cone(axis: FloatArray, tilts_deg: tuple[float, ...]) -> list[FloatArray]:
    """Directions around an axis, about evenly spread on each ring."""
    first, second = _across(axis)
    directions: list[FloatArray] = []
    for tilt in np.radians(tilts_deg):
        count = 1 if tilt == 0 else max(8, round(float(np.sin(tilt)) * 28))
        for turn in np.linspace(0.0, 2 * np.pi, count, endpoint=False):
            sideways = np.cos(turn) * first + np.sin(turn) * second
            directions.append(np.cos(tilt) * axis + np.sin(tilt) * sideways)
    return directions


def _across(axis: FloatArray) -> tuple[FloatArray, FloatArray]:
    helper = np.eye(3)[int(np.abs(axis).argmin())]
    first = np.cross(axis, helper)
    first /= np.linalg.norm(first)
    return first, np.cross(axis, first)


def _look(points: FloatArray, axis: FloatArray) -> CanalHole:
    """Project the points along an axis and take the hole that belongs to the canal."""
    first, second = _across(axis)
    flat = points @ np.stack([first, second]).T
    low = flat.min(axis=0) - 3 * PIXEL_MM
    pixels = np.rint((flat - low) / PIXEL_MM).astype(np.intp)
    shadow = np.zeros(pixels.max(axis=0) + 4, dtype=bool)
    shadow[pixels[:, 0], pixels[:, 1]] = True
    # Voxels larger than a pixel leave pinholes, which are no canal.
    shadow = ndimage.binary_closing(shadow, np.ones((3, 3), dtype=bool))
    depth = ndimage.distance_transform_edt(shadow)
    # The deepest pixels form a ridge in a wide body: its middle is the centre.
    core = np.argwhere(depth >= 0.85 * depth.max()).mean(axis=0)
    enclosed = ndimage.binary_fill_holes(shadow) & ~shadow
    parts, count = ndimage.label(enclosed)
    hole = np.zeros_like(shadow)
    if count:
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        hole = parts == int(sizes.argmax()) + 1
    return CanalHole(
        axis,
        first,
        second,
        low[0] * first + low[1] * second,
        shadow,
        hole,
        core * PIXEL_MM,
        float(depth.max()) * PIXEL_MM,
    )
