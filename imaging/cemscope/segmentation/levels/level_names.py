"""Names of the vertebrae from landmarks, or none where they do not suffice.

A shifted name makes every number of a report wrong. All counts of the vertebrae are
weighed (see `level_posterior`); names are given only where the sacrum or the lowest
ribs are in view and one shift is likely enough. What a radiologist would note
(transitional vertebrae, an unusual count, a break in the row) is said. The user's
anchor overrides all of it (see `anchored_names`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from cemscope.anatomy import CRANIOCAUDAL_ORDER, VertebraLevel
from cemscope.segmentation.levels import level_notices
from cemscope.segmentation.levels.level_evidence import (
    LIKELY,
    EvidenceSettings,
    LevelReading,
    read_level,
)
from cemscope.segmentation.levels.level_landmarks import LevelLandmarks
from cemscope.segmentation.levels.level_posterior import (
    USUAL_RIB_FREE,
    Posterior,
    count_posterior,
)
from cemscope.segmentation.levels.level_transitions import (
    TransitionSettings,
    transitions,
)
from cemscope.segmentation.levels.vertebra_chain import (
    ChainDoubt,
    ChainSettings,
    chain_doubts,
    is_even_at,
)
from cemscope.volume import Notice

EVEN_BREAK, AGREED_BREAK, MARGIN_WEIGHT = 0.5, 0.1, 3.0
"""Without any margin one disc more or less is as likely; with sacrum and ribs the usual
number apart it would take an unusual patient as well. The weight turns the margin of
the chain of discs (several units where it is clear) into a logarithm of odds."""

UNCLEAR_MARGIN = 0.5
"""Margin below which discs are not clear."""


@dataclass(frozen=True, slots=True)
class LevelSettings:
    """Tunables of the naming.

    Attributes
    ----------
    least_confidence : float
        Names that are less likely are declined.
    landmark_certainty : float
        Probability from which the sacrum or the lowest ribs count as seen.
    broken_row_confidence : float
        Factor of the confidence where the row of vertebrae may be broken although
        sacrum and ribs agree.
    transition_confidence : float
        Factor where the lowest lumbar vertebra or the lowest ribs look transitional:
        of 12 patients with lumbosacral transitional vertebrae 8 had a sacralised L5,
        4 a lumbarised S1 (Tins and Balain 2016, doi:10.1007/s13244-016-0468-7).
    agreed_confidence : float
        The same where sacrum and ribs agree all the same.
    most_surprise : float
        Logarithm of how much better the reading of a vertebra may fit another place
        than its own, unless sacrum and ribs agree.
    evidence : EvidenceSettings
        Borders between the readings of a landmark.
    chain : ChainSettings
        Check of the row of vertebrae.
    transitions : TransitionSettings
        What is said about transitional vertebrae.
    """

    least_confidence: float = 0.75
    landmark_certainty: float = 0.75
    broken_row_confidence: float = 0.8
    transition_confidence: float = 0.67
    agreed_confidence: float = 0.85
    most_surprise: float = 3.2
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)
    chain: ChainSettings = field(default_factory=ChainSettings)
    transitions: TransitionSettings = field(default_factory=TransitionSettings)

    @property
    def ala_above(self) -> float:
        """Section beside a body that is an ala, as a share of the body's own."""
        return self.evidence.ala_above


@dataclass(frozen=True, slots=True)
class LevelNames:
    """Names of vertebrae, from the lowest upwards.

    Attributes
    ----------
    levels : tuple of VertebraLevel or None
        None for what lies below the first sacral segment and is not reported.
    confidence : float
        0 for relative names, 1 for the user's word.
    notices : tuple of Notice
        What a reader should know about the names.
    """

    levels: tuple[VertebraLevel | None, ...]
    confidence: float
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True)
class RowReading:
    """What the landmarks say.

    Attributes
    ----------
    levels : tuple of LevelReading
        Soft readings of each vertebra.
    posterior : Posterior
        Weight of all counts.
    sacrum, lowest_ribs : int or None
        Index of the landmark where it is in view and certain.
    doubts : tuple of ChainDoubt
        Where the row may be broken.
    weak : tuple of (int, float)
        Vertebrae whose discs are not clear although nothing else vouches for them,
        and by which margin.
    """

    levels: tuple[LevelReading, ...]
    posterior: Posterior
    sacrum: int | None
    lowest_ribs: int | None
    doubts: tuple[ChainDoubt, ...]
    weak: tuple[tuple[int, float], ...]

    @property
    def agreed(self) -> bool:
        """Whether sacrum and ribs are both seen, the usual number apart."""
        if self.sacrum is None or self.lowest_ribs is None:
            return False
        return self.lowest_ribs - self.sacrum - 1 == USUAL_RIB_FREE


