"""Cement scenes: the draw, shapes against geometry, and truth against the scan."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from cemscope.anatomy import VertebraLevel
from cemscope.findings import LeakType, Side
from cemscope.spine import VertebraFrame
from cemscope.testing.beam_table import Substance
from cemscope.testing.cement_case import (
    LARGEST_SCAN_VOXELS,
    CementCase,
    draw_cement_case,
)
from cemscope.testing.cement_draw import CementFamily
from cemscope.testing.cement_scene import (
    CementScene,
    make_cement_scene,
    read_cement_scene,
    write_cement_scene,
)
from cemscope.testing.cement_track import (
    TRACK_WALL_MM,
    IslandPlan,
    TrackPlan,
    add_tracks,
    island_layer,
)
from cemscope.testing.lumbar_anatomy import FAR_MM, VertebraShape
from cemscope.testing.lumbar_cement import (
    CementPlan,
    LeakPlan,
    LevelCement,
    place_cement,
)
from cemscope.testing.lumbar_implants import PlacedScrew, ScrewPlan
from cemscope.testing.quick_scanner import QuickScan
from cemscope.testing.scalar_field import Lattice, Pose, ScalarField, coverage
from cemscope.testing.scanner_settings import Kernel, ScannerSettings
from cemscope.testing.spine_full_scan import full_scan
from cemscope.testing.spine_patient import PatientSettings, SpinePatient, lay_patient
from cemscope.testing.spine_posture import LevelPlan, stand
from cemscope.testing.spine_truth import spine_truth

LEVELS = tuple(LevelPlan(n, n, shape_noise_mm=0.0) for n in ("L3", "L4"))
PATIENT = PatientSettings(
    LEVELS,
    pose=Pose((3.0, -4.0, 5.0), (2.0, 1.0, 0.0)),
    screws=(
        ScrewPlan("L3", Side.LEFT, 6.0, 45.0, cement_ml=1.2),
        ScrewPlan("L3", Side.RIGHT, 6.0, 45.0, cement_ml=0.0),
    ),
    leaks=(LeakPlan("L3", LeakType.SEGMENTAL, Side.LEFT, 0.2),),
    tracks=(TrackPlan("L3", Side.LEFT, 4.2, 30.0, 8.0),),
    islands=(IslandPlan("L3", (0.0, -12.0, 7.0), (3.0, 3.0, 3.0), 0.7),),
    rods=False,
    seed=3,
)
MIDDLE = PATIENT.pose.to_table(
    stand(LEVELS, PATIENT.size).vertebrae[0].frame.origin_lps_mm
)
SCAN = QuickScan(
    pixel_mm=1.0,
    rows=112,
    columns=112,
    slice_increment_mm=1.5,
    slice_thickness_mm=1.5,
    slices=36,
    first_mm=(-55.0 + MIDDLE[0], -42.0 + MIDDLE[1], -27.0 + MIDDLE[2]),
    pose=PATIENT.pose,
    patient_axes=True,
    head_first=True,
    noise_hu=0.0,
    photons=0.0,
    ceiling_hu=30000,
    aperture_mm=0.5,
)


@pytest.fixture(scope="module")
def patient() -> SpinePatient:
    return lay_patient(PATIENT, (SCAN.first_mm[2], SCAN.first_mm[2] + 52.5))


@pytest.fixture(scope="module")
def scene(patient: SpinePatient) -> CementScene:
    case = CementCase(0, CementFamily.SCREWS, ("L3",), PATIENT, SCAN)
    return make_cement_scene(case, patient)


def known(scene: CementScene, level: str) -> dict[str, float]:
    return next(v for v in scene.truth["vertebrae"] if v["level"] == level)


def test_truth_agrees_with_a_sum_on_another_grid(
    scene: CementScene, patient: SpinePatient
) -> None:
    mine = known(scene, "L3")
    other = spine_truth(patient, SCAN).vertebrae
    l3 = next(v for v in other if v.level == "L3")
    assert mine["intrabody_ml"] == pytest.approx(l3.intrabody_ml, rel=0.03)
    total = mine["intrabody_ml"] + mine["pedicle_ml"] + mine["leaked_ml"]
    assert mine["cement_ml"] == pytest.approx(total, abs=2e-4)
    assert mine["cement_ml"] == pytest.approx(l3.intrabody_ml + l3.leaked_ml, rel=0.03)
    assert mine["leaked_ml"] == pytest.approx(0.2, abs=0.04)
    assert mine["pedicle_ml"] > 0.1


def test_mask_belongs_to_the_volume_and_to_its_level(scene: CementScene) -> None:
    number = VertebraLevel("L3").number
    assert set(np.unique(scene.cement.labels)) == {0, number}
    voxel_ml = scene.ct.geometry.voxel_volume_mm3 / 1000.0
    volume = float((scene.cement.labels == number).sum()) * voxel_ml
    # Half-filled voxels of a rough rim cancel only roughly at 1.5 mm slices.
    assert volume == pytest.approx(known(scene, "L3")["cement_ml"], rel=0.12)
    assert not (scene.metal.voxels & (scene.cement.labels > 0)).any()


def test_masks_lie_where_the_scan_is_bright(scene: CementScene) -> None:
    marrow = float(np.median(scene.ct.hu[scene.labels.labels == 22]))
    assert marrow < 200
    assert np.percentile(scene.ct.hu[scene.cement.labels > 0], 10) > 600
    assert np.median(scene.ct.hu[scene.metal.voxels]) > 5000


def test_screws_lie_in_the_metal(scene: CementScene) -> None:
    for screw in scene.truth["screws"]:
        tip, axis = np.array(screw["tip_lps_mm"]), np.array(screw["axis"])
        points = tip - np.arange(4.0, 40.0, 1.0)[:, None] * axis
        index = np.rint(scene.ct.geometry.lps_to_index(points)).astype(int)
        assert all(
            0 <= i < n for j in index for i, n in zip(j, scene.ct.hu.shape, strict=True)
        )
        inside = scene.metal.voxels[tuple(index.T)]
        assert inside.mean() > 0.95
        beyond = scene.ct.geometry.lps_to_index(tip + 3.0 * axis)
        assert not scene.metal.voxels[tuple(np.rint(beyond).astype(int))]
        left = axis @ np.array(known(scene, "L3")["left"])
        assert (left < 0) == (screw["side"] == "left")


def test_spine_is_the_truth(scene: CementScene) -> None:
    spine = scene.spine()
    l3 = spine.vertebra("L3")
    body = scene.labels.labels == l3.level.number
    centre = scene.ct.geometry.index_to_lps(np.argwhere(body).mean(axis=0))
    assert np.linalg.norm(centre - l3.centroid_lps_mm) < 0.5
    volume = float(body.sum()) * scene.ct.geometry.voxel_volume_mm3 / 1000.0
    assert volume == pytest.approx(l3.body_volume_ml, rel=0.02)
    assert l3.complete


def test_files_hold_the_scene(scene: CementScene, tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    write_cement_scene(scene, tmp_path / "x")
    again = read_cement_scene(tmp_path / "x")
    assert np.array_equal(again.ct.hu, scene.ct.hu)
    assert np.array_equal(again.cement.labels, scene.cement.labels)
    assert np.array_equal(again.metal.voxels, scene.metal.voxels)
    assert np.allclose(
        again.ct.geometry.affine_lps, scene.ct.geometry.affine_lps, atol=1e-4
    )
    assert [v.level for v in again.spine().vertebrae] == [
        v.level for v in scene.spine().vertebrae
    ]


def test_full_scanner_sees_the_same(scene: CementScene, patient: SpinePatient) -> None:
    pytest.importorskip("spekpy")
    pytest.importorskip("xraydb")
    used = np.flatnonzero((scene.cement.labels[::-1] > 0).any(axis=(1, 2)))
    k = int(used[len(used) // 2])
    x, y, z = SCAN.first_mm
    part = replace(SCAN, first_mm=(x, y, z + k * 1.5), slices=1, kernel=Kernel.STANDARD)
    coarse = ScannerSettings(views=160, bin_mm=1.0, subslice_mm=0.75)
    full = full_scan(patient, part, coarse).hu[0].astype(float)
    quick = scene.ct.hu[::-1][k].astype(float)
    cement = scene.cement.labels[::-1][k] > 0
    bone = scene.labels.labels[::-1][k] > 0
    assert full[cement].mean() == pytest.approx(quick[cement].mean(), rel=0.12)
    rest = ~cement & ~scene.metal.voxels[::-1][k]
    assert abs(np.median((full - quick)[rest & ~bone])) < 15
    assert np.corrcoef(full.ravel(), quick.ravel())[0, 1] > 0.97


# Shapes ---------------------------------------------------------------------------

AXES = (np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), np.array([0, 0, 1.0]))
BALL = Lattice.around(np.full(3, -30.0), np.full(3, 30.0), 1.0)
RADIUS = np.linalg.norm(BALL.points_mm(), axis=-1).astype(np.float32)
BONE = VertebraShape(
    VertebraLevel("L3"),
    ScalarField(RADIUS - np.float32(28.0), BALL, FAR_MM),
    ScalarField(RADIUS - np.float32(12.0), BALL, FAR_MM),
    VertebraFrame(np.zeros(3), *AXES),
    7.0,
)


def screw_along_y() -> PlacedScrew:
    tip, head = np.array([5.0, -8.0, 1.0]), np.array([5.0, 40.0, 1.0])
    return PlacedScrew(ScrewPlan("L3", Side.LEFT), head, tip, tip, 1.0)


def test_track_is_a_rough_capsule_behind_the_tip() -> None:
    lattice = Lattice.around(np.full(3, -6.0), np.full(3, 6.0), 0.6)
    empty = ScalarField(np.full(lattice.shape, FAR_MM, np.float32), lattice, FAR_MM)
    plan = TrackPlan("L3", Side.LEFT, 3.0, 20.0, 5.0)
    grown = add_tracks(
        LevelCement("L3", empty, ()), BONE, [(plan, screw_along_y())], 1
    ).cement
    share = coverage(grown.values, grown.lattice.spacing_mm)
    volume = float(share.sum()) * grown.lattice.voxel_ml
    # Capsule with a rough surface: the mean of (r + n)^2 is r^2 + sd^2.
    capsule = (np.pi * (9.0 + 0.25) * 20.0 + 4 / 3 * np.pi * 27.0) / 1000.0
    assert volume == pytest.approx(capsule, rel=0.1)
    points = grown.lattice.points_mm()[share > 0.5]
    assert abs(points[:, 1].mean() - (-8.0 + 5.0 + 10.0)) < 0.6
    assert np.abs(points[:, [0, 2]].mean(axis=0) - [5.0, 1.0]).max() < 0.4
    # Nodes of the grown lattice still lie on the old ones.
    shift = (np.array(grown.lattice.origin_mm) - lattice.origin_mm) / 0.6
    assert np.allclose(shift, np.rint(shift))


def test_track_stays_in_the_bone() -> None:
    lattice = Lattice.around(np.full(3, -6.0), np.full(3, 6.0), 0.6)
    empty = ScalarField(np.full(lattice.shape, FAR_MM, np.float32), lattice, FAR_MM)
    plan = TrackPlan("L3", Side.LEFT, 3.0, 60.0)
    grown = add_tracks(
        LevelCement("L3", empty, ()), BONE, [(plan, screw_along_y())], 1
    ).cement
    inside = grown.lattice.points_mm()[grown.values < -0.2]
    assert np.linalg.norm(inside, axis=1).max() < 28.0 - TRACK_WALL_MM + 0.3


@pytest.mark.parametrize("half", [(3.0, 3.0, 3.0), (2.0, 4.0, 5.0)])
def test_island_has_the_volume_of_its_ellipsoid(
    half: tuple[float, float, float],
) -> None:
    layer = island_layer(IslandPlan("L3", (1.0, -2.0, 3.0), half), BONE)
    share = coverage(layer.field.values, layer.field.lattice.spacing_mm)
    volume = float(share.sum()) * layer.field.lattice.voxel_ml
    expected = 4 / 3 * np.pi * np.prod(half) / 1000.0
    assert volume == pytest.approx(expected, rel=0.04)
    centre = layer.field.lattice.points_mm()[share > 0.5].mean(axis=0)
    assert np.allclose(centre, [1.0, -2.0, 3.0], atol=0.2)
    assert layer.tissue.compact + layer.tissue.marrow == pytest.approx(1.0)


@dataclass(frozen=True)
class MissCase:
    offset_mm: tuple[float, float]
    turn_deg: tuple[float, float]


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    "case", [MissCase((3.0, 0.0), (0.0, 0.0)), MissCase((0.0, -1.0), (6.0, -4.0))]
)
def test_missed_screw_differs_from_the_best_as_asked(
    case: MissCase, side: Side, patient: SpinePatient
) -> None:
    from cemscope.testing.lumbar_implants import place_screw

    shape = next(b.shape for b in patient.bones if b.name == "L3")
    plan = ScrewPlan("L3", side, 6.0, 45.0)
    best = place_screw(plan, shape)
    missed = place_screw(
        replace(plan, offset_mm=case.offset_mm, turn_deg=case.turn_deg), shape
    )
    sign = 1.0 if side is Side.LEFT else -1.0
    frame = shape.frame
    turned = np.degrees(np.arccos(np.clip(best.axis @ missed.axis, -1, 1)))
    assert turned == pytest.approx(np.hypot(*case.turn_deg), abs=0.8)
    if case.turn_deg == (0.0, 0.0):
        moved = missed.tip_mm - best.tip_mm
        assert moved @ frame.left == pytest.approx(sign * case.offset_mm[0], abs=0.2)
        assert missed.pedicle_clearance_mm < best.pedicle_clearance_mm
    else:
        inwards = -sign * (missed.axis - best.axis) @ frame.left
        assert inwards > 0.05


def test_disc_leak_runs_over_the_upper_endplate(patient: SpinePatient) -> None:
    shape = next(b.shape for b in patient.bones if b.name == "L3")
    plan = LeakPlan("L3", LeakType.DISC, Side.RIGHT, 0.3)
    cloud = CementPlan("L3", 1.0, (-5.0, -5.0, 2.0))
    leak = place_cement(shape, [cloud], [plan], (), 1, 0.6).leaks[0].whole
    points = leak.lattice.points_mm()
    outside = (leak.values < -0.2) & (shape.body.at(points) > 0.3)
    local = shape.frame.to_local_mm(points[outside])
    assert local[:, 2].min() > 5.0
    volume = float(
        (coverage(leak.values, 0.6) * (1 - coverage(shape.body.at(points), 0.6))).sum()
    )
    assert volume * leak.lattice.voxel_ml == pytest.approx(0.3, rel=0.05)


# The draw -------------------------------------------------------------------------

CASES = {seed: draw_cement_case(seed) for seed in range(40)}


def test_same_seed_same_case() -> None:
    assert draw_cement_case(7) == CASES[7]
    assert draw_cement_case(7) != draw_cement_case(17)


def test_families_are_what_they_say() -> None:
    for seed, case in CASES.items():
        patient, scan = case.patient, case.scan
        assert scan.slices * scan.rows * scan.columns <= 1.02 * LARGEST_SCAN_VOXELS
        assert set(case.targets) <= {"T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5"}
        assert (scan.slice_thickness_mm >= 2.0) == case.family.thick
        trap = case.family is CementFamily.TRAP
        cement = len(patient.vertebroplasties)
        cement += sum(s.cement_ml > 0 for s in patient.screws)
        assert (cement == 0) == trap, seed
        if not trap:
            assert bool(patient.screws) == case.family.metal
        used = {c.level for c in patient.vertebroplasties}
        used |= {s.level for s in patient.screws} | {i.level for i in patient.islands}
        assert used <= set(case.targets)
        assert {k.level for k in patient.leaks + patient.tracks} <= used
        opacifier = patient.barium_sulfate_fraction + patient.zirconia_fraction
        assert 0.1 <= opacifier <= 0.3
        share = 1640.0 * patient.trabecular_share - 20.0
        assert 39.0 <= share <= 181.0


def test_the_draw_covers_what_issue_and_scanners_have() -> None:
    cases = list(CASES.values())
    assert {c.scan.kvp for c in cases} == {80, 100, 120, 140}
    assert {c.scan.kernel for c in cases} == set(Kernel)
    assert {c.scan.ceiling_hu for c in cases} == {3071, 30710}
    metals = {c.patient.metal for c in cases if c.patient.screws}
    assert metals == {Substance.TITANIUM, Substance.COBALT_CHROME}
    assert any(s.cannulated for c in cases for s in c.patient.screws)
    assert any(s.offset_mm != (0.0, 0.0) for c in cases for s in c.patient.screws)
    assert {k.leak_type for c in cases for k in c.patient.leaks} == {
        LeakType.BASIVERTEBRAL,
        LeakType.SEGMENTAL,
        LeakType.DISC,
    }
    volumes = [p.volume_ml for c in cases for p in c.patient.vertebroplasties]
    assert min(volumes) < 0.6
    assert max(volumes) > 3.0
    assert any(c.patient.contrast_hu >= 250 for c in cases)
    assert any(c.patient.islands for c in cases)
