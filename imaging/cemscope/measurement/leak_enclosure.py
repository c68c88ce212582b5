"""Cement within an arch whose outline is drawn too narrow.

An outline by brightness can leave out a part of the arch beside cement. Round such
cement there is marrow and then a cortex on nearly all sides; round leaked cement there
is soft tissue on at least one.
"""

import numpy as np

from cemscope.measurement.cortex_ray import meets_cortex
from cemscope.measurement.leak_pieces import LeakPiece
from cemscope.measurement.leak_regions import PLACES, VertebraRegions

WALLED_SHARE = 0.75
"""Cement is in the bone if a cortex is met in this share of the directions: leaks into
a foramen have bone on two or three of four sides [our choice]."""

ACROSS = 16
"""Directions in the plane across a pedicle."""

MOST_CELLS = 150
"""So many cells of a piece tell."""

OPEN_PLACES = ("epidural", "disc_superior", "disc_inferior")
"""These have bone on most sides, and cement in them is a leak."""

HALF = 0.5


def is_walled(piece: LeakPiece, regions: VertebraRegions) -> bool:
    """Tell whether a piece behind the body has a cortex around it.

    Parameters
    ----------
    piece
        Connected cement outside the outlined bone.
    regions
        Around its vertebra.
    """
    index = np.argwhere(piece.cells & (regions.bone_mm > 0.0))
    if not len(index):
        return False
    open_codes = [PLACES.index(name) for name in OPEN_PLACES]
    if float(np.isin(regions.places[tuple(index.T)], open_codes).mean()) >= HALF:
        return False
    behind = regions.grid.local_mm(index)[:, 1] > float(regions.shell.upper_mm[1])
    if float(behind.mean()) < HALF:
        return False
    index = index[:: -(-len(index) // MOST_CELLS)]
    turns = 2.0 * np.pi * (np.arange(ACROSS) + 0.5) / ACROSS
    ways = np.stack([np.cos(turns), np.zeros(ACROSS), np.sin(turns)], axis=1)
    image = regions.cement, regions.hu, regions.grid.cell_mm
    met = [float(meets_cortex(index, way, *image).mean()) for way in ways]
    return float(np.mean(met)) >= WALLED_SHARE
