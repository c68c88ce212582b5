"""Find and read the scan that a case was made from."""

import json
from collections.abc import Callable
from pathlib import Path

from cemscope.dicom import choose_series, list_series, read_series
from cemscope.errors import SeriesError
from cemscope.geometry import VoxelGeometry, require_same_geometry
from cemscope.volume import CTVolume
from cemscope_pipelines.case_folder import PROVENANCE_FILE, REPORT_FILE
from cemscope_pipelines.report import NotAssessedEntry, Report
from cemscope_pipelines.review.review_document import ReviewError

Progress = Callable[[int, int], None]


def read_report(case_folder: Path) -> Report:
    """Read ``report.json`` of a case.

    Raises
    ------
    ReviewError
        If the folder is no case, or its report is damaged or of another version.
    """
    path = case_folder / REPORT_FILE
    if not path.is_file():
        raise ReviewError(
            f"no {REPORT_FILE} in the folder: give a folder that `cemscope analyze` "
            "wrote"
        )
    try:
        return Report.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise ReviewError(
            f"{REPORT_FILE} cannot be understood ({first}): it is damaged or of "
            "another version; analyse the series again"
        ) from None


def series_path(case_folder: Path) -> Path | None:
    """Tell where the series lay when the case was made; None if it is gone."""
    try:
        content = json.loads((case_folder / PROVENANCE_FILE).read_text("utf-8"))
        path = Path(content["input"]["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if path.exists() else None


def read_case_series(
    case_folder: Path,
    report: Report,
    geometry: VoxelGeometry,
    given: Path | None = None,
    progress: Progress | None = None,
) -> CTVolume:
    """Read the scan of a case.

    Parameters
    ----------
    case_folder, report
        The case.
    geometry
        Grid of its label maps.
    given
        Folder, file or zip with the series; None takes that of the provenance.
    progress
        Told slices done and slices in all.

    Raises
    ------
    ReviewError
        If the series is not where it was, or is another one.
    SeriesError
        If it cannot be read.
    GeometryMismatchError
        If the maps lie on another grid.
    """
    path = given or series_path(case_folder)
    if path is None:
        raise ReviewError(
            "the CT series of this case is not where it was when it was analysed: "
            "give it with --series PATH"
        )
    uid = report.series.series_instance_uid
    known = None if isinstance(uid, NotAssessedEntry) else uid
    listed = list_series(path)
    try:
        chosen = choose_series(listed, known).chosen
    except SeriesError:
        if known is None or not any(series.measurable for series in listed):
            raise
        raise ReviewError(
            "the path holds CT series, but not the one that this case was made from: "
            "give that one with --series PATH"
        ) from None
    ct = read_series(chosen, progress=progress)
    require_same_geometry(ct.geometry, geometry)
    return ct
