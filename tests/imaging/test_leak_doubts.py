"""Leaks of levels whose cement is refused, and streaks plane by plane."""

from dataclasses import replace

import numpy as np
import pytest

from cases.leaking_body import evidence_of, leak_cases, leaking, leaks_of, treated
from cemscope.findings import Certainty, LeakType, Side
from cemscope.geometry import VoxelGeometry
from cemscope.measurement.leak_doubts import LevelDoubts, doubt_notices
from cemscope.measurement.streak_share import crowded_planes, streak_share
from cemscope.spine import VertebraSource
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid

BALL = Ellipsoid((4.0, -2.0, 36.0), (10.0, 9.0, 8.0))
TIP = Cylinder((14.0, 10.0, 36.0), (7.0, -27.0, 36.0), 2.5)
"""As a screw through the left pedicle whose tip left the anterior wall by 11 mm."""

LUMP = Ellipsoid((8.0, -22.0, 36.0), (10.0, 6.5, 8.0))
"""Cement there, 20 mm wide."""


def test_a_leak_of_a_refused_level_is_listed_as_indeterminate() -> None:
    case = leak_cases(1)[0]
    # Canal cement counts beside screws that were not fitted, too.
    doubts = LevelDoubts({"L2": (Side.LEFT, Side.RIGHT)})
    (leak,) = leaks_of(leaking(case), doubts)
    assert leak.certainty is Certainty.INDETERMINATE
    assert (leak.types, leak.locations) == ((case.leak_type,), (case.place,))
    evidence = evidence_of(leak)
    assert evidence.candidates == (LeakType.BASIVERTEBRAL, LeakType.INSTRUMENT)
    assert "not assessed" in evidence.sentence
    (notice,) = doubt_notices((leak,), doubts)
    assert "L2-1" in notice.message
    (empty,) = doubt_notices((), doubts)
    assert "cannot be excluded" in empty.message


def test_leaks_of_a_body_that_the_scan_cuts_are_indeterminate() -> None:
    whole = leaking(leak_cases(1)[0], source=VertebraSource.EMBEDDED)
    cut = tuple(replace(one, complete=False) for one in whole.spine.vertebrae)
    (sure,) = leaks_of(whole)
    (leak,) = leaks_of(replace(whole, spine=replace(whole.spine, vertebrae=cut)))
    assert sure.certainty is Certainty.DEFINITE
    assert leak.certainty is Certainty.INDETERMINATE
    assert "cut by the end of the scan" in evidence_of(leak).sentence
    assert leak.volume_ml == sure.volume_ml


def test_matter_that_may_be_no_cement_is_no_leak() -> None:
    unlike = LevelDoubts(unlike=frozenset({"L2"}))
    assert leaks_of(leaking(leak_cases(1)[0]), unlike) == ()


@pytest.mark.parametrize(
    ("piece", "sides", "listed"),
    [
        (TIP, (Side.LEFT,), False),
        (TIP, (Side.RIGHT,), True),
        (LUMP, (Side.LEFT,), True),
    ],
)
def test_a_screw_that_was_not_fitted_is_no_leak(
    piece: Cylinder | Ellipsoid, sides: tuple[Side, ...], listed: bool
) -> None:
    leaks = leaks_of(treated((BALL, piece)), LevelDoubts({"L2": sides}))
    assert bool(leaks) is listed


def test_planes_with_much_metal_are_told_along_the_patient() -> None:
    metal = np.zeros((30, 20, 20), np.bool_)
    metal[:, 10, 10:12] = True
    metal[12:15, 5:15, 5:15] = True
    scan = VoxelGeometry.from_axes(metal.shape, (1.0, 1.0, 1.0))
    told = crowded_planes(metal, scan)
    assert np.flatnonzero(told[:, 0, 0]).tolist() == [11, 12, 13, 14, 15]
    assert (told == told[:, :1, :1]).all()


def test_streaks_count_in_their_planes_only() -> None:
    rng = np.random.default_rng(5)
    metal_mm = np.broadcast_to(np.linspace(0.5, 20.0, 80)[:, None, None], (80, 60, 60))
    crowded = np.zeros(metal_mm.shape, np.bool_)
    crowded[:, :, :20] = True
    hu = rng.normal(50.0, np.where(crowded, 300.0, 20.0)).astype(np.float32)
    bone_mm = np.full(hu.shape, 10.0, np.float32)
    share = streak_share(hu, metal_mm.astype(np.float32), bone_mm, 2050.0, crowded)
    assert share[30, 0, 5] == pytest.approx(4.0 * 300.0 / 2000.0, rel=0.1)
    assert share[30, 0, 40] == pytest.approx(4.0 * 20.0 / 2000.0, rel=0.3)
