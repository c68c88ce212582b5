"""From a bright line to a screw: centre line, edge and radius.

The shaft is read where it is free: where its cross-sections are round, even and not
surrounded by cement or hardware. Its edge lies at half of its own brightness, or, on a
clipped scan, just below the ceiling.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.segmentation.implants.implant_metals import TITANIUM_HU
from cemscope.segmentation.implants.screw_profile import (
    AXIAL_STEP_MM,
    CrossSections,
    RoundSections,
    ScrewAxis,
    Sector,
    ShaftPrior,
    ShaftProfile,
    fit_shaft,
)
from cemscope.segmentation.implants.screw_thread import expected_groove
from cemscope.segmentation.implants.shaft_contour import (
    ShaftContour,
    neutral_sector,
    read_contour,
)
from cemscope.segmentation.scan_region import FloatArray, ScanRegion
from cemscope.volume import BoolArray


@dataclass(frozen=True, slots=True)
class ScrewSettings:
    """What counts as a pedicle screw.

    Attributes
    ----------
    minimum_radius_mm, maximum_radius_mm
        Radius of the shaft at its free part.
    minimum_length_mm
        Straight core from head to tip.
    minimum_free_length_mm
        Length on which the shaft must be round, even and free of cement.
    minimum_head_radius_mm
        Smaller widenings behind a shaft are no head.
    headless_free_length_mm, headless_radius_mm
        Length and radius without which a shaft whose head lies outside the scan is
        undecided: cement in the track of a needle can be as straight.
    certain_share
        A shaft that reaches this share of titanium's brightness needs no head. Only
        where the scan is not clipped.
    darkest_share
        Nothing below this share of titanium's brightness is metal. Likewise.
    maximum_roughness_mm
        Root mean square deviation of a free cross-section from a circle.
    maximum_elongation
        Half the difference of a section's longest and shortest radius, over the
        radius.
    search_angle_deg
        Widest angle between screw and the vertebra's posterior axis.
    """

    minimum_radius_mm: float = 1.5
    maximum_radius_mm: float = 4.75
    minimum_length_mm: float = 20.0
    minimum_free_length_mm: float = 5.0
    minimum_head_radius_mm: float = 4.0
    headless_free_length_mm: float = 15.0
    headless_radius_mm: float = 2.0
    certain_share: float = 0.65
    darkest_share: float = 0.45
    maximum_roughness_mm: float = 0.45
    maximum_elongation: float = 0.3
    search_angle_deg: float = 45.0


@dataclass(frozen=True, slots=True)
class Brightness:
    """How bright metal is in a scan.

    Attributes
    ----------
    level_hu : float
        The line was searched among voxels at least this bright.
    ceiling_hu : float or None
        Value at which the scan is clipped.
    titanium_hu : float
        What a titanium shaft would read without clipping.
    """

    level_hu: float
    ceiling_hu: float | None
    titanium_hu: float = TITANIUM_HU

    def edge_level_hu(self, plateau_hu: float, outside_hu: float) -> float:
        """Value at which the edge of a shaft is read."""
        if self.ceiling_hu is not None and plateau_hu >= 0.97 * self.ceiling_hu:
            return max(self.level_hu, 0.93 * self.ceiling_hu)
        return 0.5 * (plateau_hu + min(max(outside_hu, 0.0), 0.5 * plateau_hu))


@dataclass(frozen=True, slots=True, eq=False)
class AxisFit:
    """A centre line with its cross-sections, before radius and tip are known.

    Attributes
    ----------
    region : ScanRegion
        The scan around it.
    axis : ScrewAxis
        Runs through the centres of the free cross-sections.
    sections : CrossSections
        Rays around the axis, without the dark bore of a cannulated shaft.
    level_hu : float
        Value at which edges were read.
    plateau_hu : float
        Brightness inside the free shaft.
    edge_mm : ndarray
        Edge per plane and ray.
    ellipses : RoundSections
        Ellipses fitted to the edges.
    free : ndarray of bool
        Planes that show the free shaft.
    streaky : bool
        Whether the shaft showed only in sections steadied along the axis.
    """

    region: ScanRegion
    axis: ScrewAxis
    sections: CrossSections
    level_hu: float
    plateau_hu: float
    edge_mm: FloatArray
    ellipses: RoundSections
    free: BoolArray
    streaky: bool

    @property
    def radius_mm(self) -> FloatArray:
        """Mean radius per plane."""
        return self.ellipses.radius_mm

    @property
    def typical_mm(self) -> float:
        """Radius of the free shaft at the edge level."""
        return float(np.median(self.radius_mm[self.free]))

    @property
    def free_length_mm(self) -> float:
        """Length of the free shaft."""
        return float(self.free.sum()) * AXIAL_STEP_MM

    @property
    def middle_mm(self) -> float:
        """Middle of the free shaft."""
        return float(self.sections.t_mm[self.free].mean())

    def bare(self) -> BoolArray:
        """Planes whose shaft is surrounded by neither cement nor metal."""
        bare = self._surely_bare()
        return bare if bare.sum() >= LEAST_BARE_PLANES else self.free

    @property
    def in_cement(self) -> bool:
        """Whether no part of the shaft is surely bare: its edge may be cement's."""
        return bool(self._surely_bare().sum() < LEAST_BARE_PLANES)

    def _surely_bare(self) -> BoolArray:
        ring = _ring_hu(self.sections, self.typical_mm)
        bare: BoolArray = self.free & (ring < 0.35 * self.plateau_hu)
        return bare

    @property
    def shadow_hu(self) -> float:
        """Darkest twentieth of the ring outside the shaft's blur."""
        r = self.sections.radius_mm
        ring = (r > self.typical_mm + 1.6) & (r < self.typical_mm + 4.5)
        return float(np.quantile(self.sections.hu[self.bare()][:, :, ring], 0.05))

    def shaft(self, brightness: Brightness, blur_mm: float | None) -> ShaftProfile:
        """Fit radius and brightness to the bare planes."""
        bare = self.bare()
        cosine, sine = np.median(self.ellipses.elongation_mm[bare], axis=0)
        amount = float(np.hypot(cosine, sine))
        edge = self.typical_mm
        sector: Sector | None = None
        if amount > ROUND_ENOUGH * edge:
            sector = neutral_sector(self.axis, self.region.geometry)
            longest = 0.5 * float(np.arctan2(sine, cosine))
            if amount > DRAWN_OUT * edge and (
                sector is None or _across_slices(self.axis, longest, self.region)
            ):
                sector = Sector((longest + 0.5 * np.pi,), NARROW_HALF_WIDTH_RAD)
                edge = max(edge - 0.7 * amount, MINIMUM_EDGE_MM)
        t = self.sections.t_mm[bare]
        prior = ShaftPrior(
            edge,
            self.groove(),
            brightness.titanium_hu,
            brightness.ceiling_hu,
            blur_mm,
            sector,
        )
        return fit_shaft(self.region, self.axis, t, prior)

    def groove(self) -> float:
        """Expect a depth of the thread, over the outer radius."""
        return expected_groove(self.sections, self.bare(), self.level_hu, self.region)

    def contour(self, blur_mm: float) -> ShaftContour:
        """Contour of the bare planes where streaks disturb it least."""
        return read_contour(
            self.sections,
            self.bare(),
            self.axis,
            self.region.geometry,
            self.level_hu,
            blur_mm,
        )


