"""Rename a row of imported vertebrae from the user's word on one of them."""

from collections.abc import Sequence

from cemscope.anatomy import CRANIOCAUDAL_ORDER, VertebraLevel
from cemscope.errors import LabelMapError

_USUAL = tuple(name for name in CRANIOCAUDAL_ORDER if name not in ("T13", "L6"))


def rename_from_anchor(
    levels: Sequence[VertebraLevel], anchored: int, anchor: VertebraLevel
) -> tuple[VertebraLevel, ...]:
    """Count all levels from one that is known.

    Gaps in the imported names (a vertebra without a label) are kept.

    Parameters
    ----------
    levels
        Imported levels from the lowest to the highest; either all named or all
        relative (V1, V2, ...).
    anchored
        Position of the vertebra that the user named.
    anchor
        Its name.

    Raises
    ------
    LabelMapError
        If the count leaves the spine (above C1, below S1).
    """
    positions = [_position(level) for level in levels]
    renamed = []
    for rank, level in enumerate(levels):
        if level.is_named and levels[anchored] == anchor:
            renamed.append(level)
            continue
        try:
            steps = positions[rank] - positions[anchored]
            renamed.append(anchor if rank == anchored else anchor.neighbour(steps))
        except ValueError as error:
            raise LabelMapError(
                f"the anchor {anchor.name} does not fit: counted from it, the "
                f"vertebra labelled {level.name} would lie beyond the spine ({error})"
            ) from error
    return tuple(renamed)


def _position(level: VertebraLevel) -> int:
    """Count the steps towards the head by the imported name."""
    if level.name in _USUAL:
        return -_USUAL.index(level.name)
    if level.is_named:  # T13 and L6 stand between their usual neighbours
        return -_USUAL.index("L1" if level.name == "T13" else "S1")
    return int(level.name[1:])
