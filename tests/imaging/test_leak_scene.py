"""Leak scenes: shapes against geometry, truth against other sums, and the draw."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cemscope.anatomy import VertebraLevel
from cemscope.errors import ConfigError
from cemscope.findings import LeakType, Side
from cemscope.spine import VertebraFrame
from cemscope.testing.leak_canal import TrueCanal, true_canal
from cemscope.testing.leak_case import LeakCase, draw_leak_case
from cemscope.testing.leak_draw import LARGEST_ML, SMALLEST_ML, LeakFamily
from cemscope.testing.leak_place import LeakPlaces
from cemscope.testing.leak_route import (
    RouteEnd,
    RoutePlan,
    Surroundings,
    cut,
    lay_path,
)
from cemscope.testing.leak_scene import (
    LeakScene,
    make_leak_scene,
    read_leak_scene,
    write_leak_scene,
)
from cemscope.testing.leak_shape import AbutPlan, LeakyPatient, lay_leaks
from cemscope.testing.leak_truth import (
    LeakMasks,
    LeakTruth,
    from_body_mm,
    leak_truth,
)
from cemscope.testing.lumbar_anatomy import FAR_MM, VertebraShape
from cemscope.testing.lumbar_cement import CementPlan
from cemscope.testing.quick_scanner import QuickScan
from cemscope.testing.scalar_field import Lattice, Pose, ScalarField, coverage
from cemscope.testing.spine_patient import PatientSettings, SpinePatient, lay_patient
from cemscope.testing.spine_posture import LevelPlan, stand

# A vertebra of cylinders: a body, and a ring round the canal behind it.
BODY_RADIUS_MM, BODY_HALF_MM = 18.0, 11.0
CANAL_RADIUS_MM, RING_HALF_MM = 8.5, 6.4
CANAL_MIDDLE_MM = 28.0
AXES = VertebraFrame(np.zeros(3), *np.eye(3))


@pytest.fixture(scope="module")
def cylinders() -> VertebraShape:
    lattice = Lattice.around((-26, -26, -26), (26, 44, 26), 0.8)
    x, y, z = np.moveaxis(lattice.points_mm(), -1, 0)
    body = np.maximum(np.hypot(x, y) - BODY_RADIUS_MM, np.abs(z) - BODY_HALF_MM)
    away = np.hypot(x, y - CANAL_MIDDLE_MM)
    ring = np.maximum(
        np.abs(away - CANAL_RADIUS_MM - 2.5) - 2.5, np.abs(z) - RING_HALF_MM
    )
    bone = np.minimum(body, ring)
    return VertebraShape(
        VertebraLevel("L3"),
        ScalarField(bone.astype(np.float32), lattice, FAR_MM),
        ScalarField(body.astype(np.float32), lattice, FAR_MM),
        AXES,
        np.pi * BODY_RADIUS_MM**2 * 2 * BODY_HALF_MM / 1000.0,
    )


@pytest.fixture(scope="module")
def canal(cylinders: VertebraShape) -> TrueCanal:
    return true_canal([cylinders])


def test_the_canal_is_the_hole_of_the_ring_and_goes_on(canal: TrueCanal) -> None:
    step = 0.25
    line = np.arange(-16.0, 16.0, step)
    x, y = np.meshgrid(line, line + CANAL_MIDDLE_MM)
    for height in (-3.0, 0.0, 4.0, 9.0):  # the last one above the ring
        points = np.stack([x, y, np.full_like(x, height)], axis=-1)
        inside = canal.distance_mm(points) < 0
        # Above the ring the body's wall bounds it in front, as far as it goes.
        behind = float(inside[y > CANAL_MIDDLE_MM].sum()) * step**2
        # Bone is looked at on cells of half a millimetre.
        radius = np.sqrt(2.0 * behind / np.pi)
        assert radius == pytest.approx(CANAL_RADIUS_MM, abs=0.25)
        front = y[inside].min()
        nearest = CANAL_MIDDLE_MM - CANAL_RADIUS_MM if height < 6 else BODY_RADIUS_MM
        assert front == pytest.approx(nearest, abs=0.4)
        assert canal.centre_mm(height)[1] == pytest.approx(CANAL_MIDDLE_MM, abs=0.3)


def test_distance_from_the_body(cylinders: VertebraShape) -> None:
    far = np.array([3.0, 5.0, 12.0])
    beside = np.column_stack([BODY_RADIUS_MM + far, np.zeros(3), np.zeros(3)])
    above = np.column_stack([np.full(3, 4.0), np.zeros(3), BODY_HALF_MM + far])
    for points in (beside, above):
        assert from_body_mm(cylinders, points) == pytest.approx(far, abs=0.3)


@dataclass(frozen=True)
class Spot:
    """A point beside the cylinders, and the words for it."""

    local_mm: tuple[float, float, float]
    name: str


SPOTS = (
    Spot((0.0, 22.0, 0.0), "epidural"),
    Spot((0.0, 22.0, 10.0), "epidural"),
    Spot((3.0, -2.0, 13.5), "disc_superior"),
    Spot((-9.0, 5.0, -13.5), "disc_inferior"),
    Spot((0.0, -21.0, 2.0), "prevertebral"),
    Spot((21.0, 0.0, 0.0), "paravertebral_left"),
    Spot((-21.0, -3.0, 0.0), "paravertebral_right"),
    Spot((13.0, 20.0, -9.0), "foraminal_left"),
    Spot((-13.0, 20.0, -9.0), "foraminal_right"),
)


@pytest.mark.parametrize("spot", SPOTS, ids=lambda s: f"{s.name} {s.local_mm}")
def test_places_have_their_words(
    spot: Spot, cylinders: VertebraShape, canal: TrueCanal
) -> None:
    places = LeakPlaces(cylinders, canal)
    points = np.array([spot.local_mm])
    assert places.names(points, np.array([np.inf]), 0.0).tolist() == [spot.name]
    track = places.names(points + np.array([0.0, 45.0, 0.0]), np.array([3.0]), 0.0)
    assert track.tolist() == ["needle_track"]


@pytest.mark.parametrize("angle_deg", [-5.0, 30.0, 60.0])
def test_left_and_right_are_mirrored(
    angle_deg: float, cylinders: VertebraShape, canal: TrueCanal
) -> None:
    paths = []
    for side, x in ((Side.LEFT, 5.0), (Side.RIGHT, -5.0)):
        plan = RoutePlan(
            "L3", LeakType.SEGMENTAL, side, 0.3, RouteEnd.FRONT, 0.5, angle_deg, seed=4
        )
        around = Surroundings(cylinders, canal, np.array([x, 0.0, 0.0]), None)
        paths.append(lay_path(plan, around))
    left, right = paths
    mirror = np.array([-1.0, 1.0, 1.0])
    # Walls are found in steps of a tenth of a millimetre.
    assert left.root == pytest.approx(right.root * mirror, abs=0.2)
    assert left.branches[0] == pytest.approx(right.branches[0] * mirror, abs=0.3)
    assert left.exit_mm[0] == pytest.approx(
        BODY_RADIUS_MM * np.cos(np.radians(angle_deg)), abs=0.3
    )
    away = np.hypot(left.branches[0][:, 0], left.branches[0][:, 1])
    assert (away > BODY_RADIUS_MM).all()
    assert (away < BODY_RADIUS_MM + 4.0).all()


def test_a_line_is_cut_to_its_length() -> None:
    line = np.array([[0.0, 0, 0], [3.0, 0, 0], [3.0, 4.0, 0]])
    assert cut(line, 5.0) == pytest.approx(np.array([[0, 0, 0], [3, 0, 0], [3, 2, 0]]))
    assert cut(line, 20.0) is line


# A real vertebra with one leak of each route; S and C of the left meet each other.
ROUTES = (
    RoutePlan("L3", LeakType.BASIVERTEBRAL, Side.LEFT, 0.3, RouteEnd.CANAL, 0.55),
    RoutePlan("L3", LeakType.SEGMENTAL, Side.RIGHT, 0.25, RouteEnd.FRONT, 0.5, 20.0),
    RoutePlan("L3", LeakType.SEGMENTAL, Side.LEFT, 0.2, RouteEnd.FRONT, 0.5, 10.0),
    RoutePlan("L3", LeakType.CORTICAL, Side.LEFT, 0.3, RouteEnd.HERE, 0.55, 22.0),
    RoutePlan(
        "L3", LeakType.DISC, Side.RIGHT, 0.2, RouteEnd.DISC_ABOVE, angle_deg=30.0
    ),
    RoutePlan("L3", LeakType.INSTRUMENT, Side.RIGHT, 0.15, RouteEnd.BEHIND, seed=2),
)
LEVELS = (LevelPlan("L3", "L3", shape_noise_mm=0.0),)
PATIENT = PatientSettings(
    LEVELS,
    pose=Pose((2.0, -3.0, 4.0), (2.0, 1.0, 0.0)),
    vertebroplasties=(CementPlan("L3", 2.5, (0.0, -3.0, 0.0), 2.0),),
    seed=3,
)
MIDDLE = PATIENT.pose.to_table(
    stand(LEVELS, PATIENT.size).vertebrae[0].frame.origin_lps_mm
)
SCAN = QuickScan(
    pixel_mm=0.7,
    rows=160,
    columns=140,
    slice_increment_mm=1.4,
    slice_thickness_mm=1.4,
    slices=44,
    first_mm=(-49.0 + MIDDLE[0], -42.0 + MIDDLE[1], -25.0 + MIDDLE[2]),
    pose=PATIENT.pose,
    patient_axes=True,
    head_first=True,
)


@pytest.fixture(scope="module")
def patient() -> SpinePatient:
    low = SCAN.first_mm[2]
    return lay_patient(PATIENT, (low, low + 60.2))


@pytest.fixture(scope="module")
def leaky(patient: SpinePatient) -> LeakyPatient:
    return lay_leaks(patient, ROUTES)


Measured = tuple[tuple[LeakTruth, ...], LeakMasks]


@pytest.fixture(scope="module")
def measured(leaky: LeakyPatient) -> Measured:
    return leak_truth(leaky, SCAN)


@pytest.fixture(scope="module")
def truths(measured: Measured) -> tuple[LeakTruth, ...]:
    return measured[0]


def of(truths: tuple[LeakTruth, ...], *types: str) -> LeakTruth:
    return next(t for t in truths if set(t.types) == set(types) and t.is_leak)


def test_leaks_have_the_volume_that_was_asked_for(
    truths: tuple[LeakTruth, ...],
) -> None:
    assert sorted("".join(sorted(t.types)) for t in truths) == [
        "B",
        "CS",
        "D",
        "I",
        "S",
    ]
    for types, volume in (("B", 0.3), ("S", 0.25), ("D", 0.2), ("I", 0.15)):
        # Shapes are made on cells of 0.6 mm and measured on others.
        assert of(truths, types).volume_ml == pytest.approx(volume, rel=0.05)
    # Where two leaks overlap, cement counts once.
    assert 0.3 < of(truths, "C", "S").volume_ml < 0.5 * 1.02


def test_truth_agrees_with_a_sum_on_the_shapes_own_grid(
    leaky: LeakyPatient, truths: tuple[LeakTruth, ...]
) -> None:
    bone = leaky.patient.bones[0].shape.bone
    for leak, truth in zip(leaky.leaks, truths, strict=True):
        lattice = leak.whole.lattice
        outside = 1.0 - coverage(bone.at(lattice.points_mm()), lattice.spacing_mm)
        share = coverage(leak.whole.values, lattice.spacing_mm) * outside
        volume = float(share.sum()) * lattice.voxel_ml
        assert truth.volume_ml == pytest.approx(volume, rel=0.05)


def test_the_mask_belongs_to_the_volume(measured: Measured) -> None:
    truths, masks = measured
    voxel_ml = masks.leaks.geometry.voxel_volume_mm3 / 1000.0
    for truth in truths:
        mine = masks.leaks.labels == truth.number
        volume = float(mine.sum()) * voxel_ml
        assert volume == pytest.approx(truth.volume_ml, rel=0.15)
        index = np.argwhere(mine)
        centre = masks.leaks.geometry.index_to_lps(index).mean(axis=0)
        assert centre == pytest.approx(np.array(truth.centroid_lps_mm), abs=0.6)
    epidural = of(truths, "B")
    inside = masks.canal.voxels & (masks.leaks.labels == epidural.number)
    assert inside.sum() > 0.6 * (masks.leaks.labels == epidural.number).sum()
    # The worst slice, counted in voxels.
    areas = inside.sum(axis=(1, 2)) / np.maximum(masks.canal.voxels.sum(axis=(1, 2)), 1)
    worst = epidural.worst_slice
    assert 100.0 * areas[worst] == pytest.approx(
        epidural.canal_encroachment_percent, abs=3.0
    )
    assert areas[worst] >= areas.max() - 0.03
    depth = inside[worst].sum(axis=0).max() * SCAN.pixel_mm
    assert depth == pytest.approx(epidural.canal_depth_mm, abs=1.0)


@dataclass(frozen=True)
class Expected:
    """Where a route has to end."""

    types: tuple[str, ...]
    place: str
    encroaches: bool


EXPECTED = (
    Expected(("B",), "epidural", True),
    Expected(("S",), "paravertebral_right", False),
    Expected(("C", "S"), "paravertebral_left", False),
    Expected(("D",), "disc_superior", False),
    Expected(("I",), "needle_track", False),
)


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda e: "".join(e.types))
def test_routes_end_where_they_should(
    expected: Expected, truths: tuple[LeakTruth, ...]
) -> None:
    truth = of(truths, *expected.types)
    assert truth.locations[0] == expected.place
    assert set(truth.certain_locations) <= set(truth.locations)
    assert set(truth.locations) <= set(truth.possible_locations)
    assert (truth.canal_encroachment_percent > 2.0) == expected.encroaches
    assert truth.max_distance_mm > 1.5


def test_exits_lie_where_the_definitions_say(
    leaky: LeakyPatient, truths: tuple[LeakTruth, ...]
) -> None:
    shape = leaky.patient.bones[0].shape
    exits = {
        "".join(t.types): shape.frame.to_local_mm(leak.paths[0].exit_mm)
        for leak, t in zip(leaky.leaks, truths, strict=True)
    }
    assert abs(exits["B"][0]) < 4.0
    assert exits["B"][1] > 8.0
    assert of(truths, "B").exit_height == pytest.approx(0.55, abs=0.08)
    assert exits["S"][0] < -15.0
    assert of(truths, "S").exit_height == pytest.approx(0.5, abs=0.08)
    assert exits["D"][2] > 8.0
    assert exits["I"][1] > 25.0


def test_cement_that_abuts_is_no_leak(patient: SpinePatient) -> None:
    lumps = tuple(
        AbutPlan("L3", direction, 4.0, 0.2)
        for direction in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.1), (0.0, -0.3, 1.0))
    )
    pressed = lay_leaks(patient, (), lumps)
    truths, masks = leak_truth(pressed, SCAN)
    assert truths == ()
    assert not masks.leaks.labels.any()
    field = pressed.patient.cements[0].cement
    inside = field.lattice.points_mm()[field.values < 0]
    depth = pressed.patient.bones[0].shape.body.at(inside)
    assert -0.5 < depth.max() <= -0.2 + 1e-3
    before = patient.cements[0].cement.values
    assert (field.values < 0).sum() > (before < 0).sum()


def test_a_level_without_cement_cannot_leak(patient: SpinePatient) -> None:
    plan = RoutePlan("L2", LeakType.DISC, Side.LEFT, 0.1, RouteEnd.DISC_ABOVE)
    with pytest.raises(ConfigError, match="no cement in L2"):
        lay_leaks(patient, (plan,))


def test_a_scene_is_bright_where_it_leaks_and_survives_its_files(
    tmp_path: Path, leaky: LeakyPatient
) -> None:
    pytest.importorskip("SimpleITK")
    coarse = QuickScan(
        pixel_mm=1.2,
        rows=94,
        columns=80,
        slice_increment_mm=2.4,
        slice_thickness_mm=2.4,
        slices=25,
        first_mm=SCAN.first_mm,
        pose=SCAN.pose,
    )
    case = LeakCase(7, LeakFamily.COMBINED, ("L3",), PATIENT, coarse, ROUTES)
    scene = make_leak_scene(case, leaky)
    assert scene.name == "l007"
    for leak in scene.truth["leaks"]:
        mine = scene.masks.leaks.labels == leak["number"]
        assert np.median(scene.ct.hu[mine]) > 1000
    known = next(v for v in scene.truth["vertebrae"] if v["level"] == "L3")
    total = sum(leak["volume_ml"] for leak in scene.truth["leaks"])
    assert known["leaked_ml"] == pytest.approx(total, abs=0.01)
    write_leak_scene(scene, tmp_path / scene.name)
    again: LeakScene = read_leak_scene(tmp_path / scene.name)
    assert again.truth == scene.truth
    assert np.array_equal(again.masks.leaks.labels, scene.masks.leaks.labels)
    assert np.array_equal(again.masks.canal.voxels, scene.masks.canal.voxels)


CASES = {seed: draw_leak_case(seed) for seed in range(48)}


def test_a_seed_is_a_case() -> None:
    for seed in (3, 10, 17):
        assert draw_leak_case(seed) == CASES[seed]
    assert {c.family for c in CASES.values()} == set(LeakFamily)


def test_the_draw_stays_within_its_limits() -> None:
    for case in CASES.values():
        assert bool(case.routes) != case.family.trap
        assert case.family.metal <= bool(case.patient.screws)
        levels = {c.level for c in case.patient.vertebroplasties}
        levels |= {s.level for s in case.patient.screws if s.cement_ml > 0}
        for route in case.routes:
            assert SMALLEST_ML <= route.volume_ml <= LARGEST_ML
            assert route.level in levels
            assert route.level in case.targets
        assert not case.patient.leaks


def test_the_draw_covers_what_is_asked_of_it() -> None:
    routes = [r for c in CASES.values() for r in c.routes]
    kinds = Counter(r.leak_type for r in routes)
    assert min(kinds[t] for t in LeakType) >= 8
    assert {r.end for r in routes} == set(RouteEnd)
    for leak_type in LeakType:
        assert {r.side for r in routes if r.leak_type is leak_type} == set(Side)
    assert {r.level[0] for r in routes} == {"T", "L"}
    volumes = [r.volume_ml for r in routes]
    assert min(volumes) < 0.05
    assert max(volumes) > 0.9
    cases = list(CASES.values())
    assert {c.scan.kvp for c in cases} == {80, 100, 120, 140}
    assert min(c.scan.slice_thickness_mm for c in cases) <= 0.75
    assert max(c.scan.slice_thickness_mm for c in cases) == 2.5
    assert len({c.patient.metal for c in cases if c.patient.screws}) == 2
    assert any(c.patient.zirconia_fraction for c in cases)
    broken = {p.name for c in cases for p in c.patient.levels if p.collapse}
    assert broken & {r.level for r in routes}
    traps = [c for c in cases if c.family.trap]
    assert any(c.abutting for c in traps)
    assert any(c.epidural_contrast_hu for c in traps)
    assert any(s.tip_margin_mm < 0 for c in traps for s in c.patient.screws)
    assert any(p.osteophyte_mm > 2 for c in traps for p in c.patient.levels)
    assert any(c.patient.tracks for c in traps)
