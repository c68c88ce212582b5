"""Shafts in cement: their own radius, and how thick the cement on them is."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cemscope.findings import Side
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.cement.shaft_layers import measure_layers
from cemscope.segmentation.implants.screw_fit import fit_axis
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import ScrewAxis, ShaftProfile
from cemscope.segmentation.implants.screw_settings import Brightness, ScrewSettings
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.segmentation.implants.screw_tip import find_tip
from cemscope.segmentation.implants.shaft_radius import fit_shafts
from cemscope.segmentation.scan_region import ScanRegion
from cemscope.segmentation.tissue_levels import TissueLevels

RADIUS_MM, SIGMA_MM, METAL_HU, BONE_HU = 3.0, 0.5, 6500.0, 120.0
AXIS = ScrewAxis(np.zeros(3), np.array([0.0, -1.0, 0.0]))
LENGTH_MM = 42.0


@dataclass(frozen=True)
class Coat:
    """A smooth shaft from t = -LENGTH to LENGTH, cement on it from some t onwards."""

    name: str
    thickness_mm: float
    cement_hu: float
    from_mm: float
    ceiling_hu: float | None

    def scan(self) -> ScanRegion:
        geometry = VoxelGeometry.from_axes(
            (41, 130, 61),
            (0.7, 0.7, 0.7),
            (-21.0, -45.0, -14.0),
            np.eye(3)[::-1],
            "1.2",
        )
        z, y, x = (
            geometry.origin_lps_mm[axis] + 0.7 * np.arange(n)
            for axis, n in zip((2, 1, 0), geometry.shape, strict=True)
        )
        r = np.hypot(x[None, None, :], z[:, None, None])
        shaft = ShaftProfile(RADIUS_MM, SIGMA_MM, METAL_HU)
        metal = shaft.metal_share(r - RADIUS_MM)
        coat = ShaftProfile(RADIUS_MM + self.thickness_mm, SIGMA_MM, 1.0)
        both = np.maximum(coat.metal_share(r - coat.radius_mm), metal)
        both = np.where(-y[None, :, None] >= self.from_mm, both, metal)
        hu = METAL_HU * metal + self.cement_hu * (both - metal) + BONE_HU * (1 - both)
        hu = np.minimum(hu, self.ceiling_hu or np.inf).round().astype(np.int16)
        whole = (slice(None), slice(None), slice(None))
        hu = np.broadcast_to(hu, geometry.shape)
        return ScanRegion(whole, hu, np.zeros(hu.shape, np.uint8), geometry)


COATS = (
    Coat("thin, weak, clipped", 1.0, 1600.0, -10.0, 3071.0),
    Coat("thin, dense, clipped", 1.0, 3500.0, -10.0, 3071.0),
    Coat("thin, half as bright as metal", 1.0, 3250.0, -10.0, None),
    Coat("thick, half as bright as metal", 2.5, 3250.0, -10.0, None),
    Coat("bare", 0.0, 1600.0, 99.0, 3071.0),
)


@pytest.mark.parametrize("coat", COATS, ids=lambda coat: coat.name)
def test_radius_is_read_where_the_shaft_is_bare(coat: Coat) -> None:
    level = 0.6 * METAL_HU if coat.ceiling_hu is None else 0.93 * coat.ceiling_hu
    brightness = Brightness(level, coat.ceiling_hu, METAL_HU)
    fit = fit_axis(coat.scan(), AXIS, brightness, ScrewSettings())
    assert fit is not None
    assert fit.sections.t_mm[fit.bare()].min() < min(coat.from_mm, 0.0)
    if coat.thickness_mm > 0.0:
        assert fit.sections.t_mm[fit.bare()].max() < coat.from_mm + 2.0
    (shaft,), _ = fit_shafts([fit], brightness)
    # Clipping hides what the metal reads: half of the goal of 0.7 mm for diameters.
    assert 2.0 * shaft.radius_mm == pytest.approx(2.0 * RADIUS_MM, abs=0.4)


@pytest.mark.parametrize("metal_hu", [2950.0, 3020.0, 3060.0])
def test_a_shaft_that_only_just_reaches_the_ceiling(metal_hu: float) -> None:
    """Its edges are read at the ceiling, which is not half of its brightness."""
    bright = Coat("", 0.0, 0.0, 99.0, None).scan()
    dimmed = BONE_HU + (bright.hu - BONE_HU) * (metal_hu - BONE_HU) / (
        METAL_HU - BONE_HU
    )
    hu = np.minimum(dimmed, 3071.0).round().astype(np.int16)
    brightness = Brightness(0.93 * 3071.0, 3071.0, METAL_HU)
    fit = fit_axis(replace(bright, hu=hu), AXIS, brightness, ScrewSettings())
    assert fit is not None
    (shaft,), _ = fit_shafts([fit], brightness)
    # Anything from the ceiling up to titanium may be true: a doubt that covers both.
    assert abs(shaft.radius_mm - RADIUS_MM) < 2.0 * shaft.radius_deviation_mm


def screw(side: Side = Side.LEFT, radius_mm: float = RADIUS_MM) -> ScrewModel:
    return ScrewModel(
        "L4",
        side,
        ScrewAxis(np.array([0.0, 20.0, 0.0]), AXIS.forward),
        neck_mm=2.0,
        tip_mm=55.0,
        shaft=ShaftProfile(radius_mm, SIGMA_MM, METAL_HU),
        thread=ThreadEstimate(radius_mm, 0.0),
        tip_uncertainty_mm=1.0,
        free_length_mm=30.0,
    )


LEVELS = TissueLevels(
    marrow_hu=BONE_HU,
    compact_upper_hu=500.0,
    cortex_upper_hu=900.0,
    arch_upper_hu=1200.0,
    noise_hu=10.0,
    ceiling_hu=3071,
    reference_count=1,
)


@pytest.mark.parametrize(
    ("thickness_mm", "cement_hu"),
    [(0.0, 1600.0), (0.6, 1600.0), (1.0, 3500.0), (1.0, 1600.0), (2.5, 2500.0)],
)
def test_thickness_of_cement_on_a_shaft(thickness_mm: float, cement_hu: float) -> None:
    region = Coat("", thickness_mm, cement_hu, 0.0, 3071.0).scan()
    level = CementLevel(cement_hu, 50.0, cement_hu > 3071.0)
    (layer,) = measure_layers(region, (screw(),), level, LEVELS)
    coated = (layer.t_mm > 25.0) & (layer.t_mm < 50.0)
    # Half a step of the rays beside the interpolation of 0.7 mm voxels.
    mean = layer.thickness_mm[coated].mean()
    assert mean == pytest.approx(thickness_mm, abs=0.2)
    bare = (layer.t_mm > 4.0) & (layer.t_mm < 17.0)
    assert layer.thickness_mm[bare].mean() < 0.15


@pytest.mark.parametrize(("from_mm", "mantled"), [(-99.0, True), (0.0, False)])
def test_an_even_mantle_is_taken_for_the_shaft_and_told(
    from_mm: float, mantled: bool
) -> None:
    thickness_mm = 0.7
    region = Coat("", thickness_mm, 3500.0, from_mm, 3071.0).scan()
    level = CementLevel(3500.0, 50.0, True)
    (layer,) = measure_layers(region, (screw(),), level, LEVELS)
    if mantled:
        assert layer.mantle_mm == pytest.approx(thickness_mm, abs=0.2)
        along = (layer.t_mm > 4.0) & (layer.t_mm < 50.0)
        assert layer.thickness_mm[along].mean() < 0.2
        assert layer.joined_to(region, region.hu > 800).mantle_mm == layer.mantle_mm
    else:
        assert layer.mantle_mm == 0.0


def test_only_layers_that_join_cement_count() -> None:
    region = Coat("", 1.0, 1600.0, 0.0, 3071.0).scan()
    (layer,) = measure_layers(
        region, (screw(),), CementLevel(1600.0, 50.0, False), LEVELS
    )
    nothing = np.zeros(region.hu.shape, np.bool_)
    assert not layer.joined_to(region, nothing).thickness_mm.any()
    held = layer.joined_to(region, region.hu > 800).thickness_mm
    assert held[layer.t_mm > 25.0].min() > 0.5
    assert held[layer.t_mm < 15.0].max() == 0.0


def test_the_end_of_clipped_cement_is_not_a_sure_tip() -> None:
    """A starved shaft below the ceiling runs into cement that is brighter."""
    region = Coat("", 3.0, 2900.0, 0.0, 3071.0).scan()
    ahead = region.geometry.index_to_lps(np.argwhere(region.hu > -9999)) @ AXIS.forward
    ahead = ahead.reshape(region.hu.shape)
    starved = np.round(region.hu * np.where(ahead < 0.0, 0.7, 1.0)).astype(np.int16)
    starved[ahead > 12.0] = int(BONE_HU)
    region = replace(region, hu=starved)
    shaft = ShaftProfile(RADIUS_MM, SIGMA_MM, 2200.0)
    tip = find_tip(region, AXIS, -15.0, shaft, 3071.0)
    assert tip is not None
    # It may lie anywhere in the 12 mm of cement.
    assert tip.uncertainty_mm > 4.0
    assert abs(tip.t_mm - 12.0) < 1.0
