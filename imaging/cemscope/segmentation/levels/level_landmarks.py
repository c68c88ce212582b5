"""What tells a vertebra's level: the alae of the sacrum and the ribs.

Both are read beside each vertebra in its own axes and in its own scale (the width of
its body), on a coarse grid. A side that the field of view does not cover is not
judged.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull

from cemscope.geometry import FloatArray
from cemscope.segmentation.bodies.body_surface import BodySurface
from cemscope.segmentation.canal.streak_planes import StreakPlanes
from cemscope.segmentation.levels.rib_search import (
    Beside,
    BesideGrid,
    RibSettings,
    head_of_rib,
    process_beside,
)
from cemscope.segmentation.spine_working_volume import WorkingVolume

USUAL_WIDTH_MM = 46.0
"""Width of the body of a middle lumbar vertebra, adults (Panjabi 1992,
doi:10.1097/00007632-199203000-00010, endplates 41-52 mm); unit of the scale."""

SMALLEST_SCALE, LARGEST_SCALE = 0.7, 1.3
"""Limits of the scale: a wall found wrong must not move the landmarks without end."""

ALA_NEAR_MM, ALA_FAR_MM = 28.0, 42.0
"""Distance from the midline at which an ala is solid and a lumbar transverse process
is thin (the sacrum is about 110 mm wide, L5 with its processes about 95 mm). These
and all other distances here are those of a middle-sized adult and are scaled."""

ALA_IN_FRONT_MM, ALA_BEHIND_MM = 34.0, 8.0
"""Depth in which an ala is looked for, from the posterior wall of the body."""

BESIDE_MM = 22.0
"""Bone beside the body and arch starts here; nearer lies the vertebra itself."""

BEHIND_MM, ABOVE_MM = 36.0, 8.0
"""How far the surroundings reach behind the posterior wall and above the body."""

PLATE_MM = 2.0
"""An endplate is in view if the scan shows this much beyond it."""

LEAST_CUT_SHARE = 0.45
"""Height in view, as a share of its depth, from which a cut body says what is solid
beside it: the pedicles alone fill what lies beside the upper third of L5."""

RIB_DESCENT_MM = 44.0
"""How far below its vertebra a rib is followed; the last ribs run steeply down."""


AIR_FILTER_CUBES, AIR_SEEN_SHARE = 5, 0.3
"""Air is in view where this share of the cubes around is; padding is solid."""

CELL_CORNERS = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])


@dataclass(frozen=True, slots=True)
class LandmarkSettings:
    """Tunables of the landmarks.

    Attributes
    ----------
    bone_above_hu : float
        Bone on the coarse grid.
    grid_mm : float
        Edge of the cubes on which the surroundings are read.
    reach_mm : float
        How far to the side the surroundings are read, in a middle-sized adult.
    least_seen : float
        Share of a region that the scan must cover to judge it.
    least_clear : float
        Share of the place of an ala that must be free of streaks to judge it.
    ribs : RibSettings
        Search for ribs.
    """

    bone_above_hu: float = 150.0
    grid_mm: float = 2.0
    reach_mm: float = 84.0
    least_seen: float = 0.8
    least_clear: float = 0.4
    ribs: RibSettings = field(default_factory=RibSettings)


@dataclass(frozen=True, slots=True)
class SideLandmarks:
    """Landmarks on one side of a vertebra; lengths as in a middle-sized adult.

    Attributes
    ----------
    ala : float or None
        Bone beside the body in a sagittal section (geometric mean of what is solid
        or enclosed by cortex and of its convex hull), as a share of the body's own
        section; about 0.1 for a transverse process, 0.4 or more for the ala of the
        sacrum. None if not in view.
    process_reach_mm : float
        Distance from the midline that bone reaches which begins at this vertebra:
        a rib or a transverse process; at least this far, if the scan ends before.
    seen_to_mm : float
        Distance from the midline up to which the scan shows this side, so far down
        that a rib could be followed.
    process_section_mm2 : float or None
        Sagittal section of the outer part of that bone, not scaled (ribs do not grow
        with the body that they stand at): some 50 to 100 for a rib, hundreds for the
        wing of the ilium. None where the bone ends before.
    rib_head : float or None
        Share of bone where the head of a rib lies against the body or the pedicle.
        None if not in view.
    """

    ala: float | None
    process_reach_mm: float
    seen_to_mm: float
    process_section_mm2: float | None = None
    rib_head: float | None = None


@dataclass(frozen=True, slots=True)
class BodyShape:
    """Place and size of a body, for the count of the vertebrae.

    Attributes
    ----------
    centre_lps_mm : tuple of float
        Middle of the body.
    height_mm, width_mm : float
        Between the endplates and from left to right.
    whole : bool
        Whether both endplates are in view; the height of a cut body is a guess.
    """

    centre_lps_mm: tuple[float, float, float]
    height_mm: float
    width_mm: float
    whole: bool = True


@dataclass(frozen=True, slots=True)
class LevelLandmarks:
    """Landmarks on both sides of a vertebra, and its body."""

    left: SideLandmarks
    right: SideLandmarks
    body: BodyShape | None = None


def level_landmarks(
    coarse: WorkingVolume,
    surface: BodySurface,
    settings: LandmarkSettings,
    streaks: StreakPlanes | None = None,
) -> LevelLandmarks:
    """Read the landmarks beside a vertebra.

    Parameters
    ----------
    coarse
        Working volume of the whole scan (about 2 mm).
    surface
        The vertebra's body.
    settings
        Tunables.
    streaks
        Planes in which bone proves nothing; None without metal.
    """
    body = _body_shape(surface)
    scale = float(
        np.clip(body.width_mm / USUAL_WIDTH_MM, SMALLEST_SCALE, LARGEST_SCALE)
    )
    lower = float(np.median(surface.lower_mm))
    upper = float(np.median(surface.upper_mm))
    # From the posterior wall (about 16 mm behind the axis): alae stand beside the
    # body, ribs and processes beside and behind the wall.
    wall, front = (_wall_mm(surface, angle) for angle in (np.pi / 2, -np.pi / 2))
    grid = BesideGrid(
        lateral_mm=_steps(BESIDE_MM, settings.reach_mm, scale, settings.grid_mm),
        posterior_mm=wall
        + _steps(-ALA_IN_FRONT_MM, BEHIND_MM, scale, settings.grid_mm),
        height_mm=np.arange(
            lower - RIB_DESCENT_MM * scale,
            upper + ABOVE_MM * scale + 0.1,
            settings.grid_mm,
        ),
        lower_mm=lower,
        upper_mm=upper,
        wall_mm=wall,
        scale=scale,
    )
    section_mm2 = (upper - lower) * (wall + front)
    plates = np.array([[0.0, 0.0, lower - PLATE_MM], [0.0, 0.0, upper + PLATE_MM]])
    shown = coarse.sample_inside(surface.frame.to_lps_mm(plates)) > 0.5
    body = replace(body, whole=bool(shown.all()))
    too_little = not body.whole and upper - lower < LEAST_CUT_SHARE * (wall + front)
    sides = []
    for sign in (1.0, -1.0):
        beside = _beside(coarse, surface, grid, sign, settings, streaks)
        process = process_beside(beside, grid, settings.ribs)
        seen_to_mm = 0.0 if process.streaked else _seen_to_mm(beside, grid, settings)
        if process.ends_in_view:
            # No rib can go on from here, even if the scan ends just below.
            seen_to_mm = float(grid.lateral_mm[-1] / grid.scale)
        sides.append(
            SideLandmarks(
                None if too_little else _ala(beside, grid, section_mm2, settings),
                process.reach_mm,
                seen_to_mm,
                process.section_mm2,
                head_of_rib(beside, grid, body.width_mm / 2, settings.ribs),
            )
        )
    return LevelLandmarks(sides[0], sides[1], body)


def _beside(
    coarse: WorkingVolume,
    surface: BodySurface,
    grid: BesideGrid,
    sign: float,
    settings: LandmarkSettings,
    streaks: StreakPlanes | None,
) -> Beside:
    """Sample one side of a vertebra (1 is the left)."""
    local = np.stack(
        np.meshgrid(
            sign * grid.lateral_mm, grid.posterior_mm, grid.height_mm, indexing="ij"
        ),
        axis=-1,
    )
    points = surface.frame.to_lps_mm(local)
    inside = coarse.sample_inside(points)
    bone = (coarse.sample(points) > settings.bone_above_hu) & (inside > 0.5)
    # Noise takes single cubes of lung, bowel gas or free air for padding.
    seen = ndimage.uniform_filter(inside, AIR_FILTER_CUBES) > AIR_SEEN_SHARE
    streaked = np.zeros_like(seen) if streaks is None else streaks.at(points)
    return Beside(bone, seen, streaked)


def _ala(
    beside: Beside, grid: BesideGrid, section_mm2: float, settings: LandmarkSettings
) -> float | None:
    usual = grid.lateral_mm / grid.scale
    near = (usual >= ALA_NEAR_MM) & (usual <= ALA_FAR_MM)
    deep = grid.posterior_mm <= grid.wall_mm + ALA_BEHIND_MM * grid.scale
    own = (grid.height_mm >= grid.lower_mm) & (grid.height_mm <= grid.upper_mm)
    place = np.ix_(near, deep, own)
    clear = float((~beside.streaked[place]).mean())
    if beside.seen[place].mean() < settings.least_seen or clear < settings.least_clear:
        return None
    # Metal and streaks are no bone of an ala; what they hide is left out.
    bone = (beside.bone & ~beside.streaked)[np.ix_(near, deep, np.ones_like(own))]
    solid = _enclosed(bone) & ~beside.streaked[np.ix_(near, deep, np.ones_like(own))]
    face_mm2 = settings.grid_mm**2
    solid_mm2 = solid[:, :, own].sum(axis=(1, 2)) * face_mm2
    hull_mm2 = np.array([_hull_cells(cut) for cut in bone[:, :, own]]) * face_mm2
    # Solid bone alone misses the thin, open cortex of an old sacrum, its hull alone
    # takes two specks for an ala.
    mean_mm2 = np.sqrt(np.median(solid_mm2) * np.median(hull_mm2))
    return float(mean_mm2) / (section_mm2 * clear)


def _seen_to_mm(beside: Beside, grid: BesideGrid, settings: LandmarkSettings) -> float:
    followed = beside.seen[
        :, :, grid.height_mm >= grid.lower_mm - RIB_DESCENT_MM / 2 * grid.scale
    ]
    shown = followed.mean(axis=(1, 2)) >= settings.least_seen
    if shown.all():
        return float(grid.lateral_mm[-1] / grid.scale)
    if not shown[0]:
        return 0.0
    return float(grid.lateral_mm[shown.argmin() - 1] / grid.scale)


def _enclosed(bone: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Voxels between bone in front and behind, and between bone above and below.

    Fatty marrow of an old sacrum is darker than muscle: its cortex alone counts.
    """
    solid = np.ones_like(bone)
    for axis in (1, 2):
        before = np.maximum.accumulate(bone, axis=axis)
        after = np.flip(np.maximum.accumulate(np.flip(bone, axis), axis=axis), axis)
        solid &= before & after
    return solid


