"""How sharp a reconstruction kernel is, by the makers' naming."""

import re
from enum import StrEnum


class KernelSharpness(StrEnum):
    """Whether a kernel enhances edges."""

    SMOOTH = "smooth"
    SHARP = "sharp"
    UNKNOWN = "unknown"


_SIEMENS = re.compile(r"(?:[BHJIQTUCS][A-Za-z]?)(\d{2})[a-z]*\d?$")
_SIEMENS_SHARP = 50
_CANON = re.compile(r"FC(\d{2})$")
_CANON_SHARP_FROM = 30
_SMOOTH_WORDS = frozenset(
    ("STANDARD", "STD", "STD+", "SOFT", "DETAIL", "A", "B", "C", "SA", "SB", "UA", "UB")
)
_SHARP_WORDS = frozenset(
    (
        *("BONE", "BONE+", "BONEPLUS", "LUNG", "HD LUNG", "EDGE", "ULTRA", "CHST"),
        *("D", "E", "L", "YA", "YB", "YC", "YD", "YE", "Y-SHARP"),
    )
)


def kernel_sharpness(kernel: str | None) -> KernelSharpness:
    """Classify a kernel name.

    Siemens counts sharpness from 10 to 90 (B30f, Br38, Qr40, Bl57; sharp from 50),
    Canon in groups (FC01-FC19 body, FC30 and over bone and lung), GE in words
    (STANDARD, BONEPLUS) and Philips in letters (B smooth, YC sharp), as their DICOM
    conformance statements list them.

    Parameters
    ----------
    kernel
        ConvolutionKernel; further values (iterative strength) follow a backslash.
    """
    name = (kernel or "").split("\\")[0].strip()
    siemens = _SIEMENS.match(name)
    if siemens:
        sharp = int(siemens.group(1)) >= _SIEMENS_SHARP
        return KernelSharpness.SHARP if sharp else KernelSharpness.SMOOTH
    canon = _CANON.match(name.upper())
    if canon:
        sharp = int(canon.group(1)) >= _CANON_SHARP_FROM
        return KernelSharpness.SHARP if sharp else KernelSharpness.SMOOTH
    if name.upper() in _SMOOTH_WORDS:
        return KernelSharpness.SMOOTH
    if name.upper() in _SHARP_WORDS:
        return KernelSharpness.SHARP
    return KernelSharpness.UNKNOWN
