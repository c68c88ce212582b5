"""What speaks against measuring a series, and the error it becomes."""

from collections.abc import Sequence
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
    NOT_HOUNSFIELD = "not_hounsfield"
    LOCALIZER = "localizer"
    PROJECTION = "projection"
    MISSING_GEOMETRY = "missing_geometry"
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
    FindingCode.NOT_HOUNSFIELD: NotCTError,
    FindingCode.LOCALIZER: NotCTError,
    FindingCode.PROJECTION: NotCTError,
    FindingCode.MISSING_GEOMETRY: SeriesError,
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
    FindingCode.NOT_CT: "Give a CT series.",
    FindingCode.NOT_HOUNSFIELD: "Give a series in Hounsfield units.",
    FindingCode.LOCALIZER: "Give the axial series, not its localizer.",
    FindingCode.PROJECTION: "Give the original slices, not a projection of them.",
    FindingCode.MISSING_GEOMETRY: "Export the original series from the PACS.",
    FindingCode.UNSUPPORTED_TRANSFER_SYNTAX: (
        "Export the series uncompressed or with JPEG 2000 lossless."
    ),
    FindingCode.UNREADABLE_PIXELS: "Export the series from the PACS again.",
    FindingCode.DUPLICATE_SLICES: (
        "Remove the copies, or give each acquisition as its own series."
    ),
    FindingCode.MISSING_SLICES: "Export the complete series from the PACS again.",
    FindingCode.UNEVEN_SPACING: (
        "Give a reconstruction with one distance between all slices."
    ),
    FindingCode.GANTRY_TILT: (
        "Give a reconstruction without tilt, or resample the series to an "
        "orthogonal grid first."
    ),
    FindingCode.SIDEWAYS_SHIFT: "Give a reconstruction with one field of view.",
    FindingCode.TOO_FEW_SLICES: "Give a series that holds a whole vertebra.",
    FindingCode.TOO_COARSE: "Give a reconstruction with thinner slices.",
}


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


def refusal(subject: str, findings: Sequence[SeriesFinding]) -> SeriesError:
    """Make the error that names all findings of a series.

    Parameters
    ----------
    subject
        What is refused, e.g. "series 1.2.3 (28 slices)".
    findings
        At least one; the first in the order of `FindingCode` sets the error's type.
    """
    ranking = list(FindingCode)
    ordered = sorted(findings, key=lambda f: ranking.index(f.code))
    reasons = "; ".join(f.message for f in ordered)
    advice = " ".join(dict.fromkeys(_ADVICE[f.code] for f in ordered))
    return _ERRORS[ordered[0].code](f"{subject} is refused: {reasons}. {advice}")
