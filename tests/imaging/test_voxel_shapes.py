"""Shortcuts on fine grids against the plain computation that they replace."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.segmentation.ct_grid import voxels_inside
from cemscope.segmentation.scan_region import within_mm
from cemscope.segmentation.tissue_levels import eroded_hu

TILTED = ((0.0, 0.6, 0.8), (0.0, 0.8, -0.6), (1.0, 0.0, 0.0))
STRAIGHT = ((0, 0, 1), (0, 1, 0), (1, 0, 0))


@pytest.mark.parametrize("directions", [STRAIGHT, TILTED])
@pytest.mark.parametrize("spacing_mm", [(0.5, 0.37, 0.37), (3.0, 0.4, 0.4), (2, 2, 2)])
def test_shape_is_painted_as_voxel_by_voxel(
    spacing_mm: tuple[float, float, float], directions: npt.ArrayLike
) -> None:
    shape = tuple(round(40.0 / spacing) for spacing in spacing_mm)
    geometry = VoxelGeometry.from_axes(
        (shape[0], shape[1], shape[2]), spacing_mm, directions_lps=directions
    )
    centre = geometry.corners_lps_mm().mean(axis=0)

    def depth_mm(points: FloatArray) -> FloatArray:
        x, y, z = (points - centre).T
        return np.minimum(15.0 - np.hypot(x, y), 8.0 - np.abs(z))

    box = (slice(1, shape[0]), slice(2, shape[1] - 1), slice(0, shape[2]))
    axes = [np.arange(side.start, side.stop) for side in box]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    points = geometry.index_to_lps(index.reshape(-1, 3))
    naive = (depth_mm(points) > 0.0).reshape(index.shape[:3])
    assert 0 < naive.sum() < naive.size
    np.testing.assert_array_equal(voxels_inside(geometry, box, depth_mm), naive)


@pytest.mark.parametrize("radius_mm", [1.0, 1.3, 2.5, 3.0])
def test_growing_equals_distance_transform(radius_mm: float) -> None:
    noise = np.random.default_rng(3).random((30, 36, 40))
    mask = ndimage.gaussian_filter(noise, 2.0) > 0.53
    spacing_mm = (1.0, 0.65, 0.65)
    distance = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    assert mask.any()
    np.testing.assert_array_equal(
        within_mm(mask, radius_mm, spacing_mm), distance <= radius_mm
    )


@pytest.mark.parametrize("reach", [1, 3])
def test_erosion_equals_minimum_filter(reach: int) -> None:
    hu = np.random.default_rng(5).integers(-1000, 3000, (9, 12, 2)).astype(np.int16)
    geometry = VoxelGeometry.from_axes(hu.shape, (1.0, 1.0, 1.0))
    expected = ndimage.minimum_filter(hu, 2 * reach + 1)
    np.testing.assert_array_equal(eroded_hu(hu, geometry, float(reach)), expected)
