"""The simulated patient: shapes, implants, cement and truth, on coarse grids."""

from dataclasses import replace

import numpy as np
import pytest

from cemscope.errors import ConfigError
from cemscope.findings import LeakType, Side
from cemscope.testing.attenuation import CORTICAL_BONE, MUSCLE
from cemscope.testing.lumbar_anatomy import LumbarAnatomy, build_anatomy
from cemscope.testing.lumbar_atlas import AnatomySettings, load_atlas
from cemscope.testing.lumbar_cement import CementPlan, LeakPlan, place_cement
from cemscope.testing.lumbar_implants import ScrewPlan, place_screw
from cemscope.testing.lumbar_scan import ScanPlan
from cemscope.testing.lumbar_scene import (
    ImplantMetal,
    LumbarScene,
    Opacifier,
    SceneSettings,
    build_scene,
)
from cemscope.testing.lumbar_tissue import material_grids, truth_maps
from cemscope.testing.lumbar_truth import SceneTruth, scene_truth
from cemscope.testing.scalar_field import Lattice, PlaneGrid, Pose, ScalarField
from cemscope.testing.scanner_settings import ScannerSettings

ANATOMY = AnatomySettings(grid_mm=1.5, trunk_grid_mm=8.0)

SETTINGS = SceneSettings(
    seed=3,
    anatomy=ANATOMY,
    metal_grid_mm=0.6,
    cement_grid_mm=0.6,
    screws=(
        ScrewPlan("L4", Side.LEFT, cement_ml=1.2),
        ScrewPlan("L4", Side.RIGHT, cement_ml=0.0, lucency_mm=1.5),
    ),
    rods=False,
    vertebroplasties=(CementPlan("L2", 2.5, (-4.0, -5.0, 0.0)),),
    leaks=(
        LeakPlan("L2", LeakType.SEGMENTAL, Side.RIGHT, 0.2, height=0.5),
        LeakPlan("L4", LeakType.BASIVERTEBRAL, Side.LEFT, 0.2),
    ),
)


@pytest.fixture(scope="module")
def anatomy() -> LumbarAnatomy:
    return build_anatomy(ANATOMY)


@pytest.fixture(scope="module")
def scene(anatomy: LumbarAnatomy) -> LumbarScene:
    return build_scene(SETTINGS, anatomy)


@pytest.fixture(scope="module")
def truth(scene: LumbarScene) -> SceneTruth:
    return scene_truth(scene, Pose())


def test_vertebrae_stack_from_head_to_feet(anatomy: LumbarAnatomy) -> None:
    names = [v.level.name for v in anatomy.vertebrae]
    assert names == ["T12", "L1", "L2", "L3", "L4", "L5"]
    heights = [v.frame.origin_lps_mm[2] for v in anatomy.vertebrae]
    assert heights == sorted(heights, reverse=True)
    assert all(25.0 < -step < 45.0 for step in np.diff(heights))
    with pytest.raises(KeyError):
        anatomy.vertebra("L9")


@pytest.mark.parametrize("level", ["L1", "L2", "L3", "L4", "L5"])
def test_body_is_part_of_its_vertebra(anatomy: LumbarAnatomy, level: str) -> None:
    shape = anatomy.vertebra(level)
    # Lumbar bodies of adults hold 20 to 50 mL.
    assert 20.0 < shape.body_volume_ml < 50.0
    in_body, in_bone = shape.body.values < 0, shape.bone.values < 0
    assert (in_body & ~in_bone).sum() < 0.01 * in_body.sum()
    arch_ml = (in_bone & ~in_body).sum() * shape.bone.lattice.voxel_ml
    assert 0.25 * shape.body_volume_ml < arch_ml < 0.9 * shape.body_volume_ml
    frame = shape.frame
    assert np.cross(frame.superior, frame.left) == pytest.approx(frame.posterior)
    assert frame.superior[2] > 0.75
    assert frame.left[0] > 0.95
    # The arch lies behind the body, along the frame's own axis.
    arch = shape.bone.lattice.points_mm()[in_bone & ~in_body]
    assert frame.to_local_mm(arch)[:, 1].mean() > 15.0


