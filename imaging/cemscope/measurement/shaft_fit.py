"""Radius, axis and blur of all shafts of a scan, from their flanks at once.

Blur belongs to the scan and brightness to the metal: one value each explains the
flanks of all shafts, and a shaft's radius is then no longer traded against them.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import special

from cemscope.measurement.shaft_blur import EdgeBlur
from cemscope.measurement.shaft_flank import ExpectedMetal, Flank
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import CREST_SHARE, ScrewAxis
from cemscope.segmentation.scan_region import (
    FloatArray,
    ScanRegion,
    coordinate_along_mm,
)

BLUR_MM, BLUR_SPREAD = 0.55, 0.2
"""Usual blur of a scan, and its relative spread: sharp kernels to soft ones [ours]."""

THROUGH_SPREAD = 0.7
"""Spread of what the variance across the slices has more than their thickness tells,
over the variance in them [ours]."""

BRIGHT_SPREAD, BRIGHT_DIFFERS = 0.12, 0.04
"""Relative spread of a metal's brightness around the expected one, and from shaft to
shaft of a scan [ours]."""

GROOVE_SPREAD_MM, AXIS_SPREAD_MM, LEAST_EDGE_SPREAD_MM = 0.12, 0.15, 0.2
"""Usual error of a thread's depth, of an axis at its ends, and of a radius."""

TISSUE_HU, TISSUE_SPREAD_HU, TISSUE_SLOPE_HU = 100.0, 150.0, 150.0
"""Tissue at a shaft's surface and its spread, and that of its change per mm outwards:
a gap, marrow or cortex may lie there [ours]."""

THREAD_MM = 0.1
"""How far a single voxel of the flank may lie off the model because of the thread
[ours]."""

VOXELS_THAT_COUNT = 150
"""Independent places that the flank of a shaft is worth [ours]."""

ROUNDS = 8
MOST_STEP = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class FittedShafts:
    """All shafts of a scan.

    Attributes
    ----------
    screws : tuple of ScrewModel
        With axis, radius, thread and blur as fitted. Their brightness stays what the
        scan shows, streaks included.
    metal_hu : tuple of float
        Brightness of their metal without streaks; 0 for a shaft that was not fitted.
    blur : EdgeBlur
        Of the scan.
    """

    screws: tuple[ScrewModel, ...]
    metal_hu: tuple[float, ...]
    blur: EdgeBlur


def metal_beside(
    part: ScanRegion, screw: ScrewModel, metal_hu: float, blur: EdgeBlur
) -> FloatArray:
    """HU that a fitted shaft adds to the voxels around it."""
    geometry = part.geometry
    first, second = screw.axis.cross_vectors()
    across, along = (
        np.asarray(coordinate_along_mm(geometry, screw.axis.point, axis))
        for axis in (first, second)
    )
    distance = np.maximum(np.hypot(across, along), 1e-3)
    normal = geometry.directions_lps[0]
    rise = (across * (first @ normal) + along * (second @ normal)) / distance
    sigma = blur.sigma_mm(rise**2)
    shaft = screw.shaft
    outside = distance - shaft.radius_mm + sigma**2 / (2.0 * shaft.radius_mm)
    metal: FloatArray = metal_hu * _share(outside, shaft.groove_mm, sigma)
    return metal


def _share(
    outside_mm: FloatArray, groove_mm: float, sigma_mm: FloatArray
) -> FloatArray:
    share: FloatArray = CREST_SHARE * special.ndtr(-outside_mm / sigma_mm)
    share += (1.0 - CREST_SHARE) * special.ndtr(-(outside_mm + groove_mm) / sigma_mm)
    return share


def fit_flanks(
    flanks: list[Flank | None],
    screws: tuple[ScrewModel, ...],
    thick_mm2: float,
    metal: ExpectedMetal,
) -> FittedShafts:
    """Fit all shafts together, by robust Gauss-Newton with Gaussian priors.

    Parameters
    ----------
    flanks
        Of each screw; None where it is not seen.
    screws
        As they were fitted one by one.
    thick_mm2
        Variance that slices thicker than the pixels add across them.
    """
    seen = [flank for flank in flanks if flank is not None]
    fit = _Fit(seen, thick_mm2, metal)
    for _ in range(ROUNDS):
        fit.step()
    blur = fit.blur
    fitted, metal_hu, k = [], [], 0
    for flank, screw in zip(flanks, screws, strict=True):
        if flank is None:
            fitted.append(screw)
            metal_hu.append(0.0)
            continue
        fitted.append(fit.screw(k))
        metal_hu.append(fit.metal_hu(k))
        k += 1
    return FittedShafts(tuple(fitted), tuple(metal_hu), blur)


BLUR, THROUGH, BRIGHT = 0, 1, 2
SHARED = 3
EDGE, GROOVE, OWN_BRIGHT, SHIFT, TILT = 0, 1, 2, slice(3, 5), slice(5, 7)
LEVEL, SLOPE = 7, 8
OWN = 9
"""Parameters of the scan (logarithm of the blur, variance across the slices relative to
that in them, logarithm of the brightness) and of each shaft (surface moved out, mm;
thread deeper, mm; logarithm of its brightness over the scan's; axis moved and tilted,
mm; tissue at the surface and its change outwards, in thousands of HU and per mm)."""

UNIT_HU = 1000.0


