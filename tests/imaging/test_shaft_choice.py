"""Which of several centre lines through one pedicle is the shaft's."""

from dataclasses import dataclass
from typing import cast

import numpy as np

from cemscope.segmentation.implants.screw_fit import AxisFit
from cemscope.segmentation.implants.screw_profile import ScrewAxis
from cemscope.segmentation.implants.shaft_choice import _largest

FORWARD = np.array([0.0, -1.0, 0.0])


@dataclass(frozen=True)
class Fit:
    """What the choice looks at."""

    axis: ScrewAxis
    free_length_mm: float
    typical_mm: float


def fit_at(left_mm: float, length_mm: float, radius_mm: float) -> AxisFit:
    axis = ScrewAxis(np.array([left_mm, 0.0, 0.0]), FORWARD)
    return cast("AxisFit", Fit(axis, length_mm, radius_mm))


def test_the_bright_edge_of_a_hollowed_shaft_is_not_taken_for_the_shaft() -> None:
    edge, shaft = fit_at(3.0, 22.0, 2.2), fit_at(0.0, 16.0, 3.1)
    assert _largest([edge, shaft]) == [shaft]


def test_lines_far_apart_are_different_shafts() -> None:
    left, right = fit_at(15.0, 22.0, 2.2), fit_at(-15.0, 16.0, 3.1)
    assert _largest([left, right]) == [right, left]
