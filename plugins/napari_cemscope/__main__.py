"""``python -m napari_cemscope CASE``: what `cemscope review` runs as a process."""

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from cemscope.errors import CemscopeError
from cemscope_pipelines.review.review_settings import (
    ReviewSettings,
    settings_from_words,
)


def main() -> int:
    """Open a case and wait until the window is closed."""
    parser = argparse.ArgumentParser(prog="python -m napari_cemscope")
    parser.add_argument("case", type=Path)
    parser.add_argument("--series", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="words")
    given = parser.parse_args()
    try:
        settings = settings_from_words(tuple(given.words))
        failure = show(given.case, given.series, settings)
    except CemscopeError as error:
        failure = error
    if failure is not None:
        sys.stderr.write(f"cemscope: error: {failure}\n")
        return 3
    return 0


def show(
    case_folder: Path, series: Path | None, settings: ReviewSettings
) -> CemscopeError | None:
    """Open a case and wait until its window is closed.

    Returns
    -------
    CemscopeError or None
        What went wrong while the window was closed.

    Raises
    ------
    CemscopeError
        If the case or its scan cannot be opened.
    """
    # A window of its own: napari is loaded only where one is opened.
    import napari

    from napari_cemscope.review_app import open_review

    _, widget = open_review(case_folder, series, settings)
    try:
        napari.run()
    except BaseException:
        # The first error is the one to tell, whatever closing brings.
        with suppress(CemscopeError):
            widget.shut()
        raise
    widget.shut()
    return widget.failure


if __name__ == "__main__":
    sys.exit(main())
