"""What a reader is told about the names of the vertebrae, in a radiologist's words."""

from collections.abc import Sequence

from cemscope.segmentation.levels.vertebra_chain import ChainDoubt, ChainFlaw
from cemscope.volume import Notice

_UNUSUAL = {
    4: "a sacralised fifth lumbar vertebra, ribs on the first lumbar vertebra (T13), "
    "or a vertebra that was missed",
    6: "a lumbarised first sacral segment (L6), a twelfth thoracic vertebra with "
    "rudimentary or no ribs, or a vertebra that was taken for two",
}

_NUMBER_WORDS = {4: "four", 5: "five", 6: "six"}


def sacrum_only() -> Notice:
    """Say that the levels are counted from the sacrum."""
    return Notice(
        "levels_from_sacrum_only",
        "The levels are counted from the sacrum; the lowest ribs are not seen clearly, "
        "so that an unusual number of lumbar vertebrae cannot be excluded. Check the "
        "names.",
    )


def ribs_only() -> Notice:
    """Say that the levels are counted from the ribs."""
    return Notice(
        "levels_from_ribs_only",
        "The levels are counted from the lowest ribs, taken for those of T12; the "
        "sacrum is not seen clearly. Check the names, or name one with --anchor.",
    )


def thoracic_from_ribs() -> Notice:
    """Say what the names of the thoracic vertebrae rest on."""
    return Notice(
        "thoracic_levels_from_lowest_ribs",
        "The lumbar levels are counted from the sacrum, the thoracic ones from the "
        "lowest ribs, taken for those of T12: with 11 or 13 pairs of ribs, which a few "
        "percent of people have, the thoracic names would be wrong by one. Only a "
        "count from C2 or the first ribs can tell.",
    )


def beyond_anchor(name: str, unsure: str) -> Notice:
    """Say which names rest on a usual number of vertebrae beyond the anchor.

    Parameters
    ----------
    name
        Level that the user named.
    unsure
        Which names, and what would shift them.
    """
    return Notice(
        "levels_counted_from_anchor",
        f"All names are counted from {name}, which the user named, with the usual "
        f"number of vertebrae: {unsure}. Check the names beyond.",
    )


def six_lumbar(name: str) -> Notice:
    """Say that a sixth lumbar vertebra was counted.

    Parameters
    ----------
    name
        Level that the user named.
    """
    return Notice(
        "transitional_anatomy",
        f"Counted from {name}, which the user named, six vertebrae lie between the "
        "thoracic spine and what looks like the sacrum: the lowest is called L6. It "
        "may be a lumbarised S1.",
    )


def not_told(reason: str) -> Notice:
    """Say why the vertebrae have relative names, and what to do."""
    return Notice(
        "levels_not_told",
        f"The levels could not be told: {reason}. Vertebrae are called V1, V2, ... "
        "from the lowest upwards; name one with --anchor, e.g. --anchor L5 for the "
        "lowest complete one.",
    )


def unusual_count(rib_free: int) -> Notice:
    """Say that the number of rib-free vertebrae is not five."""
    word = _NUMBER_WORDS.get(rib_free, str(rib_free))
    return Notice(
        "transitional_anatomy",
        f"Unusual count: {word} rib-free vertebrae above the sacrum instead of five. "
        f"This may be {_UNUSUAL.get(rib_free, 'a flaw of the count')}. Which it is, "
        "only a count from C2 or the patient's earlier reports can tell.",
    )


def wide_process(sides: str) -> Notice:
    """Say that the lowest lumbar vertebra looks joined to the sacrum.

    Parameters
    ----------
    sides
        "on the left", "on the right" or "on both sides".
    """
    return Notice(
        "transitional_anatomy",
        "The lowest lumbar vertebra has a wide transverse process that reaches the "
        f"sacrum {sides} (lumbosacral transitional vertebra, Castellvi II to IV, or "
        "bone graft): a sacralised L5 and a lumbarised S1 look alike here. Check the "
        "names.",
    )


def uneven_ribs(side: str) -> Notice:
    """Say that the lowest ribs stand on one side only ("left" or "right")."""
    return Notice(
        "transitional_anatomy",
        f"The lowest rib is seen on the {side} side only (rudimentary twelfth rib or "
        "lumbar rib: thoracolumbar transitional vertebra). Check the names.",
    )


def broken_row(doubt: ChainDoubt, names: Sequence[str]) -> Notice:
    """Say where the row of vertebrae may be broken.

    Parameters
    ----------
    doubt
        What was found.
    names
        Names of all vertebrae from the lowest upwards.
    """
    lower, upper = names[doubt.lower], names[doubt.upper]
    said = {
        ChainFlaw.GAP: f"{lower} and {upper} lie {doubt.value_mm:.0f} mm apart, "
        f"{doubt.ratio:.1f} times as far as their neighbours: a vertebra between them "
        "may have been missed",
        ChainFlaw.HALVED: f"{lower} and {upper} lie only {doubt.value_mm:.0f} mm apart "
        f"({doubt.ratio:.0%} of the usual distance) and both are low: they may be two "
        "parts of one vertebra",
        ChainFlaw.MERGED: f"{upper} is {doubt.value_mm:.0f} mm high, {doubt.ratio:.1f} "
        "times as high as its neighbours: it may be two vertebrae",
    }[doubt.flaw]
    return Notice(
        "vertebra_row_doubtful",
        f"{said}. Names beyond may be shifted: check them in the picture.",
    )


def unclear_discs(name: str) -> Notice:
    """Say that a vertebra may be a part of one, or two."""
    return Notice(
        "vertebra_row_doubtful",
        f"The discs next to {name} are hardly seen: it may be a part of a vertebra, or "
        "two. Names beyond may be shifted: check them in the picture.",
    )


def anchor_conflict(anchor: str, conflicts: Sequence[str]) -> Notice:
    """Say what contradicts the user's anchor."""
    return Notice(
        "anchor_conflict",
        f"With the anchor {anchor}, " + " and ".join(conflicts) + ". The anchor is "
        "used; check it.",
    )
