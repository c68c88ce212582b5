"""Checks that a part of a series holds CT values that can be decoded."""

import math
from collections.abc import Callable, Iterator, Sequence

from pydicom.config import IGNORE
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, CTImageStorage

from cemscope.dicom.attributes import registered_name
from cemscope.dicom.decoding import require_pixels
from cemscope.dicom.header import CT_CLASSES, SliceHeader
from cemscope.dicom.limits import GIB, InputLimits
from cemscope.dicom.parts import LOCALIZER, SeriesPart, slice_name
from cemscope.dicom.patient_marks import patient_numbers
from cemscope.dicom.series_finding import FindingCode, SeriesFinding
from cemscope.dicom.stack import orthonormal_axes
from cemscope.dicom.stack_steps import percent_words
from cemscope.errors import UnreadablePixelsError
from cemscope.volume import PADDING_HU, Notice

MAX_RESCALE_SLOPE = 100.0
"""HU per stored value. Extended scales use 1 to 10; more is a damaged header."""

_MIN_RESCALE_SLOPE = 1e-3

_PROJECTIONS = frozenset(
    (
        *("MIP", "MAX_IP", "MINIP", "MIN_IP", "MIN IP", "PROJECTION IMAGE"),
        *("VRT", "SSD", "VOLUME_RENDER", "SURFACE_RENDER", "RENDERED"),
    )
)
"""ImageType values of pictures whose pixels are not averages over a voxel."""

_THICK_SLICE_MM = 3.0
_GAP_FRACTION = 1.05


def content_findings(
    part: SeriesPart, headers: Sequence[SliceHeader], limits: InputLimits
) -> tuple[SeriesFinding, ...]:
    """Everything but the geometry that speaks against measuring a part.

    Parameters
    ----------
    part, headers
        A part, and its slices in the order in which messages count them.
    limits
        What is too large to be read.
    """
    first = headers[0]
    findings = _kind_findings(first)
    if any(f.code is FindingCode.NOT_CT for f in findings):
        return tuple(findings)
    patients = max(patient_numbers(dict.fromkeys(h.patient for h in headers)))
    if patients > 1:
        findings.append(
            SeriesFinding(
                FindingCode.SEVERAL_PATIENTS,
                f"slices of {patients} patients share the series, as patient ID, "
                "birth date or sex differ",
            )
        )
    if part.stack is None:
        findings.append(_missing_geometry(headers))
    findings += _size_findings(headers, limits)
    findings += _pixel_findings(headers)
    return tuple(findings)


def volume_findings(
    shape: tuple[int, int, int], limits: InputLimits
) -> tuple[SeriesFinding, ...]:
    """Whether a volume of this shape may be allocated."""
    gib = 2.0 * math.prod(shape) / GIB
    if gib <= limits.max_volume_gib:
        return ()
    slices, rows, columns = shape
    return (
        SeriesFinding(
            FindingCode.TOO_LARGE,
            f"{slices} x {rows} x {columns} voxels need {gib:.1f} GiB, expected at "
            f"most {limits.max_volume_gib:g} GiB",
        ),
    )


def _size_findings(
    headers: Sequence[SliceHeader], limits: InputLimits
) -> list[SeriesFinding]:
    findings = []
    side = max(max(h.rows, h.columns) for h in headers)
    if side > limits.max_rows_columns:
        findings.append(
            SeriesFinding(
                FindingCode.TOO_LARGE,
                f"slices claim {side} rows or columns, expected at most "
                f"{limits.max_rows_columns}",
            )
        )
    if len(headers) > limits.max_slices:
        findings.append(
            SeriesFinding(
                FindingCode.TOO_LARGE,
                f"found {len(headers)} slices, expected at most {limits.max_slices}",
            )
        )
    return findings


