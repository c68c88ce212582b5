"""Leaks beside metal: what is surely cement, and what crests between shafts feign."""

from dataclasses import replace

import numpy as np
import pytest

from cases.leaking_body import cement_map, leak_cases, leaking
from cemscope.measurement.cement_fraction import FractionMap, assign_owners
from cemscope.measurement.leak_doubts import (
    DoubtSettings,
    streaks_notice,
    sure_share,
    touches_metal,
)
from cemscope.measurement.leak_enclosure import ends_early, is_walled
from cemscope.measurement.leak_pieces import LeakPiece, PieceLimits, find_pieces
from cemscope.measurement.leak_regions import VertebraRegions, find_regions
from cemscope.measurement.leakage import LeakageSettings, find_leaks
from cemscope.segmentation.scan_region import FloatArray
from cemscope.testing.phantoms import Phantom

CASES = {case.name: case for case in leak_cases(1)}
UPPER = 2
"""Number of L2."""


def regions_of(phantom: Phantom) -> VertebraRegions:
    fractions = cement_map(phantom)
    owners = assign_owners(fractions, phantom.spine)
    regions = find_regions(fractions, owners, phantom.spine, UPPER)
    assert regions is not None
    return regions


def local_mm(regions: VertebraRegions) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Left, posterior and superior of all cells."""
    axes = [regions.grid.axis_mm(k) for k in range(3)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return x, y, z


@pytest.mark.parametrize(
    ("open_deg", "walled"),
    [(0.0, True), (60.0, True), (150.0, False), (360.0, False)],
)
def test_cement_within_a_ring_of_cortex_is_in_the_arch(
    open_deg: float, walled: bool
) -> None:
    # The cortex starts 3.5 mm beyond a rod of cement: a ray meets it in any plane.
    regions = regions_of(leaking(None))
    x, y, z = local_mm(regions)
    aside, up = x - 14.0, z - 2.0
    away = np.hypot(aside, up)
    behind = (y > regions.shell.upper_mm[1] + 4.0) & (y < 32.0)
    turn = np.degrees(np.arctan2(up, aside)) % 360.0
    ring = (away >= 6.0) & (away <= 8.0) & (turn >= open_deg)
    hu = np.where(ring, 500.0, 40.0).astype(np.float32)
    rod = behind & (away <= 2.5)
    cement = rod.astype(np.float32)
    bone_mm = np.where(rod, 2.0, regions.bone_mm).astype(np.float32)
    changed = replace(regions, hu=hu, cement=cement, bone_mm=bone_mm)
    assert is_walled(LeakPiece(rod, 3.0, 20.0), changed) is walled


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize(
    ("plate_mm", "next_mm", "early"),
    [(0.7, None, False), (0.7, 6.0, False), (5.0, None, True), (None, None, False)],
    ids=["at the outline", "with the next one", "left out", "too faint to see"],
)
def test_cement_before_an_endplate_that_the_outline_left_out(
    plate_mm: float | None, next_mm: float | None, early: bool, upwards: bool
) -> None:
    regions = regions_of(leaking(None))
    x, y, z = local_mm(regions)
    way = 1.0 if upwards else -1.0
    end = regions.shell.upper_mm[2] if upwards else regions.shell.lower_mm[2]
    over = way * (z - end)
    hu = np.where(over < 0.0, 120.0, 60.0)
    for off in (plate_mm, next_mm):
        if off is not None:
            hu = np.where(np.abs(over - off) <= 0.7, 500.0, hu)
    ball = (np.hypot(x, y) <= 3.0) & (over > 0.0) & (over < 4.0)
    cement = ball.astype(np.float32)
    changed = replace(regions, hu=hu.astype(np.float32), cement=cement)
    assert ends_early(LeakPiece(ball, 3.0, 3.0), changed) is early


@pytest.mark.parametrize("next_mm", [4.0, 6.0, 8.0])
def test_the_next_vertebra_has_an_endplate_of_its_own(next_mm: float) -> None:
    """Cement in a thin disc, over an endplate too faint to be seen."""
    regions = regions_of(leaking(None))
    x, y, z = local_mm(regions)
    over = z - regions.shell.upper_mm[2]
    hu = np.where((over < 0.0) | (over > next_mm), 120.0, 60.0)
    hu[np.abs(over - next_mm) <= 0.7] = 500.0
    ball = (np.hypot(x, y) <= 3.0) & (over > 0.0) & (over < 3.0)
    cement = ball.astype(np.float32)
    piece, shown = LeakPiece(ball, 3.0, 3.0), hu.astype(np.float32)
    alone = replace(regions, hu=shown, cement=cement)
    bone_mm = np.minimum(regions.bone_mm, next_mm - 0.7 - over).astype(np.float32)
    assert ends_early(piece, alone)
    assert not ends_early(piece, replace(alone, bone_mm=bone_mm))


def test_sure_cement_is_asked_more_of_beside_metal_and_behind_the_wall() -> None:
    regions = regions_of(leaking(None))
    settings = DoubtSettings()
    front = tuple(int(n) for n in np.argwhere(regions.shell.inside)[0])
    x, y, _ = local_mm(regions)
    wall = float(regions.shell.upper_mm[1])
    canal = regions.canal if regions.canal is not None else np.zeros(x.shape, np.bool_)
    rear = tuple(int(n) for n in np.argwhere((y > wall + 8.0) & ~canal)[0])
    for metal_mm, share in (
        (2.0, 0.7),
        (5.0, 0.7),
        (7.0, 0.6),
        (9.0, 0.5),
        (30.0, 0.5),
    ):
        even = np.full(x.shape, metal_mm, np.float32)
        told = sure_share(replace(regions, metal_mm=even), settings)
        assert told[front] == pytest.approx(share)
        assert told[rear] == pytest.approx(settings.sure_share)
    bright = np.full(x.shape, 0.9, np.float32)
    assert sure_share(replace(regions, streak_share=bright), settings).min() >= 0.9


def test_weaker_cells_join_nothing_where_more_is_asked() -> None:
    regions = regions_of(leaking(CASES["disc"]))
    limits = PieceLimits(1.0, 1.6, 0.02)
    (usual,) = find_pieces(regions, limits)
    # A veil as bright as half cement reaches from the leak to the side.
    x, _, z = local_mm(regions)
    at = np.argwhere(usual.cells).mean(axis=0)
    height = regions.grid.local_mm(at[None])[0, 2]
    veil = (np.abs(z - height) < 1.0) & (regions.bone_mm > 1.0) & (x > 0.0)
    cement = np.where(veil, np.maximum(regions.cement, 0.5), regions.cement)
    veiled = replace(regions, cement=cement.astype(np.float32))
    (joined,) = find_pieces(veiled, limits)
    (sure,) = find_pieces(veiled, limits, np.full(cement.shape, 0.7, np.float32))
    assert joined.cells.sum() > 1.5 * usual.cells.sum()
    assert sure.cells.sum() <= usual.cells.sum()


def with_metal(
    fractions: FractionMap, lps_mm: tuple[float, float, float]
) -> FractionMap:
    """Put a bead of metal somewhere."""
    geometry = fractions.part.region.geometry
    points = geometry.index_to_lps(np.argwhere(np.ones(geometry.shape, np.bool_)))
    away = np.linalg.norm(points - lps_mm, axis=1).reshape(geometry.shape)
    metal = (away <= 2.0).astype(np.float32)
    return replace(fractions, part=replace(fractions.part, metal=metal))


@pytest.mark.parametrize(
    ("brightness", "metal", "listed"),
    [(1.0, True, True), (0.55, True, False), (0.55, False, True)],
)
def test_a_leak_beside_metal_has_a_bright_part(
    brightness: float, metal: bool, listed: bool
) -> None:
    phantom = leaking(CASES["disc"])
    fractions = cement_map(phantom)
    owners = assign_owners(fractions, phantom.spine)
    share = (fractions.fraction * brightness).astype(np.float32)
    fractions = replace(fractions, fraction=share)
    if metal:
        fractions = with_metal(fractions, (17.0, -3.0, 18.0))
    leaks, _, notices = find_leaks(
        fractions, owners, phantom.spine, (), LeakageSettings(), (0, 0)
    )
    assert bool(leaks) is listed
    assert [n.code for n in notices] == ([] if listed else ["streaks_or_leak"])


@pytest.mark.parametrize("volume_ml", [0.05, 0.36, 12.3])
def test_the_notice_of_streaks_tells_their_volume(volume_ml: float) -> None:
    told = streaks_notice("L2", volume_ml).message.split()[0]
    assert float(told) == pytest.approx(volume_ml, abs=0.005)
    assert "e" not in told


@pytest.mark.parametrize(
    ("metal_mm", "touches"), [(2.2, True), (8.0, False), (np.inf, False)]
)
def test_the_volume_of_a_leak_at_metal_is_unsure(
    metal_mm: float, touches: bool
) -> None:
    """A slab 4 mm thick whose one side, half of its surface, lies so far from metal."""
    regions = regions_of(leaking(None))
    _, y, _ = local_mm(regions)
    slab = (y >= 20.0) & (y <= 24.0)
    bare = (metal_mm + y - 20.0).astype(np.float32)
    changed = replace(regions, bare_mm=bare)
    assert touches_metal(LeakPiece(slab, 5.0, 5.0), changed) is touches
