"""The level of pure cement, also above the ceiling of the scale."""

import numpy as np
import pytest
from scipy import special

from cemscope.segmentation.cement_level import level_of_cores, level_of_flanks
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


def flank_sample(level_hu: float, sigma_mm: float, count: int = 20000) -> np.ndarray:
    """HU at uniformly distributed positions across a blurred plane edge, clipped."""
    x = np.linspace(-4.0, 4.0, count)
    rng = np.random.default_rng(1)
    hu = 100.0 + (level_hu - 100.0) * special.ndtr(x / sigma_mm)
    return np.minimum(hu + rng.normal(0.0, 20.0, count), 3071.0)


@pytest.mark.parametrize("level_hu", [3300.0, 3800.0, 4500.0, 5500.0])
@pytest.mark.parametrize("sigma_mm", [0.4, 0.8])
def test_clipped_level_follows_from_the_flanks_whatever_the_blur(
    level_hu: float, sigma_mm: float
) -> None:
    level = level_of_flanks(flank_sample(level_hu, sigma_mm), LEVELS)
    assert level.clipped
    assert abs(level.hu - level_hu) <= max(2.0 * level.spread_hu, 0.1 * level_hu)


def test_unclipped_level_is_the_mode_of_the_cores() -> None:
    rng = np.random.default_rng(2)
    core = np.concatenate([rng.normal(2400, 30, 5000), rng.uniform(1300, 2400, 1500)])
    level = level_of_cores(core, 3071)
    assert not level.clipped
    assert level.hu == pytest.approx(2400.0, abs=20.0)


def test_cores_at_the_ceiling_are_called_clipped() -> None:
    assert level_of_cores(np.full(100, 3071.0), 3071).clipped
    assert not level_of_cores(np.full(100, 3071.0), None).clipped