def content_notices(part: SeriesPart) -> tuple[Notice, ...]:
    """List what a reader should know of a part that can be measured."""
    first = part.headers[0]
    notices = list(_grid_notices(part))
    if part.uid_is_made_up:
        notices.append(
            Notice(
                "missing_series_uid",
                "the files carry no SeriesInstanceUID; cemscope made one up",
            )
        )
    if not first.frame_of_reference_uid:
        notices.append(
            Notice("missing_frame_of_reference", "the files name no frame of reference")
        )
    if any(h.pixels.lossy or _is_lossy(h) for h in part.headers):
        notices.append(
            Notice("lossy_compression", "the pixels went through lossy compression")
        )
    if first.pixels.rescale_type == "US":
        notices.append(
            Notice(
                "unspecified_unit",
                "the header leaves the unit of the values open; taken as HU",
            )
        )
    if any("MONO" in word or "KEV" in word.upper() for word in first.image_type):
        notices.append(
            Notice(
                "monoenergetic_image",
                "a virtual monoenergetic image: HU of cement and metal differ from "
                "those of a conventional scan",
            )
        )
    return (*notices, *_thickness_notices(part))


def _grid_notices(part: SeriesPart) -> Iterator[Notice]:
    """Tell what was repaired."""
    if part.copies:
        yield Notice(
            "copies_left_out",
            f"{part.copies} slices lie in the input twice with equal pixels; the "
            "copies were left out",
        )
    report = part.report
    if report is not None and report.is_sheared and not report.findings:
        error = percent_words(*report.avoided_error_percent)
        yield Notice(
            "gantry_tilt",
            f"{report.tilt_words}; each slice was moved within its plane onto an "
            "orthogonal grid (linear interpolation), what the scan did not see became "
            f"{PADDING_HU} HU. Stacked as they are, volumes would be off by {error}",
        )


def _thickness_notices(part: SeriesPart) -> list[Notice]:
    thickness_mm = part.headers[0].slice_thickness_mm
    if part.report is None or part.report.findings:
        return []
    spacing_mm = part.report.spacing_mm
    notices = []
    if thickness_mm is not None and 0 < thickness_mm * _GAP_FRACTION < spacing_mm:
        notices.append(
            Notice(
                "gap_between_slices",
                f"slices are {thickness_mm:g} mm thick but {spacing_mm:.2f} mm apart: "
                "what lies between them was not imaged",
            )
        )
    coarse_mm = max(thickness_mm or 0.0, spacing_mm)
    if coarse_mm > _THICK_SLICE_MM:
        notices.append(
            Notice("thick_slices", f"slices are {coarse_mm:.1f} mm thick or apart")
        )
    return notices


def _kind_findings(first: SliceHeader) -> list[SeriesFinding]:
    findings = []
    if first.modality != "CT":
        found = first.modality or "none"
        findings.append(
            SeriesFinding(FindingCode.NOT_CT, f"expected modality CT, found {found}")
        )
    elif first.sop_class_uid and first.sop_class_uid not in CT_CLASSES:
        findings.append(
            SeriesFinding(
                FindingCode.NOT_CT,
                f"expected CT images, found {registered_name(first.sop_class_uid)}",
            )
        )
    elif first.pixels.samples_per_pixel > 1:
        findings.append(
            SeriesFinding(FindingCode.NOT_CT, "expected grey values, found colours")
        )
    elif first.frame_count > 1 and not _has_functional_groups(first):
        findings.append(
            SeriesFinding(
                FindingCode.MISSING_GEOMETRY,
                f"a multi-frame object of {first.frame_count} frames without "
                "functional groups",
            )
        )
    if LOCALIZER in first.image_type:
        findings.append(SeriesFinding(FindingCode.LOCALIZER, "it is a localizer"))
    projections = _PROJECTIONS.intersection(first.image_type)
    if projections:
        findings.append(
            SeriesFinding(
                FindingCode.PROJECTION,
                f"it is a projection ({', '.join(sorted(projections))})",
            )
        )
    unit = first.pixels.rescale_type
    unspecified = unit == "US" and first.image_type[:1] == ("ORIGINAL",)
    if unit not in ("", "HU") and not unspecified:
        findings.append(
            SeriesFinding(
                FindingCode.NOT_HOUNSFIELD, f"expected values in HU, found {unit}"
            )
        )
    return findings


