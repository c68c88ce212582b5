"""Whether the found vertebrae are an unbroken row: none missed, none halved.

A disc that was missed or invented shifts every name beyond it. Neighbours are alike
(heights and distances change by a few percent from one vertebra to the next), so a
distance or a height that stands out says where the row may be broken. Where all
vertebrae of a row are halved or joined, their width gives them away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from cemscope.geometry import FloatArray
from cemscope.segmentation.levels.level_landmarks import BodyShape

NEIGHBOURS = 3
"""Vertebrae on each side with which one is compared."""

LEAST_PITCH, LARGEST_PITCH = 0.62, 0.95
"""Distance of neighbours as a share of the body's width: 0.66 at L5, 0.74 at L1, 0.9 at
T5 (body and disc heights and widths of Panjabi 1991,
doi:10.1097/00007632-199108000-00006, and 1992,
doi:10.1097/00007632-199203000-00010)."""

EVEN_FROM = 0.46
"""The same next to a flattened vertebra or the sacrum; two halves lie at 0.3 to 0.4."""

LEAST_HEIGHT, LARGEST_HEIGHT = 0.45, 0.75
"""Height of a body as a share of its width: 0.55 at L4, 0.67 at T5 (as above)."""


class ChainFlaw(StrEnum):
    """What may be wrong with the row."""

    GAP = "gap"
    HALVED = "halved"
    MERGED = "merged"


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """Tunables of the check.

    Attributes
    ----------
    gap_above : float
        A distance this many times that of the neighbours leaves room for a vertebra.
    halved_below : float
        Two bodies this near (against the neighbours' distance), both of them low, may
        be halves of one. Whole neighbours of a flattened body lie further apart.
    low_below : float
        Height of such a half, as a share of the neighbours' height.
    merged_above : float
        A body this many times as high as its neighbours may be two.
    """

    gap_above: float = 1.45
    halved_below: float = 0.68
    low_below: float = 0.72
    merged_above: float = 1.55


@dataclass(frozen=True, slots=True)
class ChainDoubt:
    """A place where the row of vertebrae may be broken.

    Attributes
    ----------
    flaw : ChainFlaw
        What may be wrong.
    lower, upper : int
        Indices of the vertebrae, from the lowest; the same for a merged body.
    ratio : float
        Distance or height against that of the neighbours.
    value_mm : float
        That distance or height.
    """

    flaw: ChainFlaw
    lower: int
    upper: int
    ratio: float
    value_mm: float


def chain_doubts(
    bodies: Sequence[BodyShape], settings: ChainSettings
) -> tuple[ChainDoubt, ...]:
    """Look for breaks in a row of bodies, given from the lowest upwards.

    One body alone has no neighbour and raises no doubt.
    """
    if len(bodies) < 2:
        return ()
    centres = np.array([body.centre_lps_mm for body in bodies])
    heights = np.array([body.height_mm for body in bodies])
    widths = np.array([body.width_mm for body in bodies])
    apart = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    doubts = []
    for k, distance in enumerate(apart):
        near = _around(apart, k, k + 1)
        width = float(np.median(widths[max(k - NEIGHBOURS, 0) : k + 2 + NEIGHBOURS]))
        if not (bodies[k].whole and bodies[k + 1].whole):
            continue
        far = float(distance) / min(near, LARGEST_PITCH * width)
        close = float(distance) / max(near, LEAST_PITCH * width)
        # Next to flattened bodies a usual one looks large, but not for its width.
        if far > settings.gap_above and distance > LARGEST_PITCH * width:
            doubts.append(ChainDoubt(ChainFlaw.GAP, k, k + 1, far, float(distance)))
        usual_mm = max(_around(heights, k, k + 2), LEAST_HEIGHT * width)
        low = (heights[k : k + 2] < settings.low_below * usual_mm).all()
        if close < settings.halved_below and low:
            doubts.append(
                ChainDoubt(ChainFlaw.HALVED, k, k + 1, close, float(distance))
            )
    for k, height in enumerate(heights):
        if not bodies[k].whole:
            continue
        width = float(np.median(widths[max(k - NEIGHBOURS, 0) : k + 1 + NEIGHBOURS]))
        usual_mm = min(_around(heights, k, k + 1), LARGEST_HEIGHT * width)
        ratio = float(height) / usual_mm
        if ratio > settings.merged_above and height > LARGEST_HEIGHT * width:
            doubts.append(ChainDoubt(ChainFlaw.MERGED, k, k, ratio, float(height)))
    return tuple(doubts)


def is_even_at(bodies: Sequence[BodyShape], index: int) -> bool:
    """Whether a body lies as far from its neighbours as one vertebra from the next.

    Then none can be missing next to it, and it can be no part of one, whatever the
    discs look like.
    """
    beside = [k for k in (index - 1, index + 1) if 0 <= k < len(bodies)]
    if not beside:
        return False
    own = bodies[index]
    for k in beside:
        other = bodies[k]
        apart = np.subtract(own.centre_lps_mm, other.centre_lps_mm)
        width_mm = (own.width_mm + other.width_mm) / 2
        pitch = float(np.linalg.norm(apart)) / width_mm
        if not EVEN_FROM <= pitch <= LARGEST_PITCH:
            return False
    return True


def _around(values: FloatArray, first: int, last: int) -> float:
    """Median of the values next to a range, which itself is left out."""
    below = values[max(first - NEIGHBOURS, 0) : first]
    above = values[last : last + NEIGHBOURS]
    around = np.concatenate([below, above])
    return float(np.median(around)) if len(around) else float(np.median(values))
