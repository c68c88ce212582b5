from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cases.vertebra_labels import Row
from cemscope.anatomy_schemes import LabelScheme
from cemscope.errors import LabelMapError
from cemscope.segmentation.labels.label_scheme import detect_scheme, read_labels
from cemscope.volume import LabelMap
from cemscope_pipelines.label_files import read_label_map

LUMBAR = Row(("L5", "L4", "L3", "L2"), pitch_mm=34.0)
THORACIC = Row(("T7", "T6", "T5", "T4"), pitch_mm=24.0, lordosis_deg=-6.0)


def labelled(row: Row, scheme: LabelScheme) -> LabelMap:
    labels: LabelMap = row.labels(row.grid((2.5, 2.5, 2.5)), scheme)
    return labels


@dataclass(frozen=True)
class Case:
    row: Row
    scheme: LabelScheme


@pytest.mark.parametrize(
    "case",
    [
        Case(LUMBAR, LabelScheme.VERSE),
        Case(LUMBAR, LabelScheme.TOTALSEGMENTATOR),
        Case(LUMBAR, LabelScheme.TOTALSEGMENTATOR_V1),
        Case(THORACIC, LabelScheme.VERSE),
        Case(THORACIC, LabelScheme.TOTALSEGMENTATOR),
        Case(THORACIC, LabelScheme.TOTALSEGMENTATOR_V1),
    ],
    ids=lambda case: f"{case.row.names[0]} {case.scheme}",
)
def test_unmistakable_numbering_is_detected(case: Case) -> None:
    labels = labelled(case.row, case.scheme)
    assert detect_scheme(labels) is case.scheme
    found = read_labels(labels)
    assert {level.name for level in found.whole.values()} == set(case.row.names)


def test_one_vertebra_needs_the_scheme() -> None:
    labels = labelled(Row(("L3",)), LabelScheme.VERSE)  # 22 is L1 in TotalSegmentator 1
    with pytest.raises(LabelMapError, match=r"cannot be told.*--label-scheme"):
        read_labels(labels)
    named = read_labels(labels, LabelScheme.VERSE)
    assert [level.name for level in named.whole.values()] == ["L3"]


def test_distances_between_two_numberings_need_the_scheme() -> None:
    # As far apart as L5-L2 of a small person or T12-T9 of a tall one.
    row = Row(("L5", "L4", "L3", "L2"), pitch_mm=27.0)
    with pytest.raises(LabelMapError, match=r"totalsegmentator.*--label-scheme"):
        read_labels(labelled(row, LabelScheme.TOTALSEGMENTATOR))


def test_other_numbering_is_refused() -> None:
    labels = labelled(LUMBAR, LabelScheme.VERSE)
    shuffled = labels.labels.copy()
    shuffled[labels.labels == 22] = 23
    shuffled[labels.labels == 23] = 22
    with pytest.raises(LabelMapError, match="none that is known"):
        read_labels(LabelMap(shuffled, labels.geometry))


def test_wrong_scheme_finds_nothing() -> None:
    labels = labelled(LUMBAR, LabelScheme.VERSE)
    array = np.where(labels.labels > 0, 200, 0).astype(np.uint8)
    with pytest.raises(LabelMapError, match=r"no vertebra .* holds 200"):
        read_labels(LabelMap(array, labels.geometry), LabelScheme.VERSE)


def test_empty_map_is_refused() -> None:
    labels = labelled(LUMBAR, LabelScheme.VERSE)
    empty = LabelMap(np.zeros_like(labels.labels), labels.geometry)
    with pytest.raises(LabelMapError, match="empty"):
        read_labels(empty)


def test_own_numbers_with_arches() -> None:
    labels = LUMBAR.labels(LUMBAR.grid((2.5, 2.5, 2.5)), arches=True)
    found = read_labels(labels)
    assert found.origin == "cemscope"
    assert {level.name for level in found.arches.values()} == set(LUMBAR.names)


def test_discs_of_spineps_are_no_arches() -> None:
    grid = LUMBAR.grid((1.5, 1.5, 1.5))
    labels = LUMBAR.labels(grid)
    array = labels.labels.copy()
    poses = LUMBAR.poses()
    index = np.argwhere(array == 0)
    points = grid.index_to_lps(index)
    for (_, low, _), (name, high, _) in pairwise(poses):
        axis = (high - low) / np.linalg.norm(high - low)
        relative = points - (low + high) / 2
        along = relative @ axis
        across = np.linalg.norm(relative - np.outer(along, axis), axis=1)
        disc = (np.abs(along) < 6) & (across < 14)
        number = {level.name: n for n, level in LabelScheme.SPINEPS.levels.items()}
        array[tuple(index[disc].T)] = number[name] + 100
    found = read_labels(LabelMap(array, grid))
    assert found.origin == "spineps"
    assert not found.arches
    assert {level.name for level in found.whole.values()} == set(LUMBAR.names)


def renamed(labels: LabelMap, names: dict[int, str]) -> LabelMap:
    return LabelMap(labels.labels, labels.geometry, names)


def class_names(scheme: LabelScheme) -> dict[int, str]:
    return {n: f"vertebrae_{level.name}" for n, level in scheme.levels.items()}


def test_names_in_the_file_win() -> None:
    labels = labelled(Row(("L3", "L2")), LabelScheme.VERSE)
    named = LabelMap(labels.labels, labels.geometry, {22: "vertebrae_L4", 21: "L3"})
    found = read_labels(named)
    assert {n: level.name for n, level in found.whole.items()} == {22: "L4", 21: "L3"}
    twice = LabelMap(labels.labels, labels.geometry, {22: "L4", 21: "vertebrae_L4"})
    with pytest.raises(LabelMapError, match=r"two segments .* named L4"):
        read_labels(twice)


