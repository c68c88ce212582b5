"""Neither the grid of a scan nor left and right change what is said about a leak."""

from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cases.leaking_body import (
    evidence_of,
    leak_cases,
    leaking,
    leaks_of,
    mirrored,
    outside_ml,
    treated,
)
from cemscope.findings import Leak
from cemscope.testing.phantom_shapes import Ellipsoid
from cemscope.testing.phantoms import Scanner

OBLIQUE = np.array([[0.12, -0.2, 1.0], [0.1, 1.0, 0.2], [1.0, -0.1, -0.13]])
TURNED = np.linalg.qr(OBLIQUE.T)[0].T
GRIDS = {
    "head first": Scanner(
        spacing_mm=(1.0, 0.9, 0.9), directions_lps=((0, 0, -1), (0, 1, 0), (1, 0, 0))
    ),
    "oblique": Scanner(spacing_mm=(1.0, 0.9, 0.9), directions_lps=TURNED),
    "thick slices": Scanner(spacing_mm=(2.5, 0.8, 0.8)),
}
SEGMENTAL = 1
"""Number of the segmental vein: it is told by its whole course."""


@cache
def the_leak(side: int) -> Leak:
    (leak,) = leaks_of(leaking(leak_cases(side)[SEGMENTAL], side=side))
    return leak


@pytest.mark.parametrize("grid", list(GRIDS))
def test_the_grid_does_not_matter(grid: str) -> None:
    phantom = leaking(leak_cases(1)[SEGMENTAL], GRIDS[grid])
    truth_ml = outside_ml(phantom)
    (leak,) = leaks_of(phantom)
    straight = the_leak(1)
    assert leak.types == straight.types
    assert leak.locations[0] == straight.locations[0]
    assert evidence_of(leak).exit_wall is evidence_of(straight).exit_wall
    assert leak.volume_ml == pytest.approx(truth_ml, abs=max(0.2 * truth_ml, 0.04))
    ways = (evidence_of(leak).exit_lps_mm, evidence_of(straight).exit_lps_mm)
    assert np.linalg.norm(np.subtract(*ways)) < 3.0


def test_a_mirrored_leak_has_mirrored_places() -> None:
    left, right = the_leak(1), the_leak(-1)
    assert mirrored(left.locations) == set(right.locations)
    assert left.types == right.types
    one, other = evidence_of(left), evidence_of(right)
    assert other.midline_mm == pytest.approx(-one.midline_mm, abs=0.8)
    assert other.exit_height == pytest.approx(one.exit_height, abs=0.04)
    assert right.volume_ml == pytest.approx(left.volume_ml, rel=0.05, abs=0.005)


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    height=st.floats(30.0, 42.0),
    radius=st.floats(3.0, 4.0),
    angle_deg=st.floats(-20.0, 20.0),
)
def test_a_lump_and_its_mirror_image(
    height: float, radius: float, angle_deg: float
) -> None:
    found = []
    turn = np.radians(angle_deg)
    out = np.array([23.0 * np.cos(turn), -16.0 * np.sin(turn)])
    for side in (1, -1):
        pieces = (
            Ellipsoid((side * 6.0, -2.0, 36.0), (9.0, 8.0, 8.0)),
            Ellipsoid((side * 0.6 * float(out[0]), 0.6 * float(out[1]), height),
                      (7.0, 6.0, 3.0)),
            Ellipsoid((side * (float(out[0]) + 1.5), float(out[1]), height),
                      (radius, radius, radius)),
        )  # fmt: skip
        (leak,) = leaks_of(treated(pieces))
        found.append(leak)
    left, right = found
    assert mirrored(left.locations) == set(right.locations)
    assert left.types == right.types
    assert right.volume_ml == pytest.approx(left.volume_ml, rel=0.05, abs=0.005)
    assert right.centroid_lps_mm[0] == pytest.approx(-left.centroid_lps_mm[0], abs=0.5)
