"""Whether the gap between two outlines is the disc that it should be, or bone.

No cortex surrounds a disc. Where the two plates of thin discs melt into one in thick
slices, or cement hides one of them, the marrow between two discs can pass for a disc:
its plates are as clear as a disc's, but the wall of a body goes on beside it. So it
does where one endplate was drawn too far in.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cemscope.geometry import FloatArray
from cemscope.segmentation.bodies.body_surface import (
    WALL_ANGLES_RAD,
    BodyScene,
    BodySurface,
    on_plate,
)
from cemscope.segmentation.bodies.outline_measures import FRONT_BELOW, OutlineMeasures

BESIDE_RIM_MM = np.arange(-12.0, 6.1, 1.0)
"""Radii that are read, from the rims of the two outlines."""

RIM_INDEX = 12
"""Place of the rim itself."""

WALL_MM = (-8.0, 2.0)
"""Where a wall may lie: the waist of a body lies further in than its rims."""

BESIDE_WALL_MM = 5
"""So near to a wall it is darker on both sides."""

MIDDLE_SHARES = (0.4, 0.5, 0.6)
"""Heights between the two outlines that are read, as shares of the gap; their mean."""

LEAST_GAP_MM = 7.0
"""In a smaller gap the blur of the two plates fills it."""

LEAST_WALL_HU = 100.0
"""Contrast of cortex with what lies on either side of it. Median of the front wall
180 to 370 HU in gaps that were bodies, 10 to 75 HU in discs of 7 mm and more (simulated
scans of 1 to 3 mm) [ours]."""

WALLED = 0.8
"""From this share on the gap is a body [ours]."""

LEAST_RAYS = 12
"""Directions that must be judged, of 28 that no arch hides."""

BEYOND_PLATE_MM = np.array([1.5, 2.0, 2.5])
"""Distances beyond an endplate at which no wall should stand any more."""

SHARP_VOXEL_MM, BLUR_PER_VOXEL = 1.25, 0.6
"""In voxels wider than this a plate's blur hides what lies beside it further out, by so
much per mm [ours]."""

LEAST_RIM_GAP_MM = 5.0
"""Nearer to the next outline its own wall is read [ours]."""


def with_walled_gaps(
    own: OutlineMeasures,
    scene: BodyScene,
    surface: BodySurface,
    below: BodySurface | None,
    above: BodySurface | None,
) -> OutlineMeasures:
    """Add to an outline's measures how far walls surround the gaps beside it."""
    shares = [
        walled_share(scene, lower, upper)
        for lower, upper in ((below, surface), (surface, above))
        if lower is not None and upper is not None
    ]
    return replace(own, gap_walled=_largest(shares))


def with_walls_beyond(
    own: OutlineMeasures,
    scene: BodyScene,
    surface: BodySurface,
    below: BodySurface | None,
    above: BodySurface | None,
) -> OutlineMeasures:
    """Add to an outline's measures how far its wall goes on beyond its endplates."""
    shares = [
        wall_beyond(scene, surface, side, other)
        for side, other in ((-1, below), (1, above))
    ]
    return replace(own, wall_beyond=_largest(shares))


