"""``cemscope demo``: the sample patient, measured and compared with the truth."""

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
    from cemscope_pipelines.report import Report
    from cemscope_pipelines.sample_case import SampleTruth

EXAMPLES = """\b
Examples:
  cemscope demo
  cemscope demo --out demo_case
  cemscope demo --sample cemscope/sample_dicom --json
"""


def truth_table(report: "Report", truth: "SampleTruth") -> str:
    """Compare measured and true volumes, from the highest vertebra to the lowest."""
    from cemscope_pipelines.cli.table import format_table
    from cemscope_pipelines.report import CementEntry

    rows = []
    for vertebra in reversed(report.vertebrae):
        known = truth.level(vertebra.level)
        cement = vertebra.cement
        if not isinstance(cement, CementEntry):
            rows.append((vertebra.level, "not assessed", "-", f"{known.cement_ml:.2f}",
                         "-", "-"))  # fmt: skip
            continue
        low, high = cement.interval_ml
        error = "-"
        if known.cement_ml > 0.0:
            error = f"{100.0 * (cement.volume_ml / known.cement_ml - 1.0):+.1f}"
        rows.append(
            (
                vertebra.level,
                f"{cement.volume_ml:.2f}",
                f"{low:.2f} - {high:.2f}",
                f"{known.cement_ml:.2f}",
                error,
                "yes" if low <= known.cement_ml <= high else "no",
            )
        )
    header = ("level", "measured mL", "95 % interval", "true mL", "error %", "covered")
    missed = {t.level for t in truth.levels if t.cement_ml > 0} - {
        v.level for v in report.vertebrae
    }
    found = {screw.id for screw in report.screws}
    lines = [format_table(header, rows, (0,))]
    lines += [f"not found: {level} with cement" for level in sorted(missed)]
    lines.append(
        f"screws: {len(found & set(truth.screw_ids))} of {len(truth.screw_ids)} found, "
        f"{len(found - set(truth.screw_ids))} false"
    )
    return "\n".join(lines)


@click.command(name="demo", cls=HandledCommand, epilog=EXAMPLES)
@click.option(
    "--out",
    "case_folder",
    metavar="CASE",
    default="demo_case",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Case folder to write.",
)
@click.option(
    "--sample",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the sample patient; default: $CEMSCOPE_SAMPLE, else sample_dicom "
    "of the repository.",
)
@console_options
@pass_console
def command(console: Console, /, case_folder: Path, sample: Path | None) -> None:
    """Analyse the sample patient and compare with the known truth.

    The patient is simulated: an L3-L5 fixation with cemented screws and a
    vertebroplasty of L2, with the true volumes in manifest.json.
    """  # fmt: skip
    from cemscope_pipelines.analysis import AnalysisJob
    from cemscope_pipelines.cli.table import report_table
    from cemscope_pipelines.config import AnalysisConfig
    from cemscope_pipelines.sample_case import BASELINE, find_sample, read_truth

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
