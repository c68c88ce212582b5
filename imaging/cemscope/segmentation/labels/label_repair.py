"""Small mistakes in imported labels: cavities, islands and pieces of a neighbour.

Every change is told in a notice with its volume: an outline that was altered in
silence could not be traced later.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import ARCH_OFFSET, VertebraLevel
from cemscope.geometry import VoxelGeometry
from cemscope.resampling import Box, grow_box, label_boxes
from cemscope.volume import BoolArray, LabelArray, LabelMap, Notice

_NEAR_CONTACT = 1 / 3
"""A piece close to its own vertebra belongs to another one that makes up more than
this share of its rim: facet joints touch, and stay below it."""

_FAR_CONTACT = 0.03
"""A piece far from its own vertebra belongs to any other one it rests against."""

_SECOND_VERTEBRA = 0.5
"""A separate piece that holds this share of the main one is a vertebra of its own."""

_TOUCHING = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, slots=True)
class RepairSettings:
    """Tunables of the repair.

    Attributes
    ----------
    island_distance_mm
        A separate piece nearer than this to the main part stays with it (thin
        laminae break into pieces).
    doubtful_fraction
        A piece larger than this share of the main part that bears a neighbour's name
        casts doubt on both names.
    told_volume_ml
        Changes smaller than this are made without a notice.
    joint_fraction
        Neighbours share up to 2 % of their surface in facet joints; more than this
        is a mixture.
    """

    island_distance_mm: float = 6.0
    doubtful_fraction: float = 0.15
    told_volume_ml: float = 0.05
    joint_fraction: float = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class Repair:
    """Repaired labels and what was done.

    Attributes
    ----------
    labels : LabelMap
        On the grid of the input.
    notices : tuple of Notice
        One per kind of change and level.
    doubtful : frozenset of str
        Names of levels whose labels were mixed to a large part.
    """

    labels: LabelMap
    notices: tuple[Notice, ...]
    doubtful: frozenset[str]


def repair_labels(
    labels: LabelMap,
    levels: Mapping[int, VertebraLevel],
    settings: RepairSettings | None = None,
) -> Repair:
    """Fill cavities, give pieces to the neighbour they belong to, drop islands.

    Parameters
    ----------
    labels
        Vertebra labels only; a body and its arch may have two numbers that are
        `ARCH_OFFSET` apart.
    levels
        Level of each number.
    settings
        Tunables.
    """
    settings = settings or RepairSettings()
    array = labels.labels.copy()
    log = _RepairLog(labels.geometry.voxel_volume_mm3 / 1000.0, settings)
    for number, box in label_boxes(array).items():
        if number not in levels:
            continue
        crop = grow_box(box, labels.geometry.shape, (2, 2, 2))
        _fill_cavities(array[crop], number, levels[number].name, log)
        _sort_pieces(array, crop, number, labels.geometry, levels, log)
    _tell_contacts(array, levels, log)
    return Repair(
        LabelMap(array, labels.geometry, labels.names),
        tuple(log.notices),
        frozenset(log.doubtful),
    )


class _RepairLog:
    """Collects the notices of one repair."""

    def __init__(self, voxel_ml: float, settings: RepairSettings) -> None:
        self.voxel_ml = voxel_ml
        self.settings = settings
        self.notices: list[Notice] = []
        self.doubtful: set[str] = set()

    def tell(self, code: str, voxels: int, sentence: str) -> None:
        """Note a change, with its volume in place of ``{volume}``."""
        volume_ml = voxels * self.voxel_ml
        if volume_ml >= self.settings.told_volume_ml:
            text = sentence.format(volume=f"{volume_ml:.2f} mL")
            self.notices.append(Notice(code, text))


def _fill_cavities(crop: LabelArray, number: int, name: str, log: _RepairLog) -> None:
    own = crop == number
    cavity = ndimage.binary_fill_holes(own) & (crop == 0)
    count = int(cavity.sum())
    if count:
        crop[cavity] = number
        log.tell(
            "label_holes_filled",
            count,
            f"Imported label of {name}: {{volume}} of enclosed holes filled.",
        )


def _sort_pieces(
    array: LabelArray,
    crop: Box,
    number: int,
    geometry: VoxelGeometry,
    levels: Mapping[int, VertebraLevel],
    log: _RepairLog,
) -> None:
    parts, count = ndimage.label(array[crop] == number, structure=_TOUCHING)
    if count <= 1:
        return
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    main = int(sizes.argmax())
    settings = log.settings
    # A process may hang on the body alone, where the arch has a number of its own.
    home = (parts == main) | (array[crop] == _partner(number))
    distance = _Distance(home, geometry.spacing_mm)
    # What reaches the edge of the image may be joined to the rest beyond it.
    cut_off = _pieces_at_edge(parts, crop, geometry.shape)
    name = levels[number].name
    dropped = 0
    for piece in range(1, count + 1):
        if piece == main:
            continue
        mask = parts == piece
        owner, contact = _owner(array[crop], mask, number, levels)
        size = int(sizes[piece])
        large = size > log.settings.doubtful_fraction * sizes[main]
        far = piece not in cut_off and distance.to(mask) > settings.island_distance_mm
        if owner is not None and contact > (_FAR_CONTACT if far else _NEAR_CONTACT):
            array[crop][mask] = owner
            other = levels[owner].name
            log.tell(
                "labels_mixed",
                size,
                f"{{volume}} labelled {name} lay inside or against {other}, apart "
                f"from the rest of {name}: given to {other}.",
            )
            if large:
                log.doubtful.update((name, other))
        elif far:
            array[crop][mask] = 0
            if large:
                log.doubtful.add(name)
            if size > _SECOND_VERTEBRA * sizes[main]:
                log.tell(
                    "label_twice",
                    size,
                    f"The label {name} occurs twice: a second piece of {{volume}} far "
                    "from the first one was left out. Which of them is meant is not "
                    "known.",
                )
            else:
                dropped += size
    log.tell(
        "label_islands_removed",
        dropped,
        f"Imported label of {name}: {{volume}} in separate pieces removed.",
    )


def _tell_contacts(
    array: LabelArray, levels: Mapping[int, VertebraLevel], log: _RepairLog
) -> None:
    """Tell vertebrae that border on each other along more than joints do."""
    boxes = {n: box for n, box in label_boxes(array).items() if n in levels}
    rims: dict[int, int] = {}
    sizes: dict[int, int] = {}
    contacts: dict[tuple[int, int], int] = {}
    for number, box in boxes.items():
        crop = array[grow_box(box, array.shape, (1, 1, 1))]
        own = crop == number
        around = crop[ndimage.binary_dilation(own) & ~own]
        rims[number] = len(around)
        sizes[number] = int(own.sum())
        counts = np.bincount(around.ravel(), minlength=256)
        for other in boxes:
            if levels[other] != levels[number] and counts[other]:
                contacts[number, other] = int(counts[other])
    for (first, second), count in contacts.items():
        if first > second or (second, first) not in contacts:
            continue
        # A sliver at the edge of the image borders on its neighbour for the most part.
        sliver = min(sizes[first], sizes[second]) < 0.2 * max(
            sizes[first], sizes[second]
        )
        rim = (max if sliver else min)(rims[first], rims[second])
        share = count / rim
        if share > log.settings.joint_fraction:
            names = (levels[first].name, levels[second].name)
            log.doubtful.update(names)
            log.notices.append(
                Notice(
                    "labels_mixed",
                    f"{names[0]} and {names[1]} border on each other along {share:.0%} "
                    "of their surface: the outline between them is not to be trusted.",
                )
            )


class _Distance:
    """Distance to the main part; computed when asked, as most labels need it never."""

    def __init__(self, main: BoolArray, spacing_mm: tuple[float, float, float]) -> None:
        self._main = main
        self._spacing_mm = spacing_mm
        self._field_mm: npt.NDArray[np.float64] | None = None

    def to(self, piece: BoolArray) -> float:
        """Shortest distance from a piece to the main part, mm."""
        if self._field_mm is None:
            self._field_mm = ndimage.distance_transform_edt(
                ~self._main, sampling=self._spacing_mm
            )
        return float(self._field_mm[piece].min())


def _pieces_at_edge(
    parts: npt.NDArray[np.int32], crop: Box, shape: tuple[int, int, int]
) -> set[int]:
    """Pieces that reach a face of the whole image."""
    found: set[int] = set()
    for axis, (part, size) in enumerate(zip(crop, shape, strict=True)):
        if part.start == 0:
            found.update(np.unique(np.take(parts, 0, axis)).tolist())
        if part.stop == size:
            found.update(np.unique(np.take(parts, -1, axis)).tolist())
    return found


def _partner(number: int) -> int:
    """Return the number of a body's arch, or of an arch's body."""
    return number - ARCH_OFFSET if number > ARCH_OFFSET else number + ARCH_OFFSET


def _owner(
    crop: LabelArray, piece: BoolArray, number: int, levels: Mapping[int, VertebraLevel]
) -> tuple[int | None, float]:
    """Find the vertebra that a piece touches most, and its share of the rim."""
    rim = ndimage.binary_dilation(piece) & ~piece
    around = np.bincount(crop[rim].ravel(), minlength=256)
    around[0] = around[number] = 0
    # A piece between its own body and arch is at home.
    around[_partner(number)] = 0
    best = int(around.argmax())
    if best not in levels or not around[best]:
        return None, 0.0
    return best, float(around[best]) / float(rim.sum())
