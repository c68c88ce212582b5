"""How likely each count of the vertebrae is, given what was read beside them.

A hypothesis says how many vertebrae and pairs of ribs this patient has (few people
differ from 24 above the sacrum and 12 pairs) and which of the found vertebrae is the
first sacral segment, in view or not. It fixes the place of every vertebra, and its
number counted from C1; names belong to numbers. The vertebrae are a chain: one shift
holds for all of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from cemscope.segmentation.levels.level_evidence import LevelReading, Place

NUMBER_OF_L5 = 24
"""C1 is vertebra 1; with 7 cervical and 12 thoracic vertebrae L5 is the 24th."""

CERVICAL_COUNT = 7

LOWEST_START, BELOW_SACRUM_PRIOR = -26, 0.05
"""The sacrum may lie this many vertebrae below the lowest one found; and how much less
likely it is, per vertebra, that the finder went on below the first sacral segment."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Count of a patient's vertebrae.

    Attributes
    ----------
    rib_pairs : int
        Vertebrae with ribs.
    presacral : int
        Vertebrae above the sacrum.
    share : float
        Share of people.
    """

    rib_pairs: int
    presacral: int
    share: float

    @property
    def rib_free(self) -> int:
        """Vertebrae between the sacrum and the lowest ribs."""
        return self.presacral - CERVICAL_COUNT - self.rib_pairs


USUAL_RIB_FREE = 5

VARIANTS = (
    Variant(12, 24, 0.840),
    Variant(11, 24, 0.040),
    Variant(12, 25, 0.035),
    Variant(12, 23, 0.030),
    Variant(11, 23, 0.025),
    Variant(13, 25, 0.020),
    Variant(13, 24, 0.010),
)
"""Shares rounded from three series of whole spines. 24 presacral vertebrae in 89 %, 25
and 23 in 5 % each (Tins and Balain 2016, doi:10.1007/s13244-016-0468-7, 418 patients);
11 pairs of ribs in 8 %, nearly always with fewer or other lumbar vertebrae, 13 pairs
in 0.4-5.8 %, mostly with 25 presacral vertebrae (Nakajima 2014,
doi:10.1007/s13244-013-0286-0, 226 CT; doi:10.1007/s00256-025-04952-z, 551 CT)."""

_WIDTH_MM = MappingProxyType(
    {
        1: 18.0, 2: 18.0, 3: 18.0, 4: 18.0, 5: 19.0, 6: 20.0, 7: 22.0, 8: 26.0,
        9: 27.0, 10: 27.0, 11: 27.0, 12: 27.5, 13: 28.5, 14: 30.0, 15: 31.5, 16: 33.0,
        17: 35.0, 18: 38.0, 19: 41.5, 20: 43.5, 21: 45.0, 22: 46.5, 23: 48.5, 24: 50.0,
        25: 50.0,
    }
)  # fmt: skip
"""Usual width of the body by number, adults, rounded (Panjabi 1991,
doi:10.1097/00007632-199108000-00006, and 1992,
doi:10.1097/00007632-199203000-00010). Weak evidence: it tells L4 from T6."""

WIDTH_COMMON, WIDTH_SINGLE = 0.15, 0.15
"""Spread of the logarithm of the width, between people and within one; wider than in
the tables (0.1), so that widths tell lumbar from upper thoracic, not L4 from L5."""


@dataclass(frozen=True, slots=True)
class Count:
    """One hypothesis.

    Attributes
    ----------
    variant : Variant
        Count of the patient's vertebrae.
    sacrum : int
        Index of the first sacral segment among the found vertebrae, from the lowest;
        negative if it lies below them.
    """

    variant: Variant
    sacrum: int

    @property
    def shift(self) -> int:
        """Number (from C1) of the vertebra with index 0."""
        return self.variant.presacral + 1 + self.sacrum

    @property
    def lowest_ribs(self) -> int:
        """Index of the vertebra with the lowest ribs."""
        return self.sacrum + self.variant.rib_free + 1

    def number(self, index: int) -> int:
        """Count a vertebra from C1; 25 and more lie in the usual sacrum."""
        return self.shift - index

    def place(self, index: int) -> Place:
        """Where in the spine a vertebra lies."""
        above = index - self.sacrum
        if above < 0:
            return Place.BELOW_S1
        if above == 0:
            return Place.S1
        if above > self.variant.rib_free:
            if self.number(index) <= CERVICAL_COUNT:
                return Place.CERVICAL
            lowest = above == self.variant.rib_free + 1
            return Place.LOWEST_RIBS if lowest else Place.RIBS
        if above == self.variant.rib_free:
            return Place.HIGHEST_LUMBAR
        low = {1: Place.LOWEST_LUMBAR, 2: Place.SECOND_LUMBAR}
        return low.get(above, Place.LUMBAR)


@dataclass(frozen=True, slots=True)
class Posterior:
    """Hypotheses with their probabilities, the best first."""

    counts: tuple[Count, ...]
    probabilities: tuple[float, ...]

    @property
    def best(self) -> Count:
        """Most likely count."""
        return self.counts[0]

    def of_shift(self, shift: int) -> float:
        """Probability that the vertebra with index 0 has this number."""
        return sum(
            probability
            for count, probability in zip(self.counts, self.probabilities, strict=True)
            if count.shift == shift
        )

    def best_shift(self) -> int:
        """Most likely number of the vertebra with index 0."""
        return max({count.shift for count in self.counts}, key=self.of_shift)

    def unusual_count(self) -> tuple[int, float]:
        """Likeliest unusual number of rib-free vertebrae; probability of any such."""
        unusual: dict[int, float] = {}
        for count, probability in zip(self.counts, self.probabilities, strict=True):
            rib_free = count.variant.rib_free
            if rib_free != USUAL_RIB_FREE:
                unusual[rib_free] = unusual.get(rib_free, 0.0) + probability
        return max(unusual, key=lambda n: unusual[n]), sum(unusual.values())

    def of_sacrum(self, index: int) -> float:
        """Probability that this vertebra is the first sacral segment."""
        return sum(
            probability
            for count, probability in zip(self.counts, self.probabilities, strict=True)
            if count.sacrum == index
        )

    def of_lowest_ribs(self, index: int) -> float:
        """Probability that this vertebra carries the lowest ribs."""
        return sum(
            probability
            for count, probability in zip(self.counts, self.probabilities, strict=True)
            if count.lowest_ribs == index
        )


def count_posterior(
    readings: Sequence[LevelReading], widths_mm: Sequence[float | None]
) -> Posterior:
    """Weigh all counts of the vertebrae.

    Parameters
    ----------
    readings
        One per vertebra, from the lowest upwards.
    widths_mm
        Width of each body; None where it is not known.
    """
    fits = [
        {place: reading.log_likelihood(place) for place in Place}
        for reading in readings
    ]
    counts, scores = [], []
    for variant in VARIANTS:
        for sacrum in range(LOWEST_START, len(readings)):
            count = Count(variant, sacrum)
            if count.number(len(readings) - 1) < 1:
                continue
            score = math.log(variant.share)
            score += max(sacrum, 0) * math.log(BELOW_SACRUM_PRIOR)
            score += sum(fit[count.place(k)] for k, fit in enumerate(fits))
            score += _width_log_likelihood(count, widths_mm)
            counts.append(count)
            scores.append(score)
    weights = np.exp(np.array(scores) - max(scores))
    weights /= weights.sum()
    order = np.argsort(-weights, kind="stable")
    return Posterior(
        tuple(counts[i] for i in order), tuple(float(weights[i]) for i in order)
    )


def _width_log_likelihood(count: Count, widths_mm: Sequence[float | None]) -> float:
    ratios = [
        math.log(width / _WIDTH_MM[count.number(k)])
        for k, width in enumerate(widths_mm)
        if width is not None and count.number(k) in _WIDTH_MM and k > count.sacrum
    ]
    if not ratios:
        return 0.0
    person = float(np.mean(ratios))
    apart = (np.array(ratios) - person) / WIDTH_SINGLE
    # A wall found wrong must not decide: heavy tails.
    common = -2.0 * math.log1p((person / WIDTH_COMMON) ** 2 / 4.0)
    return common - 0.5 * float(np.log1p(apart**2 / 4.0).sum())
