"""The axis below the last clear disc, bent back as the sacrum does.

At the sacrum the canal narrows to a slit, ends in the scan's border or cannot be told
from the sacral foramina; an axis that runs on straight there crosses L5/S1 so
obliquely that no plane across it fits. The spine turns back there by 30 degrees or
more within one vertebra (lumbosacral angle; Roussouly 2005, doi:10.1097/01.brs.
0000152379.54463.65), so that some such turns are tried and the best chain decides.
"""

import numpy as np

from cemscope.geometry import FloatArray
from cemscope.segmentation.canal.spine_axis import AXIS_STEP_MM, SpineAxis

BENDS_DEG = (15.0, 30.0, 45.0)
"""Turns that are tried besides the canal's own course."""

BEND_OVER_MM = 35.0
"""Way over which the axis turns: L5 and its discs."""

WALL_OVER_STEPS = 12
"""The posterior wall just above is carried on below."""


def bent_axis(axis: SpineAxis, step: int, bend_deg: float) -> SpineAxis:
    """Bend the axis below a step to the back; above it stays as it is.

    Parameters
    ----------
    axis
        The spine's axis.
    step
        Where the bend begins, on its way down.
    bend_deg
        Angle by which it turns in the end.
    """
    down_mm = (step - np.arange(step)) * AXIS_STEP_MM
    angle = np.radians(bend_deg) * np.clip(down_mm / BEND_OVER_MM, 0.0, 1.0)
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    superior = cosine * axis.superior[step] - sine * axis.posterior[step]
    posterior = cosine * axis.posterior[step] + sine * axis.superior[step]
    way = np.cumsum(superior[::-1], axis=0)[::-1] * AXIS_STEP_MM
    points = axis.points_lps_mm[step] - way
    wall = np.full(step, np.median(axis.wall_mm[step : step + WALL_OVER_STEPS]))

    def joined(below: FloatArray, own: FloatArray) -> FloatArray:
        values: FloatArray = np.concatenate([below, own[step:]])
        return values

    return SpineAxis(
        joined(points, axis.points_lps_mm),
        joined(superior, axis.superior),
        joined(posterior, axis.posterior),
        joined(np.broadcast_to(axis.left[step], (step, 3)), axis.left),
        joined(wall, axis.wall_mm),
        axis.canal_start,
        axis.canal_stop,
    )


def lower_part(axis: SpineAxis, stop: int) -> SpineAxis:
    """First steps of an axis."""
    return SpineAxis(
        axis.points_lps_mm[:stop],
        axis.superior[:stop],
        axis.posterior[:stop],
        axis.left[:stop],
        axis.wall_mm[:stop],
        min(axis.canal_start, stop),
        min(axis.canal_stop, stop),
    )
