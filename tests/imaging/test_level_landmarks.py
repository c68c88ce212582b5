"""Landmarks beside vertebrae whose outlines are known."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.bodies.body_surface import (
    PLATE_GRID_MM,
    WALL_ANGLES_RAD,
    WALL_LEVELS,
    BodySurface,
)
from cemscope.segmentation.canal.streak_planes import StreakSettings, streak_planes
from cemscope.segmentation.levels.level_landmarks import (
    LandmarkSettings,
    level_landmarks,
)
from cemscope.segmentation.levels.level_names import LevelSettings, name_levels
from cemscope.segmentation.levels.rib_search import (
    Beside,
    BesideGrid,
    RibSettings,
    process_beside,
)
from cemscope.segmentation.spine_working_volume import (
    IntensityWindow,
    WorkingVolume,
    working_volume,
)
from cemscope.spine import VertebraFrame
from cemscope.testing.spine_phantom import PatientShape, PhantomScan, spine_phantom
from cemscope.volume import CTVolume

SCAN = PhantomScan(spacing_mm=(2.5, 2.0, 2.0))
TALL = replace(SCAN, high_lps_mm=(90.0, 85.0, 290.0))
RIBS = PatientShape().ribs_on


@dataclass(frozen=True)
class Scene:
    name: str
    shape: PatientShape
    scan: PhantomScan
    named: bool
    notice: str | None = None


def usual(name, named=True, notice=None, scan=SCAN, **shape):
    return Scene(name, PatientShape(**shape), scan, named, notice)


def field(half_width_mm, **limits):
    low = (-half_width_mm, -50.0, limits.get("low", -22.0))
    return replace(SCAN, low_lps_mm=low, high_lps_mm=(half_width_mm, 80.0, 230.0))


SIX = ("S1", "L6", "L5", "L4", "L3", "L2", "L1", "T12", "T11")
SCENES = [
    usual("usual"),
    usual("small person", size=0.85),
    usual("old marrow", marrow_hu=5.0),
    usual("screws", screws_on=("L5", "L4", "L3")),
    usual("15 cm", scan=field(75.0)),
    usual("7 cm", named=False, scan=field(35.0)),
    usual("9 cm", notice="levels_from_sacrum_only", scan=field(45.0)),
    usual("no sacrum", notice="levels_from_ribs_only", scan=field(90.0, low=55.0)),
    usual("L6", False, "transitional_anatomy", TALL, levels=SIX),
    usual("ribs on L1", False, "transitional_anatomy", ribs_on=(*RIBS, "L1")),
    usual("no ribs on T12", False, "transitional_anatomy", TALL, ribs_on=RIBS[:-1]),
    usual("four lumbar", False, "transitional_anatomy",
          levels=("S1", "L4", "L3", "L2", "L1", "T12", "T11")),
]  # fmt: skip


def outline(frame, half_mm):
    """Surface of a phantom's body: flat endplates and an elliptic wall."""
    half_x, half_y, half_z = half_mm
    plate = np.full((len(PLATE_GRID_MM),) * 2, half_z)
    radius = 1.0 / np.hypot(
        np.cos(WALL_ANGLES_RAD) / half_x, np.sin(WALL_ANGLES_RAD) / half_y
    )
    wall = np.repeat(radius[:, None], len(WALL_LEVELS), axis=1)
    return BodySurface(frame, -plate, plate, wall, 1.0, 1.0, 1.0)


@cache
def read(scene):
    """Landmarks of the vertebrae whose middle lies well in the field of view."""
    phantom = spine_phantom(scene.shape, scene.scan)
    coarse = working_volume(phantom.ct, 2.0, IntensityWindow())
    streaks = streak_planes(phantom.ct, StreakSettings())
    found = {}
    for level, frame in zip(phantom.levels, phantom.frames, strict=True):
        voxels = phantom.truth.labels == level.number
        if not coarse.sample_inside(frame.origin_lps_mm[None])[0] or not voxels.any():
            continue
        index = np.argwhere(voxels)
        local = frame.to_local_mm(phantom.ct.geometry.index_to_lps(index))
        half = (local.max(axis=0) - local.min(axis=0)) / 2
        surface = outline(frame, half)
        found[level.name] = level_landmarks(
            coarse, surface, LandmarkSettings(), streaks
        )
    return found


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_names_by_landmarks(scene):
    found = read(scene)
    names = name_levels(tuple(found.values()), LevelSettings())
    got = [level.name for level in names.levels]
    assert (got == list(found)) is scene.named
    assert (names.confidence > 0) is scene.named
    codes = [notice.code for notice in names.notices]
    if scene.notice:
        assert scene.notice in codes
    else:
        usual = "thoracic_levels_from_lowest_ribs"
        assert codes == [usual if scene.named else "levels_not_told"]


def test_the_sacrum_stands_out_by_its_alae():
    for scene in SCENES[:3]:
        for name, entry in read(scene).items():
            for side in (entry.left, entry.right):
                assert (side.ala > 0.4) is (name == "S1")
                assert (side.ala < 0.15) is (name != "S1")


def test_ribs_reach_further_than_processes_in_each_scale():
    for scene in SCENES[:2]:
        for name, entry in read(scene).items():
            for side in (entry.left, entry.right):
                if name.startswith("T"):
                    assert side.process_reach_mm > 62.0
                    assert side.process_section_mm2 < 130.0
                elif name not in ("S1", "L5"):
                    assert side.process_reach_mm < 56.0