def _across_slices(axis: ScrewAxis, angle_rad: float, region: ScanRegion) -> bool:
    """Tell whether a direction across a shaft leads from slice to slice.

    Thick slices draw a shaft out that way, streaks draw it out in the slice plane.
    """
    first, second = axis.cross_vectors()
    direction = np.cos(angle_rad) * first + np.sin(angle_rad) * second
    step = region.geometry.affine_lps[:3, 0]
    return bool(abs(direction @ step) > 0.7 * np.linalg.norm(step))


def fit_axis(
    region: ScanRegion,
    axis: ScrewAxis,
    brightness: Brightness,
    settings: ScrewSettings,
    streaky: bool = False,
) -> AxisFit | None:
    """Move an axis into the centres of its free cross-sections.

    Parameters
    ----------
    streaky
        Steady the sections along the axis and let them be drawn out: between shafts
        of cobalt chrome or at low tube voltage streaks are as bright as metal.

    Returns
    -------
    AxisFit or None
        None where less than ``minimum_free_length_mm`` is round and even.
    """
    t = np.arange(-45.0, 45.0, AXIAL_STEP_MM)
    level = plateau = brightness.level_hu
    roughest = settings.maximum_roughness_mm * (1.5 if streaky else 1.0)
    longest = settings.maximum_elongation * (2.0 if streaky else 1.0)
    for _ in range(6):
        sections = CrossSections.sample(region, axis, t)
        if streaky:
            sections = sections.steadied(STEADY_MM)
        sections = sections.without_bore()
        edge = sections.edge_mm(level)
        ellipses = RoundSections.fit(edge)
        radius, offset = ellipses.radius_mm, ellipses.offset_mm
        stretched = np.linalg.norm(ellipses.elongation_mm, axis=1)
        free = (
            (ellipses.roughness_mm < roughest)
            & (stretched < longest * radius)
            & (radius > settings.minimum_radius_mm * 0.8)
            & (radius < settings.maximum_radius_mm + 1.0)
            & (np.abs(t) < 32.0)
        )
        free = _main_run(free, radius)
        if free.sum() * AXIAL_STEP_MM < settings.minimum_free_length_mm:
            return None
        typical = float(np.median(radius[free]))
        plateau = float(np.median(sections.plateau_hu(typical)[free]))
        previous, used, axis = axis, level, _refit(axis, t[free], offset[free])
        outside = float(np.median(_ring_hu(sections, typical)[free]))
        level = brightness.edge_level_hu(plateau, outside)
    return AxisFit(
        region, previous, sections, used, plateau, edge, ellipses, free, streaky
    )


