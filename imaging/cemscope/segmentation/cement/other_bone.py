"""Dense bone outside the outlines of the vertebrae: ribs, pelvis, sacrum, femur."""

import numpy as np
from scipy import ndimage

from cemscope.materials import CORTICAL_BONE_MAX_HU
from cemscope.segmentation.scan_region import ScanRegion, box_around
from cemscope.volume import BoolArray, HUArray

FAR_MM = 15.0
"""Leaks seldom go farther from the vertebra in one solid piece [our choice]."""

FAR_ML = 1.0
"""A dense piece with more than this beyond `FAR_MM` is bone, unless it is brighter
than bone can be [our choice]."""

COARSE_MM = 3.0
"""Grid on which the distance from the vertebrae is measured."""


BRIGHT_MARGIN, BRIGHT_SHARE = 1.1, 0.2
"""A piece is brighter than bone if this share of it exceeds the scan's densest arches
by this factor; of rib and facet hardly any voxel does [our choice]."""


def other_bone(
    region: ScanRegion, hu: HUArray, dense: BoolArray, bone_hu: float
) -> BoolArray:
    """Dense pieces outside all vertebra labels that are as dark as bone, or far away.

    Parameters
    ----------
    region
        With the vertebra labels.
    hu, dense
        HU, and the voxels in question, shape of the region.
    bone_hu
        Densest bone of this scan.

    Returns
    -------
    ndarray of bool
        Voxels of such pieces.
    """
    result = np.zeros(dense.shape, np.bool_)
    box = box_around(dense & (region.labels == 0), region.geometry, 0.0)
    if box is None:
        return result
    pieces, count = ndimage.label((dense & (region.labels == 0))[box])
    index = np.nonzero(pieces)
    number = pieces[index]
    offset = [part.start for part in box]
    far = _far_from_vertebrae(region)
    steps = _steps(region)
    coarse = tuple((i + o) // s for i, o, s in zip(index, offset, steps, strict=True))
    far_ml = np.bincount(number, far[coarse], count + 1) * region.voxel_ml
    whole = np.maximum(np.bincount(number, minlength=count + 1), 1)
    values = hu[box][index]
    any_bone = np.bincount(number, values > CORTICAL_BONE_MAX_HU, count + 1) / whole
    own_bone = np.bincount(number, values > BRIGHT_MARGIN * bone_hu, count + 1) / whole
    suspects = (far_ml > FAR_ML) & (any_bone < 0.5)
    suspects |= own_bone < BRIGHT_SHARE
    suspects[0] = False
    result[box] = suspects[pieces]
    return result


JOINT_MM2, CEMENT_SHARE, CEMENT_QUANTILE = 2.0, 0.7, 0.75
"""Area over which a leak hangs together with cement (a vein 1.6 mm wide), and which
share of cement's brightness the upper quarter of it exceeds; an osteophyte that cement
abuts is dense only in its thin cortex [our choice]."""


def joined_to_cement(
    region: ScanRegion, hu: HUArray, bone: BoolArray, inside: BoolArray, level_hu: float
) -> BoolArray:
    """Tell which pieces as dark as bone are a leak: cement goes over into them.

    Parameters
    ----------
    region, hu
        The scan.
    bone : ndarray of bool
        Voxels of the pieces (`other_bone`).
    inside : ndarray of bool
        Dense voxels of the vertebrae that hang together with the core of cement.
    level_hu
        Brightness of this scan's cement.
    """
    result = np.zeros(bone.shape, np.bool_)
    box = box_around(inside, region.geometry, JOINT_REACH_MM)
    if box is None or not bone[box].any():
        return result
    all_around = np.ones((3, 3, 3))
    beside = ndimage.binary_dilation(inside[box], all_around) & bone[box]
    pieces, count = ndimage.label(bone[box], all_around)
    voxels = np.bincount(pieces[beside], minlength=count + 1)
    face_mm2 = region.geometry.voxel_volume_mm3 ** (2.0 / 3.0)
    for number in np.flatnonzero(voxels * face_mm2 >= JOINT_MM2):
        own = pieces == number
        bright = np.quantile(hu[box][own], CEMENT_QUANTILE) >= CEMENT_SHARE * level_hu
        if bright and own.sum() * region.voxel_ml <= LARGEST_DARK_ML:
            result[box] |= own
    return result


JOINT_REACH_MM, LARGEST_DARK_ML = 25.0, 2.0
"""How far from cement such a leak is looked for, and how large it may be: what is
larger is bone [our choice]."""


def _steps(region: ScanRegion) -> tuple[int, ...]:
    return tuple(max(1, round(COARSE_MM / s)) for s in region.geometry.spacing_mm)


def _far_from_vertebrae(region: ScanRegion) -> BoolArray:
    """Coarse cells farther than `FAR_MM` from any vertebra label."""
    steps = _steps(region)
    labels = region.labels[tuple(slice(None, None, step) for step in steps)] > 0
    if not labels.any():
        return np.ones(labels.shape, np.bool_)
    sampling = np.array(steps) * region.geometry.spacing_mm
    far: BoolArray = ndimage.distance_transform_edt(~labels, sampling=sampling) > FAR_MM
    return far
