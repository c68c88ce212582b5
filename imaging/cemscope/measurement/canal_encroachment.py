"""How much of the spinal canal leaked cement takes.

Cement area against canal area on the worst axial slice, and the largest sagittal
diameter of the cement in the canal (as in doi:10.1186/s12891-019-2807-6). Slices are
those of the vertebra: parallel to its endplates.
"""

from dataclasses import dataclass

import numpy as np

from cemscope.findings import NotAssessed
from cemscope.measurement.leak_regions import VertebraRegions
from cemscope.volume import BoolArray

SLICE_MM = 1.0
"""Areas are means over about this height: a thin CT slice."""

LEAST_DEPTH_SHARE = 0.35
"""A line through the cement counts for its depth where its densest cell has this."""


@dataclass(frozen=True, slots=True)
class Encroachment:
    """Cement in the canal.

    Attributes
    ----------
    percent : float
        Of the canal's area on the worst slice.
    depth_mm : float
        Largest sagittal diameter of the cement there.
    """

    percent: float
    depth_mm: float


def canal_encroachment(
    cells: BoolArray, regions: VertebraRegions
) -> Encroachment | NotAssessed:
    """Measure the share of the canal that cement takes.

    Parameters
    ----------
    cells : ndarray of bool
        The leak with its blur, on the grid of the regions.
    regions
        With the canal.
    """
    if regions.canal is None:
        return NotAssessed("the spinal canal is not outlined at this level")
    cell = regions.grid.cell_mm
    inside = regions.canal & cells
    share = np.where(inside, np.clip(regions.cement, 0.0, 1.0), 0.0)
    if not share.any():
        return Encroachment(0.0, 0.0)
    if not regions.seen[regions.canal & inside.any(axis=(0, 1))].all():
        return NotAssessed("the canal lies partly outside the field of view")
    count = max(1, round(SLICE_MM / cell))
    window = np.ones(count) / count
    cement = np.convolve(share.sum(axis=(0, 1)), window, "same")
    canal = np.convolve(regions.canal.sum(axis=(0, 1)), window, "same")
    whole = canal >= LEAST_CANAL_SHARE * float(np.median(canal[canal > 0]))
    percent = np.where(whole, 100.0 * cement / np.maximum(canal, 1.0), 0.0)
    solid = share.max(axis=1) >= LEAST_DEPTH_SHARE
    depth = np.where(solid, share.sum(axis=1), 0.0).max() * cell
    return Encroachment(float(min(percent.max(), 100.0)), float(depth))


LEAST_CANAL_SHARE = 0.5
"""Planes with less of the canal than this are its ends."""
