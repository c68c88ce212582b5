"""Where the two endplates of a disc lie: found together, one from either side.

A thin bright plate between marrow and disc has an edge on both of its flanks. Looked
at from one body alone, the far flank of the neighbour's endplate may be the stronger
edge, most of all where marrow is as dark as the disc. Seen together there is no doubt:
the edges on both sides of the same dark band belong to the two endplates.
"""

from dataclasses import dataclass, replace

import numpy as np

from cemscope.geometry import FloatArray
from cemscope.segmentation.bodies.body_surface import BodyScene, outward_edge
from cemscope.segmentation.canal.spine_axis import SpineAxis
from cemscope.segmentation.discs.disc import BODY_DEPTH_MM, Disc
from cemscope.segmentation.discs.plate_pair import (
    HEIGHTS_MM,
    PlateProfile,
    best_plates,
)

FRONT_TILTS_DEG = np.arange(-20.0, 21.0, 5.0)
LATERAL_TILTS_DEG = np.arange(-10.0, 11.0, 5.0)
"""Tilts of an endplate against the disc that are tried."""

MIDDLE_HALF_MM = (16.0, 12.0)
"""Half extent (sideways, forwards) of the middle of an endplate."""

PLACES_MM = 3.0
"""Distance of the columns that are read."""

EDGE_MM = 2.0
"""Depth over which an edge's two sides are averaged: a thin disc has no more."""

TILT_PRICE = 0.1
"""Price per unit of slope against the disc."""

LEAST_SEEN = 0.35
"""Share of an endplate's middle that must be seen to count fully."""

FREE_MM, OFF_PLATE_PRICE = 2.0, 0.1
"""An endplate may lie this far from what the pair tells, into its body; further on it
has a price per mm: its middle may be hollow, most of all in a collapsed body."""

NO_ROOM_PRICE = 1.3
"""Price of a place where no endplate can lie: a full edge in the wrong sense."""

UNSEEN_MM = (0.0, 8.0, 8.0)
"""Where an endplate may lie from the middle of a disc without a pair: most discs are up
to 14 mm high, and the plates of a worn one meet."""


@dataclass(frozen=True, slots=True, eq=False)
class PlateRoom:
    """Where an endplate may lie, seen from the plane through its disc.

    Attributes
    ----------
    point_lps_mm, normal_lps_mm : ndarray, shape (3,)
        A point of the plane and its normal to the head.
    nearest_mm, usual_mm, farthest_mm : float
        Least, usual and largest distance from the plane, into the body.
    """

    point_lps_mm: FloatArray
    normal_lps_mm: FloatArray
    nearest_mm: float
    usual_mm: float
    farthest_mm: float

    def price(self, points_lps_mm: FloatArray, side: int) -> FloatArray:
        """Price, in edges, of an upper (side 1) or lower (-1) endplate at points."""
        above = (points_lps_mm - self.point_lps_mm) @ self.normal_lps_mm
        inwards = -side * above
        off = np.maximum(inwards - self.usual_mm - FREE_MM, 0.0)
        beyond = (inwards < self.nearest_mm) | (inwards > self.farthest_mm)
        price: FloatArray = np.where(beyond, NO_ROOM_PRICE, OFF_PLATE_PRICE * off)
        return price


PlateRooms = tuple[PlateRoom | None, PlateRoom | None]
"""For the lower and the upper endplate of a body."""


@dataclass(frozen=True, slots=True, eq=False)
class DiscRoom:
    """The middle of a disc, and where the endplates beside it may lie.

    Attributes
    ----------
    middle_lps_mm : ndarray, shape (3,)
        On the axis of the bodies.
    below, above : PlateRoom or None
        For the upper endplate of the body below, and the lower one of the body above;
        None where the disc is only supposed.
    seen : bool
        Whether its two endplates were seen.
    """

    middle_lps_mm: FloatArray
    below: PlateRoom | None = None
    above: PlateRoom | None = None
    seen: bool = False


def rooms_between(
    lower: DiscRoom, upper: DiscRoom, *, only_seen: bool = False
) -> PlateRooms:
    """Rooms of the endplates of the body between two discs."""
    return (
        None if only_seen and not lower.seen else lower.above,
        None if only_seen and not upper.seen else upper.below,
    )


