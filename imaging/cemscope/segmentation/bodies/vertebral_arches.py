"""Posterior elements: which bone behind the bodies belongs to which vertebra.

Each arch grows from its own pedicles, which the bodies' outlines leave behind, and
from its own lamina; where two arches meet, at a facet joint, the darkest way between
them divides them. Ribs and iliac bone are cut off at a distance from the body.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.segmentation import watershed

from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.segmentation.bodies.body_surface import BodySurface
from cemscope.segmentation.canal.spine_axis import SpineAxis
from cemscope.segmentation.ct_grid import box_corners, voxel_box, voxel_slabs
from cemscope.segmentation.spine_working_volume import WorkingVolume
from cemscope.segmentation.worker_threads import thread_count
from cemscope.volume import BoolArray

PEDICLE_FLAG = 128
"""Added to an arch's number where it lies beside the canal: a screw there stands for
the pedicle that it replaces."""


PEDICLES_END_MM = 6.0
"""Pedicles end about here behind the canal's centre, in the articular pillar."""

CANAL_CORE_MM = 4.0
"""So near to its axis everything is canal."""

USUAL_DISC_MM = 8.0
"""Height of a disc between a body and its supposed neighbour."""

INNER_SHARE = 0.4
"""Pedicles lie no nearer to the midline than this share of the body's half width (0.5
or more in Panjabi 1991 and 1992, doi:10.1097/00007632-199108000-00006 and
-199203000-00010): what is dense there is cement in the canal."""

LAMINA_MM = (6.0, 22.0)
"""Laminae meet between these distances behind the canal's centre."""

LAMINA_HALF_WIDTH_MM = 9.0
"""Half the width in which only a vertebra's own lamina is found there."""

LAMINA_HEIGHT = (-0.1, 0.4)
"""Where it lies, in heights of the body from its lower endplate: it slants down over
the lower half of the body and the disc (Gray's Anatomy, 42nd ed., ch. 44)."""


@dataclass(frozen=True, slots=True)
class ArchSettings:
    """Tunables of the arches.

    Attributes
    ----------
    bone_above_hu : float
        Bone of the arch (after taming).
    soft_tissue_hu : float
        Round the arch: bone ends half way from it to the brightest value nearby.
    nearby_mm : float
        So far away at most.
    brightest_hu : float
        Ceiling of that value.
    marrow_gap_mm : float
        Marrow between two cortices this far apart belongs to the arch.
    largest_marrow_mm2 : float
        So does an axial island of marrow that cortex encloses, up to this area.
    beside_body_mm : float
        How far an arch reaches to the side, from the body's side (transverse
        processes); ribs go on.
    in_front_mm : float
        How far it reaches in front of the body's posterior wall.
    behind_mm : float
        Furthest distance behind the canal's centre (spinous processes).
    pedicle_width_mm : float
        Pedicles are looked for up to this distance from the midline.
    pedicle_depth_mm : float
        From the posterior wall backwards, the part that is certainly pedicle.
    """

    bone_above_hu: float = 180.0
    soft_tissue_hu: float = 50.0
    nearby_mm: float = 2.0
    brightest_hu: float = 900.0
    marrow_gap_mm: float = 4.0
    largest_marrow_mm2: float = 200.0
    beside_body_mm: float = 22.0
    in_front_mm: float = 1.0
    behind_mm: float = 62.0
    pedicle_width_mm: float = 24.0
    pedicle_depth_mm: float = 12.0


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """Bone near the spine, as points in the spine's own coordinates."""

    index: npt.NDArray[np.int64]
    points: FloatArray
    step: npt.NDArray[np.int64]
    posterior: FloatArray
    left: FloatArray

    def part(self, chosen: BoolArray) -> "_Candidates":
        return _Candidates(
            self.index[chosen],
            self.points[chosen],
            self.step[chosen],
            self.posterior[chosen],
            self.left[chosen],
        )


