"""Radii of all shafts of a scan, which share blur and metal, and how sure they are."""

from dataclasses import dataclass, replace

import numpy as np

from cemscope.segmentation.implants.implant_metals import (
    STRONG_METAL_HU,
    strong_metal_share,
)
from cemscope.segmentation.implants.screw_fit import AxisFit
from cemscope.segmentation.implants.screw_profile import (
    SHAFT_BLUR_SIGMA_MM,
    ShaftProfile,
)
from cemscope.segmentation.implants.screw_settings import Brightness
from cemscope.segmentation.implants.shaft_contour import ShaftContour, crest_radius_mm

BLUR_RANGE_MM = (0.4, 0.7)
"""Across the slices' plane, sharp to soft kernels [ours]."""


@dataclass(frozen=True, slots=True)
class Metals:
    """What a clipped scan's metal may be.

    Attributes
    ----------
    titanium_hu, strong_hu : float
        Brightness of titanium, and of steel or cobalt chrome.
    strong_share : float
        Probability of the latter.
    """

    titanium_hu: float
    strong_hu: float
    strong_share: float

    @classmethod
    def told_by(cls, fits: list[AxisFit], brightness: Brightness) -> "Metals":
        """Weigh titanium against stronger metals by the shadows beside the shafts."""
        shadow = float(np.median([fit.shadow_hu for fit in fits]))
        titanium = brightness.titanium_hu
        strong = max(STRONG_METAL_HU, 1.3 * titanium)
        return cls(titanium, strong, strong_metal_share(shadow))

    def as_bright_as(self, likely_hu: float) -> "Metals":
        """Scale both so that the likely one reads ``likely_hu``."""
        ratio = likely_hu / self.likely_hu
        return Metals(
            ratio * self.titanium_hu, ratio * self.strong_hu, self.strong_share
        )

    @property
    def likely_hu(self) -> float:
        """Brightness to calculate with: between the two, by their probability."""
        share = self.strong_share
        return float(self.titanium_hu ** (1.0 - share) * self.strong_hu**share)


def fit_shafts(
    fits: list[AxisFit], brightness: Brightness
) -> tuple[list[ShaftProfile], Brightness]:
    """Fit the shafts of one scan.

    Returns
    -------
    list of ShaftProfile
        One per fit.
    Brightness
        With the brightness that metal is taken to have where clipping hides it.
    """
    metals = Metals.told_by(fits, brightness)
    if brightness.ceiling_hu is not None:
        brightness = replace(brightness, titanium_hu=metals.likely_hu)
    first = [fit.shaft(brightness, None) for fit in fits]
    # Blur belongs to the scan, not to a screw: all flanks share it.
    seen = [s.sigma_mm for s, fit in zip(first, fits, strict=True) if not fit.streaky]
    blur = float(np.median(seen)) if seen else SHAFT_BLUR_SIGMA_MM
    if brightness.ceiling_hu is not None:
        # Clipped flanks do not tell blur from brightness.
        blur = float(np.clip(blur, *BLUR_RANGE_MM))
        metals = metals.as_bright_as(_clipped_metal_hu(fits, brightness, blur))
        brightness = replace(brightness, titanium_hu=metals.likely_hu)
    return [_shaft(fit, metals, brightness, blur) for fit in fits], brightness


def _clipped_metal_hu(
    fits: list[AxisFit], brightness: Brightness, blur_mm: float
) -> float:
    """Brightness of a scan's clipped metal from how steeply its flanks fall.

    With a known blur the flank of a brighter shaft falls more steeply. Shafts that lie
    in the slice plane starve the beam: their inside falls below the ceiling, and their
    flanks, which do not, seem wide and shallow. Only lit shafts tell.
    """
    expected = brightness.titanium_hu
    ceiling_hu = float(brightness.ceiling_hu or 0.0)
    shafts = [fit.shaft(brightness, blur_mm, METAL_SPREAD) for fit in fits]
    lit = [s.metal_hu for s in shafts if s.metal_hu >= LIT_SHARE[0] * ceiling_hu]
    if not lit:
        return IN_BODY_SHARE * expected
    # Flanks are not sure either: streaks lie on them. Both count alike.
    return float(np.sqrt(LIT_BODY_SHARE * expected * np.median(lit)))


METAL_SPREAD, METAL_DIFFERS = 0.25, 0.1
"""Relative spread of what one metal reads from scan to scan, and within a scan [ours].
"""

LIT_SHARE = (1.3, 1.8)
"""A flank that falls as from this many times the ceiling is that of a lit shaft: below
the first it tells nothing of the radius, above the second as much as the contour."""

IN_BODY_SHARE, LIT_BODY_SHARE = 0.8, 0.9
"""Brightness of a shaft's edge inside the body over that of a single rod: on extended
scales starved shafts read 3,500 to 4,700 HU, lit ones up to 7,400 HU at 120 kVp. The
second where lit shafts are in the scan [ours, from simulated scans]."""


