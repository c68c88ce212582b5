"""``cemscope push``: the objects of a case to a PACS."""

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
  cemscope push case --dicomweb https://pacs.example/dicom-web
  cemscope push case --dicom pacs.example:104 --aet PACS
  cemscope push case --dicom pacs.example:2762 --aet PACS --tls --tls-ca hospital.pem
  CEMSCOPE_PACS_USER=reader cemscope push case --dicomweb https://pacs.example/dicom-web
"""


@click.command(name="push", cls=HandledCommand, epilog=EXAMPLES)
@click.argument(
    "case_folder",
    metavar="CASE",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--series", metavar="PATH", type=click.Path(exists=True, path_type=Path),
    help="Where the CT series of an unsigned case lies; default: as at its analysis.",
)  # fmt: skip
@archive_options
@console_options
@pass_console
def command(
    console: Console, /, case_folder: Path, series: Path | None, **options: Any
) -> None:
    """Send the objects of a case to a PACS.

    Sends what was signed with the machine's report, or drafts of an unsigned case.
    What the PACS holds already is not sent again: a push that broke off is completed
    by the next one. User and password come from CEMSCOPE_PACS_USER and
    CEMSCOPE_PACS_PASSWORD (or the keyring), a token from CEMSCOPE_PACS_TOKEN.
    """
    from cemscope_pipelines.pacs.push_case import push_case

    archive = open_archive(options)
    result = push_case(
        case_folder,
        archive,
        series,
        lambda done, total: console.progress("push", done / max(1, total)),
    )
    console.close()
    if console.as_json:
        record = {
            "state": result.state.value,
            "study_instance_uid": result.study_uid,
            "sent": list(result.sent),
            "present": list(result.present),
        }
        console.result(json.dumps(record, indent=2))
        return
    console.result(
        f"{len(result.sent)} objects sent, {len(result.present)} were there already"
    )
    if result.state.words:
        console.say(f"{result.state.words}: no reader answers for these objects")
