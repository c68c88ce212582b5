"""Cut the outline of a whole vertebra into its body and its arch.

The cut runs where the body would end if it had no pedicles: the posterior wall is
measured behind the midline, where the canal lies free, and carried on to both sides.
All of it happens in the vertebra's own frame, never along the axes of the scanner: a
tilted vertebra that is cut along scanner axes loses a fifth of its overlap.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.errors import SegmentationError
from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.segmentation.bodies.posterior_wall import fit_wall, own_grid, side_limits
from cemscope.segmentation.bodies.vertebra_frame import vertebra_frame
from cemscope.segmentation.canal.canal_hole import (
    PIXEL_MM,
    CanalHole,
    find_canal_hole,
    fine_points,
)
from cemscope.spine import VertebraFrame
from cemscope.volume import BoolArray

MIN_BODY_RADIUS_MM = 7.0
"""A piece of vertebra without a canal and without a disc of this radius holds no body:
the bodies of adults have 8 mm (C7) to 21 mm (L5), arches less than 6 mm."""

_CLEAR_OFFSET_MM = 4.0
"""A centroid nearer to the body's axis than this does not tell where the arch is."""

_MAX_TWIST_DEG = 35.0
"""Neighbouring vertebrae are turned against each other by less; a damaged outline
whose canal seems to lie further round is not believed."""

_SECOND_BODY = 0.4
"""A second piece in front of the canal that holds this share of the first one is
another body; fragments of a burst body are smaller or lie beside the first."""

_TALL_FACTOR = 1.3
"""A body taller than this times its mean width is two: bodies of adults are 0.6 to 0.95
times as tall as wide (Panjabi 1991, doi:10.1097/00007632-199108000-00006, and 1992,
doi:10.1097/00007632-199203000-00010)."""

_ROUNDS = 2
"""The first cut gives the frame in which the second one is made."""


@dataclass(frozen=True, slots=True)
class CutSettings:
    """Tunables of the cut between body and arch.

    Attributes
    ----------
    side_margin_mm
        How far the body may reach sideways beyond its front half; what lies further
        out is a transverse process or a rib.
    canal_half_width_mm
        Half-width of the canal where the arch is open (after laminectomy).
    min_body_ml
        A smaller body is no vertebra.
    """

    side_margin_mm: float = 2.0
    canal_half_width_mm: float = 7.0
    min_body_ml: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class VertebraCut:
    """A vertebra in two parts.

    Attributes
    ----------
    body : ndarray of bool
        On the grid of the input; the arch is the rest.
    frame : VertebraFrame
        The vertebra's own axes.
    hole : CanalHole
        View along the canal; its hole is empty where the arch is open.
    """

    body: BoolArray
    frame: VertebraFrame
    hole: CanalHole


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What is known about a vertebra from its neighbours.

    Attributes
    ----------
    above_lps_mm, below_lps_mm : ndarray or None
        Centroids of the whole neighbouring vertebrae.
    posterior : ndarray or None
        Direction from body to canal in the nearest vertebra that shows its canal.
    """

    above_lps_mm: FloatArray | None = None
    below_lps_mm: FloatArray | None = None
    posterior: FloatArray | None = None


def cut_vertebra(
    mask: BoolArray,
    geometry: VoxelGeometry,
    surroundings: Surroundings,
    settings: CutSettings | None = None,
) -> VertebraCut:
    """Cut a whole vertebra into body and arch.

    Parameters
    ----------
    mask : ndarray of bool, shape (slices, rows, columns)
        A crop around one vertebra.
    geometry
        Of the crop.
    surroundings
        Centroids of its neighbours, as far as there are any.
    settings
        Tunables.

    Raises
    ------
    SegmentationError
        If no body is left after the cut, or two are.
    """
    settings = settings or CutSettings()
    points = geometry.index_to_lps(np.argwhere(mask))
    hole = canal_of_vertebra(mask, geometry, surroundings)
    if not hole.hole.any() and hole.core_radius_mm < MIN_BODY_RADIUS_MM:
        raise SegmentationError(
            f"no vertebral body in a label of {_volume_ml(mask, geometry):.1f} mL: its "
            f"thickest part is {2 * hole.core_radius_mm:.0f} mm wide"
        )
    behind = _point_behind(hole, points, surroundings)
    frame = _first_frame(hole, points, behind)
    body = mask
    for _ in range(_ROUNDS):
        in_front = _cut_in_frame(mask, geometry, frame, hole, settings)
        _require_one_piece(in_front, geometry, hole.axis)
        body = _largest_part(in_front)
        volume_ml = _volume_ml(body, geometry)
        if volume_ml < settings.min_body_ml:
            raise SegmentationError(
                f"no vertebral body in a label of {_volume_ml(mask, geometry):.1f} mL: "
                f"{volume_ml:.2f} mL are left in front of the canal"
            )
        body_points = geometry.index_to_lps(np.argwhere(body))
        frame = frame_along(body_points, hole.axis, behind)
    body = _with_loose_corners(body, mask)
    body_points = geometry.index_to_lps(np.argwhere(body))
    return VertebraCut(body, frame_along(body_points, hole.axis, behind), hole)


def frame_of_body(
    body: BoolArray, arch: BoolArray, geometry: VoxelGeometry, around: Surroundings
) -> tuple[VertebraFrame, CanalHole]:
    """Frame and canal of a vertebra whose body and arch are already apart."""
    whole = body | arch
    hole = canal_of_vertebra(whole, geometry, around)
    points = geometry.index_to_lps(np.argwhere(body))
    behind = hole.canal_lps_mm
    if behind is None and arch.any():
        behind = geometry.index_to_lps(np.argwhere(arch)).mean(axis=0)
    if behind is None:
        behind = points.mean(axis=0) + 20.0 * _posterior_hint(around)
    return frame_along(points, hole.axis, behind), hole


def frame_along(
    body_points: FloatArray, axis: FloatArray, behind_lps_mm: FloatArray
) -> VertebraFrame:
    """Frame of a body, searched from a known axis."""
    centre = body_points.mean(axis=0)
    return vertebra_frame(
        body_points, behind_lps_mm, centre + 10.0 * axis, centre - 10.0 * axis
    )


def canal_of_vertebra(
    mask: BoolArray, geometry: VoxelGeometry, around: Surroundings
) -> CanalHole:
    """Look along the canal of a whole vertebra."""
    points = fine_points(mask, geometry)
    start, trusted = _start_axis(points.mean(axis=0), around)
    return find_canal_hole(points, start, start_is_trusted=trusted)


def _volume_ml(mask: BoolArray, geometry: VoxelGeometry) -> float:
    return float(mask.sum()) * geometry.voxel_volume_mm3 / 1000.0


def _posterior_hint(around: Surroundings) -> FloatArray:
    """Direction to the back from the neighbours, or else the patient's back."""
    back = np.array([0.0, 1.0, 0.0])
    return back if around.posterior is None else around.posterior


