"""Where the discs cross the straightened spine.

Three signs are joined: the dark band between two bright endplates, the pedicles (a
bridge of bone to the arch in the upper half of each vertebra, none over the disc),
and the even spacing of neighbours. The pedicles matter most: without them a lumbar
body is easily halved at its basivertebral vein, a fracture line or a screw.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.spine_axis import SpineAxis
from cemscope.segmentation.spine_working_volume import WorkingArray, WorkingVolume

BODY_DEPTH_MM = 15.0
"""From the posterior wall to the body's axis; half of a lumbar body of 30-35 mm."""


TILT_PRICE = 0.06
"""Likeness lost by a tilt of 30 degrees (sagittal) or 15 degrees (lateral)."""


@dataclass(frozen=True, slots=True)
class DiscSettings:
    """Tunables of the search for discs.

    Attributes
    ----------
    largest_sagittal_tilt_deg, largest_lateral_tilt_deg, tilt_step_deg : float
        Tilts of a disc against the canal that are tried.
    thinnest_mm, thickest_mm : float
        Distance between the two bright endplates of a disc.
    half_contrast_hu : float
        A disc this much darker than both endplates has a likeness of one half.
    bridge_foramen_hu, bridge_pedicle_hu : float
        Least value on the best way from body to arch: at or below the first it is
        a foramen, at or above the second a pedicle.
    lowest_vertebra_mm, highest_vertebra_mm : float
        Distance between neighbouring discs.
    disc_weight, pedicle_weight : float
        Shares of the two signs in the score of a chain.
    uneven_price : float
        Score lost per unit of the squared logarithm of neighbouring spacings' ratio.
    disc_toll : float
        Score that each disc must earn to be worth having.
    blocked_price : float
        Score lost by a disc between two full pedicles.
    border_mm : float
        A disc nearer than this to the border of the scan may be that border.
    real_disc : float
        Likeness from which it is taken for a disc all the same.
    least_cut_mm : float
        A cut vertebra of which less is seen is left out.
    """

    largest_sagittal_tilt_deg: float = 40.0
    largest_lateral_tilt_deg: float = 15.0
    tilt_step_deg: float = 5.0
    thinnest_mm: float = 3.0
    thickest_mm: float = 14.0
    half_contrast_hu: float = 120.0
    bridge_foramen_hu: float = 20.0
    bridge_pedicle_hu: float = 170.0
    lowest_vertebra_mm: float = 14.0
    highest_vertebra_mm: float = 46.0
    disc_weight: float = 1.6
    pedicle_weight: float = 2.0
    uneven_price: float = 6.0
    disc_toll: float = 0.3
    blocked_price: float = 1.5
    border_mm: float = 8.0
    real_disc: float = 0.35
    least_cut_mm: float = 8.0


@dataclass(frozen=True, slots=True)
class Disc:
    """A disc across the straightened spine.

    Attributes
    ----------
    step : float
        Position along the axis where the disc meets the bodies' posterior wall; the
        neural foramina lie there too, however much the disc is tilted.
    sagittal_tilt_deg : float
        Positive where the disc rises to the front.
    lateral_tilt_deg : float
        Positive where the disc rises to the left.
    likeness : float
        0 (only the neighbours suggest it) to 1 (dark band between bright plates).
    supposed : bool
        Whether it lies outside the field of view, or beyond the last pedicles, and
        stands only for the end of a vertebra that is cut.
    """

    step: float
    sagittal_tilt_deg: float
    lateral_tilt_deg: float
    likeness: float
    supposed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class DiscEvidence:
    """Signs of discs and pedicles per step along the axis.

    Attributes
    ----------
    likeness : ndarray, shape (steps,)
        Disc at its best tilt, 0 ... 1.
    tilts_deg : ndarray, shape (steps, 2)
        That tilt (sagittal, lateral).
    pedicle : ndarray, shape (steps,)
        0 (foramen) to 1 (pedicles on both sides).
    inside : ndarray of bool, shape (steps,)
        Whether the scan covers the body's middle here.
    """

    likeness: FloatArray
    tilts_deg: FloatArray
    pedicle: FloatArray
    inside: np.ndarray[tuple[int], np.dtype[np.bool_]]


def disc_evidence(
    axis: SpineAxis, volume: WorkingVolume, settings: DiscSettings
) -> DiscEvidence:
    """Measure the signs of discs and pedicles along the spine."""
    posterior_mm = np.arange(-60.0, 31.0)
    left_mm = np.arange(-32.0, 33.0)
    straight = axis.straighten(volume, posterior_mm, left_mm)
    likeness, tilts = _dark_bands(straight, axis, settings)
    pedicle = _bone_bridges(straight, axis, settings)
    centre = (
        axis.points_lps_mm + axis.posterior * (axis.wall_mm - BODY_DEPTH_MM)[:, None]
    )
    inside = volume.sample_inside(centre) > 0.5
    likeness[~inside] = 0.0
    return DiscEvidence(likeness, tilts, pedicle, inside)


