"""A reader's review of one case: all state and all rules, without a screen.

Every action is one step that can be taken back. It is on the disk (journal, then
``review.json``) before the call returns; label maps are written by `save`.
"""

from pathlib import Path

from cemscope.volume import CTVolume
from cemscope_pipelines.review.case_maps import CaseMaps, result_table
from cemscope_pipelines.review.case_series import read_report
from cemscope_pipelines.review.elsewhere_recount import is_erased
from cemscope_pipelines.review.finding_list import FindingRow, finding_rows
from cemscope_pipelines.review.level_recount import BoxCount, count_box
from cemscope_pipelines.review.plan_outcome import modified, recount_of, with_routes
from cemscope_pipelines.review.recount_difference import with_differences
from cemscope_pipelines.review.review_document import (
    DecisionKind,
    EditRecord,
    FindingId,
    ParameterValue,
    ReviewDocument,
    ReviewError,
    read_review,
    report_sha256,
    status_of,
    write_review,
)
from cemscope_pipelines.review.review_history import ReviewHistory
from cemscope_pipelines.review.review_plan import Plan
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.reviewed_result import (
    REJECT_REASONS,
    result_decisions,
    reviewed_findings,
)
from cemscope_pipelines.review.scan_context import ScanContext
from cemscope_pipelines.review.voxel_change import MapName, material_table

REVERT = "revert to the machine's result"


