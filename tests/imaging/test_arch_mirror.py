"""What the other half of a vertebra tells of a place that cement hides."""

import numpy as np
import pytest

from cemscope.measurement.arch_mirror import OtherHalf, other_half
from cemscope.measurement.body_shell import BodyShell, signed_distance_mm
from cemscope.measurement.vertebra_grid import VertebraGrid
from cemscope.spine import VertebraFrame
from cemscope.volume import BoolArray

FRAME = VertebraFrame(np.zeros(3), *np.eye(3))
GRID = VertebraGrid.around(
    FRAME, np.array([-38.0, -20.0, -16.0]), np.array([38.0, 40.0, 16.0])
)
X, Y, Z = np.meshgrid(*(GRID.axis_mm(k) for k in range(3)), indexing="ij")
BODY = (X**2 / 20.0**2 + Y**2 / 15.0**2 <= 1.0) & (np.abs(Z) <= 12.0)
SHELL = BodyShell(
    GRID,
    signed_distance_mm(BODY, GRID.cell_mm),
    np.array([-20.0, -15.0, -12.0]),
    np.array([20.0, 15.0, 12.0]),
)
PEDICLE_MM, RIB_MM, HEIGHT_MM = 12.0, 24.0, 4.0
"""Middle of a pedicle, 8 mm wide, and of a rib, 6 mm wide, beside the midline."""


def tube(aside_mm: float, radius_mm: float, wall_mm: float = 1.4) -> BoolArray:
    off = np.hypot(np.abs(X) - aside_mm, Z - HEIGHT_MM)
    ring = (off <= radius_mm) & (off >= radius_mm - wall_mm)
    return np.asarray(ring & (Y >= 8.0) & (Y <= 26.0), np.bool_)


def plate(depth_mm: float) -> BoolArray:
    closed = np.hypot(np.abs(X) - PEDICLE_MM, Z - HEIGHT_MM) <= 4.0
    return np.asarray(closed & (np.abs(Y - depth_mm) <= 1.0), np.bool_)


def looked_at(
    *, ribs: bool = False, hidden: BoolArray | None = None, left_hu: float = 700.0
) -> OtherHalf:
    wall = tube(PEDICLE_MM, 4.0) | plate(26.0)
    hu = np.where(wall, np.where(X > 0, left_hu, 700.0), 50.0)
    if ribs:
        hu[tube(RIB_MM, 4.0)] = 700.0
    hu[BODY] = 120.0
    nothing = np.zeros(GRID.shape, np.bool_)
    return other_half(
        hu.astype(np.float32),
        nothing if hidden is None else hidden,
        SHELL,
        np.asarray(X < 0, np.bool_),
    )


def near(aside_mm: float, depth_mm: float = 18.0) -> BoolArray:
    away = (X + aside_mm) ** 2 + (Y - depth_mm) ** 2 + (Z - HEIGHT_MM) ** 2
    return np.asarray(away <= 1.5**2, np.bool_)


@pytest.mark.parametrize("ribs", [False, True])
def test_marrow_of_a_pedicle_is_bone_and_muscle_is_not(ribs: bool) -> None:
    half = looked_at(ribs=ribs)
    assert not half.soft[near(PEDICLE_MM)].any()
    assert half.bone[near(PEDICLE_MM)].all()
    for aside in (PEDICLE_MM + 6.2, 2.0):
        assert half.soft[near(aside)].all()


def test_a_rib_is_no_bone_of_the_vertebra() -> None:
    assert not looked_at(ribs=True).bone[near(RIB_MM)].any()


def test_what_is_hidden_on_the_other_side_tells_nothing() -> None:
    half = looked_at(hidden=np.asarray(X > 0, np.bool_))
    assert not half.soft[near(PEDICLE_MM + 6.2)].any()
    assert half.soft[near(-PEDICLE_MM - 6.2)].all()


@pytest.mark.parametrize(("cortex_hu", "told"), [(700.0, True), (150.0, False)])
def test_a_pedicle_whose_cortex_is_not_seen_tells_nothing(
    cortex_hu: float, told: bool
) -> None:
    half = looked_at(left_hu=cortex_hu)
    assert not half.soft[near(PEDICLE_MM)].any()
    assert half.soft[near(PEDICLE_MM + 6.2)].all() == told
