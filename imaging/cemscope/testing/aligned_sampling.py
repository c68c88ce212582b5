"""Fast sampling of fields on grids with the same axes: interpolation axis by axis."""

from typing import Any

import numpy as np
import numpy.typing as npt

from cemscope.testing.scalar_field import PlaneGrid, ScalarField

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]


def sample_aligned(field: ScalarField, grid: PlaneGrid) -> Float32Array:
    """Values of a field at the centres of a grid's cells, trilinear.

    The grid's pose is not looked at: the field has to lie on the table. Outside its
    lattice the field continues with its border.
    """
    values = field.values
    lattice = field.lattice
    x, y, z = (f - o for f, o in zip(grid.first_mm, lattice.origin_mm, strict=True))
    steps = ((z, grid.plane_mm), (y, grid.cell_mm), (x, grid.cell_mm))
    axes = [
        (first + step * np.arange(n)) / lattice.spacing_mm
        for (first, step), n in zip(steps, grid.shape, strict=True)
    ]
    for axis in (0, 1, 2):
        low = int(np.clip(np.floor(axes[axis][0]), 0, values.shape[axis] - 2))
        high = int(np.clip(np.ceil(axes[axis][-1]) + 1, low + 2, values.shape[axis]))
        part = [slice(None)] * 3
        part[axis] = slice(low, high)
        values = values[tuple(part)]
        axes[axis] = axes[axis] - low
    depth, height, width = values.shape
    across = linear_weights(axes[2], width)
    down = linear_weights(axes[1], height)
    through = linear_weights(axes[0], depth)
    # Thin blocks first: few planes are asked for.
    planes = (through @ values.reshape(depth, -1)).reshape(-1, width) @ across.T
    flat = down @ planes.reshape(grid.shape[0], height, grid.shape[2])
    return np.asarray(flat, np.float32)


def linear_weights(
    positions: npt.NDArray[np.floating[Any]], count: int
) -> Float32Array:
    """Matrix of linear interpolation at fractional indices; it holds the border.

    Shape (positions, count).
    """
    t = np.clip(positions, 0.0, count - 1.0)
    low = np.minimum(t.astype(np.intp), max(count - 2, 0))
    matrix = np.zeros((len(t), count), np.float32)
    rows = np.arange(len(t))
    matrix[rows, low] = 1.0 - (t - low)
    if count > 1:
        matrix[rows, low + 1] = t - low
    return matrix


def coverage_of(distance_mm: Float32Array, width_mm: float) -> Float32Array:
    """Volume fraction inside a surface, as `scalar_field.coverage`, in place."""
    distance_mm *= np.float32(-1.0 / width_mm)
    distance_mm += np.float32(0.5)
    return np.clip(distance_mm, 0.0, 1.0, out=distance_mm)
