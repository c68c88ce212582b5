"""``cemscope cohort``: the tables of a study over many cases."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cemscope_pipelines.cli.console import (
    Console,
    HandledCommand,
    console_options,
    pass_console,
)

if TYPE_CHECKING:
    from cemscope_pipelines.cohort.study_table import StudyTable

EXAMPLES = """\b
Examples:
  cemscope cohort study
  cemscope cohort study --template clinical.csv
  cemscope cohort study --clinical clinical.csv
  cemscope cohort study --clinical clinical.csv --published paper.csv --json
"""


def _text_table(table: "StudyTable") -> str:
    from cemscope_pipelines.cli.table import format_table

    rows = [[cell.text for cell in line] for line in table.lines]
    left = range(len(table.header))
    return f"{table.title}\n{format_table(table.header, rows, left)}"


@click.command(name="cohort", cls=HandledCommand, epilog=EXAMPLES)
@click.argument(
    "out",
    metavar="OUT",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--clinical",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with procedure, hospital stay, scores and complications per patient.",
)
@click.option(
    "--template",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write an empty clinical file with a line per patient, and end.",
)
@click.option(
    "--published",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with summaries of a paper; one that no numbers can have is refused.",
)
@console_options
@pass_console
def command(
    console: Console,
    /,
    out: Path,
    clinical: Path | None,
    template: Path | None,
    published: Path | None,
) -> None:
    """Make the tables of a study from the output of a batch.

    OUT is the output of cemscope batch, or a folder with case folders in it. Written
    there: cohort.csv and .parquet (every number), cohort.html and .docx (tables and
    figures), cohort_patients.csv and .parquet (one row per patient), and
    cohort_left_out.csv and .parquet (cases that are not used, and why).
    """
    if template is not None:
        from cemscope_pipelines.cohort.clinical_file import write_template
        from cemscope_pipelines.cohort.study import read_study

        study = read_study(out)
        write_template(template, [p.key for p in study.patients])
        console.say(f"{template}: {len(study.patients)} patients to be filled in")
        return
    from cemscope_pipelines.cohort.cohort_run import CohortRequest, make_cohort
    from cemscope_pipelines.cohort.study_case import UNREADABLE

    cohort = make_cohort(CohortRequest(out, clinical, published))
    for case in cohort.study.left_out:
        if case.why == UNREADABLE:
            console.say(f"left out: {case.detail}")
    if console.as_json:
        rows = [asdict(row) for table in cohort.tables for row in table.rows]
        console.result(json.dumps(rows, indent=1))
        return
    console.result("\n\n".join(_text_table(table) for table in cohort.tables))
    console.say(f"tables: {out / 'cohort.html'}")
