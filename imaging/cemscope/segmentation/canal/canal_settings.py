"""Tunables of the search for the spinal canal."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CanalSettings:
    """Tunables of the search for the canal.

    Attributes
    ----------
    grid_mm : float
        Cubes on which the canal is looked for.
    bone_above_hu : float
        A ray meets bone at this value (after taming; cortex of the canal's wall).
    ray_mm : float
        Furthest distance of that bone.
    ray_count : int
        Rays per point, evenly round the circle.
    level_mm : float
        Bone that a ray meets this far above or below counts too: pedicles and laminae
        leave gaps between them.
    clear_radius_mm : float
        The canal's centre is at least this far from bone.
    tube_mm : float
        Scores are averaged (Gaussian sigma) over this length of the canal.
    body_contrast_hu : float
        A body this much denser than its soft surroundings gives full marks.
    least_front : float
        What a point keeps of its score without any body in front.
    least_symmetry : float
        What a point keeps of its score where its halves are not alike.
    symmetry_from_score : float
        Points below this score are not looked at closer.
    steepest : float
        How far the path may move sideways, as a multiple of its rise.
    step_price : float
        Score lost per mm of such a step.
    off_midline_price : float
        Score lost per mm away from the middle of the spine.
    shortest_mm : float
        A shorter stretch of canal is not a spine.
    steady_mm : float
        Gaussian sigma of the smooth line that the path follows.
    detour_mm, detour_price : float
        Distance from that line that is free, and score lost per mm beyond it.
    good_share : float
        Share of the path's best scores (80th percentile) that is as likely canal as
        not: the stretch of path is taken that most exceeds it in sum, so that a weak
        part between clear ones is bridged.
    good_score : tuple of float
        Limits of that score.
    """

    grid_mm: float = 3.0
    bone_above_hu: float = 170.0
    ray_mm: float = 18.0
    ray_count: int = 16
    level_mm: float = 6.0
    clear_radius_mm: float = 6.0
    tube_mm: float = 5.0
    body_contrast_hu: float = 100.0
    least_front: float = 0.4
    least_symmetry: float = 0.1
    symmetry_from_score: float = 0.2
    steepest: float = 1.5
    step_price: float = 0.03
    off_midline_price: float = 0.004
    shortest_mm: float = 24.0
    steady_mm: float = 15.0
    detour_mm: float = 4.0
    detour_price: float = 0.04
    good_share: float = 0.45
    good_score: tuple[float, float] = (0.18, 0.3)
