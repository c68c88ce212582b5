"""The content of ``review.json``: what a reader decided about a machine's report.

It names no reader: who answers for a review is said when it is signed.
"""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, ValidationError

from cemscope.errors import CemscopeError, ExportError
from cemscope_pipelines.case_folder import REPORT_FILE
from cemscope_pipelines.report import (
    CementElsewhereEntry,
    MetalEntry,
    Report,
    ReportModel,
    ScrewEntry,
    TotalsEntry,
    VertebraEntry,
)

REVIEW_SCHEMA_VERSION: Literal["1.1"] = "1.1"
"""Grows by 0.1 where a field is added, by 1 where one changes its meaning."""

REVIEW_FILE = "review.json"
REVIEW_VERTEBRAE_FILE = "review_vertebrae.nii.gz"
REVIEW_MATERIALS_FILE = "review_materials.nii.gz"

FindingKind = Literal["vertebra", "leak", "screw", "elsewhere"]
DecisionKind = Literal["open", "accepted", "modified", "rejected"]
ReviewStatus = Literal["open", "reviewed"]
ParameterValue = str | float | int | bool | None


class ReviewError(CemscopeError, ValueError):
    """A case cannot be reviewed, or its review cannot be understood."""


@dataclass(frozen=True, slots=True, order=True)
class FindingId:
    """Which finding of a report is meant.

    Attributes
    ----------
    kind : str
        "vertebra", "leak", "screw" or "elsewhere".
    finding_id : str
        The level of a vertebra ("L3"), the id of a leak ("L3-1") or of a screw
        ("L4-left"), and "elsewhere-1", ... in the order of the report.
    """

    kind: FindingKind
    finding_id: str


class FindingDecision(ReportModel):
    """What the reader says about one finding."""

    finding_id: str = Field(
        description="Id in the machine's report; it stays when levels are renamed."
    )
    kind: FindingKind
    decision: DecisionKind
    reason: str = Field(default="", description="Why it was rejected or modified.")
    at: AwareDatetime | None = Field(
        default=None, description="When it was decided; null while it is open."
    )
    result_id: str | None = Field(
        description="Its id (vertebra: its level) in `result`; null if taken out."
    )
    added_by_reader: bool = Field(
        default=False, description="The machine's report does not hold it."
    )


class EditRecord(ReportModel):
    """One line of the edit log."""

    number: Annotated[int, Field(ge=1)]
    at: AwareDatetime
    action: str = Field(description='E.g. "decide", "paint cement", "split leak".')
    parameters: dict[str, ParameterValue] = Field(
        description="What the action was told; units stand in the names."
    )
    finding_ids: tuple[str, ...] = Field(description="Findings it touched.")
    undone: bool = Field(description="Taken back; it does not count in `result`.")


class ReviewedFindings(ReportModel):
    """The reader's values in the form of ``report.json``; no rejected findings.

    A rejected vertebra stays as anatomy, but its cement is not assessed.
    """

    vertebrae: tuple[VertebraEntry, ...]
    screws: tuple[ScrewEntry, ...]
    cement_elsewhere: tuple[CementElsewhereEntry, ...]
    elsewhere_ids: tuple[str, ...] = Field(
        default=(),
        description="Id of each entry of cement_elsewhere: that of the machine's "
        "report, whatever was taken out before it. Empty: numbered by their places.",
    )
    metal: tuple[MetalEntry, ...]
    totals: TotalsEntry

    def elsewhere_id_at(self, index: int) -> str:
        """Id of an entry of ``cement_elsewhere`` by its place (from 0) here."""
        return self.elsewhere_ids[index] if self.elsewhere_ids else elsewhere_id(index)