def wall_beyond(
    scene: BodyScene, surface: BodySurface, side: int, neighbour: BodySurface | None
) -> float:
    """Share of the directions in which a body's wall goes on beyond its endplate.

    The plate was drawn too far in: on an implant's edge, or across a hollow plate
    whose rim stands far beyond its middle.

    Parameters
    ----------
    scene
        Where to look.
    surface
        The outline.
    side
        1 for the upper, -1 for the lower endplate.
    neighbour
        The next outline on that side, if there is one.

    Returns
    -------
    float
        NaN where too little can be judged.
    """
    voxel_mm = scene.volume.voxel_width_mm(surface.frame.superior)
    blur_mm = BLUR_PER_VOXEL * max(voxel_mm - SHARP_VOXEL_MM, 0.0)
    level, plate = (-1, surface.upper_mm) if side > 0 else (0, surface.lower_mm)
    rim = _rim(surface, level, plate)
    judged = np.sin(WALL_ANGLES_RAD) < FRONT_BELOW
    if neighbour is not None:
        facing = neighbour.lower_mm if side > 0 else neighbour.upper_mm
        axis = surface.frame.superior + neighbour.frame.superior
        apart = _rim(neighbour, -1 - level, facing) - rim
        along = apart[:, RIM_INDEX] @ (axis / np.linalg.norm(axis))
        judged &= side * along >= LEAST_RIM_GAP_MM
    outwards = (BEYOND_PLATE_MM + blur_mm)[:, None] * side * surface.frame.superior
    points = rim[:, None] + outwards[:, None]
    seen = (scene.volume.sample_inside(points) > 0.5) & ~scene.implant_at(points)
    judged &= seen.all(axis=(1, 2))
    if judged.sum() < LEAST_RAYS:
        return float("nan")
    profiles = scene.volume.sample(points[judged])
    contrast = _wall_hu(profiles.reshape(-1, profiles.shape[-1]))
    lowest = contrast.reshape(profiles.shape[:2]).min(axis=1)
    return float((lowest > LEAST_WALL_HU).mean())


def _largest(shares: Sequence[float]) -> float:
    """Return the largest of the shares that are known."""
    return max((share for share in shares if np.isfinite(share)), default=0.0)


def walled_share(scene: BodyScene, lower: BodySurface, upper: BodySurface) -> float:
    """Share of the directions in which a wall stands between two outlines.

    Parameters
    ----------
    scene
        Where to look.
    lower, upper
        Neighbouring outlines.

    Returns
    -------
    float
        NaN where the gap is too small or hidden.
    """
    starts, ends = _rim(lower, -1, lower.upper_mm), _rim(upper, 0, upper.lower_mm)
    axis = lower.frame.superior + upper.frame.superior
    gap_mm = (ends - starts)[:, RIM_INDEX] @ (axis / np.linalg.norm(axis))
    judged = (np.sin(WALL_ANGLES_RAD) < FRONT_BELOW) & (gap_mm >= LEAST_GAP_MM)
    if judged.sum() < LEAST_RAYS:
        return float("nan")
    starts, ends = starts[judged, :, None], ends[judged, :, None]
    points = starts + np.array(MIDDLE_SHARES)[:, None] * (ends - starts)
    seen = (scene.volume.sample_inside(points) > 0.5) & ~scene.implant_at(points)
    known = seen.all(axis=(1, 2))
    if known.sum() < LEAST_RAYS:
        return float("nan")
    profiles = scene.volume.sample(points[known]).mean(axis=2)
    return float((_wall_hu(profiles) > LEAST_WALL_HU).mean())


def _rim(surface: BodySurface, level: int, plate_mm: FloatArray) -> FloatArray:
    """LPS points beside the rim of a plate, shape (angles, radii, 3)."""
    radii = np.maximum(surface.wall_mm[:, level, None] + BESIDE_RIM_MM, 0.0)
    left = np.cos(WALL_ANGLES_RAD)[:, None] * radii
    posterior = np.sin(WALL_ANGLES_RAD)[:, None] * radii
    height = on_plate(plate_mm, left, posterior)
    return surface.frame.to_lps_mm(np.stack([left, posterior, height], axis=-1))


def _wall_hu(profiles: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """How much brighter than on both of its sides the brightest place is; (n,)."""
    first, last = (RIM_INDEX + round(mm) for mm in WALL_MM)
    rows = np.arange(len(profiles))[:, None]
    top = first + profiles[:, first : last + 1].argmax(axis=1)[:, None]
    near = np.arange(1, BESIDE_WALL_MM + 1)
    most = profiles.shape[1] - 1
    inner = profiles[rows, np.maximum(top - near, 0)].min(axis=1)
    outer = profiles[rows, np.minimum(top + near, most)].min(axis=1)
    peak = profiles[rows, top][:, 0]
    contrast: npt.NDArray[np.float32] = peak - np.maximum(inner, outer)
    return contrast
