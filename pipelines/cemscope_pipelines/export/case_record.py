"""A case folder as it lies on the disk, and what of it is to be exported."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from cemscope.dicom.objects.source_images import ExpectedSeries
from cemscope.errors import ConfigError, EvidenceError
from cemscope.volume import LabelMap
from cemscope_pipelines.case_folder import (
    MATERIALS_FILE,
    PROVENANCE_FILE,
    REPORT_FILE,
    VERTEBRAE_FILE,
)
from cemscope_pipelines.export.finding_voxels import FindingVoxels, finding_voxels
from cemscope_pipelines.provenance import Provenance
from cemscope_pipelines.report import Report
from cemscope_pipelines.review.replayed_review import (
    ReplayedReview,
    differences_on_disk,
    replay_review,
    unreviewed,
)
from cemscope_pipelines.review.review_document import (
    REVIEW_FILE,
    FindingDecision,
    ReviewDocument,
    ReviewedFindings,
    ReviewError,
    read_review,
)
from cemscope_pipelines.review.review_journal import JOURNAL_FILE
from cemscope_pipelines.review.settled_review import is_settled, settle_review


class ContentState(StrEnum):
    """How far a case has come."""

    DRAFT = "draft"
    """The machine's result; nobody has judged it, or not all of it."""
    REVIEWED = "reviewed"
    """A reader has judged every finding, and has not signed."""
    SIGNED = "signed"
    """A reader answers for it."""

    @property
    def words(self) -> str:
        """What stands across pages and pictures; "" where a reader has signed."""
        return {
            ContentState.DRAFT: "draft, not reviewed",
            ContentState.REVIEWED: "draft, reviewed, not signed",
            ContentState.SIGNED: "",
        }[self]


@dataclass(frozen=True, slots=True, eq=False)
class CaseRecord:
    """What an analysis and a reader left in a case folder.

    Attributes
    ----------
    folder : Path
        The case.
    report, provenance
        The machine's result and how it came about.
    review : ReviewDocument or None
        The reader's work, finished or not.
    """

    folder: Path
    report: Report
    provenance: Provenance
    review: ReviewDocument | None

    @property
    def expected_series(self) -> ExpectedSeries:
        """The CT series that was measured.

        Raises
        ------
        EvidenceError
            If the case was not made from DICOM.
        """
        made_from = self.provenance.input
        if made_from.series_instance_uid is None or not made_from.sop_instance_uids:
            raise EvidenceError(
                "the case was not made from a DICOM series, so that no DICOM object "
                "can refer to it; export CSV or NIfTI instead"
            )
        return ExpectedSeries(
            made_from.study_instance_uid or "",
            made_from.series_instance_uid,
            made_from.frame_of_reference_uid,
            made_from.sop_instance_uids,
            made_from.patient_digest,
        )


@dataclass(frozen=True, slots=True, eq=False)
class CaseContent:
    """One state of a case's result.

    Attributes
    ----------
    state : ContentState
        How far it has come.
    findings : ReviewedFindings
        The values that count.
    vertebrae : LabelMap
        Under the reader's names.
    voxels : FindingVoxels
        Voxels of each finding that counts.
    corrected : frozenset of str
        "vertebrae", "materials": maps that a reader changed.
    decisions : tuple of FindingDecision
        What the reader said about each finding; empty for the machine's result.
    told_leaks : frozenset of str
        Leaks (by `FindingDecision.finding_id`) whose types or places the reader told:
        their evidence is the machine's all the same.
    key : str
        Hash of all of it.
    """

    state: ContentState
    findings: ReviewedFindings
    vertebrae: LabelMap
    voxels: FindingVoxels
    corrected: frozenset[str]
    decisions: tuple[FindingDecision, ...]
    told_leaks: frozenset[str]
    key: str

    @property
    def materials(self) -> LabelMap:
        """Materials as in ``materials.nii.gz``, without what the reader rejected."""
        return self.voxels.materials()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"{path.name} cannot be read in the case folder ({error.strerror})"
        ) from None


