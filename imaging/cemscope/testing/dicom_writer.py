"""Writes a CT volume as a DICOM series, one file per slice.

For tests, samples and simulations: the patient is synthetic, and the same input
gives the same UIDs and the same bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from cemscope.errors import ExportError
from cemscope.geometry import VoxelGeometry
from cemscope.volume import CTVolume


class PixelEncoding(Enum):
    """How the pixels are stored; the value is the DICOM transfer syntax."""

    EXPLICIT_LE = ExplicitVRLittleEndian
    IMPLICIT_LE = ImplicitVRLittleEndian
    EXPLICIT_BE = ExplicitVRBigEndian
    DEFLATED = DeflatedExplicitVRLittleEndian
    JPEG2000_LOSSLESS = JPEG2000Lossless
    JPEG_LS_LOSSLESS = JPEGLSLossless
    JPEG_LOSSLESS = JPEGLosslessSV1
    RLE = RLELossless


_UNCOMPRESSED = (
    PixelEncoding.EXPLICIT_LE,
    PixelEncoding.IMPLICIT_LE,
    PixelEncoding.EXPLICIT_BE,
    PixelEncoding.DEFLATED,
)


@dataclass(frozen=True, slots=True)
class SeriesIdentity:
    """Synthetic patient and study of a written series.

    UIDs follow from the keys: the same patient key gives the same frame of
    reference family, another study or series key gives other UIDs.

    Attributes
    ----------
    patient_name, patient_id, patient_birth_date, patient_sex : str
        As in DICOM; dates are YYYYMMDD.
    study_date, study_time : str
        YYYYMMDD and HHMMSS; also used for the series and the acquisition.
    study_key, series_key : str
        Free words that make the UIDs differ, e.g. "baseline" and "follow-up".
    series_number, acquisition_number : int
        As in DICOM.
    study_description, series_description, body_part : str
        As in DICOM.
    """

    patient_name: str = "Phantom^One"
    patient_id: str = "PHANTOM-ONE"
    patient_birth_date: str = "19500101"
    patient_sex: str = "O"
    study_date: str = "20260101"
    study_time: str = "120000"
    study_key: str = "baseline"
    series_key: str = "axial"
    series_number: int = 2
    acquisition_number: int = 1
    study_description: str = "Spine CT, simulated"
    series_description: str = "Axial, simulated"
    body_part: str = "SPINE"

    @property
    def study_instance_uid(self) -> str:
        """UID of the study."""
        return self._uid("study", self.study_key)

    @property
    def series_instance_uid(self) -> str:
        """UID of the series."""
        return self._uid("series", self.study_key, self.series_key)

    @property
    def frame_of_reference_uid(self) -> str:
        """Frame of reference of the study, for geometries that have none."""
        return self._uid("frame", self.study_key)

    def sop_instance_uid(self, slice_index: int) -> str:
        """UID of one slice."""
        return self._uid("slice", self.study_key, self.series_key, str(slice_index))

    def _uid(self, *words: str) -> str:
        entropy = ["cemscope.testing", self.patient_id, *words]
        return str(generate_uid(entropy_srcs=entropy))


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How Hounsfield units become stored values and files.

    Attributes
    ----------
    encoding : PixelEncoding
        Transfer syntax.
    rescale_slope, rescale_intercept : float or tuple of float
        HU = slope x stored + intercept; a tuple holds one value per slice. The
        default is the extended scale that holds metal (-8192 ... 57343 HU).
    signed : bool
        Whether stored values are signed (PixelRepresentation 1).
    bits_stored : int
        Up to 16, of 16 allocated.
    padding_stored : int or None
        PixelPaddingValue; None leaves the tag out.
    image_type : tuple of str
        DICOM ImageType.
    file_name : str
        Format of the file names with the field ``number`` (from 1).
    preamble, file_meta : bool
        False leaves out the 128-byte preamble, or preamble and file meta group
        (bare data set, Implicit VR Little Endian only).
    """

    encoding: PixelEncoding = PixelEncoding.EXPLICIT_LE
    rescale_slope: float | tuple[float, ...] = 1.0
    rescale_intercept: float | tuple[float, ...] = -8192.0
    signed: bool = False
    bits_stored: int = 16
    padding_stored: int | None = None
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    file_name: str = "slice-{number:04d}.dcm"
    preamble: bool = True
    file_meta: bool = True

    def rescale_of(self, slice_index: int) -> tuple[float, float]:
        """Slope and intercept of one slice."""
        return (
            _per_slice(self.rescale_slope, slice_index),
            _per_slice(self.rescale_intercept, slice_index),
        )


