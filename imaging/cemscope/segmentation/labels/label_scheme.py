"""Which numbering a label map follows, told from the labels themselves.

Numbers alone cannot tell: 22 is L3 in VerSe and L1 in TotalSegmentator 1. A table of
names in the file, the direction in which numbers grow, the distances between
neighbours and labels of other structures can. What stays open is not guessed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.anatomy import ARCH_OFFSET, VertebraLevel
from cemscope.anatomy_schemes import (
    SPINEPS_ARCH_PARTS,
    SPINEPS_BODY_PARTS,
    SPINEPS_DISC_OFFSET,
    SPINEPS_ENDPLATE_OFFSET,
    SPINEPS_OTHER_PARTS,
    LabelScheme,
    is_arch_text,
    level_from_text,
)
from cemscope.errors import LabelMapError
from cemscope.resampling import Box, grow_box
from cemscope.segmentation.labels.scheme_fit import (
    CLEAR_LEAD,
    CLEAR_LOG_RATIO,
    HIGHEST_NUMBER,
    Evidence,
    clear_winner,
    fit_of,
    scheme_fits,
)
from cemscope.volume import LabelMap, Notice


@dataclass(frozen=True, slots=True)
class LabelReading:
    """What the numbers of a label map mean.

    Attributes
    ----------
    whole : mapping of int to VertebraLevel
        Numbers of whole vertebrae, or of bodies where arches have their own.
    arches : mapping of int to VertebraLevel
        Numbers of arches.
    origin : str
        "names in the file", or the scheme's word.
    notices : tuple of Notice
        What is worth telling about the choice.
    """

    whole: Mapping[int, VertebraLevel]
    arches: Mapping[int, VertebraLevel]
    origin: str
    notices: tuple[Notice, ...] = ()


def read_labels(labels: LabelMap, scheme: LabelScheme | None = None) -> LabelReading:
    """Tell which numbers of a label map are which vertebrae.

    The caller's scheme wins, then a table of names in the file, then detection. The
    word ``totalsegmentator`` stands for every version of that program, whose files
    often hold a table of names.

    Raises
    ------
    LabelMapError
        If no number is a vertebra, the numbering cannot be told, or the caller's
        scheme or the names in the file contradict the position of the labels.
    """
    evidence = Evidence.of(labels)
    named = _read_names(labels, evidence.boxes)
    if scheme is None:
        if named is None:
            return _reading(detect_scheme(labels), evidence)
        _require_fitting_names(labels, evidence, named)
        return named
    of_family = scheme is LabelScheme.TOTALSEGMENTATOR and named is not None
    if named is not None and of_family and fit_of(named.whole, evidence) is not None:
        return named
    reading = _reading(scheme, evidence)
    _require_fitting_scheme(evidence, scheme, reading)
    if named is None or named.whole == reading.whole:
        return reading
    told = Notice(
        "label_names_overruled",
        "The label map has a table of names that says otherwise than --label-scheme "
        f"{scheme}; the latter was followed.",
    )
    return LabelReading(
        reading.whole, reading.arches, reading.origin, (*reading.notices, told)
    )


def _reading(scheme: LabelScheme, evidence: Evidence) -> LabelReading:
    boxes = evidence.boxes
    whole = {n: scheme.levels[n] for n in boxes if n in scheme.levels}
    arches = {n: scheme.arches[n] for n in boxes if n in scheme.arches}
    if not whole:
        raise LabelMapError(
            f"no vertebra in the label map under the numbering '{scheme}': it holds "
            f"{_listed(boxes)}"
        )
    strange = [n for n in boxes if n > HIGHEST_NUMBER.get(scheme, 255)]
    notices = (
        Notice(
            "labels_unknown",
            f"The numbers {_listed(strange)} mean nothing in the numbering '{scheme}' "
            "and are left out.",
        ),
    )
    return LabelReading(whole, arches, str(scheme), notices if strange else ())


def detect_scheme(labels: LabelMap) -> LabelScheme:
    """Detect the numbering of a label map.

    Raises
    ------
    LabelMapError
        If none fits, or more than one does: then the user has to name it.
    """
    evidence = Evidence.of(labels)
    boxes = evidence.boxes
    _require_levels(boxes)
    special = _with_extra_parts(labels, boxes)
    if special is not None:
        return special
    fits = scheme_fits(evidence)
    if not fits:
        raise LabelMapError(
            f"the numbering of the labels ({_listed(boxes)}) is none that is known: "
            "their order or distances along the spine fit neither VerSe nor "
            "TotalSegmentator. Check the file, or name its numbering with "
            "--label-scheme"
        )
    clear = clear_winner(fits, boxes)
    if clear is not None:
        return clear
    ranked = sorted(fits, key=lambda scheme: fits[scheme])
    raise LabelMapError(
        f"the numbering of the labels ({_listed(boxes)}) cannot be told: "
        f"{' and '.join(ranked)} are possible. Name it with --label-scheme"
    )


def _require_fitting_scheme(
    evidence: Evidence, scheme: LabelScheme, reading: LabelReading
) -> None:
    """Refuse the caller's word where order and distances clearly say another one."""
    fits = scheme_fits(evidence)
    clear = clear_winner(fits, evidence.boxes)
    if clear is None or clear is scheme:
        return
    other = {n: clear.levels[n] for n in evidence.boxes if n in clear.levels}
    if other == reading.whole or len(other) < 2:
        return
    own = fit_of(reading.whole, evidence)
    if own is not None and own < fits[clear] + CLEAR_LEAD:
        return
    raise LabelMapError(
        f"under the numbering '{scheme}' the labels ({_listed(evidence.boxes)}) are "
        "out of order or too near to each other or too far apart; they fit "
        f"'{clear}'. Name that with --label-scheme, or leave it out"
    )


