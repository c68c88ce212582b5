"""One size for the two screws of a vertebra.

Surgeons put two screws of one size into a vertebra where both pedicles allow it, and
cement can only widen what is seen of a shaft. Both are weighed together: the radii of a
pair follow from what was read at either, by Bayes' rule. A tip that cement hides is
looked for where the other screw's length puts it.
"""

from dataclasses import replace

import numpy as np
from scipy import stats

from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.scan_region import FloatArray

SAME_SIZE_MM = 0.05
"""Metal of one size differs by this (1 sigma) as it is read [ours]."""

TWO_SIZES, SIZES_APART_MM = 0.2, 0.4
"""How often the two screws of a vertebra differ in radius, and by how much on average:
sizes come in steps of 0.25 to 0.5 mm of radius [our choice]."""

WIDENED, WIDENED_BARE, WIDENED_BY_MM = 0.2, 0.01, 0.7
"""How often cement has widened what is read of a shaft, how often where it lies bare,
and by how much on average [ours, from simulated scans: 7 of 104 shafts by 0.5 to 1.2
mm]."""

BARE_SHARE = 0.2
"""A shaft with no more than this share of its brightness around it lies in marrow
[ours: marrow reads 0.05 to 0.35]."""

WIDEST_USUAL_MM, WIDER_BY_MM = 3.75, 0.3
"""Screws of more than 7.5 mm are rare, and the rarer the wider [our choice]."""

OWN_SHARE = 0.5
"""Two deviations reach what was read at the screw itself, which may be right after all:
screws of 9.5 and 10.5 mm are rare, not unknown [our choice]."""

RADII_MM, LEAST_DEVIATION_MM = np.arange(1.0, 6.0, 0.02), 0.05
"""Radii that are weighed."""


def share_sizes(
    screws: tuple[ScrewModel, ...], cement_hu: float
) -> tuple[ScrewModel, ...]:
    """Weigh the radii of the two screws of each vertebra together.

    Parameters
    ----------
    screws
        All screws of a scan.
    cement_hu
        As bright as cement can be in this scan (`cement_bound_hu`).

    Returns
    -------
    tuple of ScrewModel
        With means and standard deviations of the radii, given both readings; the
        deviations reach what was read. Screws without a twin stay as they are.
    """
    return tuple(_shared(screw, screws, cement_hu) for screw in screws)


def _shared(
    screw: ScrewModel, screws: tuple[ScrewModel, ...], cement_hu: float
) -> ScrewModel:
    twin = next(
        (k for k in screws if k.level == screw.level and k.side is not screw.side), None
    )
    if twin is None:
        return screw
    own, other = (_likelihood(one, cement_hu) for one in (screw, twin))
    # Each radius of the twin tells how likely this one is, of one size or of two.
    wide = np.maximum(RADII_MM - WIDEST_USUAL_MM, 0.0) / WIDER_BY_MM
    usual = np.exp(-0.5 * wide**2)
    weight = usual * own * (_pair_prior() @ (usual * other))
    weight /= weight.sum()
    radius = float(weight @ RADII_MM)
    spread = float(np.sqrt(weight @ (RADII_MM - radius) ** 2))
    deviation = max(spread, OWN_SHARE * abs(radius - screw.shaft.radius_mm))
    shaft = replace(
        screw.shaft,
        radius_mm=radius,
        groove_mm=screw.shaft.groove_mm * radius / screw.shaft.radius_mm,
        radius_deviation_mm=deviation,
    )
    thread = replace(screw.thread, metal_radius_mm=shaft.metal_radius_mm)
    return replace(screw, shaft=shaft, thread=thread)


def _likelihood(screw: ScrewModel, cement_hu: float) -> FloatArray:
    """Probability of what was read, for each radius that the shaft may have.

    Errors are Gaussian; where cement has widened the shaft, an exponential length is
    added (exponentially modified Gaussian).
    """
    deviation = max(screw.shaft.radius_deviation_mm, LEAST_DEVIATION_MM)
    error = screw.shaft.radius_mm - RADII_MM
    widened = WIDENED_BARE if _is_bare(screw, cement_hu) else WIDENED
    plain = stats.norm.pdf(error, scale=deviation)
    wider = stats.exponnorm.pdf(error, WIDENED_BY_MM / deviation, scale=deviation)
    return np.asarray((1.0 - widened) * plain + widened * wider, np.float64)


def _pair_prior() -> FloatArray:
    """Weight of each pair of radii."""
    apart = np.abs(RADII_MM[:, None] - RADII_MM)
    one = stats.norm.pdf(apart, scale=SAME_SIZE_MM)
    two = 0.5 * stats.expon.pdf(apart, scale=SIZES_APART_MM)
    return np.asarray((1.0 - TWO_SIZES) * one + TWO_SIZES * two, np.float64)


def _is_bare(screw: ScrewModel, cement_hu: float) -> bool:
    """Tell whether no cement can have widened what is seen of a shaft.

    Its edge lies at half of its brightness; a layer of darker cement is outside.
    """
    dark = screw.surrounded_share <= BARE_SHARE
    return dark and 0.5 * screw.shaft.metal_hu > cement_hu


LENGTHS_DIFFER_MM = 2.5
"""Lengths of a vertebra's two screws differ by this (1 sigma): mostly by nothing, at
times by a step of 5 mm; heads are told to 1 or 2 mm [ours]."""

HIDDEN_TIP_MM = 3.0
"""Tips that are known less exactly than this follow the other screw's, if that is
known better."""


def share_lengths(screws: tuple[ScrewModel, ...]) -> tuple[ScrewModel, ...]:
    """Bring tips that cement hides near to where the other screw's length puts them."""
    return tuple(_as_long(screw, screws) for screw in screws)


def _as_long(screw: ScrewModel, screws: tuple[ScrewModel, ...]) -> ScrewModel:
    twin = next(
        (k for k in screws if k.level == screw.level and k.side is not screw.side), None
    )
    own_mm = screw.tip_uncertainty_mm
    if twin is None or own_mm < HIDDEN_TIP_MM:
        return screw
    if twin.tip_uncertainty_mm >= HIDDEN_TIP_MM:
        return screw
    # Half-widths of uniform distributions.
    own = (own_mm / np.sqrt(3.0)) ** 2
    other = twin.tip_uncertainty_mm**2 / 3.0 + LENGTHS_DIFFER_MM**2
    shift = (twin.tip_mm - screw.tip_mm) * own / (own + other)
    if abs(shift) > own_mm:
        return screw
    left_mm = float(np.sqrt(3.0 * own * other / (own + other)))
    return replace(
        screw, tip_mm=screw.tip_mm + float(shift), tip_uncertainty_mm=left_mm
    )