def _shaft(
    fit: AxisFit, metals: Metals, brightness: Brightness, blur_mm: float
) -> ShaftProfile:
    """Fit a shaft's profile and contour, and say how far the radius can be trusted."""
    differs = 0.05 if brightness.ceiling_hu is None else METAL_DIFFERS
    shaft = fit.shaft(brightness, blur_mm, differs)
    contour = fit.contour(blur_mm)
    ceiling = brightness.ceiling_hu
    bright = np.interp(fit.surrounded_share, SURROUNDED_SHARES, (0.0, 1.0))
    covered = COVERED_MM * (1.0 if fit.in_cement else float(bright))
    groove = fit.groove()
    # The half value of a blurred cylinder lies a little inside its edge.
    inside_mm = shaft.sigma_mm**2 / (2.0 * max(contour.radius_mm, 1.0))
    hidden = contour.level_hu > HALF_SEEN_SHARE * shaft.metal_hu
    if ceiling is None or (shaft.metal_hu <= ceiling and not hidden):
        # The half value is seen. The profile would put a bright surrounding into a
        # wide shaft with a deep thread.
        radius = crest_radius_mm(contour.radius_mm + inside_mm, groove)
        doubts = [0.3 * abs(radius - shaft.radius_mm)]
        if radius < HOLLOW_SHARE * shaft.radius_mm:
            radius = shaft.radius_mm  # the contour of a bore or a single wall
    else:
        radius, doubts = _hidden_radius_mm(shaft, contour, groove, metals, ceiling)
        bare = float(np.interp(shaft.metal_hu / ceiling, BARELY_HIDDEN, BARE_SHARES))
        if bare > 0.0:
            # The ceiling may just hide the shaft's brightness or much more of it.
            half_hu = 0.5 * (shaft.metal_hu + USUAL_BESIDE_HU)
            half = fit.contour(blur_mm, half_hu)
            seen = crest_radius_mm(half.radius_mm + inside_mm, groove)
            doubts.append(abs(seen - radius) * float(np.sqrt(bare * (1.0 - bare))))
            radius += bare * (seen - radius)
    return replace(
        shaft,
        radius_mm=radius,
        groove_mm=groove * radius,
        radius_deviation_mm=contour.deviation_mm(
            float(np.linalg.norm([*doubts, covered]))
        ),
    )


def _hidden_radius_mm(
    shaft: ShaftProfile,
    contour: ShaftContour,
    groove: float,
    metals: Metals,
    ceiling_hu: float,
) -> tuple[float, list[float]]:
    """Radius of a shaft whose brightness the ceiling hides, and its doubts in mm.

    Profile and contour err in different ways: the one with streaks on its flanks, the
    other with the metal's brightness.
    """
    radius, titanium, strong, darker, brighter = (
        contour.outer_radius_mm(hu, USUAL_BESIDE_HU, groove)
        for hu in (
            metals.likely_hu,
            metals.titanium_hu,
            metals.strong_hu,
            (1.0 - METAL_UNSURE) * metals.likely_hu,
            (1.0 + METAL_UNSURE) * metals.likely_hu,
        )
    )
    lit = float(np.interp(shaft.metal_hu / ceiling_hu, LIT_SHARE, (0.0, 1.0)))
    share = metals.strong_share
    doubt = abs(titanium - strong) * float(np.sqrt(share * (1.0 - share)))
    unsure = 0.5 * abs(darker - brighter) * (1.0 - 0.5 * lit)
    apart = 0.3 * lit * abs(radius - shaft.radius_mm)
    mean = 0.5 * lit * shaft.radius_mm + (1.0 - 0.5 * lit) * radius
    return mean, [doubt, unsure, apart]


BARELY_HIDDEN, BARE_SHARES = (0.9, 1.0, 1.1), (0.5, 0.15, 0.0)
"""A flank that falls as from this many times the ceiling, and how probable it then is
that the ceiling just reaches the shaft's brightness and does not hide much more.
Streaks make flanks shallower than metal does [ours, from simulated scans]."""

METAL_UNSURE = 0.2
"""Relative standard uncertainty of what clipped metal reads at its edge [ours]."""

HALF_SEEN_SHARE = 0.75
"""An edge that was read above this share of a shaft's brightness is not its half value.
"""

HOLLOW_SHARE = 0.7
"""A contour this much narrower than the profile is not that of the whole shaft."""

COVERED_MM = 0.25
"""Standard deviation of a radius where cement covers the whole shaft [ours]."""

SURROUNDED_SHARES = (0.4, 0.55)
"""A ring around the shaft this bright, over the shaft itself, is bone, and is cement
that may have widened or hidden it [ours: 0.1 to 0.35 in marrow]."""

USUAL_BESIDE_HU = 100.0
"""Spongy bone and muscle beside a shaft: of no weight against metal."""
