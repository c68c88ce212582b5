"""A smooth line through points of unequal trust."""

import numpy as np

from cemscope.geometry import FloatArray


def smooth_line(
    at_mm: FloatArray, values: FloatArray, weights: FloatArray, sigma_mm: float
) -> FloatArray:
    """Local linear regression with a Gaussian kernel (Cleveland 1979, without rounds).

    Where weights are small over a stretch, the line runs straight on from what is
    trusted on both sides; at an end it keeps its slope.

    Parameters
    ----------
    at_mm : ndarray, shape (n,)
        Position of the points along the line, ascending.
    values : ndarray, shape (n, k)
        What is smoothed.
    weights : ndarray, shape (n,)
        Trust in each point; not negative.
    sigma_mm
        Width of the kernel.

    Returns
    -------
    ndarray, shape (n, k)
    """
    away = at_mm[None, :] - at_mm[:, None]
    # A trace of a much wider kernel carries the line over gaps.
    kernel = np.exp(-0.5 * (away / sigma_mm) ** 2)
    kernel += 1e-3 * np.exp(-0.5 * (away / (4.0 * sigma_mm)) ** 2)
    kernel *= np.maximum(weights, 1e-6)[None, :]
    zeroth, first, second = ((kernel * away**power).sum(axis=1) for power in (0, 1, 2))
    level, slope = kernel @ values, (kernel * away) @ values
    spread = zeroth * second - first**2
    ridge = 1e-9 * zeroth**2 * sigma_mm**2
    smooth: FloatArray = (second[:, None] * level - first[:, None] * slope) / (
        spread + ridge
    )[:, None]
    return smooth
