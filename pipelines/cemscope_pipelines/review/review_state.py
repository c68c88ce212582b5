"""What a reader has made of a report so far: a frozen value.

Vertebrae keep the machine's names here; new names are put on when the result is
written, so that renaming all levels changes one field.
"""

from typing import Self

from pydantic import Field

from cemscope_pipelines.report import (
    CementElsewhereEntry,
    LeakEntry,
    MetalEntry,
    Report,
    ReportModel,
    ScrewEntry,
    VertebraEntry,
)
from cemscope_pipelines.review.review_document import (
    DecisionKind,
    FindingDecision,
    FindingId,
    finding_ids,
    now_utc,
)
from cemscope_pipelines.review.voxel_change import FIRST_LEAK, LAST_LEAK, MapName


class ReviewState(ReportModel):
    """Decisions and the reader's values.

    Attributes
    ----------
    decisions
        One per finding, in the order in which they are shown.
    vertebrae, screws, cement_elsewhere, metal
        As in the report, with the reader's corrections; rejected ones included.
    leak_codes
        Code in the working map of each leak.
    level_names
        The reader's name for each vertebra, by the machine's; empty: unchanged.
    corrected_maps
        Label maps that differ from the machine's.
    types_told, places_told
        Leaks whose types or places the reader gave: they are not argued anew.
    unfollowed
        Leaks that changed and whose route was not followed yet.
    """

    decisions: tuple[FindingDecision, ...]
    vertebrae: tuple[VertebraEntry, ...]
    screws: tuple[ScrewEntry, ...]
    cement_elsewhere: tuple[CementElsewhereEntry, ...]
    metal: tuple[MetalEntry, ...]
    leak_codes: dict[str, int]
    level_names: dict[str, str] = Field(default_factory=dict)
    corrected_maps: tuple[MapName, ...] = ()
    types_told: tuple[str, ...] = ()
    places_told: tuple[str, ...] = ()
    unfollowed: tuple[str, ...] = ()

    @classmethod
    def of_report(cls, report: Report) -> Self:
        """State before the reader's first word."""
        leaks = [leak.id for vertebra in report.vertebrae for leak in vertebra.leaks]
        return cls(
            decisions=tuple(
                FindingDecision(
                    finding_id=one.finding_id,
                    kind=one.kind,
                    decision="open",
                    result_id=None,
                )
                for one in finding_ids(report)
            ),
            vertebrae=report.vertebrae,
            screws=report.screws,
            cement_elsewhere=report.cement_elsewhere,
            metal=report.metal,
            leak_codes={name: FIRST_LEAK + k for k, name in enumerate(leaks)},
        )

    def replace(self, **changes: object) -> Self:
        """Copy with some fields changed."""
        return self.model_copy(update=changes)

    def decision(self, finding: FindingId) -> FindingDecision:
        """Find the decision on a finding.

        Raises
        ------
        KeyError
            If there is no such finding.
        """
        for one in self.decisions:
            if (one.kind, one.finding_id) == (finding.kind, finding.finding_id):
                return one
        raise KeyError(finding)

    def decided(
        self, finding: FindingId, decision: DecisionKind, reason: str = ""
    ) -> Self:
        """Copy with a decision on one finding."""
        self.decision(finding)
        at = None if decision == "open" else now_utc()
        return self.replace(
            decisions=tuple(
                one.model_copy(
                    update={"decision": decision, "reason": reason, "at": at}
                )
                if (one.kind, one.finding_id) == (finding.kind, finding.finding_id)
                else one
                for one in self.decisions
            )
        )

    def vertebra(self, level: str) -> VertebraEntry:
        """Vertebra by the machine's name.

        Raises
        ------
        KeyError
            If it is not in view.
        """
        for entry in self.vertebrae:
            if entry.level == level:
                return entry
        raise KeyError(level)

    def with_vertebra(self, changed: VertebraEntry) -> Self:
        """Copy with one vertebra replaced."""
        return self.replace(
            vertebrae=tuple(
                changed if entry.level == changed.level else entry
                for entry in self.vertebrae
            )
        )

    def leak(self, leak_id: str) -> tuple[str, LeakEntry]:
        """Level (the machine's name) and entry of a leak.

        Raises
        ------
        KeyError
            If there is no such leak.
        """
        for vertebra in self.vertebrae:
            for leak in vertebra.leaks:
                if leak.id == leak_id:
                    return vertebra.level, leak
        raise KeyError(leak_id)

    def with_leak(self, changed: LeakEntry, level: str | None = None) -> Self:
        """Copy with one leak replaced, or put under another level."""
        before, _ = self.leak(changed.id)
        level = level or before
        if level == before:
            vertebra = self.vertebra(level)
            leaks = tuple(changed if k.id == changed.id else k for k in vertebra.leaks)
            return self.with_vertebra(vertebra.model_copy(update={"leaks": leaks}))
        without = self.without_leak(changed.id, keep_decision=True)
        return without.with_leak_at(changed, level)

    def with_leak_at(self, leak: LeakEntry, level: str) -> Self:
        """Copy with a leak entry added to a level; its decision must be there."""
        vertebra = self.vertebra(level)
        return self.with_vertebra(
            vertebra.model_copy(update={"leaks": (*vertebra.leaks, leak)})
        )

    def with_added_leak(self, leak: LeakEntry, level: str, code: int) -> Self:
        """Copy with a leak that the reader found; its decision is "modified"."""
        decision = FindingDecision(
            finding_id=leak.id,
            kind="leak",
            decision="modified",
            reason="added by the reader",
            at=now_utc(),
            result_id=None,
            added_by_reader=True,
        )
        last = max(
            (
                place
                for place, one in enumerate(self.decisions)
                if one.finding_id in self._ids_at(level)
            ),
            default=len(self.decisions) - 1,
        )
        return self.with_leak_at(leak, level).replace(
            decisions=(
                *self.decisions[: last + 1],
                decision,
                *self.decisions[last + 1 :],
            ),
            leak_codes={**self.leak_codes, leak.id: code},
        )

    def _ids_at(self, level: str) -> set[str]:
        entry = self.vertebra(level)
        screws = {screw.id for screw in self.screws if screw.level == level}
        return {level, *(leak.id for leak in entry.leaks), *screws}

    def without_leak(self, leak_id: str, keep_decision: bool = False) -> Self:
        """Copy without a leak's entry; its decision goes too unless it is kept."""
        level, _ = self.leak(leak_id)
        vertebra = self.vertebra(level)
        leaks = tuple(leak for leak in vertebra.leaks if leak.id != leak_id)
        state = self.with_vertebra(vertebra.model_copy(update={"leaks": leaks}))
        if keep_decision:
            return state
        return state.replace(
            decisions=tuple(
                one
                for one in self.decisions
                if (one.kind, one.finding_id) != ("leak", leak_id)
            )
        )

    def with_leak_gone(self, leak_id: str, reason: str) -> Self:
        """Copy without a leak that a correction swallowed.

        A leak of the reader's own goes without a trace; one of the machine's was
        judged, and stays on the record as rejected.
        """
        finding = FindingId("leak", leak_id)
        if self.decision(finding).added_by_reader:
            return self.without_leak(leak_id)
        state = self.without_leak(leak_id, keep_decision=True)
        return state.decided(finding, "rejected", reason)

    def free_leak_code(self) -> int:
        """Code of the working map that no leak has had.

        Raises
        ------
        ValueError
            If there are too many leaks.
        """
        code = max(self.leak_codes.values(), default=FIRST_LEAK - 1) + 1
        if code > LAST_LEAK:
            raise ValueError(f"more than {LAST_LEAK - FIRST_LEAK} leaks in one case")
        return code

    def free_leak_id(self, level: str) -> str:
        """Id for one more leak of a level; ids are never given twice."""
        taken = set(self.leak_codes)
        number = 1
        while f"{level}-{number}" in taken:
            number += 1
        return f"{level}-{number}"

    def level_of_leak_code(self, code: int) -> str | None:
        """Level whose leak has this code; None for a code that is not in use."""
        for leak_id, number in self.leak_codes.items():
            if number == code:
                try:
                    return self.leak(leak_id)[0]
                except KeyError:
                    return None
        return None
