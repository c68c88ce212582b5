"""Names of the vertebrae from landmarks, or none where they do not suffice.

A shifted name makes every number of a report wrong, so that two landmarks must
agree where both are in view, and a landmark that is not clear counts as none. The
user's anchor overrides all of it.
"""

from dataclasses import dataclass

from cemscope.anatomy import CRANIOCAUDAL_ORDER, VertebraLevel
from cemscope.segmentation.level_landmarks import LevelLandmarks, SideLandmarks
from cemscope.volume import Notice

USUAL_LUMBAR_COUNT = 5
"""Lumbar vertebrae between the sacrum and the lowest ribs in most people; 4 or 6 in
about one of ten (transitional vertebrae; Konin and Walz 2010,
doi:10.3174/ajnr.A2036)."""


TOUCHING_PELVIS = 2
"""Vertebrae above the sacrum whose processes may be joined to the pelvis."""


@dataclass(frozen=True, slots=True)
class LevelSettings:
    """Tunables of the naming.

    Attributes
    ----------
    ala_above, no_ala_below : float
        Section of bone beside a body, as a share of the body's own, that is an ala
        of the sacrum, and that certainly is none.
    rib_beyond_mm, process_within_mm : float
        Bone that reaches beyond the first is a rib; within the second it is a
        transverse process.
    both_confidence, sacrum_confidence, ribs_confidence : float
        Confidence of the names if sacrum and ribs agree, or only one is in view.
    """

    ala_above: float = 0.24
    no_ala_below: float = 0.17
    rib_beyond_mm: float = 62.0
    process_within_mm: float = 54.0
    both_confidence: float = 0.95
    sacrum_confidence: float = 0.75
    ribs_confidence: float = 0.6


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
class _Reading:
    """What the landmarks say: indices from the lowest vertebra, or None."""

    sacrum: int | None
    lowest_ribs: int | None
    doubts: tuple[str, ...]


def name_levels(
    landmarks: tuple[LevelLandmarks, ...],
    settings: LevelSettings,
    anchor: tuple[int, VertebraLevel] | None = None,
) -> LevelNames:
    """Name vertebrae by sacrum, ribs or the user's anchor.

    Parameters
    ----------
    landmarks
        One per vertebra, from the lowest upwards.
    settings
        Tunables.
    anchor
        Index of a vertebra and the level that the user says it is.
    """
    reading = _read(landmarks, settings)
    count = len(landmarks)
    if anchor is not None:
        return _from_anchor(count, anchor, reading)
    sacrum, ribs = reading.sacrum, reading.lowest_ribs
    if reading.doubts:
        return _relative(count, "; ".join(reading.doubts))
    if sacrum is not None and ribs is not None:
        lumbar = ribs - sacrum - 1
        if lumbar != USUAL_LUMBAR_COUNT:
            return _relative(
                count,
                f"{lumbar} vertebrae lie between the sacrum and the lowest ribs where "
                f"{USUAL_LUMBAR_COUNT} are usual (transitional anatomy, or a vertebra "
                "was missed)",
                code="transitional_anatomy",
            )
        return LevelNames(
            _count_from(count, sacrum, "S1"), settings.both_confidence, ()
        )
    if sacrum is not None:
        notice = Notice(
            "levels_from_sacrum_only",
            "The levels are counted from the sacrum; the lowest ribs are not in view, "
            "so that a transitional vertebra cannot be excluded. Check the names.",
        )
        names = _count_from(count, sacrum, "S1")
        return LevelNames(names, settings.sacrum_confidence, (notice,))
    if ribs is not None:
        notice = Notice(
            "levels_from_ribs_only",
            "The levels are counted from the lowest ribs, taken for T12; the sacrum "
            "is not in view. Check the names, or name one with --anchor.",
        )
        names = _count_from(count, ribs, "T12")
        return LevelNames(names, settings.ribs_confidence, (notice,))
    return _relative(count, "neither the sacrum nor the lowest ribs are in view")


def _relative(count: int, reason: str, code: str | None = None) -> LevelNames:
    levels = tuple(VertebraLevel(f"V{i + 1}") for i in range(count))
    hint = (
        f"The levels could not be told: {reason}. Vertebrae are called V1, V2, ... "
        "from the lowest upwards; name one with --anchor, e.g. --anchor L5 for the "
        "lowest complete one."
    )
    notices = [Notice("levels_not_told", hint)]
    if code is not None:
        notices.append(Notice(code, f"Unusual count of vertebrae: {reason}."))
    return LevelNames(levels, 0.0, tuple(notices))


