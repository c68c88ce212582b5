"""From a bright line to a screw: centre line, edge and radius.

The shaft is read where it is free: where its cross-sections are round, even and not
surrounded by cement or hardware. Its edge lies at half of its own brightness, or, on a
clipped scan, just below the ceiling.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

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
from cemscope.segmentation.implants.screw_settings import (
    HIDING_SHARE,
    Brightness,
    ScrewSettings,
)
from cemscope.segmentation.implants.screw_thread import expected_groove
from cemscope.segmentation.implants.shaft_contour import (
    ShaftContour,
    neutral_sector,
    read_contour,
)
from cemscope.segmentation.scan_region import FloatArray, ScanRegion
from cemscope.volume import BoolArray


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
    levels_hu : ndarray, shape (planes,)
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
    ceiling_hu : float or None
        Value at which the scan is clipped.
    """

    region: ScanRegion
    axis: ScrewAxis
    sections: CrossSections
    levels_hu: FloatArray
    plateau_hu: float
    edge_mm: FloatArray
    ellipses: RoundSections
    free: BoolArray
    streaky: bool
    ceiling_hu: float | None

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
        """Planes that show nothing but the shaft: its narrowest part.

        A shaft is one cylinder up to its tip's cone: cement and cortex can only widen
        it. Planes that starved rays darken are left out where others are there.
        """
        planes = self._cylinder()
        width = round(STEADY_MM / AXIAL_STEP_MM) + 1
        radius = np.where(planes, self.radius_mm, np.nan)
        steady = _running_median(radius, width)
        if not np.isfinite(steady).any():
            return self.free
        narrow = float(np.nanpercentile(steady, 15.0))
        bare: BoolArray = planes & (steady <= narrow + EVEN_MM)
        return bare if bare.sum() >= LEAST_BARE_PLANES else self.free

    def _cylinder(self) -> BoolArray:
        """Free planes behind the cone of the tip, bright ones if there are enough."""
        core = self.sections.plateau_hu(self.typical_mm)
        ahead = self.sections.t_mm > self.middle_mm
        ends = ahead & (core < 0.5 * self.plateau_hu)
        end = float(self.sections.t_mm[int(np.argmax(ends))]) if ends.any() else np.inf
        behind: BoolArray = self.free & (self.sections.t_mm < end - LONGEST_CONE_MM)
        if behind.sum() < LEAST_BARE_PLANES:
            return self.free
        if self.ceiling_hu is None:
            return behind
        lit: BoolArray = behind & (core >= HIDING_SHARE * self.ceiling_hu)
        return lit if lit.sum() >= LEAST_LIT_PLANES else behind

    @property
    def in_cement(self) -> bool:
        """Whether no part of the shaft is surely bare: its edge may be cement's."""
        return bool(self._surely_bare().sum() < LEAST_BARE_PLANES)

    @property
    def surrounded_share(self) -> float:
        """Brightness around the planes that tell the radius, over the shaft's own."""
        ring = _ring_hu(self.sections, self.typical_mm)
        return float(np.median(ring[self.bare()]) / self.plateau_hu)

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

    def shaft(
        self,
        brightness: Brightness,
        blur_mm: float | None,
        metal_spread: float = 0.05,
    ) -> ShaftProfile:
        """Fit radius and brightness to the bare planes."""
        bare = self.bare()
        cosine, sine = np.median(self.ellipses.elongation_mm[bare], axis=0)
        amount = float(np.hypot(cosine, sine))
        edge = float(np.median(self.radius_mm[bare]))
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
            metal_spread,
        )
        return fit_shaft(self.region, self.axis, t, prior)

    def groove(self) -> float:
        """Expect a depth of the thread, over the outer radius."""
        return expected_groove(self.sections, self.bare(), self.levels_hu, self.region)

    def contour(self, blur_mm: float, level_hu: float | None = None) -> ShaftContour:
        """Contour of the bare planes where streaks disturb it least.

        Read where the edges were, or at one level in all planes.
        """
        levels = self.levels_hu
        if level_hu is not None:
            levels = np.full_like(levels, level_hu)
        return read_contour(
            self.sections, self.bare(), self.axis, self.region.geometry, levels, blur_mm
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
    plateau = brightness.level_hu
    levels = np.full(len(t), plateau)
    roughest = settings.maximum_roughness_mm * (1.5 if streaky else 1.0)
    longest = settings.maximum_elongation * (2.0 if streaky else 1.0)
    for _ in range(6):
        sections = CrossSections.sample(region, axis, t)
        if streaky:
            sections = sections.steadied(STEADY_MM)
        sections = sections.without_bore()
        edge = sections.edge_mm(levels)
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
        previous, used, axis = axis, levels, _refit(axis, t[free], offset[free])
        outside = float(np.median(_ring_hu(sections, typical)[free]))
        local = _local_brightness(sections.plateau_hu(typical), free)
        levels = brightness.edge_levels_hu(local, outside)
    return AxisFit(
        region,
        previous,
        sections,
        used,
        plateau,
        edge,
        ellipses,
        free,
        streaky,
        brightness.ceiling_hu,
    )


STEADY_MM = 4.0
"""Length over which streaky sections are steadied: more than a pitch."""

ROUND_ENOUGH = 0.05
"""Sections less drawn out than this share of the radius are read all around."""

LEAST_BARE_PLANES, LEAST_LIT_PLANES = 6, 12

EVEN_MM = 0.12
"""Steadied radii of a bare shaft differ by no more than this along it [ours]."""

LONGEST_CONE_MM = 8.0
"""Tips of pedicle screws narrow along 3 to 8 mm."""

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


def _local_brightness(core: FloatArray, free: BoolArray) -> FloatArray:
    """Brightness of a shaft along its axis.

    Starved rays darken the middle of long shafts that lie in one slice plane.
    """
    width = round(STEADY_MM / AXIAL_STEP_MM) + 1
    steady = ndimage.median_filter(core, width, mode="nearest")
    inside = steady[free]
    local: FloatArray = np.clip(steady, inside.min(), inside.max())
    return local


def _running_median(values: FloatArray, width: int) -> FloatArray:
    """Median of the finite values in a window; NaN where the value itself is NaN."""
    half = width // 2
    padded = np.pad(values, half, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    result = np.full(len(values), np.nan)
    known = np.isfinite(values)
    result[known] = np.nanmedian(windows[known], axis=1)
    return result


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
