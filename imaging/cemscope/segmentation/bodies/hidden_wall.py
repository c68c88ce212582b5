"""The part of a body's wall that cement or metal hides.

Cement beside the wall is brighter than bone, inside or outside of it: the image has no
edge there that is the wall's. The wall is continued from where it can be seen.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse import linalg

from cemscope.geometry import FloatArray
from cemscope.volume import BoolArray

ScalarT = TypeVar("ScalarT", bound=np.generic)

FAINT_PULL = 1e-4
"""Pull of each place of a gap to the median of what was seen."""


def beside_implant(
    implant: BoolArray, radius_index: FloatArray, reach: int
) -> BoolArray:
    """Tell which places of a wall have implant within a number of samples.

    Parameters
    ----------
    implant : ndarray of bool, shape (angles, levels, radii)
        Cement or metal along each ray.
    radius_index : ndarray, shape (angles, levels)
        The wall, as a fractional index of the last axis.
    reach : int
        Samples to either side.
    """
    near = ndimage.maximum_filter1d(implant, 2 * reach + 1, axis=-1)
    at = np.clip(np.rint(radius_index).astype(int), 0, implant.shape[-1] - 1)
    beside = np.take_along_axis(near, at[..., None], axis=-1)[..., 0] > 0
    # Blur and the smoothness of the wall carry the error over to the next places.
    mode = ("wrap", "nearest")
    wide: BoolArray = ndimage.maximum_filter(beside, size=3, mode=mode)
    return wide


def mirrored(values: npt.NDArray[ScalarT]) -> npt.NDArray[ScalarT]:
    """Swap left and right of values whose first axis runs round the body from left."""
    count = len(values)
    other: npt.NDArray[ScalarT] = values[(count // 2 - np.arange(count)) % count]
    return other


def continued_wall(radius_mm: FloatArray, hidden: BoolArray) -> FloatArray:
    """Fill the hidden places of a wall from the places that were seen.

    A body is nearly alike on both sides: where the other side was seen, its shape is
    taken, moved to meet the seen wall round the gap. Elsewhere the outline of the
    heights that were seen is taken in the same way.

    Parameters
    ----------
    radius_mm : ndarray, shape (angles, levels)
        Radius of the wall; directions run round the body from its left side.
    hidden : ndarray of bool, same shape
        Places to fill. If they are all hidden, the wall stays as it is.
    """
    if not hidden.any() or hidden.all():
        return radius_mm
    other_side = mirrored(radius_mm)
    by_symmetry = hidden & ~mirrored(hidden)
    if by_symmetry.any():
        apart = _membrane(
            radius_mm - other_side, by_symmetry, ~hidden & ~mirrored(hidden)
        )
        radius_mm = np.where(by_symmetry, other_side + apart, radius_mm)
        hidden = hidden & ~by_symmetry
    if hidden.any():
        known = ~hidden.all(axis=1)
        outline = [
            float(np.median(radii[~gap]))
            for radii, gap in zip(radius_mm[known], hidden[known], strict=True)
        ]
        if not outline:
            return radius_mm
        angle = np.arange(len(radius_mm))
        shape = np.interp(angle, angle[known], outline, period=len(radius_mm))[:, None]
        radius_mm = np.where(
            hidden, shape + _membrane(radius_mm - shape, hidden, ~hidden), radius_mm
        )
    return radius_mm


def _membrane(values: FloatArray, gap: BoolArray, seen: BoolArray) -> FloatArray:
    """Stretch a membrane over a gap; it is fixed where it is seen, free elsewhere."""
    if not seen.any():
        return np.zeros_like(values)
    # Each place of the gap is the mean of its neighbours: a small linear system.
    count = values.size
    index = np.arange(count).reshape(values.shape)
    active = gap | seen
    rows, columns = [], []
    for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
        beside = np.roll(index, shift, axis=axis)
        linked = gap & np.roll(active, shift, axis=axis)
        if axis == 1:  # the second axis is no circle
            linked[:, 0 if shift == 1 else -1] = False
        rows.append(index[linked])
        columns.append(beside[linked])
    row, column = np.concatenate(rows), np.concatenate(columns)
    degree = np.bincount(row, minlength=count)
    gap_flat = gap.ravel() & (degree > 0)
    usual = float(np.median(values[seen]))
    # A faint pull to the median keeps gaps without a seen border solvable.
    diagonal = np.where(gap_flat, degree + FAINT_PULL, 1.0)
    known = np.where(seen.ravel(), values.ravel(), usual)
    right = np.where(gap_flat, FAINT_PULL * usual, known)
    keep = gap_flat[row]
    system = sparse.csr_matrix(
        (-np.ones(int(keep.sum())), (row[keep], column[keep])), shape=(count, count)
    ) + sparse.diags(diagonal)
    filled: FloatArray = linalg.spsolve(system.tocsc(), right).reshape(values.shape)
    return filled