def test_what_the_field_of_view_cuts_is_not_judged():
    narrow = read(SCENES[5])
    assert SCENES[5].name == "7 cm"
    for name, entry in narrow.items():
        for side in (entry.left, entry.right):
            assert side.seen_to_mm < 54.0
            # The place of an ala lies 28 to 42 mm from the midline; L5 is 50 mm wide.
            assert side.ala is None or name not in ("S1", "L5", "L4")


def test_body_sizes_are_told():
    frame = VertebraFrame(np.array([3.0, -2.0, 8.0]), *np.eye(3))
    surface = outline(frame, (23.0, 16.0, 13.0))
    geometry = VoxelGeometry.from_axes((3, 3, 3), (2.0, 2.0, 2.0))
    nothing = np.zeros(geometry.shape, np.float32)
    volume = WorkingVolume(nothing, nothing, geometry)
    entry = level_landmarks(volume, surface, LandmarkSettings())
    assert entry.body.width_mm == pytest.approx(46.0, abs=0.1)
    assert entry.body.height_mm == pytest.approx(26.0)
    assert entry.body.centre_lps_mm == pytest.approx((3.0, -2.0, 8.0))
    # Nothing is in view: nothing is judged.
    for side in (entry.left, entry.right):
        assert side.ala is None
        assert side.rib_head is None
        assert side.seen_to_mm == 0.0


GRID = BesideGrid(
    lateral_mm=np.arange(22.0, 85.0, 2.0),
    posterior_mm=np.arange(-18.0, 52.1, 2.0),
    height_mm=np.arange(-58.0, 22.1, 2.0),
    lower_mm=-14.0,
    upper_mm=14.0,
    wall_mm=16.0,
    scale=1.0,
)


def bar(reach_mm, descent, thick_mm=8.0, start_mm=0.0):
    """A bar of bone that runs to the side and down."""
    x, y, z = np.meshgrid(
        GRID.lateral_mm, GRID.posterior_mm, GRID.height_mm, indexing="ij"
    )
    axis = start_mm - descent * (x - 22.0)
    inside = (np.abs(y - 20.0) <= thick_mm / 2) & (np.abs(z - axis) <= thick_mm / 2)
    return inside & (x <= reach_mm)


def follow(bone, streaked=None):
    seen = np.ones_like(bone)
    streaked = np.zeros_like(bone) if streaked is None else streaked
    return process_beside(Beside(bone, seen, streaked), GRID, RibSettings())


@pytest.mark.parametrize(
    ("reach_mm", "descent"), [(40.0, 0.0), (48.0, -0.2), (70.0, 0.4), (84.0, 0.9)]
)
def test_a_bar_is_followed_to_its_end(reach_mm, descent):
    found = follow(bar(reach_mm, descent))
    assert found.reach_mm == pytest.approx(reach_mm, abs=2.0)
    if reach_mm > 60:
        # 8 x 8 mm on a grid of 2 mm: 4 or 5 cells each way.
        assert 64.0 <= found.section_mm2 <= 100.0


def test_the_process_of_the_vertebra_below_is_not_followed():
    below = bar(80.0, 0.0, start_mm=-36.0)
    rod = np.zeros_like(below)
    rod[1:4, 18:21, :] = True  # a rod that joins both
    assert follow(bar(46.0, 0.0) | rod | below).reach_mm == pytest.approx(46.0, abs=2.0)
    assert follow(bar(46.0, 0.0) | below).reach_mm == pytest.approx(46.0, abs=2.0)


def test_a_plate_is_no_bar():
    plate = bar(84.0, 0.0)
    plate[GRID.lateral_mm > 48.0, 5:, :30] = True
    assert follow(plate).section_mm2 > 400.0


def test_streaks_prove_nothing():
    planes = np.zeros(GRID.height_mm.shape, bool)
    planes[np.abs(GRID.height_mm) < 12.0] = True
    streaked = np.broadcast_to(planes, bar(40.0, 0.0).shape)
    everywhere = streaked.copy()
    found = follow(everywhere, streaked)
    assert found.streaked
    assert found.reach_mm == GRID.lateral_mm[0]
    # A rib that leaves the planes is still followed to its end.
    rib = follow(everywhere | bar(76.0, 0.6), streaked)
    assert rib.reach_mm == pytest.approx(76.0, abs=2.0)


def metal_scan(area_mm2, directions):
    hu = np.zeros((40, 50, 60), np.int16)
    geometry = VoxelGeometry.from_axes(
        hu.shape, (1.0, 1.0, 1.0), (5.0, -7.0, 30.0), directions
    )
    hu[10:15, 20 : 20 + round(area_mm2 / 10), 20:30] = 3071
    return CTVolume(hu, geometry)


@pytest.mark.parametrize("up", [1.0, -1.0])
def test_planes_with_much_metal_are_found(up):
    directions = ((0, 0, up), (0, 1, 0), (1, 0, 0))
    scan = metal_scan(200.0, directions)
    planes = streak_planes(scan, StreakSettings(margin_mm=1.5))
    index = np.stack([np.arange(40), np.full(40, 3), np.full(40, 50)], axis=-1)
    found = planes.at(scan.geometry.index_to_lps(index))
    assert list(np.flatnonzero(found)) == list(range(8, 17))
    assert not planes.at(np.array([0.0, 0.0, 500.0]))


def test_a_rod_across_the_plane_is_not_enough():
    scan = metal_scan(60.0, ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    assert streak_planes(scan, StreakSettings()) is None
