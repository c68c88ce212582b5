"""Cement of all vertebrae of a scan together."""

import numpy as np

from cemscope.findings import CementVolume, Interval, NotAssessed, TotalCement


def total_cement(
    cement: tuple[CementVolume | NotAssessed, ...],
) -> TotalCement | NotAssessed:
    """Sum over the assessed vertebrae; not assessed where none is."""
    assessed = [item for item in cement if isinstance(item, CementVolume)]
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
