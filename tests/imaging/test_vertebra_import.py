from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cases.vertebra_labels import BODY_HALF_HEIGHT_MM, Row, dice, level_number
from cemscope.anatomy import VertebraLevel
from cemscope.anatomy_schemes import LabelScheme
from cemscope.errors import LabelMapError
from cemscope.geometry import VoxelGeometry
from cemscope.resampling import resample_labels_nearest
from cemscope.segmentation.labels.vertebra_import import (
    ImportRequest,
    spine_from_labels,
)
from cemscope.spine import LevelAnchor, Spine
from cemscope.volume import LabelMap
from cemscope_pipelines.label_files import read_label_map

AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=float)


def codes(spine: Spine) -> set[str]:
    return {notice.code for notice in spine.notices}


def changed(labels: LabelMap, array: npt.NDArray[np.uint8]) -> LabelMap:
    return LabelMap(array, labels.geometry)


@dataclass(frozen=True)
class Orientation:
    name: str
    directions: npt.NDArray[np.float64] = field(default_factory=lambda: AXIAL)
    turn: Rotation = field(default_factory=Rotation.identity)
    spacing_mm: tuple[float, float, float] = (1.8, 1.5, 1.5)


ORIENTATIONS = (
    Orientation("axial"),
    Orientation("feet first", AXIAL * [[-1], [1], [1]]),
    Orientation("sagittal", AXIAL[[2, 0, 1]] * [[1], [-1], [1]]),
    Orientation(
        "oblique", Rotation.from_euler("xyz", [20, -15, 30], degrees=True).apply(AXIAL)
    ),
    Orientation("scoliosis", turn=Rotation.from_euler("yz", [25, 15], degrees=True)),
    Orientation("thick slices", spacing_mm=(3.0, 0.9, 0.9)),
)


@pytest.mark.parametrize("case", ORIENTATIONS, ids=lambda case: case.name)
def test_body_is_cut_from_the_arch_in_any_orientation(case: Orientation) -> None:
    row = Row(turn=case.turn)
    grid = row.grid(case.spacing_mm, case.directions)
    spine = spine_from_labels(row.labels(grid), grid, ct=row.ct(grid))
    assert [v.level.name for v in spine.vertebrae] == ["L4", "L3", "L2"]
    parts = row.parts(grid)
    for (name, centre, axes), vertebra in zip(
        row.poses(), spine.vertebrae, strict=True
    ):
        body, arch = parts[name]
        found = spine.labels.labels == level_number(name)
        # A shift of the cut by half a millimetre over a body 30 mm deep costs 0.01.
        assert dice(found, body) > 0.96
        assert dice(spine.labels.labels == level_number(name) + 100, arch) > 0.93
        assert np.linalg.norm(vertebra.centroid_lps_mm - centre) < 1.6
        frame = np.array(
            [vertebra.frame.left, vertebra.frame.posterior, vertebra.frame.superior]
        )
        turned_deg = np.degrees(np.arccos(np.clip(np.diag(frame @ axes.T), -1, 1)))
        assert turned_deg.max() < 5.0
        assert vertebra.complete
        assert vertebra.level_confidence == 1.0
        volume_ml = body.sum() * grid.voxel_volume_mm3 / 1000
        assert vertebra.body_volume_ml == pytest.approx(volume_ml, rel=0.06)
    assert spine.notices == ()


def test_canal_is_the_hole_of_the_arch() -> None:
    row = Row(lordosis_deg=0.0)
    grid = row.grid()
    spine = spine_from_labels(row.labels(grid), grid)
    assert spine.canal is not None
    assert not (spine.canal.voxels & (spine.labels.labels > 0)).any()
    # A cylinder of 8 mm radius over three pitches of 35 mm and about 1 mm at each end;
    # the hole is seen on pixels of 1.5 mm, so its radius is uncertain by 1 mm.
    expected_ml = [np.pi * r**2 * 106 / 1000 for r in (7.0, 9.0)]
    assert expected_ml[0] < spine.canal.volume_ml < expected_ml[1]


