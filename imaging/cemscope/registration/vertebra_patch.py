"""The surroundings of one vertebra in one scan, at a common resolution."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.segmentation.scan_region import Box, box_around, within_mm
from cemscope.spine import Spine
from cemscope.volume import BoolArray, CTVolume, LabelMap

FloatField = npt.NDArray[np.float32]

CEMENT_LABELS, METAL_LABELS = (1, 2), (3, 4)
"""Numbers in a map of materials."""

PATCH_MARGIN_MM = 14.0
"""A patch reaches this far beyond the bone: poses are searched within it."""

USUAL_BLUR_MM = 0.5
"""In-plane blur (standard deviation) that a scan already has."""


@dataclass(frozen=True, slots=True, eq=False)
class ScannedSpine:
    """One scan with its vertebrae and implants.

    Attributes
    ----------
    ct : CTVolume
        The scan.
    spine : Spine
        Its vertebrae, on the scan's grid.
    materials : LabelMap
        Cement and metal on the scan's grid, numbered as in ``materials.nii.gz``.
    """

    ct: CTVolume
    spine: Spine
    materials: LabelMap


@dataclass(frozen=True, slots=True, eq=False)
class VertebraPatch:
    """A box of a scan around one vertebra.

    Attributes
    ----------
    hu : ndarray of float32
        Smoothed to the common resolution, bright voxels capped.
    own : ndarray of bool
        The vertebra.
    foreign : ndarray of bool
        Other vertebrae.
    hidden : ndarray of bool
        Metal, cement and what lies close to them.
    geometry : VoxelGeometry
        Of all arrays.
    """

    hu: FloatField
    own: BoolArray
    foreign: BoolArray
    hidden: BoolArray
    geometry: VoxelGeometry

    def sample(self, points_lps_mm: npt.ArrayLike) -> FloatArray:
        """Smoothed HU at patient points, linear; NaN outside the patch."""
        index = np.moveaxis(self.geometry.lps_to_index(points_lps_mm), -1, 0)
        values: FloatArray = ndimage.map_coordinates(
            self.hu, index, output=np.float64, order=1, cval=np.nan
        )
        return values

    def near(self, mask: BoolArray, points_lps_mm: npt.ArrayLike) -> BoolArray:
        """Value of a mask at the nearest voxel of patient points; False outside."""
        index = np.moveaxis(self.geometry.lps_to_index(points_lps_mm), -1, 0)
        there: BoolArray = ndimage.map_coordinates(
            mask.view(np.uint8), index, output=np.uint8, order=0
        ).astype(np.bool_)
        return there


@dataclass(frozen=True, slots=True)
class PatchLimits:
    """How a patch is cut: see `RegistrationSettings`."""

    blur_mm: float
    metal_margin_mm: float
    cement_margin_mm: float
    highest_hu: float


def cut_patch(
    scan: ScannedSpine, level: VertebraLevel, limits: PatchLimits
) -> VertebraPatch | None:
    """Cut the surroundings of a vertebra; None where it has no voxel."""
    labels = scan.spine.labels.labels
    geometry = scan.ct.geometry
    mine = (labels == level.number) | (labels == level.arch_number)
    box = box_around(mine, geometry, PATCH_MARGIN_MM)
    if box is None:
        return None
    return patch_in(scan, box, mine[box], limits)


def patch_in(
    scan: ScannedSpine, box: Box, own: BoolArray, limits: PatchLimits
) -> VertebraPatch:
    """Cut a box whose object is given.

    Parameters
    ----------
    box
        In the scan's arrays.
    own
        The object, on the box.
    limits
        Resolution, and margins; a margin of 0 hides nothing.
    """
    part = scan.ct.geometry.crop(box)
    spacing = part.spacing_mm
    foreign = (scan.spine.labels.labels[box] > 0) & ~own
    materials = scan.materials.labels[box]
    hidden = np.zeros(own.shape, np.bool_)
    for numbers, margin in (
        (METAL_LABELS, limits.metal_margin_mm),
        (CEMENT_LABELS, limits.cement_margin_mm),
    ):
        there = np.isin(materials, numbers)
        if margin > 0.0 and there.any():
            hidden |= within_mm(there, margin, spacing)
    hu = np.minimum(scan.ct.hu[box], limits.highest_hu).astype(np.float32)
    slice_mm = max(spacing[0], scan.ct.acquisition.slice_thickness_mm or 0.0)
    present = (SLICE_BLUR * slice_mm, USUAL_BLUR_MM, USUAL_BLUR_MM)
    sigma = [
        np.sqrt(max(limits.blur_mm**2 - have**2, 0.0)) / step
        for have, step in zip(present, spacing, strict=True)
    ]
    smooth = ndimage.gaussian_filter(hu, sigma, mode="nearest", truncate=3.0)
    return VertebraPatch(smooth, own, foreign, hidden, part)


SLICE_BLUR = 0.4
"""Standard deviation of a slice profile, as a share of its width at half height."""
