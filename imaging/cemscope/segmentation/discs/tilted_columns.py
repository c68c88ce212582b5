"""Planes of many tilts through columns along the spine: tilting shifts the columns."""

import numpy as np
import numpy.typing as npt

from cemscope.geometry import FloatArray
from cemscope.segmentation.spine_working_volume import WorkingArray


class TiltedColumns:
    """Reads columns higher or lower, for a set of tilts at once.

    Parameters
    ----------
    rise_steps : ndarray, shape (tilts, columns)
        How many steps higher each tilt reads each column.
    count : int
        Steps along the axis.
    """

    def __init__(self, rise_steps: FloatArray, count: int) -> None:
        whole = np.floor(rise_steps).astype(int)
        self._pad = int(np.abs(whole).max()) + 2
        self._upper = (rise_steps - whole).astype(np.float32)[..., None]
        width = count + 2 * self._pad
        column = np.arange(rise_steps.shape[1]) * width
        start = (whole + self._pad + column).astype(np.intp)
        self._index: npt.NDArray[np.intp] = start[..., None] + np.arange(count)

    def sums(
        self, columns: WorkingArray, groups: tuple[npt.NDArray[np.bool_], ...]
    ) -> WorkingArray:
        """Sum the shifted columns of each group.

        Parameters
        ----------
        columns : ndarray, shape (..., columns, steps)
            Values; 0 is read beyond both ends.
        groups : tuple of ndarray of bool, shape (columns,)
            Columns that are added up.

        Returns
        -------
        ndarray, shape (..., groups, tilts, steps)
        """
        lead = [(0, 0)] * (columns.ndim - 1)
        padded = np.pad(columns, [*lead, (self._pad, self._pad)])
        flat = padded.reshape(*padded.shape[:-2], -1)
        low = np.take(flat, self._index, axis=-1)
        high = np.take(flat, self._index + 1, axis=-1)
        high -= low
        high *= self._upper
        low += high
        return np.stack([low[..., group, :].sum(axis=-2) for group in groups], axis=-3)
