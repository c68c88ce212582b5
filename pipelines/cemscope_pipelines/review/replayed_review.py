"""A review as its journal tells it: values and voxels, whatever else was written.

``review.json`` and the corrected label maps are copies for other programs; what a
reader did stands in the journal. Needs no scan and no screen.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cemscope.errors import LabelMapError
from cemscope.volume import LabelMap
from cemscope_pipelines.case_folder import MATERIALS_FILE, VERTEBRAE_FILE
from cemscope_pipelines.label_files import read_label_map
from cemscope_pipelines.report import Report
from cemscope_pipelines.review.case_maps import CaseMaps, name_table, result_table
from cemscope_pipelines.review.review_document import (
    REVIEW_FILE,
    REVIEW_MATERIALS_FILE,
    REVIEW_VERTEBRAE_FILE,
    ReviewDocument,
    read_review,
    report_sha256,
)
from cemscope_pipelines.review.review_history import ReviewHistory
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.review_state import ReviewState


@dataclass(frozen=True, slots=True, eq=False)
class ReplayedReview:
    """Values and voxels after the last action.

    Attributes
    ----------
    state : ReviewState
        The reader's values.
    maps : CaseMaps
        The working maps.
    """

    state: ReviewState
    maps: CaseMaps

    @property
    def vertebrae(self) -> LabelMap:
        """Vertebrae under the reader's names."""
        table = name_table(self.state.level_names)
        return LabelMap(table[self.maps.vertebrae], self.maps.geometry)

    @property
    def materials(self) -> LabelMap:
        """Materials as ``review_materials.nii.gz`` holds them."""
        table = result_table(self.state)
        return LabelMap(table[self.maps.materials], self.maps.geometry)


def unreviewed(case_folder: Path, report: Report) -> ReplayedReview:
    """Give the machine's values and voxels, before a reader's first word.

    Raises
    ------
    LabelMapError
        If a label map is missing, damaged or of another scan.
    """
    maps = CaseMaps.read(case_folder, report)
    return ReplayedReview(ReviewState.of_report(report), maps)


def replay_journal(
    case_folder: Path, report: Report, journal_folder: Path | None = None
) -> ReplayedReview:
    """Do all actions of a journal again on the machine's label maps.

    Parameters
    ----------
    case_folder
        Where report and machine's maps lie.
    report
        The machine's report.
    journal_folder
        Where the journal lies; None: in the case.

    Raises
    ------
    ReviewError
        If the journal is damaged, judges another report or does not fit the maps.
    LabelMapError
        If a label map is missing or damaged.
    """
    maps = CaseMaps.read(case_folder, report)
    digest = report_sha256(case_folder)
    history = ReviewHistory(journal_folder or case_folder, report, digest, maps)
    return ReplayedReview(history.state, maps)


def replay_review(case_folder: Path) -> tuple[ReplayedReview, ReviewDocument]:
    """Do all actions of a case's review again.

    Returns
    -------
    ReplayedReview
        Values and voxels.
    ReviewDocument
        What ``review.json`` should hold.

    Raises
    ------
    ReviewError
        If the review has no journal, or it is damaged or of another report.
    LabelMapError
        If a label map is missing or damaged.
    """
    session = ReviewSession(case_folder)
    return ReplayedReview(session.state, session.maps), session.document()


def differences_on_disk(
    case_folder: Path, replayed: ReplayedReview, known: ReviewDocument
) -> tuple[str, ...]:
    """List what lies in a case and is not as the journal of its review tells.

    Parameters
    ----------
    replayed, known
        From `replay_review`.

    Returns
    -------
    tuple of str
        E.g. "review.json (decisions, result)", "review_materials.nii.gz"; empty where
        all is as the reader left it.

    Raises
    ------
    ReviewError
        If ``review.json`` is damaged.
    """
    told = read_review(case_folder)
    if told is None:
        return (f"{REVIEW_FILE} (missing)",)
    found = []
    fields = [
        name
        # whether maps are written already is no word of the reader
        for name in sorted(set(ReviewDocument.model_fields) - {"maps_current"})
        if getattr(told, name) != getattr(known, name)
    ]
    if fields:
        found.append(f"{REVIEW_FILE} ({', '.join(fields)})")
    for kind, name, machine, expected in (
        ("vertebrae", REVIEW_VERTEBRAE_FILE, VERTEBRAE_FILE, replayed.vertebrae),
        ("materials", REVIEW_MATERIALS_FILE, MATERIALS_FILE, replayed.materials),
    ):
        written = name if kind in known.corrected_maps else machine
        if not _same(case_folder / written, expected):
            found.append(written)
    return tuple(found)


def _same(path: Path, expected: LabelMap) -> bool:
    try:
        found = read_label_map(path)
    except LabelMapError:
        return False
    return not found.geometry.describe_difference(expected.geometry) and np.array_equal(
        found.labels, expected.labels
    )
