"""What cemscope reads from the header of one slice, as plain values.

Enhanced multi-frame objects give one `SliceHeader` per frame.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from cemscope.dicom.attributes import AttributeReader, registered_name
from cemscope.dicom.files import FileEntry

CT_CLASSES = frozenset(
    (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
)
"""SOP classes of CT images."""

_METAL_REDUCTION = re.compile(
    r"(?<![A-Za-z])(?:[iI]-?MAR|O-?MAR|SEMAR|Smart[ _]?MAR|MARs)(?![A-Za-z])"
    r"|(?i:metal[ _-]*art[ie]fact)"
)
"""Trade names of metal artefact reduction: Siemens iMAR, Philips O-MAR, Canon SEMAR,
GE Smart MAR (also written MARs)."""

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the pixels of one slice are stored.

    Attributes
    ----------
    slope, intercept : float or None
        Hounsfield unit = slope x stored + intercept; None where missing.
    rescale_type : str
        "HU", "" (means HU on CT), or another unit.
    padding : tuple of int or None
        Lowest and highest stored value that stand for padding.
    lossy : bool
        Whether the pixels went through lossy compression.
    """

    transfer_syntax_uid: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    samples_per_pixel: int
    photometric: str
    slope: float | None
    intercept: float | None
    rescale_type: str
    padding: tuple[int, int] | None
    lossy: bool

    @property
    def transfer_syntax_name(self) -> str:
        """Name of the transfer syntax in DICOM PS3.6."""
        return registered_name(self.transfer_syntax_uid)

    @property
    def stored_range(self) -> tuple[int, int]:
        """Lowest and highest value that fit the stored bits."""
        if self.signed:
            return -(2 ** (self.bits_stored - 1)), 2 ** (self.bits_stored - 1) - 1
        return 0, 2**self.bits_stored - 1


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """One slice: where it lies, how it was made, and where its pixels are.

    ``None`` or "" stands for what the header does not say; UIDs are "" then.
    Descriptions and everything about the patient stay unread, except that the
    series description is searched for metal artefact reduction.

    Attributes
    ----------
    entry : FileEntry
        The file.
    frame_index : int
        Frame in a multi-frame object, else 0.
    orientation : tuple of float or None
        ImageOrientationPatient: direction along a row, then along a column.
    position : tuple of float or None
        ImagePositionPatient: centre of the first pixel, LPS mm.
    pixel_spacing_mm : tuple of float or None
        Distance between rows, between columns.
    timing : tuple of str
        Acquisition number, temporal position, cardiac phase, acquisition time.
    """

    entry: FileEntry
    frame_index: int
    frame_count: int
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    modality: str
    image_type: tuple[str, ...]
    instance_number: int | None
    series_number: int | None
    timing: tuple[str, str, str, str]
    rows: int
    columns: int
    orientation: tuple[Triple, Triple] | None
    position: Triple | None
    pixel_spacing_mm: tuple[float, float] | None
    slice_thickness_mm: float | None
    kvp: float | None
    kernel: str | None
    manufacturer: str | None
    acquisition_date: str | None
    metal_artifact_reduction: bool
    pixels: PixelFormat


def read_dataset(stream: BinaryIO, *, with_pixels: bool) -> FileDataset:
    """Read a DICOM file that may lack preamble and file meta group.

    Raises
    ------
    Exception
        Of any kind, with header values in its text, if the file is damaged.
    """
    dataset = pydicom.dcmread(stream, force=True, stop_before_pixels=not with_pixels)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian
            if implicit
            else ExplicitVRLittleEndian
            if little
            else ExplicitVRBigEndian
        )
    return dataset


def slice_headers(dataset: FileDataset, entry: FileEntry) -> Iterator[SliceHeader]:
    """One header per slice of a file; none for a DICOMDIR.

    Raises
    ------
    ValueError
        If the data set lacks what every object has.
    Exception
        Of any kind, with header values in its text, if the file is damaged.
    """
    meta = dataset.file_meta
    sop_class = AttributeReader((dataset,)).uid("SOPClassUID") or AttributeReader(
        (meta,)
    ).uid("MediaStorageSOPClassUID")
    if sop_class == MediaStorageDirectoryStorage:
        return
    if "Modality" not in dataset or (sop_class in CT_CLASSES and "Rows" not in dataset):
        raise ValueError("the header ends before it says what the object is")
    frames = AttributeReader((dataset,)).integer("NumberOfFrames") or 1
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    shared = dataset.get("SharedFunctionalGroupsSequence")
    common = shared[0] if shared else Dataset()
    if sop_class not in CT_CLASSES or not per_frame:
        yield _slice_header(dataset, entry, sop_class, (dataset,), (0, frames))
        return
    for index in range(frames):
        groups = (per_frame[index], common)
        yield _slice_header(
            dataset, entry, sop_class, (*_flatten(groups), dataset), (index, frames)
        )


