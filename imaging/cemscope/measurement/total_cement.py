"""Cement of a whole scan: the sum over its vertebrae, and what the sum leaves out."""

from dataclasses import dataclass

import numpy as np

from cemscope.findings import CementVolume, Interval, NotAssessed, TotalCement
from cemscope.spine import Spine
from cemscope.volume import Notice


@dataclass(frozen=True, slots=True)
class VertebraCement:
    """Cement of one vertebra, or why it was not measured.

    A vertebra without cement has a volume of 0 with the detection limit as upper bound.
    """

    level: str
    cement: CementVolume | NotAssessed


def total_notices(
    cement: tuple[VertebraCement, ...], spine: Spine
) -> tuple[Notice, ...]:
    """Tell which whole vertebrae the total leaves out."""
    complete = {v.level.name for v in spine.vertebrae if v.complete}
    untold = [
        item.level
        for item in cement
        if item.level in complete and isinstance(item.cement, NotAssessed)
    ]
    if not untold or len(untold) == len(cement):
        return ()
    return (
        Notice(
            "total_incomplete",
            f"The total leaves out {', '.join(untold)}: cement was not assessed there.",
        ),
    )


def total_cement(cement: tuple[VertebraCement, ...]) -> TotalCement | NotAssessed:
    """Sum over all vertebrae that were assessed, with its interval."""
    assessed = [item.cement for item in cement if isinstance(item.cement, CementVolume)]
    if not assessed:
        return NotAssessed("no vertebra could be assessed: see the reason at each")
    values = [value for value in assessed if value.volume_ml > 0.0]
    empty = [value for value in assessed if value.volume_ml <= 0.0]
    volume = sum(value.volume_ml for value in values)
    # Level and background are shared by all vertebrae: half-widths add up linearly.
    # What may have been missed in an empty vertebra is independent of the others.
    low = sum(value.interval.low_ml for value in values)
    missed = float(np.sqrt(sum(value.interval.high_ml**2 for value in empty)))
    high = sum(value.interval.high_ml for value in values) + missed
    leaked = sum(value.leaked_ml for value in values)
    return TotalCement(volume, Interval(low, max(high, low)), leaked, len(values))
