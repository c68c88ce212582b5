"""Side wall of a vertebral body, in polar coordinates round its axis."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.bodies.body_outline import BodyOutline, fit_outline
from cemscope.segmentation.bodies.body_surface import (
    WALL_ANGLES_RAD,
    WALL_LEVELS,
    WALL_RADII_MM,
    BodyScene,
    BodySettings,
    on_plate,
    outward_edge,
)
from cemscope.segmentation.bodies.edge_refinement import outer_cortex
from cemscope.segmentation.bodies.hidden_wall import (
    beside_implant,
    continued_wall,
    mirrored,
)
from cemscope.segmentation.bodies.posterior_cut import LIP_MM, posterior_cut_mm
from cemscope.segmentation.bodies.smooth_surface import smooth_surface
from cemscope.spine import VertebraFrame
from cemscope.volume import BoolArray

_RADIUS_STEP_MM = float(WALL_RADII_MM[1] - WALL_RADII_MM[0])
_SIDE = np.abs(np.cos(WALL_ANGLES_RAD))
_BACK = np.sin(WALL_ANGLES_RAD)

FREE_LEVELS = (WALL_LEVELS >= 0.1) & (WALL_LEVELS <= 0.42)
"""Lower half of the body, where no pedicle hides the wall."""

CUT_EDGE = 0.45
"""Contrast that the cut from the arch counts as: less than that of a clear wall."""

ARCH_MARGIN_MM = 1.2
"""A wall no further than this in front of the cut is the cut."""

SACRAL_TAPER_MM = 4.0
"""The first sacral body is this much less deep at its lower end, behind."""

LED_PULL = 4.0
"""The wall is held so many times closer to an outline of the neighbours' size: inside
of it may lie a stronger edge, that of cement or of a hollow endplate."""

CUT_PRICE = 0.3
"""Price per mm by which the wall reaches behind that cut."""


@dataclass(frozen=True, slots=True, eq=False)
class BodyWall:
    """The wall of a body.

    Attributes
    ----------
    radius_mm : ndarray
        At `WALL_ANGLES_RAD` and `WALL_LEVELS`.
    edge : float
        Mean contrast of the front half in units of a full edge.
    clearness : ndarray
        How far the profile at each place is that of a cortex, 0 ... 1; NaN where
        cement or metal hides it or the arch begins.
    """

    radius_mm: FloatArray
    edge: float
    clearness: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Rays:
    """What the rays from the axis meet, arrays (angles, levels, radii)."""

    edge: FloatArray
    implant: BoolArray
    unknown: BoolArray
    in_canal_mm: FloatArray
    in_view: BoolArray


def body_outline(
    scene: BodyScene,
    frame: VertebraFrame,
    lower: FloatArray,
    upper: FloatArray,
    usual: BodyOutline | None = None,
) -> BodyOutline:
    """Lay an outline of usual shape round the lower half of a body."""
    rays = _look(scene, frame, lower, upper, WALL_LEVELS[FREE_LEVELS])
    edge, weight = _mean_edge(rays)
    edge = edge - scene.settings.canal_price * rays.in_canal_mm.mean(axis=1)
    return fit_outline(edge, weight, usual)


def find_wall(
    scene: BodyScene,
    frame: VertebraFrame,
    lower: FloatArray,
    upper: FloatArray,
    *,
    usual: BodyOutline | None = None,
    fused_outline: FloatArray | None = None,
) -> BodyWall:
    """Find the wall between two endplates.

    Parameters
    ----------
    scene
        Where to look.
    frame
        The body's axes.
    lower, upper
        Its endplates on `PLATE_GRID_MM`.
    usual
        Size that is expected.
    fused_outline
        Radii at `WALL_ANGLES_RAD` that replace the outline of the body's own lower
        half; the wall keeps close to them at the sides, where the sacrum goes over
        into its alae.
    """
    settings = scene.settings
    rays = _look(scene, frame, lower, upper, WALL_LEVELS)
    fused = np.zeros_like(_SIDE)
    if fused_outline is None:
        outline = _lower_outline(rays, settings, usual)[:, None]
    else:
        taper = SACRAL_TAPER_MM * (1.0 - WALL_LEVELS) * np.abs(_BACK)[:, None]
        outline = fused_outline[:, None] - taper
        fused = np.clip((_SIDE - 0.4) / 0.2, 0, 1)
    outline = np.broadcast_to(outline, rays.edge.shape[:2])
    away = WALL_RADII_MM - outline[..., None]
    far = 10.0 * np.maximum(np.abs(away) - settings.wall_search_mm, 0.0)
    held = settings.pedicle_pull * fused[:, None, None] * away**2
    in_canal = settings.canal_price * rays.in_canal_mm
    # Pedicles arise from the upper two thirds, beside the canal.
    beside = np.clip((_BACK + 0.1) / 0.3, 0, 1) * np.clip((_SIDE - 0.2) / 0.2, 0, 1)
    upper_part = np.clip((WALL_LEVELS - 0.3) / 0.15, 0, 1)
    pedicle = beside[:, None] * upper_part[None, :]
    wall_pull = settings.wall_pull * (1.0 if usual is None else LED_PULL)
    pull = wall_pull + settings.pedicle_pull * pedicle
    shown = 1.0 - 0.8 * np.maximum(pedicle, fused[:, None])
    cost = -rays.edge * shown[..., None] + pull[..., None] * away**2
    cost += held + far + in_canal
    index = smooth_surface(cost, settings.wall_step_price, closed_first_axis=True)
    reach = max(1, round(settings.edge_mm / _RADIUS_STEP_MM))
    # The arch is cut off along the free part of the posterior wall, continued.
    hidden = beside_implant(rays.implant, index, reach)
    half_width = settings.canal_half_width_mm
    lip = LIP_MM if fused_outline is None else 0.0  # the sacrum has no pedicles
    cut = posterior_cut_mm(_radius(index), hidden, half_width, outline, lip)
    gap = WALL_RADII_MM - cut[..., None]
    lateral = beside[:, None, None]
    stop = -CUT_EDGE * np.exp(-((gap / _RADIUS_STEP_MM) ** 2))
    shown = 1.0 - 0.8 * fused[:, None, None]
    cost = np.minimum(-rays.edge * shown, lateral * stop)
    cost += (1.0 - lateral) * (wall_pull * away**2 + far)
    cost += lateral * CUT_PRICE * np.maximum(gap, 0.0) + held + in_canal
    square = _squared(_radius(index), cut, outline, upper_part)
    index = _smooth_beside(cost, square, settings)
    radius = _radius(index)
    arch = (beside[:, None] > 0.3) & (radius > cut - ARCH_MARGIN_MM)
    hidden = beside_implant(rays.implant, index, reach)
    no_edge = arch | (fused[:, None] > 0.3)

    def across(radii: FloatArray) -> npt.NDArray[np.float32]:
        points = wall_points_lps_mm(frame, lower, upper, radii, WALL_LEVELS)
        return scene.volume.sample(points)

    trust = 1.0 - np.maximum(arch, fused[:, None])
    fit = outer_cortex(radius, across, trust * ~hidden, closed_first_axis=True)
    radius = np.where(no_edge, radius, fit.height_mm)
    radius = continued_wall(radius, hidden & ~arch)
    cut = posterior_cut_mm(radius, hidden | arch, half_width, outline, lip)
    radius = np.where(arch, cut, radius)
    smooth: FloatArray = ndimage.gaussian_filter(
        radius, [0.7, 0.7], mode=["wrap", "nearest"]
    )
    nearest = np.rint(index).astype(int)[..., None]
    found = np.take_along_axis(rays.edge, nearest, axis=2)[..., 0]
    in_view = np.take_along_axis(rays.in_view, nearest, axis=2)[..., 0]
    front = in_view & (_BACK < 0.0)[:, None]
    front_edge = float(found[front].mean()) if front.any() else 0.0
    clear = np.where(hidden | no_edge | ~in_view, np.nan, fit.clearness)
    return BodyWall(smooth, front_edge, clear)


def _squared(
    found: FloatArray, cut: FloatArray, outline: FloatArray, upper_part: FloatArray
) -> FloatArray:
    """Expect the wall to have corners at the pedicles.

    Where pedicles arise, the side of the body runs straight back to the cut.
    """
    flank = np.abs(found * np.cos(WALL_ANGLES_RAD)[:, None])
    expected = outline.copy()
    for side in (1.0, -1.0):
        of_side = side * np.cos(WALL_ANGLES_RAD) > 0.0
        middle = of_side & (np.abs(_BACK) < 0.35)
        width = np.median(flank[middle], axis=0)
        behind = of_side & (_BACK >= 0.1)
        straight = width / np.maximum(_SIDE[behind, None], 0.1)
        corner = np.minimum(straight, cut[behind])
        mixed = upper_part * corner + (1.0 - upper_part) * outline[behind]
        expected[behind] = np.clip(mixed, WALL_RADII_MM[0], WALL_RADII_MM[-1])
    return expected


def _smooth_beside(
    cost: FloatArray, expected_mm: FloatArray, settings: BodySettings
) -> FloatArray:
    """Best wall that is smooth beside an expected one, as indices of the radii."""
    shift = np.rint((expected_mm - float(expected_mm.mean())) / _RADIUS_STEP_MM)
    at = np.arange(cost.shape[-1]) + shift.astype(int)[..., None]
    outside = (at < 0) | (at >= cost.shape[-1])
    taken = np.take_along_axis(cost, np.clip(at, 0, cost.shape[-1] - 1), axis=-1)
    taken = np.where(outside, taken + 10.0, taken)
    index = smooth_surface(taken, settings.wall_step_price, closed_first_axis=True)
    return np.clip(index + shift, 0.0, cost.shape[-1] - 1.0)


def _radius(index: FloatArray) -> FloatArray:
    radius: FloatArray = WALL_RADII_MM[0] + _RADIUS_STEP_MM * index
    return radius


def wall_points_lps_mm(
    frame: VertebraFrame,
    lower: FloatArray,
    upper: FloatArray,
    radii: FloatArray,
    levels: FloatArray,
) -> FloatArray:
    """LPS points at radii (angles, levels, n)."""
    angle = WALL_ANGLES_RAD[:, None, None]
    left, posterior = np.cos(angle) * radii, np.sin(angle) * radii
    low, high = on_plate(lower, left, posterior), on_plate(upper, left, posterior)
    height = low + levels[None, :, None] * (high - low)
    return frame.to_lps_mm(np.stack([left, posterior, height], axis=-1))


def _look(
    scene: BodyScene,
    frame: VertebraFrame,
    lower: FloatArray,
    upper: FloatArray,
    levels: FloatArray,
) -> _Rays:
    settings = scene.settings
    shape = (len(WALL_ANGLES_RAD), len(levels), len(WALL_RADII_MM))
    points = wall_points_lps_mm(
        frame, lower, upper, np.broadcast_to(WALL_RADII_MM, shape), levels
    )
    edge = outward_edge(scene.volume.sample(points), _RADIUS_STEP_MM, settings)
    edge = np.clip(edge, -0.3, 1.0)
    implant = scene.implant_at(points)
    reach = max(1, round(settings.edge_mm / _RADIUS_STEP_MM))
    unknown = implant
    if implant.any():
        unknown = ndimage.maximum_filter1d(implant, 2 * reach + 1, axis=-1)
        edge = np.where(unknown, 0.0, edge)
    in_view = scene.volume.sample_inside(points) >= 0.5
    edge = np.where(in_view, edge, 0.0)
    in_canal = _into_canal_mm(scene, frame, points)
    return _Rays(edge, implant, unknown, in_canal, in_view)


def _into_canal_mm(
    scene: BodyScene, frame: VertebraFrame, points_lps_mm: FloatArray
) -> FloatArray:
    """How far points lie behind the front wall of the canal, in its width."""
    front = frame.to_local_mm(scene.canal_front_lps_mm)
    front = front[np.abs(front[:, 2]) < 40.0]
    if not len(front):
        return np.zeros(points_lps_mm.shape[:-1])
    left, posterior, height = np.moveaxis(frame.to_local_mm(points_lps_mm), -1, 0)
    front = front[np.argsort(front[:, 2])]
    middle = np.interp(height, front[:, 2], front[:, 0])
    limit = np.interp(height, front[:, 2], front[:, 1]) + 1.0
    within = np.abs(left - middle) <= scene.settings.canal_half_width_mm
    behind: FloatArray = np.where(within, np.maximum(posterior - limit, 0.0), 0.0)
    return behind


def _mean_edge(rays: _Rays) -> tuple[FloatArray, FloatArray]:
    """Edges of the levels that were seen, joined with the other side.

    What cement or metal hides is filled in from the other heights and the other side.
    """
    seen = ~rays.unknown
    number = seen.sum(axis=1)
    mean = (rays.edge * seen).sum(axis=1) / np.maximum(number, 1)
    share = number / rays.edge.shape[1]
    own, other = 0.65 * share, 0.35 * mirrored(share)
    mean = (own * mean + other * mirrored(mean)) / np.maximum(own + other, 0.2)
    # Behind and beside the canal the foramina and pedicles confuse.
    corner = np.clip((_BACK - 0.2) / 0.2, 0, 1) * np.clip((_SIDE - 0.2) / 0.2, 0, 1)
    return mean, 1.0 - 0.7 * corner


def _lower_outline(
    rays: _Rays, settings: BodySettings, usual: BodyOutline | None
) -> FloatArray:
    """Outline of the body's lower half, where no pedicle hides the wall."""
    lower = _Rays(
        rays.edge[:, FREE_LEVELS],
        rays.implant[:, FREE_LEVELS],
        rays.unknown[:, FREE_LEVELS],
        rays.in_canal_mm[:, FREE_LEVELS],
        rays.in_view[:, FREE_LEVELS],
    )
    mean, weight = _mean_edge(lower)
    mean = mean - settings.canal_price * lower.in_canal_mm.mean(axis=1)
    shape = fit_outline(mean, weight, usual).radius_mm()
    pull = settings.outline_pull * (WALL_RADII_MM[None, :] - shape[:, None]) ** 2
    pull *= 1.0 if usual is None else LED_PULL
    cost = (pull - mean)[:, None, :]
    index = smooth_surface(cost, settings.wall_step_price, closed_first_axis=True)
    return _radius(index[:, 0])
