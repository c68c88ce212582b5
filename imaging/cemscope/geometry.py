"""Where the voxels of an image lie in the patient.

Array axes are (slice, row, column) everywhere in cemscope. Patient coordinates
are DICOM LPS in mm: x grows to the patient's left, y to the back (posterior),
z to the head (superior). A voxel's coordinate is the position of its centre.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from cemscope.errors import GeometryMismatchError

FloatArray = npt.NDArray[np.float64]

GEOMETRY_TOLERANCE_MM = 1e-2
"""Largest distance between the corners of two grids that still count as one grid.

A hundredth of a millimetre is far below any CT voxel and well above the rounding
of a DICOM decimal string (16 characters).
"""


@dataclass(frozen=True, slots=True, eq=False)
class VoxelGeometry:
    """Shape and position of a regular voxel grid.

    Attributes
    ----------
    shape : tuple of int
        Number of slices, rows and columns; each at least 1.
    affine_lps : ndarray of float, shape (4, 4)
        Maps (slice, row, column, 1) to (x, y, z, 1) in LPS mm. Read-only.
    frame_of_reference_uid : str or None
        DICOM frame of reference; None where the source does not know it.

    Raises
    ------
    ValueError
        If the shape is empty or the affine is not an invertible 4 x 4 matrix.
    """

    shape: tuple[int, int, int]
    affine_lps: FloatArray
    frame_of_reference_uid: str | None = None

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"expected three axes of at least 1 voxel, found {shape}")
        affine = np.array(self.affine_lps, dtype=np.float64)
        if affine.shape != (4, 4):
            raise ValueError(f"expected a 4 x 4 affine, found shape {affine.shape}")
        if not np.isfinite(affine).all() or not np.array_equal(affine[3], [0, 0, 0, 1]):
            raise ValueError("expected a finite affine whose last row is 0 0 0 1")
        if abs(float(np.linalg.det(affine[:3, :3]))) < 1e-9:
            raise ValueError("the affine is singular: its voxels have no volume")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine_lps", affine)

    @classmethod
    def from_axes(
        cls,
        shape: tuple[int, int, int],
        spacing_mm: Sequence[float],
        origin_lps_mm: Sequence[float] = (0.0, 0.0, 0.0),
        directions_lps: npt.ArrayLike = ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
        frame_of_reference_uid: str | None = None,
    ) -> Self:
        """Build a geometry from spacing, first voxel and axis directions.

        Parameters
        ----------
        shape
            Slices, rows, columns.
        spacing_mm
            Distance between neighbours along (slice, row, column), mm.
        origin_lps_mm
            Centre of voxel (0, 0, 0).
        directions_lps
            Three unit vectors, one per array axis, in LPS. The default is an
            axial scan from the feet to the head.
        frame_of_reference_uid
            DICOM frame of reference.
        """
        affine = np.eye(4)
        steps = (
            np.asarray(directions_lps, float) * np.asarray(spacing_mm, float)[:, None]
        )
        affine[:3, :3] = steps.T
        affine[:3, 3] = origin_lps_mm
        return cls(shape, affine, frame_of_reference_uid)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along (slice, row, column)."""
        lengths = np.linalg.norm(self.affine_lps[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    @property
    def directions_lps(self) -> FloatArray:
        """Unit vectors of the array axes in LPS, shape (3, 3), one per row."""
        directions: FloatArray = (
            self.affine_lps[:3, :3] / np.asarray(self.spacing_mm)
        ).T.copy()
        return directions

    @property
    def origin_lps_mm(self) -> FloatArray:
        """Centre of voxel (0, 0, 0)."""
        return self.affine_lps[:3, 3].copy()

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return abs(float(np.linalg.det(self.affine_lps[:3, :3])))

    def index_to_lps(self, indices: npt.ArrayLike) -> FloatArray:
        """Map (slice, row, column) indices, shape (..., 3), to LPS mm."""
        points = np.asarray(indices, dtype=np.float64)
        mapped: FloatArray = points @ self.affine_lps[:3, :3].T + self.affine_lps[:3, 3]
        return mapped

    def lps_to_index(self, points_lps_mm: npt.ArrayLike) -> FloatArray:
        """Map LPS points in mm, shape (..., 3), to fractional indices."""
        points = np.asarray(points_lps_mm, dtype=np.float64) - self.affine_lps[:3, 3]
        mapped: FloatArray = points @ np.linalg.inv(self.affine_lps[:3, :3]).T
        return mapped

    def contains_lps(self, point_lps_mm: npt.ArrayLike) -> bool:
        """Tell whether a patient point lies inside the grid (voxel faces count)."""
        index = self.lps_to_index(point_lps_mm)
        return bool(
            np.all(index >= -0.5) and np.all(index <= np.array(self.shape) - 0.5)
        )

    def corners_lps_mm(self) -> FloatArray:
        """Centres of the eight corner voxels, shape (8, 3)."""
        last = np.array(self.shape, dtype=float) - 1
        unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), float)
        return self.index_to_lps(unit.reshape(3, -1).T * last)

    def crop(self, box: tuple[slice, slice, slice]) -> "VoxelGeometry":
        """Geometry of ``array[box]``; steps other than 1 are refused.

        Raises
        ------
        ValueError
            If a slice has a step or is empty.
        """
        starts, lengths = [], []
        for part, n in zip(box, self.shape, strict=True):
            start, stop, step = part.indices(n)
            if step != 1 or stop <= start:
                raise ValueError(f"expected a non-empty box without steps, found {box}")
            starts.append(start)
            lengths.append(stop - start)
        affine = self.affine_lps.copy()
        affine[:3, 3] = self.index_to_lps(starts)
        return VoxelGeometry(
            (lengths[0], lengths[1], lengths[2]), affine, self.frame_of_reference_uid
        )

    def describe_difference(
        self, other: "VoxelGeometry", tolerance_mm: float = GEOMETRY_TOLERANCE_MM
    ) -> tuple[str, ...]:
        """List, field by field, what differs from another geometry.

        An unknown (None) frame of reference differs from nothing. The affines are
        compared at the corners of the grid, so that the answer is in mm.

        Returns
        -------
        tuple of str
            Empty where both describe the same grid.
        """
        differences = []
        if self.shape != other.shape:
            differences.append(f"shape {self.shape} against {other.shape}")
        mine = self.corners_lps_mm()
        last = np.array(self.shape, dtype=float) - 1
        unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), float)
        theirs = other.index_to_lps(unit.reshape(3, -1).T * last)
        deviation_mm = float(np.linalg.norm(mine - theirs, axis=1).max())
        if deviation_mm > tolerance_mm:
            differences.append(f"position: up to {deviation_mm:.3f} mm apart")
        if (
            self.frame_of_reference_uid is not None
            and other.frame_of_reference_uid is not None
            and self.frame_of_reference_uid != other.frame_of_reference_uid
        ):
            differences.append(
                f"frame of reference {self.frame_of_reference_uid} "
                f"against {other.frame_of_reference_uid}"
            )
        return tuple(differences)


def require_same_geometry(first: VoxelGeometry, second: VoxelGeometry) -> None:
    """Refuse two grids that differ.

    Raises
    ------
    GeometryMismatchError
        Naming each field that differs, and by how much.
    """
    differences = first.describe_difference(second)
    if differences:
        raise GeometryMismatchError(
            "expected two images on one grid, found different "
            + "; ".join(differences)
            + ". Resample one of them first."
        )
