"""Walls that a vein of cement beside a body has drawn out."""

import numpy as np
import pytest

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.bodies.body_surface import (
    PLATE_GRID_MM,
    WALL_ANGLES_RAD,
    WALL_LEVELS,
    BodySurface,
    OutlineEvidence,
)
from cemscope.segmentation.bodies.leaked_wall import without_leaks
from cemscope.segmentation.spine_working_volume import WorkingVolume
from cemscope.spine import VertebraFrame

RADIUS_MM, HALF_MM, BULGE_MM, VEIN_MM = 20.0, 14.0, 3.0, 1.8
FRAME = VertebraFrame(np.zeros(3), *np.eye(3))
SIDES = {"behind": np.pi / 2, "at the left": 0.0, "in front": 1.5 * np.pi}


def bulging(angle_rad: float) -> BodySurface:
    """A cylinder whose wall was laid round a vein along its middle third."""
    away = np.abs((WALL_ANGLES_RAD - angle_rad + np.pi) % (2 * np.pi) - np.pi)
    near = (away < np.deg2rad(10.0))[:, None] & (np.abs(WALL_LEVELS - 0.5) < 0.17)
    plate = np.full((len(PLATE_GRID_MM),) * 2, HALF_MM)
    wall = np.where(near, RADIUS_MM + BULGE_MM, RADIUS_MM)
    seen = OutlineEvidence(*(np.ones_like(part) for part in (plate, plate, wall)))
    return BodySurface(FRAME, -plate, plate, wall, 1.0, 1.0, 1.0, seen)


def vein(angle_rad: float, distance_mm: float) -> WorkingVolume:
    shape, origin = (41, 61, 61), (-30.0, -30.0, -20.0)
    geometry = VoxelGeometry.from_axes(shape, (1.0, 1.0, 1.0), origin)
    points = geometry.index_to_lps(np.moveaxis(np.indices(shape), 0, -1))
    middle = distance_mm * np.array([np.cos(angle_rad), np.sin(angle_rad)])
    off = np.linalg.norm(points[..., :2] - middle, axis=-1)
    held = (off <= VEIN_MM) & (np.abs(points[..., 2]) <= 0.17 * 2 * HALF_MM)
    hu = held.astype(np.float32)
    return WorkingVolume(hu, np.ones_like(hu), geometry)


@pytest.mark.parametrize("angle_rad", SIDES.values(), ids=SIDES.keys())
def test_the_wall_goes_on_beneath_a_vein(angle_rad: float) -> None:
    drawn = bulging(angle_rad)
    found = without_leaks(drawn, vein(angle_rad, RADIUS_MM + 0.5 * BULGE_MM))
    np.testing.assert_allclose(found.wall_mm, RADIUS_MM, atol=0.1)
    # The wall is seen everywhere but beneath the vein.
    assert drawn.evidence is not None
    assert found.evidence is not None
    supposed = drawn.wall_mm > RADIUS_MM
    np.testing.assert_array_equal(np.isnan(found.evidence.wall), supposed)
    np.testing.assert_array_equal(found.evidence.lower, drawn.evidence.lower)


@pytest.mark.parametrize(
    ("angle_rad", "distance_mm"),
    [(np.pi / 2, 8.0), (np.pi / 4, RADIUS_MM + 0.5 * BULGE_MM)],
    ids=["within the body", "beside a pedicle"],
)
def test_other_walls_stay(angle_rad: float, distance_mm: float) -> None:
    drawn = bulging(angle_rad)
    assert without_leaks(drawn, vein(angle_rad, distance_mm)) is drawn


def test_a_wall_never_moves_outwards() -> None:
    hollow = bulging(0.0)
    wall = np.minimum(hollow.wall_mm, 2 * RADIUS_MM - hollow.wall_mm)
    found = without_leaks(
        BodySurface(FRAME, hollow.lower_mm, hollow.upper_mm, wall, 1.0, 1.0, 1.0),
        vein(0.0, RADIUS_MM - BULGE_MM),
    )
    assert (found.wall_mm <= wall).all()
