"""Blur of a shaft's edge in thick slices: across them it is their width."""

import numpy as np
import pytest
from scipy import ndimage

from cemscope.findings import Side
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.cement.shaft_layers import measure_layers
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import RAYS, ScrewAxis, ShaftProfile
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.segmentation.implants.slice_blur import ray_blur_mm, voxel_blur_mm
from cemscope.segmentation.scan_region import ScanRegion
from cemscope.segmentation.tissue_levels import FWHM_PER_SIGMA, TissueLevels

RADIUS_MM, SIGMA_MM, METAL_HU, BONE_HU, CEMENT_HU = 3.0, 0.5, 6500.0, 120.0, 2000.0
FINE_MM, SLICE_MM, CEILING_HU = 0.5, 2.5, 3071
LEVELS = TissueLevels(120.0, 400.0, 400.0, 900.0, 10.0, CEILING_HU, 1)


def screw(read_mm: float) -> ScrewModel:
    return ScrewModel(
        "L4",
        Side.LEFT,
        ScrewAxis(np.array([0.0, 22.0, 0.0]), np.array([0.0, -1.0, 0.0])),
        neck_mm=2.0,
        tip_mm=60.0,
        shaft=ShaftProfile(read_mm, SIGMA_MM, METAL_HU),
        thread=ThreadEstimate(read_mm, 0.0),
        tip_uncertainty_mm=1.0,
        free_length_mm=30.0,
    )


def scan(coat_mm: float) -> ScanRegion:
    """A shaft in the plane of thick slices; cement on the front third, on one side."""
    shape = (60, 170, 60)
    z, y, x = (FINE_MM * (np.arange(n) - 0.5 * (n - 1)) for n in shape)
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    radial = np.hypot(x, z) + 0.0 * y
    metal = radial <= RADIUS_MM
    coat = (radial <= RADIUS_MM + coat_mm) & (y < -12.0) & (x > 0.0) & ~metal
    hu = np.where(metal, METAL_HU, np.where(coat, CEMENT_HU, BONE_HU))
    blur = np.array([SLICE_MM / FWHM_PER_SIGMA, SIGMA_MM, SIGMA_MM]) / FINE_MM
    hu = ndimage.gaussian_filter(hu.astype(float), blur)
    step = round(SLICE_MM / FINE_MM)
    hu = np.minimum(hu[step // 2 :: step], CEILING_HU)
    first = float(z.ravel()[step // 2])
    geometry = VoxelGeometry.from_axes(
        hu.shape,
        (SLICE_MM, FINE_MM, FINE_MM),
        (float(x.min()), float(y.min()), first),
        np.eye(3)[::-1],
        "1.2",
    )
    box = (slice(None), slice(None), slice(None))
    return ScanRegion(
        box, hu.round().astype(np.int16), np.zeros(hu.shape, np.uint8), geometry
    )


def test_blur_follows_the_direction_across_the_slices() -> None:
    region = scan(0.0)
    rays = ray_blur_mm(screw(RADIUS_MM).axis, SIGMA_MM, region.geometry)
    assert rays.shape == (RAYS,)
    assert rays.min() == pytest.approx(SIGMA_MM)
    assert rays.max() == pytest.approx(SLICE_MM / FWHM_PER_SIGMA)
    voxels = voxel_blur_mm(screw(RADIUS_MM), region.geometry)
    assert voxels.shape == region.hu.shape
    middle = np.array(region.hu.shape) // 2
    beside, above = voxels[middle[0], middle[1], 0], voxels[0, middle[1], middle[2]]
    assert beside == pytest.approx(SIGMA_MM, abs=0.02)
    assert above == pytest.approx(SLICE_MM / FWHM_PER_SIGMA, abs=0.02)


@pytest.mark.parametrize("read_mm", [2.5, 2.8, 3.0], ids=lambda read: f"read {read}")
def test_a_bare_shaft_in_thick_slices_has_no_layer(read_mm: float) -> None:
    """Also where its radius was read too small: what is even all around is metal."""
    region = scan(0.0)
    (layer,) = measure_layers(
        region, (screw(read_mm),), CementLevel(CEMENT_HU, 50.0, False), LEVELS
    )
    assert np.quantile(layer.thickness_mm, 0.95) < 0.15


def test_a_layer_in_thick_slices_is_seen_where_it_lies() -> None:
    region = scan(1.5)
    (layer,) = measure_layers(
        region, (screw(RADIUS_MM),), CementLevel(CEMENT_HU, 50.0, False), LEVELS
    )
    first, second = layer.screw.axis.cross_vectors()
    angles = 2.0 * np.pi * np.arange(RAYS) / RAYS
    side = np.cos(angles) * first[0] + np.sin(angles) * second[0]
    front = (layer.t_mm > 38.0) & (layer.t_mm < 56.0)
    # Half of the thickness per ray, for slices of 2.5 mm melt what lies above.
    assert layer.thickness_mm[front][:, side > 0.9].mean() == pytest.approx(
        1.5, abs=0.5
    )
    assert layer.thickness_mm[front][:, side < -0.9].mean() < 0.15
    assert layer.thickness_mm[layer.t_mm < 28.0].mean() < 0.15
