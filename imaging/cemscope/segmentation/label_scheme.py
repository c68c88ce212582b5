"""Which numbering a label map follows, told from the labels themselves.

Numbers alone cannot tell: 22 is L3 in VerSe and L1 in TotalSegmentator 1. The
direction in which numbers grow, the distances between neighbours and labels of other
structures can. What stays open is not guessed.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.anatomy import ARCH_OFFSET, VertebraLevel
from cemscope.anatomy_schemes import (
    SPINEPS_DISC_OFFSET,
    SPINEPS_ENDPLATE_OFFSET,
    LabelScheme,
    is_arch_text,
    level_from_text,
)
from cemscope.errors import LabelMapError
from cemscope.geometry import FloatArray
from cemscope.resampling import Box, grow_box, label_boxes
from cemscope.segmentation.level_sequence import (
    NamedPoint,
    misplaced_pairs,
    pitch_ratios,
)
from cemscope.volume import LabelMap

_VERSE_MAX = 28
_V1_MAX = 104
_V2_MAX = 117

_CLEAR_LOG_RATIO = 0.20
"""A numbering whose implied distances fit within 22 % of the measured ones is
believed if no rival comes as near."""

_CLEAR_LEAD = 0.15
"""Lead that the better numbering needs over the next one."""

_ORDER_ONLY = 9.0
"""Misfit of a numbering whose order fits and whose distances cannot be judged."""


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
    """

    whole: Mapping[int, VertebraLevel]
    arches: Mapping[int, VertebraLevel]
    origin: str


def read_labels(labels: LabelMap, scheme: LabelScheme | None = None) -> LabelReading:
    """Tell which numbers of a label map are which vertebrae.

    Names in the label map win (a DICOM SEG states what a segment is), then the
    caller's scheme, then detection.

    Raises
    ------
    LabelMapError
        If no number is a vertebra, or the numbering cannot be told.
    """
    boxes = label_boxes(labels.labels)
    if not boxes:
        raise LabelMapError("the label map is empty: every voxel is background (0)")
    if scheme is None:
        named = _read_names(labels, boxes)
        if named is not None:
            return named
        scheme = detect_scheme(labels)
    whole = {n: scheme.levels[n] for n in boxes if n in scheme.levels}
    arches = {n: scheme.arches[n] for n in boxes if n in scheme.arches}
    if not whole:
        raise LabelMapError(
            f"no vertebra in the label map under the numbering '{scheme}': it holds "
            f"{_listed(boxes)}"
        )
    return LabelReading(whole, arches, str(scheme))


def detect_scheme(labels: LabelMap) -> LabelScheme:
    """Detect the numbering of a label map.

    Raises
    ------
    LabelMapError
        If none fits, or more than one does: then the user has to name it.
    """
    boxes = label_boxes(labels.labels)
    special = _with_extra_parts(labels, boxes)
    if special is not None:
        return special
    centroids = {n: centroid_of(labels, n, box) for n, box in boxes.items()}
    cut = {n for n, box in boxes.items() if touches_edge(box, labels.geometry.shape)}
    fits = {
        scheme: misfit
        for scheme, top in (
            (LabelScheme.VERSE, _VERSE_MAX),
            (LabelScheme.TOTALSEGMENTATOR, _V2_MAX),
            (LabelScheme.TOTALSEGMENTATOR_V1, _V1_MAX),
        )
        if max(boxes) <= top and (misfit := _misfit(scheme, centroids, cut)) is not None
    }
    if not fits:
        raise LabelMapError(
            f"the numbering of the labels ({_listed(boxes)}) is none that is known: "
            "their order or distances along the spine fit neither VerSe nor "
            "TotalSegmentator. Check the file, or name its numbering with "
            "--label-scheme"
        )
    ranked = sorted(fits, key=lambda scheme: fits[scheme])
    other_structures = max(boxes) > _V1_MAX
    if len(ranked) == 1 and (other_structures or np.isfinite(fits[ranked[0]])):
        return ranked[0]
    first, second = fits[ranked[0]], fits[ranked[-1] if len(ranked) < 2 else ranked[1]]
    if first < _CLEAR_LOG_RATIO and second - first > _CLEAR_LEAD:
        return ranked[0]
    raise LabelMapError(
        f"the numbering of the labels ({_listed(boxes)}) cannot be told: "
        f"{' and '.join(ranked)} are possible. Name it with --label-scheme"
    )


def centroid_of(labels: LabelMap, number: int, box: Box) -> FloatArray:
    """Centroid of a label in LPS mm."""
    index = np.array(ndimage.center_of_mass(labels.labels[box] == number))
    return labels.geometry.index_to_lps(index + [part.start for part in box])


def _read_names(labels: LabelMap, boxes: Mapping[int, Box]) -> LabelReading | None:
    levels = {n: level_from_text(labels.names.get(n, "")) for n in boxes}
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


def touches_edge(box: Box, shape: tuple[int, int, int]) -> bool:
    """Tell whether a label ends at the edge of its image, so that it may be cut."""
    return any(
        part.start == 0 or part.stop == size
        for part, size in zip(box, shape, strict=True)
    )


def _misfit(
    scheme: LabelScheme, centroids: Mapping[int, FloatArray], cut: AbstractSet[int]
) -> float | None:
    """How badly the distances fit a scheme: 0 is perfect, None is excluded.

    Infinity stands for 'possible, but nothing speaks for it': a single vertebra.
    Vertebrae that the image cuts speak by their order only.
    """
    points = {
        number: NamedPoint(level, centroids[number])
        for number, level in scheme.levels.items()
        if number in centroids
    }
    if not points or misplaced_pairs(list(points.values())):
        return None
    whole = [point for number, point in points.items() if number not in cut]
    if len(whole) < 2:
        return _ORDER_ONLY if len(points) >= 2 else float("inf")
    logs = np.log(pitch_ratios(whole))
    if abs(float(np.median(logs))) > 0.5 or float(np.abs(logs).max()) > 1.0:
        return None
    return abs(float(np.median(logs))) + float(np.std(logs))


def _listed(boxes: Mapping[int, Box]) -> str:
    numbers = ", ".join(str(n) for n in list(boxes)[:12])
    return f"{numbers}, ..." if len(boxes) > 12 else numbers
