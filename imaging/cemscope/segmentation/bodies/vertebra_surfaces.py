"""From a scan to the surfaces of its vertebral bodies, from the lowest to the highest.

The steps in order: canal, axes, discs, bodies; then the sacrum, which looks like no
other vertebra, is fitted again from the vertebra above it.
"""

import itertools
import logging
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.errors import NoVertebraFoundError
from cemscope.geometry import FloatArray
from cemscope.segmentation.bodies.body_prior import PriorSettings, refined_bodies
from cemscope.segmentation.bodies.body_surface import (
    BodyScene,
    BodySettings,
    BodySurface,
)
from cemscope.segmentation.bodies.found_body import (
    BodyCheckSettings,
    FoundBody,
    examined_body,
)
from cemscope.segmentation.bodies.leaked_wall import without_leaks
from cemscope.segmentation.bodies.outline_quality import outline_qualities
from cemscope.segmentation.bodies.sacral_body import SacrumSettings, with_sacrum
from cemscope.segmentation.bodies.vertebral_bodies import body_frame, body_surface
from cemscope.segmentation.bodies.walled_gap import WALLED
from cemscope.segmentation.canal.canal_settings import CanalSettings
from cemscope.segmentation.canal.spinal_canal import CanalPath, find_canal
from cemscope.segmentation.canal.spine_axis import AxisSettings, SpineAxis, spine_axis
from cemscope.segmentation.canal.streak_planes import (
    StreakPlanes,
    StreakSettings,
    streak_planes,
)
from cemscope.segmentation.ct_grid import voxel_box
from cemscope.segmentation.discs.disc import Disc
from cemscope.segmentation.discs.disc_evidence import DiscSight, HiddenParts
from cemscope.segmentation.discs.disc_room import DiscRoom, disc_room, rooms_between
from cemscope.segmentation.discs.disc_search import DiscSettings, FoundDiscs, find_discs
from cemscope.segmentation.spine_working_volume import (
    CURVED_FROM,
    IntensityWindow,
    WorkingVolume,
    working_volume,
)
from cemscope.segmentation.worker_threads import side_by_side
from cemscope.volume import CTVolume

