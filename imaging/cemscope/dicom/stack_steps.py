"""Finds missing, doubled and uneven slices among the positions of a stack."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.dicom.series_finding import FindingCode, SeriesFinding
from cemscope.geometry import FloatArray

_LISTED = 3
_SAME_PERCENT = 0.5


@dataclass(frozen=True, slots=True)
class StepTolerance:
    """How far the steps of a stack may differ; see `StackSettings`."""

    same_position_mm: float
    fraction: float
    rounding_mm: float


def step_findings(
    positions: FloatArray,
    along: FloatArray,
    names: tuple[str, ...],
    tolerated: StepTolerance,
) -> list[SeriesFinding]:
    """Faults of the steps between slices along their normal.

    Parameters
    ----------
    positions, along
        Positions in LPS mm, shape (n, 3), and along the normal, in ascending order.
    names
        How messages call each slice.
    tolerated
        Tolerances.
    """
    steps = np.diff(along)
    repeated = steps < tolerated.same_position_mm
    findings = []
    if repeated.any():
        places = _places(np.flatnonzero(repeated), along, names)
        findings.append(
            SeriesFinding(
                FindingCode.DUPLICATE_SLICES,
                f"{int(repeated.sum())} slice positions are claimed twice ({places})",
            )
        )
    # Beyond copies, what counts is the distance between different positions.
    kept = np.concatenate([[True], ~repeated])
    positions, along = positions[kept], along[kept]
    names = tuple(n for n, k in zip(names, kept, strict=True) if k)
    steps = np.diff(along)
    if len(steps) == 0:
        return findings
    usual = float(np.median(steps))
    tolerance = max(tolerated.fraction * usual, tolerated.rounding_mm)
    odd = np.abs(steps - usual) > tolerance
    if not odd.any():
        return findings
    multiples = np.rint(steps[odd] / usual)
    missing = (
        odd.sum() < 0.5 * len(steps)
        and (multiples >= 2).all()
        and (np.abs(steps[odd] - multiples * usual) <= tolerance * multiples).all()
    )
    if missing:
        absent = int((multiples - 1).sum())
        gaps = ", ".join(f"{g:.2f}" for g in _distinct(steps[odd], tolerance))
        message = (
            f"{absent} slices are missing: gaps of {gaps} mm instead of "
            f"{usual:.2f} mm ({_places(np.flatnonzero(odd), along, names)})"
        )
        findings.append(SeriesFinding(FindingCode.MISSING_SLICES, message))
    else:
        findings.append(
            SeriesFinding(
                FindingCode.UNEVEN_SPACING,
                _uneven_message(positions, steps, tolerance)
                + f" (first change {_places(np.flatnonzero(odd)[:1], along, names)})",
            )
        )
    return findings


def _uneven_message(positions: FloatArray, steps: FloatArray, tolerance: float) -> str:
    table = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    normal = _counted(steps, tolerance)
    message = f"the distance between slices changes: {normal} along their normal"
    if np.abs(table - steps).max() > 0.01:
        message += f", {_counted(table, tolerance)} between the slice positions"
    return message


def avoided_error_percent(
    positions: FloatArray, along: FloatArray, same_position_mm: float
) -> tuple[float, float]:
    """Range of error of volumes on an even grid, as other readers make it.

    They spread all slices evenly from the first position to the last. Where slices
    really are further apart, volumes come out too small, and the other way round.

    Parameters
    ----------
    positions, along
        As in `step_findings`; at least two different positions.
    same_position_mm
        Smaller steps are copies.
    """
    even_mm = float(np.linalg.norm(positions[-1] - positions[0])) / (len(along) - 1)
    steps = np.diff(along)
    errors = 100.0 * (even_mm / steps[steps >= same_position_mm] - 1.0)
    return float(errors.min()), float(errors.max())


def percent_words(low: float, high: float) -> str:
    """Spell a range of errors: "-63 % to +12 %", or "+3.5 %" where it is none."""
    if high - low < _SAME_PERCENT:
        return f"{(low + high) / 2:+.1f} %"
    return f"{low:+.0f} % to {high:+.0f} %"


def _places(
    steps: npt.NDArray[np.intp], along: FloatArray, names: tuple[str, ...]
) -> str:
    """Name where steps lie, at most three of them."""
    listed = [
        f"between {names[i]} and {names[i + 1]} at {along[i]:.1f} mm"
        for i in steps[:_LISTED]
    ]
    more = len(steps) - len(listed)
    return ", ".join(listed) + (f" and {more} more" if more > 0 else "")


def _distinct(values: FloatArray, tolerance: float) -> list[float]:
    """Values in ascending order without those that repeat another one."""
    found: list[float] = []
    for value in np.sort(values):
        if not found or value - found[-1] > tolerance:
            found.append(float(value))
    return found


def _counted(values: FloatArray, tolerance: float) -> str:
    distinct = _distinct(values, tolerance)
    nearest = np.searchsorted(distinct, values, side="right") - 1
    counts = np.bincount(nearest, minlength=len(distinct))
    listed = [
        f"{n} x {value:.2f} mm" for value, n in zip(distinct, counts, strict=True)
    ]
    more = len(listed) - 2 * _LISTED
    return ", ".join(listed[: 2 * _LISTED]) + (f" and {more} more" if more > 0 else "")
