"""Gaps of the simulated patients: volume and place against geometry."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from cemscope.findings import Side
from cemscope.testing.halo_case import KINDS, draw_halo_case
from cemscope.testing.halo_patient import HaloPatient, ScrewHalo
from cemscope.testing.lumbar_implants import PlacedScrew, ScrewPlan
from cemscope.testing.quick_scanner import TissueFractions
from cemscope.testing.scalar_field import PlaneGrid, Pose

if TYPE_CHECKING:
    from cemscope.testing.spine_patient import SpinePatient

GRID = PlaneGrid((-12.0, -30.0, -12.0), 0.4, 0.4, (60, 150, 60), Pose())
SCREW = PlacedScrew(
    ScrewPlan("L3", Side.LEFT, 6.0, 40.0),
    np.array([0.0, 24.0, 0.0]),
    np.array([0.0, -22.0, 0.0]),
    np.array([0.0, 14.0, 0.0]),
    1.0,
)
BONE_MM = 36.0


@dataclass(frozen=True)
class Marrow:
    """Nothing but marrow, and a screw in it."""

    screws: tuple[PlacedScrew, ...] = (SCREW,)

    def fractions(self, grid: PlaneGrid) -> TissueFractions:
        parts = [np.zeros(grid.shape, np.float32) for _ in range(6)]
        parts[3][:] = 1.0
        return TissueFractions(*parts)


def worn(halo: ScrewHalo) -> TissueFractions:
    patient = cast("SpinePatient", Marrow())
    return HaloPatient(patient, "L3", (halo,)).fractions(GRID)


@pytest.mark.parametrize("width_mm", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("arc_deg", [360.0, 180.0, 135.0])
def test_a_gap_has_its_volume(width_mm: float, arc_deg: float) -> None:
    halo = ScrewHalo(
        "L3", Side.LEFT, width_mm, 0.0, arc_deg, 70.0, from_share=0.25, to_share=0.75
    )
    parts = worn(halo)
    gap_mm3 = float((1.0 - parts.marrow).sum()) * 0.4**3
    true = np.pi * (3.0 + width_mm) ** 2 * arc_deg / 360.0 * 0.5 * BONE_MM
    # Cells of 0.4 mm on a surface: a few percent.
    assert gap_mm3 == pytest.approx(true, rel=0.04)


def test_a_rim_is_dense_bone_around_the_gap() -> None:
    parts = worn(ScrewHalo("L3", Side.LEFT, 1.0, 0.3, from_share=0.2, to_share=0.8))
    middle = 75  # row at y = 0
    radius = np.hypot(
        *np.meshgrid(np.arange(60) * 0.4 - 12.0, np.arange(60) * 0.4 - 12.0)
    )
    plane = parts.compact[:, middle]
    assert plane[(radius > 4.2) & (radius < 4.7)].mean() == pytest.approx(0.3, abs=0.03)
    assert plane[radius < 3.7].max() < 0.02
    assert plane[radius > 5.4].max() == 0.0


def test_tight_screws_wear_nothing() -> None:
    assert (worn(ScrewHalo("L3", Side.LEFT, 0.0, 0.3)).marrow == 1.0).all()


@pytest.mark.parametrize("seed", [3, 17, 131])
def test_a_seed_gives_one_case(seed: int) -> None:
    case = draw_halo_case(seed)
    again = draw_halo_case(seed)
    assert case.notes == again.notes
    assert case.halos == again.halos
    assert [h.width_mm for h in case.halos] == [
        KINDS[(2 * seed + k) % len(KINDS)] for k in range(2)
    ]
    for halo in case.halos:
        assert halo.arc_deg >= 90.0
        assert halo.to_share - halo.from_share >= 1.0 / 3.0
