"""From a scan to the surfaces of its vertebral bodies, from the lowest to the highest.

The steps in order: canal, axes, discs, bodies; then the sacrum, which looks like no
other vertebra, is fitted again from the vertebra above it.
"""

import itertools
import logging
from dataclasses import dataclass, field, replace

import numpy as np

from cemscope.errors import NoVertebraFoundError
from cemscope.geometry import FloatArray
from cemscope.segmentation.body_surface import BodyScene, BodySettings, BodySurface
from cemscope.segmentation.discs import (
    DiscSettings,
    disc_evidence,
    find_discs,
    with_cut_ends,
)
from cemscope.segmentation.level_landmarks import (
    LandmarkSettings,
    LevelLandmarks,
    level_landmarks,
)
from cemscope.segmentation.spinal_canal import CanalPath, CanalSettings, find_canal
from cemscope.segmentation.spine_axis import AxisSettings, SpineAxis, spine_axis
from cemscope.segmentation.spine_working_volume import (
    IntensityWindow,
    WorkingVolume,
    working_volume,
)
from cemscope.segmentation.vertebral_bodies import (
    body_frame,
    body_surface,
    sacral_surface,
)
from cemscope.spine import VertebraFrame
from cemscope.volume import CTVolume

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
    least_seen : float
        Share of a body that must lie in the scan to report it.
    least_wall : float
        Mean edge of the wall below which the end of a chain is no vertebra.
    halved_share, weak_plate, better_plate : float
        A body lower than this share of the one above, with a lower endplate weaker
        than the second, is fitted again; the new endplate must be better by the
        third.
    ala_above : float
        Section of bone beside a body, as a share of the body's own, of a sacrum.
    sacrum_below : int
        Under how many of the lowest vertebrae the sacrum is looked for.
    edge_ceiling_hu : float
        Ceiling of the values in which the bodies' edges are looked for.
    implant_hu : tuple of float
        Between these, bone goes over into cement or metal. A body's cortex is about
        half a millimetre thick, so that blur keeps it below.
    window, canal, axis, discs, bodies, landmarks
        Tunables of the steps.
    """

    coarse_mm: float = 2.0
    fine_mm: float = 1.0
    most_coarse_voxels: int = 9_000_000
    half_width_mm: float = 62.0
    in_front_mm: float = 72.0
    behind_mm: float = 68.0
    beyond_mm: float = 35.0
    least_seen: float = 0.4
    least_wall: float = 0.15
    halved_share: float = 0.7
    weak_plate: float = 0.65
    better_plate: float = 0.1
    ala_above: float = 0.24
    sacrum_below: int = 5
    edge_ceiling_hu: float = 1400.0
    implant_hu: tuple[float, float] = (900.0, 1400.0)
    window: IntensityWindow = field(default_factory=IntensityWindow)
    canal: CanalSettings = field(default_factory=CanalSettings)
    axis: AxisSettings = field(default_factory=AxisSettings)
    discs: DiscSettings = field(default_factory=DiscSettings)
    bodies: BodySettings = field(default_factory=BodySettings)
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
    """

    surface: BodySurface
    landmarks: LevelLandmarks
    seen: float
    complete: bool


@dataclass(frozen=True, slots=True, eq=False)
class FoundSpine:
    """Bodies from the lowest to the highest, and where they were looked for."""

    bodies: tuple[FoundBody, ...]
    axis: SpineAxis
    fine: WorkingVolume


def find_surfaces(ct: CTVolume, settings: SurfaceSettings) -> FoundSpine:
    """Find the canal and the bodies of all vertebrae in view.

    Raises
    ------
    NoVertebraFoundError
        If there is no canal, or no vertebra along it.
    """
    coarse = working_volume(ct, _coarse_mm(ct, settings), settings.window)
    path = find_canal(coarse, settings.canal)
    # Edges keep their place only if the cortex is not cut off; everything else is
    # steadier if it is.
    sharp = working_volume(
        ct,
        settings.fine_mm,
        replace(settings.window, ceiling_hu=settings.edge_ceiling_hu),
        _spine_box(path, settings),
    )
    fine = sharp.cut_at(settings.window.ceiling_hu)
    axis = spine_axis(path, fine, settings.axis)
    evidence = disc_evidence(axis, fine, settings.discs)
    discs = find_discs(evidence, settings.discs)
    if len(discs) < 2:
        raise NoVertebraFoundError(
            "expected at least one vertebra between two discs, found none along "
            f"{len(axis)} mm of spinal canal. Is a whole vertebra in the scan?"
        )
    discs = with_cut_ends(discs, evidence, settings.discs)
    scene = BodyScene(
        sharp,
        axis.points_lps_mm + axis.posterior * axis.wall_mm[:, None],
        settings.bodies,
        _implants(ct, path, settings),
    )
    bodies = []
    for lower, upper in itertools.pairwise(discs):
        frame, height_mm = body_frame(axis, lower, upper)
        surface = body_surface(scene, frame, height_mm)
        bodies.append(_examined(surface, coarse, fine, settings))
    bodies = _mended(bodies, coarse, scene, settings)
    bodies = _without_poor_ends(bodies, settings)
    bodies = _with_sacrum(bodies, coarse, scene, settings)
    if not bodies:
        raise NoVertebraFoundError(
            "expected vertebral bodies in front of the spinal canal, found none with "
            "a wall of bone. Is this a CT of the spine?"
        )
    logger.info("%d vertebral bodies along %d mm of canal", len(bodies), len(axis))
    return FoundSpine(tuple(bodies), axis, fine)


