"""``cemscope followup``: a later CT, compared with the case of an earlier one."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cemscope_pipelines.cli.analyze import where_it_lies
from cemscope_pipelines.cli.console import (
    Console,
    HandledCommand,
    console_options,
    pass_console,
)
from cemscope_pipelines.cli.settings_options import settings_options

if TYPE_CHECKING:
    from cemscope_pipelines.followup.followup_run import FollowupJob, FollowupResult

EXAMPLES = """\b
Examples:
  cemscope followup case later_ct --out case2
  cemscope followup case later_ct --out case2 --baseline-series first_ct
  cemscope followup case later_ct --out case2 --anchor L5
  cemscope followup case later_ct --out case2 --same-patient "new ID after a merger"
"""


def run_followup(console: Console, job: "FollowupJob") -> "FollowupResult":
    """Compare two scans and tell the user what was chosen and written."""
    from cemscope_pipelines.case_folder import check_target
    from cemscope_pipelines.followup.followup_run import follow_series

    replaces = check_target(job.analysis.case_folder)
    result = follow_series(job, console.progress, console.say)
    console.close()
    for warning in result.case.report.series.warnings:
        console.say(f"warning ({warning.code}): {warning.message}")
    if replaces:
        console.say("the earlier case in this folder was replaced")
    return result


@click.command(name="followup", cls=HandledCommand, epilog=EXAMPLES)
@click.argument(
    "baseline", metavar="CASE", type=click.Path(exists=True, path_type=Path)
)
@click.argument(
    "series_path", metavar="SERIES", type=click.Path(exists=True, path_type=Path)
)
@click.option(
    "--out",
    "case_folder",
    metavar="CASE2",
    required=True,
    type=click.Path(path_type=Path),
    help="Case folder to write for the later scan.",
)
@click.option(
    "--series",
    "series_uid",
    metavar="UID",
    help="Series instance UID of the later scan, where there are several.",
)
@click.option(
    "--baseline-series",
    metavar="PATH",
    type=click.Path(exists=True, path_type=Path),
    help="Where the CT series of CASE lies now; default: where it lay.",
)
@click.option(
    "--same-patient",
    metavar="REASON",
    help="Compare scans whose headers name different patients; the reason is recorded.",
)
@click.option(
    "--vertebrae",
    "vertebra_source",
    metavar="SOURCE",
    help="Of the later scan: embedded (default), totalsegmentator, or the PATH of a "
    "label map.",
)
@click.option(
    "--anchor",
    metavar="LEVEL[@X,Y,Z]",
    help="Names a level of the later scan, as in `cemscope analyze`.",
)
@settings_options
@console_options
@pass_console
def command(
    console: Console,
    /,
    baseline: Path,
    series_path: Path,
    case_folder: Path,
    series_uid: str | None,
    baseline_series: Path | None,
    same_patient: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    **choices: Any,
) -> None:
    """Measure a later CT and tell what changed since the baseline CASE.

    Each vertebra is registered to the baseline by its bone. Reported are the lucent
    rim around each screw and its growth, tilt and migration of screws, movement of
    cement, loss of height of every body, and suspected breaks of screws and rods.
    Where a reader reviewed CASE, the reader's values count.
    """  # fmt: skip
    from cemscope.errors import ConfigError
    from cemscope_pipelines.analysis import AnalysisJob
    from cemscope_pipelines.cli.followup_table import followup_table
    from cemscope_pipelines.cli.table import report_table
    from cemscope_pipelines.config import load_config
    from cemscope_pipelines.followup.followup_run import FollowupJob
    from cemscope_pipelines.vertebra_source import EMBEDDED, TOTALSEGMENTATOR

    if same_patient is not None and not same_patient.strip():
        raise ConfigError("--same-patient: expected a reason, found nothing")
    if case_folder.resolve() == baseline.resolve():
        raise ConfigError(
            "--out: the baseline case is never replaced; give a new folder"
        )
    config = load_config(config_file, assignments, choices)
    source = config.vertebra_source
    if source not in (EMBEDDED, TOTALSEGMENTATOR) and not Path(source).exists():
        raise ConfigError(
            f"--vertebrae: expected {EMBEDDED}, {TOTALSEGMENTATOR} or the path of a "
            f"label map; nothing lies at {source}"
        )
    job = FollowupJob(
        AnalysisJob(
            series=series_path,
            case_folder=case_folder,
            config=config,
            series_uid=series_uid,
            command=tuple(sys.argv),
        ),
        baseline,
        baseline_series,
        same_patient,
    )
    report = run_followup(console, job).case.report
    if console.as_json:
        console.result(report.to_json().rstrip())
        return
    console.result(report_table(report))
    console.result("")
    console.result(followup_table(report))
    console.say(where_it_lies(case_folder))
