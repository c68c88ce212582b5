"""What tells a vertebra's level: the alae of the sacrum and the ribs.

Both are read beside each vertebra in its own axes, on a coarse grid. A side that the
field of view does not cover is not judged.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.body_surface import BodySurface
from cemscope.segmentation.spine_working_volume import WorkingVolume

ALA_NEAR_MM, ALA_FAR_MM = 28.0, 42.0
"""Distance from the midline at which an ala is solid and a lumbar transverse process
is thin (the sacrum is about 110 mm wide, L5 with its processes about 95 mm)."""

ALA_IN_FRONT_MM, ALA_BEHIND_MM = 34.0, 8.0
"""Depth in which an ala is looked for, from the posterior wall of the body."""

RIB_SEED_MM = 22.0
"""Bone beside the body and arch starts here; nearer lies the vertebra itself."""

RIB_DESCENT_MM = 44.0
"""How far below its vertebra a rib is followed; the last ribs run steeply down."""

SEED_WIDTH_MM = 8.0
"""Width of the strip in which a rib or transverse process must begin."""


@dataclass(frozen=True, slots=True)
class LandmarkSettings:
    """Tunables of the landmarks.

    Attributes
    ----------
    bone_above_hu : float
        Bone on the coarse grid.
    grid_mm : float
        Edge of the cubes on which the surroundings are read.
    reach_mm : float
        How far to the side the surroundings are read.
    least_seen : float
        Share of a region that the scan must cover to judge it.
    """

    bone_above_hu: float = 150.0
    grid_mm: float = 2.0
    reach_mm: float = 84.0
    least_seen: float = 0.8


@dataclass(frozen=True, slots=True)
class SideLandmarks:
    """Landmarks on one side of a vertebra.

    Attributes
    ----------
    ala : float or None
        Solid bone beside the body in a sagittal section, as a share of the body's
        own section; about 0.1 for a transverse process, 0.3 or more for the ala of
        the sacrum. None if not in view.
    process_reach_mm : float
        Distance from the midline that bone reaches which begins at this vertebra:
        a rib or a transverse process; at least this far, if the scan ends before.
    seen_to_mm : float
        Distance from the midline up to which the scan shows this side, so far down
        that a rib could be followed.
    """

    ala: float | None
    process_reach_mm: float
    seen_to_mm: float


@dataclass(frozen=True, slots=True)
class LevelLandmarks:
    """Landmarks on both sides of a vertebra."""

    left: SideLandmarks
    right: SideLandmarks


def level_landmarks(
    coarse: WorkingVolume, surface: BodySurface, settings: LandmarkSettings
) -> LevelLandmarks:
    """Read the landmarks beside a vertebra.

    Parameters
    ----------
    coarse
        Working volume of the whole scan (about 2 mm).
    surface
        The vertebra's body.
    settings
        Tunables.
    """
    step = settings.grid_mm
    lower = float(np.median(surface.lower_mm))
    upper = float(np.median(surface.upper_mm))
    # From the posterior wall (about 16 mm behind the axis): alae stand beside the
    # body, ribs and processes beside and behind the wall.
    middle = np.full(1, 0.3)
    wall = float(surface.wall_at(np.full(1, np.pi / 2), middle)[0])
    front = float(surface.wall_at(np.full(1, -np.pi / 2), middle)[0])
    body_section_mm2 = (upper - lower) * (wall + front)
    sides = []
    for sign in (1.0, -1.0):
        lateral = np.arange(RIB_SEED_MM, settings.reach_mm + 0.1, step)
        posterior = np.arange(wall - ALA_IN_FRONT_MM, wall + 36.1, step)
        height = np.arange(lower - RIB_DESCENT_MM, upper + 8.1, step)
        local = np.stack(
            np.meshgrid(sign * lateral, posterior, height, indexing="ij"), axis=-1
        )
        points = surface.frame.to_lps_mm(local)
        bone = coarse.sample(points) > settings.bone_above_hu
        seen = coarse.sample_inside(points) > 0.5
        bone &= seen
        own = (height >= lower) & (height <= upper)
        near = (lateral >= ALA_NEAR_MM) & (lateral <= ALA_FAR_MM)
        beside = posterior <= wall + ALA_BEHIND_MM
        ala = None
        if seen[np.ix_(near, beside, own)].mean() >= settings.least_seen:
            solid = _enclosed(bone[np.ix_(near, beside, np.ones_like(own))])
            section_mm2 = solid[:, :, own].sum(axis=(1, 2)) * step**2
            ala = float(np.median(section_mm2)) / body_section_mm2
        beginning = (height >= lower - 4.0) & (height <= upper + 8.0)
        followed = seen[:, :, height >= lower - RIB_DESCENT_MM / 2]
        shown = followed.mean(axis=(1, 2)) >= settings.least_seen
        seen_to = float(lateral[shown][-1]) if shown.all() else 0.0
        if shown[0] and not shown.all():
            seen_to = float(lateral[shown.argmin() - 1])
        reach = _process_reach(bone, lateral, beginning)
        sides.append(SideLandmarks(ala, reach, seen_to))
    return LevelLandmarks(left=sides[0], right=sides[1])


def _enclosed(bone: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Voxels between bone in front and behind, and between bone above and below.

    Fatty marrow of an old sacrum is darker than muscle: its cortex alone counts.
    """
    solid = np.ones_like(bone)
    for axis in (1, 2):
        before = np.maximum.accumulate(bone, axis=axis)
        after = np.flip(np.maximum.accumulate(np.flip(bone, axis), axis=axis), axis)
        solid &= before & after
    return solid


def _process_reach(
    bone: npt.NDArray[np.bool_],
    lateral: FloatArray,
    beginning: npt.NDArray[np.bool_],
) -> float:
    """Furthest distance of bone that is connected to the vertebra's side."""
    numbers, count = ndimage.label(bone, structure=np.ones((3, 3, 3)))
    if not count:
        return float(lateral[0])
    strip = numbers[lateral <= lateral[0] + SEED_WIDTH_MM]
    seeds = np.unique(strip[:, :, beginning])
    connected = np.isin(numbers, seeds[seeds > 0]).any(axis=(1, 2))
    if not connected.any():
        return float(lateral[0])
    return float(lateral[np.flatnonzero(connected)[-1]])