def name_levels(
    landmarks: tuple[LevelLandmarks, ...],
    settings: LevelSettings,
    chain_margins: Sequence[float] | None = None,
) -> LevelNames:
    """Name vertebrae by sacrum and ribs.

    Parameters
    ----------
    landmarks
        One per vertebra, from the lowest upwards.
    settings
        Tunables.
    chain_margins
        Per vertebra, how clearly the discs round it were found (`FoundBody`); None
        where that is not known.
    """
    reading = read_row(landmarks, settings, chain_margins)
    shift = reading.posterior.best_shift()
    confidence = reading.posterior.of_shift(shift) * _unbroken(reading)
    variants = transitions(reading.levels, reading.posterior, settings.transitions)
    if variants:
        confidence *= (
            settings.agreed_confidence
            if reading.agreed
            else settings.transition_confidence
        )
    reason = _why_not(reading, confidence, settings)
    if reason is None:
        levels = _from_number(len(landmarks), shift)
    else:
        levels = tuple(VertebraLevel(f"V{k + 1}") for k in range(len(landmarks)))
    notices = (*variants, *broken_row_notices(reading, levels))
    if reason is not None:
        return LevelNames(levels, 0.0, (level_notices.not_told(reason), *notices))
    if reading.doubts:
        confidence *= settings.broken_row_confidence
    if reading.lowest_ribs is None:
        notices = (level_notices.sacrum_only(), *notices)
    elif reading.sacrum is None:
        notices = (level_notices.ribs_only(), *notices)
    elif any(level is not None and level.name[0] == "T" for level in levels):
        notices = (level_notices.thoracic_from_ribs(), *notices)
    return LevelNames(levels, round(confidence, 2), notices)


def unless_doubtful(names: LevelNames, doubtful: Sequence[bool]) -> LevelNames:
    """Decline names that rest on a first sacral segment with a doubtful outline.

    The sacrum is told by what lies beside a body, in the scale of its own width. An
    outline that shrank to the cement of a lumbar body shows bone there, as alae.

    Parameters
    ----------
    names
        As told by the landmarks.
    doubtful
        Per vertebra, whether its outline is.
    """
    for level, doubt in zip(names.levels, doubtful, strict=True):
        if doubt and level is not None and level.name == "S1":
            reason = "the outline of what may be the sacrum is doubtful"
            relative = tuple(VertebraLevel(f"V{k + 1}") for k in range(len(doubtful)))
            return LevelNames(relative, 0.0, (level_notices.not_told(reason),))
    return names


def sacral_indices(
    landmarks: tuple[LevelLandmarks, ...], settings: LevelSettings
) -> frozenset[int]:
    """Tell which vertebrae belong to the sacrum, for an anchor without a point.

    Parameters
    ----------
    landmarks
        One per vertebra, from the lowest upwards.
    settings
        Tunables.

    Returns
    -------
    frozenset of int
        Indices of the first sacral segment and of what lies below it, if it is more
        likely than not that it is in view.
    """
    posterior = read_row(landmarks, settings, None).posterior
    sacral = 0.0
    for index in range(len(landmarks) - 1, -1, -1):
        sacral += posterior.of_sacrum(index)
        if sacral > LIKELY:
            return frozenset(range(index + 1))
    return frozenset()


