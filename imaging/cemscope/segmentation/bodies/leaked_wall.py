"""Walls that cement outside of a body has drawn out.

A vein full of cement that runs along the wall, or lies in the canal before it, has an
edge as strong as bone's. Where it is as faint as dense bone the wall was laid over it.
"""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from cemscope.segmentation.bodies.body_surface import (
    WALL_ANGLES_RAD,
    WALL_LEVELS,
    BodySurface,
)
from cemscope.segmentation.bodies.body_wall import wall_points_lps_mm
from cemscope.segmentation.bodies.hidden_wall import continued_wall
from cemscope.segmentation.spine_working_volume import WorkingVolume

ACROSS_MM = np.arange(-3.0, 3.1, 0.5)
"""A vein so near to a wall may have drawn it out."""

RIM_SHARE = 0.12
"""Share of the height at either end where osteophytes and sclerosis are as dense."""

PEDICLE_SINE, PEDICLE_COSINE = 0.35, 0.35
"""Directions behind and aside, in which the pedicles' own cortex is as dense."""

SEEN_WITHIN_MM = 0.5
"""A wall that moves by no more still lies on the edge that was seen [ours]."""

SPREAD = (5, 5)
"""Places (angles, heights) round it that the wall's smoothness moves along."""


def without_leaks(surface: BodySurface, faint: WorkingVolume) -> BodySurface:
    """Continue the wall beneath cement from where it is seen; it only moves inwards.

    Where it moves it is supposed, not seen, which the evidence says.

    Parameters
    ----------
    surface
        Outline of a body.
    faint
        Cement as faint as dense bone, 0 to 1.

    Returns
    -------
    BodySurface
        The same one where there is no such cement at its wall.
    """
    radii = surface.wall_mm[..., None] + ACROSS_MM
    points = wall_points_lps_mm(
        surface.frame, surface.lower_mm, surface.upper_mm, radii, WALL_LEVELS
    )
    beside = (faint.sample(points) > 0.5).max(axis=-1)
    sine, cosine = np.sin(WALL_ANGLES_RAD), np.abs(np.cos(WALL_ANGLES_RAD))
    beside[(sine > PEDICLE_SINE) & (cosine > PEDICLE_COSINE)] = False
    beside[:, (WALL_LEVELS < RIM_SHARE) | (WALL_LEVELS > 1.0 - RIM_SHARE)] = False
    if not beside.any():
        return surface
    hidden = ndimage.maximum_filter(beside, size=SPREAD, mode=("wrap", "nearest"))
    continued = continued_wall(surface.wall_mm, hidden)
    evidence = surface.evidence
    if evidence is not None:
        supposed = surface.wall_mm - continued > SEEN_WITHIN_MM
        evidence = replace(evidence, wall=np.where(supposed, np.nan, evidence.wall))
    return replace(
        surface, wall_mm=np.minimum(surface.wall_mm, continued), evidence=evidence
    )
