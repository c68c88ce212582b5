from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cases.moved_vertebra import IDENTITY, Bone, Scan, scanned
from cemscope.findings import CementVolume, Interval, NotAssessed
from cemscope.measurement.followup_cement import cement_movement
from cemscope.measurement.followup_findings import (
    BodyHeights,
    CementMovement,
    Change,
    HeightChange,
)
from cemscope.measurement.followup_heights import (
    FURTHER_OUT_MM,
    PLACES,
    PlatePlace,
    height_changes,
    judged_heights,
    most_likely_place,
    outline_heights,
)
from cemscope.measurement.followup_settings import FollowupSettings
from cemscope.registration.rigid_pose import RigidPose
from cemscope.registration.vertebra_registration import (
    RefusedPose,
    RegisteredVertebra,
    register_pair,
)

SETTINGS = FollowupSettings()


def pose(
    turn_deg: tuple[float, float, float], shift_mm: tuple[float, ...]
) -> RigidPose:
    matrix = Rotation.from_rotvec(turn_deg, degrees=True).as_matrix()
    return RigidPose(np.asarray(matrix), np.array(shift_mm), np.zeros(3))


LYING = pose((3.0, -2.0, 4.0), (6.0, -8.0, 11.0))
FAR = pose((9.0, -8.0, 8.0), (17.0, -17.0, 17.0))  # 14.5 degrees, 29 mm


@dataclass(frozen=True)
class Case:
    name: str
    later: Scan
    before: Bone = field(default_factory=Bone)
    after: Bone = field(default_factory=Bone)
    most_mm: float = 0.15
    most_deg: float = 0.35


CASES = (
    Case("lying differently", Scan(LYING, seed=2)),
    Case(
        "15 degrees and 30 mm, thicker slices, other voxels, soft kernel, noise",
        Scan(FAR, (1.5, 0.7, 0.7), blur_mm=0.8, noise_hu=30.0, seed=3),
        most_mm=0.3,
    ),
    Case(
        "the front of the body has fallen",
        Scan(LYING, seed=4),
        after=Bone(front_loss_mm=8.0),
        most_mm=0.4,
        most_deg=0.8,
    ),
    Case(
        "metal and cement went elsewhere",
        Scan(LYING, seed=5),
        before=Bone(cement_mm=(-4.0, -3.0, 0.0), metal_mm=(12.0, 14.0, 5.0)),
        after=Bone(cement_mm=(-4.0, -3.0, 3.0), metal_mm=(12.0, 18.0, 7.0)),
        most_mm=0.25,
    ),
)


def registered(case: Case) -> RegisteredVertebra | RefusedPose:
    first, second = scanned(case.before, Scan()), scanned(case.after, case.later)
    pair = (first.spine.vertebrae[0], second.spine.vertebrae[0])
    return register_pair(first, second, pair, (pair,))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_vertebra_is_found_again(case: Case) -> None:
    found = registered(case)
    assert isinstance(found, RegisteredVertebra)
    angle_deg, away_mm = case.later.pose.difference(found.found.pose.about(np.zeros(3)))
    assert away_mm < case.most_mm
    assert angle_deg < case.most_deg
    assert found.found.residual_mm < 0.5


def test_the_outlines_may_start_it_wrongly() -> None:
    later = Scan(LYING, seed=2)
    first, second = scanned(Bone(), Scan()), scanned(Bone(), later)
    wrong = pose((6.0, 0.0, -9.0), (2.0, 3.0, -4.0))
    start = RigidPose(
        LYING.rotation @ wrong.rotation, LYING.shift_mm + wrong.shift_mm, np.zeros(3)
    )
    outlined = scanned(Bone(), Scan(start, seed=2)).spine.vertebrae[0]
    pair = (first.spine.vertebrae[0], outlined)
    found = register_pair(first, second, pair, (pair,))
    assert isinstance(found, RegisteredVertebra)
    assert LYING.difference(found.found.pose.about(np.zeros(3)))[1] < 0.15