class ReviewSession:
    """The review of one case.

    Parameters
    ----------
    case_folder
        A folder that `cemscope analyze` wrote.
    ct
        Its scan; without it decisions can be made, but no voxel can be corrected.

    Attributes
    ----------
    report : Report
        The machine's report; it never changes.
    state : ReviewState
        The reader's values.
    maps : CaseMaps
        Label maps as corrected so far.
    follow_at_once : bool
        Whether the routes of changed leaks are followed within the edit (1-2 s each);
        if not, `follow_routes` does it.

    Raises
    ------
    ReviewError
        If the folder is no case, its review is damaged or judges another report.
    LabelMapError
        If a label map is missing or damaged.
    """

    def __init__(self, case_folder: Path, ct: CTVolume | None = None) -> None:
        self.case_folder = case_folder
        self.report = read_report(case_folder)
        self.ct = ct
        self.follow_at_once = True
        self._hash = report_sha256(case_folder)
        self.maps = CaseMaps.read(case_folder, self.report)
        self.history = ReviewHistory(case_folder, self.report, self._hash, self.maps)
        self._context: ScanContext | None = None
        written = read_review(case_folder)
        self._maps_current = not self._corrected_maps() or (
            written is not None
            and written.maps_current
            and written.edits == self.history.log
        )
        self._lagging = self._is_behind(written)
        self.selected: FindingId | None = None

    # --- what there is -----------------------------------------------------------

    @property
    def state(self) -> ReviewState:
        """The reader's values as they are now."""
        return self.history.state

    @property
    def rows(self) -> tuple[FindingRow, ...]:
        """Findings in the order in which they are shown."""
        return finding_rows(self.state, self.report)

    @property
    def open_count(self) -> int:
        """Findings that are not judged yet."""
        return sum(one.decision == "open" for one in self.state.decisions)

    @property
    def maps_current(self) -> bool:
        """Whether the corrected maps on the disk show all edits."""
        return self._maps_current

    @property
    def context(self) -> ScanContext:
        """The scan's levels of brightness, read at first need.

        Raises
        ------
        ReviewError
            If the session was opened without its scan.
        """
        if self._context is None:
            if self.ct is None:
                raise ReviewError(
                    "corrections need the CT series of the case: give it with "
                    "--series PATH"
                )
            self._context = ScanContext.of_case(self.ct, self.maps, self.state)
        return self._context

    def document(self) -> ReviewDocument:
        """Content of ``review.json`` as it is now."""
        decisions = result_decisions(self.state)
        return ReviewDocument(
            report_sha256=self._hash,
            status=status_of(decisions),
            started_at=self.history.started_at,
            updated_at=self.history.updated_at,
            decisions=decisions,
            edits=self.history.log,
            corrected_maps=self._corrected_maps(),
            maps_current=self._maps_current,
            journal_bytes=self.history.journal_bytes,
            result=reviewed_findings(self.state, self.report),
        )

    @property
    def changed_elsewhere(self) -> bool:
        """Whether another window has changed the case; this one can change no more."""
        return self.history.changed_elsewhere

    # --- going through the findings ----------------------------------------------

    def select(self, finding: FindingId | None) -> None:
        """Choose the finding that is looked at."""
        if finding is not None:
            self.state.decision(finding)
        self.selected = finding

    def step(self, places: int) -> FindingId | None:
        """Go some findings forwards (negative: backwards), round at the ends."""
        rows = [row.finding for row in self.rows]
        if not rows:
            return None
        if self.selected not in rows:
            self.selected = rows[0 if places > 0 else -1]
        else:
            here = rows.index(self.selected)
            self.selected = rows[(here + places) % len(rows)]
        return self.selected

    def next_open(self) -> FindingId | None:
        """Go to the next finding that is not judged; None where all are."""
        rows = self.rows
        here = next(
            (k for k, row in enumerate(rows) if row.finding == self.selected), -1
        )
        for row in (*rows[here + 1 :], *rows[: here + 1]):
            if row.decision == "open":
                self.selected = row.finding
                return row.finding
        return None

    # --- decisions ---------------------------------------------------------------

    def accept(self, finding: FindingId) -> None:
        """Judge a finding right as it stands.

        One that was corrected stays ``modified``: the reader's word is judged by the
        correction, and the machine's is not what stands.
        """
        if self.state.decision(finding).decision != "modified":
            self._decide(finding, "accepted", "")

    def reject(self, finding: FindingId, reason: str) -> None:
        """Judge a finding wrong; the reason begins with one of `REJECT_REASONS`.

        Raises
        ------
        ReviewError
            If the reason is none of them.
        """
        allowed = REJECT_REASONS[finding.kind]
        if not reason.startswith(allowed):
            raise ReviewError(
                f"expected a reason that begins with {' or '.join(allowed)}, "
                f"found {reason!r}"
            )
        self._decide(finding, "rejected", reason)

    def reopen(self, finding: FindingId) -> None:
        """Take a judgement back: the finding is to be looked at again."""
        self._decide(finding, "open", "")

    def _decide(self, finding: FindingId, decision: DecisionKind, reason: str) -> None:
        if self._is_erased(finding):
            raise ReviewError(
                f"this {'leak' if finding.kind == 'leak' else 'cement'} was erased: "
                "undo the erasing to judge it anew"
            )
        was = self.state.decision(finding)
        if (was.decision, was.reason) == (decision, reason):
            return
        parameters: dict[str, ParameterValue] = {"decision": decision}
        if reason:
            parameters["reason"] = reason
        state = self.state.decided(finding, decision, reason)
        self.history.record("decide", parameters, (finding.finding_id,), state)
        self._after_change()

    def _is_erased(self, finding: FindingId) -> bool:
        if finding.kind == "leak":
            listed = (leak for v in self.state.vertebrae for leak in v.leaks)
            return all(leak.id != finding.finding_id for leak in listed)
        return is_erased(self.state, finding)

    # --- corrections -------------------------------------------------------------

    def carry_out(self, plan: Plan) -> None:
        """Do an action: change voxels, count what was touched, write it down.

        If anything fails, all is as it was.

        Raises
        ------
        ReviewError
            If the session has no scan, or another session has changed the case.
        ExportError
            If the disk refuses.
        """
        state = plan.state
        voxels = tuple(change for change in plan.voxels if change.size)
        before = self._count(self.state, plan)
        self.maps.apply(voxels)
        try:
            if before is not None:
                after = self._count(state, plan)
                recount = recount_of(self.context, self.maps, plan, before, after)
                state = with_differences(state, recount, self.context)
            for finding in plan.findings:
                state = modified(state, finding, plan.action)
            names = {change.map_name for change in voxels}
            state = state.replace(
                corrected_maps=tuple(sorted({*state.corrected_maps, *names}))
            )
            waiting = tuple(dict.fromkeys((*state.unfollowed, *plan.rerouted)))
            state = state.replace(unfollowed=waiting)
            if self.follow_at_once and waiting:
                state = with_routes(self.context, self.maps, state)
            ids = tuple(dict.fromkeys(f.finding_id for f in plan.findings))
            self.history.record(plan.action, plan.parameters, ids, state, voxels)
        except BaseException:
            self.maps.apply([change.inverse for change in reversed(voxels)])
            raise
        self._after_change()

    def _count(self, state: ReviewState, plan: Plan) -> BoxCount | None:
        if plan.box is None:
            return None
        return count_box(self.context, self.maps, state, plan.box)

    @property
    def routes_to_follow(self) -> tuple[str, ...]:
        """Leaks whose types and places are those from before the last edits."""
        return self.state.unfollowed

    def follow_routes(self) -> None:
        """Follow the routes of changed leaks; it belongs to the last action.

        Nothing happens in a session without its scan.
        """
        if not self.state.unfollowed or self.ct is None:
            return
        self.history.amend(with_routes(self.context, self.maps, self.state))
        self._write()

    # --- back and forth ----------------------------------------------------------

    def undo(self) -> EditRecord | None:
        """Take the last action back; None where there is none."""
        return self._stepped(self.history.undo())

    def redo(self) -> EditRecord | None:
        """Do the last undone action again; None where there is none."""
        return self._stepped(self.history.redo())

    def _stepped(self, number: int | None) -> EditRecord | None:
        if number is None:
            return None
        self._after_change()
        return next(one for one in self.history.log if one.number == number)

    def revert(self) -> None:
        """Go back to the machine's result; itself an action that can be undone."""
        voxels = self.history.all_inverse()
        ids = tuple(one.finding_id for one in self.state.decisions)
        self.maps.apply(voxels)
        try:
            self.history.record(REVERT, {}, ids, self.history.initial, voxels)
        except BaseException:
            self.maps.apply([change.inverse for change in reversed(voxels)])
            raise
        self._after_change()

    # --- on the disk -------------------------------------------------------------

    def save(self) -> ReviewDocument:
        """Write the corrected maps and ``review.json``.

        Raises
        ------
        ReviewError
            If another session has changed the case: its edits stay.
        ExportError
            If the disk refuses.
        """
        self.history.require_current()
        self.follow_routes()
        self.maps.write(self.case_folder, self.state)
        self._maps_current = True
        self._write()
        return self.document()

    @property
    def is_settled(self) -> bool:
        """Whether ``review.json`` and the corrected maps show the whole journal."""
        return self._maps_current and not self._lagging

    def settle(self) -> None:
        """Write what stands in the journal only, e.g. after a crash.

        Raises
        ------
        ReviewError, ExportError
            As `save`.
        """
        if not self._maps_current:
            self.save()
        elif self._lagging:
            self.history.require_current()
            self._write()

    def _is_behind(self, written: ReviewDocument | None) -> bool:
        if written is None:
            return self.history.journal_bytes > 0
        if written.journal_bytes is not None:
            return written.journal_bytes != self.history.journal_bytes
        return written.edits != self.history.log or (
            written.decisions != result_decisions(self.state)
        )

    def _after_change(self) -> None:
        self._maps_current = not self._corrected_maps()
        self._write()

    def _write(self) -> None:
        self._lagging = True
        write_review(self.case_folder, self.document())
        self._lagging = False

    def _corrected_maps(self) -> tuple[MapName, ...]:
        state = self.state
        names: list[MapName] = []
        if "vertebrae" in state.corrected_maps or state.level_names:
            names.append("vertebrae")
        other_codes = (result_table(state) != material_table()).any()
        if "materials" in state.corrected_maps or other_codes:
            names.append("materials")
        return tuple(names)