def _from_anchor(
    count: int, anchor: tuple[int, VertebraLevel], reading: _Reading
) -> LevelNames:
    index, level = anchor
    levels = _count_from(count, index, level.name)
    conflicts = []
    if reading.sacrum is not None:
        there = levels[reading.sacrum]
        if there is None or there.name != "S1":
            name = "a level below S1" if there is None else there.name
            conflicts.append(f"what looks like the sacrum would be {name}")
    if reading.lowest_ribs is not None:
        there = levels[reading.lowest_ribs]
        if there is None or there.name != "T12":
            name = "a level below S1" if there is None else there.name
            conflicts.append(f"the lowest ribs would belong to {name}")
    if not conflicts:
        return LevelNames(levels, 1.0, ())
    notice = Notice(
        "anchor_conflict",
        f"With the anchor {level.name}, " + " and ".join(conflicts) + ". The anchor "
        "is used; check it.",
    )
    return LevelNames(levels, 0.5, (notice,))


def _count_from(count: int, index: int, name: str) -> tuple[VertebraLevel | None, ...]:
    """Names by the usual order, counted from one vertebra."""
    order = [n for n in CRANIOCAUDAL_ORDER if n == name or n not in ("T13", "L6")]
    at = order.index(name)
    levels: list[VertebraLevel | None] = []
    for k in range(count):
        position = at - (k - index)
        known = 0 <= position < len(order)
        levels.append(VertebraLevel(order[position]) if known else None)
    return tuple(levels)


def _read(landmarks: tuple[LevelLandmarks, ...], settings: LevelSettings) -> _Reading:
    """Find the sacrum and the lowest ribs, and what speaks against them."""
    doubts: list[str] = []
    alae = [_ala(entry, settings) for entry in landmarks]
    sacrum = None
    with_ala = [k for k, ala in enumerate(alae) if ala is True]
    if with_ala:
        top = with_ala[-1]
        above = alae[top + 1] if top + 1 < len(alae) else None
        if above is False:
            sacrum = top
        else:
            doubts.append("the upper end of the sacrum is not clear")
        if any(alae[k] is False for k in range(top)):
            doubts.append("below what looks like the sacrum lies a free vertebra")
            sacrum = None
    first_free = with_ala[-1] + 1 if with_ala else 0
    # The lowest processes may touch the sacrum or the iliac crest.
    first_rib = first_free + (TOUCHING_PELVIS if with_ala else 0)
    ribs = [
        _ribs(entry, settings) if k >= first_rib else None
        for k, entry in enumerate(landmarks)
    ]
    lowest_ribs = None
    with_ribs = [k for k, found in enumerate(ribs) if found is True]
    if with_ribs:
        low = with_ribs[0]
        if low > first_free and ribs[low - 1] is False:
            lowest_ribs = low
        elif low > first_free:
            doubts.append("it is not clear which ribs are the lowest")
        if any(ribs[k] is False for k in range(low, len(ribs))):
            doubts.append("a vertebra above the lowest ribs seems to have none")
        if sacrum is not None and low - sacrum - 1 < USUAL_LUMBAR_COUNT:
            doubts.append(
                f"only {low - sacrum - 1} vertebrae lie between the sacrum and a "
                "vertebra with ribs"
            )
    elif sacrum is not None:
        t12 = sacrum + USUAL_LUMBAR_COUNT + 1
        if t12 < len(ribs) and ribs[t12] is False:
            doubts.append("the sixth vertebra above the sacrum has no ribs")
    return _Reading(sacrum, lowest_ribs, tuple(doubts))


def _ala(entry: LevelLandmarks, settings: LevelSettings) -> bool | None:
    """Whether alae stand on both sides; None if the sides differ or are unclear."""
    sides = [
        None
        if side.ala is None
        else True
        if side.ala >= settings.ala_above
        else False
        if side.ala <= settings.no_ala_below
        else None
        for side in (entry.left, entry.right)
    ]
    return sides[0] if sides[0] == sides[1] else None


def _ribs(entry: LevelLandmarks, settings: LevelSettings) -> bool | None:
    """Whether ribs arise on both sides; None if the sides differ or are unclear."""
    sides = [_rib(side, settings) for side in (entry.left, entry.right)]
    return sides[0] if sides[0] == sides[1] else None


def _rib(side: SideLandmarks, settings: LevelSettings) -> bool | None:
    if side.process_reach_mm >= settings.rib_beyond_mm:
        return True
    seen_far_enough = side.seen_to_mm >= settings.rib_beyond_mm
    if side.process_reach_mm <= settings.process_within_mm and seen_far_enough:
        return False
    return None
