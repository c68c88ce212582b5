"""A blurred shaft that crosses a small scan obliquely, for fits of its flank."""

import numpy as np

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.implants.screw_profile import ScrewAxis

SPACING_MM = (0.8, 0.5, 0.5)


def shaft_geometry(shape: tuple[int, int, int]) -> VoxelGeometry:
    """Grid around the middle of the shaft."""
    origin = tuple(
        -0.5 * (n - 1) * s for n, s in zip(shape[::-1], SPACING_MM[::-1], strict=True)
    )
    return VoxelGeometry.from_axes(shape, SPACING_MM, origin)


def shaft_axis(shift_mm: float = 0.0) -> ScrewAxis:
    """Oblique axis, moved sidewards."""
    forward = np.array([0.15, -0.95, 0.12])
    forward /= np.linalg.norm(forward)
    across = np.cross(forward, [0.0, 0.0, 1.0])
    point = -20.0 * forward + shift_mm * across / np.linalg.norm(across)
    return ScrewAxis(point, forward)
