"""Voxels of the flanks of shafts, without streaks: what tells surface and blur.

What rays lose in metal darkens a shaft, and its axis most; this is predicted with the
streaks (`metal_shadow`) and taken off first, so that what is left of one metal reads
alike everywhere.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.scan_region import (
    FloatArray,
    ScanRegion,
    coordinate_along_mm,
)
from cemscope.volume import BoolArray, HUArray

FLANK_MM = (-1.3, 1.2)
"""Voxels so far outside the fitted surface (negative: inside) tell surface and blur."""

OTHERS_MM = 1.6
"""Cement and other metal nearer to a voxel than this would be taken for the shaft."""

UNCLIPPED_SHARE = 0.96
"""Of the scale's end: brighter voxels may be clipped."""

LEAST_VOXELS = 100


@dataclass(frozen=True, slots=True)
class ExpectedMetal:
    """What is known of a scan's metal before its flanks are seen.

    Attributes
    ----------
    metal_hu : float
        What a thin piece of it would read.
    spread : float
        Relative standard deviation of that.
    ceiling_hu : float
        End of the scale.
    """

    metal_hu: float
    spread: float
    ceiling_hu: float


@dataclass(frozen=True, slots=True, eq=False)
class Flank:
    """Voxels beside one shaft, shape (voxels,).

    Attributes
    ----------
    screw : ScrewModel
        As it was fitted.
    hu : ndarray
        Without streaks.
    doubt_hu : ndarray
        Standard deviation of what was taken off.
    distance_mm : ndarray
        From the axis.
    share : ndarray
        Squared share of the slices' normal in the direction outwards.
    outwards : ndarray, shape (2, voxels)
        That direction, along the cross vectors of the axis.
    end : ndarray
        From -1 to 1 along the part of the shaft that is used.
    part_mm : tuple of float
        That part.
    """

    screw: ScrewModel
    hu: FloatArray
    doubt_hu: FloatArray
    distance_mm: FloatArray
    share: FloatArray
    outwards: FloatArray
    end: FloatArray
    part_mm: tuple[float, float]


def metal_of(flanks: list[Flank | None], ceiling_hu: float) -> ExpectedMetal:
    """Expect the metal that unclipped shafts show inside."""
    inside = [
        flank.hu[flank.distance_mm - flank.screw.shaft.radius_mm < INSIDE_MM]
        for flank in flanks
        if flank is not None
    ]
    hu = np.concatenate([*inside, np.zeros(0)])
    level = float(np.quantile(hu, INSIDE_QUANTILE)) if hu.size else 1000.0
    return ExpectedMetal(max(level, 1000.0), INSIDE_SPREAD, ceiling_hu)


STREAK_DOUBT = 0.1
"""Part of a predicted streak that may be wrong [ours]."""

INSIDE_MM, INSIDE_QUANTILE, INSIDE_SPREAD = -0.8, 0.7, 0.2
"""Voxels so far within the surface show metal and some thread [ours]."""


def read_flank(
    part: ScanRegion,
    streak_hu: FloatArray,
    others: BoolArray,
    screw: ScrewModel,
    part_mm: tuple[float, float],
    ceiling_hu: float,
) -> Flank | None:
    """Collect the voxels of one shaft's flank.

    Parameters
    ----------
    part
        The shaft and its surroundings.
    streak_hu
        What streaks add to the voxels of ``part``, within the metal as well.
    others
        Cement, and any metal; that of the shaft itself is known by its place.
    part_mm
        Part of the axis that is used.

    Returns
    -------
    Flank or None
        None where too few voxels are left.
    """
    geometry = part.geometry
    first, second = screw.axis.cross_vectors()
    t, across, along = (
        np.asarray(coordinate_along_mm(geometry, screw.axis.point, axis))
        for axis in (screw.axis.forward, first, second)
    )
    distance = np.maximum(np.hypot(across, along), 1e-3)
    outside = distance - screw.shaft.radius_mm
    other = others & (outside > FLANK_MM[1])
    used = (outside >= FLANK_MM[0]) & (outside <= FLANK_MM[1])
    used &= (t >= part_mm[0]) & (t <= part_mm[1])
    if other.any():
        away = ndimage.distance_transform_edt(~other, sampling=geometry.spacing_mm)
        used &= away > OTHERS_MM
    deep = used & (_depth_mm(part, others, screw) > CORTEX_MM)
    if (deep & (outside > 0.0)).sum() >= ENOUGH_VOXELS:
        used = deep
    used &= outside > _clipped_until_mm(outside[used], part.hu[used], ceiling_hu)
    if (used & (outside > 0.0)).sum() < LEAST_VOXELS:
        return None
    normal = geometry.directions_lps[0]
    out = np.stack([across[used], along[used]]) / distance[used]
    share = (out[0] * (first @ normal) + out[1] * (second @ normal)) ** 2
    middle, half = 0.5 * (part_mm[0] + part_mm[1]), 0.5 * (part_mm[1] - part_mm[0])
    streak = streak_hu[used]
    return Flank(
        screw,
        part.hu[used].astype(float) - streak,
        STREAK_DOUBT * np.abs(streak),
        distance[used],
        share,
        out,
        (t[used] - middle) / half,
        part_mm,
    )


def _depth_mm(part: ScanRegion, hard: BoolArray, screw: ScrewModel) -> FloatArray:
    """Depth of voxels in the vertebra: near its surface cortex brightens the flank."""
    level = VertebraLevel(screw.level)
    bone = np.isin(part.labels, (level.number, level.arch_number)) | hard
    depth: FloatArray = ndimage.distance_transform_edt(
        bone, sampling=part.geometry.spacing_mm
    )
    return depth


CORTEX_MM, ENOUGH_VOXELS = 2.5, 300
"""Cortex and its blur reach so deep; the flank is read deeper where it is long enough
[ours]."""


def _clipped_until_mm(outside_mm: FloatArray, hu: HUArray, ceiling_hu: float) -> float:
    """Distance within which voxels are clipped.

    The crests of a thread are clipped first: of what is left there the grooves would
    be too many, so that all voxels of such a distance are left out.
    """
    clipped = outside_mm[hu >= UNCLIPPED_SHARE * ceiling_hu]
    edges = np.arange(*FLANK_MM, CLIP_STEP_MM)
    total, _ = np.histogram(outside_mm, edges)
    lost, _ = np.histogram(clipped, edges)
    many = np.flatnonzero(lost > CLIPPED_SHARE * np.maximum(total, 1))
    return float(edges[many[-1] + 1]) if many.size else FLANK_MM[0]


CLIP_STEP_MM, CLIPPED_SHARE = 0.1, 0.03
