"""Metal and dense cement of a quick scan, and what else their rays cross."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cemscope.testing.beam_table import Beam
from cemscope.testing.scalar_field import PlaneGrid

if TYPE_CHECKING:
    from cemscope.testing.quick_scanner import QuickScan, TissueSource

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

STREAK_CELL_MM = 1.0
"""Grid of the error image, and pitch of its rays."""

LEAST_FRACTION = 0.01
"""Less metal or cement in a cell is left out."""

LEAST_SLICE_ML = 0.004
"""Slices with less metal and cement than this stay as they are."""

BODY_CELL_MM = 4.0
"""Grid of the whole body section, for the rays that cross metal."""


@dataclass(frozen=True, slots=True, eq=False)
class BodySection:
    """The whole body round the scan on a coarse grid: water and compact bone."""

    grid: PlaneGrid
    water: Float32Array
    compact: Float32Array


@dataclass(slots=True, eq=False)
class HardCells:
    """Collects the voxels that hold metal or cement, block by block of planes."""

    voxels: PlaneGrid
    cells: dict[str, list[tuple[npt.NDArray[np.intp], Float32Array]]] = field(
        default_factory=dict
    )

    @property
    def used(self) -> bool:
        """Whether anything was collected."""
        return any(self.cells.values())

    def add(self, kind: str, first_slice: int, fraction: Float32Array) -> None:
        """Note fractions in some slices; contributions to a voxel add up."""
        where = np.flatnonzero(fraction > LEAST_FRACTION)
        if len(where):
            offset = first_slice * fraction[0].size
            values = fraction.ravel()[where]
            self.cells.setdefault(kind, []).append((where + offset, values))

    def of(self, kind: str) -> tuple[npt.NDArray[np.intp], Float32Array]:
        """Slice and flat index within the slice, shape (n, 2), and fractions."""
        parts = self.cells.get(kind, [])
        if not parts:
            return np.zeros((0, 2), np.intp), np.zeros(0, np.float32)
        index, back = np.unique(
            np.concatenate([p[0] for p in parts]), return_inverse=True
        )
        total = np.bincount(back, np.concatenate([p[1] for p in parts]))
        section = self.voxels.shape[1] * self.voxels.shape[2]
        where = np.stack(np.divmod(index, section), axis=1)
        return where, total.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class HardScene:
    """All that rays through metal and cement depend on.

    Attributes
    ----------
    hard : HardCells
        Metal and cement.
    body : BodySection
        What else the rays cross.
    beam : Beam
        The tube voltage.
    mu : ndarray, shape (6, energy bins)
        Attenuation of fat, muscle, bone, marrow, cement, metal; 1/cm.
    scan : QuickScan
        The scan.
    """

    hard: HardCells
    body: BodySection
    beam: Beam
    mu: FloatArray
    scan: "QuickScan"

    def slices(self) -> npt.NDArray[np.intp]:
        """Slices with enough metal or cement to matter."""
        grid = self.hard.voxels
        volume = np.zeros(grid.shape[0])
        for kind in ("metal", "cement"):
            where, values = self.hard.of(kind)
            np.add.at(volume, where[:, 0], values)
        volume *= grid.cell_mm**2 * grid.plane_mm / 1000.0
        return np.flatnonzero(volume > LEAST_SLICE_ML * grid.plane_mm)

    def nodes(self) -> tuple[FloatArray, FloatArray]:
        """Coordinates x and y of the coarse grid."""
        grid = self.hard.voxels
        size = np.array(grid.shape[:0:-1]) * grid.cell_mm
        middle = np.array(grid.first_mm[:2]) + 0.5 * (size - grid.cell_mm)
        n = np.ceil(size / STREAK_CELL_MM).astype(int) + 3
        x, y = (
            middle[i] + (np.arange(n[i]) - 0.5 * (n[i] - 1)) * STREAK_CELL_MM
            for i in (0, 1)
        )
        return x, y


def body_section(source: "TissueSource", scan: "QuickScan") -> BodySection:
    """Water and bone of the whole body round the scan, coarsely."""
    low, high = source.body_box_mm()
    unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    corners = scan.pose.to_table(low + unit * (high - low))
    first, last = corners.min(axis=0), corners.max(axis=0)
    columns, rows = (int(n) for n in np.ceil((last - first)[:2] / BODY_CELL_MM) + 1)
    height = (scan.slices - 1) * scan.slice_increment_mm
    planes = max(2, int(np.ceil(height / (2 * BODY_CELL_MM))) + 1)
    grid = PlaneGrid(
        (float(first[0]), float(first[1]), scan.first_mm[2]),
        BODY_CELL_MM,
        max(height / (planes - 1), 1e-3),
        (planes, rows, columns),
        scan.pose,
    )
    parts = source.fractions(grid)
    water = (
        parts.fat * np.float32(0.92) + parts.muscle * np.float32(1.045) + parts.marrow
    )
    return BodySection(grid, water.astype(np.float32), parts.compact)
