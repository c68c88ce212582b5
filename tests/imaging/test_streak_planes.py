"""Which planes of a scan have streaks, and which show nothing else."""

import numpy as np
import pytest

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.canal.streak_planes import StreakSettings, streak_planes
from cemscope.volume import CTVolume

SLICE_MM = 2.0
MARGIN = 1
"""Slices of 2 mm within the margin of 1.5 mm."""


def scan(areas_mm2: list[float]) -> CTVolume:
    """Slices with so much metal each; a voxel is 1 mm square."""
    geometry = VoxelGeometry.from_axes(
        (len(areas_mm2), 40, 40), (SLICE_MM, 1.0, 1.0), (5.0, 6.0, 7.0),
        np.eye(3)[::-1], "1.2.3",
    )  # fmt: skip
    hu = np.zeros(geometry.shape, np.int16)
    for plane, area in zip(hu, areas_mm2, strict=True):
        plane.ravel()[: int(area)] = 3071
    return CTVolume(hu, geometry)


def test_without_metal_there_are_none() -> None:
    assert streak_planes(scan([0, 100, 0]), StreakSettings()) is None


@pytest.mark.parametrize(
    ("area_mm2", "streaked", "blinded"),
    [(100.0, False, False), (150.0, True, False), (700.0, True, True)],
    ids=["two rods", "heads and rods", "two screws in their whole length"],
)
def test_planes_by_their_metal(area_mm2: float, streaked: bool, blinded: bool) -> None:
    areas = [0.0] * 9
    areas[0], areas[4] = 130.0, area_mm2
    ct = scan(areas)
    planes = streak_planes(ct, StreakSettings())
    assert planes is not None
    index = np.array([[k, 20.0, 20.0] for k in range(9)])
    points = ct.geometry.index_to_lps(index)
    near = np.abs(np.arange(9) - 4) <= MARGIN
    assert planes.at(points)[3:].tolist() == (near & streaked)[3:].tolist()
    assert planes.blinded_at(points).tolist() == (near & blinded).tolist()


def test_beyond_the_scan_nothing_is_hidden() -> None:
    planes = streak_planes(scan([700.0] * 4), StreakSettings())
    assert planes is not None
    assert not planes.blinded_at(np.array([[20.0, 20.0, 90.0]])).any()


@pytest.mark.parametrize("turned", [False, True], ids=["same axes", "oblique"])
def test_voxels_of_a_grid_are_those_of_its_points(turned: bool) -> None:
    planes = streak_planes(scan([0, 0, 700, 0, 0, 0, 150, 0, 0]), StreakSettings())
    assert planes is not None
    cosine, sine = np.cos(0.3), np.sin(0.3)
    turn = [[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]] if turned else np.eye(3)
    grid = VoxelGeometry.from_axes(
        (14, 7, 9), (1.7, 3.0, 3.0), (3.0, 2.0, 4.0), (np.eye(3)[::-1] @ turn)
    )
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    points = grid.index_to_lps(index.reshape(-1, 3)).reshape(*grid.shape, 3)
    found = planes.voxels(grid)
    # A point half way between two planes may fall to either.
    assert (found != planes.at(points)).mean() < 0.01
    assert 0.05 < found.mean() < 0.95
