"""Run a batch: find, plan, measure, and write the tables."""

import json
import queue
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cemscope.errors import ConfigError, ExportError, NoSeriesError
from cemscope_pipelines.batch import case_job
from cemscope_pipelines.batch.batch_provenance import write_batch_provenance
from cemscope_pipelines.batch.case_job import CaseJob
from cemscope_pipelines.batch.case_work import is_finished, remove_parts
from cemscope_pipelines.batch.engine import (
    CaseEngine,
    CaseEventKind,
    EventQueue,
    LocalEngine,
)
from cemscope_pipelines.batch.found_series import SearchJob
from cemscope_pipelines.batch.isolated_call import CallEnd, EndKind, IsolatedCall
from cemscope_pipelines.batch.isolation import run_isolated
from cemscope_pipelines.batch.ledger import LEDGER_FILE, Ledger
from cemscope_pipelines.batch.ledger_case import (
    FAILURES,
    UNREADABLE_REPORT,
    CaseStatus,
    CaseUpdate,
    LedgerCase,
)
from cemscope_pipelines.batch.out_lock import OutLock
from cemscope_pipelines.batch.pairing import paired_by_date
from cemscope_pipelines.batch.patients import told_apart
from cemscope_pipelines.batch.planning import CasePlan, PlannedCase, plan_cases
from cemscope_pipelines.batch.prepare import ReadyConfig
from cemscope_pipelines.batch.request import (
    CASES_FOLDER,
    BatchDisplay,
    BatchPlan,
    BatchRequest,
    BatchResult,
)
from cemscope_pipelines.batch.search import FoundInput, excluded_folder, search_root
from cemscope_pipelines.batch.thumbnail import case_thumbnail

_PAGES = "cemscope_pipelines.batch.pages:run"

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


def _search(request: BatchRequest, salt: bytes, display: BatchDisplay) -> FoundInput:
    job = SearchJob(
        root=str(request.root.resolve()),
        excluded=str(excluded_folder(request.root, request.out)),
        config=request.config,
        salt=salt.hex(),
    )
    return search_root(job, threading.Event(), display.searching)


def _engine(request: BatchRequest, ready: ReadyConfig) -> CaseEngine:
    runner = case_job.CASE_RUNNER
    if request.cluster is None:
        return LocalEngine(request.workers, runner, request.limits)
    from cemscope_pipelines.batch.cluster import ClusterEngine

    return ClusterEngine(request.cluster, runner, request.limits, ready.version)


def _jobs(
    cases: Sequence[PlannedCase],
    waiting: set[str],
    request: BatchRequest,
    ready: ReadyConfig,
) -> list[CaseJob]:
    """Jobs of the cases that wait, the long ones first: less idling at the end."""
    taken = [c for c in cases if c.entry.key in waiting]
    taken.sort(key=lambda c: (-c.entry.slices, c.entry.name))
    folder = request.out.resolve() / CASES_FOLDER
    return [
        CaseJob(
            key=c.entry.key,
            series_path=c.path,
            series_name=c.entry.series,
            case_folder=str(folder / c.entry.name),
            config=ready.config,
            command=request.command,
        )
        for c in taken
    ]


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


def _bring_up_to_date(ledger: Ledger, plan: CasePlan, request: BatchRequest) -> int:
    """Enter the plan, and settle what an earlier run left open.

    Returns
    -------
    int
        Cases without a result that are not under the root any more.
    """
    cases_folder = request.out / CASES_FOLDER
    ledger.put(c.entry for c in plan.cases)
    gone = ledger.retire(plan.root_key, {c.entry.key for c in plan.cases}, plan.found)
    ledger.put_unsuitable(plan.unsuitable)
    told = told_apart(tuple(ledger.cases()), ledger.salt)
    ledger.tell_patients(paired_by_date(told, pair=request.pair_followups))
    if request.cluster is None:
        # On a cluster, a worker may still be writing for a run that died.
        remove_parts(cases_folder, "*")
    _adopt(ledger, cases_folder)
    ledger.wait_again([CaseStatus.RUNNING])
    for case in list(ledger.cases(CaseStatus.DONE)):
        if not is_finished(cases_folder / case.name):  # deleted by its owner
            ledger.end(case.key, CaseUpdate(CaseStatus.WAITING))
    if request.retry_failed:
        # What the headers forbid is not tried: nothing about it has changed.
        sound = {c.entry.key for c in plan.cases if c.entry.status not in FAILURES}
        ledger.wait_again(FAILURES, sound)
    return gone


@contextmanager
def _running(engine: CaseEngine) -> Iterator[None]:
    try:
        yield
    finally:
        engine.stop()


