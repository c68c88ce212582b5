"""Truth of a simulated patient on a quick scan: labels, names, volumes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.testing.aligned_sampling import sample_aligned
from cemscope.testing.lumbar_cement import LevelCement, metal_distance
from cemscope.testing.quick_scanner import QuickScan
from cemscope.testing.scalar_field import ScalarField, coverage
from cemscope.testing.spine_bones import BoneFields
from cemscope.testing.spine_patient import SpinePatient
from cemscope.testing.tissue_layers import box_of
from cemscope.volume import LabelMap

Point = tuple[float, float, float]

WHOLE_SHARE = 0.998
"""A body counts as whole in view if this share of its volume is."""

LEAST_SHARE = 0.02
"""A body with less in view is not mentioned."""


@dataclass(frozen=True, slots=True)
class VertebraTruth:
    """One vertebra of a scan.

    Attributes
    ----------
    level : str
        True name.
    body_volume_ml : float
        Inside the closed outer surface of the whole body.
    share_in_view : float
        Of the body.
    whole_in_view : bool
        Whether the scan has all of it.
    centroid_lps_mm : tuple of float
        Of the whole body, in the scan's coordinates.
    superior : tuple of float
        Axis of the body.
    collapse : str
        "", "wedge", "biconcave" or "crush".
    collapse_loss : float
        Share of the height that is lost where it is lost most.
    intrabody_ml, leaked_ml : float
        Cement.
    screws : int
        How many.
    ribs : bool
        Whether it bears ribs.
    """

    level: str
    body_volume_ml: float
    share_in_view: float
    whole_in_view: bool
    centroid_lps_mm: Point
    superior: Point
    collapse: str
    collapse_loss: float
    intrabody_ml: float
    leaked_ml: float
    screws: int
    ribs: bool


@dataclass(frozen=True, slots=True)
class SpineTruth:
    """All of one scan; vertebrae from the head to the feet.

    ``sacrum_lps_mm`` is the centre of the body of S1, ``sacrum_in_view`` whether the
    scan holds it.
    """

    vertebrae: tuple[VertebraTruth, ...]
    sacrum_lps_mm: Point
    sacrum_in_view: bool


def label_map(patient: SpinePatient, scan: QuickScan) -> LabelMap:
    """Bodies under their number and arches under number + 100, as in `Spine.labels`.

    A body is the closed body with its cortex, cut from the arch at the posterior wall.
    """
    grid = scan.voxels
    labels = np.zeros(grid.shape, np.uint8)
    deepest = np.full(grid.shape, np.float32(0.0))
    names: dict[int, str] = {}
    for bone in patient.bones:
        box = box_of(bone.shape.bone, grid)
        if box is None:
            continue
        part = grid.crop(box)
        level = bone.shape.level
        names |= {level.number: level.name, level.arch_number: f"{level.name} arch"}
        # Where bones of neighbours overlap, the deeper one has the voxel.
        whole = sample_aligned(bone.shape.bone, part)
        body = sample_aligned(bone.shape.body, part)
        mine = np.minimum(whole, body)
        won = mine < deepest[box]
        labels[box][won] = level.arch_number
        labels[box][won & (body < 0)] = level.number
        deepest[box] = np.minimum(deepest[box], mine)
    stored = np.asarray(scan.stored(labels), np.uint8)
    return LabelMap(stored, scan.geometry, names)


def spine_truth(patient: SpinePatient, scan: QuickScan) -> SpineTruth:
    """Measure a patient; positions are in the coordinates of ``scan.geometry``."""
    cements = {c.level: c for c in patient.cements}
    vertebrae = []
    for bone in patient.bones:
        truth = _vertebra(patient, bone, cements.get(bone.name), scan)
        if truth.share_in_view >= LEAST_SHARE:
            vertebrae.append(truth)
    sacrum = _scan_point(patient.sacrum_centre_mm(), scan)
    return SpineTruth(
        tuple(vertebrae), sacrum, scan.geometry.contains_lps(np.array(sacrum))
    )


def _vertebra(
    patient: SpinePatient, bone: BoneFields, cement: LevelCement | None, scan: QuickScan
) -> VertebraTruth:
    shape = bone.shape
    lattice = shape.body.lattice
    inside = coverage(shape.body.values, lattice.spacing_mm)
    grid = scan.voxels
    x, y, z = grid.first_mm
    steps = np.array([grid.plane_mm, grid.cell_mm, grid.cell_mm])
    low = np.array([z, y, x]) - 0.5 * steps
    high = low + np.array(grid.shape) * steps
    seen = inside
    for axis in range(3):
        line = lattice.origin_mm[2 - axis] + lattice.spacing_mm * np.arange(
            lattice.shape[axis]
        )
        kept = (line >= low[axis]) & (line <= high[axis])
        seen = np.compress(kept, seen, axis=axis)
    share = float(seen.sum() / inside.sum())
    plan = next(v.plan for v in patient.standing.vertebrae if v.plan.name == bone.name)
    within, leaked = _cement_ml(bone, cement, patient.metal_parts)
    superior = shape.frame.superior
    if scan.patient_axes:
        superior = superior @ scan.pose.matrix
    return VertebraTruth(
        bone.name,
        round(shape.body_volume_ml, 3),
        round(share, 4),
        share >= WHOLE_SHARE,
        _scan_point(shape.frame.origin_lps_mm, scan),
        _point(superior, 4),
        plan.collapse.kind if plan.collapse else "",
        plan.collapse.loss if plan.collapse else 0.0,
        within,
        leaked,
        sum(s.plan.level == bone.name for s in patient.screws),
        plan.ribs_mm > 0,
    )


def _cement_ml(
    bone: BoneFields, cement: LevelCement | None, metal: tuple[ScalarField, ...]
) -> tuple[float, float]:
    if cement is None:
        return 0.0, 0.0
    lattice = cement.cement.lattice
    points = lattice.points_mm()
    width = lattice.spacing_mm
    share = coverage(cement.cement.values, width)
    share = share * (1.0 - coverage(metal_distance(metal, points), width))
    body = coverage(bone.shape.body.at(points), width)
    within = float((share * body).sum()) * lattice.voxel_ml
    return round(within, 4), round(float(share.sum()) * lattice.voxel_ml - within, 4)


def _scan_point(table_mm: npt.NDArray[np.float64], scan: QuickScan) -> Point:
    point = scan.pose.to_patient(table_mm) if scan.patient_axes else table_mm
    return _point(point, 2)


def _point(values: npt.NDArray[np.float64], digits: int) -> Point:
    x, y, z = (round(float(v), digits) + 0.0 for v in values)
    return x, y, z
