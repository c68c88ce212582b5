"""Distance of every cell of a grid from a set of cells."""

from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.volume import BoolArray


def distance_from(cells: BoolArray) -> FloatArray:
    """Distance from the nearest cell that is set, in cells.

    The same numbers as ``scipy.ndimage.distance_transform_edt(~cells)``, by the
    algorithm of Maurer et al. (IEEE Trans Pattern Anal Mach Intell 2003;25:265-270) in
    a third of the time.

    Parameters
    ----------
    cells
        Three-dimensional; at least one should be set.

    Returns
    -------
    ndarray of float64
        0 at the cells that are set.
    """
    if not cells.any():
        distance: FloatArray = ndimage.distance_transform_edt(~cells)
        return distance
    image = sitk.GetImageFromArray(np.ascontiguousarray(cells).view(np.uint8))
    measure: Any = sitk.SignedMaurerDistanceMap
    squared = measure(
        image, insideIsPositive=False, squaredDistance=True, useImageSpacing=False
    )
    # Squares are whole numbers: single precision holds them exactly.
    found: FloatArray = np.maximum(sitk.GetArrayViewFromImage(squared), 0.0).astype(
        np.float64
    )
    np.sqrt(found, out=found)
    return found


def cells_within(cells: BoolArray, reach: float) -> BoolArray:
    """Tell which cells lie within a distance of those that are set.

    The same as ``distance_from(cells) <= reach``, looked at only around them.

    Parameters
    ----------
    cells
        Three-dimensional.
    reach
        Distance, in cells.
    """
    near = np.zeros(cells.shape, np.bool_)
    found = ndimage.find_objects(np.ascontiguousarray(cells).view(np.uint8))
    if found:
        margin = int(np.ceil(reach)) + 1
        box = tuple(slice(max(p.start - margin, 0), p.stop + margin) for p in found[0])
        near[box] = distance_from(cells[box]) <= reach
    return near