def _hull_cells(cut: npt.NDArray[np.bool_]) -> float:
    """Area of the convex hull of a section's cells, in cells."""
    cells = np.argwhere(cut)
    if not len(cells):
        return 0.0
    corners = (cells[:, None] + CELL_CORNERS).reshape(-1, 2)
    return float(ConvexHull(corners).volume)


def _body_shape(surface: BodySurface) -> BodyShape:
    lower = float(np.median(surface.lower_mm))
    upper = float(np.median(surface.upper_mm))
    centre = surface.frame.to_lps_mm(np.array([0.0, 0.0, (lower + upper) / 2]))
    width = _wall_mm(surface, 0.0) + _wall_mm(surface, np.pi)
    return BodyShape(
        (float(centre[0]), float(centre[1]), float(centre[2])), upper - lower, width
    )


def _wall_mm(surface: BodySurface, angle_rad: float) -> float:
    """Distance of the wall in a direction, in the lower half (no pedicles there)."""
    levels = np.array([0.2, 0.3, 0.4])
    return float(np.median(surface.wall_at(np.full(3, angle_rad), levels)))


def _steps(low_mm: float, high_mm: float, scale: float, step_mm: float) -> FloatArray:
    return np.arange(low_mm * scale, high_mm * scale + 0.1, step_mm)
