"""Simple solids with exact volumes, the parts of analytic phantoms."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Point = tuple[float, float, float]


class Solid(Protocol):
    """A shape that can tell which points it contains."""

    def contains(self, points_lps_mm: FloatArray) -> npt.NDArray[np.bool_]:
        """Tell for points, shape (..., 3), whether they lie inside."""
        ...

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper corner of a box that holds the shape."""
        ...


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid with axes along LPS."""

    centre_lps_mm: Point
    semi_axes_mm: Point

    def contains(self, points_lps_mm: FloatArray) -> npt.NDArray[np.bool_]:
        """Tell for points, shape (..., 3), whether they lie inside."""
        scaled = (points_lps_mm - np.array(self.centre_lps_mm)) / self.semi_axes_mm
        inside: npt.NDArray[np.bool_] = (scaled**2).sum(-1) <= 1.0
        return inside

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper corner of a box that holds the shape."""
        centre, half = np.array(self.centre_lps_mm), np.array(self.semi_axes_mm)
        return centre - half, centre + half

    @property
    def volume_ml(self) -> float:
        """Exact volume."""
        return float(4.0 / 3.0 * np.pi * np.prod(self.semi_axes_mm) / 1000.0)


@dataclass(frozen=True, slots=True)
class Cylinder:
    """A straight circular cylinder between the centres of its two faces."""

    start_lps_mm: Point
    end_lps_mm: Point
    radius_mm: float

    def contains(self, points_lps_mm: FloatArray) -> npt.NDArray[np.bool_]:
        """Tell for points, shape (..., 3), whether they lie inside."""
        start, end = np.array(self.start_lps_mm), np.array(self.end_lps_mm)
        length = float(np.linalg.norm(end - start))
        axis = (end - start) / length
        offset = points_lps_mm - start
        along = offset @ axis
        radial2 = (offset**2).sum(-1) - along**2
        inside: npt.NDArray[np.bool_] = (
            (along >= 0) & (along <= length) & (radial2 <= self.radius_mm**2)
        )
        return inside

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper corner of a box that holds the shape."""
        ends = np.array([self.start_lps_mm, self.end_lps_mm])
        return ends.min(0) - self.radius_mm, ends.max(0) + self.radius_mm

    @property
    def volume_ml(self) -> float:
        """Exact volume."""
        length = np.linalg.norm(np.subtract(self.end_lps_mm, self.start_lps_mm))
        return float(np.pi * self.radius_mm**2 * length / 1000.0)


@dataclass(frozen=True, slots=True)
class EllipticDisc:
    """An upright elliptic cylinder: the shape of a vertebral body."""

    centre_lps_mm: Point
    semi_axes_mm: Point

    def contains(self, points_lps_mm: FloatArray) -> npt.NDArray[np.bool_]:
        """Tell for points, shape (..., 3), whether they lie inside."""
        scaled = (points_lps_mm - np.array(self.centre_lps_mm)) / self.semi_axes_mm
        inside: npt.NDArray[np.bool_] = (
            scaled[..., 0] ** 2 + scaled[..., 1] ** 2 <= 1.0
        ) & (np.abs(scaled[..., 2]) <= 1.0)
        return inside

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper corner of a box that holds the shape."""
        centre, half = np.array(self.centre_lps_mm), np.array(self.semi_axes_mm)
        return centre - half, centre + half


@dataclass(frozen=True, slots=True)
class ThreadedShaft:
    """A screw's shaft with a helical thread and a conical tip.

    Crests take 40 % of the pitch. ``start`` is at the head, ``end`` the tip.
    """

    start_lps_mm: Point
    end_lps_mm: Point
    radius_mm: float
    thread_mm: float = 0.9
    pitch_mm: float = 2.8
    cone_mm: float = 5.0

    def contains(self, points_lps_mm: FloatArray) -> npt.NDArray[np.bool_]:
        """Tell for points, shape (..., 3), whether they lie inside."""
        start, end = np.array(self.start_lps_mm), np.array(self.end_lps_mm)
        length = float(np.linalg.norm(end - start))
        axis = (end - start) / length
        helper = np.eye(3)[int(np.argmin(np.abs(axis)))]
        first = np.cross(axis, helper)
        first /= np.linalg.norm(first)
        second = np.cross(axis, first)
        offset = points_lps_mm - start
        along = offset @ axis
        a, b = offset @ first, offset @ second
        turn = along / self.pitch_mm - np.arctan2(b, a) / (2 * np.pi)
        crest = np.abs(turn - np.round(turn)) < 0.2
        outer = self.radius_mm - np.where(crest, 0.0, self.thread_mm)
        outer = np.minimum(outer, self.radius_mm * (length - along) / self.cone_mm)
        inside: npt.NDArray[np.bool_] = (along >= 0) & (np.hypot(a, b) <= outer)
        return inside

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper corner of a box that holds the shape."""
        ends = np.array([self.start_lps_mm, self.end_lps_mm])
        return ends.min(0) - self.radius_mm, ends.max(0) + self.radius_mm

    @property
    def mean_radius_mm(self) -> float:
        """Radius of the cylinder with as much metal as the threaded part."""
        core = self.radius_mm - self.thread_mm
        return float(np.sqrt(0.4 * self.radius_mm**2 + 0.6 * core**2))
