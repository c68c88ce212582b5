"""Truth of leaks, from the shapes that were drawn and from nothing else.

Volumes are sums over cells of at most 0.35 mm, aligned with the scan's voxels, as for
`cement_truth`; places come from the body's own walls (`leak_place`), encroachment from
the drawn bones (`leak_canal`). Where a place ends is a matter of convention: places are
told with tolerances.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from cemscope.testing.body_ruler import BodyRuler
from cemscope.testing.cement_truth import (
    refined_cells,
    scan_point,
    share_within,
    splits_of,
)
from cemscope.testing.leak_place import LeakPlaces
from cemscope.testing.leak_shape import DrawnLeak, LeakyPatient
from cemscope.testing.lumbar_anatomy import VertebraShape
from cemscope.testing.quick_scanner import QuickScan
from cemscope.testing.scalar_field import PlaneGrid
from cemscope.testing.spine_patient import SpinePatient
from cemscope.testing.tissue_layers import box_of
from cemscope.volume import LabelMap, Mask

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Point = tuple[float, float, float]

FILLED_SHARE = 0.5
"""Cells with less cement are no part of a leak's extent."""

LEAST_ML, LEAST_MM = 0.02, 1.0
"""Less cement, or cement nearer to the body, only abuts it [operational, as in the
definitions of the report]."""

CANAL_MARGIN_MM = 24.0
"""The canal's section is looked at within this distance of its middle."""


@dataclass(frozen=True, slots=True)
class LeakTruth:
    """A leak, positions in the scan's coordinates.

    Attributes
    ----------
    number : int
        In the label map of leaks.
    level : str
        Vertebra that it comes from.
    types : tuple of str
        Routes; several where leaks ran into each other, the largest first.
    side : str
        Of the first.
    end : str
        Where the first was sent (`leak_route.RouteEnd`).
    locations, certain_locations, possible_locations : tuple of str
        See `leak_place.PlaceShares`.
    volume_ml : float
        Outside the closed surface of the body and outside any bone.
    max_distance_mm : float
        Furthest distance from the surface of the body.
    centroid_lps_mm, exit_lps_mm : tuple of float
        Middle of the cement outside, and where the first route leaves the bone.
    exit_height : float
        Of that place, fraction from the lower to the upper endplate of the body.
    canal_encroachment_percent : float
        Cement area / canal area, in the scan's worst slice; 0 beside the canal.
    canal_depth_mm : float
        Largest sagittal extent of the cement in the canal in that slice.
    worst_slice : int
        Its index in the stored order; -1 where there is none.
    is_leak : bool
        Whether it is more than abutting cement.
    """

    number: int
    level: str
    types: tuple[str, ...]
    side: str
    end: str
    locations: tuple[str, ...]
    certain_locations: tuple[str, ...]
    possible_locations: tuple[str, ...]
    volume_ml: float
    max_distance_mm: float
    centroid_lps_mm: Point
    exit_lps_mm: Point
    exit_height: float
    canal_encroachment_percent: float
    canal_depth_mm: float
    worst_slice: int
    is_leak: bool


@dataclass(frozen=True, slots=True, eq=False)
class LeakMasks:
    """Truth on the scan's grid.

    Attributes
    ----------
    leaks : LabelMap
        Voxels that are leaked cement by half or more, under the leak's number.
    canal : Mask
        The spinal canal with whatever is in it.
    """

    leaks: LabelMap
    canal: Mask


