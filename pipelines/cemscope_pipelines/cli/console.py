"""What every command shares: verbosity, messages, progress, errors."""

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from cemscope.errors import CemscopeError
from cemscope_pipelines.cli.logs import logging_to_stderr
from cemscope_pipelines.cli.status import ExitStatus, status_of

F = TypeVar("F", bound=Callable[..., Any])

TRACEBACK_VERBOSITY = 2


@dataclass(slots=True)
class Console:
    """Where a command speaks to its user.

    Attributes
    ----------
    verbosity : int
        Count of -v.
    quiet : bool
        Only errors and results.
    as_json : bool
        The result is printed as JSON and nothing else.
    """

    verbosity: int = 0
    quiet: bool = False
    as_json: bool = False
    _bar: Any = field(default=None)

    @property
    def shows_progress(self) -> bool:
        """A bar is drawn on a terminal only, and not between log lines."""
        return not self.quiet and self.verbosity == 0 and sys.stderr.isatty()

    def say(self, message: str) -> None:
        """Tell the user something; goes to stderr."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.clear()
        click.echo(message, err=True)

    def result(self, text: str) -> None:
        """Print the result; goes to stdout."""
        click.echo(text)

    def progress(self, stage: str, share: float) -> None:
        """Stage listener that draws a bar on a terminal."""
        if not self.shows_progress:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=100,
                file=sys.stderr,
                leave=False,
                bar_format="{desc:<12} {bar:30} {percentage:3.0f} % [{elapsed}]",
            )
        self._bar.set_description_str(stage, refresh=False)
        self._bar.n = round(100 * share)
        self._bar.refresh()

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def console_options(function: F) -> F:
    """Add ``-v``, ``--quiet`` and ``--json`` to a command."""
    for option in (
        click.option(
            "--json", "as_json", is_flag=True,
            help="Print the result as JSON on stdout and nothing else.",
        ),
        click.option("--quiet", "-q", is_flag=True, help="No messages, only errors."),
        click.option(
            "--verbose", "-v", "verbosity", count=True,
            help="More messages; -vv shows tracebacks.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


class HandledCommand(click.Command):
    """A command whose errors end in one clear line and the contract's status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        console = Console(
            verbosity=ctx.params.pop("verbosity", 0),
            quiet=ctx.params.pop("quiet", False),
            as_json=ctx.params.pop("as_json", False),
        )
        ctx.obj = console
        with logging_to_stderr(console.verbosity, console.quiet):
            try:
                return super().invoke(ctx)
            except (click.ClickException, click.exceptions.Exit, click.Abort):
                raise
            except Exception as error:  # noqa: BLE001 - no traceback reaches a user
                console.close()
                ctx.exit(_explain(console, error))
            finally:
                console.close()


def _explain(console: Console, error: Exception) -> ExitStatus:
    """Tell the user what went wrong, in one line, and give the status."""
    if isinstance(error, CemscopeError):
        message, status = str(error), status_of(error)
    elif isinstance(error, MemoryError):
        message = "out of memory; close other programs or crop the series"
        status = ExitStatus.FAILED
    else:
        message = (
            f"internal error ({type(error).__name__}); no case was written. Run again "
            "with -vv and report what it shows."
        )
        status = ExitStatus.FAILED
    if console.verbosity >= TRACEBACK_VERBOSITY:
        click.echo(traceback.format_exc(), err=True, nl=False)
    click.echo(f"cemscope: error: {message}", err=True)
    return status


pass_console = click.make_pass_decorator(Console)