def _require_fitting_names(
    labels: LabelMap, evidence: Evidence, named: LabelReading
) -> None:
    """Refuse a table of names that was left over from another numbering."""
    fits = scheme_fits(evidence)
    clear = clear_winner(fits, evidence.boxes)
    if clear is None or fits[clear] >= CLEAR_LOG_RATIO:
        return
    against = [
        n
        for n in evidence.boxes
        if n in clear.levels
        and labels.names.get(n)
        and named.whole.get(n) != clear.levels[n]
    ]
    own = fit_of(named.whole, evidence)
    if not against or (own is not None and own < fits[clear] + CLEAR_LEAD):
        return
    number = against[0]
    raise LabelMapError(
        f"the file's table of names contradicts its labels: {number} is called "
        f"'{labels.names[number]}', but order and distances are those of '{clear}', "
        f"where it is {clear.levels[number].name}. Name the numbering with "
        "--label-scheme"
    )


def _require_levels(boxes: Mapping[int, Box]) -> None:
    """Refuse maps of parts, which say what a voxel is but not of which vertebra."""
    parts = SPINEPS_BODY_PARTS | SPINEPS_ARCH_PARTS
    if (
        set(boxes) <= parts | SPINEPS_OTHER_PARTS
        and parts & set(boxes)
        and SPINEPS_OTHER_PARTS & set(boxes)
    ):
        raise LabelMapError(
            f"the labels ({_listed(boxes)}) are SPINEPS' map of parts (seg-spine), "
            "which names no levels: give the map of vertebrae (seg-vert), or a folder "
            "with both"
        )


def _read_names(labels: LabelMap, boxes: Mapping[int, Box]) -> LabelReading | None:
    levels = {n: level_from_text(labels.names.get(n, "")) for n in boxes}
    # Where S1 has a label of its own, the one called sacrum is the rest.
    if sum(level is not None and level.name == "S1" for level in levels.values()) > 1:
        rest = [n for n in boxes if "sacrum" in labels.names.get(n, "").lower()]
        levels.update(dict.fromkeys(rest))
    whole: dict[int, VertebraLevel] = {}
    arches: dict[int, VertebraLevel] = {}
    for number, level in levels.items():
        if level is None:
            continue
        part = arches if is_arch_text(labels.names[number]) else whole
        if level in part.values():
            raise LabelMapError(
                f"two segments of the label map are named {level.name}: "
                "each vertebra may occur once"
            )
        part[number] = level
    return LabelReading(whole, arches, "names in the file") if whole else None


def _with_extra_parts(labels: LabelMap, boxes: Mapping[int, Box]) -> LabelScheme | None:
    """Recognise maps that number arches, discs or endplates by an offset."""
    verse = LabelScheme.VERSE.levels
    endplates = [n for n in boxes if n - SPINEPS_ENDPLATE_OFFSET in verse]
    if endplates and all(n - SPINEPS_ENDPLATE_OFFSET in boxes for n in endplates):
        return LabelScheme.SPINEPS
    own = LabelScheme.CEMSCOPE
    if any(n not in own.levels and n not in own.arches for n in boxes):
        return None
    offsets = [n for n in boxes if n > ARCH_OFFSET]
    if not offsets or not all(n - ARCH_OFFSET in boxes for n in offsets):
        return None
    shares = [
        share
        for n in offsets
        if (share := _contact_below(labels, n, boxes)) is not None
    ]
    if shares and float(np.median(shares)) > 0.5:
        return LabelScheme.SPINEPS
    return own


def _contact_below(
    labels: LabelMap, number: int, boxes: Mapping[int, Box]
) -> float | None:
    """Contact of a part with the next vertebra over that with its own.

    A disc lies between two vertebrae and touches both alike; an arch hardly touches
    the body below.
    """
    own, below = number - SPINEPS_DISC_OFFSET, number - SPINEPS_DISC_OFFSET + 1
    if below not in boxes:
        return None
    box = grow_box(boxes[number], labels.geometry.shape, (1, 1, 1))
    crop = labels.labels[box]
    rim = ndimage.binary_dilation(crop == number)
    touching_own = int((rim & (crop == own)).sum())
    return int((rim & (crop == below)).sum()) / max(touching_own, 1)


def _listed(boxes: Collection[int]) -> str:
    numbers = ", ".join(str(n) for n in list(boxes)[:12])
    return f"{numbers}, ..." if len(boxes) > 12 else numbers
