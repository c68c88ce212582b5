import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cemscope.segmentation.bodies.vertebra_frame import vertebra_frame


def body_points(rotation, centre, wedge_deg=0.0):
    """Points of a box 44 x 32 x 28 mm whose upper face is tilted to the front."""
    axes = [np.linspace(-half, half, 33) for half in (22.0, 16.0, 14.0)]
    local = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    middle = 14.0 if wedge_deg == 0 else 8.0
    top = middle + np.tan(np.radians(wedge_deg)) * local[:, 1]
    local = local[local[:, 2] <= top + 1e-9]
    return rotation.apply(local) + centre


@settings(max_examples=15, deadline=None)
@given(st.floats(-35, 35), st.floats(-20, 20), st.floats(-25, 25), st.floats(-300, 300))
def test_frame_follows_the_body_not_the_scanner(tilt, bend, turn, offset):
    rotation = Rotation.from_euler("xyz", [tilt, bend, turn], degrees=True)
    centre = np.array([offset, -offset, 2 * offset])
    axis = rotation.apply([0, 0, 1])
    frame = vertebra_frame(
        body_points(rotation, centre),
        centre + rotation.apply([0, 30, 5]),
        centre + 35 * axis,
        centre - 35 * axis,
    )
    truth = rotation.apply(np.eye(3))
    np.testing.assert_allclose(frame.origin_lps_mm, centre, atol=0.5)
    for found, true in zip(
        (frame.left, frame.posterior, frame.superior), truth, strict=True
    ):
        assert np.degrees(np.arccos(np.clip(found @ true, -1, 1))) < 2.0


def test_wedge_gives_the_mean_of_both_endplates():
    frame = vertebra_frame(
        body_points(Rotation.identity(), np.zeros(3), wedge_deg=20.0), [0, 30, 0]
    )
    # The upper endplate falls to the front by 20 degrees, the lower is level.
    tilt = np.degrees(np.arctan2(-frame.superior[1], frame.superior[2]))
    assert tilt == pytest.approx(10.0, abs=2.5)


def test_left_is_the_patients_left():
    frame = vertebra_frame(body_points(Rotation.identity(), np.zeros(3)))
    np.testing.assert_allclose(frame.left, [1, 0, 0], atol=0.05)
    np.testing.assert_allclose(frame.posterior, [0, 1, 0], atol=0.05)


def test_too_few_points_and_a_point_on_the_axis_are_refused():
    with pytest.raises(ValueError, match="at least 8 points"):
        vertebra_frame(np.zeros((3, 3)))
    points = body_points(Rotation.identity(), np.zeros(3))
    points -= points.mean(axis=0)
    with pytest.raises(ValueError, match="lies on the axis"):
        vertebra_frame(points, points.mean(axis=0))
