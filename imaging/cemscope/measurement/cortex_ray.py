"""Whether a cortex follows beyond cement, looking from it in one direction."""

import numpy as np
import numpy.typing as npt

from cemscope.measurement.vertebra_grid import Float32Array
from cemscope.segmentation.scan_region import FloatArray

BEYOND_MM = 7.0
"""A cortex that an outline left out is met within this distance beyond the blur of the
cement [our choice]: half of the width of an arch at its pedicle."""

CLEAR_SHARE = 0.1
"""Where less than this is cement, its blur is over."""

RIDGE_HU, BONE_HU = 80.0, 180.0
"""A cortex is brighter than the darkest place between it and the cement by the first,
and brighter than the second, as muscle with contrast medium is not [our choice]."""

LONGEST_MM = 20.0
"""Cement is followed so far on a ray."""


def meets_cortex(
    index: npt.NDArray[np.int64],
    way: FloatArray,
    cement: Float32Array,
    ct_hu: Float32Array,
    cell_mm: float,
) -> npt.NDArray[np.bool_]:
    """Tell for each cell whether a ray meets a cortex soon after the cement.

    Parameters
    ----------
    index
        Cells where rays start.
    way
        Direction along the axes of the grid, of length 1.
    cement, ct_hu
        Share of cement, and CT values.
    cell_mm
        Size of a cell.
    """
    limit = np.array(cement.shape) - 1
    left = np.full(len(index), round(BEYOND_MM / cell_mm))
    darkest = np.full(len(index), np.inf)
    met = np.zeros(len(index), np.bool_)
    for step in range(1, round(LONGEST_MM / cell_mm) + 1):
        at = tuple(np.clip(np.rint(index + step * way).astype(int), 0, limit).T)
        clear = (cement[at] < CLEAR_SHARE) & (left > 0)
        hu = ct_hu[at]
        met |= clear & (hu >= np.maximum(BONE_HU, darkest + RIDGE_HU))
        darkest = np.where(clear, np.minimum(darkest, hu), darkest)
        left = left - clear
        if not (left > 0).any():
            break
    return met
