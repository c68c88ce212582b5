"""Smooth scalar functions of patient space on a regular grid, and rigid poses."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pose:
    """How the patient lies on the table: turned about a point, then shifted.

    Attributes
    ----------
    rotation_deg : tuple of float
        Rotation vector in LPS axes, degrees.
    shift_mm : tuple of float
        LPS.
    centre_mm : tuple of float
        Fixed point of the rotation, in the patient's own frame.
    """

    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def to_table(self, patient_mm: npt.ArrayLike) -> FloatArray:
        """Scanner coordinates of points in the patient's frame, shape (..., 3)."""
        points = np.asarray(patient_mm, float).reshape(-1, 3) - self.centre_mm
        turned = points @ self.matrix.T + self.centre_mm + self.shift_mm
        return turned.reshape(np.shape(patient_mm))

    def to_patient(self, table_mm: npt.ArrayLike) -> FloatArray:
        """Inverse of `to_table`."""
        fixed = np.add(self.shift_mm, self.centre_mm)
        points = np.asarray(table_mm, float).reshape(-1, 3) - fixed
        turned = points @ self.matrix + self.centre_mm
        return turned.reshape(np.shape(table_mm))

    def turn(self, patient_directions: npt.ArrayLike) -> FloatArray:
        """Directions in scanner coordinates."""
        turned: FloatArray = np.asarray(patient_directions, float) @ self.matrix.T
        return turned

    @property
    def matrix(self) -> FloatArray:
        """Rotation from the patient's to the scanner's axes."""
        rotation = Rotation.from_rotvec(self.rotation_deg, degrees=True)
        return np.asarray(rotation.as_matrix(), float)


