"""The journal of a review: every action is on the disk before it is shown.

``review.edits.jsonl`` in the case folder, one JSON object per line. The first tells
which report is judged; each further one is an action with the state after it and the
voxels it changed, or takes the last action back, or does it again. A crash can tear
the last line only; it is dropped.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import AwareDatetime, ValidationError

from cemscope.errors import ExportError
from cemscope_pipelines.report import ReportModel
from cemscope_pipelines.review.review_document import ParameterValue, ReviewError
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.voxel_change import VoxelRecord

JOURNAL_FILE = "review.edits.jsonl"

OTHER_WINDOW = (
    "another window has changed the review of this case: nothing was changed here. "
    "Open the case again to go on from there"
)


class JournalHead(ReportModel):
    """First line of a journal."""

    journal: Literal["1.0"] = "1.0"
    report_sha256: str
    started_at: AwareDatetime


class JournalAction(ReportModel):
    """One action of the reader."""

    number: int
    at: AwareDatetime
    action: str
    parameters: dict[str, ParameterValue]
    finding_ids: tuple[str, ...]
    state: ReviewState
    voxels: tuple[VoxelRecord, ...] = ()


class JournalStep(ReportModel):
    """The reader took an action back, or did it again."""

    step: Literal["undo", "redo"]
    number: int
    at: AwareDatetime


JournalLine = JournalHead | JournalAction | JournalStep


@dataclass(slots=True)
class Journal:
    """The journal file of one case, opened by one session.

    Attributes
    ----------
    path : Path
        The file.
    size : int
        Bytes that this session knows of; another session's writing is noticed.
    """

    path: Path
    size: int = 0
    lines: list[JournalAction | JournalStep] = field(default_factory=list)
    head: JournalHead | None = None

    @classmethod
    def open(cls, case_folder: Path) -> "Journal":
        """Read the journal of a case; an empty one where there is none.

        Raises
        ------
        ReviewError
            If a line other than a torn last one is damaged.
        """
        journal = cls(case_folder / JOURNAL_FILE)
        try:
            content = journal.path.read_bytes()
        except FileNotFoundError:
            return journal
        except OSError as error:
            raise ReviewError(
                f"{JOURNAL_FILE} cannot be read ({error.strerror})"
            ) from None
        whole = content[: content.rfind(b"\n") + 1]
        for number, text in enumerate(whole.splitlines(), start=1):
            line = _parsed(text, number)
            if isinstance(line, JournalHead):
                journal.head = line
            else:
                journal.lines.append(line)
        if journal.head is None and journal.lines:
            raise ReviewError(f"{JOURNAL_FILE} does not begin with its first line")
        journal.size = len(whole)
        if len(content) > len(whole):
            journal._cut()
        return journal

    def _cut(self) -> None:
        """Take a torn last line off."""
        try:
            with self.path.open("r+b") as file:
                file.truncate(self.size)
        except OSError as error:
            raise ExportError(
                f"{JOURNAL_FILE} cannot be written: {error.strerror}"
            ) from error

    @property
    def is_current(self) -> bool:
        """Whether the file is what this session read and wrote."""
        try:
            return self.path.stat().st_size == self.size
        except FileNotFoundError:
            return self.size == 0
        except OSError:
            return False

    def require_current(self) -> None:
        """Refuse to go on where another session has written.

        Raises
        ------
        ReviewError
            If it has, or the file is gone.
        """
        if not self.is_current:
            raise ReviewError(OTHER_WINDOW)

    def append(self, line: JournalLine) -> None:
        """Write one line, durably.

        Raises
        ------
        ReviewError
            If another session has written meanwhile.
        ExportError
            If the disk refuses; then the journal is as it was.
        """
        text = line.model_dump_json().encode() + b"\n"
        try:
            with self.path.open("ab") as file, _alone(file):
                if os.fstat(file.fileno()).st_size != self.size:
                    raise ReviewError(OTHER_WINDOW)
                try:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(self.size)
                    raise
        except OSError as error:
            raise ExportError(
                f"{JOURNAL_FILE} cannot be written: {error.strerror}"
            ) from error
        self.size += len(text)
        if isinstance(line, JournalHead):
            self.head = line
        else:
            self.lines.append(line)


@contextmanager
def _alone(file: BinaryIO) -> Iterator[None]:
    """Keep other sessions from writing between the look at the size and the line."""
    if sys.platform == "win32":
        yield
        return
    import fcntl  # there is none on Windows

    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _parsed(text: bytes, number: int) -> JournalLine:
    try:
        keys = json.loads(text)
        if "journal" in keys:
            return JournalHead.model_validate_json(text)
        if "step" in keys:
            return JournalStep.model_validate_json(text)
        return JournalAction.model_validate_json(text)
    except (ValueError, TypeError, ValidationError) as error:
        raise ReviewError(
            f"line {number} of {JOURNAL_FILE} is damaged ({type(error).__name__}): "
            "move the file away to begin the review anew"
        ) from None
