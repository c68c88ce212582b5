"""Rows of discs, found with and without what planes with streaks show."""

from dataclasses import replace

import numpy as np
import pytest

from cemscope.segmentation.canal.spine_axis import SpineAxis
from cemscope.segmentation.discs.disc import Disc
from cemscope.segmentation.discs.disc_planes import DiscPlanes
from cemscope.segmentation.discs.disc_search import FoundDiscs


def planes(likeness: list[float], mark: float) -> DiscPlanes:
    """One tilt; plates, ring and thickness hold a mark."""
    value = np.array(likeness, np.float32)[None, None]
    marked = np.full_like(value, mark)
    tilt = np.zeros(1)
    return DiscPlanes(marked, marked, marked, value, tilt, tilt, np.ones(len(likeness)))


def test_streaked_planes_count_less_and_clear_ones_in_full() -> None:
    every, clear = planes([0.8, 0.8, 0.0], 1.0), planes([0.0, 0.6, 0.2], 2.0)
    both = every.or_clearer(clear, 0.5)
    assert both.likeness[0, 0] == pytest.approx([0.4, 0.6, 0.2])
    # What is said of a plane comes from the judgement that was kept.
    for field in (both.plates, both.ring, both.thickness_mm):
        assert list(field[0, 0]) == [1.0, 2.0, 2.0]


def test_streaked_planes_that_count_nothing_leave_the_clear_ones() -> None:
    every, clear = planes([0.8, 0.8, 0.0], 1.0), planes([0.0, 0.6, 0.2], 2.0)
    assert (every.or_clearer(clear, 0.0).likeness == clear.likeness).all()


LOWER, UPPER = Disc(20.0, 0.0, 0.0, 0.8), Disc(50.0, 4.0, 0.0, 0.8)


def row(*discs: Disc) -> FoundDiscs:
    points = np.zeros((80, 3))
    axis = SpineAxis(points, points, points, points, np.zeros(80), 0, 80)
    return FoundDiscs(discs, axis, (1.0,) * (len(discs) - 1))


@pytest.mark.parametrize(
    ("thickness_mm", "share"),
    [((10.0, 10.0), 10 / 30), ((4.0, 14.0), 9 / 30), ((0.0, 0.0), 0.0)],
)
def test_share_of_the_discs_in_a_vertebra(
    thickness_mm: tuple[float, float], share: float
) -> None:
    lower, upper = (
        replace(disc, thickness_mm=mm)
        for disc, mm in zip((LOWER, UPPER), thickness_mm, strict=True)
    )
    assert row(lower, upper).thickest_share() == pytest.approx(share)
    # What lies beyond the scan says nothing.
    assert row(lower, replace(upper, supposed=True)).thickest_share() == 0.0


@pytest.mark.parametrize(
    ("other", "like"),
    [
        (row(LOWER, replace(UPPER, step=50.4, likeness=0.1)), True),
        (row(LOWER, replace(UPPER, step=51.5)), False),
        (row(LOWER, replace(UPPER, sagittal_tilt_deg=12.0)), False),
        (row(LOWER, replace(UPPER, lateral_tilt_deg=-8.0)), False),
        (row(LOWER, replace(UPPER, supposed=True)), False),
        (row(LOWER), False),
    ],
    ids=["moved a little", "moved", "fallen", "leaning", "supposed", "one less"],
)
def test_rows_are_alike_if_their_discs_are(other: FoundDiscs, like: bool) -> None:
    assert row(LOWER, UPPER).is_like(other) is like
