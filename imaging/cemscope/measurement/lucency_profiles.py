"""Radial HU profiles around a shaft, unrolled: position on the axis, angle, distance.

Distances count from the shaft's surface as it was fitted, that is without blooming.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.measurement.shaft_blur import EdgeBlur, TissueBeside, without_shaft
from cemscope.segmentation.implants.metal import box_near
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.scan_region import Box, FloatArray, ScanRegion
from cemscope.volume import BoolArray, LabelArray

AXIAL_STEP_MM = 0.5
ANGLES = 36
DISTANCE_MM = np.arange(0.4, 6.01, 0.2)
"""Where a profile is read, outside the surface: nearer than 0.4 mm is all metal."""

DISTANCE_MM.setflags(write=False)

CEMENT, LEAK, SCREW, OTHER_METAL = 1, 2, 3, 4


class CellState(IntEnum):
    """What could be seen at a place of the shaft's surface."""

    OUTSIDE = 0
    HIDDEN = 1
    CEMENT = 2
    SEEN = 3


@dataclass(frozen=True, slots=True, eq=False)
class ShaftProfiles:
    """Profiles around one shaft.

    Attributes
    ----------
    t_mm : ndarray, shape (planes,)
        Positions on the screw's axis.
    angle_rad : ndarray, shape (ANGLES,)
        From the axis's first cross vector to the second.
    hu : ndarray, shape (planes, ANGLES, len(DISTANCE_MM))
        What the shaft's metal leaves of the HU, smoothed along it and around it.
    state : ndarray of uint8, shape (planes, ANGLES)
        `CellState`, before the profiles are judged: SEEN is whatever lies in bone
        beside the shaft without other metal.
    in_body : ndarray of bool, shape (planes,)
        Whether the axis runs in the vertebral body, else in the pedicle or arch.
    blur_mm : ndarray, shape (ANGLES,)
        Blur of edges in the tissue, by direction.
    metal_blur_mm : ndarray, shape (ANGLES,)
        Blur of the shaft's own edge, by direction.
    exit_mm : ndarray, shape (planes, ANGLES)
        Distance at which the vertebra ends, `FAR_EXIT_MM` if it does not on the way.
    points_lps_mm : ndarray, shape (planes, ANGLES, len(DISTANCE_MM), 3)
        Where the profiles lie.
    """

    t_mm: FloatArray
    angle_rad: FloatArray
    hu: FloatArray
    state: npt.NDArray[np.uint8]
    in_body: BoolArray
    blur_mm: FloatArray
    metal_blur_mm: FloatArray
    exit_mm: FloatArray
    points_lps_mm: FloatArray


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """How profiles are read.

    Attributes
    ----------
    along_mm
        Standard deviation of the smoothing along the shaft: more than a third of the
        pitch of a thread, so that crests and grooves average.
    around_deg
        The same around the shaft.
    tip_margin_mm
        The cone of a tip is not judged: so much of the shaft is left out, or the
        fitted cone if that is longer.
    bone_reach_mm
        A place counts as bone where most of the way to this distance is vertebra.
    cement_reach_mm
        Cement this near to the surface covers it.
    cement_near_mm
        Where cement lies this near, its brightness hides the bone.
    metal_reach_mm
        Other metal this near hides a place.
    """

    along_mm: float = 1.5
    around_deg: float = 8.0
    tip_margin_mm: float = 4.0
    bone_reach_mm: float = 3.0
    cement_reach_mm: float = 0.9
    cement_near_mm: float = 3.0
    metal_reach_mm: float = 5.0


