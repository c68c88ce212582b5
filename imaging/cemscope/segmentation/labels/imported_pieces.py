"""Imported vertebrae on the CT's grid, each in a body, an arch and a frame."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from cemscope.anatomy import ARCH_OFFSET, VertebraLevel
from cemscope.errors import SegmentationError
from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.resampling import Box, grow_box, label_boxes
from cemscope.segmentation.bodies.vertebra_cut import (
    CutSettings,
    Surroundings,
    canal_of_vertebra,
    cut_vertebra,
    frame_of_body,
    require_body_shape,
)
from cemscope.segmentation.canal.canal_hole import CanalHole
from cemscope.segmentation.labels.scheme_fit import centroid_of
from cemscope.segmentation.levels.level_sequence import spine_axis
from cemscope.spine import VertebraFrame
from cemscope.volume import BoolArray, LabelMap, Notice

_NEIGHBOURS = 5
"""So many vertebrae, itself included, agree on where the back of one is."""

_TALL_LEVELS = ("C1", "C2", "S1")
"""The axis has its dens, the atlas no body, and S1 no lower end."""

_SACRUM_HEIGHT_MM = 55.0
"""A label S1 that is longer than this along the spine is a whole sacrum."""


@dataclass(frozen=True, slots=True, eq=False)
class VertebraPiece:
    """A vertebra on the CT's grid before it has its final name.

    Attributes
    ----------
    level : VertebraLevel
        Its imported name.
    box : tuple of slice
        Where ``body`` and ``arch`` lie on the CT's grid.
    body, arch : ndarray of bool
        In that box.
    frame : VertebraFrame
        The vertebra's own axes.
    hole : CanalHole
        View along its canal.
    complete : bool
        Whether the body ends inside both the CT and the label map.
    """

    level: VertebraLevel
    box: Box
    body: BoolArray
    arch: BoolArray
    frame: VertebraFrame
    hole: CanalHole
    complete: bool

    def incomplete(self) -> "VertebraPiece":
        """Return the same vertebra, marked as not whole."""
        return replace(self, complete=False)


@dataclass(frozen=True, slots=True, eq=False)
class CutContext:
    """What `cut_all` has to know besides the labels.

    Attributes
    ----------
    source : VoxelGeometry
        Grid of the imported file, whose edge may cut a vertebra, too.
    settings : CutSettings
        Tunables of the cut.
    bodies_only : bool
        Whether the labels are bodies without arches, so that there is nothing to cut.
    """

    source: VoxelGeometry
    settings: CutSettings = field(default_factory=CutSettings)
    bodies_only: bool = False


def cut_all(
    labels: LabelMap, context: CutContext
) -> tuple[list[VertebraPiece], list[Notice]]:
    """Cut every vertebra; those that show their canal help those that do not.

    Parameters
    ----------
    labels
        Vertebrae under cemscope's numbers, on the CT's grid.
    context
        Grid of the file and tunables.

    Returns
    -------
    list of VertebraPiece, list of Notice
        From the lowest to the highest; labels without a body are told in notices.
    """
    boxes = label_boxes(labels.labels)
    numbers = _along_spine(labels, boxes)
    centroids = {n: centroid_of(labels, n, boxes[n]) for n in numbers}
    around: dict[int, Surroundings] = {}
    backs: dict[int, FloatArray] = {}
    for rank, number in enumerate(numbers):
        around[number] = Surroundings(
            centroids[numbers[rank + 1]] if rank + 1 < len(numbers) else None,
            centroids[numbers[rank - 1]] if rank else None,
        )
        back = _seen_posterior(labels, number, boxes, around[number])
        if back is not None:
            backs[rank] = back
    pieces: list[VertebraPiece] = []
    notices: list[Notice] = []
    for rank, number in enumerate(numbers):
        hint = Surroundings(
            around[number].above_lps_mm,
            around[number].below_lps_mm,
            _common_posterior(backs, rank),
        )
        level = VertebraLevel.from_number(number)
        crop = _joint_box(number, boxes, labels.geometry.shape)
        try:
            if _is_whole_sacrum(labels, number, crop, _axis_of(centroids)):
                raise SegmentationError(
                    "it is the whole sacrum, of which S1 is not told apart"
                )
            piece = _cut_one(labels, level, crop, hint, context)
        except (SegmentationError, ValueError) as error:
            notices.append(
                Notice(
                    "level_without_body",
                    f"The imported label of {level.name} is left out: {error}.",
                )
            )
            continue
        pieces.append(_with_completeness(piece, labels.geometry, context.source))
    return pieces, notices


def _axis_of(centroids: Mapping[int, FloatArray]) -> FloatArray:
    """Find the main direction of the labelled spine, towards the head."""
    return spine_axis(np.array(list(centroids.values())))


def _along_spine(labels: LabelMap, boxes: Mapping[int, Box]) -> list[int]:
    """Body numbers from the lowest to the highest vertebra."""
    numbers = [n for n in boxes if n < ARCH_OFFSET]
    if not numbers:
        return []
    centroids = np.array([centroid_of(labels, n, boxes[n]) for n in numbers])
    order = np.argsort(centroids @ spine_axis(centroids), kind="stable")
    return [numbers[i] for i in order]


def _joint_box(
    number: int, boxes: Mapping[int, Box], shape: tuple[int, int, int]
) -> Box:
    """Box around a body and its arch, if that has a number of its own."""
    parts = [boxes[n] for n in (number, number + ARCH_OFFSET) if n in boxes]
    low = np.min([[part.start for part in box] for box in parts], axis=0)
    high = np.max([[part.stop for part in box] for box in parts], axis=0)
    joint = (
        slice(int(low[0]), int(high[0])),
        slice(int(low[1]), int(high[1])),
        slice(int(low[2]), int(high[2])),
    )
    return grow_box(joint, shape, (2, 2, 2))


def _seen_posterior(
    labels: LabelMap, number: int, boxes: Mapping[int, Box], around: Surroundings
) -> FloatArray | None:
    """Direction from body to canal, where the vertebra shows its canal."""
    crop = _joint_box(number, boxes, labels.geometry.shape)
    piece = labels.labels[crop]
    mask = (piece == number) | (piece == number + ARCH_OFFSET)
    hole = canal_of_vertebra(mask, labels.geometry.crop(crop), around)
    canal = hole.canal_lps_mm
    if canal is None:
        return None
    back = canal - hole.core_lps_mm
    back = back - (back @ hole.axis) * hole.axis
    length = float(np.linalg.norm(back))
    return None if length < 1.0 else back / length


def _common_posterior(backs: Mapping[int, FloatArray], rank: int) -> FloatArray | None:
    """Mean direction to the back in the nearest vertebrae that show it."""
    nearest = sorted(backs, key=lambda other: abs(other - rank))[:_NEIGHBOURS]
    if not nearest:
        return None
    mean = np.sum([backs[other] for other in nearest], axis=0)
    length = float(np.linalg.norm(mean))
    return None if length < 1e-3 else mean / length


def _is_whole_sacrum(
    labels: LabelMap, number: int, crop: Box, axis: FloatArray
) -> bool:
    if VertebraLevel.from_number(number).name != "S1":
        return False
    if number + ARCH_OFFSET in label_boxes(labels.labels[crop]):
        return False
    points = labels.geometry.crop(crop).index_to_lps(
        np.argwhere(labels.labels[crop] == number)
    )
    low, high = np.percentile(points @ axis, [0.5, 99.5])
    return float(high - low) > _SACRUM_HEIGHT_MM


def _cut_one(
    labels: LabelMap,
    level: VertebraLevel,
    crop: Box,
    around: Surroundings,
    context: CutContext,
) -> VertebraPiece:
    geometry = labels.geometry.crop(crop)
    piece = labels.labels[crop]
    body = piece == level.number
    arch = piece == level.arch_number
    if arch.any() or context.bodies_only:
        frame, hole = frame_of_body(body, arch, geometry, around)
    else:
        cut = cut_vertebra(body, geometry, around, context.settings)
        body, arch = cut.body, body & ~cut.body
        frame, hole = cut.frame, cut.hole
    if level.name not in _TALL_LEVELS:
        require_body_shape(geometry.index_to_lps(np.argwhere(body)), frame)
    return VertebraPiece(level, crop, body, arch, frame, hole, complete=True)


def _with_completeness(
    piece: VertebraPiece, geometry: VoxelGeometry, source: VoxelGeometry
) -> VertebraPiece:
    """Mark a body that reaches the edge of the CT or of the label map as cut."""
    indices = np.argwhere(piece.body)
    here = indices + [part.start for part in piece.box]
    there = source.lps_to_index(geometry.index_to_lps(here))
    complete = not _reaches_edge(here.astype(float), geometry) and not _reaches_edge(
        there, source
    )
    return replace(piece, complete=complete)


def _reaches_edge(indices: FloatArray, geometry: VoxelGeometry) -> bool:
    last = np.array(geometry.shape) - 1
    return bool((indices.min(axis=0) < 0.5).any()) or bool(
        (indices.max(axis=0) > last - 0.5).any()
    )
