"""What cemscope reads from the header of one slice, as plain values.

Enhanced multi-frame objects give one `SliceHeader` per frame.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from cemscope.dicom.attributes import AttributeReader
from cemscope.dicom.code_terms import MODALITIES, RESCALE_TYPES
from cemscope.dicom.files import FileEntry
from cemscope.dicom.limits import InputLimits
from cemscope.dicom.patient_marks import PatientMarks, patient_marks
from cemscope.dicom.pixel_format import PixelElement, PixelFormat

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

_TIME = re.compile(r"\d{2,14}(?:\.\d{1,6})?(?:[+-]\d{4})?")

Triple = tuple[float, float, float]


_LARGEST_COSINE = 1.1
_FARTHEST_MM = 1e5
"""Positions beyond 100 m are damage."""

_SPACING_MM = (0.005, 100.0)
"""Pixels from micro-CT to scouts; anything else is damage."""

_MOST_BITS = 64


class HeaderError(ValueError):
    """A header that cannot be used; its text quotes no value but counts."""


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """One slice: where it lies, how it was made, and where its pixels are.

    ``None`` or "" stands for what the header does not say; UIDs are "" then.
    Descriptions and everything about the patient stay unread, except that the
    series description is searched for metal artefact reduction, and that marks are
    kept which tell patients apart and name nobody.

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
        Acquisition number, temporal position, cardiac phase, acquisition time, stack.
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
    timing: tuple[str, str, str, str, str]
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
    pixel_element: PixelElement | None
    patient: PatientMarks = field(repr=False)


def slice_headers(
    dataset: FileDataset,
    entry: FileEntry,
    pixel_element: PixelElement | None,
    limits: InputLimits,
) -> Iterator[SliceHeader]:
    """One header per slice of a file.

    Raises
    ------
    HeaderError
        If the data set lacks what every object has, or claims too many frames.
    Exception
        Of any kind, with header values in its text, if the file is damaged.
    """
    source = AttributeReader((dataset,))
    file = _File(entry, pixel_element, AttributeReader((dataset.file_meta,)))
    sop_class = _sop_class_uid(source, file.meta)
    if not source.has("Modality") or (
        sop_class in CT_CLASSES and not source.has("Rows")
    ):
        raise HeaderError("the header ends before it says what the object is")
    frames = source.integer("NumberOfFrames") or 1
    if not 1 <= frames <= limits.max_slices:
        raise HeaderError(
            f"an object claims {frames} frames, expected at most {limits.max_slices}"
        )
    per_frame = None
    if sop_class in CT_CLASSES and source.has("PerFrameFunctionalGroupsSequence"):
        per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if not per_frame:
        yield _slice_header(source, file, sop_class, (0, frames))
        return
    if len(per_frame) != frames:
        raise HeaderError(
            f"an object claims {frames} frames and describes {len(per_frame)}"
        )
    shared = dataset.get("SharedFunctionalGroupsSequence")
    common = _flatten(shared[0]) if shared else ()
    for index in range(frames):
        levels = (*_flatten(per_frame[index]), *common, dataset)
        yield _slice_header(AttributeReader(levels), file, sop_class, (index, frames))


@dataclass(frozen=True, slots=True)
class _File:
    """What all slices of a file share: where it lies, and its file meta group."""

    entry: FileEntry
    pixel_element: PixelElement | None
    meta: AttributeReader


def sop_class_uid(dataset: FileDataset) -> str:
    """Read what kind of object it is, from the file meta group if need be."""
    meta = AttributeReader((dataset.file_meta,))
    return _sop_class_uid(AttributeReader((dataset,)), meta)


def _sop_class_uid(source: AttributeReader, meta: AttributeReader) -> str:
    return source.uid("SOPClassUID") or meta.uid("MediaStorageSOPClassUID")


def _flatten(group: Dataset) -> tuple[Dataset, ...]:
    """Items of the functional group's macros."""
    return tuple(
        element.value[0] for element in group if element.VR == "SQ" and element.value
    )


def _slice_header(
    source: AttributeReader, file: _File, sop_class: str, frame: tuple[int, int]
) -> SliceHeader:
    image_type = source.words("FrameType") or source.words("ImageType")
    kernel = "\\".join(source.words("ConvolutionKernel")) or None
    hints = "\n".join((*image_type, kernel or "", source.text("SeriesDescription")))
    orientation = source.numbers("ImageOrientationPatient", 6)
    if orientation is not None and max(map(abs, orientation)) > _LARGEST_COSINE:
        orientation = None
    position = source.numbers("ImagePositionPatient", 3)
    if position is not None and max(map(abs, position)) > _FARTHEST_MM:
        position = None
    spacing = source.numbers("PixelSpacing", 2)
    if (
        spacing is not None
        and not _SPACING_MM[0] <= min(spacing) <= max(spacing) <= (_SPACING_MM[1])
    ):
        spacing = None
    return SliceHeader(
        entry=file.entry,
        frame_index=frame[0],
        frame_count=frame[1],
        sop_class_uid=sop_class,
        sop_instance_uid=source.uid("SOPInstanceUID")
        or file.meta.uid("MediaStorageSOPInstanceUID"),
        study_instance_uid=source.uid("StudyInstanceUID"),
        series_instance_uid=source.uid("SeriesInstanceUID"),
        frame_of_reference_uid=source.uid("FrameOfReferenceUID"),
        modality=source.code("Modality", MODALITIES),
        image_type=image_type,
        instance_number=source.integer("InstanceNumber"),
        series_number=source.integer("SeriesNumber"),
        timing=_timing(source),
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
        pixels=_pixel_format(source, file),
        pixel_element=file.pixel_element,
        patient=patient_marks(source),
    )


def _timing(source: AttributeReader) -> tuple[str, str, str, str, str]:
    """Numbers and times only: a free text could name the patient."""
    acquisition = _first_number(source, "AcquisitionNumber", "FrameAcquisitionNumber")
    position = _first_number(
        source, "TemporalPositionIdentifier", "TemporalPositionIndex"
    )
    phase = _first_number(source, "NominalPercentageOfCardiacPhase")
    time = source.text("AcquisitionTime") or source.text("FrameAcquisitionDateTime")
    stack = _first_number(source, "StackID")
    return acquisition, position, phase, time if _TIME.fullmatch(time) else "", stack


def _first_number(source: AttributeReader, *names: str) -> str:
    for name in names:
        value = source.number(name)
        if value is not None:
            return f"{value:g}"
    return ""


def _pixel_format(source: AttributeReader, file: _File) -> PixelFormat:
    signed = source.integer("PixelRepresentation") == 1
    bits = _bits(source, "BitsAllocated")
    return PixelFormat(
        transfer_syntax_uid=str(DeflatedExplicitVRLittleEndian)
        if file.entry.deflated
        else file.meta.uid("TransferSyntaxUID"),
        bits_allocated=bits,
        bits_stored=_bits(source, "BitsStored"),
        signed=signed,
        samples_per_pixel=source.integer("SamplesPerPixel") or 0,
        photometric=source.text("PhotometricInterpretation"),
        slope=source.number("RescaleSlope"),
        intercept=source.number("RescaleIntercept"),
        rescale_type=source.code("RescaleType", RESCALE_TYPES),
        padding=_padding(source, bits, signed),
        lossy=source.text("LossyImageCompression") == "01",
    )


def _bits(source: AttributeReader, name: str) -> int:
    bits = source.integer(name) or 0
    return bits if 0 <= bits <= _MOST_BITS else 0


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
