"""From an imported label map to the vertebrae of a scan.

Labels of any origin are checked against the CT and against themselves, repaired
where the mistake is small, brought to the CT's grid and cut into body and arch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cemscope.anatomy import ARCH_OFFSET, VertebraLevel
from cemscope.anatomy_schemes import LabelScheme
from cemscope.errors import LabelMapError
from cemscope.geometry import VoxelGeometry
from cemscope.resampling import label_boxes, resample_labels_smooth
from cemscope.segmentation.bodies.vertebra_cut import CutSettings
from cemscope.segmentation.labels.imported_bodies import (
    BodyCheckSettings,
    check_bodies,
    drop_slivers,
)
from cemscope.segmentation.labels.imported_canal import canal_from_holes, open_levels
from cemscope.segmentation.labels.imported_pieces import (
    CutContext,
    VertebraPiece,
    cut_all,
)
from cemscope.segmentation.labels.label_bodies import bodies_apart, is_body_map
from cemscope.segmentation.labels.label_gaps import GapSettings, fill_implant_gaps
from cemscope.segmentation.labels.label_placement import (
    PlacementFinding,
    PlacementSettings,
    check_placement,
    require_overlap,
)
from cemscope.segmentation.labels.label_repair import RepairSettings, repair_labels
from cemscope.segmentation.labels.label_scheme import LabelReading, read_labels
from cemscope.segmentation.labels.scheme_fit import centroid_of
from cemscope.segmentation.levels.level_anchor import rename_from_anchor
from cemscope.segmentation.levels.level_sequence import (
    NamedPoint,
    check_sequence,
    misplaced_pairs,
)
from cemscope.spine import LevelAnchor, Spine, Vertebra, VertebraSource
from cemscope.volume import CTVolume, LabelMap, Mask, Notice

DOUBTFUL_CONFIDENCE = 0.5
"""Confidence of an imported name that an inconsistency casts doubt on. A consistent
imported name is the user's word and counts 1."""


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """Tunables of the import of vertebra labels.

    Attributes
    ----------
    repair, placement, gaps, cut, bodies
        Of the five steps.
    """

    repair: RepairSettings = field(default_factory=RepairSettings)
    placement: PlacementSettings = field(default_factory=PlacementSettings)
    gaps: GapSettings = field(default_factory=GapSettings)
    cut: CutSettings = field(default_factory=CutSettings)
    bodies: BodyCheckSettings = field(default_factory=BodyCheckSettings)


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What the caller knows about a label map.

    Attributes
    ----------
    scheme : LabelScheme or None
        Numbering; None detects it.
    anchor : LevelAnchor or None
        The user's word on one level, from which the others are counted.
    source : VertebraSource
        Written to every vertebra.
    notices : tuple of Notice
        What the reader of the file saw; told before all others.
    settings : ImportSettings
        Tunables.
    """

    scheme: LabelScheme | None = None
    anchor: LevelAnchor | None = None
    source: VertebraSource = VertebraSource.IMPORTED
    notices: tuple[Notice, ...] = ()
    settings: ImportSettings = field(default_factory=ImportSettings)


def spine_from_labels(
    labels: LabelMap,
    geometry: VoxelGeometry,
    request: ImportRequest | None = None,
    ct: CTVolume | None = None,
) -> Spine:
    """Build the vertebrae of a scan from a label map on any grid.

    Parameters
    ----------
    labels
        Whole vertebrae under one number each, or bodies and arches (cemscope's own
        numbers); other structures are left out.
    geometry
        Grid of the CT.
    request
        Numbering, anchor and tunables.
    ct
        The CT on that grid; with it, the labels are held against the bone.

    Returns
    -------
    Spine
        On the CT's grid, from the lowest to the highest vertebra, with one notice
        per inconsistency and repair. ``level_confidence`` is 1 for a consistent
        name or an anchored one, 0.5 for a doubtful one, 0 for V1, V2, ...

    Raises
    ------
    LabelMapError
        If the numbering cannot be told, the labels lie elsewhere than the CT or its
        bone, the names contradict their order, or no body is in view.
    """
    request = request or ImportRequest()
    settings = request.settings
    notices = list(request.notices)
    bodies_only = request.scheme is None and is_body_map(labels)
    if bodies_only:
        labels, told = bodies_apart(labels)
        notices.extend(told)
    reading = read_labels(
        labels, LabelScheme.CEMSCOPE if bodies_only else request.scheme
    )
    own = _renumbered(labels, reading)
    notices.extend([*reading.notices, *require_overlap(own, geometry, ct)])
    _require_order(own)
    repaired = repair_labels(own, _levels_of(own), settings.repair)
    notices.extend(repaired.notices)
    placed = PlacementFinding()
    if ct is not None:
        placed = check_placement(repaired.labels, ct, settings.placement)
        notices.extend(placed.notices)
    on_ct = resample_labels_smooth(repaired.labels, geometry)
    if ct is not None:
        on_ct, told = fill_implant_gaps(on_ct, ct, settings.gaps)
        notices.extend(told)
    cutting = CutContext(own.geometry, settings.cut, bodies_only)
    pieces, failures = cut_all(on_ct, cutting)
    bodies = check_bodies(pieces, geometry, settings.bodies)
    pieces, slivers = drop_slivers(pieces, settings.bodies)
    notices.extend([*failures, *bodies.notices, *slivers])
    if not pieces:
        raise LabelMapError(
            "no vertebral body of the label map lies inside the CT"
            + "".join(f"; {notice.message}" for notice in failures)
        )
    sequence = check_sequence(
        [NamedPoint(p.level, p.frame.origin_lps_mm) for p in pieces if p.complete]
    )
    notices.extend(sequence.notices)
    off_bone = frozenset(_level_of(number).name for number in placed.off_bone)
    # Bodies that touch may be fused; a mixed outline is not the outline of a body.
    misdrawn = repaired.doubtful | off_bone
    names, anchor_notices = _final_levels(pieces, request.anchor, on_ct)
    notices.extend(anchor_notices)
    doubtful = misdrawn | bodies.doubtful | sequence.doubtful
    if request.anchor is not None:
        doubtful = frozenset()
    pieces = [p.incomplete() if p.level.name in misdrawn else p for p in pieces]
    return _assemble(pieces, names, doubtful, geometry, request.source, notices)


def _level_of(number: int) -> VertebraLevel:
    """Level of a body's or an arch's number."""
    return VertebraLevel.from_number(number % ARCH_OFFSET)


def _renumbered(labels: LabelMap, reading: LabelReading) -> LabelMap:
    """Only vertebrae, under cemscope's numbers."""
    table = np.zeros(256, dtype=np.uint8)
    names = {}
    for number, level in reading.whole.items():
        table[number] = level.number
        names[level.number] = level.name
    for number, level in reading.arches.items():
        table[number] = level.arch_number
        names[level.arch_number] = f"{level.name} arch"
    return LabelMap(table[labels.labels], labels.geometry, names)


