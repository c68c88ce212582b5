"""Vertebra frames and the spine as a value."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cemscope.anatomy import VertebraLevel
from cemscope.geometry import VoxelGeometry
from cemscope.spine import Spine, Vertebra, VertebraFrame, VertebraSource
from cemscope.testing.strategies import orthonormal_directions
from cemscope.volume import LabelMap

UPRIGHT = VertebraFrame(
    np.array([10.0, 20.0, 30.0]),
    left=np.array([1.0, 0, 0]),
    posterior=np.array([0, 1.0, 0]),
    superior=np.array([0, 0, 1.0]),
)


def test_local_axes_are_left_posterior_superior() -> None:
    assert UPRIGHT.to_local_mm((11.0, 22.0, 33.0)).tolist() == [1.0, 2.0, 3.0]


@given(orthonormal_directions(), st.tuples(*[st.floats(-100, 100)] * 3))
def test_local_and_back(axes: np.ndarray, point: tuple[float, float, float]) -> None:
    frame = VertebraFrame(np.array([1.0, 2.0, 3.0]), *axes)
    local = frame.to_local_mm(point)
    np.testing.assert_allclose(frame.to_lps_mm(local), point, atol=1e-9)
    distance_mm = np.linalg.norm(np.array(point) - frame.origin_lps_mm)
    assert np.linalg.norm(local) == pytest.approx(distance_mm, abs=1e-9)


def test_crooked_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="orthogonal unit vectors"):
        VertebraFrame(
            np.zeros(3), np.array([1.0, 0.1, 0]), UPRIGHT.posterior, UPRIGHT.superior
        )


def test_a_vertebra_is_found_by_its_name() -> None:
    geometry = VoxelGeometry.from_axes((1, 1, 1), (1, 1, 1))
    labels = LabelMap(np.zeros((1, 1, 1), np.uint8), geometry)
    l3 = Vertebra(
        VertebraLevel("L3"), 0.9, VertebraSource.EMBEDDED, True, UPRIGHT, 40.0
    )
    spine = Spine(labels, (l3,))
    assert spine.vertebra("L3") is l3
    assert l3.centroid_lps_mm.tolist() == [10.0, 20.0, 30.0]
    with pytest.raises(KeyError):
        spine.vertebra("L4")
