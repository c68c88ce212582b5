"""Which two edges along a line through a disc are its endplates."""

from dataclasses import dataclass

import numpy as np

from cemscope.geometry import FloatArray

HEIGHTS_MM = np.arange(-14.0, 14.5, 0.5)
"""Heights above the disc at which its endplates are looked for."""

THINNEST_MM, THICKEST_MM = 1.5, 16.0
"""Distance between the two endplates of a disc (discs are 3 to 14 mm high; worn ones
are thinner)."""

OFF_PRICE = 0.01
"""Price per mm squared by which the middle of a pair lies off the disc, which the chain
of discs gives to some 2 mm, rarely 5 mm."""

LEAST_EDGE = 0.1
"""Both endplates have at least this mean contrast where the pair is believed: several
times the noise of the mean over a plane. Thick slices leave no more of a thin disc."""

THICKEST_RIDGE_MM, LEAST_RIDGE_EDGE = 8.0, 0.35
"""Two endplates that melt into one, and the mean contrast of both of its flanks."""

RIDGE_PRICE, RIDGE_OFF_MM = 0.6, 2.0
"""What a ridge must be better than a pair that lies elsewhere, and how far it may lie
off the disc: a single endplate is a ridge as well."""

BESIDE_MM, BESIDE_PRICE = (3.0, 8.0), 0.5
"""Where the flank of another plate beside a ridge would lie, and what it costs: two
plates that melt into one have marrow on both sides, a single one has the disc and the
other plate on one of them [ours]."""

LEAST_LIKENESS = 0.35
"""The weaker of the two has at least this share of the other's contrast: they border
the same disc."""

FLANK_MM = 3.0
"""An edge is spread over this much of the profile."""

PLATE_MM, PLATE_WEIGHT = (1.0, 4.0), 0.5
"""Where the far flank of an endplate lies, blurred by thick slices, and what it counts
beside the near one: where marrow is as dark as a disc, each plate has two flanks. This
weight and the price of a ridge were chosen on 690 discs of simulated scans [ours]."""

BETWEEN_PRICE = 0.4
"""Price of the edge of another plate between the two: a disc has none."""


@dataclass(frozen=True, slots=True)
class PlateProfile:
    """Best endplate at each height: mean contrast and slopes (left, forwards)."""

    score: FloatArray
    edge: FloatArray
    slopes: FloatArray


@dataclass(frozen=True, slots=True)
class _Choice:
    """Heights (as indices) of the end of bone and the beginning above it."""

    end: int
    begin: int
    score: float

    @property
    def middle_mm(self) -> float:
        return float(HEIGHTS_MM[self.end] + HEIGHTS_MM[self.begin]) / 2


def best_plates(lower: PlateProfile, upper: PlateProfile) -> tuple[int, int] | None:
    """Heights (as indices) of a disc's two endplates.

    In thick slices the plates of a thin disc melt, and what looks like a pair may be
    those at both ends of a vertebra: then the ridge that they make is the clearer sign.
    """
    pair, ridge = _best_pair(lower, upper), _best_ridge(lower, upper)
    best = pair or ridge
    if pair is not None and ridge is not None:
        elsewhere = abs(ridge.middle_mm - pair.middle_mm) > RIDGE_OFF_MM
        clearer = ridge.score > pair.score + RIDGE_PRICE
        if elsewhere and clearer and abs(ridge.middle_mm) <= RIDGE_OFF_MM:
            best = ridge
    return None if best is None else (best.end, best.begin)


def _best_pair(lower: PlateProfile, upper: PlateProfile) -> _Choice | None:
    """End of bone below a disc and beginning above it."""
    low, high = HEIGHTS_MM[:, None], HEIGHTS_MM[None, :]
    score = lower.score[:, None] + upper.score[None, :]
    score = score - OFF_PRICE * ((low + high) / 2) ** 2
    score -= BETWEEN_PRICE * _between(lower, upper)
    total = score + PLATE_WEIGHT * (
        _beyond(upper.edge[::-1], PLATE_MM)[::-1][:, None]
        + _beyond(lower.edge, PLATE_MM)[None, :]
    )
    total[(high - low < THINNEST_MM) | (high - low > THICKEST_MM)] = -np.inf
    first, second = lower.edge[:, None], upper.edge[None, :]
    least = np.maximum(LEAST_EDGE, LEAST_LIKENESS * np.maximum(first, second))
    total[np.minimum(first, second) < least] = -np.inf
    if not np.isfinite(total).any():
        return None
    i, j = np.unravel_index(int(total.argmax()), total.shape)
    return _Choice(int(i), int(j), float(score[i, j]))


def _beyond(edge: FloatArray, reach_mm: tuple[float, float]) -> FloatArray:
    """Strongest edge between two distances above each height, at least 0."""
    step = float(HEIGHTS_MM[1] - HEIGHTS_MM[0])
    first, last = (round(distance / step) for distance in reach_mm)
    padded = np.concatenate([edge, np.zeros(last)])
    flank = np.zeros(len(edge))
    for ahead in range(first, last + 1):
        np.maximum(flank, padded[ahead : ahead + len(edge)], out=flank)
    return flank


def _best_ridge(lower: PlateProfile, upper: PlateProfile) -> _Choice | None:
    """Plates of a worn disc that melt into one ridge; the end of bone lies above."""
    end, begin = HEIGHTS_MM[:, None], HEIGHTS_MM[None, :]
    total = lower.score[:, None] + upper.score[None, :]
    total = total - OFF_PRICE * ((end + begin) / 2) ** 2
    beside = np.maximum(
        _beyond(lower.edge, BESIDE_MM)[:, None],
        _beyond(upper.edge[::-1], BESIDE_MM)[::-1][None, :],
    )
    total -= BESIDE_PRICE * beside
    total[(end - begin < THINNEST_MM) | (end - begin > THICKEST_RIDGE_MM)] = -np.inf
    i, j = np.unravel_index(int(total.argmax()), total.shape)
    if min(lower.edge[i], upper.edge[j]) < LEAST_RIDGE_EDGE:
        return None
    return _Choice(int(i), int(j), float(total[i, j]))


def _between(lower: PlateProfile, upper: PlateProfile) -> FloatArray:
    """Strongest edge between each two heights that is neither of the two plates."""
    edge = np.maximum(np.maximum(lower.edge, upper.edge), 0.0)
    flank = round(FLANK_MM / float(HEIGHTS_MM[1] - HEIGHTS_MM[0]))
    found = np.zeros((len(edge), len(edge)))
    for i in range(len(edge) - 2 * flank):
        inner = np.maximum.accumulate(edge[i + flank : len(edge) - flank])
        found[i, i + 2 * flank :] = inner
    return found
