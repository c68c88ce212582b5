"""Turns the label maps of a case into the segments of its DICOM segmentations.

``materials.nii.gz`` does not say which vertebra its cement belongs to; that is worked
out here, so that each finding of the report has a segment of its own.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

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
from cemscope.findings import PointLPS
from cemscope.resampling import label_boxes
from cemscope.volume import LabelArray, LabelMap
from cemscope_pipelines.export.case_record import CaseContent
from cemscope_pipelines.export.tracking import TrackingNames
from cemscope_pipelines.review.review_document import ReviewedFindings, elsewhere_id

CEMENT, LEAKED, SCREW, OTHER_METAL, LUCENT = 1, 2, 3, 4, 5
"""Labels of ``materials.nii.gz``."""

SCREW_REACH_MM = 15.0
"""Metal further from every screw axis belongs to none of the reported screws."""

FloatArray = npt.NDArray[np.float64]

_ORANGE, _MAGENTA = (1.0, 0.60, 0.05), (1.0, 0.10, 0.50)
_BLUE, _VIOLET, _RED = (0.15, 0.75, 1.0), (0.45, 0.45, 1.0), (1.0, 0.25, 0.15)
_BONE = ((0.95, 0.85, 0.60), (0.70, 0.90, 0.65))
"""Neighbouring vertebrae take turns."""


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
    sorter = _MaterialSorter(content, names)
    sorter.cement()
    sorter.leaks()
    sorter.along_screws(SCREW)
    sorter.along_screws(LUCENT)
    sorter.other_metal()
    return Segments(
        LabelMap(sorter.result, content.materials.geometry), tuple(sorter.meanings)
    )


class _MaterialSorter:
    def __init__(self, content: CaseContent, names: TrackingNames) -> None:
        self._findings: ReviewedFindings = content.findings
        self._materials = content.materials
        self._vertebrae = content.vertebrae
        self._names = names
        self._by_machine = "materials" not in content.corrected
        self.result: LabelArray = np.zeros(content.materials.labels.shape, np.uint8)
        self.meanings: list[SegmentMeaning] = []

    def _voxels(self, label: int) -> npt.NDArray[np.intp]:
        return np.argwhere(self._materials.labels == label)

    def _points(self, voxels: npt.NDArray[np.intp]) -> FloatArray:
        return self._materials.geometry.index_to_lps(voxels)

    def _add(
        self,
        voxels: npt.NDArray[np.intp],
        name: str,
        what: tuple[Term, Term],
        site: Term | None,
        tracking: tuple[str, str],
        colour: tuple[float, float, float],
    ) -> None:
        if len(voxels) == 0:
            return
        label = len(self.meanings) + 1
        self.result[tuple(voxels.T)] = label
        self.meanings.append(
            SegmentMeaning(
                label,
                name,
                *what,
                (site,) if site else (),
                self._names.identifier(*tracking),
                self._names.uid(*tracking),
                colour,
                self._by_machine,
            )
        )

    def cement(self) -> None:
        """Give cement within vertebrae to the vertebra it lies in or next to."""
        voxels = self._voxels(CEMENT)
        if len(voxels) == 0:
            return
        owner = self._vertebra_numbers(voxels)
        for number in np.unique(owner):
            level = VertebraLevel.from_number(int(number)).name
            self._add(
                voxels[owner == number], f"Cement in {level}",
                (PHYSICAL_OBJECT, PMMA), vertebra_term(level), ("vertebra", level),
                _ORANGE,
            )  # fmt: skip

    def _vertebra_numbers(self, voxels: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
        labels = self._vertebrae.labels
        own: npt.NDArray[np.int64] = labels[tuple(voxels.T)].astype(np.int64)
        outside = own == 0
        if outside.any():
            low = np.maximum(voxels[outside].min(axis=0) - 30, 0)
            high = voxels[outside].max(axis=0) + 31
            box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
            near = np.argwhere(labels[box] > 0) + low
            if len(near) == 0:
                near = np.argwhere(labels > 0)
            tree = cKDTree(self._points(near))
            nearest = tree.query(self._points(voxels[outside]))[1]
            own[outside] = labels[tuple(near[nearest].T)]
        own[own > ARCH_OFFSET] -= ARCH_OFFSET
        return own

    def leaks(self) -> None:
        """Give each piece of leaked cement to the leak whose centre it is nearest."""
        voxels = self._voxels(LEAKED)
        if len(voxels) == 0:
            return
        owners: list[tuple[str, str, str, PointLPS]] = [
            ("leak", leak.id, vertebra.level, leak.centroid_lps_mm)
            for vertebra in self._findings.vertebrae
            for leak in vertebra.leaks
        ]
        owners += [
            ("elsewhere", elsewhere_id(i), "", entry.centroid_lps_mm)
            for i, entry in enumerate(self._findings.cement_elsewhere)
        ]
        nearest = self._nearest_owner(voxels, [owner[3] for owner in owners])
        for index, (kind, finding_id, level, _) in enumerate(owners):
            site = vertebra_term(level) if level else None
            term = CEMENT_LEAK if kind == "leak" else CEMENT_ELSEWHERE
            name = f"Cement leak {finding_id}" if level else f"Cement {finding_id}"
            self._add(
                voxels[nearest == index], name, (PHYSICAL_OBJECT, term), site,
                (kind, finding_id), _MAGENTA,
            )  # fmt: skip
        self._add(
            voxels[nearest < 0], "Cement without a finding",
            (PHYSICAL_OBJECT, CEMENT_LEAK), None, ("cement", "unassigned"), _MAGENTA,
        )  # fmt: skip

    def _nearest_owner(
        self, voxels: npt.NDArray[np.intp], centres: list[PointLPS]
    ) -> npt.NDArray[np.int64]:
        """Index of the owner of each voxel, piece by piece; -1 where there is none."""
        owner = np.full(len(voxels), -1, dtype=np.int64)
        if not centres:
            return owner
        low = voxels.min(axis=0)
        filled = np.zeros(voxels.max(axis=0) - low + 1, dtype=bool)
        filled[tuple((voxels - low).T)] = True
        pieces, count = ndimage.label(filled, np.ones((3, 3, 3)))
        piece_of = pieces[tuple((voxels - low).T)]
        points = self._points(voxels)
        for piece in range(1, count + 1):
            own = points[piece_of == piece]
            gaps = np.linalg.norm(
                own[:, None, :] - np.asarray(centres)[None, :, :], axis=2
            )
            inside = np.flatnonzero(gaps.min(axis=0) < 2.0)
            if len(inside) > 1:  # leaks that touch: each voxel to its nearest centre
                owner[piece_of == piece] = inside[gaps[:, inside].argmin(axis=1)]
            else:
                owner[piece_of == piece] = int(gaps.mean(axis=0).argmin())
        return owner

    def along_screws(self, label: int) -> None:
        """Give metal or lucent rims to the screw along whose axis they lie."""
        voxels = self._voxels(label)
        if len(voxels) == 0:
            return
        lucent = label == LUCENT
        screws = self._findings.screws
        points = self._points(voxels)
        distances = np.full((len(screws) + 1, len(voxels)), SCREW_REACH_MM)
        for index, screw in enumerate(screws):
            distances[index] = _distance_to_segment_mm(
                points, np.array(screw.head_lps_mm), np.array(screw.tip_lps_mm)
            )
        owner = distances.argmin(axis=0)
        colour = _RED if lucent else _BLUE
        for index, screw in enumerate(screws):
            what = (
                (SPATIAL_CONCEPT, LUCENCY) if lucent else (PHYSICAL_OBJECT, BONE_SCREW)
            )
            self._add(
                voxels[owner == index],
                f"Lucency at {screw.id}" if lucent else f"Screw {screw.id}",
                what, vertebra_term(screw.level),
                ("lucency" if lucent else "screw", screw.id), colour,
            )  # fmt: skip
        self._add(
            voxels[owner == len(screws)],
            "Lucency without a screw" if lucent else "Screw without a finding",
            (SPATIAL_CONCEPT, LUCENCY) if lucent else (PHYSICAL_OBJECT, BONE_SCREW),
            None, ("lucency" if lucent else "metal", "unassigned"), colour,
        )  # fmt: skip

    def other_metal(self) -> None:
        """Collect rods and other metal in one segment."""
        self._add(
            self._voxels(OTHER_METAL), "Rods and other metal",
            (PHYSICAL_OBJECT, FIXATION_ROD), None, ("metal", "other"), _VIOLET,
        )  # fmt: skip


def _distance_to_segment_mm(
    points: FloatArray, start: FloatArray, end: FloatArray
) -> FloatArray:
    axis = end - start
    along = np.clip((points - start) @ axis / float(axis @ axis), 0.0, 1.0)
    gaps: FloatArray = np.linalg.norm(points - start - along[:, None] * axis, axis=1)
    return gaps