def _why_not(
    reading: RowReading, confidence: float, settings: LevelSettings
) -> str | None:
    """Say why names must be declined; None if they need not."""
    sacrum, ribs = reading.sacrum, reading.lowest_ribs
    if sacrum is None and ribs is None:
        return "neither the sacrum nor the lowest ribs are seen clearly"
    if sacrum is not None and ribs is not None and not reading.agreed:
        return (
            f"{ribs - sacrum - 1} vertebrae lie between the sacrum and the lowest ribs "
            f"where {USUAL_RIB_FREE} are usual"
        )
    if reading.doubts and not reading.agreed:
        return "the row of vertebrae may be broken"
    best = reading.posterior.best
    surprises = [
        level.surprise(best.place(k)) for k, level in enumerate(reading.levels)
    ]
    if not reading.agreed and max(surprises) > settings.most_surprise:
        return "what is seen beside the vertebrae fits no usual order"
    if confidence < settings.least_confidence:
        return (
            "the landmarks are not clear or contradict each other (the likeliest names "
            f"have a probability of {confidence:.0%})"
        )
    return None


def broken_row_notices(
    reading: RowReading, levels: tuple[VertebraLevel | None, ...]
) -> tuple[Notice, ...]:
    """Say where the row may be broken, by the names that the vertebrae got."""
    names = ["what lies below S1" if lv is None else lv.name for lv in levels]
    notices = [level_notices.broken_row(doubt, names) for doubt in reading.doubts]
    if reading.weak:
        unclear = [names[k] for k, _ in reading.weak]
        notices.append(level_notices.unclear_discs(", ".join(unclear)))
    return tuple(notices)


def _unbroken(reading: RowReading) -> float:
    """Probability that no disc was missed or invented, as far as the discs tell."""
    if not reading.weak:
        return 1.0
    weakest = max(min(margin for _, margin in reading.weak), 0.0)
    even = AGREED_BREAK if reading.agreed else EVEN_BREAK
    return 1.0 - even * math.exp(-MARGIN_WEIGHT * weakest)


def _from_number(count: int, shift: int) -> tuple[VertebraLevel | None, ...]:
    """Names by the usual count from C1; `shift` is the number of the lowest."""
    usual = [n for n in CRANIOCAUDAL_ORDER if n not in ("T13", "L6")]
    numbers = range(shift, shift - count, -1)
    return tuple(
        VertebraLevel(usual[number - 1]) if 1 <= number <= len(usual) else None
        for number in numbers
    )


def read_row(
    landmarks: tuple[LevelLandmarks, ...],
    settings: LevelSettings,
    chain_margins: Sequence[float] | None,
) -> RowReading:
    """Weigh all counts, and tell which landmarks they rest on."""
    levels = tuple(read_level(entry, settings.evidence) for entry in landmarks)
    bodies = [entry.body for entry in landmarks]
    widths_mm = [None if body is None else body.width_mm for body in bodies]
    posterior = count_posterior(levels, widths_mm)
    known = [body for body in bodies if body is not None]
    if len(known) < len(bodies):
        known = []
    doubts = chain_doubts(known, settings.chain)
    best = posterior.best
    sacrum, ribs = None, None
    if (
        best.sacrum >= 0
        and posterior.of_sacrum(best.sacrum) >= settings.landmark_certainty
        and _seen([side.ala for side in levels[best.sacrum].sides])
    ):
        sacrum = best.sacrum
    if (
        0 < best.lowest_ribs < len(levels)
        and posterior.of_lowest_ribs(best.lowest_ribs) >= settings.landmark_certainty
        and _seen([side.rib for side in levels[best.lowest_ribs].sides])
        and _absent([side.rib for side in levels[best.lowest_ribs - 1].sides])
    ):
        ribs = best.lowest_ribs
    weak = tuple(
        (k, margin)
        for k, margin in enumerate(chain_margins or ())
        if margin < UNCLEAR_MARGIN
        and k != sacrum  # it has no disc below
        and not (known and is_even_at(known, k))
    )
    return RowReading(levels, posterior, sacrum, ribs, doubts, weak)


def _seen(sides: list[float | None]) -> bool:
    """Whether a landmark is seen on at least one side."""
    return any(side is not None and side > LIKELY for side in sides)


def _absent(sides: list[float | None]) -> bool:
    """Whether a landmark is in view and missing on at least one side."""
    return any(side is not None and side < LIKELY for side in sides)
