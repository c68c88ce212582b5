"""What is true of a simulated patient: volumes, leaks and screws."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.testing.lumbar_anatomy import VertebraShape
from cemscope.testing.lumbar_cement import LevelCement, PlacedLeak, metal_distance
from cemscope.testing.lumbar_implants import PlacedScrew
from cemscope.testing.lumbar_scene import LumbarScene
from cemscope.testing.scalar_field import Pose, coverage

Point = tuple[float, float, float]
"""LPS mm in the frame of one scan."""


@dataclass(frozen=True, slots=True)
class LeakTruth:
    """A leak; volume outside the closed surface of the body only."""

    leak_type: str
    side: str
    volume_ml: float
    exit_lps_mm: Point
    centroid_lps_mm: Point


@dataclass(frozen=True, slots=True)
class VertebraTruth:
    """Geometric volumes of one vertebra; ``volume_ml`` = intrabody + leaked."""

    level: str
    body_volume_ml: float
    centroid_lps_mm: Point
    volume_ml: float
    intrabody_ml: float
    leaked_ml: float
    leaks: tuple[LeakTruth, ...]


@dataclass(frozen=True, slots=True)
class ScrewTruth:
    """A screw; ``length_mm`` from the centre of the head to the tip."""

    level: str
    side: str
    head_lps_mm: Point
    tip_lps_mm: Point
    axis: Point
    diameter_mm: float
    shaft_mm: float
    length_mm: float
    cannulated: bool
    cemented: bool
    pedicle_clearance_mm: float
    lucency_width_mm: float
    loosened: bool


@dataclass(frozen=True, slots=True)
class SceneTruth:
    """Truth of one scan of a scene."""

    vertebrae: tuple[VertebraTruth, ...]
    screws: tuple[ScrewTruth, ...]


def scene_truth(scene: LumbarScene, pose: Pose) -> SceneTruth:
    """Measure a scene on its own fine grids and place it on the table.

    Volumes are those of the shapes, with cells on a border counted in part; they do
    not depend on the pose.
    """
    cements = {c.level: c for c in scene.cements}
    return SceneTruth(
        tuple(
            _vertebra(scene, shape, cements.get(shape.level.name), pose)
            for shape in scene.anatomy.vertebrae
        ),
        tuple(_screw(screw, pose) for screw in scene.screws),
    )


def _vertebra(
    scene: LumbarScene, shape: VertebraShape, cement: LevelCement | None, pose: Pose
) -> VertebraTruth:
    inside = outside = 0.0
    leaks: tuple[LeakTruth, ...] = ()
    if cement is not None:
        lattice = cement.cement.lattice
        points = lattice.points_mm()
        width = lattice.spacing_mm
        free = 1.0 - coverage(metal_distance(scene.metal, points), width)
        body = coverage(shape.body.at(points), width)
        share = coverage(cement.cement.values, width) * free
        inside = float((share * body).sum()) * lattice.voxel_ml
        outside = float((share * (1.0 - body)).sum()) * lattice.voxel_ml
        leaks = tuple(
            _leak(leak, points, free * (1.0 - body), pose) for leak in cement.leaks
        )
    return VertebraTruth(
        shape.level.name,
        round(shape.body_volume_ml, 3),
        _point(pose.to_table(shape.frame.origin_lps_mm)),
        round(round(inside, 4) + round(outside, 4), 4),
        round(inside, 4),
        round(outside, 4),
        leaks,
    )


def _leak(
    leak: PlacedLeak,
    points: npt.NDArray[np.float64],
    free: npt.NDArray[np.float32],
    pose: Pose,
) -> LeakTruth:
    # The outer part's own border lies on the body's surface: count the whole shape
    # there by its share outside, as for the total.
    share = coverage(leak.whole.values, leak.whole.lattice.spacing_mm) * free
    total = float(share.sum())
    centroid = (share[..., None] * points).sum(axis=(0, 1, 2)) / total
    return LeakTruth(
        leak.plan.leak_type.value,
        leak.plan.side.value,
        round(total * leak.whole.lattice.voxel_ml, 4),
        _point(pose.to_table(leak.exit_mm)),
        _point(pose.to_table(centroid)),
    )


def _screw(screw: PlacedScrew, pose: Pose) -> ScrewTruth:
    plan = screw.plan
    return ScrewTruth(
        plan.level,
        plan.side.value,
        _point(pose.to_table(screw.head_mm)),
        _point(pose.to_table(screw.tip_mm)),
        _point(pose.turn(screw.axis), 4),
        plan.diameter_mm,
        plan.shaft_mm,
        round(float(np.linalg.norm(screw.tip_mm - screw.head_mm)), 2),
        plan.cannulated,
        plan.cement_ml > 0,
        round(screw.pedicle_clearance_mm, 2),
        plan.lucency_mm,
        plan.lucency_mm > 0,
    )


def _point(values: npt.NDArray[np.float64], digits: int = 2) -> Point:
    x, y, z = (round(float(v), digits) + 0.0 for v in values)
    return x, y, z
