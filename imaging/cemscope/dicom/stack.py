"""Checks that slices form one regular grid, by their positions alone.

Readers that trust file order, instance numbers or the first step turn broken series
into volumes that are wrong by -60 % (a duplicate slice) to +7 % (a gap) without an
error. The gantry tilt tag is nominal (DICOM PS3.3 C.8.2.1), so tilt is measured from
the positions, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cemscope.dicom.series_finding import FindingCode, SeriesFinding
from cemscope.dicom.stack_steps import (
    StepTolerance,
    avoided_error_percent,
    step_findings,
)
from cemscope.geometry import FloatArray, VoxelGeometry


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
        Largest shear against the normal that counts as none.
    drift_tolerance_pixels : float
        Largest sideways drift from the first to the last slice, in pixels; below it
        the stack counts as orthogonal, and no voxel moves by more than half of it.
    max_tilt_degrees : float
        A larger shear is refused: gantries tilt by 30 degrees at most.
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
    max_tilt_degrees: float = 35.0
    jitter_tolerance_pixels: float = 0.5
    min_slices: int = 5
    min_coverage_mm: float = 10.0
    max_spacing_mm: float = 10.0

    @property
    def steps(self) -> StepTolerance:
        """Tolerances of the steps alone."""
        return StepTolerance(
            self.same_position_mm,
            self.step_tolerance_fraction,
            self.step_tolerance_mm,
        )


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
    is_even : bool
        Whether all steps are equal, so that ``spacing_mm`` is the slices' distance.
    step_range_mm : tuple of float
        Smallest and largest distance between neighbours along the normal.
    tilt_degrees, shift_mm_per_slice : float
        Shear against the normal, measured from the positions.
    is_sheared : bool
        Whether the shear is beyond the tolerance: the slices must be moved.
    tilt_words : str
        The shear with its numbers.
    avoided_error_percent : tuple of float
        Range of error of volumes, had the slices been stacked evenly.
    findings : tuple of SeriesFinding
        Empty where the stack is one regular grid, sheared or not.
    """

    order: tuple[int, ...]
    spacing_mm: float
    is_even: bool
    step_range_mm: tuple[float, float]
    tilt_degrees: float
    shift_mm_per_slice: float
    is_sheared: bool
    tilt_words: str
    avoided_error_percent: tuple[float, float]
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
    tilt = _Tilt(slope, slope * spacing_mm, slope * extent_mm)
    sheared = tilt.exceeds(settings, min(stack.pixel_spacing_mm))
    findings = []
    if count < settings.min_slices:
        findings.append(
            SeriesFinding(
                FindingCode.TOO_FEW_SLICES,
                f"expected at least {settings.min_slices} slices, found {count}",
            )
        )
    names = tuple(stack.names[i] for i in order)
    steps = step_findings(positions, along, names, settings.steps)
    findings += steps
    pixel_mm = min(stack.pixel_spacing_mm)
    if jitter_mm > settings.jitter_tolerance_pixels * pixel_mm:
        findings.append(
            SeriesFinding(
                FindingCode.SIDEWAYS_SHIFT,
                f"slices jump sideways by up to {jitter_mm:.2f} mm against each other",
            )
        )
    too_steep = tilt.degrees > settings.max_tilt_degrees
    if sheared and (findings or too_steep):
        limit = f", expected at most {settings.max_tilt_degrees:g} degrees"
        message = tilt.words + (limit if too_steep else "")
        findings.append(SeriesFinding(FindingCode.GANTRY_TILT, message))
    error = 0.0, 0.0
    if extent_mm > settings.same_position_mm:
        error = avoided_error_percent(positions, along, settings.same_position_mm)
    if not findings:
        findings += _size_findings(count, spacing_mm, settings)
    distances = np.diff(along)
    return StackReport(
        order=tuple(int(i) for i in order),
        spacing_mm=spacing_mm,
        is_even=not steps,
        step_range_mm=(float(distances.min()), float(distances.max()))
        if count > 1
        else (0.0, 0.0),
        tilt_degrees=tilt.degrees,
        shift_mm_per_slice=tilt.shift_mm,
        is_sheared=sheared,
        tilt_words=tilt.words,
        avoided_error_percent=error,
        findings=tuple(findings),
    )


@dataclass(frozen=True, slots=True)
class _Tilt:
    """Steady sideways travel: per mm along the normal, per slice, in all."""

    slope: float
    shift_mm: float
    drift_mm: float

    @property
    def degrees(self) -> float:
        return float(np.degrees(np.arctan(self.slope)))

    def exceeds(self, settings: StackSettings, pixel_mm: float) -> bool:
        allowed_mm = settings.drift_tolerance_pixels * pixel_mm
        steep = self.degrees > settings.tilt_tolerance_degrees
        return steep or self.drift_mm > allowed_mm

    @property
    def words(self) -> str:
        return (
            f"the slices are sheared by {self.degrees:.1f} degrees (gantry tilt): "
            f"{self.shift_mm:.2f} mm sideways per slice, {self.drift_mm:.1f} mm "
            f"over the stack, measured from their positions"
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
