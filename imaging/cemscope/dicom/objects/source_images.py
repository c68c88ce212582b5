"""The headers of the CT series that results refer to.

Only what a result repeats or refers to is kept, checked and made whole: headers of real
scanners lack attributes, or hold values that the standard forbids, and an object that
copies them is refused by archives.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from cemscope.dicom.files import InputFiles
from cemscope.dicom.limits import InputLimits
from cemscope.dicom.patient_key import patient_digest_of
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.dicom.series import SeriesSummary, list_series
from cemscope.dicom.stack import StackSettings
from cemscope.errors import EvidenceError
from cemscope.geometry import VoxelGeometry

_TEXTS = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientSex", "PatientAge",
    "AccessionNumber", "ReferringPhysicianName", "StudyID", "StudyDescription",
    "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "InstitutionName",
    "PatientPosition", "PositionReferenceIndicator",
)  # fmt: skip
_DATES = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate")
_TIMES = ("StudyTime", "SeriesTime", "AcquisitionTime")
_NUMBERS = (
    "SeriesNumber", "InstanceNumber", "Rows", "Columns", "PixelSpacing",
    "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient",
    "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "NumberOfFrames", "ImageType",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "DimensionOrganizationSequence", "DimensionIndexSequence",
)  # fmt: skip
_NEVER_ABSENT = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber",
    "ReferringPhysicianName", "StudyID", "StudyDate", "StudyTime",
)  # fmt: skip
"""Attributes of type 2: they stand in every object, empty where they are not known."""

_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_ZONE = re.compile(r"[+-]\d{4}")
_SEXES = ("M", "F", "O", "")


@dataclass(frozen=True, slots=True, eq=False)
class SourceImages:
    """Headers of a CT series, in the order of the volume's first axis.

    Attributes
    ----------
    datasets : tuple of Dataset
        Cleaned headers without pixels; one for all frames of a multi-frame object.
    geometry : VoxelGeometry
        Grid of the pixels as they were scanned (sheared under a tilted gantry).
    measured_geometry : VoxelGeometry
        Grid that results are measured on; another one where the scan is sheared.
    series : SeriesSummary
        The series as it was listed, for `cemscope.dicom.read_series`.
    """

    datasets: tuple[Dataset, ...]
    geometry: VoxelGeometry
    measured_geometry: VoxelGeometry
    series: SeriesSummary

    @property
    def sheared(self) -> bool:
        """Whether results have to be moved back onto the slices."""
        return self.geometry is not self.measured_geometry

    @property
    def first(self) -> Dataset:
        """Header that stands for the patient and the study."""
        return self.datasets[0]

    @property
    def patient_and_study(self) -> tuple[str, str]:
        """PatientID and StudyInstanceUID."""
        return str(self.first.PatientID), str(self.first.StudyInstanceUID)


@dataclass(frozen=True, slots=True)
class ExpectedSeries:
    """Which series a result was measured on.

    Attributes
    ----------
    study_instance_uid, series_instance_uid : str
        As the result names them.
    frame_of_reference_uid : str or None
        None where the header had none.
    sop_instance_uids : tuple of str
        In the order of the slices.
    patient_digest : str or None
        Of the patient, see `cemscope.dicom.patient_key`; None where it was not noted.
    """

    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str | None
    sop_instance_uids: tuple[str, ...]
    patient_digest: str | None = None


def read_source_images(
    path: Path,
    expected: ExpectedSeries,
    stack: StackSettings | None = None,
    limits: InputLimits | None = None,
) -> SourceImages:
    """Read the headers of the series that a result was measured on.

    Parameters
    ----------
    path
        Folder, file or zip archive that holds it, perhaps among others.

    Raises
    ------
    EvidenceError
        If the series does not lie there, or differs in any slice, study, frame of
        reference or patient.
    """
    chosen = _matching_series(list_series(path, stack, limits), expected)
    with silenced_pydicom():
        raw = _read_headers(chosen, limits or InputLimits())
    patients = {str(d.get("PatientID", "")) for _, d in raw}
    if len(patients) != 1:
        raise EvidenceError(
            f"the slices of the series carry {len(patients)} different patient ids: "
            "no object is made of them. Ask the PACS to send the series again"
        )
    with silenced_pydicom():
        found = patient_digest_of(raw[0][1], expected.series_instance_uid)
    if expected.patient_digest not in (None, found):
        raise EvidenceError(
            "the slices there carry the UIDs of the case's series and another patient "
            "id, or another issuer of it, than when they were measured: they may be of "
            "another patient. Give the series that was analysed with --series, or, if "
            "the id was corrected, analyse the series again"
        )
    with silenced_pydicom():
        datasets = tuple(reference_header(d, uid, expected) for uid, d in raw)
    if chosen.geometry is None:
        raise chosen.refusal()
    measured = chosen.geometry
    scanned = measured if chosen.shear is None else chosen.shear.source_geometry
    return SourceImages(datasets, scanned, measured, chosen)


def _matching_series(
    listed: Sequence[SeriesSummary], expected: ExpectedSeries
) -> SeriesSummary:
    named = [s for s in listed if s.series_instance_uid == expected.series_instance_uid]
    if not named:
        raise EvidenceError(
            f"the case was measured on series {expected.series_instance_uid}, and the "
            f"input holds {len(listed)} other series: give the folder of that series "
            "with --series"
        )
    for series in named:
        uids = tuple(h.sop_instance_uid for h in series.headers)
        if uids != expected.sop_instance_uids:
            continue
        found_study = series.study_instance_uid
        if found_study and found_study != expected.study_instance_uid:
            raise EvidenceError(
                "the slices there belong to another study than the case: expected "
                f"{expected.study_instance_uid}, found {found_study}"
            )
        frame = series.frame_of_reference_uid
        if frame and frame != expected.frame_of_reference_uid:
            raise EvidenceError(
                "the slices there have another frame of reference than the case: "
                f"expected {expected.frame_of_reference_uid}, found {frame}"
            )
        return series
    uids = tuple(h.sop_instance_uid for h in named[0].headers)
    shared = len(set(uids) & set(expected.sop_instance_uids))
    raise EvidenceError(
        f"the series there is not the one that was measured: {shared} of "
        f"{len(expected.sop_instance_uids)} slices are the same, and it has "
        f"{len(uids)} slices"
    )


def _read_headers(
    series: SeriesSummary, limits: InputLimits
) -> list[tuple[str, Dataset]]:
    """Header of each file with its SOP instance UID, as the series lists it."""
    entries = {header.entry: header.sop_instance_uid for header in series.headers}
    first = next(iter(entries))
    root = first.path if first.member is not None else first.path.parent
    headers: list[tuple[str, Dataset]] = []
    with InputFiles(root, limits) as files:
        for entry, uid in entries.items():
            with files.open(entry) as stream:
                header = dcmread(stream, stop_before_pixels=True, force=True)
            headers.append((uid, header))
    return headers


def reference_header(
    raw: Dataset, sop_instance_uid: str, expected: ExpectedSeries
) -> Dataset:
    """Keep what results repeat of a header, valid and complete.

    Text is decoded, so that results can be written in UTF-8 whatever the scanner
    used; dates and times that are none become empty.

    Parameters
    ----------
    raw
        As it was read.
    sop_instance_uid
        The object's UID; some files tell it in their file meta group only.
    expected
        UIDs of series and study, made up where the header lacks them.
    """
    clean = Dataset()
    clean.SpecificCharacterSet = "ISO_IR 192"
    for name in _TEXTS:
        text = str(raw.get(name, "") or "").replace("\\", " ").strip()
        if text or name in _NEVER_ABSENT:
            setattr(clean, name, text)
    for names, form in ((_DATES, _DATE), (_TIMES, _TIME)):
        for name in names:
            text = str(raw.get(name, "") or "").strip()
            if not form.fullmatch(text):
                text = ""
            if text or name in _NEVER_ABSENT:
                setattr(clean, name, text)
    for name in _NUMBERS:
        if name in raw and raw[name].value not in (None, "", []):
            clean[name] = raw[name]
    if clean.PatientSex not in _SEXES:
        clean.PatientSex = ""
    # Scanners write words of their own; results show the spine whatever was asked.
    clean.BodyPartExamined = "SPINE"
    zone = str(raw.get("TimezoneOffsetFromUTC", "") or "").strip()
    if _ZONE.fullmatch(zone):
        clean.TimezoneOffsetFromUTC = zone
    clean.Modality = "CT"
    clean.SOPClassUID = raw.get("SOPClassUID") or CTImageStorage
    clean.SOPInstanceUID = sop_instance_uid
    clean.StudyInstanceUID = expected.study_instance_uid
    clean.SeriesInstanceUID = expected.series_instance_uid
    clean.FrameOfReferenceUID = (
        raw.get("FrameOfReferenceUID") or expected.frame_of_reference_uid or ""
    )
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not UID(str(clean[name].value)).is_valid:
            raise EvidenceError(
                f"the header's {name} is no valid UID, so that no DICOM object can "
                "refer to it; export CSV or NIfTI instead"
            )
    clean.file_meta = FileMetaDataset()
    clean.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return clean
