"""Truth of a cement scan: volumes, masks and screws, from the shapes that were scanned.

All volumes are sums over cells of at most 0.35 mm with their share of cement, aligned
with the scan's voxels, so that mask and volume belong together.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.testing.aligned_sampling import coverage_of, sample_aligned
from cemscope.testing.lumbar_anatomy import VertebraShape
from cemscope.testing.lumbar_cement import LevelCement
from cemscope.testing.lumbar_implants import PlacedScrew
from cemscope.testing.lumbar_truth import ScrewTruth
from cemscope.testing.quick_scanner import QuickScan
from cemscope.testing.scalar_field import PlaneGrid, ScalarField
from cemscope.testing.spine_bones import BoneFields
from cemscope.testing.spine_patient import SpinePatient
from cemscope.testing.tissue_layers import box_of
from cemscope.volume import LabelMap, Mask

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Point = tuple[float, float, float]

TRUTH_CELL_MM = 0.35
"""Cells in which truth is summed are no larger than this."""


@dataclass(frozen=True, slots=True)
class LevelTruth:
    """One vertebra of a cement scan, positions in the scan's coordinates.

    Attributes
    ----------
    level : str
        True name.
    whole_in_view : bool
        Whether the scan holds all of it.
    body_volume_ml : float
        Inside the outer surface of the body.
    centroid_lps_mm, left, posterior, superior : tuple of float
        The body's centre and axes.
    cement_ml : float
        All cement of this vertebra; the sum of the three parts that follow.
    intrabody_ml, pedicle_ml, leaked_ml : float
        Inside the body, elsewhere in the bone, and outside the bone.
    """

    level: str
    whole_in_view: bool
    body_volume_ml: float
    centroid_lps_mm: Point
    left: Point
    posterior: Point
    superior: Point
    cement_ml: float
    intrabody_ml: float
    pedicle_ml: float
    leaked_ml: float


@dataclass(frozen=True, slots=True)
class CementTruth:
    """All of one scan; vertebrae from the head to the feet."""

    vertebrae: tuple[LevelTruth, ...]
    screws: tuple[ScrewTruth, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CementMasks:
    """Truth on the scan's grid.

    Attributes
    ----------
    owner : LabelMap
        Voxels that are cement by half or more, under the number of its vertebra.
    metal : Mask
        Voxels that are metal by half or more.
    """

    owner: LabelMap
    metal: Mask


@dataclass(frozen=True, slots=True)
class _Volumes:
    intrabody_ml: float
    pedicle_ml: float
    leaked_ml: float


def cement_truth(
    patient: SpinePatient, scan: QuickScan
) -> tuple[CementTruth, CementMasks]:
    """Measure a patient on a scan."""
    grid = scan.voxels
    most = np.full(grid.shape, np.float32(0.5))
    owner = np.zeros(grid.shape, np.uint8)
    volumes: dict[str, _Volumes] = {}
    bones = {b.name: b for b in patient.bones}
    for cement in patient.cements:
        shape = bones[cement.level].shape
        volumes[cement.level] = _add_level(
            cement, shape, patient.metal_parts, grid, (most, owner)
        )
    metal = _metal(patient.metal_parts, grid) & (owner == 0)
    names = {b.shape.level.number: b.name for b in patient.bones}
    masks = CementMasks(
        LabelMap(_stored(owner, scan), scan.geometry, names),
        Mask(_stored(metal, scan).astype(bool), scan.geometry),
    )
    vertebrae = tuple(
        truth
        for bone in patient.bones
        if (truth := _vertebra(bone, volumes.get(bone.name), scan)) is not None
    )
    screws = tuple(_screw(s, scan) for s in patient.screws)
    return CementTruth(vertebrae, screws), masks


def _add_level(
    cement: LevelCement,
    shape: VertebraShape,
    metal: tuple[ScalarField, ...],
    grid: PlaneGrid,
    maps: tuple[Float32Array, npt.NDArray[np.uint8]],
) -> _Volumes:
    """Measure the cement of a level and note its voxels in the maps."""
    box = box_of(cement.cement, grid)
    if box is None:
        return _Volumes(0.0, 0.0, 0.0)
    total = np.zeros(3)
    most, owner = maps[0][box], maps[1][box]
    part = grid.crop(box)
    across, through = splits_of(grid)
    cell_ml = (grid.cell_mm / across) ** 2 * grid.plane_mm / through / 1000.0
    for plane in range(part.shape[0]):  # one slice at a time: cells are small
        row = part.crop((slice(plane, plane + 1), *_all(part)))
        fine = refined_cells(row, across, through)
        share = _share(cement.cement, fine)
        if not share.any():
            continue
        for piece in metal:
            if box_of(piece, fine) is not None:
                share *= 1.0 - share_within(piece, fine)
        body = share_within(shape.body, fine)
        bone = np.maximum(share_within(shape.bone, fine), body)
        inside, within = float((share * body).sum()), float((share * bone).sum())
        total += np.array([inside, within - inside, float(share.sum()) - within])
        n = (through, part.shape[1], across, part.shape[2], across)
        mean = share.reshape(n).mean(axis=(0, 2, 4))
        won = mean >= most[plane]
        owner[plane][won] = shape.level.number
        most[plane][won] = mean[won]
    inside, pedicle, leaked = (float(v) for v in total * cell_ml)
    return _Volumes(round(inside, 4), round(pedicle, 4), round(leaked, 4))


def splits_of(grid: PlaneGrid) -> tuple[int, int]:
    """How often cells are split within planes and through them."""
    sizes = (grid.cell_mm, grid.plane_mm)
    across, through = (int(np.ceil(s / TRUTH_CELL_MM - 1e-9)) for s in sizes)
    return across, through


def _all(grid: PlaneGrid) -> tuple[slice, slice]:
    return slice(0, grid.shape[1]), slice(0, grid.shape[2])


def refined_cells(grid: PlaneGrid, across: int, through: int) -> PlaneGrid:
    """Split cells; `PlaneGrid.refine` knows only one number for all axes."""
    x, y, z = grid.first_mm
    back = 0.5 * (1.0 / across - 1.0) * grid.cell_mm
    down = 0.5 * (1.0 / through - 1.0) * grid.plane_mm
    planes, rows, columns = grid.shape
    return PlaneGrid(
        (x + back, y + back, z + down),
        grid.cell_mm / across,
        grid.plane_mm / through,
        (planes * through, rows * across, columns * across),
        grid.pose,
    )


def _share(field: ScalarField, grid: PlaneGrid) -> Float32Array:
    width = float(np.cbrt(grid.cell_mm**2 * grid.plane_mm))
    return coverage_of(sample_aligned(field, grid), width)


def share_within(field: ScalarField, grid: PlaneGrid) -> Float32Array:
    """Share of a shape; 0 beyond its lattice."""
    total = np.zeros(grid.shape, np.float32)
    box = box_of(field, grid)
    if box is not None:
        total[box] = _share(field, grid.crop(box))
    return total


def _metal(parts: tuple[ScalarField, ...], grid: PlaneGrid) -> npt.NDArray[np.uint8]:
    total = np.zeros(grid.shape, np.uint8)
    for piece in parts:
        box = box_of(piece, grid)
        if box is not None:
            total[box] |= _share(piece, grid.crop(box)) >= 0.5
    return total


def _stored(array: npt.NDArray[np.uint8], scan: QuickScan) -> npt.NDArray[np.uint8]:
    return np.asarray(scan.stored(array), np.uint8)


def _vertebra(
    bone: BoneFields, cement: _Volumes | None, scan: QuickScan
) -> LevelTruth | None:
    """Give the truth of a vertebra; None if its body's centre is out of view."""
    shape = bone.shape
    body = shape.body
    inside = body.lattice.points_mm()[body.values < 0]
    grid = scan.voxels
    low = np.asarray(grid.first_mm)
    steps = np.array([grid.cell_mm, grid.cell_mm, grid.plane_mm])
    high = low + steps * (np.array(grid.shape)[::-1] - 1)
    whole = bool(((inside >= low) & (inside <= high)).all())
    centre = shape.frame.origin_lps_mm
    if not ((centre >= low) & (centre <= high)).all():
        return None
    volumes = cement or _Volumes(0.0, 0.0, 0.0)
    total = volumes.intrabody_ml + volumes.pedicle_ml + volumes.leaked_ml
    return LevelTruth(
        bone.name,
        whole,
        round(shape.body_volume_ml, 3),
        scan_point(centre, scan),
        scan_direction(shape.frame.left, scan),
        scan_direction(shape.frame.posterior, scan),
        scan_direction(shape.frame.superior, scan),
        round(total, 4),
        volumes.intrabody_ml,
        volumes.pedicle_ml,
        volumes.leaked_ml,
    )


