"""A vertebra's own axes from the outline of its body.

The frame is built the same way for embedded and for imported outlines: 'superior'
is the mean normal of both endplates, not the axis of the scanner, and 'posterior'
points from the body to the canal (or the arch).
"""

import numpy as np
import numpy.typing as npt

from cemscope.geometry import FloatArray
from cemscope.spine import VertebraFrame

_HEAD_LPS = np.array([0.0, 0.0, 1.0])
_BACK_LPS = np.array([0.0, 1.0, 0.0])

COLUMN_MM = 2.5
"""Width of the columns whose upper and lower ends sample the endplates."""

CENTRAL_FRACTION = 0.7
"""Share of the body's radius whose columns count; the rim has osteophytes."""

MAX_TURN_DEG = 30.0
"""Endplates that turn the axis further than this against the line through the
neighbours are not believed (cut or crushed bodies)."""

MIN_POINTS = 8
"""Fewer points than this have no axes."""


def vertebra_frame(
    body_points_lps_mm: npt.ArrayLike,
    posterior_point_lps_mm: npt.ArrayLike | None = None,
    point_above_lps_mm: npt.ArrayLike | None = None,
    point_below_lps_mm: npt.ArrayLike | None = None,
) -> VertebraFrame:
    """Build a vertebra's frame from the points of its body.

    Parameters
    ----------
    body_points_lps_mm : array_like, shape (n, 3)
        Centres of the body's voxels (or an even sample of them), LPS mm, e.g.
        ``geometry.index_to_lps(np.argwhere(mask))``.
    posterior_point_lps_mm : array_like, shape (3,), optional
        Any point behind the body in its midline plane: the canal's centre at this
        level, or else the centroid of the arch. Without it 'posterior' is the
        patient's back.
    point_above_lps_mm, point_below_lps_mm : array_like, shape (3,), optional
        Centroids of the neighbouring bodies; they start the search for the axis.
        One of them is enough; without both the patient's head direction is used.

    Returns
    -------
    VertebraFrame
        Origin at the centroid of the points; ``left``, ``posterior`` and
        ``superior`` are orthogonal unit vectors and right-handed in LPS.

    Raises
    ------
    ValueError
        If there are fewer than 8 points, or the posterior point lies on the axis.
    """
    points = np.asarray(body_points_lps_mm, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < MIN_POINTS:
        raise ValueError(
            f"expected at least {MIN_POINTS} points (n, 3), found {points.shape}"
        )
    centre = points.mean(axis=0)
    axis = _neighbour_axis(centre, point_above_lps_mm, point_below_lps_mm)
    superior = _endplate_axis(points - centre, axis)
    towards = (
        _BACK_LPS
        if posterior_point_lps_mm is None
        else np.asarray(posterior_point_lps_mm, dtype=np.float64) - centre
    )
    towards = towards - (towards @ superior) * superior
    length = float(np.linalg.norm(towards))
    if length < 1e-6:
        raise ValueError("the posterior point lies on the axis of the body")
    posterior = towards / length
    return VertebraFrame(centre, np.cross(posterior, superior), posterior, superior)


def _neighbour_axis(
    centre: FloatArray,
    above: npt.ArrayLike | None,
    below: npt.ArrayLike | None,
) -> FloatArray:
    upper = centre if above is None else np.asarray(above, dtype=np.float64)
    lower = centre if below is None else np.asarray(below, dtype=np.float64)
    axis: FloatArray = upper - lower
    length = float(np.linalg.norm(axis))
    return _HEAD_LPS.copy() if length < 1e-6 else axis / length


def _endplate_axis(points: FloatArray, start: FloatArray) -> FloatArray:
    """Turn the start axis to the mean normal of both endplates (two rounds)."""
    axis = start
    for _ in range(2):
        side = np.cross(_BACK_LPS if abs(axis[1]) < 0.9 else _HEAD_LPS, axis)
        side /= np.linalg.norm(side)
        front = np.cross(axis, side)
        local = points @ np.array([side, front, axis]).T
        slopes = _endplate_slopes(local)
        if slopes is None:
            return axis
        turned = axis - slopes[0] * side - slopes[1] * front
        turned /= np.linalg.norm(turned)
        if turned @ start < np.cos(np.radians(MAX_TURN_DEG)):
            return start
        axis = turned
    return axis


def _endplate_slopes(local: FloatArray) -> FloatArray | None:
    """Mean slope (d height / d side, d height / d front) of the two endplates."""
    columns = np.floor(local[:, :2] / COLUMN_MM).astype(np.int64)
    columns -= columns.min(axis=0)
    flat = columns[:, 0] * (columns[:, 1].max() + 1) + columns[:, 1]
    occupied = np.bincount(flat) > 0
    index = (np.cumsum(occupied) - 1)[flat]
    count = int(occupied.sum())
    top = np.full(count, -np.inf)
    bottom = np.full(count, np.inf)
    np.maximum.at(top, index, local[:, 2])
    np.minimum.at(bottom, index, local[:, 2])
    members = np.bincount(index, minlength=count)
    centres = np.stack(
        [
            np.bincount(index, weights=local[:, k], minlength=count) / members
            for k in (0, 1)
        ],
        axis=1,
    )
    radius = np.hypot(*(centres / (np.abs(centres).max(axis=0) + 1e-9)).T)
    central = radius < CENTRAL_FRACTION
    if central.sum() < 6:
        return None
    design = np.column_stack([centres[central], np.ones(int(central.sum()))])
    if np.linalg.matrix_rank(design) < 3:
        return None
    both = np.column_stack([top[central], bottom[central]])
    solution = np.linalg.lstsq(design, both, rcond=None)[0]
    slopes: FloatArray = solution[:2].mean(axis=1)
    return slopes