STEADY_MM = 4.0
"""Length over which streaky sections are steadied: more than a pitch."""

ROUND_ENOUGH = 0.05
"""Sections less drawn out than this share of the radius are read all around."""

LEAST_BARE_PLANES = 6

DRAWN_OUT = 0.25
"""Sections drawn out by more than this share are read in their narrow direction where
it is the slices that draw them out."""

NARROW_HALF_WIDTH_RAD = np.deg2rad(50.0)
"""Half-width of the sector around the narrow direction of a drawn-out section."""

MINIMUM_EDGE_MM = 1.0


def _ring_hu(sections: CrossSections, radius_mm: float) -> FloatArray:
    """Brightest quarter of the ring just outside the shaft's blur, per plane."""
    r = sections.radius_mm
    ring = sections.hu[:, :, (r >= radius_mm + 1.2) & (r <= radius_mm + 2.4)].mean(
        axis=2
    )
    upper: FloatArray = np.quantile(ring, 0.75, axis=1)
    return upper


def _main_run(free: npt.NDArray[np.bool_], radius: FloatArray) -> BoolArray:
    """Free planes whose radius agrees with the most frequent one."""
    if not free.any():
        return free
    # Cement and heads only widen a section: the shaft is the narrow, even part.
    narrow = float(np.percentile(radius[free], 30.0))
    agreeing: BoolArray = free & (np.abs(radius - narrow) < 0.5)
    return agreeing


def _refit(axis: ScrewAxis, t: FloatArray, offset: FloatArray) -> ScrewAxis:
    """Shift and tilt an axis so that it runs through the centres of its free planes."""
    first, second = axis.cross_vectors()
    if np.ptp(t) < 4.0:
        shift = offset.mean(axis=0)
        return ScrewAxis(
            axis.point + shift[0] * first + shift[1] * second, axis.forward
        )
    a = _robust_line(t, offset[:, 0])
    b = _robust_line(t, offset[:, 1])
    forward = axis.forward + a[0] * first + b[0] * second
    point = axis.point + a[1] * first + b[1] * second
    return ScrewAxis(point, forward / np.linalg.norm(forward))


def _robust_line(t: FloatArray, value: FloatArray) -> tuple[float, float]:
    """Slope and intercept; planes with a streak or cement on one side count less."""
    weight = np.ones_like(t)
    slope = intercept = 0.0
    for _ in range(4):
        slope, intercept = (float(c) for c in np.polyfit(t, value, 1, w=weight))
        error = np.abs(value - slope * t - intercept)
        spread = max(1.4826 * float(np.median(error)), 0.05)
        weight = np.sqrt(1.0 / np.maximum(error / spread, 1.0))
    return slope, intercept