def _implants(
    ct: CTVolume, path: CanalPath, settings: SurfaceSettings
) -> WorkingVolume | None:
    """Cement and metal round the canal, 0 to 1; None if there are none."""
    low, high = settings.implant_hu
    window = replace(
        settings.window, floor_hu=low, ceiling_hu=high, metal_above_hu=float("inf")
    )
    bright = working_volume(ct, settings.fine_mm, window, _spine_box(path, settings))
    share = ((bright.hu - low) / (high - low)).astype(np.float32)
    if not (share > 0.5).any():
        return None
    return replace(bright, hu=share)


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


def _examined(
    surface: BodySurface,
    coarse: WorkingVolume,
    fine: WorkingVolume,
    settings: SurfaceSettings,
) -> FoundBody:
    half = surface.reach_mm()
    axes = [np.arange(-reach, reach + 1.5, 3.0) for reach in half]
    local = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    local = local[surface.depth_mm(local) > 0]
    points = surface.frame.to_lps_mm(local)
    seen = float((fine.sample_inside(points) > 0.5).mean()) if len(points) else 0.0
    plates = min(surface.lower_edge, surface.upper_edge)
    return FoundBody(
        surface,
        level_landmarks(coarse, surface, settings.landmarks),
        seen,
        complete=seen >= 0.98 and plates >= settings.least_wall,
    )


def _mended(
    bodies: list[FoundBody],
    coarse: WorkingVolume,
    scene: BodyScene,
    settings: SurfaceSettings,
) -> list[FoundBody]:
    """Fit halved bodies again with the height of the vertebra above.

    Where a screw or the sacrum disturbs the chain of discs, a disc may cross a body.
    Such a body is low and its lower endplate weak; if the height of its neighbour
    leads to a clearly better endplate, that is taken, and what was found inside the
    mended body is dropped.
    """
    mended = bodies[-1:]
    for body in reversed(bodies[:-1]):
        above, surface = mended[-1].surface, body.surface
        centre = above.frame.to_local_mm(surface.frame.origin_lps_mm)
        if float(above.depth_mm(centre[None])[0]) > -2.0:
            continue
        usual_mm = _height_mm(above)
        if (
            _height_mm(surface) < settings.halved_share * usual_mm
            and surface.lower_edge < settings.weak_plate
        ):
            top = float(np.median(surface.upper_mm))
            low = np.array([0.0, 0.0, top - usual_mm / 2])
            frame = replace(surface.frame, origin_lps_mm=surface.frame.to_lps_mm(low))
            longer = body_surface(scene, frame, usual_mm + 6.0)
            if (
                longer.lower_edge >= surface.lower_edge + settings.better_plate
                and _height_mm(longer) >= settings.halved_share * usual_mm
            ):
                body = _examined(longer, coarse, scene.volume, settings)
        mended.append(body)
    return mended[::-1]


def _height_mm(surface: BodySurface) -> float:
    return float(np.median(surface.upper_mm) - np.median(surface.lower_mm))


def _without_poor_ends(
    bodies: list[FoundBody], settings: SurfaceSettings
) -> list[FoundBody]:
    """Drop ends of the chain that are not bone or hardly in view."""

    def poor(body: FoundBody) -> bool:
        return (
            body.seen < settings.least_seen
            or body.surface.wall_edge < settings.least_wall
        )

    while bodies and poor(bodies[0]):
        bodies = bodies[1:]
    while bodies and poor(bodies[-1]):
        bodies = bodies[:-1]
    return bodies


def _with_sacrum(
    bodies: list[FoundBody],
    coarse: WorkingVolume,
    scene: BodyScene,
    settings: SurfaceSettings,
) -> list[FoundBody]:
    """Fit the first sacral segment under each of the lowest vertebrae.

    The highest fit with alae on both sides is the sacrum; what the chain of discs
    found inside it gives way. Otherwise the bodies stay as they were.
    """
    for k in range(min(settings.sacrum_below, len(bodies)) - 1, -1, -1):
        above = bodies[k].surface
        if bodies[k].seen < settings.least_seen:
            continue
        surface = sacral_surface(scene, above)
        # The alae stand half upright, between the endplate of S1 and L5.
        half = (surface.upper_mm - surface.lower_mm) / 2
        upright = replace(
            surface,
            frame=_halfway(surface.frame, above.frame),
            lower_mm=-half,
            upper_mm=half,
        )
        sacrum = replace(
            _examined(surface, coarse, scene.volume, settings),
            landmarks=level_landmarks(coarse, upright, settings.landmarks),
        )
        if (
            _ala(sacrum) >= settings.ala_above
            and surface.wall_edge >= settings.least_wall
            and sacrum.seen >= settings.least_seen
        ):
            return [sacrum, *bodies[k:]]
    return bodies


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
