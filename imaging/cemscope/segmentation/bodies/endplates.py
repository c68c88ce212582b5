"""Endplates of a vertebral body: smooth height fields of strongest edge."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.bodies.body_surface import (
    PLATE_GRID_MM,
    WALL_ANGLES_RAD,
    BodyScene,
    BodySettings,
    outward_edge,
)
from cemscope.segmentation.bodies.edge_refinement import outer_cortex
from cemscope.segmentation.bodies.smooth_surface import smooth_surface
from cemscope.segmentation.discs.disc_room import PlateRoom
from cemscope.spine import VertebraFrame

OUTWARD_MM = np.arange(-14.0, 12.0, 1.0)
"""Heights at which an endplate is looked for, from the middle of the disc outwards."""

FRONT_TILTS_DEG = np.arange(-30.0, 31.0, 5.0)
LATERAL_TILTS_DEG = np.arange(-15.0, 16.0, 5.0)
"""Tilts of an endplate against the first axes that are tried."""

MIDDLE_HALF_MM = (16.0, 12.0)
"""Half extent (sideways, forwards) of the middle of a plate that its plane is laid
through; the rim has osteophytes."""

LEAST_SEEN = 0.35
"""Share of a plane's middle that must be seen to count fully."""

RESOLVED_MM, DRAWN_OUT = 3.0, 0.8
"""In slices wider than this the outer flank of an endplate is seen further out, by so
much per mm: where a plate lies between two slices, both show it. Simulated scans of 1
mm averaged to 3.75 and 4.25 mm: 1.0 and 1.7 mm; up to 3 mm it is not seen [ours]."""

_LEFT, _POSTERIOR = np.meshgrid(PLATE_GRID_MM, PLATE_GRID_MM, indexing="ij")

_MIDDLE = np.hypot(_LEFT / MIDDLE_HALF_MM[0], _POSTERIOR / MIDDLE_HALF_MM[1]) <= 1.0
_MIDDLE &= np.indices(_LEFT.shape).sum(axis=0) % 2 == 0
"""Every other place of the middle, like the white squares of a chessboard."""


@dataclass(frozen=True, slots=True, eq=False)
class PlatePlane:
    """A plane through an endplate: first guess of its height.

    Attributes
    ----------
    height_mm : float
        Above the frame's origin, on the axis.
    slope_left, slope_posterior : float
        Rise per mm.
    edge : float
        Mean contrast of its middle in units of a full edge.
    """

    height_mm: float
    slope_left: float
    slope_posterior: float
    edge: float

    def on_grid(self) -> FloatArray:
        """Heights on `PLATE_GRID_MM`."""
        heights: FloatArray = (
            self.height_mm + self.slope_left * _LEFT + self.slope_posterior * _POSTERIOR
        )
        return heights


@dataclass(frozen=True, slots=True, eq=False)
class Endplate:
    """An endplate.

    Attributes
    ----------
    height_mm : ndarray
        Height above the frame's origin on `PLATE_GRID_MM`.
    edge : float
        Mean contrast of its middle in units of a full edge.
    clearness : ndarray
        How far the profile at each place of the grid is that of a cortex, 0 ... 1.
    """

    height_mm: FloatArray
    edge: float
    clearness: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Profiles:
    """What columns across an endplate meet, arrays (n, heights).

    Attributes
    ----------
    edge : ndarray
        Contrast of the inner against the outer side.
    seen : ndarray
        1 where an edge would be seen, else 0.
    price : ndarray
        Price of an endplate there, in units of contrast.
    """

    edge: FloatArray
    seen: FloatArray
    price: FloatArray

    def part(self, columns: npt.NDArray[np.bool_]) -> "_Profiles":
        """Take some of the columns."""
        return _Profiles(self.edge[columns], self.seen[columns], self.price[columns])


