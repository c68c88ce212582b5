"""Vertebral bodies: from two neighbouring discs to an outline.

A body is what lies between two smooth height fields (the endplates) and inside a
wall given in polar coordinates round the body's axis. All three are found as smooth
surfaces of strongest bone-to-soft-tissue edge. At the pedicles there is no edge: the
wall is carried through them from the lower half of the body, so that the body is cut
from its arch along the vertebra's own axes.
"""

import numpy as np

from cemscope.segmentation.body_surface import (
    BodyScene,
    BodySettings,
    BodySurface,
    flat_plate,
    middle_of_wall,
    plate_plane,
)
from cemscope.segmentation.body_wall import find_wall
from cemscope.segmentation.discs import BODY_DEPTH_MM, Disc
from cemscope.segmentation.endplates import find_endplate
from cemscope.segmentation.spine_axis import SpineAxis
from cemscope.spine import VertebraFrame

PROMONTORY_MM = 8.0
"""From the lower endplate of L5 to that of the sacrum, in the middle of the disc."""


LEAST_HEIGHT_SHARE = 0.35
"""A body takes at least this share of the distance between two discs' middles."""

USUAL_HALF_DISC_MM = 3.0
"""Half a disc, where an endplate cannot be seen."""

SACRAL_LEAN_DEG = 20.0
"""The first sacral body leans back under its own endplate: its front recedes."""


def body_frame(
    axis: SpineAxis, lower: Disc, upper: Disc
) -> tuple[VertebraFrame, float]:
    """First axes of the body between two discs, and the discs' distance in mm."""
    ends = []
    for disc in (lower, upper):
        near = int(np.clip(round(disc.step), 0, len(axis) - 1))
        wall = axis.points_lps_mm[near] + axis.posterior[near] * axis.wall_mm[near]
        beyond = disc.step - near  # a supposed disc may lie off the axis
        rise = BODY_DEPTH_MM * np.tan(np.radians(disc.sagittal_tilt_deg)) + beyond
        ends.append(
            wall - BODY_DEPTH_MM * axis.posterior[near] + rise * axis.superior[near]
        )
    centre = (ends[0] + ends[1]) / 2
    height = float(np.linalg.norm(ends[1] - ends[0]))
    superior = (ends[1] - ends[0]) / height
    middle = round((lower.step + upper.step) / 2)
    posterior = axis.posterior[middle]
    posterior = posterior - (posterior @ superior) * superior
    posterior /= np.linalg.norm(posterior)
    return (
        VertebraFrame(centre, np.cross(posterior, superior), posterior, superior),
        height,
    )


def body_surface(
    scene: BodyScene, frame: VertebraFrame, height_mm: float
) -> BodySurface:
    """Find the surface of the body in a frame between two discs.

    Parameters
    ----------
    scene
        Where to look.
    frame, height_mm
        First axes and distance between the discs, from `body_frame`.
    """
    surface = _surface(scene, frame, height_mm)
    for _ in range(scene.settings.rounds):
        frame, height_mm = _straightened(surface, height_mm, scene.settings)
        surface = _surface(scene, frame, height_mm)
    return surface


def _straightened(
    surface: BodySurface, height_mm: float, settings: BodySettings
) -> tuple[VertebraFrame, float]:
    """Axes along the mean normal of the endplates, and centred in the wall."""
    slopes, centres = [], []
    for plate in (surface.lower_mm, surface.upper_mm):
        fit = plate_plane(plate)
        slopes.append(fit[:2])
        centres.append(fit[2])
    # An endplate that is hardly seen says little about the axis.
    weights = np.maximum([surface.lower_edge, surface.upper_edge], 0.02)
    weights = np.clip(weights / settings.clear_plate, 0.0, 1.0)
    slope = np.average(slopes, axis=0, weights=weights)
    frame = surface.frame
    superior = frame.superior - slope[0] * frame.left - slope[1] * frame.posterior
    superior /= np.linalg.norm(superior)
    posterior = frame.posterior - (frame.posterior @ superior) * superior
    posterior /= np.linalg.norm(posterior)
    local = np.array([*middle_of_wall(surface.wall_mm), np.mean(centres)])
    # Half a disc on either side, as `body_frame` gives it.
    discs_mm = max(height_mm - (centres[1] - centres[0]), 2.0)
    turned = VertebraFrame(
        frame.to_lps_mm(local), np.cross(posterior, superior), posterior, superior
    )
    return turned, float(centres[1] - centres[0] + min(discs_mm, 12.0))


def _surface(scene: BodyScene, frame: VertebraFrame, height_mm: float) -> BodySurface:
    lower, lower_edge = find_endplate(scene, frame, height_mm, -1)
    upper, upper_edge = find_endplate(scene, frame, height_mm, 1)
    if float(np.median(upper - lower)) < LEAST_HEIGHT_SHARE * height_mm:
        # Both fell on one plate: no endplate is believed.
        upper = np.full_like(upper, height_mm / 2 - USUAL_HALF_DISC_MM)
        lower, lower_edge, upper_edge = -upper, 0.0, 0.0
    thin = upper - lower < 5.0
    middle = (upper + lower) / 2
    lower = np.where(thin, middle - 2.5, lower)
    upper = np.where(thin, middle + 2.5, upper)
    wall, wall_edge = find_wall(scene, frame, lower, upper)
    return BodySurface(frame, lower, upper, wall, lower_edge, upper_edge, wall_edge)


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
    upper, upper_edge = find_endplate(scene, tilted, height, 1)
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
        upper, upper_edge = find_endplate(scene, tilted, height, 1)
        lower = flat_plate(upper) - height
        wall, wall_edge = find_wall(scene, tilted, lower, upper, outline)
        centre = tilted.to_lps_mm(np.array([0.0, middle_of_wall(wall)[1], 0.0]))
        tilted = VertebraFrame(centre, left, back, normal)
    upper, upper_edge = find_endplate(scene, tilted, height, 1)
    lower = flat_plate(upper) - height
    wall, wall_edge = find_wall(scene, tilted, lower, upper, outline)
    return BodySurface(tilted, lower, upper, wall, 0.0, upper_edge, wall_edge)
