"""The blur of a shaft over its surroundings, taken off in the voxels.

Between two voxels the steep flank of metal is no straight line, and where a shaft runs
in the plane of the slices the error of interpolating it would be the same all along:
so the metal goes before anything is interpolated. Surface, axis and blur are refined
on the voxels of the flank, where they weigh far more than any tissue. Blur differs in
the plane of the slices and across them: kernel there, slice profile here.
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

EDGE_PRIOR_MM, AXIS_PRIOR_MM, BLUR_PRIOR = 0.08, 0.08, 0.08
"""Usual deviation of a fitted radius, of the axis at its ends, and of the blur
(relative) [ours]."""

THROUGH_PRIOR = 0.7
"""Usual deviation of the variance across the slices from that in them, relative to the
latter: slice profiles are no standard [ours]."""

TISSUE_SPREAD_HU = 100.0
"""Tissue beside a shaft differs by about this much."""

LEAST_VOXELS = 100


@dataclass(frozen=True, slots=True)
class EdgeBlur:
    """How sharp the scan shows the edge of a shaft.

    Attributes
    ----------
    plane_mm : float
        Standard deviation in the plane of the slices.
    through_mm2 : float
        What the variance across the slices has more (or less) than that in them.
    """

    plane_mm: float
    through_mm2: float

    def sigma_mm(self, share: FloatArray) -> FloatArray:
        """Blur along directions whose squared share of the slices' normal is given."""
        least = (LEAST_BLUR * self.plane_mm) ** 2
        sigma: FloatArray = np.sqrt(
            np.maximum(self.plane_mm**2 + self.through_mm2 * share, least)
        )
        return sigma


LEAST_BLUR = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class TissueBeside:
    """Tissue around one shaft.

    Attributes
    ----------
    hu : ndarray of float32
        Without the shaft's metal; 0 where it cannot be told.
    weight : ndarray of float32
        0 where it cannot be told, else 1.
    blur : EdgeBlur
        As found on the flank.
    """

    hu: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    blur: EdgeBlur


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
    flank = _Flank.of(region, screw, part_mm)
    start = np.zeros(PARAMETERS)
    metal = flank.metal_hu(start)
    used = tissue & (metal > FLANK_HU) & (metal < MOST_METAL_HU)
    used &= (flank.t_mm >= part_mm[0]) & (flank.t_mm <= part_mm[1])
    used &= (region.labels > 0) & (flank.outside_mm > 0.0)
    found = start
    if used.sum() >= LEAST_VOXELS:
        value = region.hu[used].astype(float)
        found = _refined(flank.part(used), metal[used], value)
        metal = flank.metal_hu(found)
    weight = (metal < MOST_METAL_HU).astype(np.float32)
    hu = np.where(weight > 0.0, region.hu - metal, 0.0).astype(np.float32)
    return TissueBeside(hu, weight, flank.blur(found))


def thickness_mm2(region: ScanRegion) -> float:
    """Variance that slices thicker than the pixels add across them."""
    dz, dy, dx = region.geometry.spacing_mm
    return max(dz**2 - dy * dx, 0.0) / 12.0


EDGE, BLUR, THROUGH, SHIFT, TILT = 0, 1, 2, slice(3, 5), slice(5, 7)
PARAMETERS = 7
"""Surface moved out (mm), blur stretched (relative), variance across the slices
(relative), axis moved (mm) and tilted (mm at the ends of the part)."""