def find_plate_plane(
    scene: BodyScene,
    frame: VertebraFrame,
    height_mm: float,
    side: int,
    room: PlateRoom | None = None,
) -> PlatePlane:
    """Find the plane of the upper (side 1) or lower (side -1) endplate."""
    profiles = _edges(scene, frame, height_mm, side, _MIDDLE, room)
    return _best_plane(profiles, height_mm, side, scene.settings)


def find_endplate(
    scene: BodyScene,
    frame: VertebraFrame,
    height_mm: float,
    side: int,
    outline_mm: FloatArray,
    room: PlateRoom | None = None,
) -> Endplate:
    """Find the upper (side 1) or lower (side -1) endplate.

    Parameters
    ----------
    scene
        Where to look.
    frame, height_mm
        Axes between two discs and the discs' distance.
    side
        1 for the upper, -1 for the lower endplate.
    outline_mm
        Radius of the body at `WALL_ANGLES_RAD`; beyond it nothing is an endplate.
    room
        Where the disc lets it lie.
    """
    volume, settings = scene.volume, scene.settings
    everywhere = np.ones(_LEFT.shape, np.bool_)
    profiles = _edges(scene, frame, height_mm, side, everywhere, room)
    guess = _best_plane(profiles.part(_MIDDLE.ravel()), height_mm, side, settings)
    plane = side * guess.on_grid() - height_mm / 2
    search = np.arange(-settings.plate_search_mm, settings.plate_search_mm + 0.1, 0.5)
    at = (plane - OUTWARD_MM[0])[..., None] + search
    shown = profiles.edge - profiles.price
    sampled = _interpolated(shown, at.reshape(-1, len(search))).reshape(at.shape)
    trust = plate_trust(outline_mm)
    cost = -sampled * trust[..., None] + 0.01 * search**2
    surface = plane + search[0] + 0.5 * smooth_surface(cost, settings.plate_step_price)

    # A plane through a hollow plate misses much of its edge.
    own = _interpolated(profiles.edge, surface.reshape(-1, 1) - OUTWARD_MM[0])
    edge = max(guess.edge, float(own[_MIDDLE.ravel()].mean()))

    def across(outward_mm: FloatArray) -> npt.NDArray[np.float32]:
        z = side * (height_mm / 2 + outward_mm)
        x, y = np.broadcast_arrays(_LEFT[..., None], _POSTERIOR[..., None])
        points = np.stack(np.broadcast_arrays(x, y, z), axis=-1)
        return volume.sample(frame.to_lps_mm(points))

    hidden = _beside_implant(scene, frame, side * (height_mm / 2 + surface), side)
    fit = outer_cortex(surface, across, trust * ~hidden)
    moved = _drawn_out_mm(volume.voxel_width_mm(frame.superior))
    surface = _continued(fit.height_mm, trust) - moved
    clear = np.where(hidden, np.nan, fit.clearness)
    return Endplate(side * (height_mm / 2 + surface), edge, clear)


def _drawn_out_mm(voxel_mm: float) -> float:
    """How far outside of an endplate its edge is seen in very thick slices."""
    return DRAWN_OUT * max(voxel_mm - RESOLVED_MM, 0.0)


def plate_trust(outline_mm: FloatArray) -> FloatArray:
    """How far each place of `PLATE_GRID_MM` lies within an outline, 0 ... 1."""
    wall = np.interp(
        np.arctan2(_POSTERIOR, _LEFT) % (2 * np.pi),
        WALL_ANGLES_RAD,
        outline_mm,
        period=2 * np.pi,
    )
    trust: FloatArray = np.clip((wall - np.hypot(_LEFT, _POSTERIOR)) / 3.0, 0.0, 1.0)
    return trust


def _continued(surface: FloatArray, trust: FloatArray) -> FloatArray:
    """Smooth the surface; beyond the body the nearest rim is continued."""
    weight = np.maximum(trust, 1e-6)
    near: FloatArray = ndimage.gaussian_filter(surface * weight, 0.7, mode="nearest")
    near /= ndimage.gaussian_filter(weight, 0.7, mode="nearest")
    return near