def test_finer_and_turned_target_grid_keeps_volume_and_outline() -> None:
    row = Row()
    source = row.grid((2.0, 1.5, 1.5))
    oblique = Rotation.from_euler("xyz", [8, 5, -12], degrees=True).apply(AXIAL)
    target = row.grid((1.3, 1.3, 1.3), oblique)
    spine = spine_from_labels(row.labels(source), target, ct=row.ct(target))
    for name, (body, _) in row.parts(target).items():
        assert dice(spine.labels.labels == level_number(name), body) > 0.94


def test_open_ring_takes_the_back_from_its_neighbours() -> None:
    row = Row(open_rings=("L3",))
    grid = row.grid()
    spine = spine_from_labels(row.labels(grid), grid)
    body, _ = row.parts(grid)["L3"]
    assert dice(spine.labels.labels == level_number("L3"), body) > 0.95
    assert spine.vertebra("L3").frame.posterior @ row.poses()[1][2][1] > 0.99
    assert "canal_open" in codes(spine)


@pytest.mark.parametrize("turn_deg", [0.0, 25.0])
def test_single_vertebra_without_neighbours(turn_deg: float) -> None:
    row = Row(("L3",), turn=Rotation.from_euler("x", turn_deg, degrees=True))
    grid = row.grid()
    request = ImportRequest(LabelScheme.VERSE)
    spine = spine_from_labels(row.labels(grid), grid, request)
    body, _ = row.parts(grid)["L3"]
    assert dice(spine.labels.labels == level_number("L3"), body) > 0.95


def test_own_files_come_back_unchanged() -> None:
    row = Row()
    grid = row.grid()
    first = spine_from_labels(row.labels(grid), grid)
    again = spine_from_labels(LabelMap(first.labels.labels, grid), grid)
    assert np.array_equal(first.labels.labels, again.labels.labels)
    assert [v.level for v in again.vertebrae] == [v.level for v in first.vertebrae]
    for a, b in zip(first.vertebrae, again.vertebrae, strict=True):
        assert (
            a.frame.posterior @ b.frame.posterior > 0.999
        )  # the search for the axis starts elsewhere
        assert a.body_volume_ml == b.body_volume_ml


def test_cut_vertebrae_are_incomplete_at_the_edge_of_either_image() -> None:
    row = Row()
    whole = row.grid()
    labels = row.labels(whole)
    top = int(whole.lps_to_index(row.poses()[2][1])[0])
    box = (slice(0, top), slice(None), slice(None))
    small_ct = spine_from_labels(labels, whole.crop(box))
    small_map = spine_from_labels(
        LabelMap(labels.labels[box].copy(), whole.crop(box)), whole
    )
    for spine in (small_ct, small_map):
        assert [v.complete for v in spine.vertebrae] == [True, True, False]
    assert "labels_outside_ct" in codes(small_ct)
    full_ml = small_ct.vertebra("L3").body_volume_ml
    assert small_ct.vertebra("L2").body_volume_ml == pytest.approx(full_ml / 2, rel=0.2)


def test_other_structures_are_left_out() -> None:
    row = Row(("L3", "L2"))
    grid = row.grid()
    labels = row.labels(grid, LabelScheme.TOTALSEGMENTATOR)
    array = labels.labels.copy()
    array[:4, :10, :10] = 5  # liver
    array[:4, -10:, :10] = 110  # a rib: only TotalSegmentator 2 has 117 classes
    spine = spine_from_labels(changed(labels, array), grid)
    assert [v.level.name for v in spine.vertebrae] == ["L3", "L2"]
    assert not spine.labels.labels[:4].any()


