"""Vertebral bodies: from two neighbouring discs to an outline.

A body is what lies between two smooth height fields (the endplates) and inside a
wall given in polar coordinates round the body's axis. All three are found as smooth
surfaces of strongest bone-to-soft-tissue edge. At the pedicles there is no edge: the
wall is carried through them from the lower half of the body, so that the body is cut
from its arch along the vertebra's own axes.
"""

import numpy as np

from cemscope.geometry import FloatArray
from cemscope.segmentation.bodies.body_outline import BodyOutline
from cemscope.segmentation.bodies.body_surface import (
    BodyScene,
    BodySurface,
    OutlineEvidence,
    flat_plate,
    middle_of_wall,
    plate_plane,
)
from cemscope.segmentation.bodies.body_wall import body_outline, find_wall
from cemscope.segmentation.bodies.endplates import (
    Endplate,
    PlatePlane,
    find_endplate,
    find_plate_plane,
)
from cemscope.segmentation.canal.spine_axis import SpineAxis
from cemscope.segmentation.discs.disc_room import DiscRoom, PlateRooms
from cemscope.spine import VertebraFrame

PROMONTORY_MM = 8.0
"""From the lower endplate of L5 to that of the sacrum, in the middle of the disc."""


LEAST_HEIGHT_MM = 5.0
"""The most crushed of bodies."""

LEAST_HEIGHT_SHARE = 0.35
"""A body takes at least this share of the distance between two discs' middles."""

USUAL_HALF_DISC_MM = 3.0
"""Half a disc, where an endplate cannot be seen."""

HALF_DISC_MM = (1.0, 6.0)
"""From an endplate to the middle of the disc."""

SACRAL_LEAN_DEG = 20.0
"""The first sacral body leans back under its own endplate: its front recedes."""


def body_frame(
    axis: SpineAxis, lower: DiscRoom, upper: DiscRoom
) -> tuple[VertebraFrame, float]:
    """First axes of the body between two discs, and the discs' distance in mm."""
    ends = (lower.middle_lps_mm, upper.middle_lps_mm)
    centre = (ends[0] + ends[1]) / 2
    height = float(np.linalg.norm(ends[1] - ends[0]))
    superior = (ends[1] - ends[0]) / height
    near = np.linalg.norm(axis.points_lps_mm - centre, axis=1).argmin()
    posterior = axis.posterior[near]
    posterior = posterior - (posterior @ superior) * superior
    posterior /= np.linalg.norm(posterior)
    return (
        VertebraFrame(centre, np.cross(posterior, superior), posterior, superior),
        height,
    )


def body_surface(
    scene: BodyScene,
    frame: VertebraFrame,
    height_mm: float,
    usual: BodyOutline | None = None,
    rooms: PlateRooms = (None, None),
) -> BodySurface:
    """Find the surface of the body in a frame between two discs.

    Parameters
    ----------
    scene
        Where to look.
    frame, height_mm
        First axes and distance between the discs, from `body_frame`.
    usual
        Size that is expected, e.g. that of the neighbours.
    rooms
        Where the discs let the lower and the upper endplate lie.
    """
    for _ in range(scene.settings.rounds):
        frame, height_mm = _straightened(scene, frame, height_mm, usual, rooms)
    lower, upper = _planes(scene, frame, height_mm, rooms)
    flat = _apart(lower, upper, height_mm)
    outline = body_outline(scene, frame, flat[0], flat[1], usual).radius_mm()
    plates = [
        find_endplate(scene, frame, height_mm, side, outline, room)
        for side, room in zip((-1, 1), rooms, strict=True)
    ]
    return _surface(scene, frame, height_mm, (plates[0], plates[1]), usual)


def _straightened(
    scene: BodyScene,
    frame: VertebraFrame,
    height_mm: float,
    usual: BodyOutline | None,
    rooms: PlateRooms,
) -> tuple[VertebraFrame, float]:
    """Axes along the mean normal of the endplates, and centred in the wall."""
    settings = scene.settings
    lower, upper = _planes(scene, frame, height_mm, rooms)
    # An endplate that is hardly seen says little about the axis.
    weights = np.maximum([lower.edge, upper.edge], 0.02)
    weights = np.clip(weights / settings.clear_plate, 0.0, 1.0)
    slope_left = np.average([lower.slope_left, upper.slope_left], weights=weights)
    slope_back = np.average(
        [lower.slope_posterior, upper.slope_posterior], weights=weights
    )
    plates = _apart(lower, upper, height_mm)
    outline = body_outline(scene, frame, *plates, usual)
    centres = [float(plate_plane(plate)[2]) for plate in plates]
    superior = frame.superior - slope_left * frame.left - slope_back * frame.posterior
    superior /= np.linalg.norm(superior)
    posterior = frame.posterior - (frame.posterior @ superior) * superior
    posterior /= np.linalg.norm(posterior)
    half_discs = np.clip(
        [height_mm / 2 + centres[0], height_mm / 2 - centres[1]], *HALF_DISC_MM
    )
    if min(lower.edge, upper.edge) >= settings.clear_plate:
        half_discs[:] = half_discs.mean()
    # Else each disc keeps its place: an endplate that was missed on one side must not
    # move the search on the other one.
    ends = np.array([centres[0] - half_discs[0], centres[1] + half_discs[1]])
    local = np.array([outline.left_mm, outline.posterior_mm, ends.mean()])
    turned = VertebraFrame(
        frame.to_lps_mm(local), np.cross(posterior, superior), posterior, superior
    )
    return turned, float(ends[1] - ends[0])


