"""Simulated spines: shapes against geometry, truth against the scan, and the draw."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from cemscope.anatomy import VertebraLevel
from cemscope.testing.quick_scanner import QuickScan
from cemscope.testing.scalar_field import Pose
from cemscope.testing.scanner_settings import Kernel
from cemscope.testing.spine_atlas import STORED_LEVELS, sacral_base, stored_vertebrae
from cemscope.testing.spine_bones import BoneQuality, bone_fields
from cemscope.testing.spine_case import LARGEST_SCAN_VOXELS, SpineCase, draw_case
from cemscope.testing.spine_draw import Family, Transition
from cemscope.testing.spine_patient import PatientSettings, lay_patient
from cemscope.testing.spine_posture import (
    Collapse,
    LevelPlan,
    PersonSize,
    StandingVertebra,
    stand,
)
from cemscope.testing.spine_scene import SpineScene, make_scene, write_scene
from cemscope.testing.spine_truth import label_map, spine_truth
from cemscope.testing.tissue_layers import tube_fields

LUMBAR = ("L1", "L2", "L3", "L4", "L5")


def plans(**changes: object) -> tuple[LevelPlan, ...]:
    """L1-L5 without shape noise; ``changes`` are for L3."""
    levels = [LevelPlan(n, n, shape_noise_mm=0.0) for n in LUMBAR]
    levels[2] = replace(levels[2], **changes)  # type: ignore[arg-type]
    return tuple(levels)


def standing(level: LevelPlan, size: PersonSize | None = None) -> StandingVertebra:
    spine = stand((level,), size or PersonSize())
    return spine.vertebrae[0]


def body_ml(level: LevelPlan, size: PersonSize | None = None) -> float:
    fields = bone_fields(standing(level, size), Pose(), BoneQuality())
    return fields.shape.body_volume_ml


L3 = LevelPlan("L3", "L3", shape_noise_mm=0.0)


def test_atlas_has_all_levels_with_growing_bodies() -> None:
    shapes = stored_vertebrae()
    assert tuple(shapes) == STORED_LEVELS
    volumes = [float((shapes[n].body < 0).sum()) / 1000 for n in STORED_LEVELS]
    assert volumes[0] < 0.5 * volumes[-1]
    assert all(np.allclose(s.axes @ s.axes.T, np.eye(3)) for s in shapes.values())
    assert np.linalg.det(sacral_base().l5_axes) == pytest.approx(1.0)


def test_body_volume_is_that_of_the_stored_shape() -> None:
    shape = stored_vertebrae()["L3"]
    soft = np.clip(0.5 - shape.body, 0.0, 1.0).sum() / 1000.0
    expected = float(soft * np.prod(sacral_base().size))
    assert body_ml(L3) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("factor", [0.82, 1.12])
def test_volume_grows_with_the_person(factor: float) -> None:
    ratio = body_ml(L3, PersonSize(factor, factor, factor)) / body_ml(L3)
    assert ratio == pytest.approx(factor**3, rel=0.02)


@dataclass(frozen=True)
class CollapseCase:
    kind: str
    loss: float
    lost_volume: tuple[float, float]
    """A wedge loses about half of `loss`, a crush all of it, a lens about 0.4."""


@pytest.mark.parametrize(
    "case",
    [
        CollapseCase("wedge", 0.5, (0.17, 0.33)),
        CollapseCase("biconcave", 0.5, (0.13, 0.33)),
        CollapseCase("crush", 0.4, (0.30, 0.42)),
    ],
    ids=lambda c: c.kind,
)
def test_collapse_takes_volume_and_leaves_the_arch(case: CollapseCase) -> None:
    broken = replace(L3, collapse=Collapse(case.kind, case.loss))
    fields = [bone_fields(standing(p), Pose(), BoneQuality()) for p in (L3, broken)]
    whole, hurt = (f.shape.body_volume_ml for f in fields)
    low, high = case.lost_volume
    assert low < 1.0 - hurt / whole < high
    arch = [
        ((f.shape.bone.values < 0) & (f.shape.body.values > 3)).sum() for f in fields
    ]
    assert arch[1] == pytest.approx(arch[0], rel=0.12)


def test_unknown_collapse_is_refused() -> None:
    with pytest.raises(ValueError, match="wedge"):
        body_ml(replace(L3, collapse=Collapse("dented", 0.3)))


def test_two_persons_have_different_shapes() -> None:
    first, second = (
        bone_fields(
            standing(LevelPlan("L3", "L3", shape_noise_mm=0.8, seed=s)),
            Pose(),
            BoneQuality(),
        ).shape.body
        for s in (1, 2)
    )
    edge = np.abs(first.values) < 0.4
    apart = np.abs(second.at(first.lattice.points_mm()[edge]))
    assert 0.3 < apart.mean() < 1.6


def test_disc_height_is_added_exactly() -> None:
    def gap(change: float) -> float:
        spine = stand(plans(disc_change_mm=change), PersonSize()).vertebrae
        upper, lower = spine[2], spine[3]
        across = upper.lower_endplate_mm - lower.upper_endplate_mm
        return float(across @ upper.frame.superior)

    assert gap(3.0) - gap(0.0) == pytest.approx(3.0, abs=0.02)


@pytest.mark.parametrize(
    ("change", "axis", "sign"),
    [("flexion_deg", 1, -1.0), ("bending_deg", 0, 1.0)],
)
def test_joints_turn_the_way_they_say(change: str, axis: int, sign: float) -> None:
    straight = stand(plans(), PersonSize()).vertebrae[0].frame
    bent = stand(plans(**{change: 8.0}), PersonSize()).vertebrae[0].frame
    assert sign * (bent.superior - straight.superior)[axis] > 0.1
    turn = np.degrees(np.arccos(np.clip(bent.superior @ straight.superior, -1, 1)))
    assert turn == pytest.approx(8.0, abs=1.5)


def test_tube_has_the_volume_of_a_capsule() -> None:
    line = np.array([[0.0, 0.0, z] for z in (0.0, 10.0, 20.0, 30.0)])
    (tube,) = tube_fields(line, [5.0] * 4, (-100.0, 100.0))
    volume = np.clip(0.5 - tube.values, 0, 1).sum() * tube.lattice.spacing_mm**3
    exact = np.pi * 25.0 * 30.0 + 4.0 / 3.0 * np.pi * 125.0
    assert volume == pytest.approx(exact, rel=0.01)
    assert tube_fields(line, [5.0] * 4, (50.0, 60.0)) == ()


def still(family_seed: int) -> SpineCase:
    """A drawn case, cut down to a few thick slices."""
    case = draw_case(family_seed)
    scan = case.scan
    step = 8.0
    x, y, z = scan.first_mm
    middle = z + 0.5 * (scan.slices - 1) * scan.slice_increment_mm - step
    field = scan.pixel_mm * scan.columns
    small = replace(
        scan, slices=3, slice_increment_mm=step, slice_thickness_mm=3.0,
        first_mm=(x, y, middle),
        pixel_mm=2.0, rows=int(field / 2), columns=int(field / 2),
    )  # fmt: skip
    return replace(case, scan=small)


@pytest.fixture(scope="module")
def lumbar_scene() -> SpineScene:
    """L3 and L4, free of noise, finely sampled."""
    levels = tuple(
        LevelPlan(n, n, shape_noise_mm=0.5, seed=i) for i, n in enumerate(LUMBAR)
    )
    patient = PatientSettings(
        levels, pose=Pose((2.0, -3.0, 4.0)), trabecular_share=0.08
    )
    scan = QuickScan(
        pixel_mm=0.8, rows=120, columns=110, slice_increment_mm=1.0, slices=66,
        first_mm=(-45.0, -40.0, -58.0), noise_hu=0.0, kernel=Kernel.STANDARD,
        patient_axes=True, head_first=True, pose=patient.pose,
    )  # fmt: skip
    return make_scene(SpineCase(0, Family.LUMBAR, Transition.NONE, patient, scan, ""))


def test_labels_have_the_true_volume(lumbar_scene: SpineScene) -> None:
    whole = [v for v in lumbar_scene.truth.vertebrae if v.whole_in_view]
    assert {v.level for v in whole} >= {"L4"}
    for v in whole:
        mask = lumbar_scene.labels.mask(VertebraLevel(v.level).number)
        assert mask.volume_ml == pytest.approx(v.body_volume_ml, rel=0.02)


def test_centroids_are_in_the_coordinates_of_the_scan(lumbar_scene: SpineScene) -> None:
    for v in lumbar_scene.truth.vertebrae:
        if not v.whole_in_view:
            continue
        where = np.argwhere(lumbar_scene.labels.labels == VertebraLevel(v.level).number)
        centre = lumbar_scene.labels.geometry.index_to_lps(where).mean(axis=0)
        assert np.linalg.norm(centre - v.centroid_lps_mm) < 0.5


def test_cut_bodies_are_told(lumbar_scene: SpineScene) -> None:
    shares = {v.level: v.share_in_view for v in lumbar_scene.truth.vertebrae}
    assert len(shares) >= 2
    cut = [v for v in lumbar_scene.truth.vertebrae if not v.whole_in_view]
    assert cut
    assert all(v.share_in_view < 1.0 for v in cut)


def test_marrow_and_cortex_have_their_density(lumbar_scene: SpineScene) -> None:
    from scipy import ndimage

    body = lumbar_scene.labels.labels == VertebraLevel("L4").number
    spacing = lumbar_scene.ct.spacing_mm
    depth = ndimage.distance_transform_edt(body, sampling=spacing)
    marrow = float(np.median(lumbar_scene.ct.hu[depth > 6.0]))
    # 0.08 compact bone at 1618 HU, the rest marrow at -20 HU.
    assert marrow == pytest.approx(0.08 * 1618 - 0.92 * 20, abs=20)
    shell = lumbar_scene.ct.hu[(depth > 0) & (depth < 1.0)]
    assert np.median(shell) > marrow + 120


def test_truth_ends_at_the_outer_surface_of_the_cortex(
    lumbar_scene: SpineScene,
) -> None:
    """A thin cortex has its ridge just inside the truth and half of it outside."""
    from scipy import ndimage

    body = lumbar_scene.labels.labels == VertebraLevel("L4").number
    other = (lumbar_scene.labels.labels > 0) & ~body
    spacing = lumbar_scene.ct.spacing_mm
    distance = ndimage.distance_transform_edt(~body, sampling=spacing)
    distance -= ndimage.distance_transform_edt(body, sampling=spacing)
    away = ndimage.distance_transform_edt(~other, sampling=spacing) > 6.0
    middle = np.zeros_like(body)
    slices = np.flatnonzero(body.any(axis=(1, 2)))
    middle[slices[len(slices) // 3] : slices[2 * len(slices) // 3]] = True
    hu = lumbar_scene.ct.hu

    def level(low: float, high: float) -> float:
        return float(np.mean(hu[away & middle & (distance >= low) & (distance < high)]))

    ridge = level(-1.0, 0.0)
    assert ridge > level(-3.0, -2.0) + 60
    assert ridge > level(0.9, 1.8) + 100
    assert level(1.8, 3.0) < 110  # soft tissue


@pytest.mark.parametrize("digit", [6])
def test_other_families_build(digit: int) -> None:
    case = still(digit)
    scene = make_scene(case)
    assert scene.ct.hu.shape == scene.labels.labels.shape
    assert scene.truth.vertebrae
    names = {v.level for v in scene.truth.vertebrae}
    assert names <= {p.name for p in case.patient.levels}


def test_variants_have_their_levels() -> None:
    seen = {}
    for seed in range(3, 200, 10):
        case = draw_case(seed)
        seen.setdefault(case.transition, case)
        if len(seen) == 4:
            break
    assert set(seen) == set(Transition) - {Transition.NONE}
    names = {t: [p.name for p in c.patient.levels] for t, c in seen.items()}
    ribs = {t: sum(p.ribs_mm > 0 for p in c.patient.levels) for t, c in seen.items()}
    assert "L6" in names[Transition.SIX_LUMBAR]
    assert "T13" in names[Transition.THIRTEEN_RIBS]
    assert ribs[Transition.THIRTEEN_RIBS] == ribs[Transition.SIX_LUMBAR] + 1
    assert ribs[Transition.ELEVEN_RIBS] == ribs[Transition.SIX_LUMBAR] - 1
    assert seen[Transition.SACRALISED].patient.sacralised


def test_sacralised_level_is_fused_to_the_sacrum() -> None:
    loose = PatientSettings(plans())
    fused = replace(loose, sacralised=True)
    scan = QuickScan(
        pixel_mm=1.5, rows=80, columns=80, slice_increment_mm=3.0,
        slice_thickness_mm=3.0, slices=14, first_mm=(-60.0, -20.0, -110.0),
        noise_hu=0.0,
    )  # fmt: skip
    reach = (-110.0, -70.0)
    shares = [
        lay_patient(p, reach).fractions(scan.voxels).compact.sum()
        for p in (loose, fused)
    ]
    assert shares[1] > 1.05 * shares[0]


def test_draws_are_repeatable_and_small_enough() -> None:
    for seed in (0, 7, 104, 108):
        case = draw_case(seed)
        assert case == draw_case(seed)
        scan = case.scan
        assert scan.slices * scan.rows * scan.columns < 1.1 * LARGEST_SCAN_VOXELS
        assert case.family is list(Family)[seed % 10]
    assert draw_case(0) != draw_case(10)


def test_files_hold_the_scene(lumbar_scene: SpineScene, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    write_scene(lumbar_scene, tmp_path)
    image = sitk.ReadImage(str(tmp_path / "ct.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image), lumbar_scene.ct.hu)
    corner = image.TransformIndexToPhysicalPoint((5, 7, 11))
    expected = lumbar_scene.ct.geometry.index_to_lps([11, 7, 5])
    assert np.allclose(corner, expected, atol=1e-3)
    record = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))
    assert {v["level"] for v in record["vertebrae"]} >= {"L3", "L4"}


def test_truth_knows_the_cement() -> None:
    from cemscope.testing.lumbar_cement import CementPlan

    cement = CementPlan("L3", 2.0, (4.0, -5.0, 0.0))
    patient = lay_patient(
        PatientSettings(plans(), vertebroplasties=(cement,)), (-20.0, 20.0)
    )
    scan = QuickScan(slices=20, slice_increment_mm=2.0, first_mm=(-93.0, -73.0, -20.0))
    truth = {v.level: v for v in spine_truth(patient, scan).vertebrae}
    assert truth["L3"].intrabody_ml == pytest.approx(2.0, rel=0.05)
    assert truth["L3"].leaked_ml < 0.1
    assert label_map(patient, scan).names[VertebraLevel("L3").number] == "L3"
