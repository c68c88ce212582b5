"""A rigid movement between two scans: how one vertebra lies in both."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from cemscope.geometry import FloatArray
from cemscope.spine import VertebraFrame


@dataclass(frozen=True, slots=True, eq=False)
class RigidPose:
    """Maps points of the baseline scan to the follow-up scan.

    ``x' = rotation @ (x - centre) + centre + shift``, LPS mm.

    Attributes
    ----------
    rotation : ndarray, shape (3, 3)
        A proper rotation.
    shift_mm : ndarray, shape (3,)
        Movement of the centre.
    centre_mm : ndarray, shape (3,)
        Fixed point of the rotation, in the baseline scan.

    Raises
    ------
    ValueError
        If the matrix is no rotation.
    """

    rotation: FloatArray
    shift_mm: FloatArray
    centre_mm: FloatArray

    def __post_init__(self) -> None:
        matrix = np.array(self.rotation, dtype=np.float64)
        proper = (
            matrix.shape == (3, 3)
            and np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
            and np.linalg.det(matrix) > 0.0
        )
        if not proper:
            raise ValueError("expected a proper rotation matrix")
        for name in ("rotation", "shift_mm", "centre_mm"):
            value = np.array(getattr(self, name), dtype=np.float64)
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @classmethod
    def between(cls, start: VertebraFrame, end: VertebraFrame) -> Self:
        """Pose that carries one frame onto another."""
        rows = [np.array([f.left, f.posterior, f.superior]) for f in (start, end)]
        return cls(
            rows[1].T @ rows[0],
            end.origin_lps_mm - start.origin_lps_mm,
            start.origin_lps_mm,
        )

    @property
    def angle_deg(self) -> float:
        """Angle of the rotation."""
        return float(np.degrees(Rotation.from_matrix(self.rotation).magnitude()))

    def to_followup(self, points_lps_mm: npt.ArrayLike) -> FloatArray:
        """Map baseline points, shape (..., 3)."""
        points = np.asarray(points_lps_mm, float) - self.centre_mm
        mapped: FloatArray = points @ self.rotation.T + self.centre_mm + self.shift_mm
        return mapped

    def to_baseline(self, points_lps_mm: npt.ArrayLike) -> FloatArray:
        """Inverse of `to_followup`."""
        points = np.asarray(points_lps_mm, float) - self.centre_mm - self.shift_mm
        mapped: FloatArray = points @ self.rotation + self.centre_mm
        return mapped

    def turned(self, directions: npt.ArrayLike) -> FloatArray:
        """Baseline directions, shape (..., 3), as they lie in the follow-up scan."""
        mapped: FloatArray = np.asarray(directions, float) @ self.rotation.T
        return mapped

    def turned_back(self, directions: npt.ArrayLike) -> FloatArray:
        """Inverse of `turned`."""
        mapped: FloatArray = np.asarray(directions, float) @ self.rotation
        return mapped

    def moved(self, turn_rad: npt.ArrayLike, shift_mm: npt.ArrayLike) -> "RigidPose":
        """Pose with a small movement before it, given in baseline axes.

        Parameters
        ----------
        turn_rad
            Rotation vector about the centre.
        shift_mm
            Movement.
        """
        turn = np.asarray(Rotation.from_rotvec(np.asarray(turn_rad, float)).as_matrix())
        shift = self.rotation @ np.asarray(shift_mm, float)
        return RigidPose(self.rotation @ turn, self.shift_mm + shift, self.centre_mm)

    def about(self, centre_mm: npt.ArrayLike) -> "RigidPose":
        """Return the same movement, written about another centre."""
        centre = np.asarray(centre_mm, float)
        return RigidPose(self.rotation, self.to_followup(centre) - centre, centre)

    def difference(self, other: "RigidPose") -> tuple[float, float]:
        """Angle in degrees and distance of the centre in mm between two poses."""
        turn = Rotation.from_matrix(self.rotation.T @ other.rotation)
        away = self.to_followup(self.centre_mm) - other.to_followup(self.centre_mm)
        return float(np.degrees(turn.magnitude())), float(np.linalg.norm(away))
