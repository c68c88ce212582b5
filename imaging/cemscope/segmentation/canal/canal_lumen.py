"""The spinal canal as a tube of its own shape, closed over the foramina."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.segmentation.bodies.smooth_surface import smooth_surface
from cemscope.segmentation.canal.spine_axis import AXIS_STEP_MM, SpineAxis
from cemscope.segmentation.ct_grid import Box, voxel_box, voxels_inside
from cemscope.segmentation.spine_working_volume import WorkingVolume
from cemscope.segmentation.worker_threads import side_by_side
from cemscope.volume import BoolArray, LabelArray

ANGLES_RAD = np.arange(32) * (2 * np.pi / 32)
"""Directions in which the lumen's radius is stored: 0 is left, a quarter posterior."""

RADII_MM = np.arange(3.0, 17.1, 0.5)
"""Radii that it may have; a lumbar canal is 15-25 mm deep and 20-30 mm wide."""

STEP_STRIDE = 2
"""Every how many steps of the axis the lumen is measured."""


@dataclass(frozen=True, slots=True)
class LumenSettings:
    """Tunables of the canal's lumen.

    Attributes
    ----------
    usual_radius_mm : float
        Radius towards which the wall is drawn where no bone is seen.
    pull : float
        Strength of that pull (per mm squared).
    step_price : float
        Price of roughness.
    full_edge_hu : float
        Contrast of an edge that counts 1.
    """

    usual_radius_mm: float = 9.0
    pull: float = 0.004
    step_price: float = 0.15
    full_edge_hu: float = 150.0


@dataclass(frozen=True, slots=True, eq=False)
class CanalLumen:
    """Radius of the canal along the spine.

    Attributes
    ----------
    axis : SpineAxis
        The spine's own coordinates.
    radius_mm : ndarray, shape (angles, positions)
        At `ANGLES_RAD` and every `STEP_STRIDE` steps of the axis.
    """

    axis: SpineAxis
    radius_mm: FloatArray

    def voxels(self, geometry: VoxelGeometry, taken: LabelArray) -> BoolArray:
        """Voxels of a grid inside the lumen, where the canal was seen.

        Parameters
        ----------
        geometry
            The grid.
        taken : ndarray of uint8
            On it; not 0 where something else than the canal lies.
        """
        inside = np.zeros(geometry.shape, np.bool_)
        seen = np.arange(self.axis.canal_start, self.axis.canal_stop)
        tree = cKDTree(self.axis.points_lps_mm)
        reach = float(RADII_MM[-1])
        pieces = np.array_split(seen, max(1, round(len(seen) / 25)))

        def voxels(steps: npt.NDArray[np.int64]) -> tuple[Box, BoolArray] | None:
            if not len(steps):
                return None
            piece = self.axis.points_lps_mm[steps]
            box = voxel_box(geometry, np.concatenate([piece - reach, piece + reach]))
            if box is None:
                return None
            depth = partial(self._depth_mm, tree, (int(steps[0]), int(steps[-1])))
            return box, voxels_inside(geometry, box, depth)

        for found in side_by_side(voxels, pieces):
            if found is not None:
                inside[found[0]] |= found[1] & (taken[found[0]] == 0)
        return inside

    def _depth_mm(
        self, tree: cKDTree, steps: tuple[int, int], points: FloatArray
    ) -> FloatArray:
        """Depth in the piece of lumen between two steps; minus infinity far out."""
        depth = np.full(len(points), -np.inf)
        distance, step = tree.query(points, distance_upper_bound=float(RADII_MM[-1]))
        close = np.isfinite(distance)
        close &= (step >= steps[0]) & (step <= steps[1])
        points, step = points[close], step[close]
        away = points - self.axis.points_lps_mm[step]
        posterior = np.einsum("ij,ij->i", away, self.axis.posterior[step])
        left = np.einsum("ij,ij->i", away, self.axis.left[step])
        along = np.einsum("ij,ij->i", away, self.axis.superior[step])
        row = np.arctan2(posterior, left) % (2 * np.pi) / (2 * np.pi) * len(ANGLES_RAD)
        closed = np.concatenate([self.radius_mm, self.radius_mm[:1]])
        radius = ndimage.map_coordinates(
            closed, np.stack([row, step / STEP_STRIDE]), order=1, mode="nearest"
        )
        depth[close] = np.minimum(
            radius - np.hypot(posterior, left), 2 * AXIS_STEP_MM - np.abs(along)
        )
        return depth


def canal_lumen(
    axis: SpineAxis, volume: WorkingVolume, settings: LumenSettings
) -> CanalLumen:
    """Find the canal's wall as the best smooth tube round its axis."""
    steps = np.arange(0, len(axis), STEP_STRIDE)
    left = np.cos(ANGLES_RAD)[:, None] * RADII_MM
    posterior = np.sin(ANGLES_RAD)[:, None] * RADII_MM
    points = (
        axis.points_lps_mm[None, steps, None, :]
        + axis.left[None, steps, None, :] * left[:, None, :, None]
        + axis.posterior[None, steps, None, :] * posterior[:, None, :, None]
    )
    values = ndimage.gaussian_filter1d(volume.sample(points).astype(float), 1.0, axis=2)
    depth = 3
    edge = ndimage.correlate1d(
        values,
        np.concatenate([-np.ones(depth), [0.0], np.ones(depth)]) / depth,
        axis=2,
        mode="nearest",
    )
    edge = np.clip(edge / settings.full_edge_hu, -0.3, 1.0)
    # The first wall counts: bone that was already crossed spoils what lies behind.
    crossed = np.maximum.accumulate(np.clip(edge, 0.0, 1.0), axis=2)
    behind = np.concatenate(
        [np.zeros_like(crossed[..., :6]), crossed[..., :-6]], axis=2
    )
    pull = settings.pull * (RADII_MM - settings.usual_radius_mm) ** 2
    cost = -edge + 0.5 * behind + pull
    index = smooth_surface(cost, settings.step_price, closed_first_axis=True)
    radius = np.interp(index, np.arange(len(RADII_MM)), RADII_MM)
    smooth = ndimage.gaussian_filter(radius, [0.7, 1.0], mode=["wrap", "nearest"])
    return CanalLumen(axis, smooth)
