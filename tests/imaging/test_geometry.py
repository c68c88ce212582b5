"""VoxelGeometry: mapping, cropping, and equality one field at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cemscope.errors import GeometryMismatchError
from cemscope.geometry import VoxelGeometry, require_same_geometry
from cemscope.testing.strategies import voxel_geometries

BASE = VoxelGeometry.from_axes(
    (4, 5, 6), (1.25, 0.5, 0.4), (-10.0, 20.0, 30.0), frame_of_reference_uid="1.2.3"
)


def naive_index_to_lps(
    geometry: VoxelGeometry, index: tuple[float, float, float]
) -> list[float]:
    """The same mapping without matrices, as an oracle."""
    point = list(geometry.origin_lps_mm)
    for axis in range(3):
        step = geometry.spacing_mm[axis]
        for i in range(3):
            point[i] += index[axis] * step * geometry.directions_lps[axis][i]
    return point


@given(voxel_geometries(), st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_index_to_lps_and_back(geometry: VoxelGeometry, index: list[float]) -> None:
    there = geometry.index_to_lps(index)
    np.testing.assert_allclose(geometry.lps_to_index(there), index, atol=1e-8)
    oracle = naive_index_to_lps(geometry, (index[0], index[1], index[2]))
    np.testing.assert_allclose(there, oracle, atol=1e-8)


@given(voxel_geometries(), st.data())
def test_crop_keeps_every_voxel_in_its_place(
    geometry: VoxelGeometry, data: st.DataObject
) -> None:
    box = []
    for n in geometry.shape:
        start = data.draw(st.integers(0, n - 1))
        box.append(slice(start, data.draw(st.integers(start + 1, n))))
    cropped = geometry.crop((box[0], box[1], box[2]))
    start_index = [part.start for part in box]
    np.testing.assert_allclose(
        cropped.index_to_lps((0, 0, 0)), geometry.index_to_lps(start_index), atol=1e-9
    )
    assert cropped.spacing_mm == pytest.approx(geometry.spacing_mm)
    assert cropped.frame_of_reference_uid == geometry.frame_of_reference_uid


@given(voxel_geometries())
def test_voxel_volume_is_the_product_of_the_spacing(geometry: VoxelGeometry) -> None:
    # Orthogonal axes: the determinant and the product agree.
    assert geometry.voxel_volume_mm3 == pytest.approx(np.prod(geometry.spacing_mm))


def test_first_voxel_is_at_its_centre() -> None:
    assert BASE.index_to_lps((0, 0, 0)).tolist() == [-10.0, 20.0, 30.0]
    assert BASE.index_to_lps((1, 0, 0)).tolist() == [-10.0, 20.0, 31.25]
    assert BASE.index_to_lps((0, 0, 1)).tolist() == [-9.6, 20.0, 30.0]
    assert BASE.contains_lps((-10.19, 20.0, 30.0))
    assert not BASE.contains_lps((-10.21, 20.0, 30.0))


@dataclass(frozen=True)
class FieldCase:
    name: str
    change: Callable[[VoxelGeometry], VoxelGeometry]
    expected: str | None


def moved(by_mm: float) -> Callable[[VoxelGeometry], VoxelGeometry]:
    def change(g: VoxelGeometry) -> VoxelGeometry:
        affine = g.affine_lps.copy()
        affine[0, 3] += by_mm
        return VoxelGeometry(g.shape, affine, g.frame_of_reference_uid)

    return change


FIELD_CASES = [
    FieldCase("same", lambda g: g, None),
    FieldCase(
        "shape",
        lambda g: VoxelGeometry((4, 5, 7), g.affine_lps, g.frame_of_reference_uid),
        "shape",
    ),
    FieldCase("moved by 0.5 mm", moved(0.5), "position: up to 0.500 mm apart"),
    FieldCase("moved by rounding", moved(0.001), None),
    FieldCase(
        "spacing",
        lambda g: VoxelGeometry.from_axes(
            g.shape, (1.3, 0.5, 0.4), g.origin_lps_mm, frame_of_reference_uid="1.2.3"
        ),
        "position: up to 0.150 mm apart",
    ),
    FieldCase(
        "flipped",
        lambda g: VoxelGeometry.from_axes(
            g.shape,
            g.spacing_mm,
            g.origin_lps_mm,
            ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
            "1.2.3",
        ),
        "position",
    ),
    FieldCase(
        "frame of reference",
        lambda g: VoxelGeometry(g.shape, g.affine_lps, "1.2.4"),
        "frame of reference 1.2.3 against 1.2.4",
    ),
    FieldCase(
        "frame of reference unknown",
        lambda g: VoxelGeometry(g.shape, g.affine_lps, None),
        None,
    ),
]


@pytest.mark.parametrize("case", FIELD_CASES, ids=lambda c: c.name)
def test_each_field_is_compared(case: FieldCase) -> None:
    other = case.change(BASE)
    if case.expected is None:
        assert BASE.describe_difference(other) == ()
        require_same_geometry(BASE, other)
        return
    for first, second in ((BASE, other), (other, BASE)):
        assert len(first.describe_difference(second)) == 1
    assert case.expected in BASE.describe_difference(other)[0]
    with pytest.raises(GeometryMismatchError, match="Resample one of them first"):
        require_same_geometry(BASE, other)


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((0, 1, 1), np.eye(4), "at least 1 voxel"),
        ((1, 1, 1), np.eye(3), "4 x 4"),
        ((1, 1, 1), np.diag([0.0, 1, 1, 1]), "singular"),
        ((1, 1, 1), np.diag([np.nan, 1, 1, 1]), "finite"),
        ((1, 1, 1), np.ones((4, 4)), "last row"),
    ],
)
def test_an_invalid_geometry_cannot_be_made(
    shape: tuple[int, int, int], affine: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        VoxelGeometry(shape, affine)


def test_the_affine_is_the_geometry_s_own_and_locked() -> None:
    affine = np.eye(4)
    geometry = VoxelGeometry((2, 2, 2), affine)
    affine[0, 3] = 99.0
    assert geometry.origin_lps_mm[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine_lps[0, 3] = 1.0


@pytest.mark.parametrize("box", [(slice(0, 4, 2),) * 3, (slice(2, 2),) * 3])
def test_crop_refuses_steps_and_empty_boxes(box: tuple[slice, slice, slice]) -> None:
    with pytest.raises(ValueError, match="non-empty box"):
        BASE.crop(box)
