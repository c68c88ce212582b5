"""The vertebrae of a case folder, with their axes, as the analysis had them."""

from collections.abc import Sequence

import numpy as np

from cemscope.anatomy import VertebraLevel
from cemscope.geometry import FloatArray
from cemscope.resampling import Box, label_boxes
from cemscope.segmentation.bodies.vertebra_frame import vertebra_frame
from cemscope.spine import Spine, Vertebra, VertebraFrame, VertebraSource
from cemscope.volume import LabelMap
from cemscope_pipelines.report import VertebraEntry

MAXIMUM_POINTS = 20_000
"""So many voxels of a body tell its axes."""


def stored_spine(labels: LabelMap, entries: Sequence[VertebraEntry]) -> Spine:
    """Build the spine from its label map and its entries in a report.

    Parameters
    ----------
    labels
        Bodies and arches.
    entries
        Vertebrae from the lowest upwards, under the names of the labels.
    """
    boxes = label_boxes(labels.labels)
    vertebrae = []
    for index, entry in enumerate(entries):
        level = VertebraLevel(entry.level)
        below = entries[index - 1].centroid_lps_mm if index > 0 else None
        above = entries[index + 1].centroid_lps_mm if index + 1 < len(entries) else None
        frame = _frame(labels, boxes, entry, above, below)
        vertebrae.append(
            Vertebra(
                level,
                entry.level_confidence,
                VertebraSource(entry.source),
                entry.complete,
                frame,
                entry.body_volume_ml,
            )
        )
    return Spine(labels, tuple(vertebrae))


def _frame(
    labels: LabelMap,
    boxes: dict[int, Box],
    entry: VertebraEntry,
    above: tuple[float, float, float] | None,
    below: tuple[float, float, float] | None,
) -> VertebraFrame:
    level = VertebraLevel(entry.level)
    body = _points(labels, boxes, level.number)
    arch = _points(labels, boxes, level.arch_number)
    behind = arch.mean(axis=0) if len(arch) else None
    try:
        return vertebra_frame(body, behind, above, below)
    except ValueError:  # too few voxels: the scan's axes must do
        origin = np.asarray(entry.centroid_lps_mm, float)
        return VertebraFrame(origin, *np.eye(3))


def _points(labels: LabelMap, boxes: dict[int, Box], number: int) -> FloatArray:
    if number not in boxes:
        return np.empty((0, 3))
    box = boxes[number]
    found = np.argwhere(labels.labels[box] == number)
    step = max(1, len(found) // MAXIMUM_POINTS)
    return labels.geometry.crop(box).index_to_lps(found[::step])
