"""``cemscope batch``: every series under a folder, one process per case."""

import json
import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cemscope_pipelines.cli.console import (
    Console,
    HandledCommand,
    console_options,
    pass_console,
)
from cemscope_pipelines.cli.settings_options import settings_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cemscope_pipelines.batch.ledger_case import LedgerCase
    from cemscope_pipelines.batch.request import BatchRequest

EXAMPLES = """\b
Examples:
  cemscope batch scans --out study --workers 2
  cemscope batch scans --out study --workers 2 --retry-failed --timeout 7200
  cemscope batch scans --out study --cluster tcp://head-node:8786
  cemscope batch --out study --list
  cemscope cohort study
"""

_MEMORY_SHARE = 0.9


def _usual_memory_gib(workers: int) -> float:
    """Share of a worker in the machine's memory."""
    import psutil

    total: int = psutil.virtual_memory().total
    return round(_MEMORY_SHARE * total / 1024**3 / workers, 2)


def _usual_workers() -> int:
    """One per two processors: the stages of a case need memory rather than time."""
    return max(1, (os.cpu_count() or 1) // 2)


CASE_HEADER = ("case", "patient", "status", "code", "starts", "time s", "peak MiB")

_REASON_WIDTH = 100


def cases_table(cases: "Sequence[LedgerCase]") -> str:
    """Table of cases for a terminal, the reasons of failures below their cases."""
    from cemscope_pipelines.cli.table import format_table

    if not cases:
        return "no cases"
    rows = [
        (
            case.name,
            case.patient_key or "-",
            case.status.value,
            case.reason_code or "-",
            str(case.starts),
            "-" if case.seconds is None else f"{case.seconds:.1f}",
            "-" if case.peak_memory_mib is None else f"{case.peak_memory_mib:.0f}",
        )
        for case in cases
    ]
    header, rule, *lines = format_table(CASE_HEADER, rows, (0, 1, 2, 3)).split("\n")
    table = [header, rule]
    for case, line in zip(cases, lines, strict=True):
        table.append(line)
        table += [f"    {piece}" for piece in textwrap.wrap(case.reason, _REASON_WIDTH)]
    return "\n".join(table)


def _records(cases: "Sequence[LedgerCase]") -> list[dict[str, object]]:
    return [
        {
            "case": case.name,
            "series": case.series,
            "study": case.study,
            "patient_key": case.patient_key or None,
            "acquisition_date": case.acquisition_date or None,
            "role": case.role,
            "baseline_case": case.baseline or None,
            "status": case.status.value,
            "reason_code": case.reason_code or None,
            "reason": case.reason or None,
            "stage": case.stage or None,
            "starts": case.starts,
            "seconds": case.seconds,
            "peak_memory_mib": case.peak_memory_mib,
        }
        for case in cases
    ]


def _tell(console: Console, out: Path, *, with_followups: bool = True) -> int:
    """Print what the ledger says and give the status that it means."""
    from cemscope_pipelines.batch.batch_run import listed_cases, listed_followups
    from cemscope_pipelines.batch.ledger_case import CaseStatus
    from cemscope_pipelines.cli.status import ExitStatus

    cases = listed_cases(out)
    open_cases = [c for c in cases if c.status is not CaseStatus.DONE]
    done = len(cases) - len(open_cases)
    followups = listed_followups(out) if with_followups else ()
    not_compared = [c for c in followups if c.status is not CaseStatus.DONE]
    compared = len(followups) - len(not_compared)
    if console.as_json:
        result = {
            "cases": len(cases),
            "done": done,
            "without_result": len(open_cases),
            "table": _records(cases),
            "followups": _records(followups),
        }
        console.result(json.dumps(result, indent=1))
    else:
        if open_cases:
            console.result(cases_table(open_cases))
        console.result(f"{done} of {len(cases)} cases have a result")
        if not_compared:
            console.result("\n" + cases_table(not_compared))
        if followups:
            console.result(
                f"{compared} of {len(followups)} follow-ups are compared with their "
                "baseline"
            )
    return ExitStatus.BATCH_FAILED if open_cases or not_compared else ExitStatus.DONE


def _run(console: Console, request: "BatchRequest") -> None:
    from cemscope_pipelines.batch.batch_run import run_batch
    from cemscope_pipelines.cli.batch_display import ConsoleDisplay

    display = ConsoleDisplay(console)
    try:
        run_batch(request, display)
    finally:
        display.close()


@click.command(name="batch", cls=HandledCommand, epilog=EXAMPLES)
@click.argument(
    "root",
    metavar="ROOT",
    required=False,
    type=click.Path(exists=True, path_type=Path),
)
@click.option(
    "--out",
    metavar="OUT",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Output folder; start again with the same one to go on.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 512),
    help="Cases at a time; default: one per two processors.",
)
@click.option(
    "--memory",
    "memory_gib",
    metavar="GIB",
    type=click.FloatRange(0.01),
    help="Memory of one case; default: 90 % of the machine's, shared by the workers "
    "(no limit with --cluster).",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="S",
    type=click.FloatRange(0.1),
    default=3600.0,
    show_default=True,
    help="Time of one case, seconds.",
)
@click.option("--retry-failed", is_flag=True, help="Try failed cases again.")
@click.option(
    "--one-per-study",
    is_flag=True,
    help="Only the series that analyze would take of each study; default: every "
    "series that can be measured.",
)
@click.option(
    "--pair-followups",
    is_flag=True,
    help="Compare later scans with the first one of the same patient, by date, as "
    "cemscope followup does.",
)
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Run on a Dask scheduler, e.g. tcp://host:8786.",
)
@click.option(
    "--vertebrae",
    "vertebra_source",
    type=click.Choice(["embedded", "totalsegmentator"]),
    help="Where vertebra labels come from; default: embedded.",
)
@settings_options
@click.option(
    "--list", "only_list", is_flag=True, help="Show where the cases stand; run none."
)
@console_options
@click.pass_context
@pass_console
def command(
    console: Console,
    ctx: click.Context,
    /,
    root: Path | None,
    out: Path,
    workers: int | None,
    memory_gib: float | None,
    timeout_s: float,
    retry_failed: bool,
    one_per_study: bool,
    pair_followups: bool,
    cluster: str | None,
    vertebra_source: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    only_list: bool,
) -> None:
    """Measure every CT series under ROOT, each in a process of its own.

    A case that crashes, hangs or needs too much memory costs nothing but itself.
    Started again, the batch goes on where it stopped. OUT gets one case folder each in
    cases/, batch.html, and the tables cases, vertebrae, leaks and screws (CSV and
    Parquet). Exit status 5: some cases have no result; the table says why.
    """
    from cemscope_pipelines.batch.isolated_call import CallLimits
    from cemscope_pipelines.batch.prepare import ConfigJob
    from cemscope_pipelines.batch.request import BatchRequest

    if only_list:
        ctx.exit(_tell(console, out))
    if root is None:
        raise click.UsageError("Missing argument 'ROOT'.", ctx)
    workers = workers or _usual_workers()
    if memory_gib is None and cluster is None:
        memory_gib = _usual_memory_gib(workers)
    request = BatchRequest(
        root=root,
        out=out,
        config=ConfigJob(
            config_file=None if config_file is None else str(config_file.absolute()),
            assignments=assignments,
            vertebra_source=vertebra_source,
        ),
        workers=workers,
        limits=CallLimits(memory_gib, timeout_s),
        retry_failed=retry_failed,
        one_per_study=one_per_study,
        pair_followups=pair_followups,
        cluster=cluster,
        command=tuple(sys.argv),
    )
    _run(console, request)
    status = _tell(console, out, with_followups=pair_followups)
    console.say(f"overview: {out / 'batch.html'}")
    ctx.exit(status)
