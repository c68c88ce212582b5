"""Streaks of a known rod and lump: symmetries, sums, and two ways to read them."""

from dataclasses import dataclass

import numpy as np
import pytest

from cemscope.geometry import VoxelGeometry
from cemscope.measurement.metal_shadow import HardParts, MetalShadow, cast_shadow

SHAPE = (12, 50, 60)
SPACING_MM = (1.0, 0.6, 0.6)


@dataclass(frozen=True)
class Lump:
    """A cylinder across planes 3 to 8."""

    row: float
    column: float
    radius: float

    def mask(self) -> np.ndarray:
        rows, columns = np.meshgrid(*map(np.arange, SHAPE[1:]), indexing="ij")
        disc = np.hypot(rows - self.row, columns - self.column) < self.radius
        mask = np.zeros(SHAPE, bool)
        mask[3:9] = disc
        return mask


LEFT, RIGHT = Lump(24.0, 15.0, 5.0), Lump(24.0, 44.0, 5.0)


def geometry() -> VoxelGeometry:
    return VoxelGeometry.from_axes(SHAPE, SPACING_MM, (-18.0, -15.0, 0.0))


def shadow(metal: np.ndarray, cement: np.ndarray | None = None) -> MetalShadow:
    hu = np.full(SHAPE, 50, np.int16)
    none = np.zeros(SHAPE, bool)
    if cement is not None:
        hu[cement] = 2000
    parts = HardParts(metal, none if cement is None else cement, 8000.0)
    found = cast_shadow(hu, parts, geometry(), 0.5)
    assert found is not None
    return found


def test_without_metal_there_is_no_shadow() -> None:
    none = np.zeros(SHAPE, bool)
    hu = np.zeros(SHAPE, np.int16)
    assert cast_shadow(hu, HardParts(none, none, 8000.0), geometry(), 0.5) is None


def test_it_is_darkest_between_two_shafts() -> None:
    """Rays through both carry the largest error: a dark band joins them."""
    term = shadow(LEFT.mask() | RIGHT.mask()).of_strength(np.array([-1.0, 0.0, 0.0]))
    whole = tuple(slice(0, n) for n in SHAPE)
    plane = term.on_voxels(whole)[6]  # type: ignore[arg-type]  # three slices
    between, above = plane[24, 30], plane[8, 30]
    assert between < 0.0 < above
    # The two are alike, so that left and right of the middle are.
    np.testing.assert_allclose(plane[24, 22:30], plane[24, 30:38][::-1], rtol=0.05)


def test_voxels_and_points_agree() -> None:
    found = shadow(LEFT.mask() | RIGHT.mask()).of_strength(np.array([-1.0, 0.3, -0.5]))
    box = slice(2, 10), slice(10, 40), slice(20, 40)
    voxels = found.on_voxels(box)
    index = np.stack(
        np.meshgrid(*(np.arange(b.start, b.stop) for b in box), indexing="ij"), -1
    )
    points = found.at(geometry().index_to_lps(index.astype(float)))[..., 0]
    inner = slice(1, 7)
    np.testing.assert_allclose(
        voxels[inner], points[inner], atol=2e-3 * np.abs(points).max()
    )


def test_terms_add_up() -> None:
    found = shadow(LEFT.mask())
    strengths = np.array([-1.5, 0.4, -0.2])
    points = geometry().index_to_lps(np.array([[6.0, 30.0, 30.0], [5.0, 24.0, 22.0]]))
    total = found.of_strength(strengths).at(points)[..., 0]
    assert total == pytest.approx(found.at(points) @ strengths, rel=1e-4)


def test_cement_in_the_same_rays_makes_them_darker() -> None:
    darkening = np.array([-1.0, 0.0, 0.0])
    point = geometry().index_to_lps(np.array([[6.0, 24.0, 30.0]]))
    bare = shadow(LEFT.mask()).of_strength(darkening).at(point)[0, 0]
    cement = Lump(24.0, 44.0, 8.0).mask()
    joined = shadow(LEFT.mask(), cement).of_strength(darkening).at(point)[0, 0]
    assert joined < bare


def test_a_surface_voxel_holds_a_part_of_the_metal() -> None:
    metal = LEFT.mask()
    parts = HardParts(metal, np.zeros(SHAPE, bool), 8000.0)
    box = parts.box(geometry())
    assert box is not None
    share = parts.density(np.zeros(SHAPE, np.int16), box)
    assert share.sum() == pytest.approx(metal.sum(), rel=0.02)
    assert 0.1 < ((share > 0.05) & (share < 0.95)).mean() < 0.9
