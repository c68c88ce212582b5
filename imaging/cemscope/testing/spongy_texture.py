"""Texture of spongy bone: a block of random bone that repeats itself."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.testing.scalar_field import PlaneGrid

Float32Array = npt.NDArray[np.float32]

TEXTURE_CELLS, TEXTURE_MM = 96, 0.7
"""The texture repeats itself after 67 mm."""

FINE_MM, COARSE_MM = (1.0, 0.63, 0.63), (5.6, 4.9, 4.9)
"""Standard deviations of its two scales, mm (z, y, x): trabeculae and patches."""


@dataclass(frozen=True, slots=True, eq=False)
class SpongyTexture:
    """Volume fraction of compact bone in spongy bone.

    Attributes
    ----------
    tile : ndarray of float32, shape (n, n, n)
        Axes z, y, x; it repeats itself.
    """

    tile: Float32Array

    def at(self, grid: PlaneGrid) -> Float32Array:
        """Share of compact bone in the cells of a grid."""
        n = len(self.tile)
        x, y, z = grid.first_mm
        values = self.tile
        steps = ((z, grid.plane_mm), (y, grid.cell_mm), (x, grid.cell_mm))
        weights = []
        for (first, step), count in zip(steps, grid.shape, strict=True):
            at = (first + step * np.arange(count)) / TEXTURE_MM
            low = np.floor(at).astype(int)
            matrix = np.zeros((count, n), np.float32)
            rows = np.arange(count)
            matrix[rows, low % n] = 1.0 - (at - low)
            matrix[rows, (low + 1) % n] = at - low
            weights.append(matrix)
        planes = (weights[0] @ values.reshape(n, -1)).reshape(-1, n) @ weights[2].T
        cells = weights[1] @ planes.reshape(grid.shape[0], n, grid.shape[2])
        return np.asarray(cells, np.float32)


def spongy_texture(share: float, spread: float, seed: int) -> SpongyTexture:
    """Draw a texture with a mean and a standard deviation."""
    rng = np.random.default_rng([seed, 7])
    total = np.zeros((TEXTURE_CELLS,) * 3, np.float32)
    for size_mm, weight in ((FINE_MM, 0.8), (COARSE_MM, 0.6)):
        white = rng.standard_normal(total.shape, dtype=np.float32)
        sigma = [s / TEXTURE_MM for s in size_mm]
        smooth = ndimage.gaussian_filter(white, sigma, mode="wrap")
        total += np.float32(weight) * smooth / smooth.std()
    return SpongyTexture(np.clip(share + spread * total, 0.003, 0.5).astype(np.float32))
