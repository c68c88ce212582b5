"""How bright streaks of metal get in the soft tissue around a vertebra."""

from itertools import pairwise

import numpy as np
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.measurement.vertebra_grid import Float32Array
from cemscope.volume import BoolArray

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

CROWDED_SHARE, NEXT_PLANES_MM = 0.5, 1.0
"""Planes with this share of the metal of the fullest one, and those so near to them,
have the streaks of shafts; the others only those of rods [our choice]."""


def crowded_planes(metal: BoolArray, geometry: VoxelGeometry) -> BoolArray:
    """Voxels of the planes in which rays pass much metal.

    Streaks stay in the planes of their rays: one limit for all tissue would be too low
    in the planes of the shafts, and too high beside them. The planes are taken across
    the array axis that runs most nearly along the patient, as the tube turns about it.

    Returns
    -------
    ndarray of bool
        As ``metal``; all of it where no plane has clearly less metal than the others.
    """
    axis = int(np.abs(geometry.directions_lps[:, 2]).argmax())
    others = tuple(k for k in range(3) if k != axis)
    held = metal.sum(axis=others).astype(np.float64)
    beside = 2 * max(1, round(NEXT_PLANES_MM / geometry.spacing_mm[axis])) + 1
    full = ndimage.maximum_filter1d(held, beside) >= CROWDED_SHARE * held.max()
    return np.broadcast_to(np.expand_dims(full, others), metal.shape)


def streak_share(
    hu: Float32Array,
    metal_mm: Float32Array,
    bone_mm: Float32Array,
    cement_hu: float,
    crowded: BoolArray | None = None,
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
    crowded
        Cells in planes with much metal: there streaks are brighter, and looked at
        apart from those in other planes. None to make no difference.

    Returns
    -------
    ndarray of float32
        0 without metal.
    """
    if crowded is None:
        return _of_planes(hu, metal_mm, bone_mm, cement_hu, np.ones(hu.shape, np.bool_))
    there = _of_planes(hu, metal_mm, bone_mm, cement_hu, crowded)
    return there + _of_planes(hu, metal_mm, bone_mm, cement_hu, ~crowded)


def _of_planes(
    hu: Float32Array,
    metal_mm: Float32Array,
    bone_mm: Float32Array,
    cement_hu: float,
    chosen: BoolArray,
) -> Float32Array:
    """Share that streaks feign in some cells; 0 in the others."""
    feigned = np.zeros(hu.shape, np.float32)
    if not np.isfinite(metal_mm).any():
        return feigned
    soft = (bone_mm > OFF_BONE_MM) & (hu != 0) & chosen
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
    near = chosen & (metal_mm <= EDGES_MM[-1])
    feigned[near] = np.interp(metal_mm[near], middles, shares)
    return feigned
