"""Layer data for napari: positions survive, arrays are not flipped."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cemscope.geometry import VoxelGeometry
from cemscope.testing.strategies import voxel_geometries
from cemscope.volume import CTVolume, LabelMap
from napari_cemscope.layers import ct_layer, label_layer, world_affine


@given(voxel_geometries(), st.tuples(*[st.floats(0, 10)] * 3))
def test_world_is_the_patient_point_backwards(
    geometry: VoxelGeometry, index: tuple[float, float, float]
) -> None:
    world = world_affine(geometry) @ [*index, 1.0]
    np.testing.assert_allclose(world[2::-1], geometry.index_to_lps(index), atol=1e-9)


def test_layers_keep_the_array_as_it_is() -> None:
    geometry = VoxelGeometry.from_axes((2, 3, 4), (1.0, 0.5, 0.5))
    ct = CTVolume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), geometry)
    data, keywords, kind = ct_layer(ct)
    assert kind == "image"
    assert data is ct.hu
    assert keywords["units"] == ("mm", "mm", "mm")
    labels = LabelMap(np.zeros((2, 3, 4), np.uint8), geometry)
    painted, _, kind = label_layer(labels, "materials")
    assert kind == "labels"
    painted[0, 0, 0] = 1  # napari paints; the case's own map must not change
    assert labels.labels[0, 0, 0] == 0
