"""Fetches a study, or one series of it, into a folder that `analyze` reads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cemscope.dicom.pacs.archive import (
    Archive,
    ArchivedSeries,
    is_uid,
    stored_object,
)
from cemscope.errors import ConfigError, ExportError, PacsError


@dataclass(frozen=True, slots=True)
class PulledSeries:
    """A series that was fetched.

    Attributes
    ----------
    series : ArchivedSeries
        What the archive tells of it.
    folder : Path
        Where it lies.
    files, new_files : int
        How many lie there, and how many of them came now.
    """

    series: ArchivedSeries
    folder: Path
    files: int
    new_files: int


def pull_study(
    archive: Archive,
    study_uid: str,
    target: Path,
    series_uid: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[PulledSeries, ...]:
    """Fetch all series of a study, or one; files that lie there are kept.

    Raises
    ------
    ConfigError
        If a UID is none.
    PacsError
        If the archive cannot be reached, holds no such study or series, or sent
        fewer objects than it lists, or those of another series.
    ExportError
        If the disk refuses.
    """
    for option, uid in (("--study", study_uid), ("--series", series_uid)):
        if uid is not None and not is_uid(uid):
            raise ConfigError(f"{option}: expected a UID such as 1.2.840.113619.2.1")
    listed = archive.series_of(study_uid)
    if not all(is_uid(one.series_uid) for one in listed):
        raise PacsError("the archive lists a series without a valid UID")
    wanted = [s for s in listed if series_uid in (None, s.series_uid)]
    if not wanted:
        raise PacsError(
            f"the archive lists no series {series_uid} in that study"
            if listed
            else "the archive lists no series of that study"
        )
    pulled = []
    for index, series in enumerate(wanted):
        progress(index, len(wanted))
        pulled.append(_pull(archive, study_uid, series, target))
    progress(len(wanted), len(wanted))
    return tuple(pulled)


def _pull(
    archive: Archive, study_uid: str, series: ArchivedSeries, target: Path
) -> PulledSeries:
    folder = target / series.series_uid
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = archive.fetch(study_uid, series.series_uid, folder)
    except OSError as error:
        raise ExportError(
            f"the fetched series cannot be written: {error.strerror}"
        ) from error
    _require_asked_for(study_uid, series, folder)
    files = len(list(folder.glob("*.dcm")))
    expected = archive.instances_of(study_uid, [series.series_uid])
    if expected is not None and files < len(expected):
        raise PacsError(
            f"the archive lists {len(expected)} objects of series "
            f"{series.series_uid} and sent {files}: pull again to complete, or use "
            "the other protocol"
        )
    return PulledSeries(series, folder, files, new)


def _require_asked_for(study_uid: str, series: ArchivedSeries, folder: Path) -> None:
    """Take away what belongs to another series or study, and tell of it."""
    foreign = []
    for path in sorted(folder.glob("*.dcm")):
        one = stored_object(path)
        if (one.study_uid, one.series_uid) != (study_uid, series.series_uid):
            foreign.append(path)
    for path in foreign:
        path.unlink()
    if foreign:
        raise PacsError(
            f"the archive sent {len(foreign)} objects of another study or series than "
            f"{series.series_uid}: they were not kept"
        )
