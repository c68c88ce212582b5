"""How bright implant metals would read without clipping."""

import numpy as np

TITANIUM_HU = 6500.0
"""Titanium pedicle screw at 120 kVp ("A study on a pedicle-screw-based reduction
method for artificially reduced artifacts"); rods reach 6,310-8,420 HU at 140-100 kVp on
16-bit scales ("Effect of 16-bit CT imaging of metallic implants on dose distribution in
radiotherapy"). A prior only, used where clipping hides the metal's value."""

TITANIUM_RATIO = ((80.0, 100.0, 120.0, 140.0), (1.56, 1.21, 1.0, 0.86))
"""Tube voltage, and titanium's brightness over that at 120 kVp."""

STRONG_METAL_HU = 12500.0
"""Steel and cobalt chrome: 12,295-13,568 HU at 140-100 kVp on 16-bit scales ("Effect of
16-bit CT imaging of metallic implants on dose distribution in radiotherapy")."""

SHADOW_HU, SHADOW_WIDTH_HU = -400.0, 100.0
"""Shadows beside shafts that leave it open whether a clipped scan's metal is titanium
or stronger, and how sharply they tell [ours, from simulated scans]. Shadows depend on
the scanner, too: beside titanium -850 HU was measured once ("sheep, 120 kVp", BMC Med
Imaging 2021, doi:10.1186/s12880-021-00554-y). The doubt becomes part of the diameter's
uncertainty."""

USUAL_CEMENT_SHARE, BRIGHTEST_CEMENT_SHARE = 0.6, 0.9
"""Cement over titanium. Set cement with 20 % of barium sulphate, as much as is sold for
vertebrae, reads 0.47 to 0.50 of it at 80 to 140 kVp behind 25 cm of water, with 30 %
0.70 to 0.77 (calculated with `cemscope.testing.attenuation`); with a margin."""

LEAST_DOUBT = 0.05
"""Neither metal is ever excluded by shadows."""


def titanium_hu(kvp: float | None) -> float:
    """Brightness of a titanium shaft inside the body.

    The ratios of the tube voltages follow from its attenuation behind 25 cm of water
    (calculated).
    """
    ratio = np.interp(kvp or 120.0, *TITANIUM_RATIO)
    return TITANIUM_HU * float(ratio)


def strong_metal_share(shadow_hu: float) -> float:
    """Probability that shadows as dark as these come from steel or cobalt chrome."""
    odds = np.exp(np.clip((shadow_hu - SHADOW_HU) / SHADOW_WIDTH_HU, -30.0, 30.0))
    return float(np.clip(1.0 / (1.0 + odds), LEAST_DOUBT, 1.0 - LEAST_DOUBT))
