"""The second round of a batch: later scans are compared with the first ones.

Every scan is measured on its own first; so a comparison that fails costs no measure,
and the baseline can be the first scan that shows cement or screws. A comparison is a
case of its own, in ``followups/`` and in a ledger beside that of the cases.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cemscope.errors import ExportError
from cemscope_pipelines.batch.case_job import CaseJob
from cemscope_pipelines.batch.case_round import engine_of, measure, settle
from cemscope_pipelines.batch.case_view import read_case
from cemscope_pipelines.batch.case_work import is_finished
from cemscope_pipelines.batch.comparisons import FOLLOWUPS_FOLDER, FOLLOWUPS_LEDGER
from cemscope_pipelines.batch.found_series import KEY_LETTERS, RootNotes
from cemscope_pipelines.batch.ledger import Ledger
from cemscope_pipelines.batch.ledger_case import (
    FAILURES,
    SEARCH,
    CaseStatus,
    LedgerCase,
)
from cemscope_pipelines.batch.pairing import FOLLOWUP, paired_by_date
from cemscope_pipelines.batch.planning import CasePlan
from cemscope_pipelines.batch.prepare import ReadyConfig
from cemscope_pipelines.batch.request import (
    CASES_FOLDER,
    BatchDisplay,
    BatchPlan,
    BatchRequest,
)

NO_BASELINE = "no_baseline"
"""Reason code of a comparison whose first scan has no result."""


def _before_operation(cases: Sequence[LedgerCase], folder: Path) -> frozenset[str]:
    """Keys of the first scans of patients, as long as they show no cement or screw."""
    patients: dict[str, list[LedgerCase]] = {}
    for case in cases:
        if case.preferred and case.patient_key:
            patients.setdefault(case.patient_key, []).append(case)
    found = set()
    for scans in patients.values():
        scans.sort(key=lambda c: (c.acquisition_date or "9", c.name))
        for case in scans if len(scans) > 1 else ():
            if case.status is not CaseStatus.DONE or _operated(folder / case.name):
                break
            found.add(case.key)
    return frozenset(found)


def _operated(case_folder: Path) -> bool:
    """Whether a case shows cement or screws, or may."""
    try:
        return read_case(case_folder).operated
    except ExportError:
        return True  # the tables tell what is wrong with it


def _comparison(later: LedgerCase, first: LedgerCase, root_key: str) -> LedgerCase:
    """Make the case of a comparison; another result of either scan is another case."""
    text = f"{later.key}\n{first.key}"
    key = hashlib.sha256(text.encode()).hexdigest()[:KEY_LETTERS]
    entry = replace(
        later,
        key=key,
        name=f"{later.acquisition_date}-{key}",
        root=root_key,
        preferred=False,
        preference="",
        status=CaseStatus.WAITING,
        stage="",
        starts=0,
        seconds=None,
        peak_memory_mib=None,
        finished_utc="",
    )
    if first.status is CaseStatus.DONE:
        return entry
    return replace(
        entry,
        status=CaseStatus.REFUSED,
        reason_code=NO_BASELINE,
        reason=f"the first scan of the patient, {first.name}, has no result",
        stage=SEARCH,
    )


def _comparisons(
    cases: Sequence[LedgerCase], plan: CasePlan, folder: Path
) -> Iterator[LedgerCase]:
    """Comparisons of the later scans that can be made now, or were made."""
    by_name = {case.name: case for case in cases}
    found = {one.entry.key for one in plan.cases}
    for case in cases:
        if case.role != FOLLOWUP or case.status is not CaseStatus.DONE:
            continue
        entry = _comparison(case, by_name[case.baseline], plan.root_key)
        if case.key in found or is_finished(folder / entry.name):
            yield entry


def _jobs(
    entries: Sequence[LedgerCase],
    paths: Mapping[str, str],
    request: BatchRequest,
    ready: ReadyConfig,
) -> list[CaseJob]:
    out = request.out.resolve()
    return [
        CaseJob(
            key=entry.key,
            series_path=paths[entry.series],
            series_name=entry.series,
            case_folder=str(out / FOLLOWUPS_FOLDER / entry.name),
            config=ready.config,
            command=request.command,
            baseline_folder=str(out / CASES_FOLDER / entry.baseline),
        )
        for entry in entries
    ]


def compare_followups(
    request: BatchRequest,
    ready: ReadyConfig,
    ledger: Ledger,
    plan: CasePlan,
    display: BatchDisplay,
) -> tuple[int, int]:
    """Compare every later scan with the first one of its patient.

    Parameters
    ----------
    request, ready
        What the batch is asked, and its configuration.
    ledger
        Of the cases; the roles of the scans are noted in it.
    plan
        What lies under the root.
    display
        Told about the progress.

    Returns
    -------
    tuple of int
        How many were started, and how many still wait.
    """
    cases_folder = request.out / CASES_FOLDER
    folder = request.out / FOLLOWUPS_FOLDER
    cases = tuple(ledger.cases())
    cases = paired_by_date(cases, before=_before_operation(cases, cases_folder))
    ledger.tell_patients(cases)
    entries = tuple(_comparisons(cases, plan, folder))
    if not entries and not (request.out / FOLLOWUPS_LEDGER).exists():
        return 0, 0
    folder.mkdir(exist_ok=True)
    with Ledger(request.out / FOLLOWUPS_LEDGER) as book:
        book.put(entries)
        keys = {entry.key for entry in entries}
        book.retire(plan.root_key, keys, frozenset(), keep_results=False)
        settle(book, folder, request)
        if request.retry_failed:
            possible = {e.key for e in entries if e.status is CaseStatus.WAITING}
            book.wait_again(FAILURES, possible)
        waiting = [c for c in book.cases(CaseStatus.WAITING) if c.key in keys]
        paths = {one.entry.series: one.path for one in plan.cases}
        jobs = _jobs(waiting, paths, request, ready)
        counts = book.counts()
        display.planned(
            BatchPlan(
                cases=len(entries),
                done=counts.get(CaseStatus.DONE, 0),
                failed=sum(counts.get(s, 0) for s in FAILURES),
                to_run=len(jobs),
                unsuitable=0,
                notes=RootNotes(),
                gone=0,
                shared_numbers=0,
                names={c.key: f"{FOLLOWUPS_FOLDER}/{c.name}" for c in waiting},
                what="follow-ups",
            )
        )
        started = 0
        if jobs:
            started = measure(book, jobs, engine_of(request, ready), display)
        return started, book.counts().get(CaseStatus.WAITING, 0)
