"""Renaming of all vertebrae at once: one name moves, the others are counted from it."""

from collections.abc import Mapping, Sequence

from cemscope.anatomy import VertebraLevel
from cemscope_pipelines.review.review_document import ReviewError


def named_from(
    levels: Sequence[str], anchor_level: str, anchor_name: str
) -> dict[str, str]:
    """Count the names of all vertebrae from one of them.

    Parameters
    ----------
    levels
        The machine's names, from the lowest upwards.
    anchor_level
        One of them.
    anchor_name
        What it is to be called.

    Returns
    -------
    dict of str to str
        New name for each of ``levels``; empty where nothing changes.

    Raises
    ------
    ReviewError
        If a name does not exist, or the spine would end before the last vertebra.
    """
    if anchor_level not in levels:
        raise ReviewError(f"no vertebra {anchor_level} is in view")
    place = list(levels).index(anchor_level)
    try:
        anchor = VertebraLevel(anchor_name)
        if not anchor.is_named:
            raise ReviewError(f"expected a level such as L3, found {anchor_name}")
        names = {
            level: anchor.neighbour(k - place).name if k != place else anchor.name
            for k, level in enumerate(levels)
        }
    except ReviewError:
        raise
    except ValueError as error:
        raise ReviewError(f"the levels cannot be named so: {error}") from None
    return {} if all(old == new for old, new in names.items()) else names


def shifted(
    levels: Sequence[str], current: Mapping[str, str], steps_cranial: int
) -> dict[str, str]:
    """Move all names by some steps towards the head (negative: towards the feet).

    Raises
    ------
    ReviewError
        If the levels have no names, or the spine would end.
    """
    if not levels:
        raise ReviewError("no vertebra is in view")
    lowest = levels[0]
    try:
        name = VertebraLevel(current.get(lowest, lowest)).neighbour(steps_cranial).name
    except ValueError as error:
        raise ReviewError(f"the levels cannot be shifted: {error}") from None
    return named_from(levels, lowest, name)
