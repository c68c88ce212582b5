"""The surface of the cement in a vertebral body, as places with directions outwards."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes

from cemscope.measurement.lucency_profiles import ANGLES
from cemscope.segmentation.scan_region import FloatArray, ScanRegion
from cemscope.volume import BoolArray

MOST_POINTS = 2520
"""Places of the surface that are looked at: a multiple of `ANGLES`."""

SMOOTH_MASK_MM = 0.8
"""Smoothing of the mask, so that its voxels' steps do not turn the directions."""


@dataclass(frozen=True, slots=True, eq=False)
class CementSurface:
    """Places on the cement's surface.

    Attributes
    ----------
    points_mm : ndarray, shape (places, 3)
        Positions on the region's grid: index times spacing. A multiple of `ANGLES`.
    outwards : ndarray, shape (places, 3)
        Unit vectors.
    area_mm2 : float
        What each place stands for.
    """

    points_mm: FloatArray
    outwards: FloatArray
    area_mm2: float


def cement_surface(
    within: BoolArray, cement: BoolArray, region: ScanRegion
) -> CementSurface | None:
    """Spread places over the surface of the cement in a body.

    Parameters
    ----------
    within, cement
        Cement of the body, and all cement: between the two there is no surface.

    Returns
    -------
    CementSurface or None
        None where there is too little of it.
    """
    spacing = np.array(region.geometry.spacing_mm)
    soft = ndimage.gaussian_filter(cement.astype(np.float32), SMOOTH_MASK_MM / spacing)
    inner = ndimage.binary_dilation(within, iterations=2)
    soft[~inner] = 0.0
    if soft.max() <= 0.5:
        return None
    points, faces, normals, _ = marching_cubes(  # type: ignore[no-untyped-call]  # no types
        soft, 0.5, spacing=tuple(spacing)
    )
    corners = points[faces].astype(float)
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area_mm2 = 0.5 * float(np.linalg.norm(crossed, axis=1).sum())
    count = min(len(points), MOST_POINTS) // ANGLES * ANGLES
    if count == 0:
        return None
    chosen = np.linspace(0, len(points) - 1, count).astype(int)
    slopes = np.stack(np.gradient(soft, *spacing))
    where = (points[chosen] / spacing).T
    falls = -np.stack(
        [ndimage.map_coordinates(slope, where, order=1) for slope in slopes], axis=1
    )
    length = np.linalg.norm(falls, axis=1, keepdims=True)
    outwards = np.where(
        length > 1e-6, falls / np.maximum(length, 1e-6), normals[chosen]
    )
    return CementSurface(points[chosen].astype(float), outwards, area_mm2 / count)