def arch_labels(
    volume: WorkingVolume,
    axis: SpineAxis,
    bodies: tuple[BodySurface, ...],
    settings: ArchSettings,
) -> npt.NDArray[np.uint8]:
    """Divide the bone behind the bodies among the vertebrae.

    Parameters
    ----------
    volume
        Working volume round the spine.
    axis
        The spine's own coordinates.
    bodies
        Outlines from the lowest to the highest.
    settings
        Tunables.

    Returns
    -------
    ndarray of uint8, on the working grid
        1 for the lowest vertebra's arch, 2 for the next, ...; 0 elsewhere. With
        `PEDICLE_FLAG` in the part beside the canal.
    """
    labels = np.zeros(volume.geometry.shape, np.uint8)
    bone = (volume.hu > settings.bone_above_hu) & (volume.inside > 0.5)
    bone &= _slices_of(volume, bodies)[:, None, None]
    found = _near_spine(volume, axis, bone, settings)
    if not len(found.index):
        return labels
    found = found.part(_behind_bodies(found, bodies, settings))
    box = _box_of(found.index, labels.shape)
    if box is None:
        return labels
    start = np.array([side.start for side in box])
    mask = np.zeros([side.stop - side.start for side in box], np.bool_)
    mask[tuple((found.index - start).T)] = True
    markers = np.zeros(mask.shape, np.int32)
    for number, body in enumerate((*bodies, *_beyond(bodies)), start=1):
        seeds = found.index[_seeds(found, axis, body, settings)] - start
        markers[tuple(seeds.T)] = number
    if not markers.any():
        return labels
    part = replace(volume, hu=volume.hu[box], geometry=volume.geometry.crop(box))
    mask = _with_marrow(mask, part.geometry, axis, bodies, settings)
    grown = _near_spine(part, axis, mask, settings)
    kept = _behind_bodies(grown, bodies, settings)
    kept &= np.hypot(grown.left, grown.posterior) > CANAL_CORE_MM
    mask[tuple(grown.index[~kept].T)] = False
    markers[~mask] = 0
    divided = watershed(  # type: ignore[no-untyped-call]  # no annotations
        -volume.hu[box], markers, mask=mask
    ).astype(np.uint8)
    divided[divided > len(bodies)] = 0
    pedicles = grown.index[kept & (grown.posterior <= PEDICLES_END_MM)]
    flagged = np.zeros(mask.shape, np.bool_)
    flagged[tuple(pedicles.T)] = True
    divided[flagged & (divided > 0)] |= PEDICLE_FLAG
    labels[box] = divided
    return labels


def _beyond(bodies: tuple[BodySurface, ...]) -> list[BodySurface]:
    """Vertebrae that must follow at both ends, so that their arches are not taken."""
    supposed = []
    for body, direction in ((bodies[0], -1.0), (bodies[-1], 1.0)):
        height = float(np.median(body.upper_mm) - np.median(body.lower_mm))
        shift = direction * (height + USUAL_DISC_MM) * body.frame.superior
        origin = body.frame.origin_lps_mm + shift
        supposed.append(replace(body, frame=replace(body.frame, origin_lps_mm=origin)))
    return supposed


def _slices_of(volume: WorkingVolume, bodies: tuple[BodySurface, ...]) -> BoolArray:
    """Slices of the grid near a body: only that part of the spine is divided."""
    centres = np.array([body.frame.origin_lps_mm for body in bodies])
    z = volume.geometry.index_to_lps(
        np.column_stack([np.arange(len(volume.hu)), *np.zeros((2, len(volume.hu)))])
    )[:, 2]
    near: BoolArray = (z >= centres[:, 2].min() - 40.0) & (
        z <= centres[:, 2].max() + 40.0
    )
    return near


def _near_spine(
    volume: WorkingVolume, axis: SpineAxis, mask: BoolArray, settings: ArchSettings
) -> _Candidates:
    """Voxels of a mask that an arch may reach."""
    index = np.argwhere(mask)
    points = volume.geometry.index_to_lps(index)
    reach = float(np.hypot(settings.behind_mm, 50.0))
    distance, step = cKDTree(axis.points_lps_mm).query(
        points, distance_upper_bound=reach, workers=thread_count()
    )
    close = np.isfinite(distance)
    index, points, step = index[close], points[close], step[close]
    away = points - axis.points_lps_mm[step]
    posterior = np.einsum("ij,ij->i", away, axis.posterior[step])
    left = np.einsum("ij,ij->i", away, axis.left[step])
    found = _Candidates(index, points, step.astype(np.int64), posterior, left)
    return found.part(
        (posterior <= settings.behind_mm) & (posterior >= axis.wall_mm[step] - 6.0)
    )


def _behind_bodies(
    found: _Candidates, bodies: tuple[BodySurface, ...], settings: ArchSettings
) -> BoolArray:
    """Points outside the bodies, behind the nearest one and not too far aside."""
    kept = np.ones(len(found.points), np.bool_)
    nearest = np.full(len(kept), np.inf)
    half_width = np.zeros(len(kept))
    behind = np.zeros(len(kept))
    inner_mm = np.zeros(len(kept))
    for body in bodies:
        local = body.frame.to_local_mm(found.points)
        low, high = float(np.median(body.lower_mm)), float(np.median(body.upper_mm))
        # Its arch reaches from the pedicles half a body's height below the body.
        off = np.abs(local[:, 2] - (low + high) / 2 + 0.25 * (high - low))
        closer = off < nearest
        nearest[closer] = off[closer]
        side, wall = _body_sides(body)
        half_width[closer] = np.abs(local[closer, 0]) - side
        behind[closer] = local[closer, 1] - wall
        inner_mm[closer] = INNER_SHARE * side
        close = (np.abs(local[:, 2]) <= 30.0) & (local[:, 1] <= wall + 8.0)
        kept[close] &= body.depth_mm(local[close]) <= 0.0
    kept &= half_width <= settings.beside_body_mm
    kept &= behind >= -settings.in_front_mm
    kept &= (np.abs(found.left) >= inner_mm) | (found.posterior >= 0.0)
    return kept


