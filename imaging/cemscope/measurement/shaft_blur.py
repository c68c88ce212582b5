"""The blur of a shaft over its surroundings, taken off in the voxels.

Between two voxels the steep flank of metal is no straight line, and where a shaft runs
in the plane of the slices the error of interpolating it would be the same all along:
so the metal goes before anything is interpolated. The surface and the blur are refined
on the voxels of the flank, where they weigh far more than any tissue.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import CREST_SHARE
from cemscope.segmentation.scan_region import (
    FloatArray,
    ScanRegion,
    coordinate_along_mm,
)
from cemscope.volume import BoolArray

MOST_METAL_HU = 1200.0
"""Voxels that hold more of the shaft's metal are left out."""

FLANK_HU = 250.0
"""Voxels with more metal than this tell its surface and blur."""

EDGE_PRIOR_MM, BLUR_PRIOR = 0.06, 0.05
"""Usual deviation of a fitted radius, and of the blur (relative) [ours]."""

TISSUE_SPREAD_HU = 100.0
"""Tissue beside a shaft differs by about this much."""

LEAST_VOXELS = 100


@dataclass(frozen=True, slots=True, eq=False)
class TissueBeside:
    """Tissue around one shaft.

    Attributes
    ----------
    hu : ndarray of float32
        Without the shaft's metal; 0 where it cannot be told.
    weight : ndarray of float32
        0 where it cannot be told, else 1.
    """

    hu: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]


def without_shaft(
    region: ScanRegion,
    screw: ScrewModel,
    tissue: BoolArray,
    part_mm: tuple[float, float],
) -> TissueBeside:
    """Take a shaft's metal off the voxels around it.

    Parameters
    ----------
    region
        The shaft and its surroundings.
    tissue
        Voxels outside all metal and cement.
    part_mm
        The part of the axis whose flank is used to refine surface and blur.
    """
    flank = _Flank.of(region, screw)
    metal = flank.metal_hu(0.0, 0.0)
    used = tissue & (metal > FLANK_HU) & (metal < MOST_METAL_HU)
    used &= (flank.t_mm >= part_mm[0]) & (flank.t_mm <= part_mm[1])
    used &= (region.labels > 0) & (flank.outside_mm > 0.0)
    if used.sum() >= LEAST_VOXELS:
        edge_mm, blur = _refined(flank, metal, used, region.hu)
        metal = flank.metal_hu(edge_mm, blur)
    weight = (metal < MOST_METAL_HU).astype(np.float32)
    hu = np.where(weight > 0.0, region.hu - metal, 0.0).astype(np.float32)
    return TissueBeside(hu, weight)


def thickness_mm2(region: ScanRegion) -> float:
    """Variance that slices thicker than the pixels add across them."""
    dz, dy, dx = region.geometry.spacing_mm
    return max(dz**2 - dy * dx, 0.0) / 12.0


@dataclass(frozen=True, slots=True, eq=False)
class _Flank:
    """Voxels around a shaft: position on its axis, distance, and blur."""

    screw: ScrewModel
    t_mm: FloatArray
    outside_mm: FloatArray
    sigma_mm: FloatArray

    @classmethod
    def of(cls, region: ScanRegion, screw: ScrewModel) -> "_Flank":
        geometry = region.geometry
        first, second = screw.axis.cross_vectors()
        t, across, along = (
            np.asarray(coordinate_along_mm(geometry, screw.axis.point, axis))
            for axis in (screw.axis.forward, first, second)
        )
        radius = np.maximum(np.hypot(across, along), 1e-3)
        normal = geometry.directions_lps[0]
        share = (across * (first @ normal) + along * (second @ normal)) / radius
        thick = thickness_mm2(region) * share**2
        sigma = np.sqrt(screw.shaft.sigma_mm**2 + thick)
        # The half value of a blurred cylinder lies a little inside its edge.
        inside_mm = screw.shaft.sigma_mm**2 / (2.0 * screw.shaft.radius_mm)
        return cls(screw, t, radius - screw.shaft.radius_mm + inside_mm, sigma)

    def metal_hu(
        self, edge_mm: float, blur: float, used: BoolArray | None = None
    ) -> FloatArray:
        """Calculate what it adds, its surface moved out and its blur stretched."""
        shaft = self.screw.shaft
        outside = self.outside_mm if used is None else self.outside_mm[used]
        sigma = self.sigma_mm if used is None else self.sigma_mm[used]
        sigma = sigma * (1.0 + blur)
        crest = special.ndtr(-(outside - edge_mm) / sigma)
        root = special.ndtr(-(outside - edge_mm + shaft.groove_mm) / sigma)
        metal: FloatArray = shaft.metal_hu * (
            CREST_SHARE * crest + (1.0 - CREST_SHARE) * root
        )
        return metal


def _refined(
    flank: _Flank, metal: FloatArray, used: BoolArray, hu: npt.NDArray[np.int16]
) -> tuple[float, float]:
    """Shift of the surface (mm) and stretch of the blur, by robust Gauss-Newton."""
    edge_mm = blur = level = 0.0
    value = hu[used].astype(float)
    level = float(np.median(value - metal[used]))
    prior = np.array([EDGE_PRIOR_MM, BLUR_PRIOR, TISSUE_SPREAD_HU]) ** -2.0
    # The voxels of a turn share texture and streaks: they count as fewer.
    trust = TISSUE_SPREAD_HU**-2.0 * min(1.0, VOXELS_THAT_COUNT / value.size)
    for _ in range(6):
        model = flank.metal_hu(edge_mm, blur, used)
        error = value - model - level
        columns = np.stack(
            [
                (flank.metal_hu(edge_mm + 0.01, blur, used) - model) / 0.01,
                (flank.metal_hu(edge_mm, blur + 0.01, used) - model) / 0.01,
                np.ones(value.size),
            ],
            axis=1,
        )
        weight = trust / np.maximum(np.abs(error) / TISSUE_SPREAD_HU, 1.0)
        pull = np.array([edge_mm, blur, 0.0]) * prior
        step = np.linalg.solve(
            (columns * weight[:, None]).T @ columns + np.diag(prior),
            columns.T @ (weight * error) - pull,
        )
        edge_mm, blur, level = edge_mm + step[0], blur + step[1], level + step[2]
    return (
        float(np.clip(edge_mm, -0.4, 0.4)),
        float(np.clip(blur, -0.3, 0.3)),
    )


VOXELS_THAT_COUNT = 60
"""Independent places that the flank of a shaft is worth [ours]."""