@dataclass(frozen=True, slots=True, eq=False)
class _Flank:
    """Voxels around a shaft: position on its axis, distance, and blur.

    ``share`` is the squared share of the slices' normal in the direction outwards,
    ``outwards`` that direction in the cross-section, ``end`` runs from -1 to 1 along
    the part.
    """

    screw: ScrewModel
    thick_mm2: float
    t_mm: FloatArray
    outside_mm: FloatArray
    share: FloatArray
    outwards: tuple[FloatArray, FloatArray]
    end: FloatArray

    @classmethod
    def of(
        cls, region: ScanRegion, screw: ScrewModel, part_mm: tuple[float, float]
    ) -> "_Flank":
        geometry = region.geometry
        first, second = screw.axis.cross_vectors()
        t, across, along = (
            np.asarray(coordinate_along_mm(geometry, screw.axis.point, axis))
            for axis in (screw.axis.forward, first, second)
        )
        radius = np.maximum(np.hypot(across, along), 1e-3)
        across, along = across / radius, along / radius
        normal = geometry.directions_lps[0]
        share = across * (first @ normal) + along * (second @ normal)
        # The half value of a blurred cylinder lies a little inside its edge.
        inside_mm = screw.shaft.sigma_mm**2 / (2.0 * screw.shaft.radius_mm)
        middle, half = 0.5 * (part_mm[0] + part_mm[1]), 0.5 * (part_mm[1] - part_mm[0])
        return cls(
            screw,
            thickness_mm2(region),
            t,
            radius - screw.shaft.radius_mm + inside_mm,
            share**2,
            (across, along),
            np.clip((t - middle) / half, -1.5, 1.5),
        )

    def part(self, used: BoolArray) -> "_Flank":
        """Keep some of the voxels."""
        return _Flank(
            self.screw,
            self.thick_mm2,
            self.t_mm[used],
            self.outside_mm[used],
            self.share[used],
            (self.outwards[0][used], self.outwards[1][used]),
            self.end[used],
        )

    def blur(self, change: FloatArray) -> EdgeBlur:
        """Blur with a change of the parameters."""
        usual = self.screw.shaft.sigma_mm
        return EdgeBlur(
            usual * float(1.0 + change[BLUR]),
            self.thick_mm2 + usual**2 * float(change[THROUGH]),
        )

    def metal_hu(self, change: FloatArray) -> FloatArray:
        """Calculate what the metal adds, with a change of the parameters."""
        shaft = self.screw.shaft
        sigma = self.blur(change).sigma_mm(self.share)
        moved, tilted = change[SHIFT], change[TILT]
        outside = self.outside_mm - change[EDGE]
        for k in range(2):
            outside -= self.outwards[k] * (moved[k] + tilted[k] * self.end)
        crest = special.ndtr(-outside / sigma)
        root = special.ndtr(-(outside + shaft.groove_mm) / sigma)
        metal: FloatArray = shaft.metal_hu * (
            CREST_SHARE * crest + (1.0 - CREST_SHARE) * root
        )
        return metal


def _refined(flank: _Flank, metal: FloatArray, value: FloatArray) -> FloatArray:
    """Change of the parameters, by robust Gauss-Newton."""
    change = np.zeros(PARAMETERS + 1)  # the last is the level of the tissue
    change[-1] = np.median(value - metal)
    prior = np.array(
        [EDGE_PRIOR_MM, BLUR_PRIOR, THROUGH_PRIOR]
        + [AXIS_PRIOR_MM] * 4
        + [TISSUE_SPREAD_HU]
    )
    # The voxels of a turn share texture and streaks: they count as fewer.
    trust = TISSUE_SPREAD_HU**-2.0 * min(1.0, VOXELS_THAT_COUNT / value.size)
    for _ in range(6):
        model = flank.metal_hu(change[:-1])
        error = value - model - change[-1]
        slopes = []
        for k in (EDGE, BLUR, THROUGH):
            step = np.zeros(PARAMETERS)
            step[k] = 0.01
            slopes.append((flank.metal_hu(change[:-1] + step) - model) / 0.01)
        moved = [slopes[EDGE] * direction for direction in flank.outwards]
        tilted = [slope * flank.end for slope in moved]
        columns = np.stack([*slopes, *moved, *tilted, np.ones(value.size)], axis=1)
        weight = trust / np.maximum(np.abs(error) / TISSUE_SPREAD_HU, 1.0)
        pull = change * prior**-2.0
        pull[-1] = 0.0
        change = change + np.linalg.solve(
            (columns * weight[:, None]).T @ columns + np.diag(prior**-2.0),
            columns.T @ (weight * error) - pull,
        )
        change[:-1] = np.clip(change[:-1], -MOST_CHANGE, MOST_CHANGE)
    return change[:-1]


MOST_CHANGE = np.array([0.4, 0.3, 3.0, 0.4, 0.4, 0.4, 0.4])
"""Beyond these the fit of the screw would have been wrong."""

MOST_CHANGE.setflags(write=False)

VOXELS_THAT_COUNT = 60
"""Independent places that the flank of a shaft is worth [ours]."""
