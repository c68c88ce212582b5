"""How bright streaks of metal get in the soft tissue around a vertebra."""

from itertools import pairwise

import numpy as np

from cemscope.measurement.vertebra_grid import Float32Array

EDGES_MM = np.array([0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 13.0, 17.0, 22.0, 30.0])
"""Shells round the metal in which the spread of soft tissue is taken."""

OFF_BONE_MM = 2.0
"""Soft tissue is looked at no nearer to bone than this."""

SPREADS = 4.0
"""Streaks keep below the median by so many upper half-widths (median to 84 %)
[our choice]: a leak is a small part of the tissue and moves neither."""

SOFT_TISSUE_HU = 50.0

FEW_CELLS = 300
"""A shell with fewer cells takes the value of the next one."""


def streak_share(
    hu: Float32Array,
    metal_mm: Float32Array,
    bone_mm: Float32Array,
    cement_hu: float,
) -> Float32Array:
    """Tell which share of cement streaks can feign, by the distance from metal.

    Parameters
    ----------
    hu
        CT values; 0 where the scan was not cut out.
    metal_mm, bone_mm
        Distance from metal and from bone.
    cement_hu
        Of pure cement.

    Returns
    -------
    ndarray of float32
        0 without metal.
    """
    feigned = np.zeros(hu.shape, np.float32)
    if not np.isfinite(metal_mm).any():
        return feigned
    soft = (bone_mm > OFF_BONE_MM) & (hu != 0)
    tops: list[float] = []
    middles: list[float] = []
    for low, high in pairwise(EDGES_MM):
        values = hu[soft & (metal_mm > low) & (metal_mm <= high)]
        if len(values) < FEW_CELLS:
            continue
        middle, upper = np.percentile(values, [50.0, 84.0])
        tops.append(float(middle + SPREADS * (upper - middle)))
        middles.append(0.5 * (low + high))
    if not tops:
        return feigned
    way = max(cement_hu - SOFT_TISSUE_HU, 100.0)
    shares = np.maximum(np.array(tops) - SOFT_TISSUE_HU, 0.0) / way
    near = metal_mm <= EDGES_MM[-1]
    feigned[near] = np.interp(metal_mm[near], middles, shares)
    return feigned
