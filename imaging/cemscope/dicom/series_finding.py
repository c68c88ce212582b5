"""What speaks against measuring a series, and the error it becomes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cemscope.errors import (
    DuplicateSliceError,
    GantryTiltError,
    MixedSeriesError,
    NotCTError,
    SeriesError,
    UnevenSpacingError,
    UnreadablePixelsError,
    UnsupportedTransferSyntaxError,
)


class FindingCode(StrEnum):
    """Kinds of findings, from the one that speaks first to the last."""

    NOT_CT = "not_ct"
    SEVERAL_PATIENTS = "several_patients"
    NOT_HOUNSFIELD = "not_hounsfield"
    LOCALIZER = "localizer"
    PROJECTION = "projection"
    MISSING_GEOMETRY = "missing_geometry"
    TOO_LARGE = "too_large"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported_transfer_syntax"
    UNREADABLE_PIXELS = "unreadable_pixels"
    DUPLICATE_SLICES = "duplicate_slices"
    MISSING_SLICES = "missing_slices"
    UNEVEN_SPACING = "uneven_spacing"
    GANTRY_TILT = "gantry_tilt"
    SIDEWAYS_SHIFT = "sideways_shift"
    TOO_FEW_SLICES = "too_few_slices"
    TOO_COARSE = "too_coarse"


_ERRORS: dict[FindingCode, type[SeriesError]] = {
    FindingCode.NOT_CT: NotCTError,
    FindingCode.SEVERAL_PATIENTS: MixedSeriesError,
    FindingCode.NOT_HOUNSFIELD: NotCTError,
    FindingCode.LOCALIZER: NotCTError,
    FindingCode.PROJECTION: NotCTError,
    FindingCode.MISSING_GEOMETRY: SeriesError,
    FindingCode.TOO_LARGE: SeriesError,
    FindingCode.UNSUPPORTED_TRANSFER_SYNTAX: UnsupportedTransferSyntaxError,
    FindingCode.UNREADABLE_PIXELS: UnreadablePixelsError,
    FindingCode.DUPLICATE_SLICES: DuplicateSliceError,
    FindingCode.MISSING_SLICES: UnevenSpacingError,
    FindingCode.UNEVEN_SPACING: UnevenSpacingError,
    FindingCode.GANTRY_TILT: GantryTiltError,
    FindingCode.SIDEWAYS_SHIFT: MixedSeriesError,
    FindingCode.TOO_FEW_SLICES: SeriesError,
    FindingCode.TOO_COARSE: SeriesError,
}

_ADVICE: dict[FindingCode, str] = {
    FindingCode.NOT_CT: (
        "Ask the PACS for the original CT images (Modality CT, CT Image Storage) of "
        "the study."
    ),
    FindingCode.SEVERAL_PATIENTS: (
        "Ask the PACS whose images these are, and for each patient's under a series "
        "UID of their own."
    ),
    FindingCode.NOT_HOUNSFIELD: (
        "Ask the scanner for the conventional reconstruction in Hounsfield units."
    ),
    FindingCode.LOCALIZER: (
        "Ask the PACS for the axial series of the study, not its localizer."
    ),
    FindingCode.PROJECTION: (
        "Ask the PACS for the original slices, not a projection of them."
    ),
    FindingCode.MISSING_GEOMETRY: (
        "Ask the PACS for the original series from the scanner; secondary copies and "
        "converted files lose the positions."
    ),
    FindingCode.TOO_LARGE: (
        "Ask for a reconstruction of the spine alone, or raise the limit under "
        "reading.limits if the size is real."
    ),
    FindingCode.UNSUPPORTED_TRANSFER_SYNTAX: (
        "Ask the PACS to export the series uncompressed (Explicit VR Little Endian) "
        "or with JPEG 2000 lossless."
    ),
    FindingCode.UNREADABLE_PIXELS: (
        "Ask the PACS to send the series again; compare the number of images and the "
        "size of the files."
    ),
    FindingCode.DUPLICATE_SLICES: (
        "Ask the PACS for one acquisition and one reconstruction per series."
    ),
    FindingCode.MISSING_SLICES: (
        "Ask the PACS to send the complete series again and compare the number of "
        "images with the scanner's."
    ),
    FindingCode.UNEVEN_SPACING: (
        "Ask the scanner for a reconstruction with one distance between all slices."
    ),
    FindingCode.GANTRY_TILT: (
        "Ask the scanner for a reconstruction without tilt (gantry 0 degrees, or an "
        "axial reformat of the thin slices)."
    ),
    FindingCode.SIDEWAYS_SHIFT: (
        "Ask the scanner for a reconstruction with one field of view and centre."
    ),
    FindingCode.TOO_FEW_SLICES: (
        "Ask the PACS for the series that holds the whole vertebra."
    ),
    FindingCode.TOO_COARSE: (
        "Ask the scanner for a reconstruction with thinner slices (1 mm, at most 3)."
    ),
}

_GRID_CODES = frozenset(
    (
        FindingCode.DUPLICATE_SLICES,
        FindingCode.MISSING_SLICES,
        FindingCode.UNEVEN_SPACING,
        FindingCode.GANTRY_TILT,
    )
)
"""Faults that a reader who trusts the slices turns into a wrong volume."""


@dataclass(frozen=True, slots=True)
class SeriesFinding:
    """One reason, with its numbers, why a series must not be measured.

    Attributes
    ----------
    code : FindingCode
        Stable name of the reason.
    message : str
        What was expected and found; no full stop at the end.
    """

    code: FindingCode
    message: str


def advice(findings: Iterable[SeriesFinding]) -> str:
    """Say what to ask the scanner or the PACS for."""
    ranking = list(FindingCode)
    ordered = sorted({f.code for f in findings}, key=ranking.index)
    return " ".join(_ADVICE[code] for code in ordered)


def has_grid_fault(findings: Iterable[SeriesFinding]) -> bool:
    """Whether stacking the slices evenly would give wrong volumes."""
    return any(f.code in _GRID_CODES for f in findings)


def refusal(
    subject: str, findings: Sequence[SeriesFinding], avoided_error: str = ""
) -> SeriesError:
    """Make the error that names all findings of a series.

    Parameters
    ----------
    subject
        What is refused, e.g. "series 1.2.3 (28 slices)".
    findings
        At least one; the first in the order of `FindingCode` sets the error's type.
    avoided_error
        By how much volumes would be off, e.g. "+3.5 %"; "" where that is unknown.
    """
    ranking = list(FindingCode)
    ordered = sorted(findings, key=lambda f: ranking.index(f.code))
    reasons = "; ".join(f.message for f in ordered)
    if avoided_error and has_grid_fault(ordered):
        reasons += f"; stacked evenly, volumes would be off by {avoided_error}"
    return _ERRORS[ordered[0].code](
        f"{subject} is refused: {reasons}. {advice(findings)}"
    )
