"""Turns the label maps of a case into the segments of its DICOM segmentations.

Each finding of the report that has voxels has a segment of its own.
"""

from dataclasses import dataclass

from cemscope.anatomy import ARCH_OFFSET, VertebraLevel
from cemscope.dicom.objects.segmentation_object import SegmentMeaning
from cemscope.dicom.objects.terms import (
    ANATOMICAL_STRUCTURE,
    ARCH_OF_VERTEBRA,
    BONE_SCREW,
    CEMENT_ELSEWHERE,
    CEMENT_LEAK,
    FIXATION_ROD,
    LUCENCY,
    PHYSICAL_OBJECT,
    PMMA,
    SPATIAL_CONCEPT,
    Term,
    vertebra_term,
)
from cemscope.resampling import label_boxes
from cemscope.volume import LabelMap
from cemscope_pipelines.export.case_record import CaseContent
from cemscope_pipelines.export.finding_voxels import OTHER, UNASSIGNED
from cemscope_pipelines.export.tracking import TrackingNames

_ORANGE, _MAGENTA = (1.0, 0.60, 0.05), (1.0, 0.10, 0.50)
_BLUE, _VIOLET, _RED = (0.15, 0.75, 1.0), (0.45, 0.45, 1.0), (1.0, 0.25, 0.15)
_BONE = ((0.95, 0.85, 0.60), (0.70, 0.90, 0.65))
"""Neighbouring vertebrae take turns."""


@dataclass(frozen=True, slots=True)
class _Look:
    """How segments of one kind are named and shown."""

    name: str
    category: Term
    term: Term
    colour: tuple[float, float, float]


_LEFT_OVER = _Look("Cement without a finding", PHYSICAL_OBJECT, PMMA, _MAGENTA)

_LOOKS = {
    ("vertebra", ""): _Look("Cement in {}", PHYSICAL_OBJECT, PMMA, _ORANGE),
    ("leak", ""): _Look("Cement leak {}", PHYSICAL_OBJECT, CEMENT_LEAK, _MAGENTA),
    ("elsewhere", ""): _Look("Cement {}", PHYSICAL_OBJECT, CEMENT_ELSEWHERE, _MAGENTA),
    ("cement", UNASSIGNED): _LEFT_OVER,
    ("cement", OTHER): _LEFT_OVER,
    ("screw", ""): _Look("Screw {}", PHYSICAL_OBJECT, BONE_SCREW, _BLUE),
    ("lucency", ""): _Look("Lucency at {}", SPATIAL_CONCEPT, LUCENCY, _RED),
    ("lucency", UNASSIGNED): _Look(
        "Lucency without a screw", SPATIAL_CONCEPT, LUCENCY, _RED
    ),
    ("metal", UNASSIGNED): _Look(
        "Screw without a finding", PHYSICAL_OBJECT, BONE_SCREW, _BLUE
    ),
    ("metal", OTHER): _Look(
        "Rods and other metal", PHYSICAL_OBJECT, FIXATION_ROD, _VIOLET
    ),
}
"""By kind, and by what it is called where it is no finding."""


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """A label map and what its labels mean."""

    labels: LabelMap
    meanings: tuple[SegmentMeaning, ...]


def vertebra_segments(content: CaseContent, names: TrackingNames) -> Segments:
    """Bodies and arches of the vertebrae."""
    meanings = []
    labels = content.vertebrae.labels
    by_machine = "vertebrae" not in content.corrected
    for label in sorted(label_boxes(labels)):
        arch = ARCH_OFFSET < label <= ARCH_OFFSET + 99
        level = VertebraLevel.from_number(label - ARCH_OFFSET if arch else label)
        term = vertebra_term(level.name)
        kind = "arch" if arch else "body"
        meanings.append(
            SegmentMeaning(
                label,
                f"{level.name} arch" if arch else f"{level.name} vertebral body",
                ANATOMICAL_STRUCTURE,
                ARCH_OF_VERTEBRA if arch else term,
                (term,),
                names.identifier(kind, level.name),
                names.uid(kind, level.name),
                _BONE[level.number % 2],
                by_machine,
            )
        )
    return Segments(content.vertebrae, tuple(meanings))


def material_segments(content: CaseContent, names: TrackingNames) -> Segments:
    """Cement per vertebra, leaks, screws and other metal, one segment per finding."""
    by_machine = "materials" not in content.corrected
    meanings = []
    for label, owner in enumerate(content.voxels.owners, start=1):
        special = owner.finding_id if owner.finding_id in (OTHER, UNASSIGNED) else ""
        look = _LOOKS[owner.kind, special]
        name = look.name.format(owner.finding_id)
        meanings.append(
            SegmentMeaning(
                label,
                name,
                look.category,
                look.term,
                (vertebra_term(owner.level),) if owner.level else (),
                names.identifier(owner.kind, owner.finding_id),
                names.uid(owner.kind, owner.finding_id),
                look.colour,
                by_machine,
            )
        )
    return Segments(content.voxels.labels, tuple(meanings))
