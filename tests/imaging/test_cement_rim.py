"""Rims around a ball of cement in a body, of known width.

Bounds: widths are weighed in steps of 0.1 mm on voxels of 0.6 to 0.8 mm, and the edge
of a gap 125 HU darker than its bone is read under texture: 0.4 mm.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage

from cemscope.findings import CementRim, NotAssessed
from cemscope.geometry import VoxelGeometry
from cemscope.measurement.cement_rim import rim_of
from cemscope.measurement.lucency_surface import LucencySettings
from cemscope.segmentation.scan_region import ScanRegion, box_of

SPACING_MM = (0.8, 0.6, 0.6)
SHAPE = (52, 70, 70)
BODY_MM, CEMENT_MM, BLUR_MM = 18.0, 7.0, 0.5
CEMENT_HU, MARROW_HU, GAP_HU = 1700.0, 140.0, 10.0
BODY = 22
CEMENT, SCREW = 1, 3


@dataclass(frozen=True)
class RimCase:
    name: str
    width_mm: float
    half: bool = False
    rim_hu: float = 0.0
    noise_hu: float = 15.0


CASES = (
    RimCase("1.5 mm", 1.5),
    RimCase("2 mm", 2.0),
    RimCase("2 mm with a dense line", 2.0, rim_hu=300.0),
    RimCase("3 mm, noise", 3.0, noise_hu=30.0),
    RimCase("2 mm on one half", 2.0, half=True),
)


def offsets() -> tuple[np.ndarray, ...]:
    axes = [
        (np.arange(n) - 0.5 * (n - 1)) * s
        for n, s in zip(SHAPE, SPACING_MM, strict=True)
    ]
    return tuple(np.meshgrid(*axes, indexing="ij"))


def scene(case: RimCase, marrow_hu: float = MARROW_HU) -> tuple[ScanRegion, np.ndarray]:
    z, y, x = offsets()
    radius = np.sqrt(z**2 + y**2 + x**2)
    rng = np.random.default_rng(2)
    sigma = 0.8 / np.array(SPACING_MM)
    texture = ndimage.gaussian_filter(rng.normal(0.0, 1.0, SHAPE), sigma)
    hu = marrow_hu + 35.0 * texture / texture.std()
    hu[radius > BODY_MM] = 40.0
    # Blurred edges in closed form: no voxel is only cement or only gap.
    worn = (x > 0) if case.half else np.ones(SHAPE, bool)
    layers = [(CEMENT_MM, CEMENT_HU)]
    if case.width_mm > 0.0:
        layers.insert(0, (CEMENT_MM + case.width_mm, GAP_HU))
        if case.rim_hu > 0.0:
            outer = CEMENT_MM + case.width_mm + 1.0
            layers.insert(0, (outer, marrow_hu + case.rim_hu))
    for edge, value in layers:
        inside = radius < edge
        hu[inside & (worn | (edge == CEMENT_MM))] = value
    hu = ndimage.gaussian_filter(hu, BLUR_MM / np.array(SPACING_MM))
    hu += rng.normal(0.0, case.noise_hu, SHAPE)
    labels = np.where(radius < BODY_MM, BODY, 0).astype(np.uint8)
    origin = tuple(
        -0.5 * (n - 1) * s for n, s in zip(SHAPE[::-1], SPACING_MM[::-1], strict=True)
    )
    geometry = VoxelGeometry.from_axes(SHAPE, SPACING_MM, origin)
    whole = box_of(np.zeros(3, int), np.array(SHAPE))
    region = ScanRegion(whole, np.rint(hu).astype(np.int16), labels, geometry)
    return region, (radius < CEMENT_MM).astype(np.uint8) * CEMENT


def measured(case: RimCase, marrow_hu: float = MARROW_HU) -> CementRim | NotAssessed:
    region, materials = scene(case, marrow_hu)
    return rim_of(region, materials, BODY, (BLUR_MM, LucencySettings()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_rim_is_found_and_measured(case: RimCase) -> None:
    found = measured(case)
    assert isinstance(found, CementRim), found
    assert found.mean_width_mm == pytest.approx(case.width_mm, abs=0.4)
    assert found.max_width_mm >= found.mean_width_mm
    if case.half:
        assert 0.35 < found.surface_fraction < 0.65
    else:
        # Narrow rims without a line are told in places only.
        assert found.surface_fraction > (0.8 if case.width_mm >= 2.0 else 0.35)
    assert found.seen_fraction > 0.6
    # A ball of 7 mm; its voxels' surface is smoothed.
    assert found.surface_mm2 == pytest.approx(4.0 * np.pi * 49.0, rel=0.1)


def test_cement_that_bone_holds_has_none() -> None:
    found = measured(RimCase("held", 0.0))
    assert isinstance(found, CementRim), found
    assert found.surface_fraction < 0.05


def test_marrow_as_dark_as_a_gap_is_not_assessed() -> None:
    found = measured(RimCase("held", 0.0), 30.0)
    assert isinstance(found, NotAssessed)
    assert "as dark as a gap" in found.reason


def test_metal_beside_the_cement_hides_it() -> None:
    region, materials = scene(RimCase("2 mm", 2.0))
    z, y, _ = offsets()
    materials[np.hypot(z, y) < 3.0] = SCREW
    found = rim_of(region, materials, BODY, (BLUR_MM, LucencySettings()))
    assert isinstance(found, NotAssessed)
    assert "metal" in found.reason


def test_a_body_without_cement_has_no_rim() -> None:
    region, materials = scene(RimCase("2 mm", 2.0))
    found = rim_of(region, 0 * materials, BODY, (BLUR_MM, LucencySettings()))
    assert isinstance(found, NotAssessed)
