"""How alike the left and right surroundings of a point are in an axial slice."""

import numpy as np
import numpy.typing as npt

HALF_WIDTH_MM = 30.0
"""Half the width of the part of a slice that is compared with its mirror."""

IN_FRONT_MM = 40.0
"""How far that part reaches to the front: over the vertebral body."""

BEHIND_MM = 30.0
"""How far it reaches to the back: over the spinous process."""

STRIDE_MM = 4.0
"""Distance between the values that are compared."""

TURNS_DEG = (-18.0, -9.0, 0.0, 9.0, 18.0)
"""Turns of the mirror's plane about the vertical."""

POINTS_AT_ONCE = 20_000
"""Points whose surroundings are held in memory at a time."""


def axial_symmetry(
    hu: npt.NDArray[np.float32], index: npt.NDArray[np.int64], spacing_mm: float
) -> npt.NDArray[np.float32]:
    """Correlation (0 ... 1) of the axial surroundings of voxels with their mirror.

    The mirror's plane may be turned (`TURNS_DEG`): patients do not lie straight, and a
    scoliotic vertebra is rotated. The best turn counts.

    Parameters
    ----------
    hu : ndarray of float32, shape (slices, rows, columns)
        Tamed values; rows run to the back, columns to the left.
    index : ndarray of int, shape (n, 3)
        Voxels that are judged.
    spacing_mm
        Edge of the voxels.

    Returns
    -------
    ndarray, shape (n,)
    """
    across, behind = np.meshgrid(
        np.arange(STRIDE_MM / 2, HALF_WIDTH_MM + 0.1, STRIDE_MM),
        np.arange(-IN_FRONT_MM, BEHIND_MM + 0.1, STRIDE_MM),
    )
    result = np.zeros(len(index), np.float32)
    for turn in np.radians(TURNS_DEG):
        offsets = [
            np.rint(
                np.stack(
                    [
                        behind * np.cos(turn) + side * across * np.sin(turn),
                        side * across * np.cos(turn) - behind * np.sin(turn),
                    ]
                ).reshape(2, -1)
                / spacing_mm
            ).astype(np.int64)
            for side in (1.0, -1.0)
        ]
        for first in range(0, len(index), POINTS_AT_ONCE):
            part = slice(first, first + POINTS_AT_ONCE)
            one, other = (_values(hu, index[part], offset) for offset in offsets)
            np.maximum(result[part], _correlation(one, other), out=result[part])
    return result


def _values(
    hu: npt.NDArray[np.float32],
    index: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """Values (points, offsets) beside voxels; the border is extended."""
    z, y, x = index.T[:, :, None]
    row = np.clip(y + offsets[0], 0, hu.shape[1] - 1)
    column = np.clip(x + offsets[1], 0, hu.shape[2] - 1)
    flat = (z * hu.shape[1] + row) * hu.shape[2] + column
    found: npt.NDArray[np.float32] = np.take(hu.reshape(-1), flat)
    return found


def _correlation(
    one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    middle = ((one + other).mean(axis=1) / 2)[:, None]
    one, other = one - middle, other - middle
    spread = (one**2).mean(axis=1) / 2 + (other**2).mean(axis=1) / 2 + 1.0
    like: npt.NDArray[np.float32] = (one * other).mean(axis=1) / spread
    return np.clip(like, 0.0, 1.0)