def test_cavity_island_and_piece_of_a_neighbour_are_repaired_on_the_record() -> None:
    row = Row()
    grid = row.grid()
    labels = row.labels(grid)
    array = labels.labels.copy()
    centres = {name: grid.lps_to_index(centre) for name, centre, _ in row.poses()}
    z, y, x = np.rint(centres["L3"]).astype(int)
    array[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3] = 0
    z, y, x = np.rint(centres["L4"]).astype(int)
    array[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3] = level_number("L2")
    array[2:6, 2:6, 2:6] = level_number("L3")
    spine = spine_from_labels(changed(labels, array), grid)
    assert codes(spine) == {
        "label_holes_filled",
        "labels_mixed",
        "label_islands_removed",
    }
    cube_ml = 5**3 * grid.voxel_volume_mm3 / 1000
    message = next(n.message for n in spine.notices if n.code == "labels_mixed")
    assert f"{cube_ml:.2f} mL" in message
    clean = spine_from_labels(labels, grid)
    assert np.array_equal(spine.labels.labels, clean.labels.labels)


def test_half_a_body_under_the_wrong_name_casts_doubt() -> None:
    row = Row()
    grid = row.grid()
    labels = row.labels(grid)
    array = labels.labels.copy()
    half = int(grid.lps_to_index(row.poses()[1][1])[2])
    wrong = array == level_number("L3")
    wrong[:, :, :half] = False
    array[wrong] = level_number("L4")
    spine = spine_from_labels(changed(labels, array), grid)
    assert "labels_mixed" in codes(spine) or "bodies_touch" in codes(spine)
    assert spine.vertebra("L3").level_confidence == 0.5
    assert spine.vertebra("L4").level_confidence == 0.5
    assert spine.vertebra("L2").level_confidence == 1.0
    assert [v.complete for v in spine.vertebrae] == [False, False, True]


def test_missing_level_is_told_and_the_names_stand() -> None:
    row = Row(("L4", "L3", "L2", "L1"))
    grid = row.grid((2.0, 2.0, 2.0))
    labels = row.labels(grid)
    array = np.where(labels.labels == level_number("L2"), 0, labels.labels)
    spine = spine_from_labels(changed(labels, array.astype(np.uint8)), grid)
    assert "level_missing" in codes(spine)
    assert [v.level_confidence for v in spine.vertebrae] == [1.0, 1.0, 1.0]


def test_skipped_name_casts_doubt() -> None:
    row = Row(("L5", "L4", "L3", "L1"), pitch_mm=34.0)
    grid = row.grid((2.0, 2.0, 2.0))
    spine = spine_from_labels(row.labels(grid), grid, ImportRequest(LabelScheme.VERSE))
    assert "levels_skipped" in codes(spine)
    assert spine.vertebra("L1").level_confidence == 0.5
    assert spine.vertebra("L5").level_confidence == 1.0


