"""The level of pure cement, also above the ceiling of the scale."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, special

from cemscope.segmentation.cement.cement_level import (
    level_of_cores,
    level_of_flanks,
    sample_flanks,
)
from cemscope.segmentation.tissue_levels import TissueLevels

LEVELS = TissueLevels(
    marrow_hu=100.0,
    cortex_upper_hu=700.0,
    compact_upper_hu=500.0,
    arch_upper_hu=1000.0,
    noise_hu=20.0,
    ceiling_hu=3071,
    reference_count=2,
)


SPACING_MM = (1.0, 0.6, 0.6)


def clipped_ball(level_hu: float, sigma_mm: float) -> np.ndarray:
    """A blurred, noisy, clipped ball of 9 mm radius in marrow."""
    axes = [
        (np.arange(n) - n / 2 + 0.5) * s
        for n, s in zip((26, 42, 42), SPACING_MM, strict=True)
    ]
    radius = np.sqrt(sum(x**2 for x in np.meshgrid(*axes, indexing="ij")))
    hu = 100.0 + (level_hu - 100.0) * special.ndtr((9.0 - radius) / sigma_mm)
    noise = np.random.default_rng(1).normal(0.0, 20.0, hu.shape)
    return np.minimum(hu + noise, 3071.0)


@pytest.mark.parametrize("level_hu", [3300.0, 3800.0, 4500.0, 5500.0])
@pytest.mark.parametrize("sigma_mm", [0.4, 0.8])
def test_clipped_level_follows_from_the_flanks_whatever_the_blur(
    level_hu: float, sigma_mm: float
) -> None:
    hu = clipped_ball(level_hu, sigma_mm)
    samples = sample_flanks(hu, np.ones(hu.shape, np.bool_), SPACING_MM, 3071.0)
    level = level_of_flanks(samples, SPACING_MM, LEVELS)
    assert level.clipped
    assert abs(level.hu - level_hu) <= max(2.0 * level.spread_hu, 0.1 * level_hu)
    assert abs(level.hu - level_hu) <= 0.2 * level_hu


@pytest.mark.parametrize("slice_mm", [0.75, 2.0])
@pytest.mark.parametrize("blur_mm", [0.5, 0.8])
def test_blur_across_slices_is_told_from_that_within_them(
    slice_mm: float, blur_mm: float
) -> None:
    level_hu, fine_mm = 4500.0, (0.375, 0.3, 0.3)
    axes = [
        (np.arange(n) - n / 2 + 0.5) * s
        for n, s in zip((64, 84, 84), fine_mm, strict=True)
    ]
    radius = np.sqrt(sum(x**2 for x in np.meshgrid(*axes, indexing="ij")))
    sigma_mm = np.array([slice_mm / 2.355, blur_mm, blur_mm])
    ball = ndimage.gaussian_filter((radius <= 9.0) * 1.0, sigma_mm / fine_mm)
    spacing_mm = (0.75, 0.6, 0.6)
    hu = np.minimum(100.0 + (level_hu - 100.0) * ball[::2, ::2, ::2], 3071.0)
    samples = sample_flanks(hu, np.ones(hu.shape, np.bool_), spacing_mm, 3071.0)
    levels = replace(LEVELS, slice_thickness_mm=slice_mm)
    level = level_of_flanks(samples, spacing_mm, levels)
    assert level.hu == pytest.approx(level_hu, rel=0.1)
    assert level.blur_mm == pytest.approx(blur_mm, rel=0.15)


def test_slices_are_as_wide_as_they_are_apart_unless_they_are_wider() -> None:
    assert LEVELS.slice_blur_mm(1.0) == pytest.approx(1.0 / 2.355, rel=1e-3)
    thick = replace(LEVELS, slice_thickness_mm=2.0)
    assert thick.slice_blur_mm(1.0) == pytest.approx(2.0 / 2.355, rel=1e-3)
    assert thick.slice_blur_mm(3.0) == pytest.approx(3.0 / 2.355, rel=1e-3)


def test_few_flanks_tell_no_more_than_the_prior() -> None:
    hu = clipped_ball(4500.0, 0.6)
    few = np.zeros(hu.shape, np.bool_)
    few[13, 21, :] = True
    level = level_of_flanks(
        sample_flanks(hu, few, SPACING_MM, 3071.0), SPACING_MM, LEVELS
    )
    assert level.spread_hu > 0.2 * level.hu


def test_unclipped_level_is_the_mode_of_the_cores() -> None:
    rng = np.random.default_rng(2)
    core = np.concatenate([rng.normal(2400, 30, 5000), rng.uniform(1300, 2400, 1500)])
    level = level_of_cores(core, 3071)
    assert not level.clipped
    assert level.hu == pytest.approx(2400.0, abs=20.0)


def test_cores_at_the_ceiling_are_called_clipped() -> None:
    assert level_of_cores(np.full(100, 3071.0), 3071).clipped
    assert not level_of_cores(np.full(100, 3071.0), None).clipped
