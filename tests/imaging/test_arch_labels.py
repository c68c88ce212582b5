"""Outlines of arches: pedicles and laminae, not what lies in the canal between them."""

import numpy as np
import pytest

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.bodies.body_surface import (
    PLATE_GRID_MM,
    WALL_ANGLES_RAD,
    WALL_LEVELS,
    BodySurface,
)
from cemscope.segmentation.bodies.vertebral_arches import (
    INNER_SHARE,
    ArchSettings,
    arch_labels,
)
from cemscope.segmentation.canal.spine_axis import SpineAxis
from cemscope.segmentation.spine_working_volume import WorkingVolume
from cemscope.spine import VertebraFrame

RADIUS_MM, HALF_MM, WALL_MM = 20.0, 14.0, -8.0
BODY = BodySurface(
    VertebraFrame(np.array([0.0, WALL_MM - RADIUS_MM, 0.0]), *np.eye(3)),
    *(sign * np.full((len(PLATE_GRID_MM),) * 2, HALF_MM) for sign in (-1.0, 1.0)),
    np.full((len(WALL_ANGLES_RAD), len(WALL_LEVELS)), RADIUS_MM),
    1.0,
    1.0,
    1.0,
)
SHAPE, ORIGIN = (81, 81, 81), (-40.0, -40.0, -40.0)
GEOMETRY = VoxelGeometry.from_axes(SHAPE, (1.0, 1.0, 1.0), ORIGIN)
X, Y, Z = np.moveaxis(
    GEOMETRY.index_to_lps(np.moveaxis(np.indices(SHAPE), 0, -1)), -1, 0
)
PEDICLES = (np.abs(np.abs(X) - 12) <= 3) & (Y >= -9) & (Y <= 8) & (np.abs(Z - 5) <= 5)
LAMINA = (np.abs(X) <= 15) & (Y >= 8) & (Y <= 12) & (Z >= -9) & (Z <= 10)


def axis() -> SpineAxis:
    steps = np.arange(-40.0, 41.0)
    points = np.column_stack([np.zeros((len(steps), 2)), steps])
    left, posterior, superior = (np.tile(v, (len(steps), 1)) for v in np.eye(3))
    wall = np.full(len(steps), WALL_MM)
    return SpineAxis(points, superior, posterior, left, wall, 0, len(steps))


@pytest.mark.parametrize("reach_mm", [5.0, 9.0], ids=["apart", "up to a pedicle"])
def test_cement_in_front_of_the_canal_is_no_arch(reach_mm: float) -> None:
    cement = (np.abs(X) <= reach_mm) & (Y >= WALL_MM + 1) & (Y <= -4) & (np.abs(Z) <= 8)
    hu = np.where(cement, 1500.0, np.where(PEDICLES | LAMINA, 600.0, 40.0))
    volume = WorkingVolume(hu.astype(np.float32), np.ones(SHAPE, np.float32), GEOMETRY)
    labels = arch_labels(volume, axis(), (BODY,), ArchSettings())
    inner = np.abs(X) < INNER_SHARE * RADIUS_MM
    assert not labels[cement & inner & ~PEDICLES].any()
    assert (labels[PEDICLES & (Y >= WALL_MM + 2)] > 0).mean() > 0.95
    assert (labels[LAMINA] > 0).mean() > 0.95
