"""How bright pure cement is in a scan, also where the scale clips it."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from cemscope.segmentation.scan_region import FloatArray
from cemscope.segmentation.tissue_levels import TissueLevels


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
    """

    hu: float
    spread_hu: float
    clipped: bool


def level_of_cores(core_hu: FloatArray, ceiling_hu: int | None) -> CementLevel:
    """Read the level off the solid cores of cement.

    Parameters
    ----------
    core_hu
        HU inside cement, rims left out; not empty.
    ceiling_hu
        Value at which the scan is clipped.

    Returns
    -------
    CementLevel
        Median of the brightest cores; ``clipped`` where that is the ceiling.
    """
    top = float(np.quantile(core_hu, 0.95))
    deep = core_hu[core_hu >= 0.85 * top]
    hu = float(np.median(deep))
    clipped = ceiling_hu is not None and hu >= 0.985 * ceiling_hu
    return CementLevel(hu, max(0.5 * float(np.std(deep)), 0.02 * hu), clipped)


def level_of_flanks(flank_hu: FloatArray, levels: TissueLevels) -> CementLevel:
    """Find the level of clipped cement from how often each HU occurs on its flanks.

    Across a blurred plane edge the density of voxels at value h is proportional to
    1 / phi(z), z = Phi^-1((h - background) / (level - background)), whatever the blur:
    it is symmetric about the half value. The level is the one that explains the
    counts best; a weak prior keeps it near the ceiling where counts are few.
    """
    ceiling = float(levels.ceiling_hu or 0)
    low = max(1.1 * levels.cortex_upper_hu, 0.25 * ceiling)
    edges = np.linspace(low, 0.97 * ceiling, 13)
    counts = np.histogram(flank_hu, edges)[0].astype(float)
    middle = 0.5 * (edges[1:] + edges[:-1])
    candidates = ceiling * np.linspace(1.01, MAXIMUM_LEVEL, 80)
    scores = np.zeros(len(candidates))
    for k, level in enumerate(candidates):
        u = (middle - levels.marrow_hu) / (level - levels.marrow_hu)
        z = special.ndtri(np.clip(u, 1e-3, 1 - 1e-3))
        log_density = 0.5 * z**2
        # A convex piece has more surface outside: one free slope in z.
        excess = np.log(np.maximum(counts, 1.0)) - log_density
        slope = np.polyfit(z, excess, 1, w=np.sqrt(counts + 1.0))[0]
        model = np.exp(log_density + np.clip(slope, -0.6, 0.2) * z)
        likelihood = float((counts * np.log(model / model.sum())).sum())
        prior = -0.5 * ((level / ceiling - PRIOR_LEVEL) / PRIOR_SPREAD) ** 2
        scores[k] = likelihood / VOXELS_PER_FLANK + prior
    weight = np.exp(scores - scores.max())
    weight /= weight.sum()
    mean = float((weight * candidates).sum())
    spread = float(np.sqrt((weight * (candidates - mean) ** 2).sum()))
    return CementLevel(mean, float(np.hypot(spread, 0.06 * mean)), True)


MAXIMUM_LEVEL = 2.6
"""Highest level considered, times the ceiling: 30 % barium sulphate at 80-100 kVp."""

PRIOR_LEVEL, PRIOR_SPREAD = 1.25, 0.5
"""Clipped cement is most often a little above the ceiling: 20 % barium sulphate at
120 kVp reads 3,000-4,100 HU [our choice]."""

VOXELS_PER_FLANK = 8.0
"""Neighbouring voxels are not independent: a flank crosses several."""
