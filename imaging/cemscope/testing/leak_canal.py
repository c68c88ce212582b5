"""The true spinal canal of a simulated patient, from the shapes of its bones alone.

Where a vertebra closes a ring round the canal, the canal is the hole. Between the
rings it is bounded by what bone there is; over foramina and discs, and between the
laminae, it runs straight from one ring to the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.testing.aligned_sampling import sample_aligned
from cemscope.testing.lumbar_anatomy import FAR_MM, VertebraShape
from cemscope.testing.scalar_field import PlaneGrid, Pose
from cemscope.testing.tissue_layers import box_of

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

PLANE_MM, CELL_MM = 1.0, 0.5
"""Distance of the planes in which bone is looked at, and cells within."""

HALF_WINDOW_MM = 24.0
"""A ring lies within this distance of the canal's middle."""

BEHIND_WALL_MM = 5.0
"""A point this far behind the body, in the midline, lies in the canal."""

RING_MM2 = (70.0, 620.0)
"""Areas that the hole of a ring may have; lumbar canals have 150 to 400 mm2."""

ANGLES_RAD = np.arange(64) * (2 * np.pi / 64)
"""Directions in which the radius is stored: 0 is +x, a quarter is +y (backwards)."""

LONGEST_RAY_MM = 20.0
"""Bone further from the middle does not bound the canal."""

USUAL_RADIUS_MM = 8.0
"""Where no ring tells, which no known vertebra leaves open."""

SLACK_MM = (1.5, 5.0)
"""How far bone may lie beyond the line from ring to ring and still bound the canal:
everywhere, and in front, where the walls of the bodies are hollow."""

FRONT_RAD = np.radians(55.0)
"""Half the sector that counts as in front."""


@dataclass(frozen=True, slots=True, eq=False)
class TrueCanal:
    """A tube with a radius in each direction, on the table.

    Attributes
    ----------
    low_mm : float
        Height of the first plane; the next ones follow every `PLANE_MM`.
    centres_mm : ndarray, shape (planes, 2)
        Middle (x, y) of each plane.
    radii_mm : ndarray, shape (planes, angles)
        At `ANGLES_RAD`.
    """

    low_mm: float
    centres_mm: FloatArray
    radii_mm: FloatArray

    def distance_mm(self, points_mm: FloatArray) -> Float32Array:
        """How far points, shape (..., 3), lie outside the tube, along its radius."""
        t = (points_mm[..., 2] - self.low_mm) / PLANE_MM
        last = len(self.centres_mm) - 1.0
        x, y = (self._along(self.centres_mm[:, k], t) for k in (0, 1))
        across, down = points_mm[..., 0] - x, points_mm[..., 1] - y
        turn = np.arctan2(down, across) % (2 * np.pi) / ANGLES_RAD[1]
        radius = ndimage.map_coordinates(
            np.pad(self.radii_mm, ((0, 0), (0, 1)), mode="wrap"),
            [np.clip(t, 0.0, last), turn],
            order=1,
            mode="nearest",
        )
        distance = np.hypot(across, down) - radius
        beyond = (t < 0) | (t > last)
        return np.where(beyond, FAR_MM, distance).astype(np.float32)

    def centre_mm(self, height_mm: float) -> FloatArray:
        """Middle (x, y, z) at a height."""
        t = (height_mm - self.low_mm) / PLANE_MM
        x, y = (float(self._along(self.centres_mm[:, k], t)) for k in (0, 1))
        return np.array([x, y, height_mm])

    def radius_mm(self, angle_rad: float, height_mm: float) -> float:
        """Radius in a direction at a height."""
        k = round((height_mm - self.low_mm) / PLANE_MM)
        row = self.radii_mm[int(np.clip(k, 0, len(self.radii_mm) - 1))]
        return float(np.interp(angle_rad, ANGLES_RAD, row, period=2 * np.pi))

    def _along(self, values: FloatArray, t: npt.ArrayLike) -> FloatArray:
        return np.asarray(
            np.interp(np.asarray(t, float), np.arange(len(values)), values)
        )


