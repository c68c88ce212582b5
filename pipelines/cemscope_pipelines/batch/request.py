"""What a batch is asked, and what it tells while and after it runs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cemscope_pipelines.batch.engine import CaseEvent
from cemscope_pipelines.batch.found_series import RootNotes
from cemscope_pipelines.batch.isolated_call import CallLimits
from cemscope_pipelines.batch.ledger_case import CaseStatus, CaseUpdate
from cemscope_pipelines.batch.prepare import ConfigJob

CASES_FOLDER = "cases"


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What a batch is asked.

    Attributes
    ----------
    root, out : Path
        Where the scans lie, where the results go.
    config : ConfigJob
        How every case is measured.
    workers : int
        Cases at a time on this machine.
    limits : CallLimits
        Of one case.
    retry_failed : bool
        Try failed cases again.
    one_per_study : bool
        Only the series that ``analyze`` would take of each study.
    pair_followups : bool
        Pair later scans of a patient with the first, and compare them with it.
    cluster : str or None
        Address of a Dask scheduler.
    command : tuple of str
        Words of the command line, for the provenance.
    """

    root: Path
    out: Path
    config: ConfigJob = field(default_factory=ConfigJob)
    workers: int = 1
    limits: CallLimits = field(default_factory=CallLimits)
    retry_failed: bool = False
    one_per_study: bool = False
    pair_followups: bool = False
    cluster: str | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What a batch is going to do.

    Attributes
    ----------
    cases : int
        Cases in all.
    done, failed : int
        Of them finished, and failed and not tried again.
    to_run : int
        Of them to be run now.
    unsuitable : int
        Series that are no cases.
    notes : RootNotes
        Copies and links.
    gone : int
        Cases of earlier runs without a result whose scans are not there any more.
    shared_numbers : int
        Patient numbers that are of several patients.
    names : dict of str to str
        Name of each case to be run, by key.
    what : str
        What the cases are called.
    """

    cases: int
    done: int
    failed: int
    to_run: int
    unsuitable: int
    notes: RootNotes
    gone: int
    shared_numbers: int
    names: dict[str, str]
    what: str = "cases"


class BatchDisplay(Protocol):
    """Who is told about the progress of a batch."""

    def searching(self, done: int, count: int, series: int) -> None:
        """Hear that headers of ``done`` of ``count`` folders are read."""

    def planned(self, plan: BatchPlan) -> None:
        """Hear what the cases are."""

    def happened(self, event: CaseEvent, update: CaseUpdate | None) -> None:
        """Hear that a case started, went on, or ended as ``update`` says."""

    def tick(self) -> None:
        """Hear that half a second went by."""

    def writing(self) -> None:
        """Hear that tables and overview are written."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How a batch ended.

    Attributes
    ----------
    counts : dict of CaseStatus to int
        Cases by status.
    unsuitable : int
        Series that are no cases.
    started : int
        Processes that were started for cases by this run.
    """

    counts: dict[CaseStatus, int]
    unsuitable: int
    started: int

    @property
    def failures(self) -> int:
        """Cases without a result."""
        return sum(n for s, n in self.counts.items() if s is not CaseStatus.DONE)
