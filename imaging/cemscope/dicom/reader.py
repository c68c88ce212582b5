"""Reads one CT series into a volume in Hounsfield units."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.uid import CTImageStorage

from cemscope.dicom.files import InputFiles
from cemscope.dicom.hounsfield import (
    HounsfieldSettings,
    SliceConversion,
    clip_ceiling_hu,
)
from cemscope.dicom.limits import InputLimits
from cemscope.dicom.parts import made_up_uid, slice_name
from cemscope.dicom.patient_key import read_patient_digest
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.dicom.series import SeriesSummary, list_series
from cemscope.dicom.stack import StackSettings
from cemscope.dicom.suitability import choose_series
from cemscope.dicom.voxels import NOT_TRIED, VoxelReader
from cemscope.errors import UnreadablePixelsError
from cemscope.geometry import VoxelGeometry
from cemscope.volume import CTVolume, HUArray, Notice, SeriesSource

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of slices done and of all slices."""


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """Settings of `read_series`.

    Attributes
    ----------
    stack : StackSettings
        Tolerances of the geometry checks.
    hounsfield : HounsfieldSettings
        Padding and clipping.
    limits : InputLimits
        What is too large to be read, and the processes that decode.
    """

    stack: StackSettings = field(default_factory=StackSettings)
    hounsfield: HounsfieldSettings = field(default_factory=HounsfieldSettings)
    limits: InputLimits = field(default_factory=InputLimits)


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
        Slices of a tilted gantry are moved onto an orthogonal grid; their own grid
        is ``source.scanned_geometry``. Peak memory is one int16 volume and a few
        slices.

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
        listed = list_series(
            Path(source), settings.stack, settings.limits, decode_soon=True
        )
        source = choose_series(listed, series_uid).chosen
    if source.geometry is None:
        raise source.refusal()
    with silenced_pydicom():
        hu, conversions = _read_voxels(source, source.geometry, settings, progress)
        with _inputs(source, settings.limits) as files:
            first = source.headers[0]
            digest = read_patient_digest(first, files, source.series_instance_uid)
    return _volume(source, source.geometry, hu, conversions, settings, digest)


def _read_voxels(
    series: SeriesSummary,
    geometry: VoxelGeometry,
    settings: ReadSettings,
    progress: Progress | None,
) -> tuple[HUArray, list[SliceConversion]]:
    hu = np.empty(geometry.shape, dtype=np.int16)
    finished = 0

    def done(slices: int) -> None:
        nonlocal finished
        finished += slices
        if progress is not None:
            progress(finished, len(series.headers))

    with _inputs(series, settings.limits) as files:
        reader = VoxelReader(
            files, hu, series.shear, settings.hounsfield, settings.limits
        )
        results = reader.read(series.headers, done)
    failed = [r for r in results if r.conversion is None]
    if failed:
        tried = [r for r in failed if r.failure != NOT_TRIED]
        # Decoders finish in any order; the message is the same each time.
        first = min(tried, key=lambda r: series.headers.index(r.header))
        left = len(failed) - len(tried)
        untried = f"; {left} slices were not tried" if left else ""
        raise UnreadablePixelsError(
            f"the pixels of {len(tried)} of {len(results)} slices of series "
            f"{series.name} are unreadable; first: {slice_name(first.header)}, "
            f"{first.failure}{untried}. Ask the PACS to send the series again; compare "
            "the number of images and the size of the files."
        )
    return hu, [r.conversion for r in results if r.conversion is not None]


def _inputs(series: SeriesSummary, limits: InputLimits) -> InputFiles:
    """Open the archive of a zipped series; on disk, entries open by themselves."""
    entry = series.headers[0].entry
    path = entry.path if entry.member is not None else entry.path.parent
    return InputFiles(path, limits)


def _volume(
    series: SeriesSummary,
    geometry: VoxelGeometry,
    hu: HUArray,
    conversions: list[SliceConversion],
    settings: ReadSettings,
    patient_digest: str | None,
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
            scanned_geometry=None
            if series.shear is None
            else series.shear.source_geometry,
            patient_digest=patient_digest,
        ),
        acquisition=series.acquisition,
        clipped_at_hu=clip_ceiling_hu(conversions, settings.hounsfield),
        padded_fraction=padded,
        notices=tuple(notices),
    )