def _flatten(groups: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """Items of the functional groups' macros, frame before shared."""
    return tuple(
        element.value[0]
        for group in groups
        for element in group
        if element.VR == "SQ" and element.value
    )


def _slice_header(
    dataset: FileDataset,
    entry: FileEntry,
    sop_class: str,
    levels: tuple[Dataset, ...],
    frame: tuple[int, int],
) -> SliceHeader:
    """Read a slice; ``levels`` are searched in turn for each attribute."""
    meta = dataset.file_meta
    source = AttributeReader(levels)
    image_type = source.words("FrameType") or source.words("ImageType")
    kernel = "\\".join(source.words("ConvolutionKernel")) or None
    hints = "\n".join((*image_type, kernel or "", source.text("SeriesDescription")))
    orientation = source.numbers("ImageOrientationPatient", 6)
    position = source.numbers("ImagePositionPatient", 3)
    spacing = source.numbers("PixelSpacing", 2)
    return SliceHeader(
        entry=entry,
        frame_index=frame[0],
        frame_count=frame[1],
        sop_class_uid=sop_class,
        sop_instance_uid=source.uid("SOPInstanceUID")
        or AttributeReader((meta,)).uid("MediaStorageSOPInstanceUID"),
        study_instance_uid=source.uid("StudyInstanceUID"),
        series_instance_uid=source.uid("SeriesInstanceUID"),
        frame_of_reference_uid=source.uid("FrameOfReferenceUID"),
        modality=source.code("Modality"),
        image_type=image_type,
        instance_number=source.integer("InstanceNumber"),
        series_number=source.integer("SeriesNumber"),
        timing=(
            source.text("AcquisitionNumber") or source.text("FrameAcquisitionNumber"),
            source.text("TemporalPositionIdentifier")
            or source.text("TemporalPositionIndex"),
            source.text("NominalPercentageOfCardiacPhase"),
            source.text("AcquisitionTime") or source.text("FrameAcquisitionDateTime"),
        ),
        rows=source.integer("Rows") or 0,
        columns=source.integer("Columns") or 0,
        orientation=None
        if orientation is None
        else (
            (orientation[0], orientation[1], orientation[2]),
            (orientation[3], orientation[4], orientation[5]),
        ),
        position=None if position is None else (position[0], position[1], position[2]),
        pixel_spacing_mm=None if spacing is None else (spacing[0], spacing[1]),
        slice_thickness_mm=source.number("SliceThickness"),
        kvp=source.number("KVP"),
        kernel=kernel,
        manufacturer=source.text("Manufacturer") or None,
        acquisition_date=_date(source),
        metal_artifact_reduction=_METAL_REDUCTION.search(hints) is not None,
        pixels=_pixel_format(dataset, source),
    )


def _pixel_format(dataset: FileDataset, source: AttributeReader) -> PixelFormat:
    signed = source.integer("PixelRepresentation") == 1
    bits = source.integer("BitsAllocated") or 0
    return PixelFormat(
        transfer_syntax_uid=AttributeReader((dataset.file_meta,)).uid(
            "TransferSyntaxUID"
        ),
        bits_allocated=bits,
        bits_stored=source.integer("BitsStored") or 0,
        signed=signed,
        samples_per_pixel=source.integer("SamplesPerPixel") or 0,
        photometric=source.text("PhotometricInterpretation"),
        slope=source.number("RescaleSlope"),
        intercept=source.number("RescaleIntercept"),
        rescale_type=source.code("RescaleType"),
        padding=_padding(source, bits, signed),
        lossy=source.text("LossyImageCompression") == "01",
    )


def _padding(
    source: AttributeReader, bits: int, signed: bool
) -> tuple[int, int] | None:
    first = source.integer("PixelPaddingValue")
    if first is None:
        return None
    last = source.integer("PixelPaddingRangeLimit")
    ends = [first, first if last is None else last]
    if signed and bits:
        # The tag is often written as US where the pixels are SS.
        ends = [e - 2**bits if e >= 2 ** (bits - 1) else e for e in ends]
    elif bits:
        ends = [e % 2**bits for e in ends]
    return min(ends), max(ends)


def _date(source: AttributeReader) -> str | None:
    for name in ("AcquisitionDate", "AcquisitionDateTime", "SeriesDate", "StudyDate"):
        text = source.text(name)[:8]
        if re.fullmatch(r"[12]\d{7}", text):
            return text
    return None