def test_the_same_scans_give_the_same_pose_to_the_last_bit() -> None:
    one, other = (registered(CASES[0]) for _ in range(2))
    assert isinstance(one, RegisteredVertebra)
    assert isinstance(other, RegisteredVertebra)
    assert np.array_equal(one.found.pose.rotation, other.found.pose.rotation)
    assert np.array_equal(one.found.pose.shift_mm, other.found.pose.shift_mm)


def test_the_uncertainty_is_that_of_many_noises() -> None:
    first = scanned(Bone(), Scan(noise_hu=40.0))
    errors, told = [], []
    for seed in range(2, 5):
        second = scanned(Bone(), Scan(LYING, noise_hu=40.0, seed=seed))
        pair = (first.spine.vertebrae[0], second.spine.vertebrae[0])
        found = register_pair(first, second, pair, (pair,))
        assert isinstance(found, RegisteredVertebra)
        up = np.array([0.0, 0.0, 1.0])
        away = found.found.pose.to_followup(np.zeros(3)) - LYING.shift_mm
        errors.append(float(LYING.turned(up) @ away))
        told.append(found.found.deviation_mm(np.zeros(3), up))
    assert np.sqrt(np.mean(np.square(errors))) < 3.0 * np.mean(told)
    assert np.mean(told) < 0.1


def test_another_bone_is_refused() -> None:
    other = Bone(waist=0.3, process_tilt=-0.8, size=0.84)
    found = registered(Case("other", Scan(LYING, seed=6), after=other))
    assert isinstance(found, RefusedPose)
    assert "refused" in found.reason


HEIGHTS = (
    ("nothing", Bone(), False),
    ("a wedge", Bone(front_loss_mm=9.0), True),
    ("a dent", Bone(middle_loss_mm=7.0), True),
    ("a little", Bone(front_loss_mm=2.0), False),
)


def true_loss_mm(after: Bone, share: tuple[float, float]) -> float:
    """Usual loss in a band of the depth of the body: 15 mm in front, 11.25 behind."""
    y = -15.0 + 26.25 * np.linspace(*share, 21)
    return float(np.median(Bone().top_mm(y) - after.top_mm(y)))


@pytest.mark.parametrize(
    ("name", "after", "broken"), HEIGHTS, ids=[h[0] for h in HEIGHTS]
)
def test_lost_height_is_measured_where_it_was_lost(
    name: str, after: Bone, broken: bool
) -> None:
    case = Case(name, Scan(LYING, (1.25, 0.8, 0.8), seed=7), after=after)
    first, second = scanned(Bone(), Scan()), scanned(after, case.later)
    found = registered(case)
    assert isinstance(found, RegisteredVertebra)
    heights = height_changes(first, second, found, SETTINGS)
    assert isinstance(heights, BodyHeights)
    places = (heights.anterior, heights.middle, heights.posterior)
    for change, share in zip(places, PLACES.values(), strict=True):
        if isinstance(change, HeightChange):
            loss = true_loss_mm(after, share)
            assert change.loss_mm.value == pytest.approx(loss, abs=0.8)
    assert heights.new_fracture is broken
    assert sum(isinstance(change, HeightChange) for change in places) >= 2


@pytest.mark.parametrize("raised_mm", [1.5, 4.0])
def test_an_endplate_further_out_than_before_is_not_the_same(raised_mm: float) -> None:
    case = Case("raised", Scan(LYING, seed=7), after=Bone(front_loss_mm=-raised_mm))
    first, second = scanned(Bone(), Scan()), scanned(case.after, case.later)
    found = registered(case)
    assert isinstance(found, RegisteredVertebra)
    heights = height_changes(first, second, found, SETTINGS)
    assert isinstance(heights, BodyHeights)
    places = (heights.anterior, heights.middle, heights.posterior)
    for change, share in zip(places, PLACES.values(), strict=True):
        rose = true_loss_mm(case.after, share) < -FURTHER_OUT_MM
        assert isinstance(change, NotAssessed if rose else HeightChange)


