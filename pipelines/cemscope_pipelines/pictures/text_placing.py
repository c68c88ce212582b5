"""Place texts so that none lies over another."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def spread(
    wanted: npt.ArrayLike, sizes: npt.ArrayLike, limits: tuple[float, float]
) -> FloatArray:
    """Move intervals as little as possible so that they do not overlap.

    Least squares, by pooling adjacent violators (Barlow 1972). The order along the axis
    stays that of the wanted centres.

    Parameters
    ----------
    wanted
        Wanted centres, shape (n,), any unit.
    sizes
        Lengths of the intervals.
    limits
        Range that they should lie in. Where they cannot all fit, they go beyond the
        upper limit rather than over each other.

    Returns
    -------
    ndarray, shape (n,)
        Centres, in the order given.
    """
    centres, lengths = np.asarray(wanted, float), np.asarray(sizes, float)
    if centres.size == 0:
        return centres.copy()
    order = np.argsort(centres, kind="stable")
    half = lengths[order] / 2.0
    offsets = np.concatenate([[0.0], np.cumsum(half[:-1] + half[1:])])
    blocks: list[list[float]] = []
    for value in centres[order] - offsets:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            value_b, n_b = blocks.pop()
            value_a, n_a = blocks.pop()
            total = n_a + n_b
            blocks.append([(value_a * n_a + value_b * n_b) / total, total])
    placed = np.concatenate([np.full(int(n), value) for value, n in blocks])
    low = limits[0] + half[0]
    high = limits[1] - half[-1] - offsets[-1]
    result: FloatArray = np.empty_like(centres)
    result[order] = np.clip(placed, low, max(low, high)) + offsets
    return result
