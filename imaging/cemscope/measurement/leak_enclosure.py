"""Cement within bone whose outline is drawn too narrow.

An outline by brightness can leave out a part of the arch beside cement. Round such
cement there is marrow and then a cortex on nearly all sides; round leaked cement there
is soft tissue on at least one. It can also end before the endplate: around such cement
no endplate is seen where the outline has it, but one is seen further on.
"""

import numpy as np
from scipy import ndimage

from cemscope.measurement.body_shell import RIM_MM
from cemscope.measurement.cortex_ray import RIDGE_HU, meets_cortex
from cemscope.measurement.leak_pieces import LeakPiece
from cemscope.measurement.leak_regions import PLACES, VertebraRegions
from cemscope.segmentation.scan_region import FloatArray

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


RING_MM = (2.0, 8.0)
"""The endplate is looked at so far beside a piece."""

AT_PLATE_MM, WITHIN_MM, NEXT_MM = (-2.0, 2.0), (-5.0, -3.0), (2.8, 9.0)
"""Depths, outwards from the outline, of an endplate that the outline follows, of marrow
behind it, and of an endplate that it has left out [our choice]."""

NEIGHBOUR_MM = 1.5
"""A plate so near to the next vertebra's outline is its own [our choice]."""

FEW_COLUMNS = 30
"""Fewer columns tell nothing: 15 mm2."""

LEAST_SEEN, LEAST_BEYOND = 0.3, 0.6
"""Shares of the columns [our choice]."""


def ends_early(piece: LeakPiece, regions: VertebraRegions) -> bool:
    """Tell whether a piece lies before the endplate that the outline left out.

    Parameters
    ----------
    piece
        Connected cement outside the outlined bone.
    regions
        Around its vertebra.
    """
    codes = regions.places[piece.cells]
    upper, lower = (
        float((codes == PLACES.index(name)).mean()) >= HALF
        for name in ("disc_superior", "disc_inferior")
    )
    if not (upper or lower):
        return False
    cell = regions.grid.cell_mm
    way = slice(None, None, -1 if lower else 1)
    inside = regions.shell.inside[:, :, way]
    hu, cement = regions.hu[:, :, way], regions.cement[:, :, way]
    bone_mm = regions.bone_mm[:, :, way]
    top = np.where(inside, np.arange(inside.shape[2]), -1).max(axis=2)
    away = ndimage.distance_transform_edt(~piece.cells.any(axis=2)) * cell
    ring = (away >= RING_MM[0]) & (away <= RING_MM[1]) & (top >= 0)
    ring &= ndimage.distance_transform_edt(top >= 0) * cell >= RIM_MM
    index = np.argwhere(ring)
    offset = np.arange(round(WITHIN_MM[0] / cell), round(NEXT_MM[1] / cell) + 1)
    height = np.clip(top[ring][:, None] + offset, 0, inside.shape[2] - 1)
    column = (index[:, :1], index[:, 1:], height)
    bare = (cement[column] < BARE_SHARE).all(axis=1) & (hu[column] != 0).all(axis=1)
    if bare.sum() < FEW_COLUMNS:
        return False
    profile = ndimage.uniform_filter(hu, (3, 3, 1))[column][bare]
    depth = offset * cell
    # The plate of the next vertebra was not left out by this one.
    next_one = (bone_mm[column][bare] <= NEIGHBOUR_MM) & (depth >= NEXT_MM[0])
    profile = np.where(next_one, -np.inf, profile)

    def brightest(limits: tuple[float, float]) -> FloatArray:
        chosen = (depth >= limits[0]) & (depth <= limits[1])
        return np.asarray(profile[:, chosen].max(axis=1), np.float64)

    marrow = np.median(profile[:, depth <= WITHIN_MM[1]], axis=1)
    seen = brightest(AT_PLATE_MM) - marrow >= RIDGE_HU
    beyond = brightest(NEXT_MM) - marrow >= RIDGE_HU
    return bool(seen.mean() < LEAST_SEEN and (beyond & ~seen).mean() >= LEAST_BEYOND)


BARE_SHARE = 0.1
"""Less cement than this hides no endplate."""
