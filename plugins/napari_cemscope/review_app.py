"""napari with a case under review, as `cemscope review` opens it."""

from pathlib import Path
from typing import Any

import napari

from cemscope_pipelines.review.review_settings import ReviewSettings
from napari_cemscope.review_widget import ReviewWidget

DOCK_NAME = "cemscope review"


def open_review(
    case_folder: Path,
    series: Path | None = None,
    settings: ReviewSettings | None = None,
    viewer: Any = None,
) -> tuple[Any, ReviewWidget]:
    """Open a case in napari; the event loop is the caller's.

    Parameters
    ----------
    case_folder
        A folder that `cemscope analyze` wrote.
    series
        Its scan; None takes it from where it was.
    settings
        How it is shown.
    viewer
        napari's viewer; None makes one.

    Returns
    -------
    napari.Viewer, ReviewWidget
        The window and the dock with the findings.

    Raises
    ------
    CemscopeError
        If the case or its scan cannot be opened.
    """
    made = viewer is None
    viewer = viewer or napari.Viewer(title=f"cemscope review: {case_folder.name}")
    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(
        widget, name=DOCK_NAME, area="left", add_vertical_stretch=False
    )
    try:
        widget.open_case(case_folder, series, settings)
    except BaseException:
        if made:
            viewer.close()
        raise
    return viewer, widget
