"""Cross-sections of a screw: axis, diameter and tip from HU profiles.

The rays of each cross-section see the shaft's edge; where the shaft is free of cement
the edge is a circle, and its blurred, clipped profile gives the true radius.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize, special

from cemscope.segmentation.scan_region import FloatArray, ScanRegion
from cemscope.volume import BoolArray

CREST_SHARE = 0.55
"""Share of the length that the crests of a thread take: 30-55 % in cortical screws,
more in pedicle screws with flat crests [ours]."""

SHAFT_BLUR_SIGMA_MM = 0.5
"""Blur across a shaft before it is fitted: the sharper half of `TYPICAL_BLUR_SIGMA_MM`,
because implants are looked at with sharper kernels [ours]. A prior only."""

TYPICAL_BLUR_SIGMA_MM = 0.55
"""In-plane blur of body CT with soft and standard kernels: FWHM 1.1-1.5 mm, from the
10 % modulation at 6-8 line pairs per cm of scanner data sheets. A prior only."""

RADIAL_STEP_MM = 0.2
AXIAL_STEP_MM = 0.5
RAYS = 24
MAX_RADIUS_MM = 9.0

ENOUGH_VOXELS = 1200
"""A profile of five unknowns needs no more voxels."""

LEAST_CONTRAST_HU = 300.0
"""Where all that is around a shaft is clipped too, its contrast is not known: no less
than this is taken to scale errors [ours]."""

CLIPPED_INSIDE = 0.1
"""A shaft of which this share is at the ceiling is brighter than that: the bore of a
cannulated screw keeps the rest below it."""

BORE_REACH_MM = 1.8
"""The bore of a cannulated shaft and its blurred wall lie within this radius."""


@dataclass(frozen=True, slots=True, eq=False)
class ScrewAxis:
    """A straight line: ``point + t * forward``, t in mm, growing towards the tip."""

    point: FloatArray
    forward: FloatArray

    def at(self, t_mm: FloatArray | float) -> FloatArray:
        """Points on the axis."""
        points: FloatArray = self.point + np.multiply.outer(
            np.asarray(t_mm, float), self.forward
        )
        return points

    def cross_vectors(self) -> tuple[FloatArray, FloatArray]:
        """Two unit vectors that span the cross-section."""
        helper = np.eye(3)[int(np.argmin(np.abs(self.forward)))]
        first = np.cross(self.forward, helper)
        first /= np.linalg.norm(first)
        return first, np.cross(self.forward, first)


@dataclass(frozen=True, slots=True, eq=False)
class CrossSections:
    """HU on rays around an axis.

    Attributes
    ----------
    t_mm : ndarray, shape (planes,)
    radius_mm : ndarray, shape (steps,)
    hu : ndarray, shape (planes, RAYS, steps)
    """

    t_mm: FloatArray
    radius_mm: FloatArray
    hu: FloatArray

    @classmethod
    def sample(
        cls, region: ScanRegion, axis: ScrewAxis, t_mm: FloatArray
    ) -> "CrossSections":
        """Sample the scan around an axis at the given positions."""
        first, second = axis.cross_vectors()
        angles = 2 * np.pi * np.arange(RAYS) / RAYS
        rays = np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * second
        radius = np.arange(0.0, MAX_RADIUS_MM + 1e-6, RADIAL_STEP_MM)
        points = axis.at(t_mm)[:, None, None] + rays[:, None] * radius[:, None]
        hu = region.sample_hu(points).astype(np.float64)
        return cls(t_mm, radius, hu)

    def steadied(self, length_mm: float) -> "CrossSections":
        """Median along the axis: streaks and thread change from plane to plane."""
        planes = 2 * round(0.5 * length_mm / AXIAL_STEP_MM) + 1
        hu = ndimage.median_filter(self.hu, (planes, 1, 1), mode="nearest")
        return CrossSections(self.t_mm, self.radius_mm, hu)

    def without_bore(self) -> "CrossSections":
        """Fill the dark bore of a cannulated shaft with the brightness of its wall.

        Bores are 1.2 to 2 mm wide; a sharp kernel shows them several hundred HU
        darker than the wall, on a clipped scan below the ceiling.
        """
        inner = round(BORE_REACH_MM / RADIAL_STEP_MM) + 1
        hu = self.hu.copy()
        from_wall = hu[:, :, :inner][:, :, ::-1]
        hu[:, :, :inner] = np.maximum.accumulate(from_wall, axis=2)[:, :, ::-1]
        return CrossSections(self.t_mm, self.radius_mm, hu)

    def plateau_hu(self, radius_mm: float) -> FloatArray:
        """Brightest ring well inside a shaft of some radius, per plane."""
        inside = self.radius_mm <= max(0.6 * radius_mm, 0.6)
        rings = np.median(self.hu[:, :, inside], axis=1)
        brightest: FloatArray = rings.max(axis=1)
        return brightest

    def edge_mm(self, level_hu: FloatArray | float) -> FloatArray:
        """First crossing below a level (of each plane) on each ray, (planes, RAYS).

        `MAX_RADIUS_MM` where the ray stays above, 0 where it starts below.
        """
        level = np.broadcast_to(np.asarray(level_hu, float), self.t_mm.shape)[:, None]
        below = self.hu < level[..., None]
        index = np.argmax(below, axis=2)
        never = ~below.any(axis=2)
        previous = np.maximum(index - 1, 0)
        upper = np.take_along_axis(self.hu, previous[..., None], 2)[..., 0]
        lower = np.take_along_axis(self.hu, index[..., None], 2)[..., 0]
        part = (upper - level) / np.maximum(upper - lower, 1e-6)
        edge = (previous + np.clip(part, 0.0, 1.0)) * RADIAL_STEP_MM
        edge[index == 0] = 0.0
        edge[never] = MAX_RADIUS_MM
        result: FloatArray = edge
        return result


@dataclass(frozen=True, slots=True, eq=False)
class RoundSections:
    """Ellipses fitted to the edges of each plane.

    Attributes
    ----------
    radius_mm : ndarray, shape (planes,)
        Mean radius.
    offset_mm : ndarray, shape (planes, 2)
        Centre, along the two cross vectors.
    elongation_mm : ndarray, shape (planes, 2)
        Cosine and sine of twice the angle: thick slices and streaks between two
        screws draw a round shaft out in one direction.
    roughness_mm : ndarray, shape (planes,)
        Robust deviation of the edges from the ellipse.
    """

    radius_mm: FloatArray
    offset_mm: FloatArray
    elongation_mm: FloatArray
    roughness_mm: FloatArray

    @classmethod
    def fit(cls, edge_mm: FloatArray) -> "RoundSections":
        """Fit edges on `RAYS` rays near the origin, shape (planes, RAYS).

        For a small offset and elongation the edge is R + a cos + b sin + c cos 2 +
        d sin 2. Rays that see cement on one side or a streak lose their weight
        (Tukey's biweight, three rounds).
        """
        angles = 2 * np.pi * np.arange(RAYS) / RAYS
        design = np.stack(
            [
                np.ones(RAYS),
                *(f(k * angles) for k in (1, 2) for f in (np.cos, np.sin)),
            ],
            axis=1,
        )
        weight = np.ones_like(edge_mm)
        for _ in range(4):
            normal = np.einsum("pr,ri,rj->pij", weight, design, design)
            right = np.einsum("pr,ri,pr->pi", weight, design, edge_mm)
            # A faint ridge keeps a plane with too few trusted rays solvable.
            normal += 1e-3 * np.eye(design.shape[1])
            found = np.linalg.solve(normal, right[..., None])[..., 0]
            error = np.abs(edge_mm - found @ design.T)
            spread = 1.4826 * np.median(error, axis=1)
            limit = 4.0 * np.maximum(spread, 0.5 * RADIAL_STEP_MM)[:, None]
            weight = np.where(error < limit, (1.0 - (error / limit) ** 2) ** 2, 1e-3)
        return cls(found[:, 0], found[:, 1:3], found[:, 3:5], spread)


@dataclass(frozen=True, slots=True)
class ShaftProfile:
    """Result of a fit to the voxels around the free shaft.

    Attributes
    ----------
    radius_mm : float
        Over the thread's crests.
    sigma_mm : float
        Blur of the scan.
    metal_hu : float
        Brightness of the metal; on a clipped scan that of titanium.
    groove_mm : float
        Depth of the thread; 0 for a smooth shaft.
    radius_deviation_mm : float
        Standard deviation of the radius.
    """

    radius_mm: float
    sigma_mm: float
    metal_hu: float
    groove_mm: float = 0.0
    radius_deviation_mm: float = 0.15

    @property
    def metal_radius_mm(self) -> float:
        """Radius of the smooth cylinder with as much metal."""
        root = max(self.radius_mm - self.groove_mm, 0.0)
        area = CREST_SHARE * self.radius_mm**2 + (1.0 - CREST_SHARE) * root**2
        return float(np.sqrt(area))

    def metal_share(
        self, outside_mm: FloatArray, blur_mm: FloatArray | None = None
    ) -> FloatArray:
        """Blurred share of metal at a distance outside the crests.

        ``blur_mm`` is the blur at each distance where that differs from place to place.
        """
        blur = self.sigma_mm if blur_mm is None else blur_mm
        share: FloatArray = CREST_SHARE * special.ndtr(-outside_mm / blur)
        if self.groove_mm > 0.0:
            share += (1.0 - CREST_SHARE) * special.ndtr(
                -(outside_mm + self.groove_mm) / blur
            )
            return share
        return share / CREST_SHARE


@dataclass(frozen=True, slots=True)
class Sector:
    """Directions across a shaft, and their opposites.

    Attributes
    ----------
    centres_rad : tuple of float
        Angles from the first cross vector.
    half_width_rad : float
        On both sides of each.
    """

    centres_rad: tuple[float, ...]
    half_width_rad: float

    def holds(self, angle_rad: FloatArray) -> BoolArray:
        """Tell which angles lie in the sector."""
        inside = np.zeros(angle_rad.shape, np.bool_)
        for centre in self.centres_rad:
            inside |= np.abs(np.cos(angle_rad - centre)) > np.cos(self.half_width_rad)
        return inside


@dataclass(frozen=True, slots=True)
class ShaftPrior:
    """What is known of a shaft before its profile is fitted.

    Attributes
    ----------
    edge_mm : float
        Radius of its visible edge.
    groove : float
        Expected depth of the thread over the outer radius.
    titanium_hu : float
        Expected brightness where a clipped scan hides it.
    ceiling_hu : float or None
        Value at which the scan is clipped.
    blur_mm : float or None
        Blur of the scan where it is known.
    sector : Sector or None
        Directions that are used; None for all.
    metal_spread : float
        Relative standard deviation of the expected brightness.
    """

    edge_mm: float
    groove: float
    titanium_hu: float
    ceiling_hu: float | None
    blur_mm: float | None = None
    sector: Sector | None = None
    metal_spread: float = 0.05


def fit_shaft(
    region: ScanRegion, axis: ScrewAxis, free_t_mm: FloatArray, prior: ShaftPrior
) -> ShaftProfile:
    """Radius of a blurred threaded cylinder from the voxels around its free part.

    Along the shaft, crests and grooves average: the model is background + (metal -
    background) * (c Phi((R - r) / sigma) + (1 - c) Phi((R - d - r) / sigma)) with the
    crests' share c and the groove d. Voxels at the ceiling are censored: they only say
    that the model must reach it there.

    Parameters
    ----------
    free_t_mm
        Positions on the axis where the shaft is free of cement.
    prior
        What is known before.
    """
    edge_mm, ceiling_hu = prior.edge_mm, prior.ceiling_hu
    r, hu = _voxels_around(region, axis, free_t_mm, edge_mm + 2.5, prior.sector)
    censored = np.zeros(len(hu), np.bool_)
    # A bore darkens the middle: the upper part of the inner voxels is the metal.
    core_mm = max(edge_mm - 1.0, 0.6, float(np.sort(r)[min(5, len(r) - 1)]))
    plateau = float(np.quantile(hu[r <= core_mm], 0.7))
    hidden = False
    if ceiling_hu is not None:
        censored = hu >= 0.985 * ceiling_hu
        hidden = bool(censored[r <= core_mm].mean() >= CLIPPED_INSIDE)
    top = prior.titanium_hu if hidden else plateau
    used = np.flatnonzero(r >= max(edge_mm - 2.0, 0.0))
    used = used[:: max(used.size // ENOUGH_VOXELS, 1)]
    r, hu, censored = r[used], hu[used], censored[used]
    background0 = float(np.median(hu[r >= edge_mm + 1.5]))
    contrast_hu = min(top, ceiling_hu or top) - background0
    scale = 0.06 * max(contrast_hu, LEAST_CONTRAST_HU)
    weight = 1.0 / np.sqrt(max(len(hu) / 60.0, 1.0))
    usual = SHAFT_BLUR_SIGMA_MM if prior.blur_mm is None else prior.blur_mm

    def residuals(p: FloatArray) -> FloatArray:
        edge, groove, log_sigma, log_metal, background = p
        shape = ShaftProfile(edge, np.exp(log_sigma), 0.0, max(groove * edge, 0.0))
        metal = np.exp(log_metal) - background
        error = background + metal * shape.metal_share(r - edge) - hu
        error = np.where(censored, np.minimum(error, 0.0), error)
        expected = [
            (groove - prior.groove) / 0.06,
            (log_sigma - np.log(usual)) / (0.15 if prior.blur_mm is None else 0.03),
            (log_metal - np.log(top)) / prior.metal_spread,
            (background - background0) / 200.0,
        ]
        out: FloatArray = np.concatenate([weight * error / scale, expected])
        return out

    start = [edge_mm, prior.groove, np.log(usual), np.log(top), background0]
    # A hundredth of a millimetre is enough.
    fit = optimize.least_squares(
        residuals, start, loss="soft_l1", ftol=1e-4, xtol=1e-4, max_nfev=40
    )
    edge, groove, log_sigma, log_metal, _ = (float(value) for value in fit.x)
    return ShaftProfile(
        edge,
        float(np.exp(log_sigma)),
        float(np.exp(log_metal)),
        float(np.clip(groove, 0.0, 0.5)) * edge,
    )


def _voxels_around(
    region: ScanRegion,
    axis: ScrewAxis,
    t_mm: FloatArray,
    reach_mm: float,
    sector: Sector | None,
) -> tuple[FloatArray, FloatArray]:
    """Distance from the axis and HU of the voxels beside some positions on it."""
    index = region.geometry.lps_to_index(axis.at(t_mm))
    margin = np.ceil(reach_mm / np.array(region.geometry.spacing_mm)) + 1
    shape = np.array(region.hu.shape)
    start = np.clip(np.floor(index.min(0) - margin).astype(int), 0, shape)
    stop = np.clip(np.ceil(index.max(0) + margin).astype(int) + 1, start, shape)
    grid = np.stack(np.meshgrid(*map(np.arange, start, stop), indexing="ij"), -1)
    offset = region.geometry.index_to_lps(grid.reshape(-1, 3)) - axis.point
    t = offset @ axis.forward
    r = np.sqrt(np.maximum((offset**2).sum(-1) - t**2, 0.0))
    nearest = (
        np.abs(t[:, None] - t_mm).min(axis=1)
        if len(t_mm) < 2
        else np.abs(t - t_mm[np.clip(np.searchsorted(t_mm, t), 1, len(t_mm) - 1)])
    )
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    keep = (r <= reach_mm) & (nearest <= AXIAL_STEP_MM)
    if sector is not None:
        first, second = axis.cross_vectors()
        keep &= sector.holds(np.arctan2(offset @ second, offset @ first))
    return r[keep], region.hu[box].ravel()[keep].astype(np.float64)
