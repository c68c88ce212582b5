"""Where the pixels of a picture lie in the patient.

Pictures follow the radiological convention: in coronal and axial views the patient's
right stands on the left of the picture, in sagittal views the front on the left; the
head, or in axial views the front, is on top. Pixels are square. Coronal and sagittal
planes are bent so that they follow the vertebral bodies.
"""

from dataclasses import dataclass
from enum import Enum

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


class LongView(Enum):
    """From where a picture along the spine is seen."""

    SAGITTAL = "sagittal"
    CORONAL = "coronal"


@dataclass(frozen=True, slots=True, eq=False)
class PicturePlane:
    """A grid of square pixels in the patient, flat or bent.

    Attributes
    ----------
    points_lps_mm : ndarray, shape (rows, columns, 3)
        Centre of each pixel.
    depth_axis : ndarray, shape (3,) or (rows, 1, 3)
        Unit vector through the plane: the direction of a slab's thickness; one for
        all pixels, or one per row.
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
        through = np.sum(offset * self.depth_axis, axis=-1, keepdims=True)
        offset = offset - through * self.depth_axis
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


def picture_steps_mm(low_mm: float, high_mm: float, pixel_mm: float) -> FloatArray:
    """Centres of the pixels between two ends, at least two."""
    count = max(2, round((high_mm - low_mm) / pixel_mm))
    steps: FloatArray = low_mm + (np.arange(count, dtype=np.float64) + 0.5) * pixel_mm
    return steps


def bent_plane(
    course: SpineCourse,
    view: LongView,
    z_range_mm: tuple[float, float],
    across_mm: tuple[float, float],
    pixel_mm: float,
) -> PicturePlane:
    """Upright picture bent along the bodies.

    Parameters
    ----------
    view
        Coronal, seen from the front, or sagittal, with the front on the left.
    across_mm
        Range of x (coronal) or y (sagittal), LPS.
    """
    z = picture_steps_mm(*z_range_mm, pixel_mm)[::-1]
    across = picture_steps_mm(*across_mm, pixel_mm)
    coronal = view is LongView.CORONAL
    along = {LongView.CORONAL: course.y_at, LongView.SAGITTAL: course.x_at}[view](z)
    points = np.empty((z.size, across.size, 3))
    points[..., 0 if coronal else 1] = across[None, :]
    points[..., 1 if coronal else 0] = along[:, None]
    points[..., 2] = z[:, None]
    axes = _PATIENT_AXES
    if coronal:
        return PicturePlane(points, axes.posterior, pixel_mm, "R", "L", "H", "F")
    return PicturePlane(points, axes.left, pixel_mm, "A", "P", "H", "F")


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
    steps = picture_steps_mm(-half_width_mm, half_width_mm, pixel_mm)
    points = (
        np.asarray(centre_lps_mm, float)
        + steps[None, :, None] * frame.left
        + steps[:, None, None] * frame.posterior
    )
    return PicturePlane(points, frame.superior.copy(), pixel_mm, "R", "L", "A", "P")
