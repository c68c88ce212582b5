"""``cemscope export``: results of a case for other systems."""

import json
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
    from cemscope_pipelines.export.case_objects import ObjectChoice
    from cemscope_pipelines.export.export_case import ExportResult

EXAMPLES = """\b
Examples:
  cemscope export case --to out
  cemscope export case --to out --pdf --sc --kos
  cemscope export case --to out --series /archive/ct_folder
  cemscope export case --to tables --no-dicom --csv --nifti
  cemscope export case --to study --research --research-key project.key
"""


@click.command(name="export", cls=HandledCommand, epilog=EXAMPLES)
@click.argument(
    "case_folder",
    metavar="CASE",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--to", "target", metavar="DIR", required=True, type=click.Path(path_type=Path),
    help="Folder to write; one of an earlier export is replaced, another one is not.",
)  # fmt: skip
@click.option(
    "--series", metavar="PATH", type=click.Path(exists=True, path_type=Path),
    help="Where the CT series lies; default: where the analysis read it from.",
)  # fmt: skip
@click.option("--pdf", is_flag=True, help="Also the report as PDF, plain and in DICOM.")
@click.option("--sc", is_flag=True, help="Also key images (Secondary Capture).")
@click.option("--kos", is_flag=True, help="Also the selection of the leaks' CT slices.")
@click.option("--csv", is_flag=True, help="Also tables of vertebrae, leaks and screws.")
@click.option("--nifti", is_flag=True, help="Also the label maps.")
@click.option("--no-dicom", is_flag=True, help="No DICOM objects; needs no CT series.")
@click.option(
    "--labelmap", is_flag=True,
    help="Segmentations as LABELMAP (Supplement 243) instead of BINARY.",
)  # fmt: skip
@click.option(
    "--research", is_flag=True,
    help="De-identified: SEG, SR, tables and label maps, built anew.",
)  # fmt: skip
@click.option(
    "--research-key", metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Secret of the project; default: the variable CEMSCOPE_RESEARCH_KEY.",
)  # fmt: skip
@click.option(
    "--shift-dates", is_flag=True,
    help="With --research: tell the study's date, moved by days that are the same for "
    "all studies of the patient; default: no date.",
)  # fmt: skip
@console_options
@pass_console
def command(
    console: Console,
    /,
    case_folder: Path,
    target: Path,
    series: Path | None,
    pdf: bool,
    sc: bool,
    kos: bool,
    csv: bool,
    nifti: bool,
    no_dicom: bool,
    labelmap: bool,
    research: bool,
    research_key: Path | None,
    shift_dates: bool,
) -> None:
    """Write the results of a case for other systems.

    DICOM segmentations and a structured report (TID 1500), and what is asked for
    beside them. A signed case gives the objects that were signed; an unsigned one
    gives objects that say that no reader answers for them.
    """
    from cemscope.dicom.objects.segmentation_object import SegmentationEncoding
    from cemscope_pipelines.export.case_objects import ObjectChoice
    from cemscope_pipelines.export.export_case import ExportJob, export_case

    encoding = (
        SegmentationEncoding.LABELMAP if labelmap else SegmentationEncoding.BINARY
    )
    if (pdf or sc or kos or labelmap) and no_dicom:
        raise click.UsageError("--no-dicom goes with --csv and --nifti only")
    if no_dicom and not (csv or nifti or research):
        raise click.UsageError(
            "--no-dicom leaves nothing to write: ask for --csv, --nifti or both"
        )
    if not research and (shift_dates or research_key is not None):
        raise click.UsageError("--shift-dates and --research-key go with --research")
    if research:
        if pdf or sc or kos or no_dicom:
            raise click.UsageError(
                "--research writes SEG, SR, tables and label maps; pages and pictures "
                "are not freed of identity"
            )
        result = _research(
            (case_folder, target, series),
            research_key,
            ObjectChoice(encoding),
            shift_dates,
        )
    else:
        result = export_case(
            ExportJob(
                case_folder,
                target,
                series,
                dicom=not no_dicom,
                choice=ObjectChoice(encoding, pdf, sc, kos),
                csv=csv,
                nifti=nifti,
            )
        )
    _tell(console, result, target)


def _research(
    paths: tuple[Path, Path, Path | None],
    key_file: Path | None,
    choice: "ObjectChoice",
    shift_dates: bool,
) -> "ExportResult":
    from cemscope_pipelines.export.research import (
        ResearchJob,
        export_for_research,
        load_research_key,
    )

    key = load_research_key(key_file)
    return export_for_research(ResearchJob(*paths, key, choice, shift_dates))


def _tell(console: Console, result: "ExportResult", target: Path) -> None:
    if console.as_json:
        record = {
            "state": result.state.value,
            "signed_version": result.version,
            "files": list(result.files),
        }
        console.result(json.dumps(record, indent=2))
        return
    for name in result.files:
        console.result(str(target / name))
    words = result.state.words
    if result.version is not None:
        console.say(f"signed version {result.version}")
    else:
        console.say(f"{words}: no reader answers for these objects")
