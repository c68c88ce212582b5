"""Layers for napari: positions survive, and arrays are shared."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from napari.layers import Labels

from cemscope.geometry import VoxelGeometry
from cemscope.testing.strategies import voxel_geometries
from cemscope.volume import CTVolume
from napari_cemscope.colours import MATERIALS
from napari_cemscope.layers import ct_layer
from napari_cemscope.napari_view import QuietLabels
from napari_cemscope.view_space import ViewSpace

HEAD_FIRST = ((0, 0, -1), (0, 1, 0), (1, 0, 0))
SAGITTAL = ((1, 0, 0), (0, 0, -1), (0, 1, 0))


@given(voxel_geometries(), st.tuples(*[st.floats(0, 10)] * 3))
def test_screen_and_patient_lead_there_and_back(
    geometry: VoxelGeometry, index: tuple[float, float, float]
) -> None:
    space = ViewSpace.of(geometry)
    point = geometry.index_to_lps(index)
    np.testing.assert_allclose(space.to_lps(space.to_screen(point)), point, atol=1e-6)


def test_an_axial_scan_stands_at_its_patient_position_however_it_is_stored() -> None:
    for directions in (((0, 0, 1), (0, 1, 0), (1, 0, 0)), HEAD_FIRST, SAGITTAL):
        geometry = VoxelGeometry.from_axes(
            (6, 8, 10), (2.0, 0.5, 0.7), (-20.0, 30.0, 100.0), directions
        )
        space = ViewSpace.of(geometry)
        for index in ((0, 0, 0), (5, 7, 9), (2, 3, 4)):
            x, y, z = geometry.index_to_lps(index)
            np.testing.assert_allclose(space.to_screen((x, y, z)), (z, y, x))
            array = np.zeros(geometry.shape, np.uint8)
            array[index] = 7
            shown = np.argwhere(space.view(array) == 7)[0]
            screen = shown * np.array(space.scale) + np.array(space.translate)
            np.testing.assert_allclose(screen, (z, y, x))
            assert space.voxel(screen) == index


def test_the_brush_finds_the_voxels_of_a_disc_and_of_a_ball() -> None:
    geometry = VoxelGeometry.from_axes(
        (20, 30, 30), (1.0, 0.5, 0.5), (0.0, 0.0, 0.0), HEAD_FIRST
    )
    space = ViewSpace.of(geometry)
    centre = (7.0, 7.0, -10.0)
    screen = space.to_screen(centre)
    disc = space.places_near(screen, 3.0, flat_axis=0)
    ball = space.places_near(screen, 3.0, flat_axis=None)
    index = np.array(np.unravel_index(disc, geometry.shape)).T
    assert set(index[:, 0]) == {10}
    away = np.linalg.norm(geometry.index_to_lps(index) - centre, axis=1)
    assert away.max() <= 3.0 + 1e-9
    area = len(disc) * 0.25
    assert abs(area - np.pi * 9.0) < 2.0 * np.pi * 3.0 * 0.5  # a voxel along the rim
    volume = len(ball) * 0.25
    assert abs(volume - 4.0 / 3.0 * np.pi * 27.0) < 4.0 * np.pi * 9.0 * 0.5
    assert space.places_near((1e4, 0, 0), 3.0, None).size == 0


def test_layers_share_the_array() -> None:
    geometry = VoxelGeometry.from_axes((2, 3, 4), (1.0, 0.5, 0.5))
    ct = CTVolume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), geometry)
    data, keywords, kind = ct_layer(ct)
    assert kind == "image"
    assert np.shares_memory(data, ct.hu)
    assert keywords["units"] == ("mm", "mm", "mm")


def test_every_code_has_one_colour_only() -> None:
    codes = [code for material in MATERIALS for code in material.codes]
    assert len(codes) == len(set(codes))
    assert len({material.hex_code for material in MATERIALS}) == len(MATERIALS)


@given(npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_thin_contours_are_those_of_napari(labels: np.ndarray) -> None:
    whole = tuple(slice(0, length) for length in labels.shape)
    drawn = []
    for kind in (Labels, QuietLabels):
        layer = kind(labels)
        layer.contour = 1
        drawn.append(layer._calculate_contour(labels, whole))  # noqa: SLF001 - napari's
    np.testing.assert_array_equal(*drawn)
