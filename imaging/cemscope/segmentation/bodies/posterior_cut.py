"""Where a vertebral body ends and its arch begins.

Between the pedicles the posterior wall lies free in front of the canal. There it is
measured, and continued to both sides through the pedicles' bases.
"""

import numpy as np

from cemscope.geometry import FloatArray
from cemscope.segmentation.bodies.body_surface import WALL_ANGLES_RAD, WALL_LEVELS
from cemscope.volume import BoolArray

TRIM_MM = 1.5
"""Places of the wall further than this from the fit are clefts (basivertebral vein),
fragments or cement."""

LEAST_PLACES = 10
"""With fewer places of free wall there is no fit."""

CONTINUED = 1.25
"""The curved fit holds up to this share of the canal's half width; then straight."""

ROUNDS = 4
"""Of the fit without outliers."""


LIP_MM, LIP_FROM_MM, LIP_LEVELS = 1.5, (6.0, 10.0), (0.3, 0.5)
"""In its upper half the body reaches further back beside the canal than before it: its
corners run out into the pedicles. Depth, distance from the midline and heights over
which it grows; in the reference outlines of a real lumbar scan 2 to 2.5 mm, at L5
less."""


def posterior_cut_mm(
    radius_mm: FloatArray,
    hidden: BoolArray,
    half_width_mm: float,
    outline_mm: FloatArray,
    lip_mm: float = LIP_MM,
) -> FloatArray:
    """Radius at which the posterior wall, continued sideways, cuts each ray.

    Parameters
    ----------
    radius_mm : ndarray, shape (angles, levels)
        The wall; right at least where it lies free before the canal.
    hidden : ndarray of bool, same shape
        Places that are not to be believed.
    half_width_mm
        Half the width over which the canal's front is free.
    outline_mm : ndarray, shape (angles, levels)
        Stands for the wall where too little of it is free.
    lip_mm
        How far the upper half of the body reaches behind its free wall at the bases of
        the pedicles.

    Returns
    -------
    ndarray, shape (angles, levels)
        Infinite in the front half.
    """
    cosine, sine = np.cos(WALL_ANGLES_RAD)[:, None], np.sin(WALL_ANGLES_RAD)[:, None]
    x, y = radius_mm * cosine, radius_mm * sine
    level = np.broadcast_to(WALL_LEVELS[None, :], x.shape)
    free = (sine > 0.5) & (np.abs(x) <= half_width_mm)
    if int((free & ~hidden).sum()) >= LEAST_PLACES:
        free &= ~hidden
    else:
        radius_mm = outline_mm
        x, y = radius_mm * cosine, radius_mm * sine
        free = (sine > 0.5) & (np.abs(x) <= half_width_mm)
    design = _terms(x[free], level[free])
    wall = y[free]
    keep = np.abs(wall - np.median(wall)) < 3 * TRIM_MM
    fit = np.zeros(design.shape[1])
    for _ in range(ROUNDS):
        if keep.sum() < LEAST_PLACES:
            break
        fit = np.linalg.lstsq(design[keep], wall[keep], rcond=None)[0]
        keep = np.abs(wall - design @ fit) < TRIM_MM
    if not fit.any():
        fit[0] = float(np.median(wall))
    cut = np.full(radius_mm.shape, np.inf)
    behind = sine[:, 0] > 0.15
    beyond_mm = CONTINUED * half_width_mm
    radius = outline_mm[behind]
    for _ in range(3):
        # Beyond the canal the wall goes on straight, not along the parabola.
        sideways = np.clip(radius * cosine[behind], -beyond_mm, beyond_mm)
        height = _terms(sideways, level[behind]) @ fit
        height += lip_mm * _lip(radius * cosine[behind], level[behind])
        radius = height / sine[behind]
    cut[behind] = np.maximum(radius, WALL_LEAST_MM)
    return cut


WALL_LEAST_MM = 7.0
"""No body's wall is nearer to its axis."""


def _lip(left: FloatArray, level: FloatArray) -> FloatArray:
    """Share (0-1) of the lip at places of the wall."""
    beside = np.clip((np.abs(left) - LIP_FROM_MM[0]) / np.ptp(LIP_FROM_MM), 0.0, 1.0)
    upper = np.clip((level - LIP_LEVELS[0]) / np.ptp(LIP_LEVELS), 0.0, 1.0)
    share: FloatArray = beside * upper
    return share


def _terms(left: FloatArray, level: FloatArray) -> FloatArray:
    high = level - 0.5
    terms: FloatArray = np.stack(
        [np.ones_like(left), high, high**2, left, left**2 / 50.0], axis=-1
    )
    return terms