def test_one_label_over_two_vertebrae_is_left_out() -> None:
    row = Row(("L4", "L3", "L2", "L1"), pitch_mm=33.0)
    grid = row.grid((2.0, 2.0, 2.0))
    labels = row.labels(grid)
    array = labels.labels.copy()
    array[array == level_number("L2")] = level_number("L3")
    request = ImportRequest(LabelScheme.VERSE)
    twice = spine_from_labels(changed(labels, array.copy()), grid, request)
    assert "label_twice" in codes(twice)
    assert twice.vertebra("L3").level_confidence == 0.5
    assert not twice.vertebra("L3").complete
    # Facet joints connect the two arches.
    laminae = [centre + 31.0 * axes[1] for _, centre, axes in row.poses()[1:3]]
    for point in np.linspace(*laminae, 40):
        z, y, x = np.rint(grid.lps_to_index(point)).astype(int)
        array[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = level_number("L3")
    apart = spine_from_labels(changed(labels, array.copy()), grid, request)
    # With the disc between them the two bodies are one piece, far taller than wide.
    joined = ndimage.binary_closing(array == level_number("L3"), iterations=4)
    array[joined & (array == 0)] = level_number("L3")
    fused = spine_from_labels(changed(labels, array), grid, request)
    for spine, reason in ((apart, "holds two bodies"), (fused, "mm tall")):
        assert [v.level.name for v in spine.vertebrae] == ["L4", "L1"]
        told = [n.message for n in spine.notices if n.code == "level_without_body"]
        assert len(told) == 1
        assert "of L3 is left out" in told[0]
        assert reason in told[0]


def test_bodies_without_levels_are_counted_from_below() -> None:
    row = Row(("L4", "L3", "L2"))
    grid = row.grid((2.0, 2.0, 2.0))
    array = np.zeros(grid.shape, dtype=np.uint8)
    for body, _ in row.parts(grid).values():
        array[body] = 1
    spine = spine_from_labels(LabelMap(array, grid), grid, ct=row.ct(grid))
    assert [v.level.name for v in spine.vertebrae] == ["V1", "V2", "V3"]
    assert {"bodies_without_levels", "levels_not_told"} <= codes(spine)
    assert np.array_equal(spine.labels.labels > 0, array > 0)
    anchor = LevelAnchor(VertebraLevel("L4"))
    named = spine_from_labels(LabelMap(array, grid), grid, ImportRequest(anchor=anchor))
    assert [v.level.name for v in named.vertebrae] == ["L4", "L3", "L2"]
    for vertebra, (_, centre, axes) in zip(named.vertebrae, row.poses(), strict=True):
        assert np.linalg.norm(vertebra.centroid_lps_mm - centre) < 1.6
        assert vertebra.frame.posterior @ axes[1] > 0.97


def test_named_bodies_without_arches_stay_whole() -> None:
    row = Row(("L4", "L3", "L2"))
    grid = row.grid((2.0, 2.0, 2.0))
    array = np.zeros(grid.shape, dtype=np.uint8)
    for name, (body, _) in row.parts(grid).items():
        array[body] = level_number(name)
    spine = spine_from_labels(LabelMap(array, grid), grid, ct=row.ct(grid))
    for name in row.names:
        kept = spine.labels.labels == level_number(name)
        # Half a millimetre of the corners behind the wall's fit may go to the arch.
        assert dice(kept, array == level_number(name)) > 0.97


def test_lumbar_distances_under_thoracic_names_are_doubted() -> None:
    row = Row(("T6", "T5", "T4", "T3"), pitch_mm=35.0)
    grid = row.grid((2.0, 2.0, 2.0))
    spine = spine_from_labels(row.labels(grid), grid, ImportRequest(LabelScheme.VERSE))
    assert "levels_implausible" in codes(spine)
    assert {v.level_confidence for v in spine.vertebrae} == {0.5}


def test_names_against_their_order_are_refused() -> None:
    row = Row(("L2", "L3", "L4"))
    grid = row.grid((2.0, 2.0, 2.0))
    request = ImportRequest(LabelScheme.VERSE)
    with pytest.raises(
        LabelMapError, match=r"out of order .* fit 'totalsegmentator-v1"
    ):
        spine_from_labels(row.labels(grid), grid, request)
    # Numbers that fit nothing, under names that are plain.
    array = row.labels(grid).labels.copy()
    array[array > 0] += 180
    names = {201: "L2", 202: "L3", 203: "L4"}
    with pytest.raises(LabelMapError, match=r"L3 lies above L2"):
        spine_from_labels(LabelMap(array, grid, names), grid)


def test_labels_of_another_place_are_refused_with_the_distance() -> None:
    row = Row()
    grid = row.grid((2.0, 2.0, 2.0))
    moved = grid.affine_lps.copy()
    moved[:3, 3] += [500.0, 0.0, 0.0]
    labels = LabelMap(row.labels(grid).labels, VoxelGeometry(grid.shape, moved))
    with pytest.raises(LabelMapError, match=r"outside the CT.* mm away"):
        spine_from_labels(labels, grid)


def test_labels_of_another_frame_of_reference_are_refused() -> None:
    row = Row()
    grid = row.grid((2.0, 2.0, 2.0))
    mine = VoxelGeometry(grid.shape, grid.affine_lps, "1.2.3")
    theirs = VoxelGeometry(grid.shape, grid.affine_lps, "1.2.4")
    with pytest.raises(LabelMapError, match=r"frame of reference \(1\.2\.3\)"):
        spine_from_labels(LabelMap(row.labels(grid).labels, mine), theirs)


@pytest.mark.parametrize("with_point", [False, True])
def test_anchor_renames_the_whole_row(with_point: bool) -> None:
    row = Row()
    grid = row.grid((2.0, 2.0, 2.0))
    point = tuple(row.poses()[1][1].tolist()) if with_point else None
    anchor = LevelAnchor(VertebraLevel("L2" if with_point else "L3"), point)
    spine = spine_from_labels(row.labels(grid), grid, ImportRequest(anchor=anchor))
    assert [v.level.name for v in spine.vertebrae] == ["L3", "L2", "L1"]
    assert "anchor_conflict" in codes(spine)
    assert set(np.unique(spine.labels.labels)) == {0, 20, 21, 22, 120, 121, 122}


def test_anchor_beside_the_spine_is_refused_with_the_distance() -> None:
    row = Row()
    grid = row.grid((2.0, 2.0, 2.0))
    anchor = LevelAnchor(VertebraLevel("L2"), (212.0, -40.0, 300.0))
    with pytest.raises(LabelMapError, match=r"L3, has its centre (19\d|20\d) mm away"):
        spine_from_labels(row.labels(grid), grid, ImportRequest(anchor=anchor))


def test_relative_names_have_no_confidence() -> None:
    row = Row(("V1", "V2", "V3"))
    grid = row.grid((2.0, 2.0, 2.0))
    labels = row.labels(grid, LabelScheme.CEMSCOPE, arches=True)
    spine = spine_from_labels(labels, grid)
    assert [v.level.name for v in spine.vertebrae] == ["V1", "V2", "V3"]
    assert {v.level_confidence for v in spine.vertebrae} == {0.0}
    assert "levels_not_told" in codes(spine)
    anchor = LevelAnchor(VertebraLevel("L5"))
    named = spine_from_labels(labels, grid, ImportRequest(anchor=anchor))
    assert [v.level.name for v in named.vertebrae] == ["L5", "L4", "L3"]


def test_collapsed_body_is_told_and_keeps_its_name() -> None:
    row = Row()
    grid = row.grid()
    labels = row.labels(grid)
    body, _ = row.parts(grid)["L3"]
    _, centre, axes = row.poses()[1]
    points = grid.index_to_lps(np.argwhere(body))
    lost = (points - centre) @ axes[2] < 0.2 * BODY_HALF_HEIGHT_MM
    array = labels.labels.copy()
    array[tuple(np.argwhere(body)[lost].T)] = 0
    array[row.parts(grid)["L3"][1]] = level_number("L3")
    spine = spine_from_labels(changed(labels, array), grid)
    assert "body_volume_unusual" in codes(spine)
    assert spine.vertebra("L3").level_confidence == 1.0
    ratio = spine.vertebra("L3").body_volume_ml / spine.vertebra("L2").body_volume_ml
    assert 0.3 < ratio < 0.5


@pytest.mark.real_data
def test_real_labels_are_cut_like_the_reference(cemscope_data: Path) -> None:
    folder = cemscope_data / "real-lumbar-3mm"
    labels = read_label_map(folder / "vertebrae.nii.gz")
    bodies = read_label_map(folder / "vertebral_bodies.nii.gz")
    spine = spine_from_labels(labels, labels.geometry)
    names = [v.level.name for v in spine.vertebrae]
    assert names == ["S1", "L5", "L4", "L3", "L2", "L1", "T12"]
    whole = resample_labels_nearest(labels, spine.labels.geometry).labels
    for rank, name in enumerate(["L5", "L4", "L3", "L2", "L1"]):
        reference = (bodies.labels == 1) & (whole == 27 + rank)
        assert dice(spine.labels.labels == level_number(name), reference) > 0.92
    assert not spine.vertebra("T12").complete
    assert spine.vertebra("L3").complete


@pytest.mark.real_data
def test_real_mixed_labels_of_a_short_scan_are_doubted(cemscope_data: Path) -> None:
    labels = read_label_map(cemscope_data / "real-siemens-t11-t12-labels.nii.gz")
    spine = spine_from_labels(labels, labels.geometry)
    assert [v.level.name for v in spine.vertebrae] == ["T12"]
    assert spine.vertebrae[0].level_confidence == 0.5
    assert not spine.vertebrae[0].complete
