"""The actions of a review in their order, on the disk and in memory.

An action is in the journal before it counts; label maps and state follow it back and
forth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cemscope_pipelines.report import Report
from cemscope_pipelines.review.case_maps import CaseMaps
from cemscope_pipelines.review.review_document import (
    EditRecord,
    ParameterValue,
    ReviewError,
    now_utc,
    read_review,
)
from cemscope_pipelines.review.review_journal import (
    Journal,
    JournalAction,
    JournalHead,
    JournalStep,
)
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.voxel_change import VoxelChange, VoxelRecord, merged


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One action that counts: its line in the journal and its voxels."""

    line: JournalAction
    voxels: tuple[VoxelChange, ...]


class ReviewHistory:
    """All actions of one case's review.

    Parameters
    ----------
    case_folder
        Where the journal lies.
    report
        The machine's report.
    report_hash
        Its SHA-256; a journal about another report is refused.
    maps
        The machine's maps; brought to the state after the last action.

    Raises
    ------
    ReviewError
        If the journal is damaged, judges another report or does not fit the maps.
    """

    def __init__(
        self, case_folder: Path, report: Report, report_hash: str, maps: CaseMaps
    ) -> None:
        self._hash = report_hash
        self._journal = Journal.open(case_folder)
        self._check_journal(case_folder)
        self._maps = maps
        self.initial = ReviewState.of_report(report)
        self._records: dict[int, JournalAction] = {}
        self._done: list[Step] = []
        self._undone: list[Step] = []
        self._replay()

    @property
    def state(self) -> ReviewState:
        """The reader's values after the last action."""
        return self._done[-1].line.state if self._done else self.initial

    @property
    def can_undo(self) -> bool:
        """Whether there is an action to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an action to do again."""
        return bool(self._undone)

    @property
    def started_at(self) -> datetime:
        """Time of the first action; now if there is none."""
        return self._journal.head.started_at if self._journal.head else now_utc()

    @property
    def updated_at(self) -> datetime:
        """Time of the last line of the journal; now if there is none."""
        lines = self._journal.lines
        return lines[-1].at if lines else now_utc()

    @property
    def journal_bytes(self) -> int:
        """Length of the journal as this session knows it."""
        return self._journal.size

    @property
    def changed_elsewhere(self) -> bool:
        """Whether another session has written to the journal meanwhile."""
        return not self._journal.is_current

    def require_current(self) -> None:
        """Refuse to go on where another session has written.

        Raises
        ------
        ReviewError
            If it has.
        """
        self._journal.require_current()

    @property
    def log(self) -> tuple[EditRecord, ...]:
        """Every action so far, those taken back included."""
        counted = {step.line.number for step in self._done}
        return tuple(
            EditRecord(
                number=line.number,
                at=line.at,
                action=line.action,
                parameters=line.parameters,
                finding_ids=line.finding_ids,
                undone=line.number not in counted,
            )
            for line in self._records.values()
        )

    def record(
        self,
        action: str,
        parameters: dict[str, ParameterValue],
        finding_ids: Sequence[str],
        state: ReviewState,
        voxels: tuple[VoxelChange, ...] = (),
    ) -> None:
        """Write an action down; its voxels must be in the maps already.

        Raises
        ------
        ReviewError, ExportError
            If it cannot be written; then it does not count.
        """
        at = now_utc()
        if self._journal.head is None:
            self._journal.append(JournalHead(report_sha256=self._hash, started_at=at))
        line = JournalAction(
            number=max(self._records, default=0) + 1,
            at=at,
            action=action,
            parameters=parameters,
            finding_ids=tuple(finding_ids),
            state=state,
            voxels=tuple(VoxelRecord.of(change) for change in voxels),
        )
        self._journal.append(line)
        self._records[line.number] = line
        self._done.append(Step(line, voxels))
        self._undone.clear()

    def amend(self, state: ReviewState) -> None:
        """Replace the state after the last action, e.g. when a route is known."""
        last = self._done[-1]
        line = last.line.model_copy(update={"state": state, "voxels": ()})
        self._journal.append(line)
        self._done[-1] = Step(line, last.voxels)
        self._records[line.number] = line

    def undo(self) -> int | None:
        """Take the last action back; its number, None where there is none."""
        if not self._done:
            return None
        step = self._done[-1]
        self._journal.append(
            JournalStep(step="undo", number=step.line.number, at=now_utc())
        )
        self._maps.apply([change.inverse for change in reversed(step.voxels)])
        self._undone.append(self._done.pop())
        return step.line.number

    def redo(self) -> int | None:
        """Do the last undone action again; its number, None where there is none."""
        if not self._undone:
            return None
        step = self._undone[-1]
        self._journal.append(
            JournalStep(step="redo", number=step.line.number, at=now_utc())
        )
        self._maps.apply(step.voxels)
        self._done.append(self._undone.pop())
        return step.line.number

    def all_inverse(self) -> tuple[VoxelChange, ...]:
        """Voxels that lead back to the machine's maps."""
        return merged(
            change.inverse
            for step in reversed(self._done)
            for change in reversed(step.voxels)
        )

    def _check_journal(self, case_folder: Path) -> None:
        head = self._journal.head
        if head is not None and head.report_sha256 != self._hash:
            raise ReviewError(
                "the review in this folder judges another report.json: the case was "
                "analysed again. Move review.json and review.edits.jsonl away to "
                "begin the review anew"
            )
        if head is None and read_review(case_folder) is not None:
            raise ReviewError(
                "review.json is there, but not its journal review.edits.jsonl: copy "
                "the whole case folder, or move review.json away to begin anew"
            )

    def _replay(self) -> None:
        for line in self._journal.lines:
            if isinstance(line, JournalStep):
                source, target = (
                    (self._done, self._undone)
                    if line.step == "undo"
                    else (self._undone, self._done)
                )
                if not source or source[-1].line.number != line.number:
                    raise ReviewError("the journal of the review does not fit together")
                target.append(source.pop())
                continue
            amends = self._done and self._done[-1].line.number == line.number
            self._records[line.number] = line
            if amends:
                self._done[-1] = Step(line, self._done[-1].voxels)
                continue
            voxels = tuple(record.change() for record in line.voxels)
            self._done.append(Step(line, voxels))
            self._undone.clear()
        try:
            for step in self._done:
                self._maps.apply(step.voxels)
        except (ValueError, IndexError):
            raise ReviewError(
                "the journal of the review does not fit the label maps of the case: "
                "they were changed meanwhile"
            ) from None
