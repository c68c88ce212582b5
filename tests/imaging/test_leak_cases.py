"""Leaks of each type on an analytic body: type, place, exit, volume."""

import numpy as np
import pytest

from cases.leaking_body import (
    LeakCase,
    evidence_of,
    leak_cases,
    leaking,
    leaks_of,
    outside_ml,
    treated,
)
from cemscope.findings import Certainty
from cemscope.testing.phantom_shapes import Ellipsoid

SIDES = {1: "left", -1: "right"}
CASES = [
    pytest.param(case, side, id=f"{case.name} {SIDES[side]}")
    for number, side in enumerate((1, -1, 1, -1, 1))
    for case in leak_cases(side)[number : number + 1]
]


@pytest.mark.parametrize(("case", "side"), CASES)
def test_type_place_and_exit(case: LeakCase, side: int) -> None:
    phantom = leaking(case, side=side)
    truth_ml = outside_ml(phantom)
    (leak,) = leaks_of(phantom)
    evidence = evidence_of(leak)
    assert leak.leak_id == "L2-1"
    assert leak.types == (case.leak_type,)
    assert leak.certainty is Certainty.DEFINITE
    assert evidence.candidates == ()
    place = f"{case.place}_{SIDES[side]}" if case.sided else case.place
    assert place in leak.locations
    assert not any(name.endswith(f"_{SIDES[-side]}") for name in leak.locations)
    assert evidence.exit_wall.value == case.wall
    # The grid of the measurement has cells of 0.7 mm, the body is 26 mm high.
    assert evidence.exit_height == pytest.approx(case.height, abs=0.12)
    assert np.sign(evidence.midline_mm) == side
    assert leak.volume_ml == pytest.approx(truth_ml, abs=max(0.15 * truth_ml, 0.03))
    assert evidence.sentence.startswith("leaves the ")


def test_cement_within_the_bone_is_no_leak() -> None:
    assert leaks_of(leaking(None)) == ()


def test_cement_that_abuts_the_wall_is_no_leak() -> None:
    ball = Ellipsoid((23.0 - 6.0, 0.0, 36.0), (6.0, 6.0, 6.0))
    assert leaks_of(treated((ball,))) == ()
