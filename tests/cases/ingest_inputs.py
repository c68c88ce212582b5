"""Inputs that hold more than one series, or less than they say."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from cases.enhanced import enhanced_ct
from cases.ingest_read import ReadCase
from cases.ingest_refused import RefusedCase
from cases.media import dicomdir, zipped
from cases.series import datasets, phantom_ct, save
from cemscope.errors import MixedSeriesError, NoSeriesError
from cemscope.geometry import VoxelGeometry
from cemscope.testing.dicom_writer import (
    SeriesIdentity,
    WriteOptions,
    write_dataset,
)
from cemscope.volume import CTVolume

OTHER_STUDY = SeriesIdentity(study_key="other", series_key="other")
OTHER_PATIENT = SeriesIdentity(
    patient_name="Phantom^Two",
    patient_id="PHANTOM-TWO",
    study_key="other",
    series_key="other",
)
SAME_STUDY = SeriesIdentity(series_key="second reconstruction")


def _two_phases() -> list[Dataset]:
    """Two acquisitions of one region, 1 mm apart from head to feet, one series UID."""
    second = datasets(identity=SeriesIdentity(acquisition_number=2))
    for number, dataset in enumerate(second, start=1):
        dataset.SOPInstanceUID = f"2.25.{number}"
    return [*datasets(), *second]


def _coarser() -> CTVolume:
    return phantom_ct((10, 12, 16), (2.0, 0.8, 0.7))


def _phases_beside_a_clear_series(folder: Path) -> Path:
    save(_two_phases(), folder / "phases")
    save(datasets(_coarser(), SAME_STUDY), folder / "clear")
    return folder


def _phases_beside_another_day(folder: Path) -> Path:
    save(_two_phases(), folder / "phases")
    other = datasets(_coarser(), OTHER_STUDY)
    for dataset in other:
        dataset.AcquisitionDate = "20200101"
    save(other, folder / "clear")
    return folder


def _two_patients(folder: Path) -> Path:
    save(datasets(), folder / "one")
    save(datasets(identity=OTHER_PATIENT), folder / "two")
    return folder


def _one_id_two_births(folder: Path) -> Path:
    """As a hospital's test patient, or a wrong entry at the scanner."""
    save(datasets(), folder / "one")
    other = datasets(identity=OTHER_STUDY)
    for dataset in other:
        dataset.PatientBirthDate = "19010101"
    save(other, folder / "two")
    return folder


def _patients_in_one_series(folder: Path) -> Path:
    """As a wrong merge in an archive, or one made-up UID for all patients."""
    slices = datasets()
    for dataset in slices[12:]:
        dataset.PatientID = "PHANTOM-TWO"
    return save(slices, folder / "ct")


def _with_directory(listed: Sequence[Dataset], folder: Path) -> Path:
    save(datasets(), folder / "ct")
    names = [["CT", f"{i:04d}"] for i in range(len(listed))]
    dicomdir(listed, names).save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder


def _directory_of_another(folder: Path) -> Path:
    return _with_directory(datasets(identity=OTHER_PATIENT), folder)


def _directory_of_more(folder: Path) -> Path:
    """It lists a second series, which nobody copied."""
    save(datasets(), folder / "ct")
    here, absent = datasets(), datasets(_coarser(), SAME_STUDY)
    directory = dicomdir(here, [["CT", f"{i:04d}"] for i in range(len(here))])
    more = dicomdir(absent, [["MORE", f"{i:04d}"] for i in range(len(absent))])
    directory.DirectoryRecordSequence.extend(more.DirectoryRecordSequence[2:])
    directory.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder


def _zip_inside(folder: Path) -> Path:
    zipped(save(datasets(identity=SAME_STUDY), folder / "other"), folder / "old.zip")
    for path in (folder / "other").iterdir():
        path.unlink()
    return save(datasets(), folder / "ct").parent


def _only_zips(folder: Path) -> Path:
    inner = zipped(save(datasets(), folder / "ct"), folder / "inner.zip")
    (folder / "outer").mkdir()
    inner.rename(folder / "outer" / "inner.zip")
    return zipped(folder / "outer", folder / "outer.zip")


