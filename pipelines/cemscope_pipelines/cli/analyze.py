"""``cemscope analyze``: one CT series to a case folder."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cemscope_pipelines.cli.console import (
    Console,
    HandledCommand,
    console_options,
    pass_console,
)
from cemscope_pipelines.cli.settings_options import settings_options

if TYPE_CHECKING:
    from cemscope_pipelines.analysis import AnalysisJob
    from cemscope_pipelines.case import CaseResult

EXAMPLES = """\b
Examples:
  cemscope analyze ct_folder --out case
  cemscope analyze scans.zip --series 1.2.840.1 --out case
  cemscope analyze ct_folder --out case --anchor L5
  cemscope analyze ct_folder --out case --vertebrae labels.nii.gz --label-scheme verse
  cemscope analyze ct_folder --out case --config site.toml --set pictures.slab_mm=8
  cemscope analyze ct_folder --out case --json > result.json
"""


def _print_config(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from cemscope_pipelines.config import AnalysisConfig
        from cemscope_pipelines.config_text import config_toml

        click.echo(config_toml(AnalysisConfig()), nl=False)
        ctx.exit()


def run_job(console: Console, job: "AnalysisJob") -> "CaseResult":
    """Analyse a series and tell the user what was chosen and written."""
    from cemscope_pipelines.analysis import analyse_series
    from cemscope_pipelines.case_folder import check_target

    replaces = check_target(job.case_folder)
    result = analyse_series(job, console.progress, console.say)
    console.close()
    for warning in result.report.series.warnings:
        console.say(f"warning ({warning.code}): {warning.message}")
    if replaces:
        console.say("the earlier case in this folder was replaced")
    return result


def where_it_lies(case_folder: Path) -> str:
    """Tell where the report and the pictures are."""
    from cemscope_pipelines.case_folder import (
        HTML_FILE,
        LEVELS_FILE,
        PREVIEW_FILE,
        REPORT_FILE,
    )

    return "\n".join(
        f"{what:<9} {case_folder / name}"
        for what, name in (
            ("report:", HTML_FILE),
            ("levels:", LEVELS_FILE),
            ("preview:", PREVIEW_FILE),
            ("numbers:", REPORT_FILE),
        )
    )


@click.command(name="analyze", cls=HandledCommand, epilog=EXAMPLES)
@click.argument(
    "series_path", metavar="SERIES", type=click.Path(exists=True, path_type=Path)
)
@click.option(
    "--out",
    "case_folder",
    metavar="CASE",
    required=True,
    type=click.Path(path_type=Path),
    help="Case folder to write. An earlier case there is replaced; a folder with "
    "other files, or a case that was reviewed, signed or exported, is not.",
)
@click.option(
    "--series",
    "series_uid",
    metavar="UID",
    help="Series instance UID, where there are several; default: the most "
    "suitable, named in the output.",
)
@click.option(
    "--vertebrae",
    "vertebra_source",
    metavar="SOURCE",
    help="embedded (default), totalsegmentator, or the PATH of a label map "
    "(NIfTI, NRRD or DICOM SEG on any grid in the same patient space).",
)
@click.option(
    "--label-scheme",
    type=click.Choice(
        [
            "verse",
            "totalsegmentator",
            "totalsegmentator-v1",
            "totalsegmentator-mr",
            "spineps",
            "cemscope",
        ]
    ),
    help="Numbering of the label map; default: detected.",
)
@click.option(
    "--anchor",
    metavar="LEVEL[@X,Y,Z]",
    help="L5 names the lowest complete vertebra; L3@X,Y,Z the one that "
    "holds a patient point (LPS, mm).",
)
@settings_options
@click.option(
    "--print-config",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_config,
    help="Print every setting with its default and meaning as TOML, and exit.",
)
@console_options
@pass_console
def command(
    console: Console,
    /,
    series_path: Path,
    case_folder: Path,
    series_uid: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    **choices: Any,
) -> None:
    """Measure cement, leaks and screws on one postoperative CT series.

    SERIES is a folder, a DICOM file or a zip archive. The result is a case folder
    with report.json, report.html, preview.png, label maps and provenance.json.
    """  # fmt: skip
    from cemscope.errors import ConfigError
    from cemscope_pipelines.analysis import AnalysisJob
    from cemscope_pipelines.cli.table import report_table
    from cemscope_pipelines.config import load_config
    from cemscope_pipelines.vertebra_source import EMBEDDED, TOTALSEGMENTATOR

    config = load_config(config_file, assignments, choices)
    source = config.vertebra_source
    if source not in (EMBEDDED, TOTALSEGMENTATOR) and not Path(source).exists():
        raise ConfigError(
            f"--vertebrae: expected {EMBEDDED}, {TOTALSEGMENTATOR} or the path of a "
            f"label map; nothing lies at {source}"
        )
    job = AnalysisJob(
        series=series_path,
        case_folder=case_folder,
        config=config,
        series_uid=series_uid,
        command=tuple(sys.argv),
    )
    result = run_job(console, job)
    if console.as_json:
        console.result(result.report.to_json().rstrip())
        return
    console.result(report_table(result.report))
    console.say(where_it_lies(case_folder))
