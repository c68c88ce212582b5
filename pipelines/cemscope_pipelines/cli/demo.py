"""``cemscope demo``: the sample patient and its follow-up, compared with the truth."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cemscope_pipelines.cli.analyze import run_job, where_it_lies
from cemscope_pipelines.cli.console import (
    Console,
    HandledCommand,
    console_options,
    pass_console,
)

if TYPE_CHECKING:
    from cemscope_pipelines.report import Report, VertebraEntry
    from cemscope_pipelines.sample_case import LevelTruth, SampleTruth

EXAMPLES = """\b
Examples:
  cemscope demo
  cemscope demo --out demo_case
  cemscope demo --sample cemscope/sample_dicom --json
"""


def _row(vertebra: "VertebraEntry", known: "LevelTruth | None") -> tuple[str, ...]:
    """Measured and true volume of one vertebra."""
    from cemscope_pipelines.report import CementEntry

    true_level = "none" if known is None else known.level
    true_ml = 0.0 if known is None else known.cement_ml
    start = (vertebra.level, true_level)
    cement = vertebra.cement
    if not isinstance(cement, CementEntry):
        return (*start, "not assessed", "-", f"{true_ml:.2f}", "-", "-")
    low, high = cement.interval_ml
    error = (
        f"{100.0 * (cement.volume_ml / true_ml - 1.0):+.1f}" if true_ml > 0.0 else "-"
    )
    return (
        *start,
        f"{cement.volume_ml:.2f}",
        f"{low:.2f} - {high:.2f}",
        f"{true_ml:.2f}",
        error,
        "yes" if low <= true_ml <= high else "no",
    )


def truth_table(report: "Report", truth: "SampleTruth") -> str:
    """Compare measured and true volumes, from the highest vertebra to the lowest.

    Vertebrae are matched by place, so that a wrong level name shows as such.
    """
    from cemscope_pipelines.cli.table import format_table

    pairs = [(v, truth.at(v.centroid_lps_mm)) for v in reversed(report.vertebrae)]
    header = (
        "level", "true level", "measured mL", "95 % interval", "true mL", "error %",
        "covered",
    )  # fmt: skip
    lines = [format_table(header, [_row(*pair) for pair in pairs], (0, 1))]
    matched = {known.level for _, known in pairs if known is not None}
    lines += [
        f"not found: {known.level} with {known.cement_ml:.2f} mL"
        for known in truth.levels
        if known.level not in matched and known.cement_ml > 0.0
    ]
    found, wanted = {screw.id for screw in report.screws}, set(truth.screw_ids)
    lines.append(
        f"screws by name: {len(found & wanted)} of {len(wanted)} found, "
        f"{len(found - wanted)} others"
    )
    return "\n".join(lines)


def loose_line(report: "Report", truth: "SampleTruth") -> str:
    """Name the screws that the follow-up suspects, beside those that are loose."""
    found = report.followup.conclusions if report.followup is not None else ()
    named = [one.subject for one in found if one.code == "screw_loose"]
    return (
        f"loose screws: {', '.join(named) or 'none'} "
        f"(true: {', '.join(truth.loosened) or 'none'})"
    )


def _follow(
    console: Console, sample: Path, case_folder: Path, truth: "SampleTruth | None"
) -> None:
    """Compare the sample's second scan with its first one."""
    from cemscope_pipelines.analysis import AnalysisJob
    from cemscope_pipelines.cli.followup import run_followup
    from cemscope_pipelines.cli.followup_table import followup_table
    from cemscope_pipelines.config import AnalysisConfig
    from cemscope_pipelines.followup.followup_run import FollowupJob
    from cemscope_pipelines.sample_case import BASELINE, FOLLOWUP

    later = case_folder.with_name(case_folder.name + FOLLOWUP_SUFFIX)
    job = FollowupJob(
        AnalysisJob(
            series=sample / FOLLOWUP,
            case_folder=later,
            config=AnalysisConfig(),
            command=tuple(sys.argv),
        ),
        baseline=case_folder,
        baseline_series=sample / BASELINE,
    )
    report = run_followup(console, job).case.report
    console.result("\nsix months later, compared with the first scan:")
    console.result(followup_table(report))
    if truth is not None:
        console.result(loose_line(report, truth))
    console.result(f"\n{where_it_lies(later)}")


FOLLOWUP_SUFFIX = "_followup"
"""The case of the second scan lies beside that of the first."""


@click.command(name="demo", cls=HandledCommand, epilog=EXAMPLES)
@click.option(
    "--out",
    "case_folder",
    metavar="CASE",
    default="demo_case",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Case folder to write; that of the second scan gets the ending "
    f"{FOLLOWUP_SUFFIX}.",
)
@click.option(
    "--sample",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the sample patient; default: $CEMSCOPE_SAMPLE, else sample_dicom "
    "of the repository.",
)
@click.option(
    "--baseline-only",
    is_flag=True,
    help="Leave the second scan and its comparison out.",
)
@console_options
@pass_console
def command(
    console: Console, /, case_folder: Path, sample: Path | None, baseline_only: bool
) -> None:
    """Analyse the sample patient twice and compare with the known truth.

    The patient is simulated: an L3-L5 fixation with cemented screws and a
    vertebroplasty of L2, with the true volumes in manifest.json; six months later
    one screw is loose.
    """  # fmt: skip
    from cemscope_pipelines.analysis import AnalysisJob
    from cemscope_pipelines.cli.table import report_table
    from cemscope_pipelines.config import AnalysisConfig
    from cemscope_pipelines.sample_case import (
        BASELINE,
        FOLLOWUP,
        find_sample,
        read_truth,
    )

    folder = find_sample(sample)
    truth = read_truth(folder)
    job = AnalysisJob(
        series=folder / BASELINE,
        case_folder=case_folder,
        config=AnalysisConfig(),
        command=tuple(sys.argv),
    )
    result = run_job(console, job)
    if console.as_json:
        console.result(result.report.to_json().rstrip())
        return
    console.result(report_table(result.report))
    if truth is not None:
        console.result("\nagainst the simulation's truth:")
        console.result(truth_table(result.report, truth))
    console.result(f"\n{where_it_lies(case_folder)}")
    if not baseline_only and (folder / FOLLOWUP).is_dir():
        _follow(console, folder, case_folder, truth)
