"""Side wall of a vertebral body, in polar coordinates round its axis."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.body_surface import (
    WALL_ANGLES_RAD,
    WALL_LEVELS,
    WALL_RADII_MM,
    BodyScene,
    BodySettings,
    on_plate,
    outward_edge,
)
from cemscope.segmentation.edge_refinement import refined_surface
from cemscope.segmentation.hidden_wall import (
    beside_implant,
    continued_wall,
    mirrored,
)
from cemscope.segmentation.smooth_surface import smooth_surface
from cemscope.spine import VertebraFrame
from cemscope.volume import BoolArray


def find_wall(
    scene: BodyScene,
    frame: VertebraFrame,
    lower: FloatArray,
    upper: FloatArray,
    outline: FloatArray | None = None,
) -> tuple[FloatArray, float]:
    """Find the wall between two endplates.

    Parameters
    ----------
    scene
        Where to look.
    frame
        The body's axes.
    lower, upper
        Its endplates on `PLATE_GRID_MM`.
    outline
        Radii at `WALL_ANGLES_RAD` that replace the outline of the body's own lower
        half; the wall keeps close to them at the sides, where the sacrum goes over
        into its alae.

    Returns
    -------
    tuple
        Radius at `WALL_ANGLES_RAD` and `WALL_LEVELS`, and the mean contrast of the
        front half of the wall in units of a full edge.
    """
    volume, settings = scene.volume, scene.settings
    angle = WALL_ANGLES_RAD[:, None, None]
    level = WALL_LEVELS[None, :, None]
    left = np.cos(angle) * WALL_RADII_MM
    posterior = np.sin(angle) * WALL_RADII_MM
    low = on_plate(lower, left, posterior)
    high = on_plate(upper, left, posterior)
    height = low + level * (high - low)
    left, posterior = (
        np.broadcast_to(left, height.shape),
        np.broadcast_to(posterior, height.shape),
    )
    rays = frame.to_lps_mm(np.stack([left, posterior, height], -1))
    values = volume.sample(rays)
    step = WALL_RADII_MM[1] - WALL_RADII_MM[0]
    edge = np.clip(outward_edge(values, step, settings), -0.3, 1.0)
    implant = scene.implant_at(rays)
    reach = max(1, round(settings.edge_mm / step))
    unknown = ndimage.maximum_filter1d(implant, 2 * reach + 1, axis=-1)
    edge = np.where(unknown, 0.0, edge)
    in_canal = _into_canal_mm(scene, frame, left, posterior, height)
    side = np.abs(np.cos(WALL_ANGLES_RAD))
    fused = np.zeros_like(side)
    if outline is None:
        outline = _lower_outline(edge, in_canal, unknown, settings)
    else:
        fused = np.clip((side - 0.4) / 0.2, 0, 1)
    away = WALL_RADII_MM[None, :] - outline[:, None]
    back = np.sin(WALL_ANGLES_RAD)
    # Pedicles arise from the upper two thirds, beside the canal.
    beside = np.clip((back + 0.1) / 0.3, 0, 1) * np.clip((side - 0.2) / 0.2, 0, 1)
    upper_part = np.clip((WALL_LEVELS - 0.3) / 0.15, 0, 1)
    pedicle = np.maximum(beside[:, None] * upper_part[None, :], fused[:, None])
    pull = settings.wall_pull + settings.pedicle_pull * pedicle
    cost = -edge * (1 - 0.8 * pedicle[..., None]) + pull[..., None] * (
        away[:, None, :] ** 2
    )
    cost += 10.0 * np.maximum(np.abs(away) - settings.wall_search_mm, 0.0)[:, None, :]
    cost += settings.canal_price * in_canal
    index = smooth_surface(cost, settings.wall_step_price, closed_first_axis=True)
    radius = np.interp(index, np.arange(len(WALL_RADII_MM)), WALL_RADII_MM)

    def across(radii: FloatArray) -> npt.NDArray[np.float32]:
        x, y = np.cos(angle) * radii, np.sin(angle) * radii
        low, high = on_plate(lower, x, y), on_plate(upper, x, y)
        points = np.stack([x, y, low + level * (high - low)], axis=-1)
        return volume.sample(frame.to_lps_mm(points))

    hidden = beside_implant(implant, index, reach)
    radius = refined_surface(radius, across, (1.0 - pedicle) * ~hidden)
    radius = continued_wall(radius, hidden)
    smooth: FloatArray = ndimage.gaussian_filter(
        radius, [0.7, 0.7], mode=["wrap", "nearest"]
    )
    nearest = np.rint(index).astype(int)[..., None]
    found = np.take_along_axis(edge, nearest, axis=2)[..., 0]
    return smooth, float(found[np.sin(WALL_ANGLES_RAD) < 0.0].mean())


def _into_canal_mm(
    scene: BodyScene,
    frame: VertebraFrame,
    left: FloatArray,
    posterior: FloatArray,
    height: FloatArray,
) -> FloatArray:
    """How far local points lie behind the front wall of the canal, in its width."""
    front = frame.to_local_mm(scene.canal_front_lps_mm)
    front = front[np.abs(front[:, 2]) < 40.0]
    front = front[np.argsort(front[:, 2])]
    if not len(front):
        return np.zeros_like(height)
    middle = np.interp(height, front[:, 2], front[:, 0])
    limit = np.interp(height, front[:, 2], front[:, 1]) + 1.0
    within = np.abs(left - middle) <= scene.settings.canal_half_width_mm
    behind: FloatArray = np.where(within, np.maximum(posterior - limit, 0.0), 0.0)
    return behind


def _lower_outline(
    edge: FloatArray,
    in_canal: FloatArray,
    unknown: BoolArray,
    settings: BodySettings,
) -> FloatArray:
    """Outline of the body's lower half, where no pedicle hides the wall.

    What cement or metal hides is filled in from the other heights and the other side.
    """
    lower = (WALL_LEVELS >= 0.1) & (WALL_LEVELS <= 0.42)
    seen = ~unknown[:, lower]
    number = seen.sum(axis=1)
    mean = (edge[:, lower] * seen).sum(axis=1) / np.maximum(number, 1)
    share = number / lower.sum()
    own, other = 0.65 * share, 0.35 * mirrored(share)
    mean = (own * mean + other * mirrored(mean)) / np.maximum(own + other, 0.2)
    usual_mm = np.where(np.sin(WALL_ANGLES_RAD) > 0.7, 15.0, 19.0)
    pull = 0.0015 * (WALL_RADII_MM[None, :] - usual_mm[:, None]) ** 2
    cost = pull - mean + settings.canal_price * in_canal[:, lower].mean(axis=1)
    cost = cost[:, None, :]
    index = smooth_surface(cost, settings.wall_step_price, closed_first_axis=True)
    radius: FloatArray = np.interp(
        index[:, 0], np.arange(len(WALL_RADII_MM)), WALL_RADII_MM
    )
    return radius
