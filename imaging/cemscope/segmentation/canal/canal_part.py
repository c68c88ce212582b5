"""Which part of a path lies in the spinal canal."""

import numpy as np
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.volume import BoolArray

GAP_MM = 45.0
LEAST_IN_GAP = 0.6
"""Over this length the mean score reaches this share of a good one all along a
canal."""

MOST_HIDDEN_MM = 60.0
"""The canal is followed this far through streaks at its end: two vertebrae with screws,
but not on to a hip joint."""


def canal_part(
    on_path: FloatArray,
    hidden: BoolArray,
    spacing_mm: float,
    good_share: float,
    good_score: tuple[float, float],
) -> tuple[int, int]:
    """Find the stretch in which a path runs through the canal.

    Parameters
    ----------
    on_path : ndarray, shape (slices,)
        How much each point of the path looks like a canal.
    hidden : ndarray of bool, shape (slices,)
        Slices in which streaks may hide the canal.
    spacing_mm
        Distance of the slices.
    good_share, good_score
        See `CanalSettings`.

    Returns
    -------
    tuple of int
        First and last slice (exclusive); equal where there is no canal.
    """
    usual = float(np.percentile(on_path, 80))
    good = float(np.clip(good_share * usual, *good_score))
    # A streak hides the canal over a centimetre or two; where nothing looks like it for
    # longer, the path has left the spine, for another bone perhaps.
    seen = np.where(hidden, np.maximum(on_path, good), on_path)
    around = ndimage.uniform_filter1d(seen, round(GAP_MM / spacing_mm), mode="nearest")
    gain = np.where(around < LEAST_IN_GAP * good, -np.inf, on_path - good)
    # Streaks speak neither for the canal nor against it; where the clear part ends in
    # them, screws show that the spine goes on.
    first, last = _best_stretch(np.where(hidden, np.maximum(gain, 0.0), gain))
    most = round(MOST_HIDDEN_MM / spacing_mm) if last > first else 0
    low, high = first, last
    while low > max(first - most, 0) and hidden[low - 1]:
        low -= 1
    while high < min(last + most, len(hidden)) and hidden[high]:
        high += 1
    return low, high


def _best_stretch(gain: FloatArray) -> tuple[int, int]:
    """Start and stop of the stretch with the largest sum (Kadane's algorithm)."""
    best, first, last = 0.0, 0, 0
    total, start = 0.0, 0
    for k, value in enumerate(gain):
        if total <= 0.0:
            total, start = 0.0, k
        total += float(value)
        if total > best:
            best, first, last = total, start, k + 1
    return first, last
