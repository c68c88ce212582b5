"""The first sacral segment, which looks like no other vertebra."""

from dataclasses import dataclass, replace

import numpy as np

from cemscope.segmentation.bodies.body_surface import (
    BodyScene,
    BodySurface,
    plate_plane,
)
from cemscope.segmentation.bodies.found_body import (
    BodyCheckSettings,
    FoundBody,
    examined_body,
)
from cemscope.segmentation.bodies.vertebral_bodies import sacral_surface
from cemscope.segmentation.canal.streak_planes import StreakPlanes
from cemscope.segmentation.levels.level_landmarks import level_landmarks
from cemscope.segmentation.spine_working_volume import WorkingVolume
from cemscope.spine import VertebraFrame


@dataclass(frozen=True, slots=True)
class SacrumSettings:
    """Tunables of the search for the sacrum.

    Attributes
    ----------
    ala_above : float
        Section of bone beside a body, as a share of the body's own, of a sacrum.
    sacrum_below : int
        Under how many of the lowest vertebrae the sacrum is looked for.
    """

    ala_above: float = 0.24
    sacrum_below: int = 5


def with_sacrum(
    bodies: list[FoundBody],
    coarse: WorkingVolume,
    scene: BodyScene,
    settings: SacrumSettings,
    checks: BodyCheckSettings,
    streaks: StreakPlanes | None = None,
) -> list[FoundBody]:
    """Fit the first sacral segment under each of the lowest vertebrae.

    The highest fit with alae on both sides is the sacrum; what the chain of discs
    found inside it gives way. Otherwise the bodies stay as they were.
    """
    for k in reversed(range(min(settings.sacrum_below, len(bodies)))):
        sacrum = _sacrum_below(bodies[k], coarse, scene, checks, streaks)
        if sacrum is None:
            continue
        if _ala(sacrum) >= settings.ala_above and sacrum.is_bone(checks):
            return [sacrum, *bodies[k:]]
    return bodies


def _sacrum_below(
    body: FoundBody,
    coarse: WorkingVolume,
    scene: BodyScene,
    checks: BodyCheckSettings,
    streaks: StreakPlanes | None,
) -> FoundBody | None:
    """Fit the first sacral segment under a body that is in view."""
    above = body.surface
    if body.seen < checks.least_seen:
        return None
    surface = sacral_surface(scene, above)
    if _gap_mm(surface, above) > WIDEST_DISC_MM:
        return None
    # The alae stand half upright, between the endplate of S1 and L5.
    half = (surface.upper_mm - surface.lower_mm) / 2
    upright = replace(
        surface,
        frame=_halfway(surface.frame, above.frame),
        lower_mm=-half,
        upper_mm=half,
    )
    volumes = (coarse, scene.volume)
    return replace(
        examined_body(surface, volumes, checks, body.chain_margin),
        landmarks=level_landmarks(coarse, upright, checks.landmarks, streaks),
        sacral=True,
    )


WIDEST_DISC_MM = 22.0
"""The search for the sacrum's endplate can end on the one below: discs are up to 14 mm
high in the middle, and the fit is good to some millimetres."""


def _gap_mm(below: BodySurface, above: BodySurface) -> float:
    """Distance between the middles of the endplates that face each other."""
    top, bottom = (
        surface.frame.to_lps_mm(np.array([0.0, 0.0, plate_plane(plate)[2]]))
        for surface, plate in ((below, below.upper_mm), (above, above.lower_mm))
    )
    return float(np.linalg.norm(top - bottom))


def _halfway(frame: VertebraFrame, other: VertebraFrame) -> VertebraFrame:
    """Axes between two frames, at the origin of the first."""
    superior = frame.superior + other.superior
    superior /= np.linalg.norm(superior)
    posterior = frame.posterior - (frame.posterior @ superior) * superior
    posterior /= np.linalg.norm(posterior)
    return VertebraFrame(
        frame.origin_lps_mm, np.cross(posterior, superior), posterior, superior
    )


def _ala(body: FoundBody) -> float:
    """Solid share beside a body on the less solid side; NaN if not in view."""
    sides = (body.landmarks.left.ala, body.landmarks.right.ala)
    seen = [value for value in sides if value is not None]
    return min(seen) if len(seen) == len(sides) else float("nan")