def leak_truth(
    leaky: LeakyPatient, scan: QuickScan
) -> tuple[tuple[LeakTruth, ...], LeakMasks]:
    """Measure the leaks of a patient on a scan."""
    grid = scan.voxels
    shapes = {b.name: b.shape for b in leaky.patient.bones}
    most = np.full(grid.shape, np.float32(FILLED_SHARE))
    numbers = np.zeros(grid.shape, np.uint8)
    truths = []
    for number, leak in enumerate(leaky.leaks, start=1):
        cells = _cells(leak, leaky.patient, grid)
        if cells is None:
            continue
        won = cells.mean >= most[cells.box]
        numbers[cells.box][won] = number
        most[cells.box][won] = cells.mean[won]
        shape = shapes[leak.plans[0].level]
        truths.append(_truth(number, leak, cells, shape, leaky, scan))
    names = {t.number: f"leak {t.number} of {t.level}" for t in truths}
    canal = _canal_mask(leaky, grid)
    masks = LeakMasks(
        LabelMap(np.asarray(scan.stored(numbers), np.uint8), scan.geometry, names),
        Mask(np.asarray(scan.stored(canal), np.bool_), scan.geometry),
    )
    return tuple(truths), masks


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """A leak's cement outside the bone: mean per voxel, and its fine cells."""

    box: tuple[slice, slice, slice]
    mean: Float32Array
    points_mm: FloatArray
    shares: FloatArray
    cell_ml: float

    @property
    def volume_ml(self) -> float:
        return float(self.shares.sum()) * self.cell_ml


def _cells(leak: DrawnLeak, patient: SpinePatient, grid: PlaneGrid) -> _Cells | None:
    box = box_of(leak.whole, grid)
    if box is None:
        return None
    part = grid.crop(box)
    across, through = splits_of(grid)
    mean = np.zeros(part.shape, np.float32)
    points, shares = [], []
    for plane in range(part.shape[0]):
        row = part.crop(
            (slice(plane, plane + 1), slice(0, part.shape[1]), slice(0, part.shape[2]))
        )
        fine = refined_cells(row, across, through)
        share = share_within(leak.whole, fine)
        if not share.any():
            continue
        for metal in patient.metal_parts:
            if box_of(metal, fine) is not None:
                share *= 1.0 - share_within(metal, fine)
        share *= 1.0 - _bone_share(patient, fine)
        n = (through, part.shape[1], across, part.shape[2], across)
        mean[plane] = share.reshape(n).mean(axis=(0, 2, 4))
        used = share > 0.02
        points.append(fine.points_mm()[used])
        shares.append(share[used])
    if not points or not sum(len(s) for s in shares):
        return None
    cell_ml = (grid.cell_mm / across) ** 2 * grid.plane_mm / through / 1000.0
    table = grid.pose.to_table(np.concatenate(points))
    return _Cells(box, mean, table, np.concatenate(shares).astype(float), cell_ml)


def _bone_share(patient: SpinePatient, grid: PlaneGrid) -> Float32Array:
    total = np.zeros(grid.shape, np.float32)
    for bone in patient.bones:
        for field in (bone.shape.bone, bone.shape.body):
            if box_of(field, grid) is not None:
                np.maximum(total, share_within(field, grid), out=total)
    return total


def _truth(
    number: int,
    leak: DrawnLeak,
    cells: _Cells,
    shape: VertebraShape,
    leaky: LeakyPatient,
    scan: QuickScan,
) -> LeakTruth:
    plan, path = leak.plans[0], leak.paths[0]
    volume = cells.volume_ml
    filled = cells.points_mm[cells.shares >= FILLED_SHARE]
    if not len(filled):
        filled = cells.points_mm[cells.shares >= 0.5 * cells.shares.max()]
    farthest = float(from_body_mm(shape, filled).max())
    places = LeakPlaces(shape, leaky.canal).shares(
        cells.points_mm, cells.shares, leak.plans, leak.paths
    )
    percent, depth, plane = _encroachment(cells, leaky, scan.voxels)
    if plane >= 0 and scan.head_first:
        plane = scan.slices - 1 - plane
    local = shape.frame.to_local_mm(path.exit_mm)
    low, high = BodyRuler(shape).column(float(local[0]) * 0.8, float(local[1]) * 0.8)
    centre = np.average(cells.points_mm, axis=0, weights=cells.shares)
    kinds = dict.fromkeys(p.leak_type.value for p in leak.plans)
    return LeakTruth(
        number,
        plan.level,
        tuple(kinds),
        plan.side.value,
        plan.end.value,
        places.named,
        places.certain,
        places.possible,
        round(volume, 4),
        round(farthest, 2),
        scan_point(centre, scan),
        scan_point(path.exit_mm, scan),
        round((float(local[2]) - low) / max(high - low, 1.0), 3),
        round(percent, 2),
        round(depth, 2),
        plane,
        volume >= LEAST_ML and farthest >= LEAST_MM,
    )


