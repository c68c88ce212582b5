"""Move a surface onto the middle of the edge that it lies on."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray

WINDOW_MM = 1.75
"""How far to either side of the surface the edge is looked for."""

STEP_MM = 0.25
"""Distance between samples across the surface."""

ROUNDS = 2
"""How often the surface is moved."""

LEAST_DROP_HU = 30.0
"""Less than this drop across the surface is no edge: the surface stays."""

SampleAcross = Callable[[FloatArray], npt.NDArray[np.float32]]
"""Values at heights (..., samples) above each place of a surface."""


def refined_surface(
    height_mm: FloatArray, sample: SampleAcross, trust: FloatArray
) -> FloatArray:
    """Shift each place to the centre of its drop in density.

    Search on averaged profiles finds the right edge, but a dense cortex drags it
    outwards; the centre of the drop itself does not depend on the cortex.

    Parameters
    ----------
    height_mm : ndarray
        The surface; values grow outwards.
    sample
        Reads the image at heights of shape (*height_mm.shape, samples).
    trust : ndarray
        0 (leave it) to 1 (move it fully), per place.
    """
    offsets = np.arange(-WINDOW_MM - 0.5, WINDOW_MM + 0.51, STEP_MM)
    within = np.abs(offsets) <= WINDOW_MM
    for _ in range(ROUNDS):
        values = sample(height_mm[..., None] + offsets).astype(float)
        smooth = ndimage.gaussian_filter1d(values, 0.4 / STEP_MM, axis=-1)
        drop = np.maximum(-np.gradient(smooth, axis=-1), 0.0)[..., within]
        # Squared, so that noise beside the edge has little to say.
        weight = drop**2
        total = weight.sum(axis=-1)
        centre = (weight * offsets[within]).sum(axis=-1) / np.maximum(total, 1e-6)
        clear = drop.sum(axis=-1) >= LEAST_DROP_HU
        height_mm = height_mm + np.where(clear, centre, 0.0) * trust
    return height_mm
