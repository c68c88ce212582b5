"""Checks that slices form one regular grid, by their positions alone.

Readers that trust file order, instance numbers or the first step turn broken series
into volumes that are wrong by -60 % (a duplicate slice) to +7 % (a gap) without an
error. The gantry tilt tag is nominal (DICOM PS3.3 C.8.2.1), so tilt is measured from
the positions, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.dicom.series_finding import FindingCode, SeriesFinding
from cemscope.geometry import FloatArray, VoxelGeometry

_LISTED = 3


@dataclass(frozen=True, slots=True)
class StackSettings:
    """How far slices may depart from a regular grid.

    Attributes
    ----------
    orientation_tolerance : float
        Largest difference of a direction cosine within one stack (0.001 moves the
        edge of a 500 mm field by 0.25 mm).
    same_position_mm : float
        Slices closer than this claim one position; no CT has such thin steps.
    step_tolerance_fraction, step_tolerance_mm : float
        A step may differ from the median step by the larger of the two (a fraction
        of the median, and the rounding of two positions).
    tilt_tolerance_degrees : float
        Largest shear against the normal.
    drift_tolerance_pixels : float
        Largest sideways drift from the first to the last slice, in pixels; below it
        the stack counts as orthogonal, and no voxel moves by more than half of it.
    jitter_tolerance_pixels : float
        Largest sideways departure of a slice from the stack's straight axis.
    min_slices : int
        Fewer are a scout or a fragment.
    min_coverage_mm : float
        A stack that covers less (slices x spacing) cannot hold a vertebra.
    max_spacing_mm : float
        Slices further apart miss whole structures.
    """

    orientation_tolerance: float = 1e-3
    same_position_mm: float = 0.02
    step_tolerance_fraction: float = 0.05
    step_tolerance_mm: float = 0.03
    tilt_tolerance_degrees: float = 0.5
    drift_tolerance_pixels: float = 0.5
    jitter_tolerance_pixels: float = 0.5
    min_slices: int = 5
    min_coverage_mm: float = 10.0
    max_spacing_mm: float = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class SliceStack:
    """Slices of one orientation and size, in any order.

    Attributes
    ----------
    positions_mm : ndarray, shape (n, 3)
        Centre of each slice's first pixel, LPS.
    along_row, along_column : ndarray, shape (3,)
        Orthonormal directions over the columns and over the rows.
    pixel_spacing_mm : tuple of float
        Distance between rows, between columns.
    shape : tuple of int
        Rows, columns.
    names : tuple of str
        How messages call each slice, e.g. "instance 12".
    """

    positions_mm: FloatArray
    along_row: FloatArray
    along_column: FloatArray
    pixel_spacing_mm: tuple[float, float]
    shape: tuple[int, int]
    names: tuple[str, ...]

    @property
    def normal(self) -> FloatArray:
        """Direction in which slices are stacked."""
        return np.cross(self.along_row, self.along_column)


@dataclass(frozen=True, slots=True, eq=False)
class StackReport:
    """Order, measures and faults of a stack.

    Attributes
    ----------
    order : tuple of int
        Indices of the slices along the normal.
    spacing_mm : float
        Mean distance between neighbours along the normal; 0 for one slice.
    tilt_degrees, shift_mm_per_slice : float
        Shear against the normal, measured from the positions.
    findings : tuple of SeriesFinding
        Empty where the stack is one regular grid.
    """

    order: tuple[int, ...]
    spacing_mm: float
    tilt_degrees: float
    shift_mm_per_slice: float
    findings: tuple[SeriesFinding, ...]


def orthonormal_axes(
    along_row: Sequence[float], along_column: Sequence[float]
) -> tuple[FloatArray, FloatArray] | None:
    """Clean the rounding of ImageOrientationPatient.

    Returns
    -------
    tuple of ndarray or None
        Two orthonormal vectors; None where the input is further than 0.01 from that.
    """
    first = np.asarray(along_row, dtype=np.float64)
    second = np.asarray(along_column, dtype=np.float64)
    lengths = np.linalg.norm(first), np.linalg.norm(second)
    if max(abs(n - 1.0) for n in lengths) > 0.01 or abs(first @ second) > 0.01:
        return None
    first = first / lengths[0]
    second = second - (second @ first) * first
    return first, second / np.linalg.norm(second)


def check_stack(stack: SliceStack, settings: StackSettings) -> StackReport:
    """Order the slices along their normal and look for every fault.

    Parameters
    ----------
    stack
        At least one slice.
    settings
        Tolerances.
    """
    along = stack.positions_mm @ stack.normal
    order = np.argsort(along, kind="stable")
    positions, along = stack.positions_mm[order], along[order]
    count = len(order)
    extent_mm = float(along[-1] - along[0])
    spacing_mm = extent_mm / (count - 1) if count > 1 else 0.0
    slope, jitter_mm = _sideways(stack, positions, along)
    tilt_degrees = float(np.degrees(np.arctan(slope)))
    findings = []
    if count < settings.min_slices:
        findings.append(
            SeriesFinding(
                FindingCode.TOO_FEW_SLICES,
                f"expected at least {settings.min_slices} slices, found {count}",
            )
        )
    if count > 1:
        names = tuple(stack.names[i] for i in order)
        findings += _step_findings(positions, along, names, settings)
        findings += _tilt_findings(slope, spacing_mm, count, stack, settings)
    pixel_mm = min(stack.pixel_spacing_mm)
    if jitter_mm > settings.jitter_tolerance_pixels * pixel_mm:
        findings.append(
            SeriesFinding(
                FindingCode.SIDEWAYS_SHIFT,
                f"slices jump sideways by up to {jitter_mm:.2f} mm against each other",
            )
        )
    if not findings:
        findings += _size_findings(count, spacing_mm, settings)
    return StackReport(
        order=tuple(int(i) for i in order),
        spacing_mm=spacing_mm,
        tilt_degrees=tilt_degrees,
        shift_mm_per_slice=slope * spacing_mm,
        findings=tuple(findings),
    )


def stack_geometry(
    stack: SliceStack, report: StackReport, frame_of_reference_uid: str | None
) -> VoxelGeometry:
    """Grid of a stack without findings, slices along the normal.

    The axes are orthogonal; what drift the tolerance lets pass is centred, so that
    the middle slice lies exactly where its header says.
    """
    positions = stack.positions_mm[list(report.order)]
    half = (len(positions) - 1) / 2.0 * report.spacing_mm
    return VoxelGeometry.from_axes(
        shape=(len(positions), *stack.shape),
        spacing_mm=(report.spacing_mm, *stack.pixel_spacing_mm),
        origin_lps_mm=positions.mean(axis=0) - half * stack.normal,
        directions_lps=np.array([stack.normal, stack.along_column, stack.along_row]),
        frame_of_reference_uid=frame_of_reference_uid,
    )


def _sideways(
    stack: SliceStack, positions: FloatArray, along: FloatArray
) -> tuple[float, float]:
    """Sideways travel per mm along the normal, and what a line leaves over in mm."""
    lateral = (positions - positions.mean(axis=0)) @ np.stack(
        [stack.along_row, stack.along_column], axis=1
    )
    centred = along - along.mean()
    power = float(centred @ centred)
    trend = centred @ lateral / power if power > 0 else np.zeros(2)
    rest = np.linalg.norm(lateral - np.outer(centred, trend), axis=1)
    return float(np.linalg.norm(trend)), float(rest.max())


def _step_findings(
    positions: FloatArray,
    along: FloatArray,
    names: tuple[str, ...],
    settings: StackSettings,
) -> list[SeriesFinding]:
    steps = np.diff(along)
    repeated = steps < settings.same_position_mm
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
    tolerance = max(
        settings.step_tolerance_fraction * usual, settings.step_tolerance_mm
    )
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


def _tilt_findings(
    slope: float,
    spacing_mm: float,
    count: int,
    stack: SliceStack,
    settings: StackSettings,
) -> list[SeriesFinding]:
    degrees = float(np.degrees(np.arctan(slope)))
    drift_mm = slope * spacing_mm * (count - 1)
    allowed_mm = settings.drift_tolerance_pixels * min(stack.pixel_spacing_mm)
    if degrees <= settings.tilt_tolerance_degrees and drift_mm <= allowed_mm:
        return []
    return [
        SeriesFinding(
            FindingCode.GANTRY_TILT,
            f"the slices are sheared by {degrees:.1f} degrees (gantry tilt): "
            f"{slope * spacing_mm:.2f} mm sideways per slice, {drift_mm:.1f} mm "
            f"over the stack, measured from their positions",
        )
    ]


def _size_findings(
    count: int, spacing_mm: float, settings: StackSettings
) -> list[SeriesFinding]:
    findings = []
    coverage_mm = count * spacing_mm
    if coverage_mm < settings.min_coverage_mm:
        findings.append(
            SeriesFinding(
                FindingCode.TOO_FEW_SLICES,
                f"expected to cover at least {settings.min_coverage_mm:g} mm, "
                f"found {coverage_mm:.1f} mm",
            )
        )
    if spacing_mm > settings.max_spacing_mm:
        findings.append(
            SeriesFinding(
                FindingCode.TOO_COARSE,
                f"expected at most {settings.max_spacing_mm:g} mm between slices, "
                f"found {spacing_mm:.1f} mm",
            )
        )
    return findings


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
    nearest = np.argmin(np.abs(values[:, None] - np.array(distinct)), axis=1)
    counts = np.bincount(nearest, minlength=len(distinct))
    listed = [
        f"{n} x {value:.2f} mm" for value, n in zip(distinct, counts, strict=True)
    ]
    more = len(listed) - 2 * _LISTED
    return ", ".join(listed[: 2 * _LISTED]) + (f" and {more} more" if more > 0 else "")
