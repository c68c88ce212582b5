"""Pictures bent along the spine (curved planar reformation).

A line is swept along straight rulings: to the patient's back for the sagittal, to the
left for the coronal picture ("stretched" reformation, Kanitsar 2002,
doi:10.1109/VISUAL.2002.1183754). Where the rulings are parallel the surface unrolls
without any stretching; where a scoliosis turns and leans they stretch it by the product
of lean and turn, about 5 % at 6 cm from the line for 10 degrees in 10 cm.
"""

import numpy as np
import numpy.typing as npt

from cemscope_pipelines.pictures.centre_line import CentreLine
from cemscope_pipelines.pictures.plane import (
    LongView,
    PicturePlane,
    picture_steps_mm,
)

FloatArray = npt.NDArray[np.float64]

MIN_ADVANCE = 0.05
"""Least advance of the picture per mm of the line: a line that runs along the rulings
would give rows without height."""


def curved_plane(
    line: CentreLine,
    view: LongView,
    across_mm: tuple[float, float],
    pixel_mm: float,
) -> PicturePlane:
    """Bend a picture along a line.

    Parameters
    ----------
    line
        Along the spine.
    view
        Sagittal: front on the left; coronal: the patient's right on the left.
    across_mm
        Shown to the front and back (right and left) of the part of the line that runs
        through the bodies.
    pixel_mm
        Side of a pixel.

    Returns
    -------
    PicturePlane
        Head on top. Distances along the line and along the rulings are true.
    """
    sagittal = view is LongView.SAGITTAL
    rulings, through = line.posterior, line.left
    if not sagittal:
        rulings, through = line.left, line.posterior
    steps = np.diff(line.points_lps_mm, axis=0)
    middle = rulings[:-1] + rulings[1:]
    middle = middle / np.linalg.norm(middle, axis=1, keepdims=True)
    sideways = np.einsum("ij,ij->i", steps, middle)
    onwards = np.linalg.norm(steps - sideways[:, None] * middle, axis=1)
    onwards = np.maximum(onwards, MIN_ADVANCE * np.linalg.norm(steps, axis=1))
    height = np.concatenate([[0.0], np.cumsum(onwards)])
    column = np.concatenate([[0.0], np.cumsum(sideways)])
    bodies = column[line.body_span[0] : line.body_span[1] + 1]
    low, high = bodies.min(), bodies.max()
    across = picture_steps_mm(low + across_mm[0], high + across_mm[1], pixel_mm)
    rows = picture_steps_mm(0.0, height[-1], pixel_mm)[::-1]

    def at_rows(values: FloatArray) -> FloatArray:
        columns = values.reshape(len(values), -1).T
        return np.stack([np.interp(rows, height, c) for c in columns], axis=1)

    centre, ruling = at_rows(line.points_lps_mm), at_rows(rulings)
    ruling /= np.linalg.norm(ruling, axis=1, keepdims=True)
    offset = across[None, :, None] - at_rows(column)[:, :, None]
    points = centre[:, None, :] + offset * ruling[:, None, :]
    depth = np.cross(ruling, at_rows(line.tangents))
    depth *= np.sign(np.einsum("ij,ij->i", depth, at_rows(through)))[:, None]
    depth /= np.linalg.norm(depth, axis=1, keepdims=True)
    marks = ("A", "P") if sagittal else ("R", "L")
    return PicturePlane(points, depth[:, None, :], pixel_mm, *marks, "H", "F")