class ReviewDocument(ReportModel):
    """Content of ``review.json``."""

    schema_version: Literal["1.0", "1.1"] = REVIEW_SCHEMA_VERSION
    report_sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="Of the bytes of report.json."
    )
    status: ReviewStatus = Field(description="reviewed: every finding is judged.")
    started_at: AwareDatetime
    updated_at: AwareDatetime
    decisions: tuple[FindingDecision, ...]
    edits: tuple[EditRecord, ...] = Field(description="Oldest first.")
    corrected_maps: tuple[Literal["vertebrae", "materials"], ...] = Field(
        default=(), description="Label maps that the reader changed."
    )
    maps_current: bool = Field(
        default=True,
        description="False while the last strokes stand in the journal only; "
        "closing the review, or `settle_review`, writes the maps.",
    )
    journal_bytes: int | None = Field(
        default=None,
        ge=0,
        description="Length of the journal that this document shows; a longer one "
        "holds later actions. Null before schema 1.1.",
    )
    result: ReviewedFindings

    def to_json(self) -> str:
        """Text of ``review.json``, ending in a line break."""
        return self.model_dump_json(indent=2) + "\n"

    def decision_on(self, finding: FindingId) -> FindingDecision | None:
        """Find the decision on a finding; None where the finding is unknown."""
        for decision in self.decisions:
            if (decision.kind, decision.finding_id) == (
                finding.kind,
                finding.finding_id,
            ):
                return decision
        return None


def finding_ids(report: Report) -> tuple[FindingId, ...]:
    """List what a reader has to judge: per vertebra itself, its leaks, its screws.

    Vertebrae come from the lowest upwards, as in the report. Vertebrae without
    cement and those that were not assessed are findings too: cement that was missed
    is found by looking at them.
    """
    found: list[FindingId] = []
    for vertebra in report.vertebrae:
        found.append(FindingId("vertebra", vertebra.level))
        found.extend(FindingId("leak", leak.id) for leak in vertebra.leaks)
        found.extend(
            FindingId("screw", screw.id)
            for screw in report.screws
            if screw.level == vertebra.level
        )
    listed = {one.finding_id for one in found if one.kind == "screw"}
    found.extend(
        FindingId("screw", screw.id)
        for screw in report.screws
        if screw.id not in listed
    )
    found.extend(
        FindingId("elsewhere", elsewhere_id(index))
        for index in range(len(report.cement_elsewhere))
    )
    return tuple(found)


def elsewhere_id(index: int) -> str:
    """Id of an entry of ``cement_elsewhere`` by its place (from 0) in the report."""
    return f"elsewhere-{index + 1}"


def status_of(decisions: tuple[FindingDecision, ...]) -> ReviewStatus:
    """Tell whether all findings are judged."""
    judged = all(one.decision != "open" for one in decisions)
    return "reviewed" if judged else "open"


def report_sha256(case_folder: Path) -> str:
    """SHA-256 of the bytes of a case's ``report.json``.

    Raises
    ------
    ReviewError
        If the folder holds no report.
    """
    try:
        content = (case_folder / REPORT_FILE).read_bytes()
    except OSError as error:
        raise ReviewError(
            f"no {REPORT_FILE} can be read in the case folder ({error.strerror}): give "
            "a folder that `cemscope analyze` wrote"
        ) from None
    return hashlib.sha256(content).hexdigest()


def read_review(case_folder: Path) -> ReviewDocument | None:
    """Read ``review.json`` of a case; None where the case was not reviewed.

    Raises
    ------
    ReviewError
        If the file is damaged or of another version.
    """
    path = case_folder / REVIEW_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ReviewError(
            f"{REVIEW_FILE} cannot be read ({type(error).__name__})"
        ) from None
    try:
        return ReviewDocument.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ReviewError(
            f"{REVIEW_FILE} cannot be understood: {place}: {first['msg']}"
        ) from None


def write_review(case_folder: Path, document: ReviewDocument) -> None:
    """Write ``review.json``: the old or the new content stands there, never a part.

    Raises
    ------
    ExportError
        If the disk refuses.
    """
    replace_file(case_folder / REVIEW_FILE, document.to_json().encode())


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file as a whole, durably.

    Raises
    ------
    ExportError
        If the disk refuses.
    """
    part: str | None = None
    try:
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(part).chmod(0o666 & ~_umask())
        Path(part).replace(path)
    except OSError as error:
        if part is not None:
            Path(part).unlink(missing_ok=True)
        raise ExportError(f"{path.name} cannot be written: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def now_utc() -> datetime:
    """Time of an action, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def review_json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``review.json`` as it is written."""
    schema = ReviewDocument.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "cemscope review.json",
    }
