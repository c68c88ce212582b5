"""The head of a screw: where its shaft widens at the rear."""

from dataclasses import dataclass

import numpy as np

from cemscope.segmentation.implants.screw_fit import AxisFit
from cemscope.segmentation.implants.screw_profile import AXIAL_STEP_MM
from cemscope.segmentation.scan_region import FloatArray, ScanRegion
from cemscope.volume import BoolArray


@dataclass(frozen=True, slots=True)
class HeadEstimate:
    """The head of a screw on its axis.

    Attributes
    ----------
    neck_mm, centre_mm : float
        Where the shaft leaves the head, and the head's centre.
    radius_mm : float
        How wide it is; 0 where no head was seen.
    cut : bool
        Whether the shaft runs out of the scan before a head is seen.
    """

    neck_mm: float
    centre_mm: float
    radius_mm: float
    cut: bool


def find_head(fit: AxisFit) -> HeadEstimate:
    """Go backwards from the shaft to its neck and the centre of its head."""
    t, typical = fit.sections.t_mm, fit.typical_mm
    width = np.median(fit.edge_mm, axis=1)
    wide = width > typical + 1.2
    # Starved rays hollow a shaft out, but leave it brighter than bone.
    dark = fit.sections.plateau_hu(typical) < DARK_SHARE * fit.plateau_hu
    behind = np.flatnonzero(t < fit.middle_mm)[::-1]
    inside = _inside_scan(fit.region, fit.axis.at(t))
    neck: int | None = None
    end: int | None = None
    for index in behind:
        if not inside[index]:
            cut = neck is None
            break
        if wide[index]:
            # Cement round the shaft is wide, too: the head is the rearmost wide part.
            if neck is None or (
                end is not None and (end - index) * AXIAL_STEP_MM > _BEHIND_CEMENT_MM
            ):
                neck, end = int(index), None
            elif end is not None and (end - index) * AXIAL_STEP_MM <= _WITHIN_HEAD_MM:
                end = None
        elif neck is not None and end is None:
            end = int(index)
        if dark[index]:
            cut = False
            break
    else:
        cut = neck is None
        index = behind[-1] if behind.size else 0
    last = float(t[index])
    if neck is None:
        # A shaft without a visible head ends here.
        return HeadEstimate(last, last, 0.0, cut)
    rear = last if end is None else float(t[end])
    front = float(t[neck])
    part = (t <= front) & (t >= max(rear, front - 2.0 * _USUAL_HEAD_MM))
    size = float(np.median(width[part]))
    return HeadEstimate(front, max(0.5 * (front + rear), front - 9.0), size, False)


DARK_SHARE = 0.35
"""What is darker than this share of a shaft is none."""

_BEHIND_CEMENT_MM = 4.0
"""A shaft that is narrow again for this length behind a wide part had cement there."""

_WITHIN_HEAD_MM = 1.5
"""A wide part that is narrow for no more than this goes on: edges inside a head, of its
rod or socket, show on extended scales."""

_USUAL_HEAD_MM = 9.0


def _inside_scan(region: ScanRegion, points: FloatArray) -> BoolArray:
    index = region.geometry.lps_to_index(points)
    shape = np.array(region.hu.shape)
    inside: BoolArray = np.all((index > -0.5) & (index < shape - 0.5), axis=-1)
    return inside