def _measure(
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


def write_pages(out: Path, ledger: Ledger) -> None:
    """Write tables and overview of an output folder, in a process of their own.

    A case whose report cannot be read any more becomes a failed one.

    Raises
    ------
    ExportError
        If that fails; the ledger and the cases are untouched.
    """
    end = run_isolated(IsolatedCall(_PAGES, str(out.resolve())))
    if end.kind is not EndKind.DONE:
        raise ExportError(f"tables and overview cannot be written: {end.reason}")
    damaged: dict[str, str] = json.loads(end.result)
    for case in [c for c in ledger.cases() if c.key in damaged]:
        update = CaseUpdate(
            status=CaseStatus.FAILED,
            reason_code=UNREADABLE_REPORT,
            reason=damaged[case.key],
            seconds=case.seconds,
            peak_memory_mib=case.peak_memory_mib,
        )
        ledger.end(case.key, update)


def run_batch(request: BatchRequest, display: BatchDisplay) -> BatchResult:
    """Measure every series under a root, each in a process of its own.

    What is finished already, with the same input, configuration and version, is not
    repeated.

    Raises
    ------
    ConfigError
        If a setting is wrong, another batch writes to the same folder, or the cluster
        does not answer.
    NoSeriesError
        If nothing under the root could be a case.
    ExportError
        If tables cannot be written, or the cluster is lost on the way.
    KeyboardInterrupt
        After what ran was stopped and noted.
    """
    excluded_folder(request.root, request.out)
    is_new = not request.out.exists()
    try:
        return _run_batch(request, display)
    except NoSeriesError:
        if is_new:  # nothing was measured: nothing is left behind
            shutil.rmtree(request.out, ignore_errors=True)
        raise


def nothing_found(plan: CasePlan) -> str:
    """Say that there is no case, and what there is instead."""
    counts = Counter(u.reason_code for u in plan.unsuitable)
    listed = ", ".join(f"{n} x {code}" for code, n in sorted(counts.items()))
    return "ROOT: expected CT series, found " + (
        f"none that was meant for reading ({listed}); cemscope inspect says more"
        if listed
        else "no DICOM image in any folder or zip archive below it. Check the path"
    )


def _shared_numbers(ledger: Ledger) -> int:
    """How many patient numbers are of several patients."""
    return len({c.number_key for c in ledger.cases() if c.patient_note})


def _run_batch(request: BatchRequest, display: BatchDisplay) -> BatchResult:
    cases_folder = request.out / CASES_FOLDER
    try:
        cases_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--out: the folder cannot be written to: {error.strerror}"
        ) from None
    with OutLock(request.out), Ledger(request.out / LEDGER_FILE) as ledger:
        found = _search(request, ledger.salt, display)
        ready = found.config
        plan = plan_cases(
            found,
            ready,
            request.root.resolve(),
            ledger.salt,
            one_per_study=request.one_per_study,
        )
        if not plan.cases:
            raise NoSeriesError(nothing_found(plan))
        write_batch_provenance(request, ready, plan.cases, found.units)
        gone = _bring_up_to_date(ledger, plan, request)
        waiting = {c.key: c.name for c in ledger.cases(CaseStatus.WAITING)}
        jobs = _jobs(plan.cases, set(waiting), request, ready)
        counts = ledger.counts()
        display.planned(
            BatchPlan(
                cases=len(plan.cases),
                done=counts.get(CaseStatus.DONE, 0),
                failed=sum(counts.get(s, 0) for s in FAILURES),
                to_run=len(jobs),
                unsuitable=len(plan.unsuitable),
                notes=found.notes,
                gone=gone,
                shared_numbers=_shared_numbers(ledger),
                names={job.key: waiting[job.key] for job in jobs},
            )
        )
        try:
            started = _measure(ledger, jobs, _engine(request, ready), display)
        finally:
            display.writing()
            write_pages(request.out, ledger)
        result = BatchResult(ledger.counts(), len(plan.unsuitable), started)
    if request.cluster is not None and result.counts.get(CaseStatus.WAITING):
        raise ExportError(
            f"the cluster took back {result.counts[CaseStatus.WAITING]} cases; start "
            "the same command again to go on"
        )
    return result


def listed_cases(out: Path) -> tuple[LedgerCase, ...]:
    """All cases of an output folder, from its ledger.

    Raises
    ------
    ConfigError
        If there is no ledger.
    """
    path = out / LEDGER_FILE
    if not path.is_file():
        raise ConfigError(
            f"--out: expected the output of a batch, found no {LEDGER_FILE} in it"
        )
    with Ledger(path, read_only=True) as ledger:
        return tuple(ledger.cases())