def read_profiles(
    region: ScanRegion,
    materials: LabelArray,
    screw: ScrewModel,
    settings: ProfileSettings,
    strip: Callable[[Box], TissueBeside] | None = None,
) -> ShaftProfiles | None:
    """Sample the scan around a shaft; None where none of it can be judged.

    Parameters
    ----------
    region
        The scan and its vertebrae.
    materials
        Cement and metal on the region's grid.
    strip
        Gives the tissue in a box of the region without the shaft's metal; None to
        take it off as this shaft alone tells.
    """
    t = looked_at_mm(screw, settings)
    if t.size < LEAST_PLANES:
        return None
    first, second = screw.axis.cross_vectors()
    angle = 2.0 * np.pi * np.arange(ANGLES) / ANGLES
    rays = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
    reach = screw.shaft.radius_mm + DISTANCE_MM
    points = screw.axis.at(t)[:, None, None] + rays[:, None] * reach[:, None]
    index = np.moveaxis(region.geometry.lps_to_index(points), -1, 0)
    box = shaft_box(region, screw)
    part = region.sub_box(box)
    tissue = (
        without_shaft(part, screw, materials[box] == 0, (float(t[0]), float(t[-1])))
        if strip is None
        else strip(box)
    )
    near_index = np.moveaxis(part.geometry.lps_to_index(points), -1, 0)
    total, weight = (
        smoothed(
            ndimage.map_coordinates(
                values, near_index, output=np.float64, order=1, mode="nearest"
            ),
            settings,
        )
        for values in (tissue.hu, tissue.weight)
    )
    hu = total / np.maximum(weight, 0.02)
    level = VertebraLevel(screw.level)
    label = _nearest(region.labels, index)
    material = _nearest(materials, index)
    bone = np.isin(label, (level.number, level.arch_number))
    # Cement within a body is labelled as that body; a leak is not bone.
    near = settings.bone_reach_mm >= DISTANCE_MM
    state = np.full(label.shape[:2], CellState.OUTSIDE, np.uint8)
    state[bone[..., near].mean(axis=2) >= MOSTLY] = CellState.SEEN
    covered = settings.cement_reach_mm >= DISTANCE_MM
    cement = np.isin(material, (CEMENT, LEAK))
    touched = cement[..., covered].mean(axis=2) >= MOSTLY
    beside = cement[..., settings.cement_near_mm >= DISTANCE_MM].any(axis=2)
    # Profiles are smoothed along the shaft: cement shines into its neighbours.
    shine = round(settings.along_mm / AXIAL_STEP_MM)
    beside = ndimage.maximum_filter1d(beside, 2 * shine + 1, axis=0, mode="nearest")
    state[beside & (state == CellState.SEEN)] = CellState.HIDDEN
    state[touched & (state != CellState.OUTSIDE)] = CellState.CEMENT
    beyond = (DISTANCE_MM >= OWN_METAL_MM) & (settings.metal_reach_mm >= DISTANCE_MM)
    metal = np.isin(material, (SCREW, OTHER_METAL))[..., beyond].any(axis=2)
    state[metal & (state == CellState.SEEN)] = CellState.HIDDEN
    # Is the axis itself in the body? Its label may be that of neither at the wall.
    centre = _nearest(
        region.labels,
        np.moveaxis(region.geometry.lps_to_index(screw.axis.at(t)), -1, 0),
    )
    return ShaftProfiles(
        t,
        angle,
        hu,
        state,
        centre == level.number,
        *_blur_mm(region, tissue.blur, rays),
        _exit_mm(bone),
        points,
    )


LEAST_PLANES = 8


def looked_at_mm(screw: ScrewModel, settings: ProfileSettings) -> FloatArray:
    """Positions on the axis between a screw's head and the cone of its tip."""
    margin = max(settings.tip_margin_mm, screw.thread.taper_mm)
    last = screw.tip_mm - margin - min(screw.tip_uncertainty_mm, 4.0)
    return np.arange(screw.neck_mm + 1.0, last, AXIAL_STEP_MM)


def shaft_box(region: ScanRegion, screw: ScrewModel) -> Box:
    """Voxels that the profiles of a shaft need."""
    return box_near(region, screw, float(DISTANCE_MM[-1]) + 2.0)


def smoothed(values: FloatArray, settings: ProfileSettings) -> FloatArray:
    """Smooth along the shaft (axis 0) and around it (axis 1)."""
    along = settings.along_mm / AXIAL_STEP_MM
    turn = settings.around_deg * ANGLES / 360.0
    values = ndimage.gaussian_filter1d(values, along, axis=0, mode="nearest")
    result: FloatArray = ndimage.gaussian_filter1d(values, turn, axis=1, mode="wrap")
    return result


MOSTLY = 0.6
"""Share of a way that decides what it runs through [ours]."""

OWN_METAL_MM = 1.4
"""Metal nearer to the surface may be the shaft's own, misfitted or threaded."""


FAR_EXIT_MM = 9.0
"""Stands for a surface beyond the profiles' end."""


def _exit_mm(bone: BoolArray) -> FloatArray:
    """Where a way leaves the bone for good, smoothed over its neighbours."""
    last = bone.shape[-1] - 1 - np.argmax(bone[..., ::-1], axis=-1)
    leaves = np.where(bone.any(axis=-1), DISTANCE_MM[last], 0.0)
    leaves[bone[..., -1]] = FAR_EXIT_MM
    around = np.concatenate([leaves[:, -1:], leaves, leaves[:, :1]], axis=1)
    smooth: FloatArray = ndimage.median_filter(around, 3, mode="nearest")[:, 1:-1]
    return smooth


def _nearest(labels: LabelArray, index: FloatArray) -> LabelArray:
    found: LabelArray = ndimage.map_coordinates(
        labels, index, output=np.uint8, order=0, mode="nearest"
    )
    return found


def _blur_mm(
    region: ScanRegion, blur: EdgeBlur, rays: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Blur of edges by direction: of those in the tissue, and of the shaft's own.

    The tissue is interpolated: between samples h apart this adds a variance of
    h^2 / 6.
    """
    spacing = np.array(region.geometry.spacing_mm)
    share = (rays @ region.geometry.directions_lps.T) ** 2
    own = blur.sigma_mm(share[:, 0])
    return np.hypot(own, np.sqrt(share @ (spacing**2) / 6.0)), own