def write_series(
    ct: CTVolume,
    folder: Path,
    identity: SeriesIdentity | None = None,
    options: WriteOptions | None = None,
) -> tuple[Path, ...]:
    """Write a volume as CT Image Storage objects, one file per slice.

    Sheared geometries are written as they are, as a tilted gantry does.

    Parameters
    ----------
    ct
        The volume; ``ct.acquisition`` fills kVp, kernel, thickness and maker.
    folder
        Made if missing.
    identity, options
        Default: the patient Phantom^One, uncompressed.

    Returns
    -------
    tuple of Path
        The files in the order of the array's slices.

    Raises
    ------
    ValueError
        If a value does not fit the stored range or the options contradict.
    ExportError
        If no installed encoder writes the transfer syntax.
    """
    identity = identity or SeriesIdentity()
    options = options or WriteOptions()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(ct.geometry.shape[0]):
        path = folder / options.file_name.format(number=index + 1)
        write_dataset(slice_dataset(ct, index, identity, options), path, options)
        paths.append(path)
    return tuple(paths)


def slice_dataset(
    ct: CTVolume, index: int, identity: SeriesIdentity, options: WriteOptions
) -> Dataset:
    """One slice as an uncompressed data set, for tests that break it on purpose.

    Raises
    ------
    ValueError
        If a value does not fit the stored range.
    """
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = identity.sop_instance_uid(index)
    _add_identity(dataset, identity)
    _add_acquisition(dataset, ct)
    dataset.SeriesNumber = identity.series_number
    dataset.AcquisitionNumber = identity.acquisition_number
    dataset.InstanceNumber = index + 1
    dataset.ImageType = list(options.image_type)
    _add_plane(dataset, ct.geometry, index, identity)
    _add_pixels(dataset, ct.hu[index], index, options)
    return dataset


def write_dataset(dataset: Dataset, path: Path, options: WriteOptions) -> None:
    """Write one uncompressed data set in the wanted encoding.

    Raises
    ------
    ValueError
        If a bare data set is wanted in another syntax than Implicit VR LE.
    ExportError
        If no installed encoder writes the transfer syntax.
    """
    encoding = options.encoding
    if not options.file_meta and encoding is not PixelEncoding.IMPLICIT_LE:
        raise ValueError("a data set without file meta is read as Implicit VR LE only")
    dataset.file_meta = _file_meta(dataset, ExplicitVRLittleEndian)
    if encoding is PixelEncoding.JPEG_LOSSLESS:
        _write_jpeg_lossless(dataset, path)
        return
    if encoding in _UNCOMPRESSED:
        dataset.file_meta.TransferSyntaxUID = encoding.value
        if encoding is PixelEncoding.EXPLICIT_BE:
            swapped = np.frombuffer(dataset.PixelData, "<u2").astype(">u2")
            dataset.PixelData = swapped.tobytes()
    else:
        dataset.compress(encoding.value, generate_instance_uid=False)
    if not options.file_meta:
        del dataset.file_meta
        dcmwrite(path, dataset, implicit_vr=True, little_endian=True)
    elif options.preamble:
        dcmwrite(path, dataset, enforce_file_format=True)
    else:
        dataset.preamble = None
        dcmwrite(path, dataset)


def _file_meta(dataset: Dataset, syntax: UID) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = UID("2.25.190830162117347236011")
    meta.ImplementationVersionName = "CEMSCOPE_TESTING"
    return meta


def _write_jpeg_lossless(dataset: Dataset, path: Path) -> None:
    # pydicom has no JPEG lossless encoder; GDCM transcodes a file.
    import gdcm  # type: ignore[import-untyped]  # ships neither annotations nor stubs

    plain = path.with_name(path.name + ".uncompressed")
    try:
        dcmwrite(plain, dataset, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        if not reader.Read():
            raise ExportError("GDCM cannot read the uncompressed slice back")
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(
            gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1)
        )
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise ExportError("GDCM cannot encode the slice as JPEG lossless")
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        if not writer.Write():
            raise ExportError("GDCM cannot write the JPEG lossless slice")
    finally:
        plain.unlink(missing_ok=True)


