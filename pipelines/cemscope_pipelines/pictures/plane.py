"""Where the pixels of a picture lie in the patient.

Pictures follow the radiological convention: in coronal and axial views the patient's
right stands on the left of the picture, in sagittal views the front on the left; the
head, or in axial views the front, is on top. Pixels are square. Coronal and sagittal
planes are bent so that they follow the vertebral bodies.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.spine import Spine, Vertebra, VertebraFrame

FloatArray = npt.NDArray[np.float64]

_PATIENT_AXES = VertebraFrame(
    origin_lps_mm=np.zeros(3),
    left=np.array([1.0, 0.0, 0.0]),
    posterior=np.array([0.0, 1.0, 0.0]),
    superior=np.array([0.0, 0.0, 1.0]),
)


@dataclass(frozen=True, slots=True, eq=False)
class PicturePlane:
    """A grid of square pixels in the patient, flat or bent.

    Attributes
    ----------
    points_lps_mm : ndarray, shape (rows, columns, 3)
        Centre of each pixel.
    depth_axis : ndarray, shape (3,)
        Unit vector through the plane: the direction of a slab's thickness.
    pixel_mm : float
        Side of a pixel.
    left_mark, right_mark, top_mark, bottom_mark : str
        What lies that way: R, L, A, P, H or F.
    """

    points_lps_mm: FloatArray
    depth_axis: FloatArray
    pixel_mm: float
    left_mark: str
    right_mark: str
    top_mark: str
    bottom_mark: str

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.points_lps_mm.shape[0], self.points_lps_mm.shape[1]

    @property
    def width_mm(self) -> float:
        """Width of the picture in the patient."""
        return self.shape[1] * self.pixel_mm

    @property
    def height_mm(self) -> float:
        """Height of the picture in the patient."""
        return self.shape[0] * self.pixel_mm

    def pixel_of(self, point_lps_mm: npt.ArrayLike) -> tuple[float, float]:
        """(row, column) of the pixel nearest to a patient point along the plane.

        The distance through the plane does not count.
        """
        offset = self.points_lps_mm - np.asarray(point_lps_mm, float)
        offset = offset - (offset @ self.depth_axis)[..., None] * self.depth_axis
        nearest = int(np.argmin(np.einsum("ijk,ijk->ij", offset, offset)))
        row, column = np.unravel_index(nearest, self.shape)
        return float(row), float(column)


@dataclass(frozen=True, slots=True, eq=False)
class SpineCourse:
    """Course of the vertebral bodies: where the spine runs at each height.

    Attributes
    ----------
    z_mm : ndarray, shape (n,)
        Heights, rising.
    x_mm, y_mm : ndarray, shape (n,)
        Centre of the bodies there (LPS).
    """

    z_mm: FloatArray
    x_mm: FloatArray
    y_mm: FloatArray

    @classmethod
    def of(cls, spine: Spine) -> "SpineCourse":
        """Join the centres of the bodies.

        Raises
        ------
        ValueError
            If the spine holds no vertebra.
        """
        if not spine.vertebrae:
            raise ValueError("expected at least one vertebra, found none")
        centres = np.array([v.centroid_lps_mm for v in spine.vertebrae])
        centres = centres[np.argsort(centres[:, 2], kind="stable")]
        return cls(centres[:, 2], centres[:, 0], centres[:, 1])

    def x_at(self, z_mm: FloatArray) -> FloatArray:
        """Left-right position of the bodies at a height."""
        return np.interp(z_mm, self.z_mm, self.x_mm)

    def y_at(self, z_mm: FloatArray) -> FloatArray:
        """Front-back position of the bodies at a height."""
        return np.interp(z_mm, self.z_mm, self.y_mm)


def _steps(low_mm: float, high_mm: float, pixel_mm: float) -> FloatArray:
    count = max(2, round((high_mm - low_mm) / pixel_mm))
    steps: FloatArray = low_mm + (np.arange(count, dtype=np.float64) + 0.5) * pixel_mm
    return steps


def coronal_plane(
    course: SpineCourse,
    z_range_mm: tuple[float, float],
    x_range_mm: tuple[float, float],
    pixel_mm: float,
) -> PicturePlane:
    """Coronal picture bent along the bodies, seen from the front."""
    z = _steps(*z_range_mm, pixel_mm)[::-1]
    x = _steps(*x_range_mm, pixel_mm)
    points = np.empty((z.size, x.size, 3))
    points[..., 0] = x[None, :]
    points[..., 1] = course.y_at(z)[:, None]
    points[..., 2] = z[:, None]
    return PicturePlane(points, np.array([0.0, 1.0, 0.0]), pixel_mm, "R", "L", "H", "F")


def sagittal_plane(
    course: SpineCourse,
    z_range_mm: tuple[float, float],
    y_range_mm: tuple[float, float],
    pixel_mm: float,
) -> PicturePlane:
    """Sagittal picture bent along the bodies, front on the left."""
    z = _steps(*z_range_mm, pixel_mm)[::-1]
    y = _steps(*y_range_mm, pixel_mm)
    points = np.empty((z.size, y.size, 3))
    points[..., 0] = course.x_at(z)[:, None]
    points[..., 1] = y[None, :]
    points[..., 2] = z[:, None]
    return PicturePlane(points, np.array([1.0, 0.0, 0.0]), pixel_mm, "A", "P", "H", "F")


def axial_plane(
    vertebra: Vertebra | None,
    centre_lps_mm: npt.ArrayLike,
    half_width_mm: float,
    pixel_mm: float,
) -> PicturePlane:
    """Axial picture through a point, seen from the feet.

    It lies along the endplates of the vertebra, or straight across the patient
    where no vertebra is given.
    """
    frame = vertebra.frame if vertebra is not None else _PATIENT_AXES
    steps = _steps(-half_width_mm, half_width_mm, pixel_mm)
    points = (
        np.asarray(centre_lps_mm, float)
        + steps[None, :, None] * frame.left
        + steps[:, None, None] * frame.posterior
    )
    return PicturePlane(points, frame.superior.copy(), pixel_mm, "R", "L", "A", "P")
