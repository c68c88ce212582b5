"""napari reader: a cemscope case folder, or a folder, file or zip with a CT series."""

from collections.abc import Callable
from pathlib import Path

from napari.utils.notifications import show_info

from cemscope.anatomy import VertebraLevel
from cemscope.dicom import list_series, read_series
from cemscope.errors import CemscopeError
from cemscope_pipelines.case_folder import MATERIALS_FILE, REPORT_FILE
from cemscope_pipelines.review.case_series import read_case_series
from cemscope_pipelines.review.review_session import ReviewSession
from napari_cemscope.layers import CASE_KEY, LayerData, ct_layer, map_layers

HINT = "To judge it: Plugins > Review a case"

FILLED_OPACITY = 0.3
"""A reader cannot ask napari for outlines: vertebrae are filled, but faintly."""

Reader = Callable[[str | list[str]], list[LayerData]]


def is_case_folder(path: Path) -> bool:
    """Tell whether a folder is a case that `cemscope analyze` wrote."""
    return (path / REPORT_FILE).is_file() and (path / MATERIALS_FILE).is_file()


def get_reader(path: str | list[str]) -> Reader | None:
    """Offer a reader for one path; None leaves it to other plugins.

    Parameters
    ----------
    path
        What the user dropped on napari; several paths are declined.
    """
    if not isinstance(path, str):
        return None
    target = Path(path)
    if is_case_folder(target):
        return read_case
    if not target.is_dir() and target.suffix.lower() not in ("", ".dcm", ".zip"):
        return None
    try:
        measurable = any(series.measurable for series in list_series(target))
    except CemscopeError:
        return None
    return read_ct if measurable else None


def read_ct(path: str | list[str]) -> list[LayerData]:
    """Read the most suitable CT series of a path as an image layer."""
    return [ct_layer(read_series(Path(str(path))))]


def read_case(path: str | list[str]) -> list[LayerData]:
    """Read a case folder: its scan, if it is where it was, and what was found in it.

    The maps are as the reader left them. Nothing is written; to judge and correct, open
    'Review a case' from the plugins menu, which takes these layers over.
    """
    folder = Path(str(path))
    session = ReviewSession(folder)
    try:
        ct = read_case_series(folder, session.report, session.maps.geometry)
        layers = [ct_layer(ct)]
    except CemscopeError:
        layers = []
    numbers = [VertebraLevel(v.level).number for v in session.report.vertebrae]
    layers += map_layers(session.maps, numbers)
    for _, keywords, _ in layers:
        if keywords["name"] == "vertebrae":
            keywords["opacity"] = FILLED_OPACITY
        keywords["metadata"] = {CASE_KEY: str(folder)}
    show_info(HINT)
    return layers
