"""How bright pure cement is in a scan, also where the scale clips it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from cemscope.segmentation.scan_region import FloatArray
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.volume import BoolArray


@dataclass(frozen=True, slots=True)
class CementLevel:
    """HU of pure cement in this scan.

    Attributes
    ----------
    hu : float
        The level; above the ceiling where cement is clipped.
    spread_hu : float
        Its standard uncertainty.
    clipped : bool
        Whether the level had to be estimated from the flanks of clipped cement.
    blur_mm : float or None
        Gaussian blur of the flanks within a slice, where they were looked at.
    """

    hu: float
    spread_hu: float
    clipped: bool
    blur_mm: float | None = None


def level_of_cores(
    core_hu: FloatArray, ceiling_hu: int | None, *, thick: bool = False
) -> CementLevel:
    """Read the level off the solid cores of cement.

    Parameters
    ----------
    core_hu
        HU inside cement, rims left out; not empty.
    ceiling_hu
        Value at which the scan is clipped.
    thick
        Whether slices are so thick that rims are left out within them only.

    Returns
    -------
    CementLevel
        Median of the brightest cores, for thick slices their upper quartile;
        ``clipped`` where that is the ceiling.
    """
    top = float(np.quantile(core_hu, 0.95))
    deep = core_hu[core_hu >= 0.85 * top]
    # Upper and lower rims are still among the cores of thick slices.
    hu = float(np.quantile(deep, 0.75 if thick else 0.5))
    clipped = ceiling_hu is not None and hu >= 0.985 * ceiling_hu
    return CementLevel(hu, max(0.5 * float(np.std(deep)), 0.02 * hu), clipped)


def level_of_strands(near_hu: FloatArray) -> CementLevel:
    """Read the level off strands hardly wider than the blur.

    Only their brightest places show it; blur may have lowered those, too.

    Parameters
    ----------
    near_hu
        HU in and around the cores of the strands; not empty.
    """
    bright = near_hu[near_hu >= 0.5 * near_hu.max()]
    hu = float(np.quantile(bright, 0.95))
    return CementLevel(hu, STRAND_SPREAD * hu, False)


STRAND_SPREAD = 0.08
"""Relative standard uncertainty of a level read off strands [ours]."""


@dataclass(frozen=True, slots=True, eq=False)
class FlankSamples:
    """Voxels on the flanks of clipped cement.

    Attributes
    ----------
    hu : ndarray, shape (n,)
        Below the ceiling.
    falls : ndarray, shape (n, 3)
        Fall to the lower neighbour along each axis, HU per mm, not negative.
    """

    hu: FloatArray
    falls: FloatArray


def sample_flanks(
    hu: npt.NDArray[Any],
    near: BoolArray,
    spacing_mm: tuple[float, float, float],
    ceiling_hu: float,
) -> FlankSamples:
    """Take the voxels of ``near`` below the ceiling, with their fall outwards.

    The lower neighbour is never clipped, so that steep and shallow flanks are taken
    alike up to the ceiling.
    """
    where = near & (hu < CLEAR_OF_CEILING * ceiling_hu)
    values = hu.astype(np.float32)
    falls = []
    for axis, spacing in enumerate(spacing_mm):
        step = np.diff(values, axis=axis) / np.float32(spacing)
        none = np.zeros_like(values.take([0], axis))
        before = np.concatenate([none, step], axis)
        behind = np.concatenate([-step, none], axis)
        falls.append(np.maximum(np.maximum(before, behind), 0.0)[where])
    return FlankSamples(values[where].astype(float), np.stack(falls, -1).astype(float))


def level_of_flanks(
    samples: FlankSamples,
    spacing_mm: tuple[float, float, float],
    levels: TissueLevels,
) -> CementLevel:
    """Find the level of clipped cement from how steeply its flanks fall at each HU.

    Across a blurred plane edge the slope at value h is (level - background) / sigma
    phi(z), z = Phi^-1((h - background) / (level - background)): it is steepest at the
    half value. Level and blur are those that explain the steep flanks (`STEEP_SHARE`;
    ragged and rounded edges fall less steeply) by quantile regression (Koenker and
    Bassett 1978, doi:10.2307/1913643). The blur within a slice is fitted, the one
    across it is the slice's width: a flank has the blur of its direction. A weak prior
    keeps the level near the ceiling.
    """
    ceiling = float(levels.ceiling_hu or 0)
    candidates = ceiling * np.linspace(1.01, MAXIMUM_LEVEL, 60)
    softness = float(np.interp(levels.kvp or 120.0, *BARIUM_RATIO))
    prior = ((candidates / ceiling / softness - PRIOR_LEVEL) / PRIOR_SPREAD) ** 2
    used = _even_samples(samples, spacing_mm, levels)
    slanting = spacing_mm[0] > SLANTING_MM
    steep = STEEP_SHARE_SLANTING if slanting else STEEP_SHARE
    loss = np.zeros((len(candidates), len(BLURS_MM)))
    count = len(used.hu)
    seen = count >= LEAST_FLANK
    if seen:
        loss = _quantile_loss(used, np.array(spacing_mm), levels, candidates, steep)
        loss = (loss - loss.min()) / loss.min()
    weight = np.exp(
        -count / VOXELS_PER_FLANK * loss - 0.5 * (prior - prior.min())[:, None]
    )
    weight /= weight.sum()
    of_level = weight.sum(axis=1)
    mean = float((of_level * candidates).sum())
    spread = float(np.sqrt((of_level * (candidates - mean) ** 2).sum()))
    blur_mm = float((weight.sum(axis=0) * BLURS_MM).sum()) if seen else None
    model = MODEL_SPREAD
    if seen and slanting:
        # Clipped cores are brighter than the ceiling.
        mean, model = max(mean / SLANT_EXCESS, candidates[0]), SLANT_SPREAD
    return CementLevel(mean, float(np.hypot(spread, model * mean)), True, blur_mm)


def _even_samples(
    samples: FlankSamples,
    spacing_mm: tuple[float, float, float],
    levels: TissueLevels,
) -> FlankSamples:
    """As many samples at each height of the flank, from planes that resolve it."""
    ceiling = float(levels.ceiling_hu or 0)
    low = max(1.1 * levels.cortex_upper_hu, LOWEST_FLANK * ceiling)
    size = np.linalg.norm(samples.falls, axis=1)
    good = (samples.hu >= low) & (size > 0)
    if spacing_mm[0] > THICK_SLICE * spacing_mm[1]:
        good &= samples.falls[:, 0] <= 0.45 * size
    index = np.flatnonzero(good)
    edges = np.linspace(low, CLEAR_OF_CEILING * ceiling, FLANK_BINS + 1)
    bins = np.digitize(samples.hu[index], edges)
    chosen = []
    for number in range(1, FLANK_BINS + 1):
        mine = index[bins == number]
        stride = max(1, -(-len(mine) // SAMPLES_PER_BIN))
        chosen.append(mine[::stride])
    kept = np.concatenate(chosen)
    return FlankSamples(samples.hu[kept], samples.falls[kept])


def _quantile_loss(
    samples: FlankSamples,
    spacing_mm: FloatArray,
    levels: TissueLevels,
    candidates: FloatArray,
    steep: float,
) -> FloatArray:
    """Mean loss per candidate level and blur, shape (levels, blurs)."""
    fall = np.linalg.norm(samples.falls, axis=1)
    normal = samples.falls / fall[:, None]
    across = normal[:, 0] * levels.slice_blur_mm(float(spacing_mm[0]))
    within = np.hypot(normal[:, 1], normal[:, 2])
    loss = np.zeros((len(candidates), len(BLURS_MM)))
    for k, level in enumerate(candidates):
        way = level - levels.marrow_hu
        z = special.ndtri((samples.hu - levels.marrow_hu) / way)[:, None]
        high = special.ndtr(z)
        for j, blur_mm in enumerate(BLURS_MM):
            sigma_mm = np.hypot(across, within * blur_mm)[:, None]
            drops = high - special.ndtr(z - spacing_mm * normal / sigma_mm)
            model = way * np.linalg.norm(drops / spacing_mm, axis=1)
            rest = np.log(fall / np.maximum(model, 1e-6))
            share = np.where(rest > 0.0, steep, steep - 1.0)
            loss[k, j] = float((share * rest).mean())
    return loss


MAXIMUM_LEVEL = 3.2
"""Highest level considered, times the ceiling: 30 % barium sulphate at 80 kVp."""

BARIUM_RATIO = ((80.0, 100.0, 120.0, 140.0), (1.62, 1.24, 1.0, 0.83))
"""Tube voltage, and what cement with 20 % barium sulphate reads over its value at
120 kVp (calculated behind 25 cm of water)."""

PRIOR_LEVEL, PRIOR_SPREAD = 1.25, 0.5
"""Clipped cement is most often a little above the ceiling: 20 % barium sulphate at
120 kVp reads 3,000-4,100 HU [our choice]."""

STEEP_SHARE = 0.65
"""Quantile of the slopes that a smooth edge would show: on 19 tuning scenes levels are
right on average, +/- 6 %; at 0.5 they are 8 % too high, at 0.85 3 % too low."""

SLANTING_MM, STEEP_SHARE_SLANTING = 1.6, 0.8
"""Surfaces that slant through slices thicker than this have shallow flanks within the
slice, which read like a wider blur and brighter cement; the steepest tell most."""

SLANT_EXCESS, SLANT_SPREAD = 1.08, 0.05
"""What such flanks still tell over cores, and its spread: 10 and 4 % on 8 tuning
scenes (14 and 8 % with `STEEP_SHARE`); rims of cement read 3 % over its cores anyway
[ours]."""

MODEL_SPREAD = 0.03
"""Relative standard uncertainty for edges that are no blurred planes."""

BLURS_MM = tuple(float(s) for s in np.geomspace(0.3, 1.1, 14))
"""Gaussian blur of CT kernels, from sharp to soft."""

CLEAR_OF_CEILING = 0.985
"""Noise clips voxels a little below the ceiling, too."""

LOWEST_FLANK = 0.22
"""Lower parts of a flank, times the ceiling, are mixed with bone."""

FLANK_BINS, SAMPLES_PER_BIN, LEAST_FLANK = 12, 80, 100
"""Samples that are enough, and fewer that tell nothing."""

THICK_SLICE = 2.0
"""Slices thicker than this times the pixel hide the slope across them."""

VOXELS_PER_FLANK = 8.0
"""Neighbouring voxels are not independent: a flank crosses several."""
