"""Maps of vertebral bodies that say which voxels are body but not of which vertebra.

TotalSegmentator's task 'vertebrae_body' puts all bodies under 1 and all discs under 2.
The bodies are told apart as separate pieces and numbered from the lowest upwards; their
names have to come from the user.
"""

import numpy as np
from scipy import ndimage

from cemscope.anatomy import UNNAMED_COUNT, VertebraLevel
from cemscope.errors import LabelMapError
from cemscope.geometry import FloatArray
from cemscope.resampling import label_boxes
from cemscope.segmentation.levels.level_sequence import spine_axis
from cemscope.volume import BoolArray, LabelMap, Notice

BODIES, DISCS = 1, 2
"""Numbers of TotalSegmentator's task 'vertebrae_body'."""

_MIN_BODY_ML = 2.0
"""Bodies of adults hold 4 mL (C3) to 60 mL (L5); less is a fragment or cut off."""

_NAMES = ("vertebrae body", "vertebrae_body", "vertebral bodies")


def is_body_map(labels: LabelMap) -> bool:
    """Tell whether a label map holds all bodies under one number.

    Under the numbering of VerSe, 1 and 2 are C1 and C2: one piece each. Several
    pieces of the size of a body are no atlas.
    """
    numbers = set(label_boxes(labels.labels))
    if not numbers or not numbers <= {BODIES, DISCS} or BODIES not in numbers:
        return False
    if labels.names.get(BODIES, "").lower() in _NAMES:
        return True
    return len(_bodies(labels)) >= 2


def bodies_apart(labels: LabelMap) -> tuple[LabelMap, tuple[Notice, ...]]:
    """Give each body of a body map a number of its own.

    Returns
    -------
    LabelMap, tuple of Notice
        V1, V2, ... from the lowest upwards under cemscope's numbers, discs left out.

    Raises
    ------
    LabelMapError
        If no piece has the size of a body, or there are too many.
    """
    pieces = _bodies(labels)
    if not pieces:
        raise LabelMapError(
            f"no vertebral body in the label map: no piece of label {BODIES} holds "
            f"{_MIN_BODY_ML:.0f} mL"
        )
    if len(pieces) > UNNAMED_COUNT:
        raise LabelMapError(
            f"expected at most {UNNAMED_COUNT} vertebral bodies, found {len(pieces)}"
        )
    centroids = np.array([centroid for centroid, _ in pieces])
    order = np.argsort(centroids @ spine_axis(centroids), kind="stable")
    array = np.zeros(labels.geometry.shape, dtype=np.uint8)
    names = {}
    for rank, index in enumerate(order, start=1):
        level = VertebraLevel(f"V{rank}")
        array[pieces[index][1]] = level.number
        names[level.number] = level.name
    told = Notice(
        "bodies_without_levels",
        f"The label map holds {len(pieces)} vertebral bodies under one number and no "
        "arches: the bodies are counted from the lowest upwards, and leaks towards the "
        "canal cannot be told from others.",
    )
    return LabelMap(array, labels.geometry, names), (told,)


def _bodies(labels: LabelMap) -> list[tuple[FloatArray, BoolArray]]:
    """Centroid (LPS mm) and voxels of each piece that is large enough."""
    parts, count = ndimage.label(labels.labels == BODIES)
    if not count:
        return []
    sizes = np.bincount(parts.ravel()) * labels.geometry.voxel_volume_mm3 / 1000.0
    large = [n for n in range(1, count + 1) if sizes[n] >= _MIN_BODY_ML]
    centres = ndimage.center_of_mass(parts > 0, parts, large) if large else []
    return [
        (labels.geometry.index_to_lps(np.array(centre)), parts == number)
        for number, centre in zip(large, centres, strict=True)
    ]
