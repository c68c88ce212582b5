"""Bodies of known shape are outlined from frames that are only about right."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cases.body_columns import BACK_MM, BODY_MM, DISC_MM, Column
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.bodies.body_surface import (
    PLATE_GRID_MM,
    WALL_ANGLES_RAD,
    WALL_LEVELS,
    BodySurface,
    on_plate,
)
from cemscope.segmentation.bodies.vertebral_bodies import body_surface
from cemscope.spine import VertebraFrame


def turned(frame: VertebraFrame, shift_mm: tuple[float, ...], nod_deg: float):
    """A frame that is off by some mm and degrees."""
    cosine, sine = np.cos(np.radians(nod_deg)), np.sin(np.radians(nod_deg))
    return VertebraFrame(
        frame.to_lps_mm(np.array(shift_mm)),
        frame.left,
        cosine * frame.posterior + sine * frame.superior,
        cosine * frame.superior - sine * frame.posterior,
    )


def wall_points(surface: BodySurface) -> np.ndarray:
    """LPS points of the wall, (angles, levels, 3)."""
    angle = WALL_ANGLES_RAD[:, None]
    x, y = surface.wall_mm * np.cos(angle), surface.wall_mm * np.sin(angle)
    low, high = on_plate(surface.lower_mm, x, y), on_plate(surface.upper_mm, x, y)
    local = np.stack([x, y, low + WALL_LEVELS * (high - low)], axis=-1)
    return surface.frame.to_lps_mm(local)


def plate_points(surface: BodySurface, *, upper: bool) -> np.ndarray:
    """LPS points of the middle of an endplate."""
    x, y = np.meshgrid(PLATE_GRID_MM, PLATE_GRID_MM, indexing="ij")
    plate = surface.upper_mm if upper else surface.lower_mm
    middle = np.hypot(x / 16.0, y / 10.0) < 1.0
    return surface.frame.to_lps_mm(np.stack([x, y, plate], axis=-1)[middle])


@dataclass(frozen=True)
class Case:
    """A column and how far the first frame is off."""

    name: str
    column: Column
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    nod_deg: float = 0.0
    bound_mm: float = 0.35


CASES = (
    Case("straight", Column()),
    Case("frame off", Column(), (2.0, -3.0, 3.0), 8.0),
    Case("leaning", Column(turn_deg=(15.0, 20.0)), (1.0, 2.0, -2.0), -5.0),
    Case("marrow as dark as fat", Column(marrow_hu=-30.0)),
    Case("dense marrow", Column(marrow_hu=300.0)),
    Case("collapsed", Column(middle_height_mm=11.0), bound_mm=0.5),
    Case("vessel as dense as bone", Column(vessel_hu=220.0), bound_mm=0.6),
    Case("leak across the wall", Column(cement=True), bound_mm=0.5),
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_outline(case: Case) -> None:
    frame = turned(case.column.frames()[1], case.shift_mm, case.nod_deg)
    height_mm = case.column.middle_height_mm + DISC_MM
    surface = body_surface(case.column.scene(), frame, height_mm)
    points = wall_points(surface)
    off = case.column.depth_mm(1, points)
    local = case.column.frames()[1].to_local_mm(points)
    front = local[..., 1] < 6.0
    # No step of 1 mm anywhere but at the corners of this angular body.
    assert np.abs(off[front]).mean() < case.bound_mm
    assert np.percentile(np.abs(off[front]), 95) < case.bound_mm + 1.0
    for upper in (False, True):
        plate = case.column.depth_mm(1, plate_points(surface, upper=upper))
        assert np.abs(plate).mean() < case.bound_mm
    # The posterior wall lies free between the pedicles.
    free = (local[..., 1] > 8.0) & (np.abs(local[..., 0]) < 7.0)
    assert abs(float((local[..., 1][free] - BACK_MM).mean())) < case.bound_mm
    # Through the pedicles it is continued.
    base = (local[..., 1] > 9.0) & (np.abs(local[..., 0]) > 9.0)
    assert np.abs(local[..., 1][base] - BACK_MM).mean() < 1.5
    assert local[..., 1].max() < BACK_MM + 1.5


def test_evidence_tells_what_was_hidden() -> None:
    column = Column(cement=True)
    frame = column.frames()[1]
    surface = body_surface(column.scene(), frame, 26.0 + DISC_MM)
    assert surface.evidence is not None
    left = surface.evidence.wall[:2]
    right = surface.evidence.wall[23:26]
    assert np.isnan(left).mean() > 0.2
    assert np.nanmean(right) > 0.7
    assert not np.isnan(right).any()


@pytest.mark.parametrize(("slice_mm", "inwards_mm"), [(3.0, 0.0), (4.0, 0.8)])
def test_endplates_seen_in_very_thick_slices_lie_further_in(
    slice_mm: float, inwards_mm: float
) -> None:
    column = Column()
    scene = column.scene()
    known = VoxelGeometry.from_axes((20, 90, 90), (slice_mm, 1.0, 1.0))
    thick = replace(scene, volume=replace(scene.volume, scan=known))
    frame, height_mm = column.frames()[1], BODY_MM + DISC_MM
    usual, found = (body_surface(s, frame, height_mm) for s in (scene, thick))
    np.testing.assert_allclose(found.upper_mm, usual.upper_mm - inwards_mm, atol=0.05)
    np.testing.assert_allclose(found.lower_mm, usual.lower_mm + inwards_mm, atol=0.05)
