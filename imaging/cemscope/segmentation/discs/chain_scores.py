"""Scores of all discs and vertebrae that could make up a spine."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.geometry import FloatArray
from cemscope.segmentation.discs.disc import BODY_DEPTH_MM
from cemscope.segmentation.discs.disc_evidence import DiscEvidence
from cemscope.segmentation.discs.pedicle_evidence import USUAL_SIDE_MM

UPPER_WINDOW = (0.48, 0.82)
"""Part of the height, from disc to disc at the posterior wall, that the pedicles take
in all regions (Gray's Anatomy, 42nd ed., ch. 44: they arise from the upper half of the
body; lumbar ones somewhat lower, thoracic ones up to the upper endplate)."""

LOWER_WINDOW = (0.02, 0.28)
"""Part that the foramen takes: the lower quarter of the body, and in the lumbar spine
the disc below."""

ABOVE_WINDOW = (1.08, 1.28)
"""The foramen above."""

FORAMEN_STEPS = (3.0, 6.0)
"""Just above each disc, at the posterior wall, a foramen is open in all regions."""

WALL_SHORTER_MM = 4.0
"""Along the posterior wall a lordotic vertebra may be this much lower than in front."""

LEAST_CUT_SCORE = -0.5
"""A cut vertebra that does not fit costs no more than this: little of it is seen."""

RISE_DOWNWARDS = 0.03
"""Logarithm of the usual ratio of a vertebra's height to that of the next above it
(about 1 mm per level from T1 to L5; Panjabi 1991/92)."""


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """Tunables of the chain.

    Attributes
    ----------
    lowest_vertebra_mm, highest_vertebra_mm : float
        Distance between neighbouring discs.
    usual_lowest_mm : float
        From here on downwards a height is unusual (upper thoracic, or crushed).
    low_price : float
        Score lost by a vertebra 4 mm lower.
    disc_weight, pedicle_weight : float
        Shares of the two signs in the score.
    disc_toll : float
        Score that each disc must earn to be worth having.
    uneven_price : float
        Score lost per unit of the squared logarithm of neighbouring heights' ratio.
    uneven_most : float
        Limit of that price, which it approaches slowly: a collapsed vertebra may be
        half as high as its neighbours.
    wedge_free_deg : float
        Angle between neighbouring discs that costs nothing.
    sacral_free_deg : float
        The same for the lowest vertebra of the chain, if they open to the front: most
        of the lordosis lies in L5 and its disc (review: Been and Kalichman 2014, doi:
        10.1016/j.spinee.2013.07.464; the limit is ours).
    wedge_price : float
        Score lost per squared 10 degrees more.
    blocked_price : float
        Score lost by a disc between two full pedicles.
    thick_share : float
        Share of a vertebra's height that a disc may take for nothing.
    thick_price : float
        Score lost per unit of a greater share: the marrow between two endplates is
        no disc.
    thicker_counts : bool
        Whether the thicker one of a vertebra's two discs is judged, not their mean.
    apart_mm : float
        Discs nearer than this are the same disc.
    border_mm : float
        A vertebra that ends this far before the border of the scan may reach it.
    least_cut_mm : float
        A cut vertebra of which less is seen is left out.
    """

    lowest_vertebra_mm: float = 13.0
    highest_vertebra_mm: float = 48.0
    usual_lowest_mm: float = 18.0
    low_price: float = 0.8
    disc_weight: float = 2.5
    pedicle_weight: float = 2.0
    disc_toll: float = 0.6
    uneven_price: float = 6.0
    uneven_most: float = 3.0
    wedge_free_deg: float = 14.0
    sacral_free_deg: float = 28.0
    wedge_price: float = 0.4
    blocked_price: float = 0.5
    thick_share: float = 0.45
    thick_price: float = 3.0
    thicker_counts: bool = False
    apart_mm: float = 6.0
    border_mm: float = 8.0
    least_cut_mm: float = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class ChainLinks:
    """Scores of all discs and vertebrae that could be.

    A vertebra is given by the step of its upper disc and an offset to the lower one.

    Attributes
    ----------
    offsets : ndarray of int
        Steps between the two discs.
    disc : ndarray, shape (steps,)
        Score of a disc; -inf outside the field of view.
    vertebra : ndarray, shape (steps, offsets)
        Score of a vertebra without its discs; -inf where there can be none.
    height_mm : ndarray, same shape
        Distance of its discs in the middle of the bodies.
    cut_below, cut_above : ndarray, same shape
        Score of a neighbour of the same height that the border of the scan cuts; 0
        where it would not be cut. Below also what an end on the sacrum is forgiven.
    """

    offsets: npt.NDArray[np.int64]
    disc: FloatArray
    vertebra: FloatArray
    height_mm: FloatArray
    cut_below: FloatArray
    cut_above: FloatArray


def chain_links(evidence: DiscEvidence, settings: ChainSettings) -> ChainLinks:
    """Score every disc, and every vertebra between two of them.

    Parameters
    ----------
    evidence
        Signs of discs and pedicles per step.
    settings
        Tunables.
    """
    count = len(evidence)
    # Along the canal a vertebra is up to a quarter longer or shorter than in front.
    offsets = np.arange(
        round(settings.lowest_vertebra_mm * 0.75),
        round(settings.highest_vertebra_mm * 1.25) + 1,
    )
    top = np.arange(count)[:, None]
    bottom = top - offsets[None, :]
    valid = bottom >= 0
    bottom = np.maximum(bottom, 0)
    height = np.linalg.norm(
        evidence.centres_lps_mm[top] - evidence.centres_lps_mm[bottom], axis=-1
    )
    height = np.maximum(height, 1.0)
    valid &= (height >= settings.lowest_vertebra_mm) & (
        height <= settings.highest_vertebra_mm
    )
    disc = settings.disc_weight * evidence.likeness - settings.disc_toll
    disc = disc - settings.blocked_price * _blocked(evidence)
    disc[~evidence.inside] = -np.inf
    walls = wall_steps(evidence)
    low, high = walls[:, bottom], walls[:, top + 0 * bottom]
    # At the posterior wall too a vertebra has a height.
    valid &= (high - low).min(axis=0) >= 0.5 * settings.lowest_vertebra_mm
    high = np.where(valid, high, low + 1.0)
    phase = _phase(evidence, low, high)
    cosine = (evidence.normals[top] * evidence.normals[bottom]).sum(axis=-1)
    wedge = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    wedge_price = _wedge_price(wedge, settings.wedge_free_deg, settings)
    vertebra = settings.pedicle_weight * phase - wedge_price
    # If it stands on the sacrum, it and its disc may open further to the front.
    lordotic = evidence.normals[bottom, 1] < evidence.normals[top, 1]
    sacral_price = _wedge_price(wedge, settings.sacral_free_deg, settings)
    refund = np.where(lordotic, wedge_price - sacral_price, 0.0)
    beside = evidence.thickness_mm[bottom], evidence.thickness_mm[top]
    thickness = (beside[0] + beside[1]) / 2.0
    if settings.thicker_counts:
        thickness = np.maximum(*beside)
    share = thickness / height
    vertebra -= settings.thick_price * np.maximum(share - settings.thick_share, 0.0)
    lowest = np.minimum(height, (high - low).min(axis=0) + WALL_SHORTER_MM)
    lack = np.maximum(settings.usual_lowest_mm - lowest, 0.0) / 4.0
    vertebra -= settings.low_price * lack**2
    vertebra[~valid] = -np.inf
    span = high - low
    return ChainLinks(
        offsets,
        disc,
        vertebra,
        height,
        cut_scores(evidence, low - span, low, settings) + refund,
        cut_scores(evidence, high, high + span, settings),
    )


def _wedge_price(
    wedge_deg: FloatArray, free_deg: float, settings: ChainSettings
) -> FloatArray:
    """Price of the angle between the two discs of a vertebra."""
    excess = np.maximum(wedge_deg - free_deg, 0.0) / 10.0
    price: FloatArray = settings.wedge_price * excess**2
    return price


def wall_steps(evidence: DiscEvidence) -> FloatArray:
    """Where each disc meets the posterior wall beside the canal (right, left)."""
    slopes = np.tan(np.radians(evidence.tilts_deg))
    wall = np.arange(len(evidence)) - BODY_DEPTH_MM * slopes[:, 0]
    side = USUAL_SIDE_MM * slopes[:, 1]
    walls: FloatArray = np.stack([wall - side, wall + side])
    return walls


def _phase(evidence: DiscEvidence, low: FloatArray, high: FloatArray) -> FloatArray:
    """Fit (-1 ... 1) of the pedicles to vertebrae between two discs (2, ...).

    What is not in view counts as the scan's mean: neither pedicle nor foramen.
    """
    total = np.zeros(low.shape[1:])
    span = high - low
    usual = evidence.pedicles.mean()
    for (start, stop), weight in (
        (UPPER_WINDOW, 1.0),
        (LOWER_WINDOW, -0.7),
        (ABOVE_WINDOW, -0.3),
    ):
        mean, share = evidence.pedicles.mean_over(low + start * span, low + stop * span)
        total += weight * ((mean - usual) * share).mean(axis=0)
    return total


def _blocked(evidence: DiscEvidence) -> FloatArray:
    """How far full pedicles (0-1) lie behind a disc, where there are foramina too.

    Beside the sacrum its alae close the foramina: bone there says nothing.
    """
    walls = wall_steps(evidence)
    low, high = FORAMEN_STEPS
    here, _ = evidence.pedicles.mean_over(walls + low, walls + high)
    around = [
        evidence.pedicles.mean_over(walls + low + shift, walls + high + shift)[0]
        for shift in (-16.0, -12.0, 12.0, 16.0)
    ]
    openest = np.minimum.reduce(around).mean(axis=0)
    blocked = np.clip(2.0 * here.mean(axis=0) - 1.0, 0.0, 1.0)
    result: FloatArray = blocked * np.clip(1.0 - openest, 0.0, 1.0)
    return result


def cut_scores(
    evidence: DiscEvidence, low: FloatArray, high: FloatArray, settings: ChainSettings
) -> FloatArray:
    """Score of a vertebra that the border of the scan cuts; 0 if it is not cut."""
    inside = np.flatnonzero(evidence.inside)
    if not len(inside):
        return np.zeros(low.shape[1:])
    first, last = float(inside[0]), float(inside[-1])
    bottom, top = low.mean(axis=0), high.mean(axis=0)
    cut = (bottom < first) | (top > last)
    score = settings.pedicle_weight * _phase(evidence, low, high)
    return np.where(cut, np.maximum(score, LEAST_CUT_SCORE), 0.0)


def uneven_price(
    lower_mm: FloatArray, upper_mm: FloatArray, settings: ChainSettings
) -> FloatArray:
    """Price of the difference of two neighbours' heights."""
    ratio = np.log(lower_mm / upper_mm) - RISE_DOWNWARDS
    square = settings.uneven_price * ratio**2
    price: FloatArray = square / (1.0 + square / settings.uneven_most)
    return price