def _add_identity(dataset: Dataset, identity: SeriesIdentity) -> None:
    dataset.PatientName = identity.patient_name
    dataset.PatientID = identity.patient_id
    dataset.PatientBirthDate = identity.patient_birth_date
    dataset.PatientSex = identity.patient_sex
    dataset.StudyInstanceUID = identity.study_instance_uid
    dataset.SeriesInstanceUID = identity.series_instance_uid
    dataset.StudyID = "1"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = identity.study_description
    dataset.SeriesDescription = identity.series_description
    dataset.BodyPartExamined = identity.body_part
    for event in ("Study", "Series", "Acquisition", "Content"):
        setattr(dataset, f"{event}Date", identity.study_date)
        setattr(dataset, f"{event}Time", identity.study_time)


def _add_acquisition(dataset: Dataset, ct: CTVolume) -> None:
    acquisition = ct.acquisition
    thickness_mm = acquisition.slice_thickness_mm or ct.spacing_mm[0]
    dataset.Modality = "CT"
    dataset.Manufacturer = acquisition.manufacturer or "cemscope phantom"
    dataset.KVP = "" if acquisition.kvp is None else _ds(acquisition.kvp)
    dataset.ConvolutionKernel = acquisition.kernel or ""
    dataset.SliceThickness = _ds(thickness_mm)
    dataset.PatientPosition = "HFS"
    if acquisition.acquisition_date is not None:
        dataset.AcquisitionDate = acquisition.acquisition_date


def _add_plane(
    dataset: Dataset, geometry: VoxelGeometry, index: int, identity: SeriesIdentity
) -> None:
    # The first triple of the orientation runs along a row, i.e. over the columns.
    _, row_axis, column_axis = geometry.directions_lps
    _, row_mm, column_mm = geometry.spacing_mm
    position = geometry.index_to_lps((index, 0, 0))
    dataset.FrameOfReferenceUID = (
        geometry.frame_of_reference_uid or identity.frame_of_reference_uid
    )
    dataset.PositionReferenceIndicator = ""
    dataset.ImagePositionPatient = [_ds(x) for x in position]
    dataset.ImageOrientationPatient = [_ds(x) for x in (*column_axis, *row_axis)]
    dataset.PixelSpacing = [_ds(row_mm), _ds(column_mm)]


def _add_pixels(
    dataset: Dataset, hu: npt.NDArray[np.int16], index: int, options: WriteOptions
) -> None:
    slope, intercept = options.rescale_of(index)
    stored = np.rint((hu.astype(np.float64) - intercept) / slope)
    bits = options.bits_stored
    low = -(2 ** (bits - 1)) if options.signed else 0
    high = 2 ** (bits - 1) - 1 if options.signed else 2**bits - 1
    if stored.min() < low or stored.max() > high:
        raise ValueError(
            f"slice {index}: {int(hu.min())} ... {int(hu.max())} HU do not fit "
            f"{bits} bits with slope {slope:g} and intercept {intercept:g}"
        )
    kind: Any = "<i2" if options.signed else "<u2"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = hu.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(options.signed)
    if options.padding_stored is not None:
        dataset.PixelPaddingValue = options.padding_stored
        dataset["PixelPaddingValue"].VR = "SS" if options.signed else "US"
    dataset.RescaleSlope = _ds(slope)
    dataset.RescaleIntercept = _ds(intercept)
    dataset.RescaleType = "HU"
    dataset.WindowCenter = ["40", "400"]
    dataset.WindowWidth = ["400", "2000"]
    dataset.PixelData = stored.astype(kind).tobytes()
    dataset["PixelData"].VR = "OW"


def _per_slice(value: float | Iterable[float], index: int) -> float:
    return float(value if isinstance(value, int | float) else tuple(value)[index])


def _ds(value: float) -> str:
    """Format as a DICOM decimal string (16 characters at most)."""
    return str(format_number_as_ds(float(value)))
