"""Outline of a vertebral body: two endplates and a wall, in the body's own axes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.spine_working_volume import WorkingVolume
from cemscope.spine import VertebraFrame
from cemscope.volume import BoolArray

PLATE_GRID_MM = np.arange(-26.0, 27.0, 2.0)
"""Places (left and posterior) at which an endplate's height is stored."""

WALL_ANGLES_RAD = np.arange(48) * (2 * np.pi / 48)
"""Directions in which the wall's radius is stored: 0 is left, a quarter posterior."""

WALL_LEVELS = np.linspace(0.06, 0.94, 12)
"""Fractions of the height, from the lower to the upper endplate, of the same."""

WALL_RADII_MM = np.arange(7.0, 34.0, 0.75)
"""Radii that the wall may have; the largest lumbar bodies are 55 mm wide."""


IMPLANT_BLUR_MM = 1.0
"""Cement is seen beyond its edge by this much."""


@dataclass(frozen=True, slots=True)
class BodySettings:
    """Tunables of the body's surface.

    Attributes
    ----------
    plate_search_mm : float
        How far an endplate may lie from the plane first fitted to it.
    plate_beyond_disc_mm : float
        How far an endplate may reach beyond the middle of the disc.
    plate_step_price, wall_step_price : float
        Price of roughness (per squared step, against edges scaled to 1).
    edge_mm : float
        Depth over which an edge's two sides are averaged.
    full_edge_hu : float
        Contrast of an edge that counts 1.
    canal_price : float
        Price per mm by which the wall reaches into the canal.
    canal_half_width_mm : float
        Half the width over which the canal's front is certain.
    outline_pull : float
        Pull of the outline of the body's lower half to the usual shape (per mm
        squared).
    wall_search_mm : float
        How far the wall may lie from the outline of the body's lower half.
    rounds : int
        How often the axes are corrected by the endplates that were found.
    clear_plate : float
        Mean edge of an endplate from which its tilt counts fully.
    wall_pull, pedicle_pull : float
        Pull towards that outline (per mm squared), and where pedicles arise.
    """

    plate_search_mm: float = 5.0
    plate_beyond_disc_mm: float = 2.0
    plate_step_price: float = 0.15
    wall_step_price: float = 0.12
    edge_mm: float = 3.0
    full_edge_hu: float = 150.0
    canal_price: float = 0.25
    canal_half_width_mm: float = 8.0
    outline_pull: float = 0.003
    wall_search_mm: float = 6.0
    rounds: int = 2
    clear_plate: float = 0.4
    wall_pull: float = 0.006
    pedicle_pull: float = 0.06


@dataclass(frozen=True, slots=True, eq=False)
class OutlineEvidence:
    """How far each part of an outline lies on a cortex that can be seen.

    Values run from 0 (nothing like a cortex) to 1; NaN where cement or metal hides the
    bone, or where the arch begins.

    Attributes
    ----------
    lower, upper : ndarray
        Of the endplates, on `PLATE_GRID_MM`; only places inside the wall count.
    wall : ndarray
        Of the wall, at `WALL_ANGLES_RAD` and `WALL_LEVELS`.
    """

    lower: FloatArray
    upper: FloatArray
    wall: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class BodySurface:
    """Outline of a body in its own axes.

    Attributes
    ----------
    frame : VertebraFrame
        Its origin lies on the body's axis, between the discs.
    lower_mm, upper_mm : ndarray
        Height of the endplates on `PLATE_GRID_MM` (left, posterior).
    wall_mm : ndarray
        Radius of the wall at `WALL_ANGLES_RAD` and `WALL_LEVELS`.
    lower_edge, upper_edge, wall_edge : float
        Mean contrast of the endplates and of the wall, in units of a full edge; near
        0 where they are only supposed.
    evidence : OutlineEvidence or None
        What was seen of each part.
    """

    frame: VertebraFrame
    lower_mm: FloatArray
    upper_mm: FloatArray
    wall_mm: FloatArray
    lower_edge: float
    upper_edge: float
    wall_edge: float
    evidence: OutlineEvidence | None = None

    def depth_mm(self, local_mm: FloatArray) -> FloatArray:
        """Signed depth, about mm, of local points (..., 3): positive inside."""
        left, posterior, height = np.moveaxis(local_mm, -1, 0)
        lower = on_plate(self.lower_mm, left, posterior)
        upper = on_plate(self.upper_mm, left, posterior)
        level = (height - lower) / np.maximum(upper - lower, 1.0)
        wall = self.wall_at(np.arctan2(posterior, left), level)
        depth: FloatArray = np.minimum(
            np.minimum(upper - height, height - lower),
            wall - np.hypot(left, posterior),
        )
        return depth

    def wall_at(self, angle_rad: FloatArray, level: FloatArray) -> FloatArray:
        """Radius of the wall in a direction, at a fraction of the height."""
        step = WALL_LEVELS[1] - WALL_LEVELS[0]
        row = (angle_rad % (2 * np.pi)) / (2 * np.pi) * len(WALL_ANGLES_RAD)
        column = np.clip((level - WALL_LEVELS[0]) / step, 0, len(WALL_LEVELS) - 1)
        closed = np.concatenate([self.wall_mm, self.wall_mm[:1]])
        radius: FloatArray = ndimage.map_coordinates(
            closed, np.stack([row, column]), order=1, mode="nearest"
        )
        return radius

    def reach_mm(self) -> FloatArray:
        """Half extent along the three axes of a box round the body, shape (3,)."""
        height = max(
            float(np.abs(self.lower_mm).max()), float(np.abs(self.upper_mm).max())
        )
        radius = float(self.wall_mm.max())
        return np.array([radius, radius, height])


