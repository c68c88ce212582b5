"""Endplates of a vertebral body: smooth height fields of strongest edge."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.body_surface import (
    PLATE_GRID_MM,
    BodyScene,
    BodySettings,
    outward_edge,
)
from cemscope.segmentation.edge_refinement import refined_surface
from cemscope.segmentation.smooth_surface import smooth_surface
from cemscope.spine import VertebraFrame


def find_endplate(
    scene: BodyScene,
    frame: VertebraFrame,
    height_mm: float,
    side: int,
) -> tuple[FloatArray, float]:
    """Find the upper (side 1) or lower (side -1) endplate.

    Parameters
    ----------
    scene
        Where to look.
    frame, height_mm
        Axes between two discs and the discs' distance.
    side
        1 for the upper, -1 for the lower endplate.

    Returns
    -------
    tuple
        Height above the frame's origin on `PLATE_GRID_MM`, and the mean contrast of
        its middle in units of a full edge.
    """
    volume, settings = scene.volume, scene.settings
    left, posterior = np.meshgrid(PLATE_GRID_MM, PLATE_GRID_MM, indexing="ij")
    outward = np.arange(-14.0, 12.0, 1.0)
    height = side * (height_mm / 2 + outward)
    local = np.stack(
        np.broadcast_arrays(left[..., None], posterior[..., None], height), axis=-1
    )
    values = volume.sample(frame.to_lps_mm(local))
    edge = np.clip(outward_edge(values, 1.0, settings), -0.3, 1.0)
    edge[volume.sample_inside(frame.to_lps_mm(local)) < 0.5] = 0.0
    plane, strength = _best_plane(edge, left, posterior, outward, settings)
    search = np.arange(-settings.plate_search_mm, settings.plate_search_mm + 0.1, 0.5)
    at = plane[..., None] + search - outward[0]
    rows, columns = np.indices(left.shape)
    sampled = ndimage.map_coordinates(
        edge,
        np.stack(np.broadcast_arrays(rows[..., None], columns[..., None], at)),
        order=1,
        mode="nearest",
    )
    # Beyond the body there is nothing to see: the plane alone decides there.
    radius = np.hypot(left / 24.0, posterior / 18.0)
    trust = np.clip((1.15 - radius) / 0.3, 0.0, 1.0)[..., None]
    cost = -sampled * trust + 0.01 * search**2
    surface = plane + search[0] + 0.5 * smooth_surface(cost, settings.plate_step_price)

    def across(outward_mm: FloatArray) -> npt.NDArray[np.float32]:
        x, y = np.broadcast_arrays(left[..., None], posterior[..., None])
        z = side * (height_mm / 2 + outward_mm)
        points = np.stack(np.broadcast_arrays(x, y, z), axis=-1)
        return volume.sample(frame.to_lps_mm(points))

    surface = refined_surface(surface, across, trust[..., 0])
    surface = ndimage.gaussian_filter(surface, 0.7, mode="nearest")
    return side * (height_mm / 2 + surface), strength


def _best_plane(
    edge: FloatArray,
    left: FloatArray,
    posterior: FloatArray,
    outward: FloatArray,
    settings: BodySettings,
) -> tuple[FloatArray, float]:
    """Plane of strongest edge over the middle of the body, and its mean edge."""
    middle = np.hypot(left / 16.0, posterior / 12.0) <= 1.0
    x, y = left[middle], posterior[middle]
    profiles = edge[middle]
    offsets = np.arange(-9.0, settings.plate_beyond_disc_mm + 0.1, 1.0)
    best, best_plane = -np.inf, np.zeros_like(left)
    strength = 0.0
    for front in np.tan(np.radians(np.arange(-30.0, 31.0, 5.0))):
        for lateral in np.tan(np.radians(np.arange(-15.0, 16.0, 5.0))):
            rise = -front * y + lateral * x
            at = rise[:, None] + offsets[None, :] - outward[0]
            row = np.broadcast_to(np.arange(len(x))[:, None], at.shape)
            mean = ndimage.map_coordinates(
                profiles, np.stack([row, at]), order=1, mode="nearest"
            ).mean(axis=0)
            score = mean - 0.1 * (abs(front) + abs(lateral)) + 0.005 * offsets
            k = int(score.argmax())
            if score[k] > best:
                best, strength = float(score[k]), float(mean[k])
                best_plane = -front * posterior + lateral * left + offsets[k]
    return best_plane, strength
