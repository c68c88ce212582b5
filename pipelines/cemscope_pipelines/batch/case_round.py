"""One round of a batch: run the cases that wait, and note how each ends."""

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cemscope_pipelines.batch import case_job
from cemscope_pipelines.batch.case_job import CaseJob
from cemscope_pipelines.batch.case_work import is_finished, remove_parts
from cemscope_pipelines.batch.engine import (
    CaseEngine,
    CaseEventKind,
    EventQueue,
    LocalEngine,
)
from cemscope_pipelines.batch.isolated_call import CallEnd, EndKind
from cemscope_pipelines.batch.ledger import Ledger
from cemscope_pipelines.batch.ledger_case import FAILURES, CaseStatus, CaseUpdate
from cemscope_pipelines.batch.prepare import ReadyConfig
from cemscope_pipelines.batch.request import BatchDisplay, BatchRequest
from cemscope_pipelines.batch.thumbnail import case_thumbnail

_TICK_S = 0.5

_STATUS = {
    EndKind.DONE: CaseStatus.DONE,
    EndKind.REFUSED: CaseStatus.REFUSED,
    EndKind.CONFIG: CaseStatus.FAILED,
    EndKind.FAILED: CaseStatus.FAILED,
    EndKind.MEMORY: CaseStatus.MEMORY,
    EndKind.TIMEOUT: CaseStatus.TIMEOUT,
    EndKind.KILLED: CaseStatus.KILLED,
    EndKind.INTERRUPTED: CaseStatus.WAITING,
}


def engine_of(request: BatchRequest, ready: ReadyConfig) -> CaseEngine:
    """Make what runs the cases: processes here, or workers of a cluster."""
    runner = case_job.CASE_RUNNER
    if request.cluster is None:
        return LocalEngine(request.workers, runner, request.limits)
    from cemscope_pipelines.batch.cluster import ClusterEngine

    return ClusterEngine(request.cluster, runner, request.limits, ready.version)


def _update_of(end: CallEnd, case_folder: Path) -> CaseUpdate:
    done = end.kind is EndKind.DONE
    return CaseUpdate(
        status=_STATUS[end.kind],
        reason_code=end.code,
        reason=end.reason,
        stage=end.stage,
        seconds=round(end.seconds, 2),
        peak_memory_mib=round(end.peak_memory_mib, 1),
        thumbnail=case_thumbnail(case_folder) if done else None,
    )


def _adopt(ledger: Ledger, cases_folder: Path) -> int:
    """Take over cases that were written whole, but whose end was not noted."""
    found = [
        case
        for status in (CaseStatus.WAITING, CaseStatus.RUNNING, *FAILURES)
        for case in ledger.cases(status)
        if is_finished(cases_folder / case.name)
    ]
    for case in found:
        thumbnail = case_thumbnail(cases_folder / case.name)
        ledger.end(
            case.key,
            CaseUpdate(
                CaseStatus.DONE,
                stage=case.stage,
                seconds=case.seconds,
                peak_memory_mib=case.peak_memory_mib,
                thumbnail=thumbnail,
            ),
        )
    return len(found)


def settle(ledger: Ledger, cases_folder: Path, request: BatchRequest) -> None:
    """Settle what an earlier run left open: by the folders, not by the ledger."""
    if request.cluster is None:
        # On a cluster, a worker may still be writing for a run that died.
        remove_parts(cases_folder, "*")
    _adopt(ledger, cases_folder)
    ledger.wait_again([CaseStatus.RUNNING])
    for case in list(ledger.cases(CaseStatus.DONE)):
        if not is_finished(cases_folder / case.name):  # deleted by its owner
            ledger.end(case.key, CaseUpdate(CaseStatus.WAITING))


@contextmanager
def _running(engine: CaseEngine) -> Iterator[None]:
    try:
        yield
    finally:
        engine.stop()


def measure(
    ledger: Ledger,
    jobs: Sequence[CaseJob],
    engine: CaseEngine,
    display: BatchDisplay,
) -> int:
    """Run the jobs; every end is noted before the next news is read.

    Returns
    -------
    int
        How many were started.
    """
    events: EventQueue = queue.SimpleQueue()
    folders = {job.key: Path(job.case_folder) for job in jobs}
    open_keys = set(folders)
    started: set[str] = set()

    def take(seconds: float) -> bool:
        try:
            event = events.get(timeout=seconds)
        except queue.Empty:
            return False
        if event.key not in open_keys:
            return True
        update = None
        if event.kind is not CaseEventKind.STAGE and event.key not in started:
            started.add(event.key)
            ledger.start(event.key)
        if event.kind is CaseEventKind.ENDED and event.end is not None:
            update = _update_of(event.end, folders[event.key])
            ledger.end(event.key, update)
            open_keys.discard(event.key)
        display.happened(event, update)
        return True

    try:
        with _running(engine):
            engine.start(jobs, events)
            while open_keys:
                take(_TICK_S)
                display.tick()
    finally:
        while take(0.0):
            continue
    return len(started)
