"""How alike the left and right surroundings of a point are in an axial slice."""

import numpy as np
import numpy.typing as npt

from cemscope.segmentation.worker_threads import side_by_side

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

SIDES = (1.0, -1.0)
"""Left and right of the mirror's plane."""

POINTS_AT_ONCE = 4_000
"""Points whose surroundings are compared at a time (5 MB an array)."""


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
    # With a wide border no neighbour lies outside; it has the values of the edge.
    border = int(np.hypot(IN_FRONT_MM, HALF_WIDTH_MM) / spacing_mm) + 2
    padded = np.pad(hu, ((0, 0), (border, border), (border, border)), mode="edge")
    shape = padded.shape
    start = (index[:, 0] * shape[1] + index[:, 1] + border) * shape[2]
    start += index[:, 2] + border
    pairs = []
    for turn in np.radians(TURNS_DEG):
        row, column = (
            np.rint(np.stack(parts) / spacing_mm).astype(np.int64)
            for parts in (
                [behind * np.cos(turn) + s * across * np.sin(turn) for s in SIDES],
                [s * across * np.cos(turn) - behind * np.sin(turn) for s in SIDES],
            )
        )
        pairs.append((row * shape[2] + column).reshape(2, -1))

    def best(first: int) -> npt.NDArray[np.float32]:
        part = start[first : first + POINTS_AT_ONCE]
        like = np.zeros(len(part), np.float32)
        for one, other in pairs:
            found = _correlation(
                _values(padded, part, one), _values(padded, part, other)
            )
            np.maximum(like, found, out=like)
        return like

    parts = side_by_side(best, range(0, len(index), POINTS_AT_ONCE))
    return np.concatenate([*parts, np.zeros(0, np.float32)])


def _values(
    padded: npt.NDArray[np.float32],
    start: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """Values (points, offsets) beside voxels, both as places in the flat array."""
    found: npt.NDArray[np.float32] = np.take(
        padded.reshape(-1), start[:, None] + offsets, mode="clip"
    )
    return found


def _correlation(
    one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    middle = ((one + other).mean(axis=1) / 2)[:, None]
    one, other = one - middle, other - middle
    spread = (one**2).mean(axis=1) / 2 + (other**2).mean(axis=1) / 2 + 1.0
    like: npt.NDArray[np.float32] = (one * other).mean(axis=1) / spread
    return np.clip(like, 0.0, 1.0)
