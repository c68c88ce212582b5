"""``python -m napari_cemscope CASE``: what `cemscope review` runs as a process."""

import argparse
import sys
from pathlib import Path

from cemscope.errors import CemscopeError
from cemscope_pipelines.review.review_settings import settings_from_words


def main() -> int:
    """Open a case and wait until the window is closed."""
    parser = argparse.ArgumentParser(prog="python -m napari_cemscope")
    parser.add_argument("case", type=Path)
    parser.add_argument("--series", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="words")
    given = parser.parse_args()
    # A window of its own: napari is loaded only where one is opened.
    import napari

    from napari_cemscope.review_app import open_review

    try:
        _, widget = open_review(
            given.case, given.series, settings_from_words(tuple(given.words))
        )
    except CemscopeError as error:
        sys.stderr.write(f"cemscope: error: {error}\n")
        return 3
    napari.run()
    widget.shut()
    return 0


if __name__ == "__main__":
    sys.exit(main())