def _dark_bands(
    straight: WorkingArray, axis: SpineAxis, settings: DiscSettings
) -> tuple[FloatArray, FloatArray]:
    """Best disc likeness and its tilt per step, over all tilts."""
    steps = np.arange(len(axis), dtype=float)
    in_front = np.arange(6.0, 25.0, 3.0)
    side = np.arange(-12.0, 13.0, 4.0)
    sagittal = np.arange(
        -settings.largest_sagittal_tilt_deg,
        settings.largest_sagittal_tilt_deg + 1e-6,
        settings.tilt_step_deg,
    )
    lateral = np.arange(
        -settings.largest_lateral_tilt_deg,
        settings.largest_lateral_tilt_deg + 1e-6,
        settings.tilt_step_deg,
    )
    best = np.full(len(axis), -np.inf)
    tilts = np.zeros((len(axis), 2))
    row = axis.wall_mm[:, None, None] - in_front[None, :, None] + 60.0
    column = side[None, None, :] + 32.0
    for alpha in sagittal:
        for beta in lateral:
            rise = in_front[:, None] * np.tan(np.radians(alpha)) + side[
                None, :
            ] * np.tan(np.radians(beta))
            at = np.broadcast_arrays(steps[:, None, None] + rise, row, column)
            profile = ndimage.map_coordinates(
                straight, np.stack(at), order=1, mode="nearest"
            ).mean(axis=(1, 2))
            score = _dip(profile.astype(float), settings)
            score -= TILT_PRICE * ((alpha / 30.0) ** 2 + (beta / 15.0) ** 2)
            better = score > best
            best[better] = score[better]
            tilts[better] = alpha, beta
    best = np.maximum(best, 0.0)
    # Saturates softly: a dense cortex makes weak bands of everything.
    return best / (1.0 + best), tilts


def _dip(profile: FloatArray, settings: DiscSettings) -> FloatArray:
    """How much darker each step is than the bright plates on both sides of it."""
    best = np.zeros_like(profile)
    smooth = ndimage.gaussian_filter1d(profile, 0.7, mode="nearest")
    low = round(settings.thinnest_mm / 2)
    high = round(settings.thickest_mm / 2)
    for half in range(low, high + 1):
        inner = 2 * max(half - 2, 0) + 1
        between = ndimage.uniform_filter1d(smooth, inner, mode="nearest")
        plate = ndimage.maximum_filter1d(smooth, 3, mode="nearest")
        above = np.concatenate([plate[half:], np.full(half, -np.inf)])
        below = np.concatenate([np.full(half, -np.inf), plate[:-half]])
        best = np.maximum(best, np.minimum(above, below) - between)
    return best / settings.half_contrast_hu


def _bone_bridges(
    straight: WorkingArray, axis: SpineAxis, settings: DiscSettings
) -> FloatArray:
    """Pedicles (1) or foramina (0) per step, mean of both sides."""
    # From just behind the wall: old marrow in front of it is as dark as a foramen.
    from_wall = np.arange(1.0, 7.1)
    row = axis.wall_mm[:, None] + from_wall[None, :] + 60.0
    step = np.broadcast_to(np.arange(len(axis), dtype=float)[:, None], row.shape)
    sides = []
    for sign in (-1, 1):
        bridges = []
        for left in range(7, 23):
            column = np.full(row.shape, 32.0 + sign * left)
            values = ndimage.map_coordinates(
                straight, np.stack([step, row, column]), order=1, mode="nearest"
            )
            bridges.append(values.min(axis=1))
        bridge = np.array(bridges).max(axis=0)
        span = settings.bridge_pedicle_hu - settings.bridge_foramen_hu
        sides.append(np.clip((bridge - settings.bridge_foramen_hu) / span, 0.0, 1.0))
    mean: FloatArray = ndimage.gaussian_filter1d(
        np.mean(sides, axis=0).astype(float), 1.5, mode="nearest"
    )
    return mean


