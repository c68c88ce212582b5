"""CTVolume, Mask and LabelMap: valid once built, locked, counted right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cemscope.geometry import VoxelGeometry
from cemscope.testing.strategies import voxel_geometries
from cemscope.volume import CTVolume, LabelMap, Mask

GEOMETRY = VoxelGeometry.from_axes((2, 3, 4), (2.0, 0.5, 0.5))


def test_the_array_is_taken_over_without_a_copy_and_locked() -> None:
    hu = np.zeros(GEOMETRY.shape, np.int16)
    ct = CTVolume(hu, GEOMETRY)
    assert ct.hu is hu
    with pytest.raises(ValueError, match="read-only"):
        hu[0, 0, 0] = 1


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint16])
def test_only_int16_hounsfield_units(dtype: type) -> None:
    with pytest.raises(ValueError, match="expected Hounsfield units as int16, found"):
        CTVolume(np.zeros(GEOMETRY.shape, dtype), GEOMETRY)


def test_the_array_must_fit_its_geometry() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 4\), its geometry \(2, 3, 4\)"):
        CTVolume(np.zeros((1, 3, 4), np.int16), GEOMETRY)
    with pytest.raises(ValueError, match="the mask has shape"):
        Mask(np.zeros((2, 3, 5), bool), GEOMETRY)
    with pytest.raises(ValueError, match="the label map has shape"):
        LabelMap(np.zeros((2, 3, 5), np.uint8), GEOMETRY)


def test_masks_are_boolean_and_labels_are_bytes() -> None:
    with pytest.raises(ValueError, match="boolean mask, found uint8"):
        Mask(np.zeros(GEOMETRY.shape, np.uint8), GEOMETRY)
    with pytest.raises(ValueError, match="labels as uint8, found int64"):
        LabelMap(np.zeros(GEOMETRY.shape, np.int64), GEOMETRY)


@given(voxel_geometries(), st.randoms(use_true_random=False))
def test_volume_counts_voxels_in_any_orientation(geometry, random) -> None:
    voxels = np.array(
        [random.random() < 0.5 for _ in range(np.prod(geometry.shape))]
    ).reshape(geometry.shape)
    z, y, x = geometry.spacing_mm
    expected_ml = sum(z * y * x / 1000 for chosen in voxels.ravel() if chosen)
    assert Mask(voxels, geometry).volume_ml == pytest.approx(expected_ml)


def test_a_label_s_mask_and_name() -> None:
    labels = np.zeros(GEOMETRY.shape, np.uint8)
    labels[0, 0, :2] = 22
    label_map = LabelMap(labels, GEOMETRY, {22: "L3"})
    assert label_map.mask(22).volume_ml == pytest.approx(2 * 2.0 * 0.5 * 0.5 / 1000)
    assert label_map.names[22] == "L3"
    with pytest.raises(TypeError):
        label_map.names[22] = "L4"  # type: ignore[index]
