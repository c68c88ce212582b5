"""Cross-sections of a screw: axis, diameter and tip from HU profiles.

The rays of each cross-section see the shaft's edge; where the shaft is free of cement
the edge is a circle, and its blurred, clipped profile gives the true radius.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize, special

from cemscope.segmentation.scan_region import FloatArray, ScanRegion

TITANIUM_HU = 8000.0
"""Titanium rods and screws at 100-140 kVp: maxima of 6,310-8,420 HU on 16-bit scales
("Effect of 16-bit CT imaging of metallic implants on dose distribution in
radiotherapy"). A prior only, used where clipping hides the metal's value."""

TYPICAL_BLUR_SIGMA_MM = 0.55
"""In-plane blur of body CT with soft and standard kernels: FWHM 1.1-1.5 mm, from the
10 % modulation at 6-8 line pairs per cm of scanner data sheets. A prior only."""

RADIAL_STEP_MM = 0.2
AXIAL_STEP_MM = 0.5
RAYS = 24
MAX_RADIUS_MM = 9.0


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

    def edge_mm(self, level_hu: float) -> FloatArray:
        """First crossing below a level on each ray, shape (planes, RAYS).

        `MAX_RADIUS_MM` where the ray stays above, 0 where it starts below.
        """
        below = self.hu < level_hu
        index = np.argmax(below, axis=2)
        never = ~below.any(axis=2)
        previous = np.maximum(index - 1, 0)
        upper = np.take_along_axis(self.hu, previous[..., None], 2)[..., 0]
        lower = np.take_along_axis(self.hu, index[..., None], 2)[..., 0]
        part = (upper - level_hu) / np.maximum(upper - lower, 1e-6)
        edge = (previous + np.clip(part, 0.0, 1.0)) * RADIAL_STEP_MM
        edge[index == 0] = 0.0
        edge[never] = MAX_RADIUS_MM
        result: FloatArray = edge
        return result


def circle_of_rays(edge_mm: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Fit a circle near the origin to the edges of each plane.

    For a small offset the edge is R + a cos + b sin.

    Returns
    -------
    radius_mm, offset_mm, roughness_mm
        Shapes (planes,), (planes, 2) and (planes,): the median absolute residual.
    """
    angles = 2 * np.pi * np.arange(RAYS) / RAYS
    a = 2.0 * (edge_mm * np.cos(angles)).mean(axis=1)
    b = 2.0 * (edge_mm * np.sin(angles)).mean(axis=1)
    radius = edge_mm.mean(axis=1)
    model = radius[:, None] + a[:, None] * np.cos(angles) + b[:, None] * np.sin(angles)
    roughness = np.sqrt(((edge_mm - model) ** 2).mean(axis=1))
    return radius, np.stack([a, b], axis=1), roughness


@dataclass(frozen=True, slots=True)
class ShaftProfile:
    """Result of a fit to the mean profile of the free shaft."""

    radius_mm: float
    sigma_mm: float
    metal_hu: float


def fit_shaft(
    region: ScanRegion,
    axis: ScrewAxis,
    free_t_mm: FloatArray,
    ceiling_hu: float | None,
    edge_mm: float,
    blur_mm: float | None = None,
) -> ShaftProfile:
    """Radius of a blurred cylinder from the voxels around its free part.

    Model: background + (metal - background) * Phi((R - r) / sigma). Voxels at the
    ceiling are censored: they only say that the model must reach it there. On a clipped
    scan the metal's own value is hidden; its prior is titanium.

    Parameters
    ----------
    free_t_mm
        Positions on the axis where the shaft is free of cement.
    ceiling_hu
        Value at which the scan is clipped.
    edge_mm
        First guess of the radius.
    blur_mm
        Blur of the scan where it is known; None for the usual blur as a prior.
    """
    r, hu = _voxels_around(region, axis, free_t_mm, edge_mm + 2.5)
    censored = np.zeros(len(hu), np.bool_)
    plateau = float(np.median(hu[r <= max(edge_mm - 1.0, 0.6)]))
    hidden = False
    if ceiling_hu is not None:
        censored = hu >= 0.985 * ceiling_hu
        hidden = plateau >= 0.97 * ceiling_hu
    top = TITANIUM_HU if hidden else plateau
    keep = r >= max(edge_mm - 2.0, 0.0)
    r, hu, censored = r[keep], hu[keep], censored[keep]
    background0 = float(np.median(hu[r >= edge_mm + 1.5]))
    scale = 0.06 * (min(top, ceiling_hu or top) - background0)
    weight = 1.0 / np.sqrt(max(len(hu) / 60.0, 1.0))

    usual = TYPICAL_BLUR_SIGMA_MM if blur_mm is None else blur_mm

    def residuals(p: FloatArray) -> FloatArray:
        edge, log_sigma, log_metal, background = p
        flank = special.ndtr((edge - r) / np.exp(log_sigma))
        error = background + (np.exp(log_metal) - background) * flank - hu
        error = np.where(censored, np.minimum(error, 0.0), error)
        prior = [
            (log_sigma - np.log(usual)) / (0.3 if blur_mm is None else 0.03),
            (log_metal - np.log(top)) / (0.2 if hidden else 0.05),
            (background - background0) / 200.0,
        ]
        out: FloatArray = np.concatenate([weight * error / scale, prior])
        return out

    start = [edge_mm - 0.2, np.log(usual), np.log(top), background0]
    fit = optimize.least_squares(residuals, start, loss="soft_l1")
    sigma = float(np.exp(fit.x[1]))
    # The half-value contour of a blurred disc lies inside its edge by sigma^2 / (2 R).
    edge = float(fit.x[0]) + 0.5 * sigma**2 / max(float(fit.x[0]), 1.0)
    return ShaftProfile(edge, sigma, float(np.exp(fit.x[2])))


def _voxels_around(
    region: ScanRegion, axis: ScrewAxis, t_mm: FloatArray, reach_mm: float
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
    return r[keep], region.hu[box].ravel()[keep].astype(np.float64)


@dataclass(frozen=True, slots=True)
class TipEstimate:
    """Position of the tip on the axis and how far it may be off (half-width)."""

    t_mm: float
    uncertainty_mm: float


def find_tip(
    region: ScanRegion,
    axis: ScrewAxis,
    start_mm: float,
    shaft: ShaftProfile,
    ceiling_hu: float | None,
) -> TipEstimate | None:
    """Follow the axis forwards to the end of the shaft.

    The end is the crossing midway between the core's value and that of the ring
    around it. Where cement and metal are both clipped the tip is hidden: it lies
    between the last plane that shows a bare shaft and the end of the clipped run, and
    that range is returned as uncertainty.

    Parameters
    ----------
    start_mm
        A place on the axis where the shaft is free.

    Returns
    -------
    TipEstimate or None
        None where the axis is not bright at its start.
    """
    t = start_mm + np.arange(0.0, 70.0, AXIAL_STEP_MM)
    sections = CrossSections.sample(region, axis, t)
    r = sections.radius_mm
    middle = r <= max(0.5 * shaft.radius_mm, 0.6)
    core = np.median(sections.hu[:, :, middle], axis=(1, 2))
    rim = (r >= shaft.radius_mm + 1.2) & (r <= shaft.radius_mm + 2.4)
    ring = ndimage.median_filter(
        np.median(sections.hu[:, :, rim], axis=(1, 2)), 5, mode="nearest"
    )
    top = float(np.median(core[: int(8.0 / AXIAL_STEP_MM)]))
    hidden = ceiling_hu is not None and top > 0.97 * ceiling_hu
    limit = 0.5 * (top + np.minimum(ring, top))
    if hidden:
        limit = np.full_like(limit, 0.95 * top)
    inside = core >= limit
    if inside.all() or int(np.argmin(inside)) < 2:
        return None
    last = int(np.argmin(inside)) - 1
    drop = core[last] - core[last + 1]
    part = (core[last] - limit[last + 1]) / max(drop, 1e-6)
    end = float(t[last]) + AXIAL_STEP_MM * float(np.clip(part, 0.0, 1.0))
    if not hidden:
        return TipEstimate(end, 0.5)
    # The clipped contour lies in front of the half-value contour of the end face.
    ahead = float(np.median(core[last + 4 : last + 8])) if last + 8 < len(t) else 0.0
    share = (limit[last] - ahead) / max(shaft.metal_hu - ahead, 1.0)
    shift = float(special.ndtri(1.0 - np.clip(share, 0.02, 0.5))) * shaft.sigma_mm
    radius = np.median(sections.edge_mm(0.95 * top), axis=1)[: last + 1]
    wide = np.flatnonzero(radius > shaft.radius_mm + 1.0)
    if wide.size == 0:
        return TipEstimate(end - shift, 0.5)
    # Bare shaft again in front of the cement: the end seen is that of the screw.
    tail = radius[wide[-1] + 1 : last + 1 - round(1.0 / AXIAL_STEP_MM)]
    long_enough = tail.size * AXIAL_STEP_MM >= 2.5
    if long_enough and float(np.ptp(tail[tail.size // 3 :])) < 0.5:
        return TipEstimate(end - shift, 0.5)
    # Cement as bright as metal wraps the tip.
    low = float(t[wide[0]])
    high = max(end - 1.0, low + 1.0)
    return TipEstimate(0.5 * (low + high), 0.5 * (high - low))