def _has_functional_groups(header: SliceHeader) -> bool:
    return header.sop_class_uid != CTImageStorage and header.position is not None


def _missing_geometry(headers: Sequence[SliceHeader]) -> SeriesFinding:
    checks: tuple[tuple[str, Callable[[SliceHeader], bool]], ...] = (
        ("ImagePositionPatient", lambda h: h.position is None),
        (
            "ImageOrientationPatient",
            lambda h: h.orientation is None or orthonormal_axes(*h.orientation) is None,
        ),
        (
            "PixelSpacing",
            lambda h: h.pixel_spacing_mm is None or min(h.pixel_spacing_mm) <= 0,
        ),
        ("Rows and Columns", lambda h: min(h.rows, h.columns) < 1),
    )
    faults = []
    for tag, is_faulty in checks:
        count = sum(is_faulty(h) for h in headers)
        if count:
            faults.append(f"{tag} in {count} of {len(headers)} slices")
    return SeriesFinding(
        FindingCode.MISSING_GEOMETRY, f"missing or unusable: {', '.join(faults)}"
    )


def _pixel_findings(headers: Sequence[SliceHeader]) -> list[SeriesFinding]:
    unknown = {
        h.pixels.transfer_syntax_name or "(unnamed)"
        for h in headers
        if not can_decode(h.pixels.transfer_syntax_uid)
    }
    findings = [
        SeriesFinding(
            FindingCode.UNSUPPORTED_TRANSFER_SYNTAX,
            f"no decoder for the transfer syntax {name}",
        )
        for name in sorted(unknown)
    ]
    scaled = [h for h in headers if not _has_rescale(h)]
    if scaled:
        findings.append(
            SeriesFinding(
                FindingCode.UNREADABLE_PIXELS,
                f"RescaleSlope or RescaleIntercept is missing or absurd in "
                f"{len(scaled)} of {len(headers)} slices (first: "
                f"{slice_name(scaled[0])})",
            )
        )
    odd = [h for h in headers if not _has_format(h)]
    if odd:
        findings.append(
            SeriesFinding(
                FindingCode.UNREADABLE_PIXELS,
                f"expected one 16-bit grey value per pixel, found "
                f"{odd[0].pixels.bits_stored} of {odd[0].pixels.bits_allocated} bits "
                f"in {len(odd)} of {len(headers)} slices (first: "
                f"{slice_name(odd[0])})",
            )
        )
    elif not unknown:
        findings += _missing_pixels(headers)
    return findings


def _missing_pixels(headers: Sequence[SliceHeader]) -> list[SeriesFinding]:
    """Files that cannot hold the pixels they claim."""
    first = ""
    count = 0
    for header in headers:
        try:
            require_pixels(header)
        except UnreadablePixelsError as error:
            count += 1
            first = first or f"{slice_name(header)}, {error}"
    if not count:
        return []
    return [
        SeriesFinding(
            FindingCode.UNREADABLE_PIXELS,
            f"the pixels of {count} of {len(headers)} slices are missing or cut "
            f"short (first: {first})",
        )
    ]


def can_decode(transfer_syntax_uid: str) -> bool:
    """Tell whether an installed decoder reads a transfer syntax."""
    try:
        decoder = get_decoder(UID(transfer_syntax_uid, IGNORE))
    except NotImplementedError:
        return False
    return bool(decoder.is_available)


def _has_rescale(header: SliceHeader) -> bool:
    slope, intercept = header.pixels.slope, header.pixels.intercept
    return (
        slope is not None
        and intercept is not None
        and _MIN_RESCALE_SLOPE <= slope <= MAX_RESCALE_SLOPE
        and abs(intercept) <= 2**16
    )


def _has_format(header: SliceHeader) -> bool:
    pixels = header.pixels
    return (
        pixels.bits_allocated == 16
        and 8 <= pixels.bits_stored <= 16
        and pixels.photometric in ("MONOCHROME2", "MONOCHROME1")
    )


def _is_lossy(header: SliceHeader) -> bool:
    name = header.pixels.transfer_syntax_name
    return "Lossy" in name or name == "JPEG 2000 Image Compression"
