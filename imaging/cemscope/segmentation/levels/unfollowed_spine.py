"""Whether the spine goes on where no vertebra was recognised."""

from collections.abc import Sequence

import numpy as np

from cemscope.geometry import FloatArray
from cemscope.segmentation.bodies.found_body import FoundBody
from cemscope.segmentation.bodies.vertebral_arches import USUAL_DISC_MM
from cemscope.segmentation.spine_working_volume import WorkingVolume

REACH_MM = 16.0
"""Half the width of the place that is looked at: a body fills it, its cortex lies in
it, even where the row bends by 15 degrees."""

BONE_ABOVE_HU = 180.0
"""Cortex and endplates, as blurred by slices of 3 mm."""

LEAST_BONE, MOST_BONE = 0.05, 0.8
"""Share of bone in a vertebral body with its endplates: soft tissue has none, and what
is bright throughout is no vertebra [ours]."""

IN_VIEW = 0.95
"""Share of the place that must lie in the scan."""

STEP_MM = 2.0


def goes_on_beyond(
    bodies: Sequence[FoundBody], volume: WorkingVolume
) -> tuple[bool, bool]:
    """Tell whether bone lies where the next vertebra would be, below and above the row.

    Parameters
    ----------
    bodies
        From the lowest to the highest. Below a sacrum nothing is expected.
    volume
        The whole scan, in cubes of some 2 mm.

    Returns
    -------
    tuple of bool
        Below the lowest and above the highest; False where the scan ends before.
    """
    if not bodies:
        return False, False
    below = not bodies[0].sacral and _is_bone(_beyond(bodies[0], -1.0), volume)
    return below, _is_bone(_beyond(bodies[-1], 1.0), volume)


def _beyond(body: FoundBody, direction: float) -> FloatArray:
    """LPS points in the place of the next body, shape (n, 3)."""
    surface = body.surface
    low, high = float(np.median(surface.lower_mm)), float(np.median(surface.upper_mm))
    height = high - low
    first = (high if direction > 0 else -low) + USUAL_DISC_MM
    across = np.arange(-REACH_MM, REACH_MM + STEP_MM, STEP_MM)
    along = direction * np.arange(first, first + height + STEP_MM, STEP_MM)
    local = np.stack(np.meshgrid(across, across, along, indexing="ij"), axis=-1)
    within = np.hypot(local[..., 0], local[..., 1]) <= REACH_MM
    return surface.frame.to_lps_mm(local[within])


def _is_bone(points_lps_mm: FloatArray, volume: WorkingVolume) -> bool:
    if not len(points_lps_mm):
        return False
    if float(volume.sample_inside(points_lps_mm).mean()) < IN_VIEW:
        return False
    bone = float((volume.sample(points_lps_mm) > BONE_ABOVE_HU).mean())
    return LEAST_BONE <= bone <= MOST_BONE
