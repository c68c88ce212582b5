"""The command ``cemscope``: finds the subcommand and turns its end into a status.

Subcommands are imported when they are called, so that ``--help`` answers at once.
"""

import importlib
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from cemscope_pipelines.cli.status import ExitStatus

_COMMANDS = {
    "analyze": "Measure cement, leaks and screws on one CT series.",
    "followup": "Compare a later CT with the case of an earlier one.",
    "inspect": "List the CT series of a folder and what is wrong with them.",
    "batch": "Measure every series under a folder; goes on where it stopped.",
    "review": "Open napari on a case: judge its findings, correct them.",
    "sign": "Sign a reviewed case: verified report, segmentations, PDF.",
    "audit": "Verify a case against its audit trail.",
    "export": "Write DICOM objects, PDF, tables or label maps of a case.",
    "push": "Send the objects of a case to a PACS.",
    "pull": "Fetch a study or series from a PACS.",
    "cohort": "Make the tables of a study from the output of a batch.",
    "demo": "Analyse the sample patient and compare with the known truth.",
}
"""Name and one-line help; the module ``cli.<name>`` holds the command ``command``."""


EXAMPLES = """\b
Examples:
  cemscope demo
  cemscope inspect ct_folder
  cemscope analyze ct_folder --out case
"""


class LazyGroup(click.Group):
    """A group that imports a subcommand only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which a user meets them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"cemscope_pipelines.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(
        self,
        ctx: click.Context,
        formatter: click.HelpFormatter,
    ) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from cemscope_pipelines.report_builder import software_version

        click.echo(f"cemscope {software_version()}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXAMPLES,
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False,
    callback=_print_version, help="Print the version and exit.",
)  # fmt: skip
def cemscope() -> None:
    """Measure bone cement, its leaks and screws on postoperative spine CT.

    Research software, not a medical device.
    """


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        Words after the command; None takes those of the process.

    Returns
    -------
    int
        Exit status, see `ExitStatus`.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread:
        # A polite kill must clean up as Ctrl-C does: no half-written case.
        before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = cemscope.main(
            args=None if arguments is None else list(arguments),
            prog_name="cemscope",
            standalone_mode=False,
        )
    except click.ClickException as error:
        error.show()
        return ExitStatus.USAGE
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("cemscope: interrupted\n")
        return ExitStatus.INTERRUPTED
    except Exception as error:
        if "-vv" in (sys.argv[1:] if arguments is None else arguments):
            raise
        sys.stderr.write(f"cemscope: error: internal error ({type(error).__name__})\n")
        return ExitStatus.FAILED
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)
    return int(status) if isinstance(status, int) else ExitStatus.DONE