def read_case(folder: Path) -> CaseRecord:
    """Read the documents of a case folder; label maps are read by their content.

    Raises
    ------
    ConfigError
        If the folder holds no case, or one of another version of cemscope.
    ReviewError
        If the review is damaged.
    """
    texts = {}
    for name in (REPORT_FILE, PROVENANCE_FILE):
        try:
            texts[name] = (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise ConfigError(
                f"the folder holds no readable {name}: give a case folder that "
                "`cemscope analyze` wrote"
            ) from None
    try:
        report = Report.model_validate_json(texts[REPORT_FILE])
        provenance = Provenance.model_validate_json(texts[PROVENANCE_FILE])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ConfigError(
            f"the documents of the case cannot be understood ({place}: "
            f"{first['msg']}): it is damaged or of another version of cemscope"
        ) from None
    if (folder / JOURNAL_FILE).is_file() and not is_settled(folder):
        # The last edits stand in the review's journal only, as after a crash.
        settle_review(folder)
    review = read_review(folder)
    return CaseRecord(folder, report, provenance, review)


def machine_content(case: CaseRecord) -> CaseContent:
    """Collect the machine's result."""
    report, folder = case.report, case.folder
    return content_of(
        unreviewed(folder, report),
        ContentState.DRAFT,
        ReviewedFindings(
            vertebrae=report.vertebrae,
            screws=report.screws,
            cement_elsewhere=report.cement_elsewhere,
            metal=report.metal,
            totals=report.totals,
        ),
        _key(folder, (REPORT_FILE, VERTEBRAE_FILE, MATERIALS_FILE)),
    )


def content_of(
    replayed: ReplayedReview,
    state: ContentState,
    said: ReviewDocument | ReviewedFindings,
    key: str,
) -> CaseContent:
    """Put values and voxels together.

    Parameters
    ----------
    replayed
        Values and voxels after the reader's last action.
    state
        How far the case has come.
    said
        The review, or the machine's findings where there is none.
    key
        Hash of all of it.
    """
    reviewed = isinstance(said, ReviewDocument)
    told = {*replayed.state.types_told, *replayed.state.places_told}
    return CaseContent(
        state,
        said.result if isinstance(said, ReviewDocument) else said,
        replayed.vertebrae,
        finding_voxels(replayed),
        frozenset(replayed.state.corrected_maps) if reviewed else frozenset(),
        said.decisions if isinstance(said, ReviewDocument) else (),
        frozenset(told),
        key,
    )


def reviewed_content(case: CaseRecord, review: ReviewDocument) -> CaseContent:
    """Collect the reader's result, and check that it is the one the reader left.

    Raises
    ------
    EvidenceError
        If the review judges another report, its label maps are not settled, or it is
        not what its journal tells.
    """
    folder = case.folder
    if review.report_sha256 != file_sha256(folder / REPORT_FILE):
        raise EvidenceError(
            "the review judges another report than the one in the case folder: "
            "report.json was changed or made anew since. Review the case again"
        )
    if not review.maps_current:
        raise EvidenceError(
            "the last strokes of the review are not written into its label maps yet: "
            "open the case with `cemscope review` and close it"
        )
    try:
        replayed, known = replay_review(folder)
        differing = differences_on_disk(folder, replayed, known)
    except ReviewError as error:
        raise EvidenceError(f"the review cannot be followed: {error}") from error
    if differing:
        raise EvidenceError(
            f"{' and '.join(differing)} in the case folder: not what the journal of "
            f"the review ({JOURNAL_FILE}) tells. Something else than `cemscope review` "
            "changed it, or the review was interrupted: open the case there and close "
            "it, which writes the reader's own result, and look at it again"
        )
    return content_of(
        replayed,
        ContentState.REVIEWED,
        known,
        _key(
            folder,
            (REPORT_FILE, VERTEBRAE_FILE, MATERIALS_FILE, REVIEW_FILE, JOURNAL_FILE),
        ),
    )


def current_content(case: CaseRecord) -> CaseContent:
    """Take the reader's result where every finding is judged, else the machine's."""
    if case.review is not None and case.review.status == "reviewed":
        return reviewed_content(case, case.review)
    return machine_content(case)


def _key(folder: Path, names: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name} {file_sha256(folder / name)}\n".encode())
    return digest.hexdigest()