def test_discs_fill_the_gaps(anatomy: LumbarAnatomy) -> None:
    for upper, lower, disc in zip(
        anatomy.vertebrae[:-1], anatomy.vertebrae[1:], anatomy.discs, strict=False
    ):
        middle = 0.5 * (upper.frame.origin_lps_mm + lower.frame.origin_lps_mm)
        assert disc.at(middle[None])[0] < 0
        assert upper.body.at(middle[None])[0] > 0
        assert lower.body.at(middle[None])[0] > 0


@pytest.mark.parametrize("level", ["L1", "L3", "L5"])
def test_person_has_the_wanted_size(anatomy: LumbarAnatomy, level: str) -> None:
    atlas = load_atlas()
    stored_ml = np.unpackbits(atlas[f"{level}_body"]).sum() / 1000.0
    fitted_ml = stored_ml / abs(np.linalg.det(atlas[f"{level}_to_source"]))
    scale = ANATOMY.scale_lr * ANATOMY.scale_ap * ANATOMY.scale_si
    measured_ml = anatomy.vertebra(level).body_volume_ml
    # Smoothing and the blend between levels change a body by a few per cent.
    assert measured_ml == pytest.approx(scale * fitted_ml, rel=0.05)


@pytest.mark.parametrize("level", ["L3", "L4", "L5"])
@pytest.mark.parametrize("side", list(Side))
def test_screws_run_through_the_pedicle_into_the_body(
    anatomy: LumbarAnatomy, level: str, side: Side
) -> None:
    shape = anatomy.vertebra(level)
    screw = place_screw(ScrewPlan(level, side), shape)
    assert screw.pedicle_clearance_mm > -2.0
    assert np.linalg.norm(screw.tip_mm - screw.head_mm) == pytest.approx(51.0)
    assert shape.body.at(screw.tip_mm[None])[0] < -2.0
    tip, head = (shape.frame.to_local_mm(p) for p in (screw.tip_mm, screw.head_mm))
    sign = 1.0 if side is Side.LEFT else -1.0
    assert sign * tip[0] > 0  # stays on its side
    assert abs(tip[0]) < abs(head[0])  # converges
    depth = shape.frame.to_local_mm(
        shape.body.lattice.points_mm()[shape.body.values < 0]
    )[:, 1]
    reached = (depth.max() - tip[1]) / (depth.max() - depth.min())
    assert 0.5 < reached < 0.95
    assert shape.bone.at(screw.head_mm[None])[0] > 0  # the head lies outside


def test_cement_has_the_planned_volume(scene: LumbarScene, truth: SceneTruth) -> None:
    by_level = {v.level: v for v in truth.vertebrae}
    assert by_level["L3"].volume_ml == 0.0
    for level, plan_ml in (("L2", 2.5), ("L4", 1.2)):
        vertebra = by_level[level]
        # The root of the leak inside the body comes on top of the plan.
        assert plan_ml * 0.99 < vertebra.intrabody_ml < plan_ml + 0.45
        assert vertebra.leaked_ml == pytest.approx(0.2, abs=0.005)
        (leak,) = vertebra.leaks
        assert leak.volume_ml == pytest.approx(vertebra.leaked_ml, abs=0.002)
        total = vertebra.intrabody_ml + vertebra.leaked_ml
        assert vertebra.volume_ml == pytest.approx(total, abs=1e-9)


