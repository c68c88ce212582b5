import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cemscope.geometry import VoxelGeometry
from cemscope.resampling import (
    grow_box,
    label_boxes,
    resample_labels_nearest,
    resample_labels_smooth,
    signed_distance_mm,
)
from cemscope.testing.strategies import voxel_geometries
from cemscope.volume import LabelMap

AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=float)


def ball(
    grid: VoxelGeometry, centre: tuple[float, float, float], radius_mm: float
) -> npt.NDArray[np.bool_]:
    index = np.stack(
        np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1
    )
    away = np.linalg.norm(grid.index_to_lps(index) - centre, axis=-1)
    inside: npt.NDArray[np.bool_] = away <= radius_mm
    return inside


def centred_grid(spacing: tuple[float, float, float], turn_deg: float) -> VoxelGeometry:
    axes = Rotation.from_euler("xyz", [turn_deg, turn_deg / 2, 0], degrees=True).apply(
        AXIAL
    )
    shape = (int(60 / spacing[0]), int(60 / spacing[1]), int(60 / spacing[2]))
    origin = -(np.array(shape) - 1) / 2 * spacing @ axes
    return VoxelGeometry.from_axes(shape, spacing, origin.tolist(), axes)


@given(voxel_geometries(), st.integers(0, 2**32 - 1))
def test_nearest_equals_a_naive_look_up(source: VoxelGeometry, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = LabelMap(rng.integers(0, 4, source.shape).astype(np.uint8), source)
    turn = Rotation.random(random_state=seed % 1000).as_matrix()
    centre = source.index_to_lps((np.array(source.shape) - 1) / 2)
    target = VoxelGeometry.from_axes((5, 6, 4), (1.1, 0.9, 1.7), centre.tolist(), turn)
    found = resample_labels_nearest(labels, target).labels
    index = np.argwhere(np.ones(target.shape, dtype=bool))
    there = source.lps_to_index(target.index_to_lps(index))
    # Samples on a border between two voxels may fall to either side.
    clear = np.abs(there - np.floor(there) - 0.5).min(axis=1) > 1e-6
    nearest = np.rint(there).astype(int)
    inside = ((nearest >= 0) & (nearest < source.shape)).all(axis=1)
    expected = np.zeros(len(index), dtype=np.uint8)
    expected[inside] = labels.labels[tuple(nearest[inside].T)]
    assert np.array_equal(found[tuple(index.T)][clear], expected[clear])


@pytest.mark.parametrize("resample", [resample_labels_nearest, resample_labels_smooth])
def test_flipped_and_permuted_grid_is_exact(resample: object) -> None:
    assert callable(resample)
    source = VoxelGeometry.from_axes((6, 7, 8), (2.0, 1.0, 1.5), (5, -3, 9))
    array = np.zeros(source.shape, dtype=np.uint8)
    array[1:5, 2:6, 1:4] = 1
    array[1:5, 2:6, 4:7] = 2
    affine = source.affine_lps.copy()
    affine[:3, :3] = affine[:3, [2, 0, 1]]
    affine[:3, 0] *= -1
    affine[:3, 3] = source.index_to_lps([0, 0, 7])
    target = VoxelGeometry((8, 6, 7), affine)
    found = resample(LabelMap(array, source), target)
    assert np.array_equal(found.labels, np.moveaxis(array, 2, 0)[::-1])


def test_same_grid_is_handed_through() -> None:
    grid = VoxelGeometry.from_axes((2, 3, 4), (1, 1, 1))
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert resample_labels_smooth(LabelMap(array, grid), grid).labels is array


@pytest.mark.parametrize("turn_deg", [0.0, 20.0])
def test_smooth_keeps_a_ball_between_thick_slices(turn_deg: float) -> None:
    source = centred_grid((3.0, 0.8, 0.8), 0.0)
    target = centred_grid((0.8, 0.8, 0.8), turn_deg)
    labels = LabelMap(ball(source, (0, 0, 0), 18.0).astype(np.uint8), source)
    truth = ball(target, (0, 0, 0), 18.0)

    def missed(found: LabelMap) -> float:
        return float((truth ^ (found.labels == 1)).sum() / truth.sum())

    smooth = missed(resample_labels_smooth(labels, target))
    nearest = missed(resample_labels_nearest(labels, target))
    # An outline that is off by 0.3 mm everywhere misses 3 x 0.3 / 18 = 5 %.
    assert smooth < 0.05
    assert smooth < 0.7 * nearest


def test_touching_labels_share_their_border_without_gap_or_overlap() -> None:
    source = VoxelGeometry.from_axes((10, 10, 10), (2, 2, 2))
    array = np.full(source.shape, 1, dtype=np.uint8)
    array[:, :, 5:] = 2
    target = VoxelGeometry.from_axes((18, 18, 37), (1, 1, 0.5), (0.25, 0.5, 0.5))
    found = resample_labels_smooth(LabelMap(array, source), target).labels
    middle = found[5:12, 5:12]
    assert set(np.unique(middle)) == {1, 2}
    border_x = target.index_to_lps([0, 0, int((middle[0, 0] == 1).sum())])[0]
    assert border_x == pytest.approx(9.0, abs=0.5)


def test_target_elsewhere_is_empty() -> None:
    source = VoxelGeometry.from_axes((4, 4, 4), (1, 1, 1))
    labels = LabelMap(np.ones((4, 4, 4), dtype=np.uint8), source)
    target = VoxelGeometry.from_axes((4, 4, 4), (1, 1, 1), (100, 0, 0))
    assert not resample_labels_smooth(labels, target).labels.any()
    assert not resample_labels_nearest(labels, target).labels.any()


def test_signed_distance_is_zero_between_voxels_and_signed() -> None:
    mask = np.zeros((5, 5, 9), dtype=bool)
    mask[:, :, 3:6] = True
    along = signed_distance_mm(np.pad(mask, 4, mode="edge"), (1.0, 1.0, 2.0))[
        6, 6, 4:13
    ]
    assert along.tolist() == [-6, -4, -2, 2, 4, 2, -2, -4, -6]


def test_boxes() -> None:
    array = np.zeros((5, 6, 7), dtype=np.uint8)
    array[1:3, 2:4, 3] = 7
    boxes = label_boxes(array)
    assert boxes == {7: (slice(1, 3), slice(2, 4), slice(3, 4))}
    assert grow_box(boxes[7], (5, 6, 7), (2, 1, 9)) == (
        slice(0, 5),
        slice(1, 5),
        slice(0, 7),
    )
