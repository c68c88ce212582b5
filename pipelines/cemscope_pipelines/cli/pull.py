"""``cemscope pull``: a study or series from a PACS."""

import json
from pathlib import Path
from typing import Any

import click

from cemscope_pipelines.cli.archive_options import archive_options, open_archive
from cemscope_pipelines.cli.console import (
    Console,
    HandledCommand,
    console_options,
    pass_console,
)

EXAMPLES = """\b
Examples:
  cemscope pull --dicomweb https://pacs.example/dicom-web --study 1.2.840.1 --list
  cemscope pull --dicomweb https://pacs.example/dicom-web --study 1.2.840.1 --to ct
  cemscope pull --dicom pacs.example:104 --aet PACS --study 1.2.840.1 \\
      --series 1.2.840.1.7 --to ct
"""


@click.command(name="pull", cls=HandledCommand, epilog=EXAMPLES)
@click.option("--study", metavar="UID", required=True, help="Study instance UID.")
@click.option("--series", metavar="UID", help="One series of it; default: all.")
@click.option(
    "--to", "target", metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
    help="Where the series go, each in a folder of its UID.",
)  # fmt: skip
@click.option("--list", "only_list", is_flag=True, help="List the series, fetch none.")
@archive_options
@console_options
@pass_console
def command(
    console: Console,
    /,
    study: str,
    series: str | None,
    target: Path | None,
    only_list: bool,
    **options: Any,
) -> None:
    """Fetch a study, or one series of it, from a PACS.

    Files that lie in DIR already are kept: a pull that broke off is completed by the
    next one. Credentials: see `cemscope push --help`.
    """
    from cemscope_pipelines.cli.table import format_table
    from cemscope_pipelines.pacs.pull_study import pull_study

    if only_list == (target is not None):
        raise click.UsageError("give one of --to DIR and --list")
    archive = open_archive(options)
    if target is None:
        found = archive.series_of(study)
        if console.as_json:
            listed = [
                {
                    "series_instance_uid": one.series_uid,
                    "modality": one.modality,
                    "instances": one.instances,
                }
                for one in found
            ]
            console.result(json.dumps(listed, indent=2))
            return
        rows = [
            (s.modality, "?" if s.instances is None else str(s.instances), s.series_uid)
            for s in found
        ]
        console.result(format_table(("modality", "objects", "series"), rows, (0, 2)))
        return
    pulled = pull_study(
        archive,
        study,
        target,
        series,
        lambda done, total: console.progress("pull", done / max(1, total)),
    )
    console.close()
    if console.as_json:
        record = [
            {
                "series_instance_uid": one.series.series_uid,
                "folder": str(one.folder),
                "files": one.files,
                "new_files": one.new_files,
            }
            for one in pulled
        ]
        console.result(json.dumps(record, indent=2))
        return
    for one in pulled:
        console.result(f"{one.folder}  {one.files} files, {one.new_files} new")
