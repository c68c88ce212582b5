"""The two screws of a vertebra: their radii are weighed together."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cemscope.findings import Side
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_pairs import (
    SAME_SIZE_MM,
    SIZES_APART_MM,
    TWO_SIZES,
    WIDENED,
    WIDENED_BARE,
    WIDENED_BY_MM,
    WIDER_BY_MM,
    WIDEST_USUAL_MM,
    share_sizes,
)
from cemscope.segmentation.implants.screw_profile import ScrewAxis, ShaftProfile
from cemscope.segmentation.implants.screw_thread import ThreadEstimate

SIGMA_MM, CEMENT_HU = 0.5, 3900.0
BARE, WRAPPED = (0.1, 8500.0), (0.4, 5500.0)
"""Brightness around a shaft over its own, and its own in HU."""


@dataclass(frozen=True)
class Pair:
    """What is read of two shafts, and where the wider one's radius then lies."""

    name: str
    read_mm: tuple[float, float]
    deviations_mm: tuple[float, float]
    wider: tuple[float, float]
    lowest_mm: float
    highest_mm: float


PAIRS = (
    Pair("alike", (3.0, 3.1), (0.2, 0.2), WRAPPED, 3.0, 3.05),
    Pair("one unsure", (3.0, 3.4), (0.1, 0.4), WRAPPED, 3.0, 3.06),
    Pair("a layer of cement", (3.0, 3.7), (0.2, 0.2), WRAPPED, 3.0, 3.35),
    Pair("bare in marrow", (2.75, 3.5), (0.12, 0.12), BARE, 3.25, 3.5),
    Pair("bare, no brighter than cement", (2.75, 3.5), (0.12, 0.12),
         (0.1, 5500.0), 2.75, 3.2),
    Pair("wider than screws are", (3.6, 4.3), (0.4, 0.2), WRAPPED, 3.6, 3.95),
    Pair("bright, but surrounded", (2.75, 3.5), (0.12, 0.12),
         (0.4, 8500.0), 2.75, 3.2),
)  # fmt: skip


def screw(side: Side, radius_mm: float, deviation_mm: float = 0.2) -> ScrewModel:
    return ScrewModel(
        "L4",
        side,
        ScrewAxis(np.array([0.0, 20.0, 0.0]), np.array([0.0, -1.0, 0.0])),
        neck_mm=2.0,
        tip_mm=55.0,
        shaft=ShaftProfile(
            radius_mm, SIGMA_MM, 5500.0, radius_deviation_mm=deviation_mm
        ),
        thread=ThreadEstimate(radius_mm, 0.0),
        tip_uncertainty_mm=1.0,
        free_length_mm=30.0,
        surrounded_share=0.4,
    )


def pair_of(pair: Pair) -> tuple[ScrewModel, ScrewModel]:
    left = screw(Side.LEFT, pair.read_mm[0], pair.deviations_mm[0])
    right = screw(Side.RIGHT, pair.read_mm[1], pair.deviations_mm[1])
    around, metal_hu = pair.wider
    bright = replace(right.shaft, metal_hu=metal_hu)
    return left, replace(right, shaft=bright, surrounded_share=around)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_the_wider_of_two_shafts(pair: Pair) -> None:
    narrow, wide = share_sizes(pair_of(pair), CEMENT_HU)
    assert pair.lowest_mm <= wide.shaft.radius_mm <= pair.highest_mm
    assert narrow.shaft.radius_mm <= wide.shaft.radius_mm
    assert narrow.thread.metal_radius_mm == narrow.shaft.metal_radius_mm
    # What was read at the screw itself may be right: the doubt reaches it.
    moved_mm = pair.read_mm[1] - wide.shaft.radius_mm
    reach_mm = np.hypot(wide.shaft.radius_deviation_mm, pair.deviations_mm[1])
    assert moved_mm <= 2.0 * reach_mm


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_radii_agree_with_pairs_drawn_at_random(pair: Pair) -> None:
    """Second implementation: draw radii, count each by the probability of a reading."""
    rng, draws = np.random.default_rng(7), 400_000
    first = rng.uniform(1.5, 5.5, draws)
    two = rng.random(draws) < TWO_SIZES
    apart = rng.choice((-1.0, 1.0), draws) * rng.exponential(SIZES_APART_MM, draws)
    second = first + np.where(two, apart, rng.normal(0.0, SAME_SIZE_MM, draws))
    wider = np.maximum(np.stack([first, second]) - WIDEST_USUAL_MM, 0.0)
    weight = np.exp(-0.5 * ((wider / WIDER_BY_MM) ** 2).sum(axis=0))
    shares = (WIDENED, WIDENED_BARE if pair.wider == BARE else WIDENED)
    for radius, read, deviation, share in zip(
        (first, second), pair.read_mm, pair.deviations_mm, shares, strict=True
    ):
        coat = rng.exponential(WIDENED_BY_MM, draws) * (rng.random(draws) < share)
        error = (read - radius - coat) / deviation
        weight *= np.exp(-0.5 * error**2)
    weight /= weight.sum()
    # Standard error of weighted draws.
    fewest = 1.0 / float((weight**2).sum())
    for screw_found, radius in zip(
        share_sizes(pair_of(pair), CEMENT_HU), (first, second), strict=True
    ):
        mean = float(weight @ radius)
        spread = float(np.sqrt(weight @ (radius - mean) ** 2))
        bound_mm = 4.0 * spread / np.sqrt(fewest)
        assert screw_found.shaft.radius_mm == pytest.approx(mean, abs=bound_mm)
        assert screw_found.shaft.radius_deviation_mm == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize("radius_mm", [4.25, 4.75, 5.25])
@pytest.mark.parametrize("deviation_mm", [0.08, 0.25])
def test_doubt_of_two_very_wide_screws_reaches_what_was_read(
    radius_mm: float, deviation_mm: float
) -> None:
    left, right = (screw(side, radius_mm, deviation_mm) for side in Side)
    for found in share_sizes((left, right), CEMENT_HU):
        moved_mm = radius_mm - found.shaft.radius_mm
        assert moved_mm <= 2.0 * found.shaft.radius_deviation_mm + 1e-9


def test_a_screw_without_a_twin_keeps_its_radius() -> None:
    left, right = screw(Side.LEFT, 2.75), screw(Side.RIGHT, 3.3)
    below = replace(right, level="L5")
    assert share_sizes((left, below), CEMENT_HU) == (left, below)
