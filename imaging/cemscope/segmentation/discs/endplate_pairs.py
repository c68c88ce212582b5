"""Pairs of endplates: bone ends below a plane and begins again above it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.canal.spine_axis import SpineAxis
from cemscope.segmentation.discs.disc import BODY_DEPTH_MM
from cemscope.segmentation.discs.tilted_columns import TiltedColumns
from cemscope.segmentation.spine_working_volume import WorkingArray, WorkingVolume

DEPTHS_MM = np.arange(3.0, 28.0, 2.0)
"""Columns of a plane, in front of the posterior wall."""

SIDES_MM = np.arange(-15.0, 16.0, 2.0)
"""Columns of a plane, to the left."""

HALF_DEPTH_MM, HALF_WIDTH_MM = 13.5, 15.8
"""The columns within this ellipse are used: well inside the rim of a T12 endplate
(Panjabi 1991, doi:10.1097/00007632-199108000-00005: 33 mm deep, 46 mm wide)."""

_RISE = np.array([1.0, 2.0, 1.0, 0.0, -1.0, -2.0, -1.0]) / 4.0
"""Convolution that is positive where it is brighter above, over 3 mm on either side."""


@dataclass(frozen=True, slots=True)
class PlateSettings:
    """Tunables of the pairs of endplates.

    Attributes
    ----------
    thinnest_mm, thickest_mm : float
        Distance between the two endplates of a disc.
    full_edge_hu : float
        Contrast of an endplate that counts fully.
    least_seen : float
        Share of a quarter of a plane that must be in view, free of metal and cement,
        to judge it.
    implant_share : float
        From this content (0-1) on, a voxel counts as metal or cement.
    half_wedges : tuple of int
        Half the angle between the two plates, in steps of the tilts; a disc opens to
        the front, that of L5/S1 by 20 degrees and more.
    wedge_price : float
        Likeness lost by 16 degrees between the plates.
    thickest_ridge_mm : float
        Thickness of two plates and a thin disc between them that melt into one.
    ridge_share : float
        Likeness of such a ridge; an endplate or a dense band is one as well.
    """

    thinnest_mm: float = 3.0
    thickest_mm: float = 14.0
    full_edge_hu: float = 120.0
    least_seen: float = 0.3
    implant_share: float = 0.3
    half_wedges: tuple[int, ...] = (-1, 0, 1, 2, 4)
    wedge_price: float = 0.03
    thickest_ridge_mm: float = 7.0
    ridge_share: float = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class EndplatePairs:
    """What speaks for two endplates about each plane.

    Attributes
    ----------
    likeness : ndarray, shape (sagittal, lateral, steps)
        Two plates with something darker between them, 0-1.
    thickness_mm : ndarray, same shape
        Distance of these plates.
    ridge : ndarray, same shape
        Two plates that melt into one bright ridge, as about a thin thoracic disc in
        slices of 2-3 mm; 0 to `ridge_share`.
    seen : ndarray, shape (steps,)
        Share of the untilted plane that is in view and free of metal and cement.
    """

    likeness: WorkingArray
    thickness_mm: WorkingArray
    ridge: WorkingArray
    seen: FloatArray


def endplate_pairs(
    axis: SpineAxis,
    volume: WorkingVolume,
    implants: WorkingVolume | None,
    tilts_deg: tuple[FloatArray, FloatArray],
    settings: PlateSettings,
) -> EndplatePairs:
    """Judge planes of all tilts at all steps.

    Parameters
    ----------
    axis
        The spine's axis.
    volume
        Working volume, cut at the level of cortex.
    implants
        Cement and metal (0-1); None if there are none.
    tilts_deg
        Sagittal and lateral tilts.
    settings
        Tunables.
    """
    points = (
        axis.points_lps_mm
        + axis.posterior * (axis.wall_mm - DEPTHS_MM[:, None])[..., None]
        + (axis.left * SIDES_MM[:, None, None])[:, None]
    )
    values = volume.sample(points)
    known = volume.sample_inside(points) > 0.5
    if implants is not None:
        hidden = implants.sample(points) > settings.implant_share
        known &= ~ndimage.maximum_filter1d(hidden, 3, axis=-1)
    depth, side = np.meshgrid(DEPTHS_MM, SIDES_MM)
    within = np.hypot((depth - BODY_DEPTH_MM) / HALF_DEPTH_MM, side / HALF_WIDTH_MM)
    used = within <= 1.0
    weight = ndimage.minimum_filter1d(known.astype(np.float32), 5, axis=-1)
    weight *= used[..., None]
    rise = ndimage.convolve1d(values, _RISE, axis=-1, mode="nearest")
    rise = np.clip(rise / settings.full_edge_hu, -1.0, 1.0) * weight
    mean, share = _quarters(np.stack([rise, weight]), used, tilts_deg)
    # What is hardly seen has no vote.
    share = np.where(share < settings.least_seen, np.float32(0), share)
    likeness, thickness = _best_pairs(mean, share, settings)
    ridge = _best_ridge(mean, share, settings)
    return EndplatePairs(likeness, thickness, ridge, known[used].mean(axis=0))


def _quarters(
    columns: WorkingArray,
    used: npt.NDArray[np.bool_],
    tilts_deg: tuple[FloatArray, FloatArray],
) -> tuple[WorkingArray, WorkingArray]:
    """Mean rise and known share per quarter of tilted planes.

    Columns have the shape (2, sides, depths, steps); the results (4, sagittal,
    lateral, steps), with the quarters front right, front left, back right, back left.
    """
    count = columns.shape[-1]
    front, left = DEPTHS_MM > BODY_DEPTH_MM, SIDES_MM > 0.0
    slopes = [np.tan(np.radians(tilts))[:, None] for tilts in tilts_deg]
    forwards = TiltedColumns(slopes[0] * (DEPTHS_MM - BODY_DEPTH_MM), count)
    sideways = TiltedColumns(slopes[1] * SIDES_MM, count)
    # (2, sides, front or back, sagittal, steps) -> (2, front or back, sagittal, sides)
    halves = forwards.sums(columns, (front, ~front)).transpose(0, 2, 3, 1, 4)
    shape = (2, 4, len(tilts_deg[0]), len(tilts_deg[1]), count)
    total = np.empty(shape, np.float32)
    for k in range(len(tilts_deg[0])):
        sums = sideways.sums(halves[:, :, k], (~left, left))
        total[:, :, k] = sums.reshape(2, 4, len(tilts_deg[1]), count)
    full = [used[s][:, f].sum() for f in (front, ~front) for s in (~left, left)]
    whole = np.array(full, np.float32)[:, None, None, None]
    return total[0] / np.maximum(total[1], 0.3 * whole), total[1] / whole


def _best_pairs(
    rise: WorkingArray, share: WorkingArray, settings: PlateSettings
) -> tuple[WorkingArray, WorkingArray]:
    """Best pair of plates about each plane and its thickness, over all wedges.

    In every quarter both plates must be there (the weaker counts); they may lie 1 mm
    off, since endplates are hollow.
    """
    above = ndimage.maximum_filter1d(rise, 3, axis=-1)
    below = ndimage.maximum_filter1d(-rise, 3, axis=-1)
    best = np.zeros(rise.shape[1:], np.float32)
    thickness = np.zeros(rise.shape[1:], np.float32)
    low = max(1, round(settings.thinnest_mm / 2))
    for turn in settings.half_wedges:
        price = np.float32(settings.wedge_price * (turn / 2.0) ** 2)
        # The disc opens to the front: the lower plate falls, the upper one rises.
        lower, lower_share = _turned(below, -turn), _turned(share, -turn)
        upper, upper_share = _turned(above, turn), _turned(share, turn)
        for half in range(low, round(settings.thickest_mm / 2) + 1):
            under, over = slice(None, -2 * half), slice(2 * half, None)
            likeness = _agreed(
                np.minimum(lower[..., under], upper[..., over]),
                np.minimum(lower_share[..., under], upper_share[..., over]),
                settings,
            )
            likeness -= price
            inner = best[..., half:-half]
            better = likeness > inner
            inner[better] = likeness[better]
            thickness[..., half:-half][better] = 2.0 * half
    return best, thickness


def _best_ridge(
    rise: WorkingArray, share: WorkingArray, settings: PlateSettings
) -> WorkingArray:
    """Best bright ridge about each plane."""
    above = ndimage.maximum_filter1d(-rise, 3, axis=-1)
    below = ndimage.maximum_filter1d(rise, 3, axis=-1)
    best = np.zeros(rise.shape[1:], np.float32)
    for half in range(1, round(settings.thickest_ridge_mm / 2) + 1):
        under, over = slice(None, -2 * half), slice(2 * half, None)
        likeness = _agreed(
            np.minimum(below[..., under], above[..., over]),
            np.minimum(share[..., under], share[..., over]),
            settings,
        )
        inner = best[..., half:-half]
        np.maximum(inner, likeness, out=inner)
    return np.asarray(settings.ridge_share * best, np.float32)


def _turned(planes: WorkingArray, turn: int) -> WorkingArray:
    """Planes of a sagittal tilt (axis 1) some steps further; 0 beyond the largest."""
    if turn == 0:
        return planes
    result = np.zeros_like(planes)
    if turn > 0:
        result[:, :-turn] = planes[:, turn:]
    else:
        result[:, -turn:] = planes[:, :turn]
    return result


def _agreed(
    plate: WorkingArray, known: WorkingArray, settings: PlateSettings
) -> WorkingArray:
    """Mean of the quarters, pulled down where two halves disagree.

    A screw or a vein disturbs one quarter, a fracture line the front: the halves, left
    and right, front and back, must agree.
    """
    sums = plate * known
    front, back = (
        (sums[0] + sums[1], known[0] + known[1]),
        (
            sums[2] + sums[3],
            known[2] + known[3],
        ),
    )
    right, left = (
        (sums[0] + sums[2], known[0] + known[2]),
        (
            sums[1] + sums[3],
            known[1] + known[3],
        ),
    )
    weight = front[1] + back[1]
    mean = (front[0] + back[0]) / np.maximum(weight, 1.0)
    result = 0.5 * mean
    for one, other in ((front, back), (right, left)):
        weaker = np.minimum(
            one[0] / np.maximum(one[1], 0.5), other[0] / np.maximum(other[1], 0.5)
        )
        judged = np.minimum(one[1], other[1]) > 0.5
        result += 0.25 * np.where(judged, weaker, mean)
    enough = weight >= 4 * settings.least_seen
    agreed: WorkingArray = np.where(enough, result, np.float32(0))
    return agreed