def test_leaks_leave_the_body_where_their_type_says(
    scene: LumbarScene, truth: SceneTruth
) -> None:
    leaks = {leak.leak_type: (v, leak) for v in truth.vertebrae for leak in v.leaks}
    for vertebra, leak in leaks.values():
        body = scene.anatomy.vertebra(vertebra.level).body
        assert abs(body.at(np.array([leak.exit_lps_mm]))[0]) < 0.7
        assert body.at(np.array([leak.centroid_lps_mm]))[0] > 0
    vertebra, basivertebral = leaks["B"]
    frame = scene.anatomy.vertebra(vertebra.level).frame
    left, back, _ = frame.to_local_mm(basivertebral.exit_lps_mm)
    assert abs(left) < 3.0
    assert back > 8.0
    vertebra, segmental = leaks["S"]
    frame = scene.anatomy.vertebra(vertebra.level).frame
    left, _, height = frame.to_local_mm(segmental.exit_lps_mm)
    assert left < -12.0
    assert abs(height) < 7.0


def test_cement_never_overlaps_metal_and_fractions_stay_below_one(
    scene: LumbarScene,
) -> None:
    centre_z = scene.anatomy.vertebra("L4").frame.origin_lps_mm[2]
    planes = centre_z + 0.5 * np.arange(12)
    spine, around = material_grids(scene, planes, Pose())
    for grid in (spine, around):
        total = sum(layer.fraction for layer in grid.layers)
        assert total.min() >= -1e-4
        # Soft tissue is stored as muscle of varying density, up to some per cent more.
        assert total.max() < 1.10
    cement, metal = spine.layers[4].fraction, spine.layers[5].fraction
    assert (cement + metal).max() < 1.0 + 1e-5
    assert metal.sum() > 0
    # The spine's patch is cut out of the surroundings exactly once.
    low = np.array(spine.first_xy_mm) - 0.5 * spine.pixel_mm
    offset = (low - around.first_xy_mm) / around.pixel_mm + 0.5
    assert offset == pytest.approx(np.rint(offset), abs=1e-6)


def test_truth_on_voxels_adds_up_to_the_geometric_volume(
    scene: LumbarScene, truth: SceneTruth
) -> None:
    scanner = ScannerSettings(matrix=150, pixel_mm=0.6, centre_xy_mm=(0.0, 10.0))
    bottom = scene.anatomy.vertebra("L2").frame.origin_lps_mm[2] - 20.0
    plan = ScanPlan(scanner, first_z_mm=float(bottom), slices=40)
    maps = truth_maps(scene, plan.voxels)
    voxel_ml = plan.geometry.voxel_volume_mm3 / 1000.0
    expected = {v.level: v for v in truth.vertebrae}["L2"]
    assert maps.cement.sum() * voxel_ml == pytest.approx(expected.volume_ml, rel=0.03)
    assert maps.leaked.sum() * voxel_ml == pytest.approx(expected.leaked_ml, rel=0.15)
    body_ml = (maps.labels == 21).sum() * voxel_ml
    assert body_ml == pytest.approx(expected.body_volume_ml, rel=0.02)
    assert (maps.labels == 121).any()


def test_pose_moves_positions_and_keeps_volumes(scene: LumbarScene) -> None:
    pose = Pose((3.0, -2.0, 4.0), (5.0, 1.0, -7.0))
    still, moved = scene_truth(scene, Pose()), scene_truth(scene, pose)
    for a, b in zip(still.vertebrae, moved.vertebrae, strict=True):
        assert (a.volume_ml, a.leaked_ml) == (b.volume_ml, b.leaked_ml)
        assert pose.to_table(a.centroid_lps_mm) == pytest.approx(
            b.centroid_lps_mm, abs=0.02
        )
    for a, b in zip(still.screws, moved.screws, strict=True):
        assert pose.to_table(a.tip_lps_mm) == pytest.approx(b.tip_lps_mm, abs=0.02)
        assert pose.turn(a.axis) == pytest.approx(b.axis, abs=2e-4)