def disc_room(scene: BodyScene, axis: SpineAxis, disc: Disc) -> DiscRoom:
    """Find the two endplates of a disc."""
    near = int(np.clip(round(disc.step), 0, len(axis) - 1))
    superior, posterior = axis.superior[near], axis.posterior[near]
    wall = axis.points_lps_mm[near] + posterior * axis.wall_mm[near]
    beyond = disc.step - near  # a supposed disc may lie off the axis
    rise = BODY_DEPTH_MM * np.tan(np.radians(disc.sagittal_tilt_deg)) + beyond
    middle = wall - BODY_DEPTH_MM * posterior + rise * superior
    if disc.supposed:
        return DiscRoom(middle)
    left = np.cross(posterior, superior)
    normal = (
        superior
        + np.tan(np.radians(disc.sagittal_tilt_deg)) * posterior
        - np.tan(np.radians(disc.lateral_tilt_deg)) * left
    )
    normal /= np.linalg.norm(normal)
    back = posterior - (posterior @ normal) * normal
    back /= np.linalg.norm(back)
    axes = np.stack([np.cross(back, normal), -back, normal])
    plates = _plates(scene, middle, axes)
    pair = best_plates(*plates)
    if pair is None:
        room = PlateRoom(middle, normal, *UNSEEN_MM)
        return DiscRoom(middle, room, room)
    i, j = pair
    half = (HEIGHTS_MM[j] - HEIGHTS_MM[i]) / 2
    centre = middle + (HEIGHTS_MM[j] + HEIGHTS_MM[i]) / 2 * normal
    slopes = (plates[0].slopes[i] + plates[1].slopes[j]) / 2
    tilted = normal - slopes[0] * axes[0] - slopes[1] * axes[1]
    tilted /= np.linalg.norm(tilted)
    limits = (0.0, half, np.inf) if half > 0.0 else (0.0, 0.0, -half)
    room = PlateRoom(centre, tilted, *(float(limit) for limit in limits))
    return DiscRoom(centre, room, room, seen=True)


def _plates(
    scene: BodyScene, middle: FloatArray, axes: FloatArray
) -> tuple[PlateProfile, PlateProfile]:
    """Find ends of bone below, and beginnings of bone above, at all heights."""
    grid = [np.arange(-half, half + 0.1, PLACES_MM) for half in MIDDLE_HALF_MM]
    left, front = (g.ravel() for g in np.meshgrid(*grid, indexing="ij"))
    inner = np.hypot(left / MIDDLE_HALF_MM[0], front / MIDDLE_HALF_MM[1]) <= 1.0
    left, front = left[inner], front[inner]
    # Planes of all tilts at all heights are read from columns along the normal.
    step = float(HEIGHTS_MM[1] - HEIGHTS_MM[0])
    margin = np.ceil(
        MIDDLE_HALF_MM[0] * np.tan(np.radians(LATERAL_TILTS_DEG[-1]))
        + MIDDLE_HALF_MM[1] * np.tan(np.radians(FRONT_TILTS_DEG[-1]))
    )
    heights = np.arange(HEIGHTS_MM[0] - margin, HEIGHTS_MM[-1] + margin + step, step)
    points = middle + (
        left[:, None, None] * axes[0]
        + front[:, None, None] * axes[1]
        + heights[None, :, None] * axes[2]
    )
    settings = replace(scene.settings, edge_mm=EDGE_MM)
    edge = outward_edge(scene.volume.sample(points), step, settings)
    seen = scene.volume.sample_inside(points) >= 0.5
    seen &= ~scene.beside_implant(points, step)
    edge[~seen] = 0.0
    slopes_left = np.tan(np.radians(LATERAL_TILTS_DEG))
    slopes_front = np.tan(np.radians(FRONT_TILTS_DEG))
    slope_left, slope_front = (
        s.ravel() for s in np.meshgrid(slopes_left, slopes_front, indexing="ij")
    )
    rise = np.rint((slope_left[:, None] * left + slope_front[:, None] * front) / step)
    at = (
        rise.astype(int)[:, :, None] + round(margin / step) + np.arange(len(HEIGHTS_MM))
    )
    column = np.arange(len(left))[None, :, None]
    number = np.maximum(seen[column, at].sum(axis=1), LEAST_SEEN * len(left))
    price = TILT_PRICE * (np.abs(slope_left) + np.abs(slope_front))
    slopes = np.stack([slope_left, slope_front], axis=-1)
    found = []
    for sign in (1.0, -1.0):
        mean = np.clip(sign * edge, -0.3, 1.0)[column, at].sum(axis=1) / number
        score = mean - price[:, None]
        best = score.argmax(axis=0)
        take = (best, np.arange(len(HEIGHTS_MM)))
        found.append(PlateProfile(score[take], mean[take], slopes[best]))
    return found[0], found[1]
