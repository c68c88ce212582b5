"""A gap between two outlines is a disc, or bone that was taken for one."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cases.body_columns import BODY_MM, DISC_MM, Column
from cemscope.segmentation.bodies.body_surface import (
    WALL_ANGLES_RAD,
    BodyScene,
    BodySurface,
)
from cemscope.segmentation.bodies.outline_measures import outline_measures
from cemscope.segmentation.bodies.outline_quality import outline_qualities
from cemscope.segmentation.bodies.vertebral_bodies import body_surface
from cemscope.segmentation.bodies.walled_gap import wall_beyond, walled_share


@dataclass(frozen=True)
class Gap:
    """Two of three bodies, and the share of the gap's directions with a wall."""

    lower: int
    upper: int
    walled: float


GAPS = {
    "disc": Gap(0, 1, 0.0),
    "upper disc": Gap(1, 2, 0.0),
    "a body that was left out": Gap(0, 2, 1.0),
}


@pytest.fixture(scope="module", params=[0.0, 25.0], ids=["upright", "leaning"])
def column(request: pytest.FixtureRequest) -> tuple[BodyScene, list[BodySurface]]:
    built = Column(marrow_hu=130.0, turn_deg=(request.param, 0.0))
    scene = built.scene()
    frames = built.frames()
    return scene, [body_surface(scene, frame, BODY_MM + DISC_MM) for frame in frames]


@pytest.mark.parametrize("gap", GAPS.values(), ids=GAPS.keys())
def test_walls_stand_beside_bodies_not_beside_discs(
    column: tuple[BodyScene, list[BodySurface]], gap: Gap
) -> None:
    scene, surfaces = column
    found = walled_share(scene, surfaces[gap.lower], surfaces[gap.upper])
    # One direction in twenty may fall on an edge of the grid.
    assert found == pytest.approx(gap.walled, abs=0.05)


def test_bone_in_a_gap_is_told_of_both_outlines(
    column: tuple[BodyScene, list[BodySurface]],
) -> None:
    scene, surfaces = column
    for quality in outline_qualities(scene, [surfaces[0], surfaces[2]]):
        assert quality.score == 0.0
        assert any("wall of bone" in reason for reason in quality.reasons)


def test_small_and_hidden_gaps_are_not_judged(
    column: tuple[BodyScene, list[BodySurface]],
) -> None:
    scene, surfaces = column
    below, above = surfaces[0], surfaces[1]
    near = replace(above, lower_mm=above.lower_mm - 5.0)
    assert np.isnan(walled_share(scene, below, near))
    cement = replace(scene.volume, hu=np.ones_like(scene.volume.hu))
    hidden = replace(scene, implants=cement)
    assert np.isnan(walled_share(hidden, below, surfaces[2]))


@dataclass(frozen=True)
class MovedPlate:
    """Upper endplate of the middle body, moved; its wall still goes on beyond it."""

    outwards_mm: float
    beyond: float


MOVED_PLATES = {
    "in its place": MovedPlate(0.0, 0.0),
    # Every place that is read, up to 2.5 mm beyond the plate, lies beside the body.
    "drawn too far in": MovedPlate(-5.0, 1.0),
}


@pytest.mark.parametrize("moved", MOVED_PLATES.values(), ids=MOVED_PLATES.keys())
@pytest.mark.parametrize("with_neighbour", [True, False])
def test_a_wall_beyond_an_endplate_is_seen(
    column: tuple[BodyScene, list[BodySurface]],
    moved: MovedPlate,
    with_neighbour: bool,
) -> None:
    scene, surfaces = column
    middle = surfaces[1]
    changed = replace(middle, upper_mm=middle.upper_mm + moved.outwards_mm)
    neighbour = surfaces[2] if with_neighbour else None
    found = wall_beyond(scene, changed, 1, neighbour)
    assert found == pytest.approx(moved.beyond, abs=0.05)
    assert wall_beyond(scene, changed, -1, surfaces[0]) == pytest.approx(0.0, abs=0.05)


def test_a_plate_that_hides_its_wall_is_doubted_in_the_end_only(
    column: tuple[BodyScene, list[BodySurface]],
) -> None:
    scene, surfaces = column
    middle = replace(surfaces[1], upper_mm=surfaces[1].upper_mm - 5.0)
    row = [surfaces[0], middle, surfaces[2]]
    last = outline_qualities(scene, row, beyond_plates=True)
    assert "its wall goes on beyond an endplate" in last[1].reasons
    assert all(not q.measures.wall_beyond for q in outline_qualities(scene, row))
    near = replace(surfaces[2], lower_mm=surfaces[2].lower_mm - 8.0)
    assert np.isnan(wall_beyond(scene, surfaces[1], 1, near))


@pytest.mark.parametrize("behind_mm", [0.0, 9.0])
def test_a_wall_drawn_into_the_canal_sticks_out_in_the_midline(
    column: tuple[BodyScene, list[BodySurface]], behind_mm: float
) -> None:
    scene, surfaces = column
    whole = surfaces[1]
    middle = np.abs(np.cos(WALL_ANGLES_RAD)) * whole.wall_mm.max() < 3.5
    middle &= np.sin(WALL_ANGLES_RAD) > 0.0
    wall = whole.wall_mm + behind_mm * middle[:, None]
    usual = outline_measures(scene, whole).tongue_mm
    found = outline_measures(scene, replace(whole, wall_mm=wall)).tongue_mm
    # The farthest direction of the middle lies up to 3.5 mm from the midline.
    assert found - usual == pytest.approx(behind_mm, abs=0.5)
    assert usual < 3.0