def _planes(
    scene: BodyScene, frame: VertebraFrame, height_mm: float, rooms: PlateRooms
) -> tuple[PlatePlane, PlatePlane]:
    lower, upper = (
        find_plate_plane(scene, frame, height_mm, side, room)
        for side, room in zip((-1, 1), rooms, strict=True)
    )
    return lower, upper


def _apart(
    lower: PlatePlane, upper: PlatePlane, height_mm: float
) -> tuple[FloatArray, FloatArray]:
    """Planes on the grid; flat ones where both fell on one plate."""
    if upper.height_mm - lower.height_mm < LEAST_HEIGHT_SHARE * height_mm:
        half = np.full_like(upper.on_grid(), height_mm / 2 - USUAL_HALF_DISC_MM)
        return -half, half
    return _thick(lower.on_grid(), upper.on_grid())


def _thick(lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Keep two endplates apart."""
    thin = upper - lower < LEAST_HEIGHT_MM
    middle = (upper + lower) / 2
    return (
        np.where(thin, middle - LEAST_HEIGHT_MM / 2, lower),
        np.where(thin, middle + LEAST_HEIGHT_MM / 2, upper),
    )


def _surface(
    scene: BodyScene,
    frame: VertebraFrame,
    height_mm: float,
    plates: tuple[Endplate, Endplate],
    usual: BodyOutline | None,
) -> BodySurface:
    lower, upper = plates[0].height_mm, plates[1].height_mm
    edges = (plates[0].edge, plates[1].edge)
    if float(np.median(upper - lower)) < LEAST_HEIGHT_SHARE * height_mm:
        # Both fell on one plate: no endplate is believed.
        upper = np.full_like(upper, height_mm / 2 - USUAL_HALF_DISC_MM)
        lower, edges = -upper, (0.0, 0.0)
    lower, upper = _thick(lower, upper)
    wall = find_wall(scene, frame, lower, upper, usual=usual)
    seen = OutlineEvidence(plates[0].clearness, plates[1].clearness, wall.clearness)
    return BodySurface(frame, lower, upper, wall.radius_mm, *edges, wall.edge, seen)


def sacral_surface(scene: BodyScene, above: BodySurface) -> BodySurface:
    """Body of the first sacral segment, from the vertebra above it.

    The sacrum turns away by up to 50 degrees and its second disc is a remnant, so
    that the body is laid under its upper endplate, with the height of the vertebra
    above.
    """
    height = float(np.median(above.upper_mm) - np.median(above.lower_mm))
    outline = above.wall_mm.mean(axis=1)
    slope = plate_plane(above.lower_mm)
    frame = above.frame
    normal = frame.superior - slope[0] * frame.left - slope[1] * frame.posterior
    normal /= np.linalg.norm(normal)
    back = frame.posterior - (frame.posterior @ normal) * normal
    back /= np.linalg.norm(back)
    left = np.cross(back, normal)
    plate = frame.to_lps_mm(np.array([0.0, 0.0, slope[2]]))
    top = plate - PROMONTORY_MM * normal
    tilted = VertebraFrame(top - normal * height / 2, left, back, normal)
    upper = find_endplate(scene, tilted, height, 1, outline).height_mm
    for _ in range(scene.settings.rounds):
        # Turn about the middle of the endplate that was found.
        slope = plate_plane(upper)
        top = tilted.to_lps_mm(np.array([0.0, 0.0, slope[2]]))
        normal = tilted.superior - slope[0] * tilted.left - slope[1] * tilted.posterior
        normal /= np.linalg.norm(normal)
        back = tilted.posterior - (tilted.posterior @ normal) * normal
        back /= np.linalg.norm(back)
        left = np.cross(back, normal)
        lean = np.radians(SACRAL_LEAN_DEG)
        normal, back = (
            np.cos(lean) * normal - np.sin(lean) * back,
            np.cos(lean) * back + np.sin(lean) * normal,
        )
        tilted = VertebraFrame(top - normal * height / 2, left, back, normal)
        upper = find_endplate(scene, tilted, height, 1, outline).height_mm
        lower = flat_plate(upper) - height
        wall = find_wall(scene, tilted, lower, upper, fused_outline=outline)
        middle = middle_of_wall(wall.radius_mm[:, -4:])
        centre = tilted.to_lps_mm(np.array([0.0, middle[1], 0.0]))
        tilted = VertebraFrame(centre, left, back, normal)
    top_plate = find_endplate(scene, tilted, height, 1, outline)
    lower = flat_plate(top_plate.height_mm) - height
    wall = find_wall(scene, tilted, lower, top_plate.height_mm, fused_outline=outline)
    seen = OutlineEvidence(np.zeros_like(lower), top_plate.clearness, wall.clearness)
    return BodySurface(
        tilted,
        lower,
        top_plate.height_mm,
        wall.radius_mm,
        0.0,
        top_plate.edge,
        wall.edge,
        seen,
    )