@dataclass(frozen=True, slots=True, eq=False)
class BodyScene:
    """Where a body is looked for.

    Attributes
    ----------
    volume : WorkingVolume
        Working volume round the spine (1 mm).
    canal_front_lps_mm : ndarray, shape (n, 3)
        Front wall of the canal in its midline, from the feet to the head: no body
        reaches far behind it.
    settings : BodySettings
        Tunables.
    implants : WorkingVolume or None
        Cement and metal on the same cubes, 0 to 1; None where there are none.
    """

    volume: WorkingVolume
    canal_front_lps_mm: FloatArray
    settings: BodySettings
    implants: WorkingVolume | None = None

    def implant_at(self, points_lps_mm: FloatArray) -> BoolArray:
        """Tell which points lie in cement or metal."""
        if self.implants is None:
            return np.zeros(points_lps_mm.shape[:-1], np.bool_)
        found: BoolArray = self.implants.sample(points_lps_mm) > 0.5
        return found

    def beside_implant(self, points_lps_mm: FloatArray, step_mm: float) -> BoolArray:
        """Tell where an edge along the last axis of points would be an implant's."""
        implant = self.implant_at(points_lps_mm)
        if not implant.any():
            return implant
        reach = round((self.settings.edge_mm + IMPLANT_BLUR_MM) / step_mm)
        near: BoolArray = ndimage.maximum_filter1d(implant, 2 * reach + 1, axis=-1)
        return near


def on_plate(plate: FloatArray, left: FloatArray, posterior: FloatArray) -> FloatArray:
    """Interpolate an endplate's height at places (left, posterior)."""
    step = PLATE_GRID_MM[1] - PLATE_GRID_MM[0]
    at = np.stack([left - PLATE_GRID_MM[0], posterior - PLATE_GRID_MM[0]]) / step
    height: FloatArray = ndimage.map_coordinates(plate, at, order=1, mode="nearest")
    return height


def middle_of_wall(wall_mm: FloatArray) -> FloatArray:
    """Left and posterior coordinate of the middle of a wall."""
    outline = wall_mm.mean(axis=1)
    x = outline * np.cos(WALL_ANGLES_RAD)
    y = outline * np.sin(WALL_ANGLES_RAD)
    return np.array([(x.max() + x.min()) / 2, (y.max() + y.min()) / 2])


def plate_plane(plate: FloatArray) -> FloatArray:
    """Slope to the left, slope to the back and height of an endplate's middle."""
    x, y = np.meshgrid(PLATE_GRID_MM, PLATE_GRID_MM, indexing="ij")
    middle = np.hypot(x / 16.0, y / 12.0) <= 1.0
    design = np.column_stack([x[middle], y[middle], np.ones(int(middle.sum()))])
    fit: FloatArray = np.linalg.lstsq(design, plate[middle], rcond=None)[0]
    return fit


def flat_plate(plate: FloatArray) -> FloatArray:
    """Lay a plane through an endplate's middle."""
    x, y = np.meshgrid(PLATE_GRID_MM, PLATE_GRID_MM, indexing="ij")
    slope = plate_plane(plate)
    plane: FloatArray = slope[0] * x + slope[1] * y + slope[2]
    return plane


def outward_edge(
    profile: npt.NDArray[np.float32], step_mm: float, settings: BodySettings
) -> FloatArray:
    """Contrast of the inner against the outer side along the last axis (outwards)."""
    depth = max(1, round(settings.edge_mm / step_mm))
    # Weights fall off with the distance, so that the answer peaks at the edge itself.
    weights = np.arange(depth, 0, -1) / (depth * (depth + 1) / 2)
    kernel = np.concatenate([weights[::-1], [0.0], -weights])
    edge: FloatArray = ndimage.correlate1d(
        profile.astype(float), kernel, axis=-1, mode="nearest"
    )
    edge = edge / settings.full_edge_hu
    # A strong edge counts little more than a clear one, but keeps its place.
    return edge / np.sqrt(1.0 + edge**2)
