"""Marrow of one vertebral body, as this patient's scan shows it."""

import numpy as np
from scipy import ndimage

from cemscope.segmentation.scan_region import ScanRegion, box_around
from cemscope.volume import LabelArray

SURFACE_MM, IMPLANT_MM, LEAST_VOXELS = 3.0, 5.0, 200
"""Marrow is read so far from the body's surface and from implants, from so many voxels.
"""

TEXTURE_SHARE = 0.35
"""Part of the deviation of marrow's voxels that is left in a profile, which averages
several of them [ours]."""


def marrow_of(
    region: ScanRegion, materials: LabelArray, number: int
) -> tuple[float, float] | None:
    """Read marrow away from implants and from the body's surface.

    Parameters
    ----------
    region
        The scan and its vertebrae.
    materials
        Cement, metal and lucent rims on the region's grid.
    number
        Of the body among the region's labels.

    Returns
    -------
    tuple of float or None
        Median and robust standard deviation in HU; None where too little is seen.
    """
    box = box_around(region.labels == number, region.geometry, 2.0)
    if box is None:
        return None
    spacing = region.geometry.spacing_mm
    body = region.labels[box] == number
    depth = ndimage.distance_transform_edt(body, sampling=spacing)
    inside = depth >= min(SURFACE_MM, 0.5 * float(depth.max()))
    implants = materials[box] > 0
    if implants.any():
        away = ndimage.distance_transform_edt(~implants, sampling=spacing)
        inside &= away >= IMPLANT_MM
    if inside.sum() < LEAST_VOXELS:
        return None
    values = region.hu[box][inside].astype(np.float64)
    middle = float(np.median(values))
    return middle, float(1.4826 * np.median(np.abs(values - middle)))
