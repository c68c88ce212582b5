"""Run a batch: find, plan, measure, and write the tables."""

import json
import shutil
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cemscope.errors import ConfigError, ExportError, NoSeriesError
from cemscope_pipelines.batch.batch_provenance import write_batch_provenance
from cemscope_pipelines.batch.case_job import CaseJob
from cemscope_pipelines.batch.case_round import engine_of, measure, settle
from cemscope_pipelines.batch.comparisons import FOLLOWUPS_LEDGER
from cemscope_pipelines.batch.followup_round import compare_followups
from cemscope_pipelines.batch.found_series import SearchJob
from cemscope_pipelines.batch.isolated_call import EndKind, IsolatedCall
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

_PAGES = "cemscope_pipelines.batch.pages:run"


def _search(request: BatchRequest, salt: bytes, display: BatchDisplay) -> FoundInput:
    job = SearchJob(
        root=str(request.root.resolve()),
        excluded=str(excluded_folder(request.root, request.out)),
        config=request.config,
        salt=salt.hex(),
    )
    return search_root(job, threading.Event(), display.searching)


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
    settle(ledger, cases_folder, request)
    if request.retry_failed:
        # What the headers forbid is not tried: nothing about it has changed.
        sound = {c.entry.key for c in plan.cases if c.entry.status not in FAILURES}
        ledger.wait_again(FAILURES, sound)
    return gone


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
        open_followups = 0
        try:
            started = measure(ledger, jobs, engine_of(request, ready), display)
            if request.pair_followups:
                more, open_followups = compare_followups(
                    request, ready, ledger, plan, display
                )
                started += more
        finally:
            display.writing()
            write_pages(request.out, ledger)
        result = BatchResult(ledger.counts(), len(plan.unsuitable), started)
    left = result.counts.get(CaseStatus.WAITING, 0) + open_followups
    if request.cluster is not None and left:
        raise ExportError(
            f"the cluster took back {left} cases; start the same command again to go on"
        )
    return result


def listed_followups(out: Path) -> tuple[LedgerCase, ...]:
    """All comparisons of an output folder, from their ledger; none without one."""
    path = out / FOLLOWUPS_LEDGER
    if not path.is_file():
        return ()
    with Ledger(path, read_only=True) as ledger:
        return tuple(ledger.cases())


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
