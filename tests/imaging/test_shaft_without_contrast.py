"""A shaft in surroundings that are all clipped, as steel beside a rod may be."""

import numpy as np

from cases.oblique_shaft import shaft_axis, shaft_geometry
from cemscope.segmentation.implants.screw_profile import ShaftPrior, fit_shaft
from cemscope.segmentation.scan_region import ScanRegion, box_of

SHAPE = (30, 60, 40)
CEILING_HU = 3071


def test_a_fit_without_contrast_is_no_failure() -> None:
    whole = box_of(np.zeros(3, int), np.array(SHAPE))
    region = ScanRegion(
        whole,
        np.full(SHAPE, CEILING_HU, np.int16),
        np.full(SHAPE, 22, np.uint8),
        shaft_geometry(SHAPE),
    )
    prior = ShaftPrior(3.0, 0.2, 7000.0, float(CEILING_HU))
    shaft = fit_shaft(region, shaft_axis(), np.arange(8.0, 30.0, 0.5), prior)
    assert np.isfinite([shaft.radius_mm, shaft.sigma_mm, shaft.metal_hu]).all()