@dataclass(slots=True, eq=False)
class _Fit:
    flanks: list[Flank]
    thick_mm2: float
    metal: ExpectedMetal
    value: FloatArray = field(init=False)
    normal: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.value = np.zeros(SHARED + OWN * len(self.flanks))
        for k in range(len(self.flanks)):
            self.value[self._own(k)][LEVEL] = TISSUE_HU / UNIT_HU
        self.normal = np.diag(self._prior() ** -2.0)

    def _own(self, k: int) -> slice:
        return slice(SHARED + OWN * k, SHARED + OWN * (k + 1))

    def _prior(self) -> FloatArray:
        prior = [BLUR_SPREAD, THROUGH_SPREAD, self.metal.spread]
        for flank in self.flanks:
            known = flank.screw.shaft.radius_deviation_mm
            prior += [max(known, LEAST_EDGE_SPREAD_MM), GROOVE_SPREAD_MM]
            prior += [BRIGHT_DIFFERS] + [AXIS_SPREAD_MM] * 4
            prior += [TISSUE_SPREAD_HU / UNIT_HU, TISSUE_SLOPE_HU / UNIT_HU]
        return np.array(prior)

    @property
    def blur(self) -> EdgeBlur:
        plane = BLUR_MM * float(np.exp(self.value[BLUR]))
        return EdgeBlur(plane, self.thick_mm2 + plane**2 * float(self.value[THROUGH]))

    def model(self, flank: Flank, shared: FloatArray, own: FloatArray) -> FloatArray:
        """HU of a flank's voxels."""
        plane = BLUR_MM * float(np.exp(shared[BLUR]))
        blur = EdgeBlur(plane, self.thick_mm2 + plane**2 * float(shared[THROUGH]))
        sigma = blur.sigma_mm(flank.share)
        shaft = flank.screw.shaft
        radius = shaft.radius_mm + own[EDGE]
        outside = flank.distance_mm - radius
        # The half value of a blurred cylinder lies a little inside its edge.
        outside += sigma**2 / (2.0 * max(radius, 1.0))
        for k in range(2):
            moved = own[SHIFT][k] + own[TILT][k] * flank.end
            outside -= flank.outwards[k] * moved
        groove = max(shaft.groove_mm + own[GROOVE], 0.0)
        share = _share(outside, groove, sigma)
        bright = self.metal.metal_hu * np.exp(shared[BRIGHT] + own[OWN_BRIGHT])
        away = flank.distance_mm - shaft.radius_mm
        tissue = UNIT_HU * (own[LEVEL] + own[SLOPE] * np.maximum(away, 0.0))
        hu: FloatArray = tissue + (bright - tissue) * share
        return hu

    def step(self) -> None:
        """One round of Gauss-Newton."""
        prior = self._prior()
        expected = np.zeros(prior.size)
        for k in range(len(self.flanks)):
            expected[self._own(k)][LEVEL] = TISSUE_HU / UNIT_HU
        normal = np.diag(prior**-2.0)
        right = (expected - self.value) / prior**2
        shared = self.value[:SHARED]
        for k, flank in enumerate(self.flanks):
            own = self.value[self._own(k)]
            now = self.model(flank, shared, own)
            columns = np.empty((flank.hu.size, SHARED + OWN))
            for j in range(SHARED + OWN):
                step = np.zeros(SHARED + OWN)
                step[j] = STEP
                moved = self.model(flank, shared + step[:SHARED], own + step[SHARED:])
                columns[:, j] = (moved - now) / STEP
            error = flank.hu - now
            steep = THREAD_MM * columns[:, SHARED + EDGE]
            spread = np.sqrt(TISSUE_SPREAD_HU**2 + flank.doubt_hu**2 + steep**2)
            weight = min(1.0, VOXELS_THAT_COUNT / error.size) / spread**2
            weight /= np.maximum(np.abs(error) / (1.5 * spread), 1.0)
            where = np.r_[0:SHARED, self._own(k)]
            normal[np.ix_(where, where)] += (columns * weight[:, None]).T @ columns
            right[where] += columns.T @ (weight * error)
        change = np.linalg.solve(normal, right)
        self.value = self.value + np.clip(change, -MOST_STEP, MOST_STEP)
        self.normal = normal

    def metal_hu(self, k: int) -> float:
        """Brightness of a shaft's metal."""
        own = self.value[self._own(k)][OWN_BRIGHT]
        return self.metal.metal_hu * float(np.exp(self.value[BRIGHT] + own))

    def screw(self, k: int) -> ScrewModel:
        """Return a screw as it was fitted."""
        flank, own = self.flanks[k], self.value[self._own(k)]
        screw, (low, high) = flank.screw, flank.part_mm
        middle, half = 0.5 * (low + high), 0.5 * (high - low)
        point, forward = screw.axis.point, screw.axis.forward
        for j, vector in enumerate(screw.axis.cross_vectors()):
            slope = own[TILT][j] / half
            point = point + (own[SHIFT][j] - slope * middle) * vector
            forward = forward + slope * vector
        shaft = screw.shaft
        place = self._own(k).start + EDGE
        told = float(np.linalg.inv(self.normal)[place, place])
        apart = APART_SHARE * float(own[EDGE])
        return replace(
            screw,
            axis=ScrewAxis(point, forward / np.linalg.norm(forward)),
            shaft=replace(
                shaft,
                radius_mm=shaft.radius_mm + float(own[EDGE]),
                groove_mm=max(shaft.groove_mm + float(own[GROOVE]), 0.0),
                sigma_mm=self.blur.plane_mm,
                radius_deviation_mm=float(
                    np.linalg.norm([MODEL_ERROR_MM, np.sqrt(told), apart])
                ),
            ),
        )


STEP = 1e-3

APART_SHARE = 0.4
"""Of two radii that a shaft is given by different ways, the error of the better one is
about this share of their difference [ours]."""

MODEL_ERROR_MM = 0.08
"""What a radius errs by when all else is known [ours, from simulated scans]."""
