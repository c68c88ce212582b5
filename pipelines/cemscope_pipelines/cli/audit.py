"""``cemscope audit``: tells whether a case still is what was signed."""

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
  cemscope audit case
  cemscope audit case --json
"""


@click.command(name="audit", cls=HandledCommand, epilog=EXAMPLES)
@click.argument(
    "case_folder",
    metavar="CASE",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@console_options
@pass_console
def command(console: Console, /, case_folder: Path) -> None:
    """Verify a case against its audit trail.

    Checks the chain of audit.jsonl, the hashes of everything that was signed, and
    what the signed objects say about themselves; of a case that nobody signed, report
    and label maps as the analysis wrote them. Names the first broken line or file and
    ends with status 4 if there is one.
    """
    from cemscope.errors import AuditError
    from cemscope_pipelines.signing.audit_check import audit_case

    result = audit_case(case_folder)
    if console.as_json:
        record = {
            "intact": not result.broken,
            "lines": result.lines,
            "signed_versions": result.versions,
            "broken": list(result.broken),
        }
        console.result(json.dumps(record, indent=2))
    else:
        for place in result.broken[1:]:
            console.say(f"also: {place}")
        if not result.broken:
            console.result(
                f"intact: {result.lines} lines, {result.versions} signed versions"
                if result.lines
                else "no audit trail: nothing was signed or sent; report and label "
                "maps are those that the analysis wrote"
            )
    if result.broken:
        raise AuditError(result.broken[0])
