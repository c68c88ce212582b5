"""Whether all of a shaft's surface together tells of a gap.

A single place tells little: texture, cortex and streaks imitate a narrow gap. But a
screw that has loosened has its gap over a large part of the shaft (the definition asks
for a quarter of the circle and a third of the length). So the evidence is added over
all windows of that size and more, and a gap is believed in where the strongest window
says so: a scan statistic (Kulldorff 1997, doi:10.1080/03610929708831995).
"""

from dataclasses import dataclass

import numpy as np

from cemscope.measurement.lucency_profiles import ANGLES
from cemscope.measurement.lucency_widths import WIDTHS_MM
from cemscope.segmentation.scan_region import FloatArray
from cemscope.volume import BoolArray


@dataclass(frozen=True, slots=True)
class JointSettings:
    """What all places of a shaft together must tell.

    Attributes
    ----------
    least_evidence
        Mean logarithm of the likelihood of a gap over that of none in a window, times
        the root of its size; the latter counted in `places_of_one`.
    doubtful_evidence
        From here on no gap is excluded, either.
    places_of_one
        So many places of the surface (0.5 mm x 10 degrees) tell one thing together.
    length_fractions, arcs_deg
        Sizes of the windows: share of the seen length, and arc.
    least_seen
        Share of a window that must have been seen.
    """

    least_evidence: float = 4.0
    doubtful_evidence: float = 1.75
    places_of_one: float = 40.0
    length_fractions: tuple[float, ...] = (1.0 / 3.0, 0.5, 0.75, 1.0)
    arcs_deg: tuple[float, ...] = (90.0, 140.0, 180.0, 270.0, 360.0)
    least_seen: float = 0.5


JOINT_WIDTHS_MM = (1.0, 1.3, 1.6, 2.0, 2.5, 3.0)
"""Widths that are tried over whole windows."""


@dataclass(frozen=True, slots=True, eq=False)
class JointGap:
    """The strongest window of a shaft.

    Attributes
    ----------
    strength : float
        In the unit of `JointSettings.least_evidence`.
    width_mm : float
        The width that it speaks for.
    inside : ndarray of bool, shape (planes, angles)
        The window.
    """

    strength: float
    width_mm: float
    inside: BoolArray


def strongest_gap(
    evidence: FloatArray, seen: BoolArray, settings: JointSettings
) -> JointGap:
    """Find the window whose places together speak most for a gap.

    Parameters
    ----------
    evidence
        Of `lucency_widths.weigh_widths`.
    seen
        Places that count, shape (planes, angles).
    """
    best = JointGap(-np.inf, 0.0, np.zeros(seen.shape, np.bool_))
    rows = np.flatnonzero(seen.any(axis=1))
    if rows.size == 0:
        return best
    first, last = int(rows[0]), int(rows[-1]) + 1
    used = seen[first:last].astype(float)
    count = summed(used)
    for width in JOINT_WIDTHS_MM:
        column = int(np.argmin(np.abs(WIDTHS_MM[:-1] - width)))
        gain = (evidence[first:last, :, column] - evidence[first:last, :, 0]) * used
        total = summed(gain)
        for fraction in settings.length_fractions:
            planes = max(round(fraction * (last - first)), 1)
            for arc in settings.arcs_deg:
                angles = round(arc * ANGLES / 360.0)
                places = _windows(count, planes, angles)
                mean = _windows(total, planes, angles) / np.maximum(places, 1.0)
                strength = mean * np.sqrt(places / settings.places_of_one)
                strength[places < settings.least_seen * planes * angles] = -np.inf
                row, turn = np.unravel_index(int(strength.argmax()), strength.shape)
                if strength[row, turn] > best.strength:
                    inside = np.zeros(seen.shape, np.bool_)
                    turns = (turn + np.arange(angles)) % ANGLES
                    inside[first + row : first + row + planes, turns] = True
                    best = JointGap(float(strength[row, turn]), width, inside)
    return best


def summed(values: FloatArray) -> FloatArray:
    """Sum up along the shaft (axis 0) and twice around it, with a leading 0."""
    twice = np.concatenate([values, values], axis=1)
    sums = np.zeros((twice.shape[0] + 1, twice.shape[1] + 1, *twice.shape[2:]))
    sums[1:, 1:] = twice.cumsum(axis=0).cumsum(axis=1)
    return sums


def _windows(sums: FloatArray, planes: int, angles: int) -> FloatArray:
    """Sum over all windows of a size, shape (first planes, ANGLES)."""
    upper, lower = sums[planes:], sums[:-planes]
    both = upper - lower
    total: FloatArray = both[:, angles : angles + ANGLES] - both[:, :ANGLES]
    return total
