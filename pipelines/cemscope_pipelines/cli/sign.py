"""``cemscope sign``: a reader answers for a reviewed case."""

import json
from pathlib import Path

import click

from cemscope_pipelines.cli.console import (
    Console,
    HandledCommand,
    console_options,
    pass_console,
)

EXAMPLES = """\b
Examples:
  cemscope sign case --reader "Doe^Jane" --organization "City Hospital"
  cemscope sign case --reader "Doe^Jane" --organization "City Hospital" \\
      --amend --reason "leak L4-1 measured again"
"""


@click.command(name="sign", cls=HandledCommand, epilog=EXAMPLES)
@click.argument(
    "case_folder",
    metavar="CASE",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--reader", metavar="NAME", required=True,
    help='Who answers for the result, as "Family^Given".',
)  # fmt: skip
@click.option(
    "--organization", metavar="NAME", required=True, help="Whom the reader signs for."
)
@click.option("--amend", is_flag=True, help="Make a new version of a signed case.")
@click.option(
    "--reason", metavar="TEXT", default="", help="Why it is amended; goes with --amend."
)
@click.option(
    "--series", metavar="PATH", type=click.Path(exists=True, path_type=Path),
    help="Where the CT series lies; default: where the analysis read it from.",
)  # fmt: skip
@console_options
@pass_console
def command(
    console: Console,
    /,
    case_folder: Path,
    reader: str,
    organization: str,
    amend: bool,
    reason: str,
    series: Path | None,
) -> None:
    """Sign a reviewed case.

    Needs every finding judged in `cemscope review`. Writes signed/vN in the case: a
    verified report, segmentations, PDF and key images as DICOM objects, and a line of
    audit.jsonl. An edit after signing needs --amend --reason and makes the next
    version; earlier ones stay.
    """
    from cemscope_pipelines.signing.sign_case import SigningJob, sign_case

    version = sign_case(
        SigningJob(case_folder, reader, organization, amend, reason, series)
    )
    if console.as_json:
        record = {
            "version": version.number,
            "signed_at": version.signed_at.isoformat(),
            "folder": str(version.folder),
            "report_sop_instance_uid": version.signature.report_sop_instance_uid,
            "files": sorted(version.signature.files),
        }
        console.result(json.dumps(record, indent=2))
        return
    console.result(str(version.folder))
    console.say(
        f"signed as version {version.number}; next: cemscope export or cemscope push"
    )
