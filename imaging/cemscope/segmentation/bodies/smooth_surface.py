"""The best smooth surface through a cost volume.

Semi-global matching (Hirschmueller 2008, doi:10.1109/TPAMI.2007.1166) with a price
that grows with the square of a step: the cost of each height is summed along paths
from four sides, then the cheapest height is taken for each place.
"""

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from cemscope.geometry import FloatArray

SingleArray = npt.NDArray[np.float32]

LONGEST_STEP_COST = 4.0
"""Steps that cost more than this are not looked at; costs are scaled to about 1."""

WRAP_PLACES = 16
"""Places beyond the seam of a circle that a path starts from."""


def smooth_surface(
    cost: FloatArray, step_price: float, *, closed_first_axis: bool = False
) -> FloatArray:
    """Choose one height per place so that cost and roughness are small.

    Parameters
    ----------
    cost : ndarray, shape (a, b, heights)
        Cost of each height at each place.
    step_price
        Price of a step of one height between neighbouring places; it grows with the
        square of the step.
    closed_first_axis
        Whether the first axis runs round a circle.

    Returns
    -------
    ndarray, shape (a, b)
        Heights as fractional indices.
    """
    single = cost.astype(np.float32)
    reach = min(
        cost.shape[2] - 1, int(np.ceil(np.sqrt(LONGEST_STEP_COST / step_price)))
    )
    steps = np.arange(-reach, reach + 1, dtype=np.float32)
    price = np.float32(step_price) * steps**2
    wrap = min(len(cost) // 2, WRAP_PLACES) if closed_first_axis else 0
    rounded = np.concatenate([single[len(cost) - wrap :], single, single[:wrap]])
    total = -3.0 * cost
    for direction in (1, -1):
        total += _along_first(rounded, price, direction)[wrap : wrap + len(cost)]
        total += _along_first(single.swapaxes(0, 1), price, direction).swapaxes(0, 1)
    return _subvoxel_minimum(total)


def _along_first(cost: SingleArray, price: SingleArray, direction: int) -> SingleArray:
    """Path costs along the first axis, from its start (1) or its end (-1)."""
    ordered = cost[::direction]
    reach = len(price) // 2
    heights = cost.shape[2]
    summed = np.empty(ordered.shape, np.float32)
    summed[0] = ordered[0]
    # All steps from one height to the next ones, seen through a window.
    wide = np.full((cost.shape[1], heights + 2 * reach), np.inf, np.float32)
    windows = np.moveaxis(sliding_window_view(wide, len(price), axis=1), 2, 0)
    # The least over the first axis is found several times faster than over the last.
    priced = np.empty(windows.shape, np.float32)
    for k in range(1, len(ordered)):
        wide[:, reach : reach + heights] = summed[k - 1]
        np.add(windows, price[:, None, None], out=priced)
        cheapest = priced.min(axis=0)
        summed[k] = ordered[k] + cheapest - summed[k - 1].min(axis=1, keepdims=True)
    result: SingleArray = summed[::direction]
    return result


def _subvoxel_minimum(cost: FloatArray) -> FloatArray:
    """Position of the minimum along the last axis, refined by a parabola."""
    at: npt.NDArray[np.int64] = cost.argmin(axis=2)
    inner = np.clip(at, 1, cost.shape[2] - 2)

    def value(shift: int) -> FloatArray:
        taken: FloatArray = np.take_along_axis(
            cost, (inner + shift)[:, :, None], axis=2
        )[:, :, 0]
        return taken

    low, middle, high = value(-1), value(0), value(1)
    bend = low - 2 * middle + high
    shift = np.where(bend > 1e-9, 0.5 * (low - high) / np.maximum(bend, 1e-9), 0.0)
    refined: FloatArray = np.where(
        at == inner, inner + np.clip(shift, -0.5, 0.5), at.astype(float)
    )
    return refined
