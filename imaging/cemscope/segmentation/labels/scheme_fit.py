"""How well a numbering fits the order and the distances of labelled vertebrae."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.anatomy_schemes import SPINEPS_NUMBERS, LabelScheme
from cemscope.errors import LabelMapError
from cemscope.geometry import FloatArray
from cemscope.resampling import Box, label_boxes
from cemscope.segmentation.levels.level_sequence import (
    NamedPoint,
    misplaced_pairs,
    pitch_ratios,
)
from cemscope.volume import LabelMap

HIGHEST_NUMBER = {
    LabelScheme.VERSE: 28,
    LabelScheme.TOTALSEGMENTATOR: 117,
    LabelScheme.TOTALSEGMENTATOR_V1: 104,
    LabelScheme.TOTALSEGMENTATOR_MR: 25,
}
"""Highest class number of each program; a higher one in the file excludes it."""

CLEAR_LOG_RATIO = 0.20
"""A numbering whose implied distances fit within 22 % of the measured ones is
believed if no rival comes as near."""

CLEAR_LEAD = 0.15
"""Lead that the better numbering needs over the next one."""

_ORDER_ONLY = 9.0
"""Misfit of a numbering whose order fits and whose distances cannot be judged."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What speaks for or against a numbering.

    Attributes
    ----------
    boxes : mapping of int to box
        Box around each label.
    centroids : mapping of int to ndarray
        Centroid of each label, LPS mm.
    cut : set of int
        Labels that the image cuts.
    """

    boxes: Mapping[int, Box]
    centroids: Mapping[int, FloatArray]
    cut: AbstractSet[int]

    @classmethod
    def of(cls, labels: LabelMap) -> "Evidence":
        """Collect it from a label map; an empty one is refused."""
        boxes = label_boxes(labels.labels)
        if not boxes:
            raise LabelMapError("the label map is empty: every voxel is background (0)")
        shape = labels.geometry.shape
        return cls(
            boxes,
            {n: centroid_of(labels, n, box) for n, box in boxes.items()},
            frozenset(n for n, box in boxes.items() if touches_edge(box, shape)),
        )


def scheme_fits(evidence: Evidence) -> dict[LabelScheme, float]:
    """Misfit of each numbering that is not excluded."""
    tops = dict(HIGHEST_NUMBER)
    if max(evidence.boxes) > tops[LabelScheme.VERSE] and set(evidence.boxes) <= set(
        SPINEPS_NUMBERS
    ):
        tops[LabelScheme.SPINEPS] = max(SPINEPS_NUMBERS)
    return {
        scheme: misfit
        for scheme, top in tops.items()
        if max(evidence.boxes) <= top
        and (misfit := fit_of(scheme.levels, evidence)) is not None
    }


def clear_winner(
    fits: Mapping[LabelScheme, float], boxes: Mapping[int, Box]
) -> LabelScheme | None:
    """Find the numbering that fits well while no other one does."""
    ranked = sorted(fits, key=lambda scheme: fits[scheme])
    if not ranked:
        return None
    other_structures = max(boxes) > HIGHEST_NUMBER[LabelScheme.TOTALSEGMENTATOR_V1]
    if len(ranked) == 1 and (other_structures or np.isfinite(fits[ranked[0]])):
        return ranked[0]
    first, second = fits[ranked[0]], fits[ranked[-1] if len(ranked) < 2 else ranked[1]]
    if first < CLEAR_LOG_RATIO and second - first > CLEAR_LEAD:
        return ranked[0]
    return None


def fit_of(levels: Mapping[int, VertebraLevel], evidence: Evidence) -> float | None:
    """How badly the distances fit a numbering: 0 is perfect, None is excluded.

    Infinity stands for 'possible, but nothing speaks for it': a single vertebra.
    Vertebrae that the image cuts speak by their order only.
    """
    points = {
        number: NamedPoint(level, evidence.centroids[number])
        for number, level in levels.items()
        if number in evidence.centroids
    }
    if not points or misplaced_pairs(list(points.values())):
        return None
    whole = [point for number, point in points.items() if number not in evidence.cut]
    if len(whole) < 2:
        return _ORDER_ONLY if len(points) >= 2 else float("inf")
    logs = np.log(pitch_ratios(whole))
    if abs(float(np.median(logs))) > 0.5 or float(np.abs(logs).max()) > 1.0:
        return None
    return abs(float(np.median(logs))) + float(np.std(logs))


def centroid_of(labels: LabelMap, number: int, box: Box) -> FloatArray:
    """Centroid of a label in LPS mm."""
    index = np.array(ndimage.center_of_mass(labels.labels[box] == number))
    return labels.geometry.index_to_lps(index + [part.start for part in box])


def touches_edge(box: Box, shape: tuple[int, int, int]) -> bool:
    """Tell whether a label ends at the edge of its image, so that it may be cut."""
    return any(
        part.start == 0 or part.stop == size
        for part, size in zip(box, shape, strict=True)
    )
