"""What metal does to the voxels around it, and the tissue that is left.

A shaft's edge is blurred over its surroundings. Far out its share is small and can be
subtracted; close to the metal everything is hidden: the uncertain shell.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from cemscope.segmentation.implants.metal import MetalSettings, SpinalMetal, box_near
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.shaft_streaks import CREST_REACH_MM, estimate_crest
from cemscope.segmentation.implants.slice_blur import voxel_blur_mm
from cemscope.segmentation.scan_region import (
    FloatArray,
    ScanRegion,
    coordinate_along_mm,
    grown,
)
from cemscope.spine import Spine
from cemscope.volume import BoolArray, HUArray


@dataclass(frozen=True, slots=True)
class ShaftRimSettings:
    """How the surroundings of a shaft are treated.

    Attributes
    ----------
    shell_metal_hu
        Voxels in which the metal's blur exceeds this are the uncertain shell; farther
        out the metal's share is subtracted.
    shell_rim_mm
        The shell is at least this wide.
    reach_mm
        The blur is followed this far.
    """

    shell_metal_hu: float = 500.0
    shell_rim_mm: float = 0.8
    reach_mm: float = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class TissueImage:
    """The spine's region without the blur of its shafts.

    Attributes
    ----------
    hu : ndarray of int16
        Tissue and cement; inside the shell and the metal as scanned.
    metal : ndarray of uint8
        Percent of metal of the shafts, from the fitted shape.
    shell : ndarray of bool
        Shafts and the voxels around them that the metal hides.
    corrected : ndarray of bool
        Voxels from which a noticeable share of metal was subtracted.
    forbidden : ndarray of bool
        Heads, rods and their rim, where nothing is measured.
    screws : tuple of ScrewModel
        Whose shafts these are.
    """

    hu: HUArray
    metal: npt.NDArray[np.uint8]
    shell: BoolArray
    corrected: BoolArray
    forbidden: BoolArray
    screws: tuple[ScrewModel, ...]


def subtract_shafts(
    region: ScanRegion,
    metal: SpinalMetal,
    screws: tuple[ScrewModel, ...],
    metal_settings: MetalSettings,
    settings: ShaftRimSettings,
) -> TissueImage:
    """Remove the blur of the fitted shafts from a region."""
    forbidden = grown(metal.hardware > 0, metal_settings.rim_mm, region.geometry)
    share = np.zeros(region.hu.shape, np.uint8)
    shell = np.zeros(region.hu.shape, np.bool_)
    corrected = np.zeros(region.hu.shape, np.bool_)
    if not screws:
        return TissueImage(region.hu, share, shell, corrected, forbidden, screws)
    hu = region.hu.copy()
    crests = _crests_hu(region, screws)
    voxel_mm = region.geometry.voxel_volume_mm3 ** (1 / 3)
    for screw in screws:
        box = box_near(region, screw, settings.reach_mm)
        distance, t = screw.distances_on(region.geometry.crop(box))
        depth = screw.metal_depth_mm(distance, t)
        percent = np.round(100.0 * np.clip(0.5 + depth / voxel_mm, 0.0, 1.0))
        share[box] = np.maximum(share[box], percent.astype(np.uint8))
        limit = min(settings.shell_metal_hu / screw.shaft.metal_hu, 0.4)
        blur_mm = voxel_blur_mm(screw, region.geometry.crop(box))
        rim = -float(special.ndtri(limit)) * blur_mm
        hidden = distance <= np.maximum(rim, settings.shell_rim_mm)
        shell[box] |= hidden
        spill = screw.shaft.metal_share(distance, blur_mm)
        left = (hu[box] - spill * screw.shaft.metal_hu) / np.maximum(1.0 - spill, 0.5)
        change = ~hidden & (spill > MINIMUM_SPILL)
        hu[box] = np.where(change, np.round(left), hu[box]).astype(np.int16)
        corrected[box] |= spill * screw.shaft.metal_hu > NOTICEABLE_METAL_HU
        # Beside the head and neck there is hardware all around.
        forbidden[box] |= (t < screw.neck_mm) & (distance <= metal_settings.rim_mm)
    bright = (crests > 0) & ~shell
    hu[bright] -= crests[bright]
    corrected |= crests > NOTICEABLE_METAL_HU
    return TissueImage(hu, share, shell, corrected, forbidden, screws)


def _crests_hu(region: ScanRegion, screws: tuple[ScrewModel, ...]) -> HUArray:
    """Streak crests beside all shafts; where two overlap, the stronger one."""
    crests = np.zeros(region.hu.shape, np.int16)
    for screw in screws:
        crest = estimate_crest(region, screw)
        if crest is None:
            continue
        box = box_near(region, screw, CREST_REACH_MM + screw.shaft.radius_mm)
        geometry = region.geometry.crop(box)
        first, second = screw.axis.cross_vectors()
        t, across, along = (
            np.asarray(coordinate_along_mm(geometry, screw.axis.point, axis))
            for axis in (screw.axis.forward, first, second)
        )
        beside = (t > screw.neck_mm) & (t < screw.tip_mm)
        radius = np.hypot(across, along)
        beside &= radius < screw.shaft.radius_mm + CREST_REACH_MM
        angle: FloatArray = np.arctan2(along[beside], across[beside])
        view = crests[box]
        view[beside] = np.maximum(
            view[beside], crest.at(t[beside], angle, radius[beside])
        )
    return crests


NOTICEABLE_METAL_HU = 50.0
"""About twice the noise of a body CT."""

MINIMUM_SPILL = 1e-3
"""Smaller shares of metal are below the noise."""


def shell_ml(
    region: ScanRegion, spine: Spine, tissue: TissueImage
) -> tuple[float, ...]:
    """Volume per vertebra that shafts hide without filling it, in the spine's order."""
    where = tissue.shell & (region.labels > 0)
    free = 1.0 - tissue.metal[where].astype(float) / 100.0
    held = np.bincount(region.labels[where], free, 256) * region.voxel_ml
    return tuple(
        float(held[v.level.number] + held[v.level.arch_number]) for v in spine.vertebrae
    )