def from_body_mm(shape: VertebraShape, points_mm: FloatArray) -> FloatArray:
    """Distance of points from the closed surface of a body."""
    lattice = shape.body.lattice
    depth = shape.body.values
    rim = np.argwhere((depth <= 0) & (depth > -2.0 * lattice.spacing_mm))
    known = np.asarray(lattice.origin_mm) + rim[:, ::-1] * lattice.spacing_mm
    deep = depth[tuple(rim.T)].astype(float)
    # A node at depth t is t nearer to the surface than to the point behind it.
    away, nearest = cKDTree(known).query(points_mm, k=8)
    return np.asarray((away + deep[nearest]).min(axis=1))


def _encroachment(
    cells: _Cells, leaky: LeakyPatient, grid: PlaneGrid
) -> tuple[float, float, int]:
    """Percent, sagittal depth in mm and plane of the worst slice."""
    worst = (0.0, 0.0, -1)
    near = leaky.canal.distance_mm(cells.points_mm) < 0
    if not near.any():
        return worst
    first = grid.first_mm
    height = cells.points_mm[near, 2]
    plane = np.rint((height - first[2]) / grid.plane_mm).astype(int)
    across, through = splits_of(grid)
    fine_mm = grid.cell_mm / across
    for k in np.unique(plane):
        mine = plane == k
        points, shares = cells.points_mm[near][mine], cells.shares[near][mine]
        area = canal_area_mm2(leaky, grid, int(k))
        if area <= 0:
            continue
        percent = 100.0 * float(shares.sum()) * fine_mm**2 / through / area
        if percent > worst[0]:
            # Centres of cells lie on whole or on half numbers.
            column = np.floor((points[:, 0] - first[0]) / fine_mm + 0.25).astype(int)
            column -= column.min()
            depth = np.bincount(column, shares).max() * fine_mm / through
            worst = (percent, float(depth), int(k))
    return worst


def canal_area_mm2(leaky: LeakyPatient, grid: PlaneGrid, plane: int) -> float:
    """Area of the canal in a slice, mean over its thickness."""
    height = grid.first_mm[2] + plane * grid.plane_mm
    x, y, _ = leaky.canal.centre_mm(height)
    step = 0.35
    count = int(2 * CANAL_MARGIN_MM / step)
    _, through = splits_of(grid)
    down = 0.5 * (1.0 / through - 1.0) * grid.plane_mm
    fine = PlaneGrid(
        (x - CANAL_MARGIN_MM, y - CANAL_MARGIN_MM, height + down),
        step,
        grid.plane_mm / through,
        (through, count, count),
        grid.pose,
    )
    inside = _canal_share(leaky, fine)
    return float(inside.sum()) * step**2 / through


def _canal_share(leaky: LeakyPatient, grid: PlaneGrid) -> Float32Array:
    table = grid.pose.to_table(grid.points_mm())
    inside = leaky.canal.distance_mm(table) < 0
    return np.asarray(inside * (1.0 - _bone_share(leaky.patient, grid)), np.float32)


def _canal_mask(leaky: LeakyPatient, grid: PlaneGrid) -> npt.NDArray[np.uint8]:
    mask = np.zeros(grid.shape, np.uint8)
    for k in range(grid.shape[0]):
        height = grid.first_mm[2] + k * grid.plane_mm
        x, y, _ = leaky.canal.centre_mm(height)
        low = [
            max(int((c - CANAL_MARGIN_MM - f) / grid.cell_mm), 0)
            for c, f in ((y, grid.first_mm[1]), (x, grid.first_mm[0]))
        ]
        count = int(2 * CANAL_MARGIN_MM / grid.cell_mm)
        rows = slice(low[0], min(low[0] + count, grid.shape[1]))
        columns = slice(low[1], min(low[1] + count, grid.shape[2]))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        part = grid.crop((slice(k, k + 1), rows, columns))
        mask[k, rows, columns] = _canal_share(leaky, part)[0] >= FILLED_SHARE
    return mask
