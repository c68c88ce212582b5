"""What may be metal or cement: lone needle tracks, and parts in front of heads."""

from dataclasses import dataclass

import numpy as np
import pytest

from cases.augmented_spines import vertebroplasty
from cemscope.findings import Side
from cemscope.measurement.leak_doubts import LevelDoubts
from cemscope.measurement.refused_levels import MetalDoubts
from cemscope.segmentation.implants.metal import SpinalMetal
from cemscope.segmentation.implants.metal_doubts import doubted_metal_notices
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import ScrewAxis, ShaftProfile
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.segmentation.implants.screws import ScrewSearch
from cemscope.segmentation.implants.shaft_rim import TissueImage
from cemscope.segmentation.implants.unexplained_metal import (
    UnexplainedMetal,
    lowest_head_hu,
    unexplained_metal,
)
from cemscope.segmentation.scan_region import ScanRegion, box_of
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid
from cemscope.testing.phantoms import Contrast, Phantom, Scanner

TRACK = Cylinder((15.0, 12.0, 40.0), (15.0, 40.0, 40.0), 3.0)
KNOB = Ellipsoid((15.0, 42.0, 40.0), (6.0, 6.0, 6.0))
"""Cement of a needle through the left pedicle of L2, with a drop of it behind."""

TITANIUM_TRACK_HU = 7500.0


def whole(phantom: Phantom) -> ScanRegion:
    shape = np.array(phantom.ct.hu.shape)
    return ScanRegion.of_box(
        phantom.ct, phantom.spine.labels, box_of(np.zeros(3, int), shape)
    )


@dataclass(frozen=True)
class TrackCase:
    name: str
    track_hu: float
    clip_hu: int | None
    other_metal: bool
    found: tuple[UnexplainedMetal, ...]


SCREW = UnexplainedMetal("L2", Side.LEFT)
LONE = UnexplainedMetal("L2", Side.LEFT, lone=True)

TRACK_CASES = (
    TrackCase("too dark for a head", 3600.0, None, False, ()),
    TrackCase("as bright as a head", TITANIUM_TRACK_HU, None, False, (LONE,)),
    TrackCase("as bright, beside metal", TITANIUM_TRACK_HU, None, True, (SCREW,)),
    TrackCase("clipped", 3600.0, 3071, False, (LONE,)),
    TrackCase("clipped, beside metal", 3600.0, 3071, True, (SCREW,)),
)


@pytest.mark.parametrize("case", TRACK_CASES, ids=lambda case: case.name)
def test_needle_tracks_are_told_from_screws_that_were_not_fitted(
    case: TrackCase,
) -> None:
    phantom = vertebroplasty(
        (TRACK, KNOB),
        Scanner(clip_hu=case.clip_hu),
        Contrast(cement_hu=case.track_hu),
    )
    region = whole(phantom)
    nothing = np.zeros(region.hu.shape, np.uint8)
    hardware = nothing.copy()
    hardware[:2, :2, :2] = 3 * case.other_metal
    none = nothing > 0
    found = unexplained_metal(
        region,
        phantom.spine,
        ScrewSearch((), ()),
        SpinalMetal(nothing, hardware, (), (), ()),
        TissueImage(region.hu, nothing, none, none, none, ()),
        2800.0,
        lowest_head_hu(120.0, case.clip_hu is not None),
    )
    assert found == case.found


def test_without_a_tube_voltage_heads_may_be_as_dark_as_at_the_highest() -> None:
    assert lowest_head_hu(None, False) == lowest_head_hu(140.0, False)
    assert lowest_head_hu(140.0, False) < lowest_head_hu(120.0, False)
    assert lowest_head_hu(None, True) == 0.0


def test_a_lone_object_may_be_a_leak_and_a_screw_may_not() -> None:
    for item, sides in ((SCREW, (Side.LEFT,)), (LONE, ())):
        seen = MetalDoubts((item,), {}, frozenset({"L2"}))
        doubts = LevelDoubts.of(seen, frozenset({"L2"}), frozenset())
        assert doubts.metal == {"L2": sides}
        assert doubts.lone == (frozenset({"L2"}) if item.lone else frozenset())


@dataclass(frozen=True)
class PartCase:
    """A ball of other hardware, so far from the head's centre towards the tip."""

    name: str
    ahead_mm: float
    radius_mm: float
    ceiling_hu: float | None
    told: bool


PART_CASES = (
    PartCase("in front", 6.0, 5.0, 3071.0, True),
    PartCase("level with the head", 0.0, 5.0, 3071.0, False),
    PartCase("set screw in front", 6.0, 3.5, 3071.0, False),
    PartCase("extended scale", 6.0, 5.0, None, False),
)


@pytest.mark.parametrize("case", PART_CASES, ids=lambda case: case.name)
def test_a_part_in_front_of_a_head_may_be_cement(case: PartCase) -> None:
    """Balls of 0.52 and 0.18 mL beside a head whose screw points forwards."""
    region = whole(vertebroplasty())
    screw = ScrewModel(
        "L2",
        Side.LEFT,
        ScrewAxis(np.array([15.0, 36.0, 36.0]), np.array([0.0, -1.0, 0.0])),
        neck_mm=5.0,
        tip_mm=45.0,
        shaft=ShaftProfile(3.0, 0.5, 3071.0),
        thread=ThreadEstimate(3.0, 0.0),
        tip_uncertainty_mm=0.5,
        free_length_mm=20.0,
        has_shape=True,
    )
    ball = Ellipsoid((25.0, 36.0 - case.ahead_mm, 36.0), (case.radius_mm,) * 3)
    grid = np.stack(np.meshgrid(*map(np.arange, region.hu.shape), indexing="ij"), -1)
    inside = ball.contains(region.geometry.index_to_lps(grid))
    notices = doubted_metal_notices(
        region, np.where(inside, 3, 0), (screw,), case.ceiling_hu
    )
    assert bool(notices) is case.told
    assert all("left screw of L2" in notice.message for notice in notices)