def find_discs(evidence: DiscEvidence, settings: DiscSettings) -> tuple[Disc, ...]:
    """Choose the best chain of discs, from the lowest to the highest.

    Second-order dynamic programming: a state is a disc and the spacing to the disc
    below it.

    Returns
    -------
    tuple of Disc
        Empty where not even one vertebra between two discs was found.
    """
    count = len(evidence.likeness)
    heights = np.arange(
        round(settings.lowest_vertebra_mm), round(settings.highest_vertebra_mm) + 1
    )
    gain = settings.disc_weight * evidence.likeness - settings.disc_toll
    # A foramen opens behind each disc: no disc lies where the pedicles are.
    gain -= settings.blocked_price * np.clip(2.0 * evidence.pedicle - 1.0, 0.0, 1.0)
    gain[~evidence.inside] = -np.inf
    between = settings.pedicle_weight * _pedicle_phase(evidence.pedicle, heights)
    uneven = settings.uneven_price * (np.log(heights[:, None] / heights[None, :]) ** 2)
    best = np.full((count, len(heights)), -np.inf)
    below = np.full((count, len(heights)), -1)
    for top in range(count):
        for k, height in enumerate(heights):
            bottom = top - height
            if bottom < 0:
                break
            follow = best[bottom] - uneven[k]
            chosen = int(follow.argmax())
            start = gain[bottom]
            linked = follow[chosen] > start
            below[top, k] = chosen if linked else -1
            best[top, k] = (
                max(start, float(follow[chosen])) + gain[top] + between[bottom, k]
            )
    if not np.isfinite(best).any() or best.max() <= 0:
        return ()
    top, k = (int(i) for i in np.unravel_index(int(best.argmax()), best.shape))
    steps = [top]
    while True:
        previous = int(below[top, k])
        top -= int(heights[k])
        steps.append(top)
        if previous < 0:
            break
        k = previous
    return tuple(_settled(step, evidence) for step in reversed(steps))


def with_cut_ends(
    discs: tuple[Disc, ...], evidence: DiscEvidence, settings: DiscSettings
) -> tuple[Disc, ...]:
    """Add the far end of the vertebrae that the field of view cuts.

    A chain may end in a 'disc' that is merely the border of the scan; it is moved
    out to where the neighbour's height suggests it.
    """
    upper = _cut_end(discs, evidence, settings, 1)
    lower = _cut_end(upper[::-1], evidence, settings, -1)
    return lower[::-1]


def _cut_end(
    discs: tuple[Disc, ...],
    evidence: DiscEvidence,
    settings: DiscSettings,
    direction: int,
) -> tuple[Disc, ...]:
    """`with_cut_ends` for the last disc of a chain that runs in a direction."""
    if len(discs) < 2:
        return discs
    inside = np.flatnonzero(evidence.inside)
    border = inside[-1] if direction > 0 else inside[0]
    last = discs[-1]
    seen_beyond_mm = direction * (border - last.step)
    if (
        len(discs) > 2
        and seen_beyond_mm < settings.border_mm
        and last.likeness < settings.real_disc
    ):
        discs = discs[:-1]
        last = discs[-1]
        seen_beyond_mm = direction * (border - last.step)
    if seen_beyond_mm < settings.least_cut_mm:
        return discs
    height = abs(last.step - discs[-2].step)
    if seen_beyond_mm > height + settings.border_mm:
        return discs  # the chain ended of itself: no more pedicles there
    end = Disc(last.step + direction * height, 0.0, 0.0, 0.0, supposed=True)
    return (*discs, end)


def _pedicle_phase(
    pedicle: FloatArray, heights: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> FloatArray:
    """Fit (-1 ... 1) of the pedicles to a vertebra from a step over a height.

    A pedicle arises from the upper half of the body; the foramen spans the disc
    below and the lower quarter (Gray's Anatomy, 42nd ed., ch. 44).
    """
    total = np.concatenate([[0.0], np.cumsum(pedicle)])
    last = len(pedicle)

    def mean(start: FloatArray, stop: FloatArray) -> FloatArray:
        low = np.clip(np.rint(start), 0, last - 1).astype(int)
        high = np.clip(np.rint(stop), low + 1, last)
        result: FloatArray = (total[high.astype(int)] - total[low]) / (high - low)
        return result

    bottom = np.arange(last, dtype=float)[:, None]
    height = heights[None, :].astype(float)
    upper = mean(bottom + 0.5 * height, bottom + 0.8 * height)
    lower = mean(bottom - 0.03 * height, bottom + 0.22 * height)
    above = mean(bottom + 0.97 * height, bottom + 1.15 * height)
    return upper - 0.7 * lower - 0.3 * above


def _settled(step: int, evidence: DiscEvidence) -> Disc:
    """Move a disc onto the best evidence within 2 mm and take its tilt from there."""
    low, high = max(step - 2, 0), min(step + 3, len(evidence.likeness))
    weight = evidence.likeness[low:high]
    if weight.sum() < 0.2:
        return Disc(float(step), 0.0, 0.0, float(weight.max()))
    near = int(weight.argmax()) + low
    sagittal, lateral = evidence.tilts_deg[near]
    return Disc(float(near), float(sagittal), float(lateral), float(weight.max()))
