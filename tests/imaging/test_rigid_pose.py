import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cemscope.anatomy import VertebraLevel
from cemscope.registration.initial_pose import spine_pose
from cemscope.registration.rigid_pose import RigidPose
from cemscope.spine import Vertebra, VertebraFrame, VertebraSource

NUMBERS = st.floats(-100.0, 100.0)
POINTS = st.tuples(NUMBERS, NUMBERS, NUMBERS).map(np.array)
ANGLES = st.floats(-1.5, 1.5)
TURNS = st.tuples(ANGLES, ANGLES, ANGLES).map(
    lambda v: np.asarray(Rotation.from_rotvec(v).as_matrix())
)
POSES = st.builds(RigidPose, TURNS, POINTS, POINTS)


@given(POSES, POINTS)
def test_there_and_back_is_the_same_place(pose: RigidPose, point: np.ndarray) -> None:
    assert np.allclose(pose.to_baseline(pose.to_followup(point)), point, atol=1e-9)
    assert np.allclose(pose.turned_back(pose.turned(point)), point, atol=1e-9)


@given(POSES, POINTS, POINTS)
def test_a_pose_does_not_depend_on_the_centre_it_is_written_about(
    pose: RigidPose, centre: np.ndarray, point: np.ndarray
) -> None:
    other = pose.about(centre)
    assert np.allclose(other.to_followup(point), pose.to_followup(point), atol=1e-8)


@given(POSES, ANGLES, POINTS)
def test_a_small_movement_comes_first_and_in_baseline_axes(
    pose: RigidPose, angle: float, point: np.ndarray
) -> None:
    turn, shift = np.array([0.0, angle, 0.0]), np.array([1.0, -2.0, 0.5])
    turned = Rotation.from_rotvec(turn).apply(point - pose.centre_mm) + pose.centre_mm
    expected = pose.to_followup(turned + shift)
    assert np.allclose(pose.moved(turn, shift).to_followup(point), expected, atol=1e-8)
    angle_deg, away_mm = pose.difference(pose.moved(turn, shift))
    assert angle_deg == pytest.approx(np.degrees(abs(angle)), abs=1e-5)
    assert away_mm == pytest.approx(np.linalg.norm(shift), abs=1e-8)


def test_a_mirror_is_no_pose() -> None:
    with pytest.raises(ValueError, match="proper rotation"):
        RigidPose(np.diag([1.0, 1.0, -1.0]), np.zeros(3), np.zeros(3))


def vertebra(level: str, frame: VertebraFrame) -> Vertebra:
    return Vertebra(
        VertebraLevel(level), 1.0, VertebraSource.EMBEDDED, True, frame, 30.0
    )


@given(POSES)
def test_bodies_that_moved_together_tell_their_pose(pose: RigidPose) -> None:
    pairs = []
    for step, level in enumerate(("L5", "L4", "L3")):
        origin = np.array([2.0 * step, 5.0 - step, 35.0 * step])
        frame = VertebraFrame(origin, *np.eye(3))
        moved = VertebraFrame(pose.to_followup(origin), *pose.turned(np.eye(3)))
        pairs.append((vertebra(level, frame), vertebra(level, moved)))
    point = np.array([10.0, 20.0, 40.0])
    for found in (spine_pose(pairs), spine_pose(pairs, pairs[0][0])):
        assert np.allclose(found.to_followup(point), pose.to_followup(point), atol=1e-6)