def _two_stacks(folder: Path) -> Path:
    """An enhanced object of two discs, each its own stack of parallel frames."""
    upper = phantom_ct((7, 12, 16), (2.0, 0.8, 0.7), (-40.0, -60.0, -250.5))
    enhanced = enhanced_ct([*datasets(_coarser()), *datasets(upper)])
    frames = enhanced.PerFrameFunctionalGroupsSequence
    for number, frame in enumerate(frames):
        content = frame.FrameContentSequence[0]
        content.StackID = "1" if number < 10 else "2"
        content.InStackPositionNumber = 1 + (number if number < 10 else number - 10)
    folder.mkdir(parents=True, exist_ok=True)
    write_dataset(enhanced, folder / "enhanced", WriteOptions())
    return folder


def _oblique() -> CTVolume:
    """Along a disc of L5/S1: 30 degrees from axial, pixels that are no squares."""
    c, s = np.cos(np.radians(30.0)), np.sin(np.radians(30.0))
    axes = np.array([[0, -s, c], [0, c, s], [1.0, 0, 0]])
    ct = phantom_ct((20, 12, 16), (1.5, 0.9, 0.5), directions_lps=axes)
    # Positions are written with a finite number of digits.
    affine = ct.geometry.affine_lps
    return CTVolume(
        ct.hu,
        VoxelGeometry(ct.hu.shape, affine, "1.2.3.4"),
        acquisition=ct.acquisition,
    )


INPUT_CASES = (
    ReadCase(
        "oblique",
        "slices 30 degrees from axial, pixels of 0.9 x 0.5 mm",
        lambda f: save(datasets(_oblique()), f / "ct"),
        truth=_oblique,
    ),
    ReadCase(
        "two_stacks",
        "an enhanced object of two stacks",
        _two_stacks,
        ("series_in_parts",),
        ("10 slices, the others 7",),
        _coarser,
    ),
    ReadCase(
        "phases_beside_clear",
        "two phases under one series UID, and another series of that day",
        _phases_beside_a_clear_series,
        ("series_passed_over",),
        ("its slices are thicker", "2 acquisitions", "#number"),
        _coarser,
    ),
    ReadCase(
        "directory_of_other",
        "the DICOMDIR of another patient's CD",
        _directory_of_another,
        ("directory_of_other_medium",),
        ("none of the images", "another patient"),
    ),
    ReadCase(
        "directory_of_more",
        "a CD that lacks a whole series",
        _directory_of_more,
        ("series_missing_from_medium",),
        ("1 more CT series (10 images)",),
    ),
    ReadCase(
        "zip_inside",
        "a zip archive beside the CT",
        _zip_inside,
        ("archives_not_opened",),
        ("1 zip archives",),
    ),
)
"""Each is read as its ``truth``."""

REFUSED_INPUTS = (
    RefusedCase(
        "two_patients",
        "CT of two patients in one folder",
        _two_patients,
        MixedSeriesError,
        ("2 patients", "Name one series", "ask the PACS whose images"),
    ),
    RefusedCase(
        "patients_in_one_series",
        "slices of two patients under one series UID",
        _patients_in_one_series,
        MixedSeriesError,
        ("slices of 2 patients", "Ask the PACS whose images"),
    ),
    RefusedCase(
        "two_births",
        "one patient ID with two birth dates",
        _one_id_two_births,
        MixedSeriesError,
        ("2 patients", "birth date"),
    ),
    RefusedCase(
        "phases_beside_other_day",
        "two phases under one series UID, and a series of another day",
        _phases_beside_another_day,
        MixedSeriesError,
        ("2 acquisitions", "#number, or another series that can be measured"),
    ),
    RefusedCase(
        "zip_in_zip",
        "a zip of a zip",
        _only_zips,
        NoSeriesError,
        ("1 zip archives in it", "Unpack the zip archives"),
    ),
)
"""Each is refused by `read_series` with its own error."""