@dataclass(frozen=True, slots=True)
class Lattice:
    """An isotropic grid along the LPS axes; arrays on it are (z, y, x).

    Attributes
    ----------
    origin_mm : tuple of float
        LPS position (x, y, z) of voxel (0, 0, 0).
    spacing_mm : float
        Distance of neighbours.
    shape : tuple of int
        Voxels along z, y, x.
    """

    origin_mm: tuple[float, float, float]
    spacing_mm: float
    shape: tuple[int, int, int]

    @classmethod
    def around(
        cls, low_mm: npt.ArrayLike, high_mm: npt.ArrayLike, spacing_mm: float
    ) -> "Lattice":
        """Smallest lattice that holds a box given by two LPS corners."""
        low, high = np.asarray(low_mm, float), np.asarray(high_mm, float)
        count = np.ceil((high - low) / spacing_mm).astype(int) + 1
        return cls(
            (float(low[0]), float(low[1]), float(low[2])),
            spacing_mm,
            (int(count[2]), int(count[1]), int(count[0])),
        )

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return self.spacing_mm**3 / 1000.0

    def points_mm(self) -> FloatArray:
        """LPS positions of all voxels, shape (z, y, x, 3)."""
        x, y, z = (
            self.origin_mm[i] + self.spacing_mm * np.arange(self.shape[2 - i])
            for i in range(3)
        )
        grid = np.meshgrid(z, y, x, indexing="ij")
        return np.stack([grid[2], grid[1], grid[0]], axis=-1)

    def index_of(self, points_mm: npt.ArrayLike) -> FloatArray:
        """Fractional (z, y, x) indices of LPS points, shape (..., 3)."""
        index = (np.asarray(points_mm, float) - self.origin_mm) / self.spacing_mm
        return index[..., ::-1]

    def crop_around(self, mask: npt.NDArray[np.bool_], margin_mm: float) -> "Lattice":
        """Part of this lattice around the set voxels of a mask on it."""
        low, high = self.box_of(mask, margin_mm)
        origin = np.asarray(self.origin_mm) + low[::-1] * self.spacing_mm
        size = high - low
        return Lattice(
            (float(origin[0]), float(origin[1]), float(origin[2])),
            self.spacing_mm,
            (int(size[0]), int(size[1]), int(size[2])),
        )

    def box_of(
        self, mask: npt.NDArray[np.bool_], margin_mm: float
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """First and past-the-last index of the set voxels, with a margin."""
        pad = int(np.ceil(margin_mm / self.spacing_mm))
        low, high = [], []
        for axis in range(3):
            used = np.flatnonzero(
                mask.any(axis=tuple(a for a in range(3) if a != axis))
            )
            low.append(max(int(used[0]) - pad, 0))
            high.append(min(int(used[-1]) + pad + 1, self.shape[axis]))
        return np.array(low), np.array(high)


@dataclass(frozen=True, slots=True, eq=False)
class ScalarField:
    """Values on a lattice, interpolated between its points.

    Attributes
    ----------
    values : ndarray of float32, shape (z, y, x)
        Mostly signed distances in mm, negative inside.
    lattice : Lattice
        Where they lie.
    outside : float
        Value beyond the lattice.
    """

    values: Float32Array
    lattice: Lattice
    outside: float

    def at(self, points_mm: FloatArray, order: int = 1) -> Float32Array:
        """Value at LPS points, shape (..., 3)."""
        index = np.moveaxis(self.lattice.index_of(points_mm), -1, 0)
        sampled: Float32Array = ndimage.map_coordinates(
            self.values,
            index,
            output=np.float32,
            order=order,
            mode="constant",
            cval=self.outside,
        )
        return sampled

    def corners_mm(self) -> FloatArray:
        """LPS corners of the lattice, shape (8, 3)."""
        size = (np.array(self.lattice.shape)[::-1] - 1) * self.lattice.spacing_mm
        unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
        return np.asarray(self.lattice.origin_mm) + unit * size


Box = tuple[slice, slice, slice]
"""Part of a (z, y, x) array."""


@dataclass(frozen=True, slots=True)
class PlaneGrid:
    """Evenly spaced planes of square cells on the scanner's table, arrays (z, y, x).

    Attributes
    ----------
    first_mm : tuple of float
        Table position (x, y, z) of the centre of cell (0, 0, 0).
    cell_mm, plane_mm : float
        Size of a cell within a plane, and distance of the planes.
    shape : tuple of int
        Planes, rows, columns.
    pose : Pose
        How the patient lies.
    """

    first_mm: tuple[float, float, float]
    cell_mm: float
    plane_mm: float
    shape: tuple[int, int, int]
    pose: Pose

    def crop(self, box: Box) -> "PlaneGrid":
        """Part of the grid."""
        starts = [part.start for part in box]
        x, y, z = self.first_mm
        first = (
            x + starts[2] * self.cell_mm,
            y + starts[1] * self.cell_mm,
            z + starts[0] * self.plane_mm,
        )
        size = [part.stop - part.start for part in box]
        shape = (size[0], size[1], size[2])
        return PlaneGrid(first, self.cell_mm, self.plane_mm, shape, self.pose)

    def refine(self, n: int) -> "PlaneGrid":
        """Split each cell into n x n x n; their centres are inside the old cells."""
        back = 0.5 * (1.0 / n - 1.0)
        x, y, z = self.first_mm
        first = (
            x + back * self.cell_mm,
            y + back * self.cell_mm,
            z + back * self.plane_mm,
        )
        shape = (self.shape[0] * n, self.shape[1] * n, self.shape[2] * n)
        return PlaneGrid(first, self.cell_mm / n, self.plane_mm / n, shape, self.pose)

    def points_mm(self) -> FloatArray:
        """Centres of the cells in the patient's frame, shape (z, y, x, 3)."""
        x, y, z = self.first_mm
        grid = np.meshgrid(
            z + self.plane_mm * np.arange(self.shape[0]),
            y + self.cell_mm * np.arange(self.shape[1]),
            x + self.cell_mm * np.arange(self.shape[2]),
            indexing="ij",
        )
        return self.pose.to_patient(np.stack([grid[2], grid[1], grid[0]], axis=-1))

    def sample(self, field: ScalarField) -> Float32Array:
        """Values of a field at the centres of the cells."""
        lattice = field.lattice
        offset = lattice.index_of(self.pose.to_patient(self.first_mm))
        steps = np.diag([self.plane_mm, self.cell_mm, self.cell_mm])
        turn = self.pose.matrix.T[::-1, ::-1]  # table to patient, (z, y, x)
        sampled: Float32Array = ndimage.affine_transform(
            field.values,
            turn @ steps / lattice.spacing_mm,
            offset,
            output_shape=self.shape,
            output=np.float32,
            order=1,
            mode="constant",
            cval=field.outside,
        )
        return sampled

    def box_of(self, field: ScalarField) -> Box | None:
        """Cells that a field can reach; None if it lies elsewhere."""
        corners = self.pose.to_table(field.corners_mm())
        steps = np.array([self.cell_mm, self.cell_mm, self.plane_mm])
        low = np.floor((corners.min(axis=0) - self.first_mm) / steps).astype(int)
        high = np.ceil((corners.max(axis=0) - self.first_mm) / steps).astype(int) + 1
        low = np.maximum(low, 0)
        high = np.minimum(high, self.shape[::-1])
        if (high <= low).any():
            return None
        box = [slice(int(a), int(b)) for a, b in zip(low, high, strict=True)]
        return box[2], box[1], box[0]


def coverage(distance_mm: Float32Array, width_mm: float) -> Float32Array:
    """Volume fraction inside a surface, from the distance of a cell's centre to it."""
    share = np.float32(0.5) - distance_mm / np.float32(width_mm)
    return np.asarray(np.clip(share, 0.0, 1.0), np.float32)


def signed_distance_mm(mask: npt.NDArray[np.bool_], spacing_mm: float) -> Float32Array:
    """Distance to the surface of a mask, negative inside, zero between voxels."""
    outside = ndimage.distance_transform_edt(~mask).astype(np.float32)
    inside = ndimage.distance_transform_edt(mask).astype(np.float32)
    # Both count from voxel centres; the surface lies half a voxel before them.
    distance = np.where(mask, 0.5 - inside, outside - 0.5) * np.float32(spacing_mm)
    return np.asarray(distance, np.float32)