def _beside_implant(
    scene: BodyScene, frame: VertebraFrame, height: FloatArray, side: int
) -> npt.NDArray[np.bool_]:
    """Places of a plate that have cement or metal within 2 mm above or below."""
    if scene.implants is None:
        return np.zeros(height.shape, np.bool_)
    z = height[..., None] + np.arange(-2.0, 2.1, 1.0)
    x, y = np.broadcast_arrays(_LEFT[..., None], _POSTERIOR[..., None])
    points = np.stack(np.broadcast_arrays(x, y, z), axis=-1)
    near = scene.implant_at(frame.to_lps_mm(points)).any(axis=-1)
    wide: npt.NDArray[np.bool_] = ndimage.maximum_filter(near, size=3)
    return wide


def _edges(
    scene: BodyScene,
    frame: VertebraFrame,
    height_mm: float,
    side: int,
    places: npt.NDArray[np.bool_],
    room: PlateRoom | None,
) -> _Profiles:
    """Read the columns of the grid that are asked for.

    Cement has stronger edges than bone, and none of its edges is that of the body:
    beside it nothing is seen.
    """
    height = side * (height_mm / 2 + OUTWARD_MM)
    left, posterior = _LEFT[places][:, None], _POSTERIOR[places][:, None]
    local = np.stack(np.broadcast_arrays(left, posterior, height), axis=-1)
    points = frame.to_lps_mm(local)
    edge = outward_edge(scene.volume.sample(points), 1.0, scene.settings)
    edge = np.clip(edge, -0.3, 1.0)
    edge[scene.volume.sample_inside(points) < 0.5] = 0.0
    seen = np.ones(edge.shape)
    hidden = scene.beside_implant(points, 1.0)
    edge[hidden] = 0.0
    seen[hidden] = 0.0
    price = np.zeros(edge.shape) if room is None else room.price(points, side)
    return _Profiles(edge, seen, price)


def _interpolated(profiles: FloatArray, at: FloatArray) -> FloatArray:
    """Linear interpolation along the last axis of (n, heights) at (..., n, k)."""
    at = np.clip(at, 0.0, profiles.shape[1] - 1.001)
    low = at.astype(np.intp)
    part = at - low
    row = np.arange(len(profiles))[:, None]
    value: FloatArray = (
        profiles[row, low] * (1.0 - part) + profiles[row, low + 1] * part
    )
    return value


def _best_plane(
    profiles: _Profiles,
    height_mm: float,
    side: int,
    settings: BodySettings,
) -> PlatePlane:
    """Plane of strongest edge over the part of the body's middle that is seen."""
    x, y = _LEFT[_MIDDLE], _POSTERIOR[_MIDDLE]
    offsets = np.arange(-9.0, settings.plate_beyond_disc_mm + 0.1, 1.0)
    front = np.tan(np.radians(FRONT_TILTS_DEG))[:, None, None]
    lateral = np.tan(np.radians(LATERAL_TILTS_DEG))[None, :, None]
    rise = -front * y + lateral * x
    at = rise[..., None] + offsets - OUTWARD_MM[0]
    total = _interpolated(profiles.edge, at).sum(axis=2)
    number: float | FloatArray = len(x)
    if not profiles.seen.all():
        seen = _interpolated(profiles.seen, at).sum(axis=2)
        number = np.maximum(seen, LEAST_SEEN * len(x))
    mean = total / number
    score = mean - 0.1 * (np.abs(front) + np.abs(lateral)) + 0.005 * offsets
    if profiles.price.any():
        score -= _interpolated(profiles.price, at).mean(axis=2)
    i, j, k = np.unravel_index(int(score.argmax()), score.shape)
    return PlatePlane(
        side * (height_mm / 2 + float(offsets[k])),
        side * float(lateral[0, j, 0]),
        -side * float(front[i, 0, 0]),
        float(mean[i, j, k]),
    )