__all__ = ["FoundBody", "FoundSpine", "SurfaceSettings", "find_surfaces"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SurfaceSettings:
    """Tunables of the way from scan to surfaces.

    Attributes
    ----------
    coarse_mm, fine_mm : float
        Cubes on which the canal and the landmarks, and the bodies are looked for.
    most_coarse_voxels : int
        In a large scan the coarse cubes grow until there are no more than this.
    half_width_mm, in_front_mm, behind_mm, beyond_mm : float
        What is cut out round the canal for the fine cubes.
    edge_ceiling_hu : float
        Ceiling of the values in which the bodies' edges are looked for.
    implant_hu : tuple of float
        Between these, bone goes over into cement or metal. A body's cortex is about
        half a millimetre thick, so that blur keeps it below.
    faint_implant_hu : float
        Where there are implants, whatever is brighter than this is one of them if it
        is thicker than a cortex: thin veins of cement, weakly opaque cement.
    streaked_weights : tuple of float
        What signs of a disc in planes with streaks count, in one row of discs after
        another; the row whose bodies the scan bears out best is kept.
    window, canal, axis, discs, bodies, prior, sacrum, checks, streaks
        Tunables of the steps.
    """

    coarse_mm: float = 2.0
    fine_mm: float = 1.0
    most_coarse_voxels: int = 9_000_000
    half_width_mm: float = 62.0
    in_front_mm: float = 72.0
    behind_mm: float = 68.0
    beyond_mm: float = 35.0
    edge_ceiling_hu: float = 1400.0
    implant_hu: tuple[float, float] = (900.0, 1400.0)
    faint_implant_hu: float = 700.0
    streaked_weights: tuple[float, ...] = (0.0, 0.5, 1.0)
    window: IntensityWindow = field(default_factory=IntensityWindow)
    canal: CanalSettings = field(default_factory=CanalSettings)
    axis: AxisSettings = field(default_factory=AxisSettings)
    discs: DiscSettings = field(default_factory=DiscSettings)
    bodies: BodySettings = field(default_factory=BodySettings)
    prior: PriorSettings = field(default_factory=PriorSettings)
    sacrum: SacrumSettings = field(default_factory=SacrumSettings)
    checks: BodyCheckSettings = field(default_factory=BodyCheckSettings)
    streaks: StreakSettings = field(default_factory=StreakSettings)


@dataclass(frozen=True, slots=True, eq=False)
class FoundSpine:
    """Bodies from the lowest to the highest, and where they were looked for."""

    bodies: tuple[FoundBody, ...]
    axis: SpineAxis
    fine: WorkingVolume
    coarse: WorkingVolume


def find_surfaces(ct: CTVolume, settings: SurfaceSettings) -> FoundSpine:
    """Find the canal and the bodies of all vertebrae in view.

    Raises
    ------
    NoVertebraFoundError
        If there is no canal, or no vertebra along it.
    """
    coarse = working_volume(ct, _coarse_mm(ct, settings), settings.window)
    streaks = streak_planes(ct, settings.streaks)
    path = find_canal(coarse, settings.canal, streaks)
    # Edges keep their place only if the cortex is not cut off; everything else is
    # steadier if it is.
    sharp = working_volume(
        ct,
        settings.fine_mm,
        replace(settings.window, ceiling_hu=settings.edge_ceiling_hu),
        _spine_box(path, settings),
        splines=True,
    )
    fine = sharp.cut_at(settings.window.ceiling_hu)
    found = _implants(ct, path, settings)
    implants, faint = (found.sure, found.faint) if found else (None, None)
    axis = spine_axis(path, fine, settings.axis)
    hidden = HiddenParts(implants, _streaked(implants, streaks, fine))
    rows = _disc_rows(axis, fine, hidden, settings)
    if not rows:
        raise NoVertebraFoundError(
            "expected at least one vertebra between two discs, found none along "
            f"{len(axis)} mm of spinal canal. Is a whole vertebra in the scan?"
        )
    thick = max(ct.spacing_mm) > CURVED_FROM * settings.fine_mm
    views = _Views(coarse, fine, sharp, implants, faint, streaks, thick)
    fits = [_fitted(row, views, settings) for row in rows]
    bodies = max(fits, key=_trust)
    if not bodies:
        raise NoVertebraFoundError(
            "expected vertebral bodies in front of the spinal canal, found none with "
            "a wall of bone. Is this a CT of the spine?"
        )
    logger.info("%d vertebral bodies along %d mm of canal", len(bodies), len(axis))
    return FoundSpine(tuple(bodies), axis, fine, coarse)


@dataclass(frozen=True, slots=True, eq=False)
class _Views:
    """The scan in all the forms in which bodies are looked for."""

    coarse: WorkingVolume
    fine: WorkingVolume
    sharp: WorkingVolume
    implants: WorkingVolume | None
    faint: WorkingVolume | None
    streaks: StreakPlanes | None
    thick: bool


def _disc_rows(
    axis: SpineAxis, fine: WorkingVolume, hidden: HiddenParts, settings: SurfaceSettings
) -> list[FoundDiscs]:
    """Find the discs, in more than one way if streaks make them doubtful.

    Streaks imitate endplates, but elsewhere endplates show through them. And where
    thin discs melt into one bright line, the marrow between two of them looks like a
    thick disc.
    """
    weights = settings.streaked_weights if hidden.streaked is not None else (1.0,)
    sight = DiscSight(fine, hidden, settings.discs.evidence)
    rows: list[FoundDiscs] = []
    for weight in weights:
        found = [find_discs(axis, sight, settings.discs.chain, weight)]
        if found[0].thickest_share() > settings.discs.thick_share:
            found.append(find_discs(axis, sight, settings.discs.thin, weight))
        for row in found:
            if len(row.discs) > 1 and not any(row.is_like(other) for other in rows):
                rows.append(row)
    return rows


def _trust(bodies: list[FoundBody]) -> float:
    """How well the scan bears out the outlines of a row, in bodies.

    A body that was missed lowers the sum, and so do one that was halved, two that
    were joined and one that was drawn to a streak. A disc with a wall is a body that
    the row lacks; the two beside it share the blame.
    """
    judged = [body.quality for body in bodies if body.quality is not None]
    return sum(q.score - 0.5 * (q.measures.gap_walled > WALLED) for q in judged)


def _fitted(
    found: FoundDiscs, views: _Views, settings: SurfaceSettings
) -> list[FoundBody]:
    """Fit all bodies of a row of discs, and judge them."""
    scene = BodyScene(
        views.sharp,
        found.axis.points_lps_mm + found.axis.posterior * found.axis.wall_mm[:, None],
        settings.bodies,
        views.implants,
    )
    bodies = _bodies(found, views, scene, settings)
    bodies = _without_poor_ends(bodies, settings.checks)
    bodies = with_sacrum(
        bodies, views.coarse, scene, settings.sacrum, settings.checks, views.streaks
    )
    return _with_quality(bodies, scene, settings)


def _bodies(
    found: FoundDiscs, views: _Views, scene: BodyScene, settings: SurfaceSettings
) -> list[FoundBody]:
    """Fit a body between each two discs; doubtful ones again, led by neighbours."""
    pairs = tuple(itertools.pairwise(found.discs))

    def room(disc: Disc) -> DiscRoom:
        return disc_room(scene, found.axis, disc)

    discs = side_by_side(room, found.discs)
    beside = tuple(itertools.pairwise(discs))

    def first_fit(ends: tuple[DiscRoom, DiscRoom]) -> BodySurface:
        frame, height_mm = body_frame(found.axis, *ends)
        return body_surface(scene, frame, height_mm, rooms=rooms_between(*ends))

    rooms = [rooms_between(*ends, only_seen=True) for ends in beside]
    surfaces = refined_bodies(
        scene, side_by_side(first_fit, beside), rooms, settings.prior
    )

    def examined(index: int) -> FoundBody:
        lower, upper = pairs[index]
        surface = surfaces[index]
        if views.faint is not None:
            surface = without_leaks(surface, views.faint)
        return examined_body(
            surface,
            (views.coarse, views.fine),
            settings.checks,
            found.margins[index],
            # In thick slices, where thin discs melt into one line, no further vertebra
            # bears out a disc at an end of the row.
            (
                lower.supposed or (views.thick and index == 0),
                upper.supposed or (views.thick and index == len(pairs) - 1),
            ),
            views.streaks,
        )

    return side_by_side(examined, range(len(pairs)))


def _with_quality(
    bodies: list[FoundBody], scene: BodyScene, settings: SurfaceSettings
) -> list[FoundBody]:
    """Add to each outline, but that of the sacrum, how far it can be trusted."""
    free = [body for body in bodies if not body.sacral]
    surfaces, limits = [body.surface for body in free], settings.prior.quality
    qualities = outline_qualities(scene, surfaces, limits, beyond_plates=True)
    return [body for body in bodies if body.sacral] + [
        replace(body, quality=quality)
        for body, quality in zip(free, qualities, strict=True)
    ]


def _without_poor_ends(
    bodies: list[FoundBody], checks: BodyCheckSettings
) -> list[FoundBody]:
    """Drop ends of the chain that are not bone or hardly in view."""
    while bodies and not bodies[0].is_bone(checks):
        bodies = bodies[1:]
    while bodies and not bodies[-1].is_bone(checks):
        bodies = bodies[:-1]
    return bodies


@dataclass(frozen=True, slots=True, eq=False)
class _Implants:
    """Cement and metal, and cement that is as faint as dense bone, 0 to 1."""

    sure: WorkingVolume
    faint: WorkingVolume | None


def _implants(
    ct: CTVolume, path: CanalPath, settings: SurfaceSettings
) -> _Implants | None:
    """Cement and metal round the canal; None if there are none."""
    low, high = settings.implant_hu
    window = replace(
        settings.window, floor_hu=low, ceiling_hu=high, metal_above_hu=float("inf")
    )
    box = _spine_box(path, settings)
    if not _any_above(ct, (low + high) / 2, box):
        return None
    bright = working_volume(ct, settings.fine_mm, window, box, splines=True)
    share = ((bright.hu - low) / (high - low)).astype(np.float32)
    if not (share > 0.5).any():
        return None
    # Values are cut off before they are joined: one floor for both would move the
    # edges of bright implants.
    window = replace(window, floor_hu=settings.faint_implant_hu - 1.0)
    dense = working_volume(ct, settings.fine_mm, window, box, splines=True)
    faint = faint_implants(dense.hu, settings)
    return _Implants(
        replace(bright, hu=share), replace(dense, hu=faint) if faint.any() else None
    )


def faint_implants(
    hu: npt.NDArray[np.float32], settings: SurfaceSettings
) -> npt.NDArray[np.float32]:
    """Find veins of cement that blur darkens, and weakly opaque cement.

    Parameters
    ----------
    hu : ndarray, shape (slice, row, column)
        Fine cubes.
    settings
        Brightness of implants, bright and faint ones.

    Returns
    -------
    ndarray
        1 where there is such cement, 0 elsewhere. All 0 where nothing is so large and
        bright that it is cement or metal: then the bone itself is dense.
    """
    low, high = settings.implant_hu
    if not ndimage.binary_opening(hu > low, np.ones((SOLID_CUBES,) * 3)).any():
        return np.zeros(hu.shape, np.float32)
    thick = ndimage.binary_opening(
        hu > settings.faint_implant_hu, np.ones((THICK_CUBES,) * 3)
    )
    # The blur of bright cement is as bright as that.
    bright = hu > (low + high) / 2
    thick &= ~ndimage.maximum_filter(bright, 2 * HALO_CUBES + 1)
    found: npt.NDArray[np.float32] = thick.astype(np.float32)
    return found


THICK_CUBES, SOLID_CUBES, HALO_CUBES = 2, 4, 2
"""Dense matter so many fine cubes thick is no cortex, and no bone at all; and how far
bright cement's blur reaches."""


def _streaked(
    implants: WorkingVolume | None, streaks: StreakPlanes | None, fine: WorkingVolume
) -> WorkingVolume | None:
    """Implants and the planes with streaks, 0 to 1; None without streaks."""
    if streaks is None or not streaks.streaked.any():
        return None
    share = streaks.voxels(fine.geometry).astype(np.float32)
    if implants is not None:
        np.maximum(share, implants.hu, out=share)
    return replace(fine, hu=share)


def _any_above(
    ct: CTVolume, limit_hu: float, box_lps_mm: tuple[FloatArray, FloatArray]
) -> bool:
    """Tell whether any voxel of a box is brighter than a limit."""
    corners = np.array(list(itertools.product(*np.stack(box_lps_mm, axis=1))))
    part = voxel_box(ct.geometry, corners)
    return part is not None and any(
        bool((plane > limit_hu).any()) for plane in ct.hu[part]
    )


def _coarse_mm(ct: CTVolume, settings: SurfaceSettings) -> float:
    corners = ct.geometry.corners_lps_mm()
    volume_mm3 = float(np.prod(corners.max(axis=0) - corners.min(axis=0) + 1.0))
    least = (volume_mm3 / settings.most_coarse_voxels) ** (1.0 / 3.0)
    return max(settings.coarse_mm, float(np.ceil(4.0 * least) / 4.0))


def _spine_box(
    path: CanalPath, settings: SurfaceSettings
) -> tuple[FloatArray, FloatArray]:
    points = path.points_lps_mm
    low = np.array([settings.half_width_mm, settings.in_front_mm, settings.beyond_mm])
    high = np.array([settings.half_width_mm, settings.behind_mm, settings.beyond_mm])
    return points.min(axis=0) - low, points.max(axis=0) + high
