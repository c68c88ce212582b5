"""Whether the gap between two outlines is the disc that it should be, or bone.

No cortex surrounds a disc. Where the two plates of thin discs melt into one in thick
slices, or cement hides one of them, the marrow between two discs can pass for a disc:
its plates are as clear as a disc's, but the wall of a body goes on beside it.
"""

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
    known = [share for share in shares if np.isfinite(share)]
    return replace(own, gap_walled=max(known, default=0.0))


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
