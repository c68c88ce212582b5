"""Whether a row of named vertebrae makes sense: order, gaps and distances.

Names that contradict the row they stand in are the mistake of label maps that harms
most, because every later number hangs on a name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from cemscope.anatomy import CRANIOCAUDAL_ORDER, VertebraLevel
from cemscope.geometry import FloatArray
from cemscope.volume import Notice

_USUAL = tuple(name for name in CRANIOCAUDAL_ORDER if name not in ("T13", "L6"))

_PITCH_MM = MappingProxyType(
    {
        "C1": 15.0, "C2": 18.0, "C3": 16.0, "C4": 16.0, "C5": 16.0, "C6": 16.5,
        "C7": 17.5, "T1": 18.5, "T2": 19.5, "T3": 20.0, "T4": 20.5, "T5": 21.0,
        "T6": 22.0, "T7": 23.0, "T8": 24.0, "T9": 25.0, "T10": 26.0, "T11": 27.5,
        "T12": 30.0, "L1": 32.0, "L2": 34.0, "L3": 35.0, "L4": 34.5, "L5": 33.0,
        "T13": 31.0, "L6": 32.0,
    }
)  # fmt: skip
"""Usual distance from a vertebra to the one below, adults, rounded: body height
(Panjabi 1991, doi:10.1097/00007632-199108000-00006, and 1992,
doi:10.1097/00007632-199203000-00010) and disc. Used with wide margins only, to tell
thoracic from lumbar rows and one step from two."""

PITCH_FACTOR = 1.45
"""A row whose median distance is off by more than this factor has wrong names. Adults
differ from the table by less than 1.25; T2-T9 against T11-S1 is 1.45 and more."""


@dataclass(frozen=True, slots=True, eq=False)
class NamedPoint:
    """A level and the centroid of what carries its name."""

    level: VertebraLevel
    centroid_lps_mm: FloatArray


@dataclass(frozen=True, slots=True)
class SequenceFinding:
    """What is wrong in a row of names.

    Attributes
    ----------
    notices : tuple of Notice
        One per inconsistency.
    doubtful : frozenset of str
        Level names that an inconsistency casts doubt on.
    """

    notices: tuple[Notice, ...] = ()
    doubtful: frozenset[str] = frozenset()


def spine_axis(centroids_lps_mm: FloatArray) -> FloatArray:
    """Find the main direction of centroids, shape (n, 3), towards the head."""
    if len(centroids_lps_mm) < 2:
        return np.array([0.0, 0.0, 1.0])
    centred = centroids_lps_mm - centroids_lps_mm.mean(axis=0)
    axis: FloatArray = np.linalg.svd(centred, full_matrices=False)[2][0]
    return -axis if axis[2] < 0 else axis


def order_along_spine(points: Sequence[NamedPoint]) -> tuple[NamedPoint, ...]:
    """Sort from the lowest to the highest along the row's own direction."""
    if not points:
        return ()
    centroids = np.array([point.centroid_lps_mm for point in points])
    heights = centroids @ spine_axis(centroids)
    return tuple(points[i] for i in np.argsort(heights, kind="stable"))


def misplaced_pairs(points: Sequence[NamedPoint]) -> tuple[tuple[str, str], ...]:
    """Neighbours in space whose names stand in the wrong order, lower one first."""
    ordered = order_along_spine([p for p in points if p.level.is_named])
    pairs = []
    for lower, upper in pairwise(ordered):
        low = CRANIOCAUDAL_ORDER.index(lower.level.name)
        high = CRANIOCAUDAL_ORDER.index(upper.level.name)
        if low <= high:
            pairs.append((lower.level.name, upper.level.name))
    return tuple(pairs)


def pitch_ratios(points: Sequence[NamedPoint]) -> FloatArray:
    """Distance of each pair of neighbours over the distance that its names imply."""
    ordered = order_along_spine([p for p in points if p.level.is_named])
    ratios = [
        float(np.linalg.norm(upper.centroid_lps_mm - lower.centroid_lps_mm))
        / _expected_mm(lower.level.name, upper.level.name)
        for lower, upper in pairwise(ordered)
    ]
    return np.array(ratios, dtype=np.float64)


def check_sequence(points: Sequence[NamedPoint]) -> SequenceFinding:
    """Look for missing, skipped and implausible names in a row that is in order.

    Parameters
    ----------
    points
        Named levels and their centroids, in any order; `misplaced_pairs` is empty.
    """
    ordered = order_along_spine([p for p in points if p.level.is_named])
    if len(ordered) < 2:
        return SequenceFinding()
    ratios = pitch_ratios(ordered)
    scale = float(np.median(ratios))
    notices: list[Notice] = []
    doubtful: set[str] = set()
    if len(ratios) >= 2 and not 1 / PITCH_FACTOR < scale < PITCH_FACTOR:
        notices.append(
            Notice(
                "levels_implausible",
                f"The vertebrae called {ordered[0].level.name} to "
                f"{ordered[-1].level.name} lie {scale:.2f} times as far apart as usual "
                "for these levels: check the numbering (--label-scheme, --anchor).",
            )
        )
        doubtful.update(point.level.name for point in ordered)
    for (lower, upper), ratio in zip(pairwise(ordered), ratios / scale, strict=True):
        finding = _check_pair(lower, upper, float(ratio), float(scale))
        if finding is not None:
            notices.append(finding[0])
            doubtful.update(finding[1])
    return SequenceFinding(tuple(notices), frozenset(doubtful))


def _check_pair(
    lower: NamedPoint, upper: NamedPoint, ratio: float, scale: float
) -> tuple[Notice, tuple[str, ...]] | None:
    """Judge one pair; the ratio is relative to the row, so that small people pass."""
    names = (lower.level.name, upper.level.name)
    missing = _between(*names)
    distance_mm = float(np.linalg.norm(upper.centroid_lps_mm - lower.centroid_lps_mm))
    one_step_mm = _PITCH_MM[names[1]] * scale
    if missing and distance_mm < 1.4 * one_step_mm:
        return (
            Notice(
                "levels_skipped",
                f"{names[1]} follows on {names[0]} at {distance_mm:.0f} mm, as direct "
                f"neighbours do, but {', '.join(missing)} should lie between them: the "
                "names above or below are shifted.",
            ),
            names,
        )
    if missing:
        return (
            Notice(
                "level_missing",
                f"No label for {', '.join(missing)} between {names[0]} and {names[1]} "
                f"({distance_mm:.0f} mm apart): nothing is measured there.",
            ),
            (),
        )
    if ratio > 1.6:
        return (
            Notice(
                "gap_between_levels",
                f"{names[0]} and {names[1]} lie {distance_mm:.0f} mm apart, "
                f"{ratio:.1f} times the usual distance: a vertebra between them "
                "may have no label, and names may be shifted.",
            ),
            names,
        )
    return None


def _between(lower: str, upper: str) -> tuple[str, ...]:
    """Usual levels between two names, from the lower one upwards."""
    span = CRANIOCAUDAL_ORDER[
        CRANIOCAUDAL_ORDER.index(upper) + 1 : CRANIOCAUDAL_ORDER.index(lower)
    ]
    return tuple(reversed([name for name in span if name in _USUAL]))


def _expected_mm(lower: str, upper: str) -> float:
    steps = [upper, *_between(lower, upper)]
    return sum(_PITCH_MM[name] for name in steps)