def test_loose_screw_loses_bone_round_its_shaft(
    anatomy: LumbarAnatomy, scene: LumbarScene
) -> None:
    tight_screws = tuple(replace(s, lucency_mm=0.0) for s in SETTINGS.screws)
    tight = build_scene(replace(SETTINGS, screws=tight_screws), anatomy)
    loose = next(s for s in scene.screws if s.plan.lucency_mm > 0)
    middle = loose.tip_mm - 24.0 * loose.axis
    planes = middle[2] + 0.5 * np.arange(-4, 5)
    names = (CORTICAL_BONE, MUSCLE)
    (bone, soft), (bone_before, soft_before) = (
        [next(p.fraction for p in grid.layers if p.material == m) for m in names]
        for grid in (material_grids(s, planes, Pose())[0] for s in (scene, tight))
    )
    gained = (soft - soft_before).sum() * 0.5**3
    # A sleeve of 1.5 mm round 6.5 mm, seen over about 4 mm of its length.
    assert gained > 20.0
    assert (bone_before - bone).max() > 0.04
    assert (bone - bone_before).max() > 0.1  # the sclerotic rim
    cements = [scene_truth(s, Pose()).vertebrae for s in (scene, tight)]
    assert cements[0] == cements[1]


def test_same_seed_same_cement(anatomy: LumbarAnatomy) -> None:
    plan = CementPlan("L3", 2.0, (0.0, -5.0, 0.0))
    first, again, other = (
        place_cement(anatomy.vertebra("L3"), [plan], [], [], seed, 0.8).cement.values
        for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_variants_change_the_materials() -> None:
    zirconia = replace(SETTINGS, opacifier=Opacifier.ZIRCONIA, opacifier_fraction=0.2)
    assert "ZrO2" in dict(zirconia.cement.parts)
    assert ImplantMetal.COBALT_CHROME.value.density_g_cm3 > 8.0


def test_cannulated_screw_is_hollow(anatomy: LumbarAnatomy) -> None:
    plans = [
        ScrewPlan("L4", Side.LEFT, cannulated=c, cement_ml=0) for c in (False, True)
    ]
    scenes = [
        build_scene(
            replace(SETTINGS, leaks=(), vertebroplasties=(), screws=(p,)), anatomy
        )
        for p in plans
    ]
    solid, hollow = (
        float((s.metal[0].values < 0).sum()) * s.metal[0].lattice.voxel_ml
        for s in scenes
    )
    bore_ml = np.pi * 0.9**2 * 45.0 / 1000.0
    assert solid - hollow == pytest.approx(bore_ml, rel=0.5)


def test_impossible_leak_is_refused(anatomy: LumbarAnatomy) -> None:
    leak = LeakPlan("L3", LeakType.CORTICAL, Side.LEFT, 0.2)
    with pytest.raises(ConfigError, match="no simulated leak"):
        place_cement(anatomy.vertebra("L3"), [], [leak], [], seed=1)


def test_sampling_on_planes_agrees_with_sampling_at_points() -> None:
    rng = np.random.default_rng(5)
    lattice = Lattice((-10.0, -8.0, -9.0), 1.2, (16, 15, 18))
    values = rng.standard_normal(lattice.shape).astype(np.float32)
    shape = ScalarField(values, lattice, 9.0)
    pose = Pose((10.0, -20.0, 30.0), (1.0, 2.0, 3.0), (0.5, 0.5, 0.5))
    grid = PlaneGrid((-6.0, -5.0, -4.0), 0.7, 0.9, (9, 14, 16), pose)
    assert grid.sample(shape) == pytest.approx(shape.at(grid.points_mm()), abs=1e-4)
    box = grid.box_of(shape)
    assert box is not None
    inner = grid.crop(box).refine(2)
    assert inner.sample(shape) == pytest.approx(shape.at(inner.points_mm()), abs=1e-4)
    far = PlaneGrid((500.0, 0.0, 0.0), 1.0, 1.0, (2, 2, 2), pose)
    assert far.box_of(shape) is None