def test_names_settle_what_distances_leave_open() -> None:
    row = Row(("L5", "L4", "L3", "L2"), pitch_mm=27.0)
    labels = labelled(row, LabelScheme.TOTALSEGMENTATOR)
    found = read_labels(renamed(labels, class_names(LabelScheme.TOTALSEGMENTATOR)))
    assert {level.name for level in found.whole.values()} == set(row.names)


def test_sixth_lumbar_vertebra_of_total_v3_is_known_by_its_name() -> None:
    # In task total_v3 the number 26 is L6, in task total it is S1.
    labels = labelled(LUMBAR, LabelScheme.TOTALSEGMENTATOR)
    array = labels.labels.copy()
    for number in (27, 28, 29, 30):
        array[labels.labels == number] = number - 1
    names = class_names(LabelScheme.TOTALSEGMENTATOR) | {26: "vertebrae_L6"}
    v3 = LabelMap(array, labels.geometry, names)
    for scheme in (None, LabelScheme.TOTALSEGMENTATOR):
        found = read_labels(v3, scheme)
        assert {n: level.name for n, level in found.whole.items()} == {
            26: "L6",
            27: "L5",
            28: "L4",
            29: "L3",
        }


def test_sacrum_beside_s1_is_its_rest() -> None:
    labels = labelled(LUMBAR, LabelScheme.TOTALSEGMENTATOR)
    array = labels.labels.copy()
    array[:3, :3, :3] = 26
    array[:3, :3, -3:] = 25
    names = class_names(LabelScheme.TOTALSEGMENTATOR) | {25: "sacrum"}
    found = read_labels(LabelMap(array, labels.geometry, names))
    assert found.whole[26].name == "S1"
    assert 25 not in found.whole


def test_names_left_over_from_another_numbering_are_refused() -> None:
    # Renumbered to VerSe by a program that kept the header.
    labels = labelled(LUMBAR, LabelScheme.VERSE)
    stale = class_names(LabelScheme.TOTALSEGMENTATOR_V1)
    with pytest.raises(LabelMapError, match=r"table of names contradicts .* 'verse'"):
        read_labels(renamed(labels, stale))
    found = read_labels(renamed(labels, stale), LabelScheme.VERSE)
    assert {level.name for level in found.whole.values()} == set(LUMBAR.names)
    assert [n.code for n in found.notices] == ["label_names_overruled"]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (LabelScheme.VERSE, LabelScheme.TOTALSEGMENTATOR),
        (LabelScheme.TOTALSEGMENTATOR, LabelScheme.TOTALSEGMENTATOR_V1),
        (LabelScheme.TOTALSEGMENTATOR_V1, LabelScheme.VERSE),
    ],
)
def test_word_against_the_evidence_is_refused(
    said: LabelScheme, meant: LabelScheme
) -> None:
    # Numbers that mean something in both numberings.
    row = THORACIC if meant is LabelScheme.TOTALSEGMENTATOR_V1 else LUMBAR
    if said is LabelScheme.VERSE:
        row = Row(("S1", "L5", "L4"), pitch_mm=34.0)
    labels = labelled(row, meant)
    with pytest.raises(LabelMapError, match=rf"'{said}'.* fit '{meant}'"):
        read_labels(labels, said)


def test_task_vertebrae_mr_grows_towards_the_head() -> None:
    labels = labelled(LUMBAR, LabelScheme.TOTALSEGMENTATOR_MR)
    assert detect_scheme(labels) is LabelScheme.TOTALSEGMENTATOR_MR


def test_sacral_segments_and_ribs_of_spineps_are_left_out() -> None:
    labels = labelled(LUMBAR, LabelScheme.VERSE)
    array = labels.labels.copy()
    array[:3, :3, :3] = 29  # S2
    array[:3, :3, -3:] = 51  # a rib
    found = read_labels(LabelMap(array, labels.geometry))
    assert found.origin == "spineps"
    assert {level.name for level in found.whole.values()} == set(LUMBAR.names)


def test_map_of_parts_is_no_map_of_vertebrae() -> None:
    labels = labelled(LUMBAR, LabelScheme.VERSE)
    array = np.where(labels.labels > 0, 49, 0).astype(np.uint8)
    array[:3, :3, :3] = 100
    with pytest.raises(LabelMapError, match=r"map of parts \(seg-spine\).*seg-vert"):
        read_labels(LabelMap(array, labels.geometry))


def test_numbers_that_mean_nothing_are_told() -> None:
    labels = labelled(LUMBAR, LabelScheme.VERSE)
    array = labels.labels.copy()
    array[:3, :3, :3] = 99
    found = read_labels(LabelMap(array, labels.geometry), LabelScheme.VERSE)
    assert [n.code for n in found.notices] == ["labels_unknown"]
    assert "99" in found.notices[0].message


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "scheme"),
    [
        ("real-lumbar-3mm/vertebrae.nii.gz", "totalsegmentator"),
        ("real-siemens-t11-t12-labels.nii.gz", "totalsegmentator"),
        ("vertebra-masks/full_spine_mask.nii.gz", "verse"),
    ],
)
def test_real_numberings(cemscope_data: Path, file: str, scheme: str) -> None:
    labels = read_label_map(cemscope_data / file)
    unnamed = LabelMap(labels.labels, labels.geometry)
    assert read_labels(unnamed).origin == scheme
    # TotalSegmentator's own files hold a table of names that says the same.
    assert read_labels(labels).whole == read_labels(unnamed).whole
