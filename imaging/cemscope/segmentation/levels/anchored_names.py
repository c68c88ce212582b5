"""Names counted from a vertebra that the user named.

The user's word names the vertebra it is said of, and the others as far as patients
have the usual number. Six lumbar vertebrae are told by the place of the sacrum; of 13
pairs of ribs only a count from above could tell.
"""

from collections.abc import Sequence

from cemscope.anatomy import CRANIOCAUDAL_ORDER, VertebraLevel
from cemscope.segmentation.levels import level_notices
from cemscope.segmentation.levels.level_landmarks import LevelLandmarks
from cemscope.segmentation.levels.level_names import (
    LevelNames,
    LevelSettings,
    RowReading,
    broken_row_notices,
    read_row,
)

ANCHOR_CONFLICT_CONFIDENCE = 0.5
"""Confidence of the user's word where landmarks speak against it."""


def names_from_anchor(
    landmarks: tuple[LevelLandmarks, ...],
    settings: LevelSettings,
    anchor: tuple[int, VertebraLevel],
    chain_margins: Sequence[float] | None = None,
) -> LevelNames:
    """Count all vertebrae from one that the user named.

    Parameters
    ----------
    landmarks
        One per vertebra, from the lowest upwards.
    settings
        Tunables.
    anchor
        Index of a vertebra and the level that the user says it is.
    chain_margins
        As for `name_levels`.
    """
    reading = read_row(landmarks, settings, chain_margins)
    index, level = anchor
    sixth = _sixth_lumbar(anchor, reading, settings)
    levels = _counted(len(landmarks), index, level.name, sixth=sixth is not None)
    conflicts = _conflicts(levels, reading)
    notices = broken_row_notices(reading, levels)
    confidence = settings.broken_row_confidence if notices else 1.0
    if sixth is not None:
        notices += (level_notices.six_lumbar(level.name),)
        confidence *= sixth
    if unsure := _beyond_anchor(level, levels, reading):
        notices += (level_notices.beyond_anchor(level.name, "; ".join(unsure)),)
    if unsure or sixth is not None:
        confidence *= settings.agreed_confidence
    if conflicts:
        conflict = level_notices.anchor_conflict(level.name, conflicts)
        notices, confidence = (conflict, *notices), ANCHOR_CONFLICT_CONFIDENCE
    return LevelNames(levels, round(confidence, 2), notices)


def _sixth_lumbar(
    anchor: tuple[int, VertebraLevel], reading: RowReading, settings: LevelSettings
) -> float | None:
    """Probability of a sixth lumbar vertebra, if the landmarks tell one.

    A count of five puts the first sacral segment where the landmarks may see a lumbar
    vertebra, and the sacrum one further down. Where sacrum and ribs are the usual
    number apart, the anchor rather than the patient is unusual.
    """
    index, level = anchor
    if level.name not in ("L1", "L2", "L3", "L4", "L5") or reading.agreed:
        return None
    usual = index - (6 - int(level.name[1:]))
    five = reading.posterior.of_sacrum(usual)
    six = reading.posterior.of_sacrum(usual - 1)
    if usual < 0 or six < settings.landmark_certainty * (five + six):
        return None
    return six / (five + six)


def _conflicts(
    levels: tuple[VertebraLevel | None, ...], reading: RowReading
) -> list[str]:
    conflicts = []
    if reading.sacrum is not None:
        there = levels[reading.sacrum]
        if there is None or there.name != "S1":
            name = "a level below S1" if there is None else there.name
            conflicts.append(f"what looks like the sacrum would be {name}")
    if reading.lowest_ribs is not None:
        there = levels[reading.lowest_ribs]
        if there is None or there.name not in ("T12", "T13"):
            name = "a level below S1" if there is None else there.name
            conflicts.append(f"the lowest ribs would belong to {name}")
    return conflicts


def _beyond_anchor(
    anchor: VertebraLevel,
    levels: tuple[VertebraLevel | None, ...],
    reading: RowReading,
) -> tuple[str, ...]:
    """Tell which names one anchor cannot settle; the last ribs may be the 11th."""
    names = [level.name for level in levels if level is not None]
    unsure: list[str] = []
    if anchor.name in ("T13", "L6"):
        return ()  # the user has seen how many there are
    if anchor.name[0] in "LS" and any(name[0] == "T" for name in names):
        unsure.append(
            "with 11 or 13 pairs of ribs the thoracic names would be wrong by one"
        )
    if anchor.name[0] == "T" and any(name[0] in "LS" for name in names):
        unsure.append(
            "with 11 or 13 pairs of ribs the lumbar names would be wrong by one"
        )
    if anchor.name != "S1" and "S1" in names and reading.sacrum is None:
        unsure.append("with six lumbar vertebrae S1 would be L6")
    return tuple(unsure)


def _counted(
    count: int, index: int, name: str, *, sixth: bool
) -> tuple[VertebraLevel | None, ...]:
    """Names by the usual order, counted from one vertebra."""
    present = {name, "L6"} if sixth else {name}
    order = [n for n in CRANIOCAUDAL_ORDER if n in present or n not in ("T13", "L6")]
    at = order.index(name)
    levels: list[VertebraLevel | None] = []
    for k in range(count):
        position = at - (k - index)
        known = 0 <= position < len(order)
        levels.append(VertebraLevel(order[position]) if known else None)
    return tuple(levels)