def _point_behind(
    hole: CanalHole, points: FloatArray, around: Surroundings
) -> FloatArray:
    """Find a point behind the body: the canal, or what stands in for it."""
    canal = hole.canal_lps_mm
    if canal is not None and _agrees(canal - hole.core_lps_mm, hole.axis, around):
        return canal
    if around.posterior is not None:
        point: FloatArray = hole.core_lps_mm + 20.0 * around.posterior
        return point
    # An open arch still lies behind the body, unless the image holds the body alone.
    offset = points.mean(axis=0) - hole.core_lps_mm
    offset -= (offset @ hole.axis) * hole.axis
    if float(np.linalg.norm(offset)) < _CLEAR_OFFSET_MM:
        offset = _posterior_hint(around)
    towards: FloatArray = hole.core_lps_mm + 20.0 * offset / np.linalg.norm(offset)
    return towards


def _agrees(back: FloatArray, axis: FloatArray, around: Surroundings) -> bool:
    """Tell whether a direction to the back fits the neighbours' (or has none)."""
    if around.posterior is None:
        return True
    own = back - (back @ axis) * axis
    cosine = float(own @ around.posterior) / max(float(np.linalg.norm(own)), 1e-9)
    return cosine > float(np.cos(np.radians(_MAX_TWIST_DEG)))


def _with_loose_corners(body: BoolArray, mask: BoolArray) -> BoolArray:
    """Give bits that touch the body only (osteophytes) back to it."""
    parts, count = ndimage.label(mask & ~body)
    if count <= 1:
        return body
    sizes = np.bincount(parts.ravel())
    rim = ndimage.binary_dilation(body)
    touching = np.unique(parts[rim & (parts > 0)])
    small = [n for n in touching if sizes[n] < 0.02 * body.sum()]
    joined: BoolArray = body | np.isin(parts, small)
    return joined


def _start_axis(
    centre: FloatArray, surroundings: Surroundings
) -> tuple[FloatArray, bool]:
    above = surroundings.above_lps_mm
    below = surroundings.below_lps_mm
    if above is None and below is None:
        return np.array([0.0, 0.0, 1.0]), False
    axis = (centre if above is None else above) - (centre if below is None else below)
    length = float(np.linalg.norm(axis))
    if length < 1.0:
        return np.array([0.0, 0.0, 1.0]), False
    return axis / length, True


