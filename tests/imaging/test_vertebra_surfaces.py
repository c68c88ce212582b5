"""Which bodies are whole, cut or refused."""

from dataclasses import replace

import numpy as np
import pytest

from cemscope.errors import NoVertebraFoundError
from cemscope.segmentation.bodies.vertebra_surfaces import (
    SurfaceSettings,
    _trust,
    faint_implants,
    find_surfaces,
)
from cemscope.testing.spine_phantom import PatientShape, PhantomScan, spine_phantom

SHAPE = PatientShape(levels=("L5", "L4", "L3", "L2"), ribs_on=())


def found_between(low_mm, high_mm):
    """Bodies in a scan between two heights, and the true ones with their extent."""
    scan = PhantomScan((2.0, 1.5, 1.5), None, (-60, -60, low_mm), (60, 70, high_mm))
    phantom = spine_phantom(SHAPE, scan)
    return phantom, find_surfaces(phantom.ct, SurfaceSettings())


def true_level(phantom, body):
    """Level whose body lies nearest, and how far."""
    away = [
        float(np.linalg.norm(frame.origin_lps_mm - body.surface.frame.origin_lps_mm))
        for frame in phantom.frames
    ]
    nearest = int(np.argmin(away))
    return phantom.levels[nearest].name, away[nearest]


def test_cut_ends_are_incomplete():
    # L5 and L2 are cut in their middle, L4 and L3 are whole.
    phantom, found = found_between(0.0, 108.0)
    levels = {}
    for body in found.bodies:
        name, away_mm = true_level(phantom, body)
        levels[name] = body
        if body.complete:
            assert away_mm < 2.5
    assert [name for name, body in levels.items() if body.complete] == ["L4", "L3"]
    assert all(levels[name].chain_margin > 0.5 for name in ("L4", "L3"))


def test_a_row_without_one_of_its_bodies_is_trusted_less():
    _, found = found_between(-20.0, 150.0)
    bodies = [body for body in found.bodies if body.complete]
    assert len(bodies) >= 3
    assert _trust(bodies) > len(bodies) - 0.5

    def walled(body):
        measures = replace(body.quality.measures, gap_walled=1.0)
        return replace(body, quality=replace(body.quality, measures=measures))

    # The two beside the gap bear it, one body for both.
    lacking = [walled(body) for body in bodies[:2]] + bodies[2:]
    assert _trust(lacking) == pytest.approx(_trust(bodies) - 1.0)


@pytest.mark.parametrize(("voxel_mm", "told"), [(3.75, False), (3.95, True)])
def test_slices_of_4_mm_are_told(voxel_mm: float, told: bool) -> None:
    _, found = found_between(-20.0, 150.0)
    checks = SurfaceSettings().checks
    sure = [body for body in found.bodies if body.quality and not body.doubts(checks)]
    body = next(body for body in sure if body.complete)
    thick = replace(body, voxel_mm=voxel_mm)
    assert any("blur its endplates" in d for d in thick.doubts(checks)) == told


def test_short_scan_has_no_whole_vertebra():
    # From the middle of L4 to the middle of L3: one disc and two halves.
    try:
        _, found = found_between(36.0, 72.0)
    except NoVertebraFoundError:
        return
    assert not any(body.complete for body in found.bodies)


def test_a_slice_of_marrow_is_refused():
    with pytest.raises(NoVertebraFoundError):
        found_between(30.0, 40.0)


@pytest.mark.parametrize(
    ("hu", "thickness", "solid", "found"),
    [
        (800.0, 1, True, False),
        (800.0, 2, True, True),
        (650.0, 3, True, False),
        (800.0, 3, False, False),
    ],
    ids=["cortex", "vein of cement", "bone", "dense bone without implants"],
)
def test_faint_cement_is_thick_and_not_alone(hu, thickness, solid, found):
    cubes = np.full((20, 9, 9), 100.0, np.float32)
    cubes[2:8, 3 : 3 + thickness, 2:7] = hu
    if solid:
        cubes[12:18, 2:8, 2:8] = 1500.0
    faint = faint_implants(cubes, SurfaceSettings())
    assert bool(faint[4, 3, 4]) == found
    assert not faint[10:].any()
