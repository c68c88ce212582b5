"""Blur of a shaft's edge: within a slice that of the kernel, across slices their width.

Shafts lie nearly in the slices. Where these are thick the edges above and below a shaft
are blurred more than those beside it, and would look like a layer of cement.
"""

import numpy as np

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import RAYS, ScrewAxis
from cemscope.segmentation.scan_region import FloatArray, coordinate_along_mm
from cemscope.segmentation.tissue_levels import FWHM_PER_SIGMA


def ray_blur_mm(
    axis: ScrewAxis, sigma_mm: float, geometry: VoxelGeometry
) -> FloatArray:
    """Give the blur on each ray of a shaft's cross-sections.

    Parameters
    ----------
    axis
        The shaft's.
    sigma_mm
        Blur within a slice.
    geometry
        Of the scan; its slices are taken to be as wide as they are apart.

    Returns
    -------
    ndarray, shape (RAYS,)
        Standard deviations in mm.
    """
    first, second = axis.cross_vectors()
    angles = 2.0 * np.pi * np.arange(RAYS) / RAYS
    normal = _slice_normal(geometry)
    upright = np.cos(angles) * (first @ normal) + np.sin(angles) * (second @ normal)
    return _blur_mm(sigma_mm, upright, geometry)


def voxel_blur_mm(screw: ScrewModel, geometry: VoxelGeometry) -> FloatArray:
    """Give the blur at each voxel of a grid, along its distance from the axis."""
    normal = _slice_normal(geometry)
    first, second = screw.axis.cross_vectors()
    t, across, along, up = (
        coordinate_along_mm(geometry, screw.axis.point, axis)
        for axis in (screw.axis.forward, first, second, normal)
    )
    radial = np.maximum(np.hypot(across, along), LEAST_RADIUS_MM)
    upright = (up - t * float(screw.axis.forward @ normal)) / radial
    return _blur_mm(screw.shaft.sigma_mm, upright, geometry)


LEAST_RADIUS_MM = 0.1
"""On the axis itself there is no direction."""


def _slice_normal(geometry: VoxelGeometry) -> FloatArray:
    across = np.cross(geometry.affine_lps[:3, 1], geometry.affine_lps[:3, 2])
    normal: FloatArray = across / np.linalg.norm(across)
    return normal


def _blur_mm(
    sigma_mm: float, upright: FloatArray, geometry: VoxelGeometry
) -> FloatArray:
    slice_mm = max(geometry.spacing_mm[0] / FWHM_PER_SIGMA, sigma_mm)
    share = np.minimum(upright**2, 1.0)
    blur: FloatArray = np.sqrt(sigma_mm**2 + (slice_mm**2 - sigma_mm**2) * share)
    return blur
