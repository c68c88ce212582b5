"""Radius of a shaft from one contour, where streaks spoil the rest of its profile.

Streaks draw a shaft that lies in the slice plane out: crests on both sides in the
plane, shadows above and below it. To first order they change sign half-way, so that
the contour is least disturbed at 45 degrees to the slice plane.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.implants.screw_profile import (
    CREST_SHARE,
    RAYS,
    CrossSections,
    ScrewAxis,
    Sector,
)
from cemscope.segmentation.scan_region import FloatArray
from cemscope.segmentation.tissue_levels import FWHM_PER_SIGMA
from cemscope.volume import BoolArray

NEUTRAL_HALF_WIDTH_RAD = np.deg2rad(22.5)
"""Sectors around the directions that streaks leave alone."""

STEEP_SINE = 0.87
"""A shaft that leaves the slice plane this steeply (60 degrees) has no long way in it,
and is not drawn out."""

EDGE_GRADIENT_MM = 0.2
"""Rays that graze an edge are averaged as intensities, not as attenuation: edges of
dense things lie too far inside (exponential edge gradient; Joseph 1981,
doi:10.1088/0031-9155/26/3/010). Between 0 and 0.2 mm with apertures of 0.5 to 1 mm."""

SLICE_SIGMA = 1.0 / FWHM_PER_SIGMA
"""Standard deviation of a slice's profile over its width at half height."""

CONTOUR_ERROR_MM, RAY_SHARE = 0.11, 0.4
"""What a radius is uncertain by (1 sigma) when all rays agree, and which share of their
spread adds to that: read from simulated scans whose truth is known [ours]."""


@dataclass(frozen=True, slots=True)
class ShaftContour:
    """Contour of a clipped shaft at the level where it is read.

    Attributes
    ----------
    radius_mm : float
        Its radius in the directions that streaks leave alone.
    ray_spread_mm : float
        How much these directions differ.
    level_hu : float
        Value on the contour.
    sigma_mm : float
        Blur across it.
    """

    radius_mm: float
    ray_spread_mm: float
    level_hu: float
    sigma_mm: float

    def outer_radius_mm(
        self, metal_hu: float, background_hu: float, groove: float
    ) -> float:
        """Radius over the crests of the thread.

        Parameters
        ----------
        metal_hu, background_hu
            Brightness of the metal, which clipping hides, and around it.
        groove
            Depth of the thread over the outer radius.
        """
        share = (self.level_hu - background_hu) / max(metal_hu - background_hu, 1.0)
        ahead = -self.sigma_mm * float(special.ndtri(np.clip(share, 0.02, 0.98)))
        mean_mm = self.radius_mm - ahead + EDGE_GRADIENT_MM
        return crest_radius_mm(mean_mm, groove)

    def deviation_mm(self, doubt_mm: float) -> float:
        """Give the standard deviation of a radius; other doubts are added."""
        rays = RAY_SHARE * self.ray_spread_mm
        return float(np.sqrt(CONTOUR_ERROR_MM**2 + rays**2 + doubt_mm**2))


def crest_radius_mm(mean_mm: float, groove: float) -> float:
    """Radius over the crests of a thread from the mean one, and its relative depth."""
    return mean_mm / (1.0 - (1.0 - CREST_SHARE) * groove)


def read_contour(
    sections: CrossSections,
    bare: BoolArray,
    axis: ScrewAxis,
    geometry: VoxelGeometry,
    levels_hu: FloatArray,
    blur_mm: float,
) -> ShaftContour:
    """Read the contour of the bare cross-sections where streaks disturb it least."""
    sector = neutral_sector(axis, geometry)
    angles = 2 * np.pi * np.arange(RAYS) / RAYS
    used = np.ones(RAYS, np.bool_) if sector is None else sector.holds(angles)
    edge = np.median(sections.edge_mm(levels_hu)[bare], axis=0)
    # Opposite rays together: what is left of an error of the centre cancels.
    pairs = 0.5 * (edge + np.roll(edge, RAYS // 2))[used]
    slice_mm = SLICE_SIGMA * geometry.spacing_mm[0]
    sigma = np.sqrt(0.5 * (blur_mm**2 + max(slice_mm, blur_mm) ** 2))
    return ShaftContour(
        float(np.median(pairs)),
        float(pairs.std()),
        float(np.median(levels_hu[bare])),
        float(sigma),
    )


def neutral_sector(axis: ScrewAxis, geometry: VoxelGeometry) -> Sector | None:
    """Directions across a shaft that streaks leave alone; None for all of them."""
    normal = geometry.affine_lps[:3, 0] / np.linalg.norm(geometry.affine_lps[:3, 0])
    if abs(float(normal @ axis.forward)) > STEEP_SINE:
        return None
    first, second = axis.cross_vectors()
    upright = float(np.arctan2(normal @ second, normal @ first))
    return Sector((upright - np.pi / 4, upright + np.pi / 4), NEUTRAL_HALF_WIDTH_RAD)
