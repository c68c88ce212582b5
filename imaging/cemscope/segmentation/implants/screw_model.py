"""A fitted pedicle screw: where it lies and what of it is metal."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.findings import Side
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.implants.screw_profile import ScrewAxis, ShaftProfile
from cemscope.segmentation.implants.screw_thread import ThreadEstimate
from cemscope.segmentation.scan_region import FloatArray, coordinate_along_mm


@dataclass(frozen=True, slots=True, eq=False)
class ScrewModel:
    """A fitted screw.

    Attributes
    ----------
    level : str
        Vertebra whose body or pedicle holds it.
    side : Side
        Side of the pedicle.
    axis : ScrewAxis
        From the head (``t_mm = 0`` at the head's centre) to the tip.
    neck_mm, tip_mm : float
        Positions on the axis where the shaft leaves the head, and of the tip.
    shaft : ShaftProfile
        Radius, blur and HU of the shaft.
    thread : ThreadEstimate
        Mean radius of the metal where the shaft is threaded, and how it narrows.
    tip_uncertainty_mm : float
        Half-width of the range in which the tip may lie.
    free_length_mm : float
        Length of shaft that was seen free of cement.
    surrounded_share : float
        Brightness around the part that told the radius, over the shaft's own; 1 where
        that is not known.
    has_shape : bool
        Head and shaft tell that it is a screw; else only its brightness does.
    """

    level: str
    side: Side
    axis: ScrewAxis
    neck_mm: float
    tip_mm: float
    shaft: ShaftProfile
    thread: ThreadEstimate
    tip_uncertainty_mm: float
    free_length_mm: float
    surrounded_share: float = 1.0
    has_shape: bool = True

    @property
    def diameter_uncertainty_mm(self) -> float:
        """Half-width of the 95 % interval of the diameter."""
        return 2.0 * 1.96 * self.shaft.radius_deviation_mm

    @property
    def head_lps_mm(self) -> FloatArray:
        """Centre of the head."""
        return self.axis.at(0.0)

    @property
    def tip_lps_mm(self) -> FloatArray:
        """Foremost point of the shaft on the axis."""
        return self.axis.at(self.tip_mm)

    def distances_mm(
        self, points_lps_mm: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """Distance of points from the surface of the shaft (negative: inside), and t.

        The shaft reaches from the head's centre to the tip.
        """
        offset = np.asarray(points_lps_mm, float) - self.axis.point
        t = offset @ self.axis.forward
        radial = np.sqrt(np.maximum((offset**2).sum(-1) - t**2, 0.0))
        return self._from_surface_mm(radial, t), t

    def distances_on(self, geometry: VoxelGeometry) -> tuple[FloatArray, FloatArray]:
        """`distances_mm` of all voxels of a grid, without their coordinates."""
        first, second = self.axis.cross_vectors()
        t, across, along = (
            coordinate_along_mm(geometry, self.axis.point, axis)
            for axis in (self.axis.forward, first, second)
        )
        return self._from_surface_mm(np.hypot(across, along), t), t

    def _from_surface_mm(self, radial: FloatArray, t: FloatArray) -> FloatArray:
        beyond = np.maximum(np.maximum(t - self.tip_mm, -t), 0.0)
        over = np.maximum(radial - self.shaft.radius_mm, 0.0)
        outside = np.hypot(over, beyond)
        inside = np.maximum(
            radial - self.shaft.radius_mm, np.maximum(t - self.tip_mm, -t)
        )
        distance: FloatArray = np.where(outside > 0, outside, inside)
        return distance

    def metal_depth_mm(self, distance_mm: FloatArray, t_mm: FloatArray) -> FloatArray:
        """Depth inside the metal, given the result of `distances_mm`.

        The shaft counts as a cylinder of the mean radius of its thread that narrows
        towards the tip.
        """
        taper = max(self.thread.taper_mm, 1e-3)
        narrow = np.clip((self.tip_mm - t_mm) / taper, 0.0, 1.0)
        surface = self.thread.metal_radius_mm * narrow - self.shaft.radius_mm
        depth: FloatArray = np.minimum(surface - distance_mm, self.tip_mm - t_mm)
        return depth