@pytest.mark.parametrize(
    ("outlined_mm", "excluded"), [((), True), ((1.0,), True), ((1.0, 5.0), False)]
)
def test_no_fracture_is_excluded_where_only_the_outlines_fell(
    outlined_mm: tuple[float, ...], excluded: bool
) -> None:
    same = HeightChange(25.0, 24.9, Change(0.1, 0.4), 0.4)
    places: dict[str, HeightChange | NotAssessed] = {
        "anterior": NotAssessed("hidden"),
        "middle": same,
        "posterior": same,
    }
    found = judged_heights(places, SETTINGS, "edges", outlined_mm)
    if excluded:
        assert (found.new_fracture, found.genant_grade) == (False, 0)
    else:
        assert isinstance(found.new_fracture, NotAssessed)
        assert "the outlines lost 5.0 mm" in found.new_fracture.reason
        assert isinstance(found.genant_grade, NotAssessed)


@pytest.mark.parametrize(
    ("likeness", "outlined_mm", "expected"),
    [
        ((0.98, 0.97), -5.0, -4.9),
        ((0.98, 0.97), 0.0, 0.0),
        ((0.98, 0.97), 8.0, None),
        ((0.98, 0.5), 8.0, 0.0),
        ((0.6, 0.4), 8.0, None),
        ((0.6, 0.4), 0.5, 0.0),
    ],
)
def test_of_two_places_that_look_alike_the_outlines_choose(
    likeness: tuple[float, float], outlined_mm: float, expected: float | None
) -> None:
    places = [
        PlatePlace(moved_mm, 0.2, alike)
        for moved_mm, alike in zip((0.0, -4.9), likeness, strict=True)
    ]
    chosen = most_likely_place(places, outlined_mm)
    assert (None if chosen is None else chosen.moved_mm) == expected


def test_without_a_registration_the_outlines_tell_a_fracture() -> None:
    first, second = scanned(Bone(), Scan()), scanned(Bone(12.0), Scan(LYING, seed=2))
    pair = (first.spine.vertebrae[0], second.spine.vertebrae[0])
    heights = outline_heights(first, second, pair, SETTINGS)
    assert isinstance(heights, BodyHeights)
    assert heights.new_fracture is True
    assert heights.method == "outlines"
    same = outline_heights(first, scanned(Bone(), Scan(LYING, seed=2)), pair, SETTINGS)
    assert isinstance(same, BodyHeights)
    assert same.new_fracture is False


def volume(ml: float) -> CementVolume:
    return CementVolume("L3", ml, Interval(0.9 * ml, 1.1 * ml), ml, ml, 0.0, 0.05)


@pytest.mark.parametrize("way", [(0.0, 0.0, 0.0), (0.0, -1.0, 2.5)])
def test_cement_moves_in_its_own_vertebra(way: tuple[float, float, float]) -> None:
    start = np.array([-4.0, -3.0, 0.0])
    x, y, z = (float(v) for v in start + way)
    before, after = Bone(cement_mm=(-4.0, -3.0, 0.0)), Bone(cement_mm=(x, y, z))
    later = Scan(FAR, (1.25, 0.7, 0.7), seed=8)
    first, second = scanned(before, Scan()), scanned(after, later)
    pair = (first.spine.vertebrae[0], second.spine.vertebrae[0])
    bone = register_pair(first, second, pair, (pair,))
    assert isinstance(bone, RegisteredVertebra)
    found = cement_movement(first, second, bone, (volume(1.0), volume(1.1)), SETTINGS)
    assert isinstance(found, CementMovement)
    assert np.allclose(found.displacement.direction_mm, way, atol=0.3)
    assert found.moved == (np.linalg.norm(way) > 1.0)
    assert not isinstance(found.volume_change_ml, NotAssessed)
    assert found.volume_change_ml.value == pytest.approx(0.1)


def test_what_is_not_outlined_in_both_scans_is_not_registered() -> None:
    first = scanned(Bone(), Scan())
    second = scanned(Bone(), Scan(IDENTITY, level="L4"))
    pair = (first.spine.vertebrae[0], first.spine.vertebrae[0])
    found = register_pair(first, second, pair, (pair,))
    assert isinstance(found, RefusedPose)
    assert "one of the scans only" in found.reason
