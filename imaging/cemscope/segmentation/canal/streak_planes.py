"""Planes of a scan in which metal throws streaks.

Streaks run within the plane of the rotating tube, and between two screws they are as
bright as bone: in such a plane bone beside a vertebra proves nothing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.volume import BoolArray, CTVolume


@dataclass(frozen=True, slots=True)
class StreakSettings:
    """Tunables of the search for planes with streaks.

    Attributes
    ----------
    metal_above_hu : float
        Metal; above dense cement.
    least_metal_mm2 : float
        Area of metal in a plane from which streaks are expected; two rods across the
        plane have about 60, a pair of screws several hundred.
    blinding_mm2 : float
        Area of metal, and of streaks as bright, from which nothing in a plane is
        believed: a screw in its whole length, or two heads with the rods.
    margin_mm : float
        How far the streaks reach beyond such a plane.
    """

    metal_above_hu: float = 2500.0
    least_metal_mm2: float = 120.0
    blinding_mm2: float = 400.0
    margin_mm: float = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class StreakPlanes:
    """Planes with streaks, as positions along the scanner's axis.

    Attributes
    ----------
    normal_lps : ndarray, shape (3,)
        Unit vector across the planes.
    first_mm, step_mm : float
        Position of the first plane along the normal, and distance of the planes.
    streaked : ndarray of bool, shape (planes,)
        Which planes have streaks.
    blinded : ndarray of bool, shape (planes,)
        Which planes show hardly anything else.
    """

    normal_lps: FloatArray
    first_mm: float
    step_mm: float
    streaked: npt.NDArray[np.bool_]
    blinded: npt.NDArray[np.bool_]

    def at(self, points_lps_mm: FloatArray) -> BoolArray:
        """Tell which points, shape (..., 3), lie in a plane with streaks."""
        return self._look_up(self.streaked, points_lps_mm)

    def blinded_at(self, points_lps_mm: FloatArray) -> BoolArray:
        """Tell which points, shape (..., 3), lie in a plane that streaks fill."""
        return self._look_up(self.blinded, points_lps_mm)

    def voxels(self, geometry: VoxelGeometry) -> BoolArray:
        """Voxels of a grid that lie in a plane with streaks."""
        along = self.normal_lps @ geometry.affine_lps[:3, :3] / self.step_mm
        start = float(geometry.origin_lps_mm @ self.normal_lps) - self.first_mm
        z, y, x = (
            (step * np.arange(count)).astype(np.float32)
            for step, count in zip(along, geometry.shape, strict=True)
        )
        flat = z[:, None, None] + y[None, :, None] + np.float32(start / self.step_mm)
        index = np.rint(flat + x).astype(np.int32) + 1
        # Beyond the scan on either side there is no streak.
        padded = np.concatenate([[False], self.streaked, [False]])
        found: BoolArray = padded[np.clip(index, 0, len(padded) - 1)]
        return found

    def _look_up(
        self, planes: npt.NDArray[np.bool_], points_lps_mm: FloatArray
    ) -> BoolArray:
        position = (points_lps_mm @ self.normal_lps - self.first_mm) / self.step_mm
        index = np.rint(position).astype(int)
        inside = (index >= 0) & (index < len(planes))
        found: BoolArray = np.zeros(index.shape, np.bool_)
        found[inside] = planes[index[inside]]
        return found


def streak_planes(ct: CTVolume, settings: StreakSettings) -> StreakPlanes | None:
    """Find the planes with much metal; None if there are none.

    The planes are taken across the array axis that runs most nearly along the
    patient, as the tube turns about it.
    """
    directions = ct.geometry.directions_lps
    axis = int(np.abs(directions[:, 2]).argmax())
    spacing_mm = ct.spacing_mm
    face_mm2 = float(np.prod(spacing_mm)) / spacing_mm[axis]
    # Slice by slice: no copy of the scan in another type.
    planes = np.zeros(ct.hu.shape[axis])
    for k, plane in enumerate(np.moveaxis(ct.hu, axis, 0)):
        planes[k] = np.count_nonzero(plane > settings.metal_above_hu) * face_mm2
    metal = planes >= settings.least_metal_mm2
    if not metal.any():
        return None
    reach = int(np.ceil(settings.margin_mm / spacing_mm[axis]))
    wide = np.ones(2 * reach + 1)
    streaked = np.convolve(metal, wide, mode="same") > 0
    blinded = np.convolve(planes >= settings.blinding_mm2, wide, mode="same") > 0
    normal = directions[axis]
    first_mm = float(ct.geometry.origin_lps_mm @ normal)
    return StreakPlanes(normal, first_mm, spacing_mm[axis], streaked, blinded)
