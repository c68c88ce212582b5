"""``cemscope review``: opens napari on a case."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import click

from cemscope_pipelines.cli.console import (
    Console,
    HandledCommand,
    console_options,
    pass_console,
)
from cemscope_pipelines.cli.status import ExitStatus

EXAMPLES = """\b
Examples:
  cemscope review case
  cemscope review case --series ct_folder
  cemscope review case --set brush_radius_mm=1.5
  cemscope review case --config review.toml
"""

VIEWER_MODULE = "napari_cemscope"

MISSING_EXTRA = (
    "the review needs napari, which is not installed: "
    'python -m pip install "cemscope[napari]"'
)

MISSING_DISPLAY = (
    "the review opens a window, and there is no display here: run it on a machine "
    "with a screen, over ssh -X, or under xvfb-run"
)

MISSING_LIBRARIES = (
    "napari's window could not be opened (the viewer ended with status {status}): "
    "install the system libraries of Qt, on Debian or Ubuntu libegl1 libgl1 "
    "libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1"
)


def has_display() -> bool:
    """Tell whether a window can be shown; macOS and Windows always can."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def has_viewer() -> bool:
    """Tell whether the extra ``cemscope[napari]`` is installed."""
    return all(importlib.util.find_spec(name) for name in ("napari", VIEWER_MODULE))


@click.command(name="review", cls=HandledCommand, epilog=EXAMPLES)
@click.argument(
    "case",
    metavar="CASE",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--series", type=click.Path(exists=True, path_type=Path), metavar="PATH",
    help="The CT series of the case, where it is not where it was analysed.",
)  # fmt: skip
@click.option(
    "--config", "config_file", metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings of the review in TOML or JSON, e.g. brush_radius_mm = 1.5.",
)  # fmt: skip
@click.option(
    "--set", "words", multiple=True, metavar="KEY=VALUE",
    help="A setting, e.g. brush_radius_mm=1.5 or go_on=false; over those of FILE.",
)  # fmt: skip
@console_options
@pass_console
def command(
    console: Console,
    /,
    case: Path,
    series: Path | None,
    config_file: Path | None,
    words: tuple[str, ...],
) -> int:
    """Review a case in napari: judge its findings, correct them, save.

    Every action is kept at once in the case folder (review.json and its journal);
    closing the window writes the corrected label maps.
    """
    from cemscope.errors import ConfigError
    from cemscope_pipelines.review.case_series import read_report, series_path
    from cemscope_pipelines.review.review_document import (
        ReviewError,
        finding_ids,
        read_review,
    )
    from cemscope_pipelines.review.review_settings import (
        settings_from_words,
        words_of_file,
    )

    if config_file is not None:
        words = (*words_of_file(config_file), *words)
    settings_from_words(words)
    try:
        report = read_report(case)
    except ReviewError as error:
        raise ConfigError(f"CASE: {error}") from None
    if series is None and series_path(case) is None:
        raise ConfigError(
            "the CT series of this case is not where it was when it was analysed: "
            "give it with --series PATH"
        )
    if not has_viewer():
        raise ConfigError(MISSING_EXTRA)
    if not has_display():
        console.close()
        click.echo(f"cemscope: error: {MISSING_DISPLAY}", err=True)
        return ExitStatus.FAILED
    console.say(f"opening {case.name} in napari ...")
    words_of_viewer = _viewer_command(case, series, words)
    ended = subprocess.run(words_of_viewer, check=False)  # noqa: S603 - our own module
    status = ended.returncode
    if status < 0 or status not in (0, ExitStatus.REFUSED, ExitStatus.INTERRUPTED):
        message = MISSING_LIBRARIES.format(status=status)
        click.echo(f"cemscope: error: {message}", err=True)
        return ExitStatus.FAILED
    if status:
        return status
    review = read_review(case)
    if console.as_json:
        console.result("null" if review is None else review.to_json().rstrip())
        return ExitStatus.DONE
    if review is None:
        console.result(f"0 of {len(finding_ids(report))} findings judged")
        return ExitStatus.DONE
    judged = sum(one.decision != "open" for one in review.decisions)
    console.result(
        f"{judged} of {len(review.decisions)} findings judged: {review.status}"
    )
    return ExitStatus.DONE


def _viewer_command(
    case: Path, series: Path | None, words: tuple[str, ...]
) -> list[str]:
    """Words that open the window in a process of its own.

    Qt ends the process where a system library is missing; so this one can say why.
    """
    parts = [sys.executable, "-m", VIEWER_MODULE, str(case)]
    if series is not None:
        parts += ["--series", str(series)]
    for word in words:
        parts += ["--set", word]
    return parts
