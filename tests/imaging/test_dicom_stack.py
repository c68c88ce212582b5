"""The geometry check on positions alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cemscope.dicom import FindingCode, StackSettings
from cemscope.dicom.stack import (
    SliceStack,
    check_stack,
    orthonormal_axes,
    stack_geometry,
)
from cemscope.geometry import FloatArray

SETTINGS = StackSettings()
ROTATIONS = st.tuples(*[st.floats(-3.0, 3.0)] * 3)


def _stack(
    offsets_mm: FloatArray,
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0),
    sideways_mm: FloatArray | None = None,
) -> SliceStack:
    """Slices at offsets along the normal, moved sideways along the rows."""
    row, column, normal = Rotation.from_rotvec(rotation).as_matrix()
    lateral = np.zeros_like(offsets_mm) if sideways_mm is None else sideways_mm
    positions = np.outer(offsets_mm, normal) + np.outer(lateral, column)
    return SliceStack(
        positions_mm=positions + np.array([3.0, -5.0, 7.0]),
        along_row=row,
        along_column=column,
        pixel_spacing_mm=(0.6, 0.6),
        shape=(4, 4),
        names=tuple(f"instance {i + 1}" for i in range(len(offsets_mm))),
    )


@given(
    spacing_mm=st.floats(0.4, 8.0),
    count=st.integers(30, 60),
    rotation=ROTATIONS,
    seed=st.integers(0, 1000),
)
def test_regular_stacks_pass_in_any_order(
    spacing_mm: float, count: int, rotation: tuple[float, float, float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    # Positions are rounded in the header: a hundredth of a millimetre is common.
    offsets = np.round(order * spacing_mm, 2)
    stack = _stack(offsets, rotation)
    report = check_stack(stack, SETTINGS)
    assert report.findings == ()
    assert list(order[list(report.order)]) == list(range(count))
    assert report.spacing_mm == pytest.approx(spacing_mm, abs=0.01 / 29 + 1e-9)
    geometry = stack_geometry(stack, report, None)
    for index in range(count):
        there = geometry.index_to_lps((index, 0, 0))
        header = stack.positions_mm[report.order[index]]
        assert np.linalg.norm(there - header) < 0.011


@given(
    spacing_mm=st.floats(0.4, 4.0),
    start=st.integers(1, 25),
    length=st.integers(1, 3),
    rotation=ROTATIONS,
)
def test_every_gap_inside_is_found_and_measured(
    spacing_mm: float, start: int, length: int, rotation: tuple[float, float, float]
) -> None:
    index = np.delete(np.arange(30), range(start, start + length))
    (finding,) = check_stack(_stack(index * spacing_mm, rotation), SETTINGS).findings
    assert finding.code is FindingCode.MISSING_SLICES
    assert f"{length} slices are missing" in finding.message
    assert f"gaps of {(length + 1) * spacing_mm:.2f} mm" in finding.message
    assert f"instance {start} and instance {start + 1}" in finding.message


@given(
    degrees=st.floats(0.6, 34.9),
    spacing_mm=st.floats(0.4, 8.0),
    rotation=ROTATIONS,
)
def test_tilt_is_measured_from_positions(
    degrees: float, spacing_mm: float, rotation: tuple[float, float, float]
) -> None:
    offsets = np.arange(30) * spacing_mm
    sideways = np.tan(np.radians(degrees)) * offsets
    report = check_stack(_stack(offsets, rotation, sideways), SETTINGS)
    assert report.tilt_degrees == pytest.approx(degrees, abs=1e-6)
    assert report.shift_mm_per_slice == pytest.approx(
        np.tan(np.radians(degrees)) * spacing_mm
    )
    # A regular shear can be undone: it is no fault.
    assert report.is_sheared
    assert report.findings == ()


@given(
    slice_index=st.integers(1, 28),
    shift_fraction=st.floats(0.06, 0.45),
    spacing_mm=st.floats(0.6, 4.0),
)
def test_a_slice_out_of_place_is_found(
    slice_index: int, shift_fraction: float, spacing_mm: float
) -> None:
    offsets = np.arange(30) * spacing_mm
    offsets[slice_index] += shift_fraction * spacing_mm
    codes = {f.code for f in check_stack(_stack(offsets), SETTINGS).findings}
    assert codes == {FindingCode.UNEVEN_SPACING}


def test_a_drift_over_half_a_pixel_counts_as_tilt_even_at_a_small_angle() -> None:
    offsets = np.arange(400) * 1.0
    drift = np.linspace(0.0, 1.0, 400)
    report = check_stack(_stack(offsets, sideways_mm=drift), SETTINGS)
    assert report.tilt_degrees < SETTINGS.tilt_tolerance_degrees
    # A regular shear can be undone: it is no fault.
    assert report.is_sheared
    assert report.findings == ()
    small = check_stack(_stack(offsets, sideways_mm=0.2 * drift), SETTINGS)
    assert not small.is_sheared


def test_all_faults_are_named_together() -> None:
    offsets = np.array([0, 1, 2, 2, 3, 4, 7, 8, 9, 10, 11, 12.0])
    report = check_stack(_stack(offsets, sideways_mm=0.2 * offsets), SETTINGS)
    assert [f.code for f in report.findings] == [
        FindingCode.DUPLICATE_SLICES,
        FindingCode.MISSING_SLICES,
        FindingCode.GANTRY_TILT,
    ]


@pytest.mark.parametrize(
    ("row", "column", "valid"),
    [
        ((1, 0, 0), (0, 1, 0), True),
        ((0.99999, 0.003, 0), (-0.003, 0.99999, 0), True),
        ((1, 0, 0), (0.5, 0.866, 0), False),
        ((0, 0, 0), (0, 1, 0), False),
        ((2, 0, 0), (0, 1, 0), False),
    ],
)
def test_orientations_are_cleaned_or_refused(
    row: tuple[float, float, float], column: tuple[float, float, float], valid: bool
) -> None:
    axes = orthonormal_axes(row, column)
    assert (axes is not None) is valid
    if axes is not None:
        assert np.array(axes) @ np.array(axes).T == pytest.approx(np.eye(2))