def _screw(screw: PlacedScrew, scan: QuickScan) -> ScrewTruth:
    plan = screw.plan
    return ScrewTruth(
        plan.level,
        plan.side.value,
        scan_point(screw.head_mm, scan),
        scan_point(screw.tip_mm, scan),
        scan_direction(screw.axis, scan),
        plan.diameter_mm,
        plan.shaft_mm,
        round(float(np.linalg.norm(screw.tip_mm - screw.head_mm)), 2),
        plan.cannulated,
        plan.cement_ml > 0,
        round(screw.pedicle_clearance_mm, 2),
        plan.lucency_mm,
        plan.lucency_mm > 0,
    )


def scan_point(table_mm: FloatArray, scan: QuickScan) -> Point:
    """Bring a table position into the scan's coordinates."""
    point = scan.pose.to_patient(table_mm) if scan.patient_axes else table_mm
    return _point(point, 3)


def scan_direction(table: FloatArray, scan: QuickScan) -> Point:
    """Bring a direction on the table into the scan's coordinates."""
    return _point(table @ scan.pose.matrix if scan.patient_axes else table, 6)


def _point(values: npt.NDArray[np.float64], digits: int) -> Point:
    x, y, z = (round(float(v), digits) + 0.0 for v in values)
    return x, y, z
