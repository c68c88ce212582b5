"""How bright cement can be on a shaft, told by cement away from all shafts."""

from dataclasses import dataclass

import numpy as np
import pytest

from cases.augmented_spines import fixation, vertebroplasty
from cemscope.segmentation.implants.cement_bound import (
    MIXTURE_SPREAD,
    cement_bound_hu,
)
from cemscope.segmentation.implants.screws import search_screws
from cemscope.segmentation.scan_region import ScanRegion, box_of
from cemscope.testing.phantom_shapes import Ellipsoid
from cemscope.testing.phantoms import (
    Contrast,
    Implant,
    Phantom,
    build_phantom,
    pedicle_screw,
)

USUAL_HU = 3900.0


@dataclass(frozen=True)
class BoundCase:
    name: str
    phantom: Phantom
    bound_hu: float


def _with_ball_below() -> Phantom:
    ball = Implant(Ellipsoid((4.0, -2.0, 0.0), (8.0, 8.0, 7.0)), level="L5", hu=1800)
    parts = [part for side in (-1, 1) for part in pedicle_screw(1, side, 3.0)]
    return build_phantom(("L5", "L4"), (ball, *parts))


CASES = (
    BoundCase(
        "cement of 1,800 HU",
        vertebroplasty(contrast=Contrast(cement_hu=1800.0)),
        MIXTURE_SPREAD * 1800.0,
    ),
    BoundCase(
        "clipped cement", vertebroplasty(contrast=Contrast(cement_hu=3700.0)), USUAL_HU
    ),
    BoundCase("nothing but screws", fixation(cemented=False), USUAL_HU),
    BoundCase(
        "cement on the shafts only",
        fixation(contrast=Contrast(cement_hu=1800.0)),
        USUAL_HU,
    ),
    BoundCase("cement below the screws", _with_ball_below(), MIXTURE_SPREAD * 1800.0),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bound_of_cement(case: BoundCase) -> None:
    ct, spine = case.phantom.ct, case.phantom.spine
    screws = search_screws(ct, spine, 2850.0).screws
    region = ScanRegion.of_box(
        ct, spine.labels, box_of(np.zeros(3, int), np.array(ct.hu.shape))
    )
    ceiling = None if ct.clipped_at_hu is None else float(ct.clipped_at_hu)
    found = cement_bound_hu(region, spine, screws, ceiling, USUAL_HU)
    # Noise of 20 HU, and blur of the shafts 3 mm away.
    assert found == pytest.approx(case.bound_hu, rel=0.04)