def _levels_of(labels: LabelMap) -> dict[int, VertebraLevel]:
    """Level of each number that occurs, arches included."""
    return {number: _level_of(number) for number in label_boxes(labels.labels)}


def _require_order(labels: LabelMap) -> None:
    points = [
        NamedPoint(VertebraLevel.from_number(n), centroid_of(labels, n, box))
        for n, box in label_boxes(labels.labels).items()
        if n < ARCH_OFFSET
    ]
    wrong = misplaced_pairs(points)
    if wrong:
        listed = "; ".join(f"{upper} lies above {lower}" for lower, upper in wrong[:4])
        raise LabelMapError(
            f"the names of the labels contradict their order along the spine: {listed}."
            " Is another numbering meant (--label-scheme)?"
        )


def _final_levels(
    pieces: Sequence[VertebraPiece], anchor: LevelAnchor | None, labels: LabelMap
) -> tuple[tuple[VertebraLevel, ...], list[Notice]]:
    imported = tuple(piece.level for piece in pieces)
    if anchor is None:
        return imported, []
    rank = _anchored_rank(pieces, anchor, labels)
    levels = rename_from_anchor(imported, rank, anchor.level)
    if levels == imported or not imported[rank].is_named:
        return levels, []
    return levels, [
        Notice(
            "anchor_conflict",
            f"The vertebra labelled {imported[rank].name} was named "
            f"{anchor.level.name} by --anchor; all others are counted from it.",
        )
    ]


def _anchored_rank(
    pieces: Sequence[VertebraPiece], anchor: LevelAnchor, labels: LabelMap
) -> int:
    if anchor.point_lps_mm is None:
        for rank, piece in enumerate(pieces):
            # Without a point the anchor names the lowest one above the sacrum.
            sacral = piece.level.name == "S1" and anchor.level.name != "S1"
            if piece.complete and not sacral:
                return rank
        raise LabelMapError("no complete vertebra in view that --anchor could name")
    point = np.array(anchor.point_lps_mm)
    if labels.geometry.contains_lps(point):
        index = np.rint(labels.geometry.lps_to_index(point)).astype(int)
        number = int(labels.labels[tuple(index)]) % ARCH_OFFSET
        for rank, piece in enumerate(pieces):
            if piece.level.number == number:
                return rank
    gaps = [float(np.linalg.norm(p.frame.origin_lps_mm - point)) for p in pieces]
    nearest = int(np.argmin(gaps))
    raise LabelMapError(
        f"the anchor's point lies in no labelled vertebra; the nearest, "
        f"{pieces[nearest].level.name}, has its centre {gaps[nearest]:.0f} mm away"
    )


def _assemble(
    pieces: Sequence[VertebraPiece],
    levels: Sequence[VertebraLevel],
    doubtful: frozenset[str],
    geometry: VoxelGeometry,
    source: VertebraSource,
    notices: list[Notice],
) -> Spine:
    array = np.zeros(geometry.shape, dtype=np.uint8)
    names: dict[int, str] = {}
    vertebrae = []
    for piece, level in zip(pieces, levels, strict=True):
        array[piece.box][piece.arch] = level.arch_number
        array[piece.box][piece.body] = level.number
        names[level.number] = level.name
        names[level.arch_number] = f"{level.name} arch"
        sure = DOUBTFUL_CONFIDENCE if piece.level.name in doubtful else 1.0
        volume_ml = float(piece.body.sum()) * geometry.voxel_volume_mm3 / 1000.0
        vertebrae.append(
            Vertebra(
                level,
                sure if level.is_named else 0.0,
                source,
                piece.complete,
                piece.frame,
                volume_ml,
            )
        )
    holes = [piece.hole for piece in pieces]
    canal = canal_from_holes(
        array, geometry, [p.frame.origin_lps_mm for p in pieces], holes
    )
    open_names = open_levels([level.name for level in levels], holes)
    if open_names:
        notices.append(
            Notice(
                "canal_open",
                f"The arch of {', '.join(open_names)} is open or not in view: the "
                "canal is not outlined there.",
            )
        )
    if any(not level.is_named for level in levels):
        notices.append(
            Notice(
                "levels_not_told",
                "The imported vertebrae have relative names (V1 is the lowest): name "
                "one with --anchor.",
            )
        )
    return Spine(
        LabelMap(array, geometry, names),
        tuple(vertebrae),
        None if canal is None else Mask(canal, geometry),
        tuple(notices),
    )
