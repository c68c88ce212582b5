"""Cupping of cement, measured in the cement itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cemscope.measurement.pure_cement import USUAL_FALL, fall_per_mm

VOXEL_ML = 0.0005


def cores(fall: float, count: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    depth_mm = rng.uniform(-1.5, 1.5, count)
    return -fall * depth_mm + rng.normal(0.0, 1.0, count) * noise, depth_mm


@given(fall=st.floats(0.0, 0.045))
def test_many_cores_show_how_much_cement_darkens_inwards(fall: float) -> None:
    relative, depth_mm = cores(fall, 8000, 0.03)
    assert fall_per_mm(relative, depth_mm, VOXEL_ML) == pytest.approx(fall, abs=0.002)


def test_without_cores_it_is_the_usual_fall() -> None:
    nothing = np.zeros(0)
    assert fall_per_mm(nothing, nothing, VOXEL_ML) == pytest.approx(USUAL_FALL)


@given(fall=st.floats(-0.3, 0.3), count=st.integers(0, 2000))
def test_rims_are_never_darker_than_cores(fall: float, count: int) -> None:
    assert 0.0 <= fall_per_mm(*cores(fall, count), VOXEL_ML) <= 0.05
