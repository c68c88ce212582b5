"""Shafts without a head: cement of a needle's track may be as bright as titanium."""

from dataclasses import dataclass

import numpy as np
import pytest

from cases.augmented_spines import vertebroplasty
from cemscope.findings import Side
from cemscope.segmentation.implants.metal_proof import bright_casts
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import ScrewAxis, ShaftProfile
from cemscope.segmentation.implants.screw_settings import Brightness
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.segmentation.implants.screws import search_screws
from cemscope.segmentation.scan_region import ScanRegion, box_of
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid
from cemscope.testing.phantoms import (
    Contrast,
    Implant,
    Phantom,
    Scanner,
    build_phantom,
)

CEMENT_HU = 4600.0


@dataclass(frozen=True)
class ShaftCase:
    name: str
    shaft_hu: float
    is_cast: bool
    cement_hu: float = CEMENT_HU
    other_has_shape: bool = False
    ceiling_hu: float | None = None


CASES = (
    ShaftCase("darker than cement", 4200.0, True),
    ShaftCase("brighter than cement", 5200.0, False),
    ShaftCase("beside a screw with a head", 4200.0, False, other_has_shape=True),
    ShaftCase("clipped scale", 4200.0, False, ceiling_hu=4700.0),
    ShaftCase("more than cement can read", 4200.0, False, cement_hu=6200.0),
)


def shaft(side: Side, hu: float, has_shape: bool) -> ScrewModel:
    return ScrewModel(
        "L4",
        side,
        ScrewAxis(np.array([60.0, 20.0, 0.0]), np.array([0.0, -1.0, 0.0])),
        neck_mm=2.0,
        tip_mm=55.0,
        shaft=ShaftProfile(2.2, 0.5, hu),
        thread=ThreadEstimate(2.2, 0.0),
        tip_uncertainty_mm=0.5,
        free_length_mm=30.0,
        has_shape=has_shape,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_headless_shaft_no_brighter_than_cement_is_none(case: ShaftCase) -> None:
    phantom = vertebroplasty(
        scanner=Scanner(clip_hu=None), contrast=Contrast(cement_hu=case.cement_hu)
    )
    ct, spine = phantom.ct, phantom.spine
    region = ScanRegion.of_box(
        ct, spine.labels, box_of(np.zeros(3, int), np.array(ct.hu.shape))
    )
    headless = shaft(Side.LEFT, case.shaft_hu, False)
    other = shaft(Side.RIGHT, 7000.0, case.other_has_shape)
    found = bright_casts(
        (headless, other), region, spine, Brightness(2900.0, case.ceiling_hu)
    )
    assert found == ((headless,) if case.is_cast else ())


def needle_track(shaft_hu: float) -> Phantom:
    """A ball of cement in L5, and a straight bare shaft through L4's pedicle."""
    ball = Implant(Ellipsoid((0.0, -4.0, 0.0), (8.0, 8.0, 7.0)), level="L5")
    track = Cylinder((13.0, 38.0, 40.0), (9.0, -6.0, 40.0), 2.3)
    return build_phantom(
        ("L5", "L4"),
        (ball, Implant(track, level="L4", hu=shaft_hu)),
        Scanner(clip_hu=None),
        Contrast(cement_hu=5000.0),
    )


@pytest.mark.parametrize(("shaft_hu", "screws"), [(4950.0, 0), (8500.0, 1)])
def test_cement_of_a_needle_is_no_screw(shaft_hu: float, screws: int) -> None:
    phantom = needle_track(shaft_hu)
    found = search_screws(phantom.ct, phantom.spine, 3000.0)
    assert len(found.screws) == screws
    assert len(found.undecided) == 1 - screws
