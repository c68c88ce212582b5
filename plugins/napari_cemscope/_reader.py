"""napari reader: a cemscope case folder, or a folder, file or zip with a CT series."""

from collections.abc import Callable
from pathlib import Path

from cemscope.dicom import list_series, read_series
from cemscope.errors import CemscopeError
from cemscope_pipelines.label_files import read_label_map
from napari_cemscope.layers import LayerData, ct_layer, label_layer

CASE_MAPS = ("vertebrae", "materials")
"""Label maps of a case folder, in the order in which they are stacked."""

Reader = Callable[[str | list[str]], list[LayerData]]


def is_case_folder(path: Path) -> bool:
    """Tell whether a folder is a case that `cemscope analyze` wrote."""
    return (path / "report.json").is_file() and (path / "materials.nii.gz").is_file()


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
    """Read the label maps of a case folder as layers."""
    folder = Path(str(path))
    return [
        label_layer(read_label_map(folder / f"{name}.nii.gz"), name)
        for name in CASE_MAPS
    ]
