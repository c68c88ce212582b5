"""A small even grid along a vertebra's own axes.

What a leak does - which wall it leaves, how high, which way it runs - is asked in the
vertebra's frame, so that neither the table nor the order of the slices matters.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.scan_region import Box, FloatArray, box_of
from cemscope.spine import VertebraFrame
from cemscope.volume import BoolArray

Float32Array = npt.NDArray[np.float32]

GRID_MM = 0.7
"""Veins that cement fills are 1.5 mm wide and more."""


@dataclass(frozen=True, slots=True, eq=False)
class VertebraGrid:
    """Cells along (left, posterior, superior) of a vertebra.

    Attributes
    ----------
    frame : VertebraFrame
        The vertebra's own axes.
    lower_mm : ndarray, shape (3,)
        Centre of the first cell, in the frame.
    shape : tuple of int
        Cells to the left, to the back and to the head.
    cell_mm : float
        Side of a cell.
    """

    frame: VertebraFrame
    lower_mm: FloatArray
    shape: tuple[int, int, int]
    cell_mm: float = GRID_MM

    @classmethod
    def around(
        cls, frame: VertebraFrame, lower_mm: FloatArray, upper_mm: FloatArray
    ) -> "VertebraGrid":
        """Cover a box of the frame with cells that lie evenly about its origin."""
        first = np.floor(np.asarray(lower_mm) / GRID_MM - 0.5) + 0.5
        last = np.ceil(np.asarray(upper_mm) / GRID_MM + 0.5) - 0.5
        n = np.rint(last - first).astype(int) + 1
        return cls(frame, first * GRID_MM, (int(n[0]), int(n[1]), int(n[2])))

    def axis_mm(self, axis: int) -> FloatArray:
        """Coordinates of the cells along an axis of the frame."""
        steps: FloatArray = self.lower_mm[axis] + self.cell_mm * np.arange(
            self.shape[axis], dtype=np.float64
        )
        return steps

    def local_mm(self, index: npt.ArrayLike) -> FloatArray:
        """Position of cells in the frame, shape (..., 3)."""
        points: FloatArray = self.lower_mm + self.cell_mm * np.asarray(index, float)
        return points

    def index_of(self, local_mm: npt.ArrayLike) -> FloatArray:
        """Fractional index of positions in the frame."""
        index: FloatArray = (np.asarray(local_mm, float) - self.lower_mm) / self.cell_mm
        return index

    def lps_mm(self, index: npt.ArrayLike) -> FloatArray:
        """Position of cells in the patient."""
        return self.frame.to_lps_mm(self.local_mm(index))

    def scan_box(self, geometry: VoxelGeometry) -> Box | None:
        """Part of a scan that holds the grid; None where they do not meet."""
        last = np.array(self.shape) - 1.0
        corners = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
        index = geometry.lps_to_index(self.lps_mm(corners * last))
        low = np.clip(np.floor(index.min(axis=0)).astype(int) - 1, 0, geometry.shape)
        high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 2, 0, geometry.shape)
        return box_of(low, high) if (high > low).all() else None

    def sample(
        self, values: npt.NDArray[np.generic], geometry: VoxelGeometry, order: int = 1
    ) -> Float32Array:
        """Take an array of the scan over to the cells; 0 beyond it.

        Parameters
        ----------
        values
            On the grid ``geometry``.
        order
            1 interpolates linearly, 0 takes the nearest voxel.
        """
        # The way from cells to voxels is affine: no coordinates are stored.
        axes = np.array([self.frame.left, self.frame.posterior, self.frame.superior])
        to_index = np.linalg.inv(geometry.affine_lps[:3, :3])
        matrix = to_index @ axes.T * self.cell_mm
        offset = geometry.lps_to_index(self.frame.to_lps_mm(self.lower_mm))
        source = values.view(np.uint8) if values.dtype == np.bool_ else values
        sampled: Float32Array = ndimage.affine_transform(
            source, matrix, offset, self.shape, np.float32, order, "constant", 0.0
        )
        return sampled

    def sees(self, geometry: VoxelGeometry) -> BoolArray:
        """Cells that lie in the scan."""
        seen = np.ones(self.shape, np.bool_)
        axes = np.array([self.frame.left, self.frame.posterior, self.frame.superior])
        matrix = np.linalg.inv(geometry.affine_lps[:3, :3]) @ axes.T * self.cell_mm
        offset = geometry.lps_to_index(self.frame.to_lps_mm(self.lower_mm))
        a, b, c = (np.arange(n, dtype=np.float32) for n in self.shape)
        for row, start, n in zip(matrix, offset, geometry.shape, strict=True):
            across = a[:, None] * np.float32(row[0]) + b * np.float32(row[1])
            at = across[:, :, None] + c * np.float32(row[2]) + np.float32(start)
            seen &= (at >= -0.5) & (at <= n - 0.5)
        return seen

    def at(self, values: npt.NDArray[np.generic], local_mm: FloatArray) -> Float32Array:
        """Values of the grid at positions of the frame, linear; nearest beyond."""
        index = np.moveaxis(self.index_of(local_mm), -1, 0)
        found: Float32Array = ndimage.map_coordinates(
            values, index, np.float32, 1, "nearest"
        )
        return found
