"""The two endplates of a disc are found together, and each body keeps its own."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from cases.body_columns import BACK_MM, BODY_MM, DISC_MM, Column
from cemscope.segmentation.bodies.body_surface import BodyScene, plate_plane
from cemscope.segmentation.bodies.vertebral_bodies import body_frame, body_surface
from cemscope.segmentation.canal.spine_axis import SpineAxis
from cemscope.segmentation.discs.disc import Disc
from cemscope.segmentation.discs.disc_room import (
    NO_ROOM_PRICE,
    PlateRoom,
    disc_room,
    rooms_between,
)

CANAL_MM = 8.0
PITCH_MM = BODY_MM + DISC_MM


def axis_of(column: Column) -> SpineAxis:
    """Straight axis behind a column, one step per mm; step 60 is its middle."""
    frame = column.frames()[1]
    steps = np.arange(-60.0, 61.0)[:, None]
    superior, posterior, left = (
        np.repeat(v[None], 121, axis=0)
        for v in (frame.superior, frame.posterior, frame.left)
    )
    points = steps * superior + (BACK_MM + CANAL_MM) * posterior
    wall_mm = np.full(121, -CANAL_MM)
    return SpineAxis(points, superior, posterior, left, wall_mm, 0, 120)


@cache
def scene_of(column: Column) -> BodyScene:
    scene: BodyScene = column.scene()
    return scene


def disc_at(height_mm: float) -> Disc:
    return Disc(60.0 + height_mm, 0.0, 0.0, 1.0)


def plates_of(column: Column) -> tuple[float, float]:
    """Heights of the two endplates of the disc above the middle body."""
    return column.middle_height_mm / 2, PITCH_MM - BODY_MM / 2


@dataclass(frozen=True)
class Case:
    """A column and how far the disc was placed off."""

    name: str
    column: Column
    off_mm: float = 0.0


CASES = (
    Case("usual", Column()),
    Case("off by 4 mm to the head", Column(), 4.0),
    Case("off by 4 mm to the feet", Column(), -4.0),
    Case("marrow as dark as the disc", Column(marrow_hu=90.0), 3.0),
    Case("thin disc", Column(marrow_hu=90.0, middle_height_mm=BODY_MM + 11.0)),
    Case("leaning", Column(turn_deg=(10.0, 15.0)), 2.0),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_middle_of_a_disc_is_that_of_its_endplates(case: Case) -> None:
    low, high = plates_of(case.column)
    disc = disc_at((low + high) / 2 + case.off_mm)
    room = disc_room(scene_of(case.column), axis_of(case.column), disc)
    assert room.seen
    found = case.column.frames()[1].to_local_mm(room.middle_lps_mm[None])[0]
    # The heights are read in steps of 0.5 mm on either side.
    assert found[2] == pytest.approx((low + high) / 2, abs=1.0)


def test_neighbours_keep_to_their_side_of_a_thin_disc() -> None:
    column = Column(marrow_hu=90.0, middle_height_mm=BODY_MM + 11.0)
    scene, axis = scene_of(column), axis_of(column)
    low, high = plates_of(column)
    discs = [disc_at(sign * (low + high) / 2 + 1.5) for sign in (-1.0, 1.0)]
    lower, upper = (disc_room(scene, axis, disc) for disc in discs)
    frame, height_mm = body_frame(axis, lower, upper)
    surface = body_surface(scene, frame, height_mm, rooms=rooms_between(lower, upper))
    own = column.frames()[1]
    for plate, expected in ((surface.lower_mm, -low), (surface.upper_mm, low)):
        at = surface.frame.to_lps_mm(np.array([0.0, 0.0, plate_plane(plate)[2]]))
        assert own.to_local_mm(at[None])[0, 2] == pytest.approx(expected, abs=0.7)


def with_cement_slab(column: Column) -> BodyScene:
    """A scene with cement in the lower half of the middle body, off its endplate."""
    scene = column.scene()
    geometry = scene.volume.geometry
    index = np.stack(
        np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1
    )
    local = column.frames()[1].to_local_mm(geometry.index_to_lps(index))
    left, posterior, height = np.moveaxis(local, -1, 0)
    slab = np.hypot(left / 14.0, posterior / 9.0) < 1.0
    slab &= (height > -9.0) & (height < 1.0)
    share = ndimage.gaussian_filter(slab.astype(float), 0.6).astype(np.float32)
    hu = scene.volume.hu * (1 - share) + 1400.0 * share
    volume = replace(scene.volume, hu=hu.astype(np.float32))
    return replace(scene, volume=volume, implants=replace(volume, hu=share))


def test_the_edge_of_cement_is_no_endplate() -> None:
    column = Column(marrow_hu=30.0)
    scene = with_cement_slab(column)
    own = column.frames()[1]
    # No room is given: the cement itself must be left out.
    surface = body_surface(scene, own, PITCH_MM)
    at = surface.frame.to_lps_mm(np.array([0.0, 0.0, plate_plane(surface.lower_mm)[2]]))
    assert own.to_local_mm(at[None])[0, 2] == pytest.approx(-BODY_MM / 2, abs=0.7)


def test_a_supposed_disc_keeps_its_place_and_limits_nothing() -> None:
    column = Column()
    disc = replace(disc_at(20.0), supposed=True)
    room = disc_room(scene_of(column), axis_of(column), disc)
    assert (room.below, room.above, room.seen) == (None, None, False)
    found = column.frames()[1].to_local_mm(room.middle_lps_mm[None])[0]
    assert found[2] == pytest.approx(20.0)


def test_without_endplates_only_the_disc_itself_is_closed() -> None:
    scene = scene_of(Column())
    blank = replace(scene.volume, hu=np.full_like(scene.volume.hu, 60.0))
    room = disc_room(replace(scene, volume=blank), axis_of(Column()), disc_at(17.0))
    assert not room.seen
    assert room.below is not None
    points = np.array([[0.0, 0.0, 17.0 + z] for z in (2.0, -2.0, -12.0)])
    prices = room.below.price(points, 1)
    assert prices == pytest.approx([NO_ROOM_PRICE, 0.0, NO_ROOM_PRICE])
    assert rooms_between(room, room, only_seen=True) == (None, None)


def test_a_place_far_inside_the_body_has_a_growing_price() -> None:
    up = np.array([0.0, 0.0, 1.0])
    room = PlateRoom(np.zeros(3), up, 1.0, 3.0, np.inf)
    depth = np.array([0.5, 2.0, 4.9, 7.0, 9.0])
    below = room.price(-depth[:, None] * up, 1)
    above = room.price(depth[:, None] * up, -1)
    assert below == pytest.approx([NO_ROOM_PRICE, 0.0, 0.0, 0.2, 0.4])
    assert above == pytest.approx(below)