def _body_sides(body: BodySurface) -> tuple[float, float]:
    """Mean distance of a body's sides, and of its posterior wall, from its axis."""
    level = np.full(3, 0.5)
    angles = np.array([0.0, np.pi, np.pi / 2])
    radii = body.wall_at(angles, level)
    return float(radii[:2].mean()), float(radii[2])


def _seeds(
    found: _Candidates, axis: SpineAxis, body: BodySurface, settings: ArchSettings
) -> BoolArray:
    """Points that can only be a vertebra's own pedicles and lamina."""
    local = body.frame.to_local_mm(found.points)
    low, high = float(np.median(body.lower_mm)), float(np.median(body.upper_mm))
    level = (local[:, 2] - low) / (high - low)
    wall = axis.wall_mm[found.step]
    aside = np.abs(found.left)
    pedicle = (level >= 0.4) & (local[:, 2] <= high - 1.0)
    inner_mm = max(5.0, INNER_SHARE * _body_sides(body)[0])
    pedicle &= (aside <= settings.pedicle_width_mm) & (aside >= inner_mm)
    pedicle &= found.posterior <= wall + settings.pedicle_depth_mm
    lamina = (level >= LAMINA_HEIGHT[0]) & (level <= LAMINA_HEIGHT[1])
    lamina &= aside <= LAMINA_HALF_WIDTH_MM
    lamina &= found.posterior >= LAMINA_MM[0]
    lamina &= found.posterior <= LAMINA_MM[1]
    return pedicle | lamina


def _box_of(
    index: npt.NDArray[np.int64], shape: tuple[int, ...]
) -> tuple[slice, slice, slice] | None:
    """Smallest box round voxels, with one more on each side."""
    if not len(index):
        return None
    low = np.maximum(index.min(axis=0) - 1, 0)
    high = np.minimum(index.max(axis=0) + 2, shape)
    return (
        slice(int(low[0]), int(high[0])),
        slice(int(low[1]), int(high[1])),
        slice(int(low[2]), int(high[2])),
    )


def _with_marrow(
    mask: BoolArray,
    geometry: VoxelGeometry,
    axis: SpineAxis,
    bodies: tuple[BodySurface, ...],
    settings: ArchSettings,
) -> BoolArray:
    """Close a mask over gaps by a box, and fill small islands in axial slices.

    The marrow of a pedicle is closed in front by the body; the canal is no island.
    """
    spacing = geometry.spacing_mm[0]
    size = 2 * round(settings.marrow_gap_mm / 2 / spacing) + 1
    padded = np.pad(mask, size).view(np.uint8)
    closed = ndimage.minimum_filter(ndimage.maximum_filter(padded, size), size)
    inner = (slice(size, -size),) * 3
    filled: BoolArray = mask | closed[inner].view(np.bool_)
    walls = filled.copy()
    for body in bodies:
        _add_body(walls, geometry, body)
    canal = np.rint(geometry.lps_to_index(axis.points_lps_mm)).astype(int)
    canal = canal[((canal >= 0) & (canal < mask.shape)).all(axis=1)]
    largest = settings.largest_marrow_mm2 / spacing**2
    for k, plane in enumerate(filled):
        islands, count = ndimage.label(~walls[k])
        if count > 1:
            small = np.bincount(islands.ravel()) <= largest
            small[0] = False
            for side in (islands[0], islands[-1], islands[:, 0], islands[:, -1]):
                small[side] = False
            here = canal[canal[:, 0] == k]
            small[islands[here[:, 1], here[:, 2]]] = False
            plane |= small[islands]
    return filled


def _add_body(mask: BoolArray, geometry: VoxelGeometry, body: BodySurface) -> None:
    """Set the voxels of a body."""
    frame = body.frame
    axes = np.array([frame.left, frame.posterior, frame.superior])
    corners = box_corners(frame.origin_lps_mm, axes, body.reach_mm())
    box = voxel_box(geometry, corners)
    if box is None:
        return
    for part, points in voxel_slabs(geometry, box):
        mask[part] |= body.depth_mm(frame.to_local_mm(points)) > 0.0
