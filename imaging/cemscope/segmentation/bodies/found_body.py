"""A vertebral body with what was seen of it."""

from dataclasses import dataclass, field

import numpy as np

from cemscope.segmentation.bodies.body_surface import PLATE_GRID_MM, BodySurface
from cemscope.segmentation.bodies.outline_quality import WHOLE, OutlineQuality
from cemscope.segmentation.canal.streak_planes import StreakPlanes
from cemscope.segmentation.levels.level_landmarks import (
    LandmarkSettings,
    LevelLandmarks,
    level_landmarks,
)
from cemscope.segmentation.spine_working_volume import WorkingVolume

BEYOND_PLATE_MM = 3.0
"""An endplate is seen where the scan shows this much tissue beyond it."""


@dataclass(frozen=True, slots=True)
class BodyCheckSettings:
    """Tunables of what counts as a body, and as a whole one.

    Attributes
    ----------
    least_seen : float
        Share of a body that must lie in the scan to report it.
    whole_seen : float
        Share from which it counts as whole.
    least_wall : float
        Mean edge of the wall, or of an endplate, below which there is none.
    clear_plate : float
        Mean edge of an endplate from which it is no mere supposition.
    doubtful_below : float
        Score of an outline (see `cemscope.segmentation.bodies.outline_quality`)
        below which the reader is told to check it.
    widest_voxel_mm : float
        Along a body's axis; in wider ones its endplates are too blurred to be trusted:
        simulated scans averaged to 3.75 mm drew them 0.7 mm too far out (volume +2 %),
        to 4 mm one of them 6 mm off. Slices of 4 mm that a body leans in by up to 18
        degrees count as wider, too.
    landmarks : LandmarkSettings
        Tunables of what tells its level.
    """

    least_seen: float = 0.4
    whole_seen: float = 0.98
    least_wall: float = 0.15
    clear_plate: float = 0.4
    doubtful_below: float = 0.6
    widest_voxel_mm: float = 3.8
    landmarks: LandmarkSettings = field(default_factory=LandmarkSettings)


@dataclass(frozen=True, slots=True, eq=False)
class FoundBody:
    """A body with what was seen of it.

    Attributes
    ----------
    surface : BodySurface
        Its outline.
    landmarks : LevelLandmarks
        What tells its level.
    seen : float
        Share of the body inside the field of view.
    complete : bool
        Whether the whole body is in view with both endplates.
    chain_margin : float
        By how much the chain of discs is better than the best one that lacks one of
        this body's discs or puts one more inside it. Several units where discs and
        pedicles are clear; below about 0.5 the body may be a part of one, or two.
    quality : OutlineQuality or None
        How far the outline can be trusted; None if that was not judged.
    sacral : bool
        Whether it was fitted as the first sacral segment, which has no lower endplate.
    voxel_mm : float
        Width of the scan's voxels along the body's axis.
    """

    surface: BodySurface
    landmarks: LevelLandmarks
    seen: float
    complete: bool
    chain_margin: float
    quality: OutlineQuality | None = None
    sacral: bool = False
    voxel_mm: float = 0.0

    def doubts(self, settings: BodyCheckSettings) -> tuple[str, ...]:
        """Tell what speaks against a whole body's outline; nothing if it is trusted."""
        quality = self.quality
        if quality is None or quality.measures.in_view < WHOLE:
            return ()
        blurred = self.voxel_mm > settings.widest_voxel_mm
        wide = (f"voxels of {self.voxel_mm:.1f} mm blur its endplates",)
        if quality.score >= settings.doubtful_below:
            return wide if blurred else ()
        reasons = quality.reasons or ("several measures of it are unusual",)
        return (*wide, *reasons) if blurred else reasons

    def is_bone(self, settings: BodyCheckSettings) -> bool:
        """Whether enough of it is in view, with a wall of bone."""
        return (
            self.seen >= settings.least_seen
            and self.surface.wall_edge >= settings.least_wall
        )


def examined_body(
    surface: BodySurface,
    volumes: tuple[WorkingVolume, WorkingVolume],
    settings: BodyCheckSettings,
    chain_margin: float,
    supposed: tuple[bool, bool] = (False, False),
    streaks: StreakPlanes | None = None,
) -> FoundBody:
    """Look at what the scan shows of a body.

    Parameters
    ----------
    surface
        Its outline.
    volumes
        Working volume of the whole scan (about 2 mm), for the landmarks, and of the
        spine (1 mm).
    settings
        Tunables.
    chain_margin
        Of the discs above and below.
    supposed
        Whether the lower and the upper disc are only supposed.
    streaks
        Planes in which bone beside a body proves nothing.
    """
    coarse, fine = volumes
    half = surface.reach_mm()
    axes = [np.arange(-reach, reach + 1.5, 3.0) for reach in half]
    local = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    local = local[surface.depth_mm(local) > 0]
    points = surface.frame.to_lps_mm(local)
    seen = float((fine.sample_inside(points) > 0.5).mean()) if len(points) else 0.0
    plates = min(surface.lower_edge, surface.upper_edge)
    whole = seen >= settings.whole_seen and plates >= settings.least_wall
    for side, is_supposed in zip((-1, 1), supposed, strict=True):
        if is_supposed:
            whole &= _plate_is_seen(surface, side, fine, settings)
    landmarks = level_landmarks(coarse, surface, settings.landmarks, streaks)
    return FoundBody(
        surface,
        landmarks,
        seen,
        bool(whole),
        chain_margin,
        voxel_mm=fine.voxel_width_mm(surface.frame.superior),
    )


def _plate_is_seen(
    surface: BodySurface, side: int, fine: WorkingVolume, settings: BodyCheckSettings
) -> bool:
    """Whether an endplate is clear, and in view with what lies beyond it."""
    plate = surface.upper_mm if side > 0 else surface.lower_mm
    edge = surface.upper_edge if side > 0 else surface.lower_edge
    left, posterior = np.meshgrid(PLATE_GRID_MM, PLATE_GRID_MM, indexing="ij")
    angle = np.arctan2(posterior, left)
    level = np.full_like(left, 1.0 if side > 0 else 0.0)
    inner = np.hypot(left, posterior) <= surface.wall_at(angle, level)
    beyond = np.stack([left, posterior, plate + side * BEYOND_PLATE_MM], axis=-1)
    shown = fine.sample_inside(surface.frame.to_lps_mm(beyond[inner])) > 0.5
    return edge >= settings.clear_plate and bool(
        shown.mean() >= settings.whole_seen if len(shown) else False
    )