def _first_frame(
    hole: CanalHole, points: FloatArray, behind: FloatArray
) -> VertebraFrame:
    """Frame from the view along the canal: the body is the largest disc of shadow."""
    axis = hole.axis
    core = hole.core_lps_mm
    posterior = behind - core
    posterior = posterior - (posterior @ axis) * axis
    posterior /= max(float(np.linalg.norm(posterior)), 1e-9)
    relative = points - core
    across = relative - np.outer(relative @ axis, axis)
    near = np.linalg.norm(across, axis=1) < 0.6 * hole.core_radius_mm
    height = relative[near] @ axis
    middle = 0.0 if not near.any() else float((height.min() + height.max()) / 2)
    return VertebraFrame(
        core + middle * axis, np.cross(posterior, axis), posterior, axis
    )


def _cut_in_frame(
    mask: BoolArray,
    geometry: VoxelGeometry,
    frame: VertebraFrame,
    hole: CanalHole,
    settings: CutSettings,
) -> BoolArray:
    indices = np.argwhere(mask)
    local = frame.to_local_mm(geometry.index_to_lps(indices))
    grid = own_grid(mask, geometry, frame, local)
    middle_mm, half_width_mm = _canal_width(hole, frame, settings)
    wall = fit_wall(grid, middle_mm, half_width_mm)
    sideways = np.clip(local[:, 0] - middle_mm, -half_width_mm, half_width_mm)
    in_front = local[:, 1] <= wall.at(sideways, local[:, 2])
    low, high = side_limits(grid, settings.side_margin_mm)
    level = np.interp(local[:, 2], grid.superior_mm, np.arange(len(grid.superior_mm)))
    row = np.rint(level).astype(np.intp)
    in_front &= (local[:, 0] >= low[row]) & (local[:, 0] <= high[row])
    body = np.zeros_like(mask)
    body[tuple(indices[in_front].T)] = True
    return body


def _canal_width(
    hole: CanalHole, frame: VertebraFrame, settings: CutSettings
) -> tuple[float, float]:
    """Middle and half-width of the canal along 'left', mm."""
    if not hole.hole.any():
        return 0.0, settings.canal_half_width_mm
    pixels = np.argwhere(hole.hole) * PIXEL_MM
    points = (
        hole.origin_lps_mm
        + np.outer(pixels[:, 0], hole.first)
        + np.outer(pixels[:, 1], hole.second)
    )
    sideways = frame.to_local_mm(points)[:, 0]
    low, high = np.percentile(sideways, [5, 95])
    return float(low + high) / 2, max(float(high - low) / 2, 3.0)


def _require_one_piece(
    in_front: BoolArray, geometry: VoxelGeometry, axis: FloatArray
) -> None:
    """Refuse a label that holds the bodies of two vertebrae."""
    parts, count = ndimage.label(in_front)
    if count < 2:
        return
    sizes = np.bincount(parts.ravel())[1:]
    first, second = (int(n) + 1 for n in np.argsort(sizes)[::-1][:2])
    if sizes[second - 1] < _SECOND_BODY * sizes[first - 1]:
        return
    points = [
        geometry.index_to_lps(np.argwhere(parts == n)) @ axis for n in (first, second)
    ]
    apart_mm = abs(float(points[0].mean() - points[1].mean()))
    if apart_mm > 0.7 * float(np.ptp(points[0])):
        volumes = " and ".join(
            f"{_volume_ml(parts == n, geometry):.1f}" for n in (first, second)
        )
        raise SegmentationError(
            f"it holds two bodies ({volumes} mL, {apart_mm:.0f} mm apart)"
        )


def require_body_shape(body_points: FloatArray, frame: VertebraFrame) -> None:
    """Refuse a body that is far taller than wide: two vertebrae and their disc.

    Raises
    ------
    SegmentationError
        With height and width in mm.
    """
    local = frame.to_local_mm(body_points)
    low, high = np.percentile(local, [1.0, 99.0], axis=0)
    width, depth, height = high - low
    mean_width = float(np.sqrt(width * depth))
    if float(height) > _TALL_FACTOR * mean_width:
        raise SegmentationError(
            f"its body is {height:.0f} mm tall and {mean_width:.0f} mm wide, as two "
            "vertebrae under one label are"
        )


def _largest_part(mask: BoolArray) -> BoolArray:
    parts, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(parts.ravel())[1:]
    largest: BoolArray = parts == int(sizes.argmax()) + 1
    return largest
