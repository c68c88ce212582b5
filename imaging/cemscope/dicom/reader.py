"""Reads one CT series into a volume in Hounsfield units."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.uid import CTImageStorage

from cemscope.dicom.decoding import decode_frame, read_for_decoding
from cemscope.dicom.files import READ_ERRORS, FileEntry, InputFiles
from cemscope.dicom.header import SliceHeader
from cemscope.dicom.hounsfield import (
    HounsfieldSettings,
    SliceConversion,
    clip_ceiling_hu,
    convert_slice,
)
from cemscope.dicom.parts import made_up_uid, slice_name
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.dicom.series import SeriesSummary, list_series
from cemscope.dicom.stack import StackSettings
from cemscope.dicom.suitability import choose_series
from cemscope.errors import UnreadablePixelsError
from cemscope.geometry import VoxelGeometry
from cemscope.volume import CTVolume, HUArray, Notice, SeriesSource

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of slices done and of all slices."""


_FileJobs = list[tuple[int, SliceHeader]]
"""The slices of one file with their indices in the volume."""


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """Settings of `read_series`.

    Attributes
    ----------
    stack : StackSettings
        Tolerances of the geometry checks.
    hounsfield : HounsfieldSettings
        Padding and clipping.
    """

    stack: StackSettings = field(default_factory=StackSettings)
    hounsfield: HounsfieldSettings = field(default_factory=HounsfieldSettings)


def read_series(
    source: Path | SeriesSummary,
    series_uid: str | None = None,
    progress: Progress | None = None,
    settings: ReadSettings | None = None,
) -> CTVolume:
    """Read a CT series.

    Parameters
    ----------
    source
        Folder, file or zip archive; or a series from `list_series`, which is read as
        it is listed.
    series_uid
        Which series of a path; None takes the most suitable one.
    progress
        Called after each file.
    settings
        Tolerances.

    Returns
    -------
    CTVolume
        Slices along the normal of the image plane, whatever the order of the files.
        Peak memory is one int16 volume and a few slices.

    Raises
    ------
    NoSeriesError
        If there is nothing to read, or no series of this UID.
    NotCTError, MixedSeriesError, DuplicateSliceError, UnevenSpacingError, \
    GantryTiltError, SeriesError
        If the series is not one regular grid of CT values; the message names every
        fault with its size.
    UnsupportedTransferSyntaxError, UnreadablePixelsError
        If pixels cannot be decoded.
    """
    settings = settings or ReadSettings()
    if not isinstance(source, SeriesSummary):
        listed = list_series(Path(source), settings.stack)
        source = choose_series(listed, series_uid).chosen
    if source.geometry is None:
        raise source.refusal()
    with silenced_pydicom():
        hu, conversions = _read_voxels(source, source.geometry, settings, progress)
    return _volume(source, source.geometry, hu, conversions, settings)


@dataclass(frozen=True, slots=True)
class _SliceResult:
    """Outcome of one slice: a conversion, or why there is none."""

    header: SliceHeader
    conversion: SliceConversion | None
    failure: str = ""


def _read_voxels(
    series: SeriesSummary,
    geometry: VoxelGeometry,
    settings: ReadSettings,
    progress: Progress | None,
) -> tuple[HUArray, list[SliceConversion]]:
    hu = np.empty(geometry.shape, dtype=np.int16)
    results: list[_SliceResult] = []
    # One slice after the other: the decoders hold the interpreter's lock, so that two
    # threads are no faster than one (JPEG 2000: 34 ms per slice either way).
    with _inputs(series) as files:
        for jobs in _jobs_by_file(series.headers):
            results += _read_file(jobs, files, hu, settings.hounsfield)
            if progress is not None:
                progress(len(results), len(series.headers))
    failed = [r for r in results if r.conversion is None]
    if failed:
        raise UnreadablePixelsError(
            f"the pixels of {len(failed)} of {len(results)} slices of series "
            f"{series.name} are unreadable; first: {slice_name(failed[0].header)}, "
            f"{failed[0].failure}. Export the series from the PACS again."
        )
    return hu, [r.conversion for r in results if r.conversion is not None]


def _inputs(series: SeriesSummary) -> InputFiles:
    """Open the archive of a zipped series; on disk, entries open by themselves."""
    entry = series.headers[0].entry
    return InputFiles(entry.path if entry.member is not None else entry.path.parent)


def _jobs_by_file(headers: Sequence[SliceHeader]) -> list[_FileJobs]:
    files: dict[FileEntry, _FileJobs] = {}
    for index, header in enumerate(headers):
        files.setdefault(header.entry, []).append((index, header))
    return list(files.values())


def _read_file(
    jobs: _FileJobs,
    files: InputFiles,
    hu: HUArray,
    settings: HounsfieldSettings,
) -> list[_SliceResult]:
    """Decode the slices of one file into their places in ``hu``."""
    try:
        with files.open(jobs[0][1].entry) as stream:
            dataset = read_for_decoding(stream)
    except UnreadablePixelsError as error:
        return [_SliceResult(header, None, str(error)) for _, header in jobs]
    except READ_ERRORS:
        return [_SliceResult(h, None, "the file cannot be opened") for _, h in jobs]
    results = []
    for index, header in jobs:
        try:
            stored = decode_frame(
                dataset,
                header.frame_index,
                header.frame_count,
                (header.rows, header.columns),
            )
            conversion = convert_slice(stored, header.pixels, hu[index], settings)
            results.append(_SliceResult(header, conversion))
        except UnreadablePixelsError as error:
            results.append(_SliceResult(header, None, str(error)))
    return results


def _volume(
    series: SeriesSummary,
    geometry: VoxelGeometry,
    hu: HUArray,
    conversions: list[SliceConversion],
    settings: ReadSettings,
) -> CTVolume:
    notices = list(series.notices)
    overflow = sum(c.overflow_voxels for c in conversions)
    if overflow:
        notices.append(
            Notice(
                "hu_over_int16",
                f"{overflow} voxels over 32767 HU were set to 32767 HU",
            )
        )
    padded = sum(c.padded_voxels for c in conversions) / hu.size
    ceilings = {
        clip_ceiling_hu(hu, pixels, settings.hounsfield)
        for pixels in {h.pixels for h in series.headers}
    }
    clipped = max((c for c in ceilings if c is not None), default=None)
    first = series.headers[0]
    study_uid = series.study_instance_uid or made_up_uid("study", series.name)
    logger.info(
        "read %d slices of %d x %d", geometry.shape[0], series.rows, series.columns
    )
    return CTVolume(
        hu=hu,
        geometry=geometry,
        source=SeriesSource(
            study_instance_uid=study_uid,
            series_instance_uid=series.series_instance_uid,
            sop_class_uid=first.sop_class_uid or str(CTImageStorage),
            sop_instance_uids=tuple(h.sop_instance_uid for h in series.headers),
        ),
        acquisition=series.acquisition,
        clipped_at_hu=clipped,
        padded_fraction=padded,
        notices=tuple(notices),
    )
