"""HU of pure cement at each place: streaks and the cement's own cupping change it."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.segmentation.cement.cement import CementRegion
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.cement.cement_settings import CementSettings
from cemscope.segmentation.scan_region import FloatArray
from cemscope.segmentation.tissue_levels import THICKEST_ERODED, eroded_hu

Float32Array = npt.NDArray[np.float32]


def local_level_hu(
    part: CementRegion,
    level: CementLevel,
    settings: CementSettings,
    sigma_mm: tuple[float, float, float],
) -> Float32Array:
    """HU of pure cement around each voxel: dark streaks lower it, crests raise it.

    Mean of the solid cores near by, each divided by what the blur leaves of it; where
    there are few, that of the whole scan. Only cores near the scan's level count, so
    that cement mixed with bone keeps its share.
    Cement hardens the beam for itself, so that its rim reads more than its core unless
    the scanner corrects it: how much the cores fall per mm of depth is measured and
    continued to the rim.

    Parameters
    ----------
    part, level, settings
        The cement, how bright it is in the scan, and how cores are found.
    sigma_mm
        Blur along each axis.
    """
    full = np.full(part.solid.shape, level.hu, np.float32)
    if level.clipped:
        return full
    geometry = part.region.geometry
    core = eroded_hu(
        np.where(part.solid, part.tissue_hu, np.int16(0)),
        geometry,
        settings.levels.core_radius_mm,
    )
    solid = (core >= SOLID_SHARE * level.hu) & ~part.corrected
    depth = ndimage.distance_transform_edt(
        part.solid | part.shell, sampling=geometry.spacing_mm
    ).astype(np.float32)
    np.minimum(depth, DEEPEST_MM, out=depth)
    sigma = LOCAL_LEVEL_SIGMA_MM / np.array(geometry.spacing_mm)
    whole = (part.tissue_hu >= 0.5 * level.hu) | part.shell
    left = ndimage.gaussian_filter(
        whole.astype(np.float32), np.array(sigma_mm) / geometry.spacing_mm
    )
    unblurred = part.tissue_hu / np.maximum(left, LEAST_LEFT)

    def nearby(values: Float32Array) -> Float32Array:
        usable = solid.astype(np.float32) * values
        return np.asarray(
            ndimage.gaussian_filter(usable, sigma, truncate=2.5), np.float32
        )

    prior = np.float32(PRIOR_CORES)
    weight = nearby(np.ones_like(full)) + prior
    local = (nearby(unblurred) + prior * full) / weight
    mean_depth = (nearby(depth) + prior * np.float32(USUAL_DEPTH_MM)) / weight
    clear = solid & (depth >= CLEAR_OF_BLUR_MM)
    if max(geometry.spacing_mm) > THICKEST_ERODED * settings.levels.core_radius_mm:
        # Depth across thick slices is not known well enough.
        clear = np.zeros_like(clear)
    fall = fall_per_mm(
        (part.tissue_hu[clear] / local[clear] - 1.0).astype(np.float64),
        (depth[clear] - mean_depth[clear]).astype(np.float64),
        part.region.voxel_ml,
    )
    steep = STEEP_RIM_MM * np.maximum(1.0 - depth / CLEAR_OF_BLUR_MM, 0.0)
    pure: Float32Array = local * (1.0 + fall * (mean_depth - depth + steep))
    return pure.astype(np.float32)


def fall_per_mm(relative: FloatArray, depth_mm: FloatArray, voxel_ml: float) -> float:
    """Share of its brightness that cement loses per mm of depth, between 0 and 5 %.

    Least squares, with `USUAL_FALL` where there are few cores.

    Parameters
    ----------
    relative
        HU of cores over their mean near by, less 1.
    depth_mm
        Their depth less the mean depth near by.
    voxel_ml
        Volume of one.
    """
    square = float((depth_mm**2).sum()) * voxel_ml
    product = float((depth_mm * relative).sum()) * voxel_ml
    fall = (PRIOR_FALL_ML_MM2 * USUAL_FALL - product) / (PRIOR_FALL_ML_MM2 + square)
    return float(np.clip(fall, 0.0, 0.05))


LEAST_LEFT = 0.75
"""Cores hardly lose more to the blur than this leaves; what seems to is mixed."""

PRIOR_CORES = 0.01
"""Share of the neighbourhood from which cores outweigh the scan's level: 4 mm3 of them
[ours]."""

USUAL_FALL = 0.01
"""Per mm: 20 % barium sulphate at 120 kVp reads 4,450 HU behind 5 mm of itself and
4,080 HU behind 10 mm (calculated); mean of the tuning scenes, too."""

PRIOR_FALL_ML_MM2 = 0.05
"""Volume of cores, times squared depth, from which the fall is measured rather than
assumed [our choice]."""

STEEP_RIM_MM = 2.0
"""The mean chord through a point of a disc falls as steeply in its outermost fifth as
over all the rest (it follows the elliptic integral E), so that a straight line misses
about as much again as one or two mm of it [our choice]."""

CLEAR_OF_BLUR_MM = 1.75
"""Deeper than this the edge's own blur takes less than 2 %."""

DEEPEST_MM = 5.0
"""Farther in, cement hardly grows darker."""

USUAL_DEPTH_MM = 1.5
"""Depth of cores where none is near."""

RIM_OVER_CORE = 1.03
"""What the rim of cement reads over its cores with the usual fall."""

SOLID_SHARE = 0.65
"""A core darker than this share of the scan's cement is a mixture, not a streak."""

LOCAL_LEVEL_SIGMA_MM = 3.0
"""Streaks change over some millimetres."""