def true_canal(shapes: Sequence[VertebraShape]) -> TrueCanal:
    """Measure the canal between the vertebrae of a patient, head to feet."""
    seeds = np.array([_behind_wall(s) for s in reversed(shapes)])
    low, high = seeds[0, 2] - 22.0, seeds[-1, 2] + 22.0
    heights = np.arange(low, high, PLANE_MM)
    guess = np.stack([np.interp(heights, seeds[:, 2], seeds[:, k]) for k in (0, 1)], 1)
    corner = guess.min(axis=0) - HALF_WINDOW_MM
    span = guess.max(axis=0) + HALF_WINDOW_MM - corner
    columns, rows = (int(n) for n in np.ceil(span / CELL_MM))
    grid = PlaneGrid(
        (float(corner[0]), float(corner[1]), float(low)),
        CELL_MM,
        PLANE_MM,
        (len(heights), rows, columns),
        Pose(),
    )
    bone = _union(shapes, grid)
    index = (guess - corner) / CELL_MM
    holes = [_hole(plane, at) for plane, at in zip(bone, index, strict=True)]
    ringed = np.array([h is not None for h in holes])
    if not ringed.any():
        raise ValueError("no vertebra closes a ring round the canal")
    where = np.flatnonzero(ringed)
    known = np.array([h for h in holes if h is not None])
    every = np.arange(len(heights))
    middle = np.stack([np.interp(every, where, known[:, k]) for k in (0, 1)], 1)
    middle = ndimage.gaussian_filter1d(middle, 2.0, axis=0, mode="nearest")
    hit = np.array([_rays(p, c) for p, c in zip(bone, middle, strict=True)])
    radii = _closed(hit, ringed)
    return TrueCanal(float(low), corner + middle * CELL_MM, radii)


def _behind_wall(shape: VertebraShape) -> FloatArray:
    """Give a point in the canal at the height of the body's centre."""
    steps = np.arange(4.0, 40.0, 0.25)
    line = shape.frame.to_lps_mm(steps[:, None] * np.array([0.0, 1.0, 0.0]))
    outside = shape.body.at(line) > 0
    wall = float(steps[int(np.argmax(outside))])
    return shape.frame.to_lps_mm(np.array([0.0, wall + BEHIND_WALL_MM, 2.0]))


def _union(shapes: Sequence[VertebraShape], grid: PlaneGrid) -> Float32Array:
    total = np.full(grid.shape, np.float32(FAR_MM))
    for shape in shapes:
        box = box_of(shape.bone, grid)
        if box is not None:
            part = sample_aligned(shape.bone, grid.crop(box))
            total[box] = np.minimum(total[box], part)
    return total


def _hole(plane: Float32Array, at: FloatArray) -> FloatArray | None:
    """Centre (column, row) of the hole round a point; None where it is open."""
    column, row = (round(float(v)) for v in at)
    half = round(HALF_WINDOW_MM / CELL_MM)
    low = max(row - half, 0), max(column - half, 0)
    window = plane[low[0] : row + half, low[1] : column + half] > 0
    pieces, _ = ndimage.label(window)
    number = pieces[row - low[0], column - low[1]]
    if number == 0:
        return None
    hole = pieces == number
    edge = hole[0].any() or hole[-1].any() or hole[:, 0].any() or hole[:, -1].any()
    area = float(hole.sum()) * CELL_MM**2
    if edge or not RING_MM2[0] < area < RING_MM2[1]:
        return None
    y, x = ndimage.center_of_mass(hole)
    return np.array([x + low[1], y + low[0]])


def _rays(plane: Float32Array, centre: FloatArray) -> FloatArray:
    """Distance of the first bone in each direction, mm; infinite if there is none."""
    steps = np.arange(1.0, LONGEST_RAY_MM, 0.25)
    x = centre[0] + np.cos(ANGLES_RAD)[:, None] * steps / CELL_MM
    y = centre[1] + np.sin(ANGLES_RAD)[:, None] * steps / CELL_MM
    inside = ndimage.map_coordinates(plane, [y, x], order=1, cval=FAR_MM) <= 0
    first = steps[np.argmax(inside, axis=1)] - 0.125
    return np.where(inside.any(axis=1), first, np.inf)


def _closed(hit: FloatArray, ringed: npt.NDArray[np.bool_]) -> FloatArray:
    """Bound the canal between the rings as well."""
    every = np.arange(len(hit))
    straight = np.full_like(hit, USUAL_RADIUS_MM)
    for column in range(hit.shape[1]):
        walls = np.flatnonzero(ringed & np.isfinite(hit[:, column]))
        if walls.size:
            straight[:, column] = np.interp(every, walls, hit[walls, column])
    front = np.abs(np.angle(np.exp(1j * (ANGLES_RAD - 1.5 * np.pi)))) < FRONT_RAD
    slack = np.where(front, SLACK_MM[1], SLACK_MM[0])
    bounded = hit < straight + slack
    # Where a ray leaves in front of a disc, walls above and below tell the border.
    radii = np.where(bounded, hit, np.nan)
    for k in np.flatnonzero(front):
        seen = np.flatnonzero(bounded[:, k])
        if seen.size:
            radii[:, k] = np.interp(every, seen, hit[seen, k])
    radii = np.where(np.isnan(radii), straight, radii)
    round_it = np.pad(radii, ((1, 1), (1, 1)), mode="wrap")
    round_it[0], round_it[-1] = round_it[1], round_it[-2]
    return np.asarray(ndimage.median_filter(round_it, (3, 3))[1:-1, 1:-1])
