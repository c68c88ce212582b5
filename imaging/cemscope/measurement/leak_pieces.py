"""Connected cement outside the bone of its vertebra."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.measurement.cell_distance import cells_within
from cemscope.measurement.cement_fraction import FractionMap, Ownership
from cemscope.measurement.leak_regions import PLACES, VertebraRegions
from cemscope.measurement.vertebra_grid import Float32Array
from cemscope.segmentation.scan_region import FloatArray
from cemscope.volume import BoolArray, LabelArray

SOLID_SHARE = 0.35
"""A cell with this share of cement is part of a leak; thin veins never reach one."""

JOINED_SHARE = 0.15
"""Parts joined by cells of this share are one leak: a vein narrower than the blur."""

CREST_MM = 7.0
"""So near to metal, streaks can read as a share of cement of a third to a half."""

SURE_SHARE = 0.65
"""There only this share is cement."""

MOST_SHARE = 0.95
"""No more is ever asked: cement reads 1 at most."""

BLOOM_MM = 2.0
"""Nearer to metal than this, nothing proves a leak: blooming reads as pure cement."""

NEAR_MM = 2.0
"""Blur and thin rims within this distance count for a piece."""


@dataclass(frozen=True, slots=True, eq=False)
class LeakPiece:
    """One piece of cement outside.

    Attributes
    ----------
    cells : ndarray of bool
        On the grid of the vertebra's regions.
    reach_mm : float
        Furthest distance from bone.
    distance_mm : float
        Furthest distance from the body's surface.
    """

    cells: BoolArray
    reach_mm: float
    distance_mm: float


@dataclass(frozen=True, slots=True)
class PieceLimits:
    """What a piece must have to be more than cement that abuts the cortex.

    Attributes
    ----------
    minimum_distance_mm
        From bone, for a cell.
    minimum_reach_mm
        From bone, for the furthest cell.
    minimum_volume_ml
        Of the solid cells and what joins them.
    buried_counts
        Whether a vein on the posterior wall reaches as far as it is thick: outlines
        by brightness take half of it for bone.
    """

    minimum_distance_mm: float
    minimum_reach_mm: float
    minimum_volume_ml: float
    buried_counts: bool = False


def find_pieces(
    regions: VertebraRegions,
    limits: PieceLimits,
    least_share: Float32Array | None = None,
) -> tuple[LeakPiece, ...]:
    """Find the pieces of a vertebra, the largest first.

    Parameters
    ----------
    regions, limits
        Where to look, and what a piece must have.
    least_share
        Share of cement that a cell must have where more is asked than usual: streaks
        would join a leak to everything that they reach.
    """
    away = regions.bone_mm >= limits.minimum_distance_mm
    solid = (regions.cement >= SOLID_SHARE) & away
    joined = (regions.cement >= JOINED_SHARE) & away
    # Streaks of metal and the crests beside it are bright, too.
    crest = np.where(regions.bare_mm <= CREST_MM, SURE_SHARE, 0.0)
    least = np.maximum(crest, regions.streak_share)
    if least_share is not None:
        least = np.maximum(least, least_share)
    solid &= regions.cement >= np.minimum(least, MOST_SHARE)
    joined &= regions.cement >= 0.8 * np.minimum(least, MOST_SHARE)
    solid &= (regions.streak_share <= 1.0) | ~np.isfinite(regions.metal_mm)
    solid &= regions.bare_mm >= BLOOM_MM
    if not solid.any():
        return ()
    # An outline that is a little too wide must not cut a vein along the wall in two.
    shallow = shallow_cement(regions) & cells_within(
        solid, ALONG_MM / regions.grid.cell_mm
    )
    joined |= shallow
    joined |= _bridges(joined & (regions.cement >= SOLID_SHARE), regions)
    labels, count = ndimage.label(joined, np.ones((3, 3, 3)))
    cell_ml = regions.grid.cell_mm**3 / 1000.0
    held = np.bincount(labels[solid], minlength=count + 1) * cell_ml
    order = np.argsort(-held, kind="stable")
    pieces = []
    for number in order[held[order] >= LEAST_PART * limits.minimum_volume_ml]:
        cells = solid & (labels == number)
        reach = float(regions.bone_mm[cells].max())
        buried = 0.0
        if limits.buried_counts and _in_canal(cells, regions):
            sunk = shallow & (labels == number)
            buried = float(-regions.bone_mm[sunk].min(initial=0.0))
        if reach + buried < limits.minimum_reach_mm:
            continue
        distance = float(regions.shell.distance_mm[cells].max())
        pieces.append(LeakPiece(labels == number, reach, distance))
    return tuple(pieces)


def _in_canal(cells: BoolArray, regions: VertebraRegions) -> bool:
    """Whether most of a piece lies in the epidural space."""
    return float((regions.places[cells] == PLACES.index("epidural")).mean()) >= 0.5


BRIDGE_MM = 3.5
"""Parts of a leak that meet at its root lie so near to each other."""


def _bridges(solid: BoolArray, regions: VertebraRegions) -> BoolArray:
    """Cement in the surface of the body that may join parts of a leak at its root."""
    cell = regions.grid.cell_mm
    rind = (regions.cement >= 0.5) & (np.abs(regions.shell.distance_mm) <= 1.2)
    rind &= regions.bone_mm > -1.2
    if not rind.any():
        return rind
    near = cells_within(solid, BRIDGE_MM / cell)
    return np.asarray(rind & near, np.bool_)


SHALLOW_MM = 1.8
"""Outlines are wrong by up to this near cement: what lies no deeper may be outside."""

DEEPER_MM = 2.6
"""Cement of the body goes on to this depth; a vein outside does not."""

ALONG_MM = 3.0
"""A vein within the outline comes out of it within this distance [our choice]."""

WALL_QUANTILE, OVER_WALL = 0.75, 1.1
"""Cement covers less of a body's surface than a quarter; what is no brighter than the
rest of it is cortex: sclerotic endplates read as a share of cement, too."""

CLEAR_SHARE = 0.3
"""Less cement than this at that depth means that there is none."""


def shallow_cement(regions: VertebraRegions) -> BoolArray:
    """Cells just below the surface of the body whose cement does not go deeper.

    A vein that runs along the wall lies partly within an outline that is too wide.
    """
    distance = regions.shell.distance_mm
    band = (distance > -SHALLOW_MM) & (distance <= regions.grid.cell_mm)
    band &= (regions.bone_mm <= 1.0) & (regions.cement >= SOLID_SHARE) & ~regions.arch
    shallow = np.zeros(band.shape, np.bool_)
    index = np.argwhere(band)
    if not len(index):
        return shallow
    box = tuple(
        slice(max(a - 8, 0), b + 9)
        for a, b in zip(index.min(axis=0), index.max(axis=0), strict=True)
    )
    start = [part.start for part in box]
    smooth = ndimage.gaussian_filter(distance[box], 1.0)
    at = tuple((index - start).T)
    normal = np.stack([slope[at] for slope in np.gradient(smooth)], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    depth = (distance[tuple(index.T)] + DEEPER_MM) / regions.grid.cell_mm
    inwards = (index - normal * depth[:, None]).T
    below = ndimage.map_coordinates(regions.cement, inwards, order=1, mode="nearest")
    crest = _wall_crest_hu(regions)
    index = index[(below < CLEAR_SHARE) & (regions.hu[tuple(index.T)] > crest)]
    shallow[tuple(index.T)] = True
    # Blur alone carries a vein outside a right outline this far in.
    surely = shallow & (distance < -BLURRED_IN_MM)
    if not surely.any():
        return surely
    around = cells_within(surely, 2.0 / regions.grid.cell_mm)
    return np.asarray(shallow & around, np.bool_)


def _wall_crest_hu(regions: VertebraRegions) -> float:
    """Brightness that the cortex of this body keeps below."""
    distance = regions.shell.distance_mm
    wall = (distance > -SHALLOW_MM) & (distance <= 0.0) & ~regions.arch
    wall &= regions.hu != 0
    if not wall.any():
        return -np.inf
    return OVER_WALL * float(np.quantile(regions.hu[wall], WALL_QUANTILE))


BLURRED_IN_MM = 0.9
"""A right outline has no cement of a vein deeper than this."""

LEAST_PART = 0.3
"""Solid cells hold at least this part of the least volume; blur holds the rest."""


@dataclass(frozen=True, slots=True, eq=False)
class PieceVoxels:
    """A piece on the scan's voxels.

    Attributes
    ----------
    index : ndarray of int, shape (n, 3)
        Voxels of the cluster.
    local_mm : ndarray, shape (n, 3)
        Their centres in the vertebra's frame.
    share : ndarray, shape (n,)
        Cement in each.
    volume_ml : float
        Sum of the shares.
    """

    index: FloatArray
    local_mm: FloatArray
    share: FloatArray
    volume_ml: float


def _spread(labels: LabelArray, cell_mm: float) -> LabelArray:
    """Carry labels over to the cells near them, each by the nearest one."""
    spread = np.zeros_like(labels)
    marked = ndimage.find_objects((labels > 0).view(np.uint8))
    if not marked:
        return spread
    margin = int(np.ceil(NEAR_MM / cell_mm)) + 1
    box = tuple(
        slice(max(part.start - margin, 0), part.stop + margin) for part in marked[0]
    )
    part = labels[box]
    away, nearest = ndimage.distance_transform_edt(part == 0, return_indices=True)
    spread[box] = np.where(away * cell_mm <= NEAR_MM, part[tuple(nearest)], 0)
    return spread


def voxels_of_pieces(
    pieces: tuple[LeakPiece, ...],
    regions: VertebraRegions,
    fractions: FractionMap,
    owners: Ownership,
    number: int,
) -> tuple[PieceVoxels, ...]:
    """Sum each piece by partial volume, with its blur, outside the bone only."""
    region = fractions.part.region
    labels: LabelArray = np.zeros(regions.grid.shape, np.uint8)
    for k, piece in enumerate(pieces, start=1):
        labels[piece.cells] = k
    belongs = _spread(labels, regions.grid.cell_mm)
    counted = fractions.halo & (owners.owner == number) & (fractions.fraction != 0)
    index = np.argwhere(counted)
    local = regions.vertebra.frame.to_local_mm(region.geometry.index_to_lps(index))
    cell = np.rint(regions.grid.index_of(local)).astype(int)
    on_grid = ((cell >= 0) & (cell < regions.grid.shape)).all(axis=1)
    index, local, cell = index[on_grid], local[on_grid], cell[on_grid]
    mine = belongs[tuple(cell.T)]
    outside = regions.grid.at(regions.bone_mm, local) > 0.0
    outside |= (shallow_cement(regions) & (labels > 0))[tuple(cell.T)]
    outside &= mine > 0
    share = fractions.fraction[tuple(index.T)].astype(float)
    found = []
    for k in range(1, len(pieces) + 1):
        own = outside & (mine == k)
        found.append(
            PieceVoxels(
                index[own],
                local[own],
                share[own],
                float(share[own].sum()) * region.voxel_ml,
            )
        )
    return tuple(found)
