"""Leaks as shapes on the table, each with its volume outside the bone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cemscope.errors import ConfigError
from cemscope.findings import LeakType, Side
from cemscope.testing.cement_track import TrackPlan, grown_field
from cemscope.testing.leak_canal import TrueCanal, true_canal
from cemscope.testing.leak_route import (
    LeakPath,
    RouteEnd,
    RoutePlan,
    Surroundings,
    lay_path,
)
from cemscope.testing.lumbar_anatomy import FAR_MM
from cemscope.testing.lumbar_cement import LevelCement, metal_distance, smooth_noise
from cemscope.testing.lumbar_implants import PlacedScrew, capsule
from cemscope.testing.scalar_field import Lattice, ScalarField, coverage
from cemscope.testing.spine_bones import BoneFields
from cemscope.testing.spine_patient import SpinePatient
from cemscope.testing.spine_ribs import TableReach, aorta_layers
from cemscope.testing.spine_treatment import track_way

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

ROUGH_MM, ROUGH_LENGTH_MM = 0.25, 1.5
"""Standard deviation of a leak's surface, and its correlation length."""

WIDEST_TUBE_MM, WIDEST_BLOB_MM = 3.6, 9.0
"""Largest radius of a vein or track, and of a lump."""

THROUGH_MM = 1.0
"""A root ends this far outside the bone."""

MOUTH_MM, WITHIN_MM = 2.5, 0.3
"""So far round the exit it may, and elsewhere it stays this far inside."""

REACH_MM = 11.0
"""A leak's lattice holds this much round its lines."""

APART_MM = 0.4
"""Leaks nearer to each other than this are one."""

ROOM_MM = 0.3
"""Cement beyond an obstacle's surface by this is taken away again."""


@dataclass(frozen=True, slots=True)
class AbutPlan:
    """Cement pressed against the wall of a body from inside.

    Attributes
    ----------
    level : str
        Vertebra.
    direction : tuple of float
        Towards the wall, (left, posterior, superior) in the body's frame.
    radius_mm : float
        Of the lump.
    gap_mm : float
        Left between it and the outer surface of the cortex.
    """

    level: str
    direction: tuple[float, float, float]
    radius_mm: float
    gap_mm: float


@dataclass(frozen=True, slots=True, eq=False)
class DrawnLeak:
    """A leak on the table.

    Attributes
    ----------
    plans : tuple of RoutePlan
        One, or more where leaks have run into each other; the largest first.
    paths : tuple of LeakPath
        As many.
    whole : ScalarField
        Signed distance, mm, with its root in the bone; metal not taken out.
    """

    plans: tuple[RoutePlan, ...]
    paths: tuple[LeakPath, ...]
    whole: ScalarField


@dataclass(frozen=True, slots=True, eq=False)
class LeakyPatient:
    """A patient with leaks, and the canal they may lie in."""

    patient: SpinePatient
    leaks: tuple[DrawnLeak, ...]
    canal: TrueCanal


def lay_leaks(
    patient: SpinePatient,
    routes: Sequence[RoutePlan],
    abutting: Sequence[AbutPlan] = (),
) -> LeakyPatient:
    """Let cement of a patient leak.

    Raises
    ------
    ConfigError
        If a level has no cement, or an instrument is not there.
    """
    bones = {b.name: b for b in patient.bones}
    canal = true_canal([b.shape for b in patient.bones])
    cements = {c.level: c for c in patient.cements}
    for lump in abutting:
        cements[lump.level] = _pressed(cements[lump.level], lump, bones[lump.level])
    vessels = _vessels(patient)
    drawn: list[DrawnLeak] = []
    for plan in routes:
        if plan.level not in cements:
            raise ConfigError(f"no cement in {plan.level} that could leak")
        bone = bones[plan.level]
        path = lay_path(plan, _surroundings(plan, patient, bone, cements, canal))
        others = [c.cement for name, c in cements.items() if name != plan.level]
        field = _grown_for(cements[plan.level].cement, path)
        cement, leak = _filled(
            plan, path, field, _Obstacles(patient, others, vessels, canal)
        )
        cements[plan.level] = LevelCement(plan.level, cement, ())
        drawn.append(DrawnLeak((plan,), (path,), leak))
    order = [c for b in patient.bones if (c := cements.get(b.name)) is not None]
    leaky = replace(patient, cements=tuple(order))
    return LeakyPatient(leaky, tuple(_merged(drawn, bones)), canal)


def _surroundings(
    plan: RoutePlan,
    patient: SpinePatient,
    bone: BoneFields,
    cements: Mapping[str, LevelCement],
    canal: TrueCanal,
) -> Surroundings:
    mine = [s for s in patient.screws if s.plan.level == plan.level]
    way: PlacedScrew | None = None
    if plan.leak_type is LeakType.INSTRUMENT:
        way = track_way(TrackPlan(plan.level, plan.side, 1.0, 1.0), mine, bone)
    start = _cement_start(cements[plan.level], plan, bone)
    return Surroundings(bone.shape, canal, start, way)


def _cement_start(cement: LevelCement, plan: RoutePlan, bone: BoneFields) -> FloatArray:
    """Find the middle of the body's cement on the side of a leak."""
    lattice = cement.cement.lattice
    inside = np.argwhere(cement.cement.values < 0)[::7]
    points = np.asarray(lattice.origin_mm) + inside[:, ::-1] * lattice.spacing_mm
    points = points[bone.shape.body.at(points) < 0]
    local = bone.shape.frame.to_local_mm(points)
    sign = 1.0 if plan.side is Side.LEFT else -1.0
    half = local[sign * local[:, 0] > 0]
    chosen = half if len(half) > 20 else local
    middle = np.median(chosen, axis=0)
    # A cloud may be hollow: take the cement nearest to its middle.
    return np.asarray(chosen[np.linalg.norm(chosen - middle, axis=1).argmin()])


def _vessels(patient: SpinePatient) -> tuple[ScalarField, ...]:
    """Give the lumen of the aorta, which cement pushes aside."""
    heights = [b.shape.frame.origin_lps_mm[2] for b in patient.bones]
    reach = TableReach(
        patient.settings.pose, (min(heights) - 20.0, max(heights) + 20.0)
    )
    layers = aorta_layers(patient.standing, reach, 0.0, 0, 0)
    return tuple(layer.field for layer in layers)


def _grown_for(field: ScalarField, path: LeakPath) -> ScalarField:
    lines = np.vstack([path.root, *path.branches])
    return grown_field(field, lines, REACH_MM)


@dataclass(frozen=True, slots=True, eq=False)
class _Obstacles:
    """What cement outside the bone has to leave free."""

    patient: SpinePatient
    others: Sequence[ScalarField]
    vessels: Sequence[ScalarField]
    canal: TrueCanal

    def bone_mm(self, points: FloatArray) -> Float32Array:
        distance = np.full(points.shape[:-1], FAR_MM, np.float32)
        for bone in self.patient.bones:
            distance = np.minimum(distance, bone.shape.bone.at(points))
        return distance

    def blocked_mm(self, plan: RoutePlan, points: FloatArray) -> Float32Array:
        """Positive where there is no room (beside bone)."""
        blocked = np.full(points.shape[:-1], -FAR_MM, np.float32)
        for field in (*self.others, *self.vessels):
            blocked = np.maximum(blocked, np.float32(0.2) - field.at(points))
        if plan.end is RouteEnd.CANAL:
            outside = self.canal.distance_mm(points) - np.float32(1.5)
            blocked = np.maximum(blocked, outside)
        elif plan.leak_type is LeakType.DISC:  # the annulus holds behind
            inside = np.float32(1.0) - self.canal.distance_mm(points)
            blocked = np.maximum(blocked, inside)
        return blocked


def _filled(
    plan: RoutePlan, path: LeakPath, field: ScalarField, obstacles: _Obstacles
) -> tuple[ScalarField, ScalarField]:
    """All cement of the level with the leak, and the leak alone."""
    lattice = field.lattice
    width = lattice.spacing_mm
    lines = np.vstack([path.root, *path.branches])
    box = _box(lattice, lines)
    part = _part(lattice, box)
    points = part.points_mm()
    distance = _lines_mm(path.branches, points)
    rng = np.random.default_rng([plan.seed, 53])
    rough = np.float32(ROUGH_MM) * smooth_noise(part, ROUGH_LENGTH_MM, rng)
    distance += rough
    bone = obstacles.bone_mm(points)
    root = _lines_mm([path.root], points) + rough - np.float32(path.root_radius_mm)
    # A sleeve round a screw is thicker than some pedicles: it opens at the exit only.
    away = capsule(points, path.exit_mm, path.exit_mm)
    through = np.where(away < path.root_radius_mm + MOUTH_MM, THROUGH_MM, -WITHIN_MM)
    root = np.maximum(root, bone - through.astype(np.float32))
    blocked = np.maximum(
        np.float32(-ROOM_MM) - bone, obstacles.blocked_mm(plan, points)
    )
    metal = metal_distance(obstacles.patient.metal_parts, points)
    free = (1.0 - coverage(bone, width)) * (1.0 - coverage(metal, width))
    near = (distance < WIDEST_BLOB_MM + 1.0) & (free > 0)
    parts = [a[near] for a in (distance, root, blocked, free)]
    tube = plan.leak_type in (LeakType.BASIVERTEBRAL, LeakType.SEGMENTAL)
    low, high = 0.2, WIDEST_TUBE_MM if tube else WIDEST_BLOB_MM
    for _ in range(24):
        radius = 0.5 * (low + high)
        inner = np.maximum(parts[0] - np.float32(radius), parts[2])
        share = coverage(np.minimum(inner, parts[1]), width) * parts[3]
        volume = float(share.sum()) * lattice.voxel_ml
        low, high = (radius, high) if volume < plan.volume_ml else (low, radius)
    leak = np.minimum(np.maximum(distance - np.float32(radius), blocked), root)
    values = field.values.copy()
    values[box] = np.minimum(values[box], leak)
    return ScalarField(values, lattice, FAR_MM), _cropped(leak, part)


def _lines_mm(lines: Sequence[FloatArray], points: FloatArray) -> Float32Array:
    distance = np.full(points.shape[:-1], FAR_MM, np.float32)
    for line in lines:
        ends = pairwise(line) if len(line) > 1 else [(line[0], line[0])]
        for start, end in ends:
            distance = np.minimum(distance, capsule(points, start, end))
    return distance


def _box(lattice: Lattice, lines: FloatArray) -> tuple[slice, ...]:
    index = lattice.index_of(lines)
    margin = REACH_MM / lattice.spacing_mm
    low = np.maximum(np.floor(index.min(axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(index.max(axis=0) + margin) + 1, lattice.shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _part(lattice: Lattice, box: tuple[slice, ...]) -> Lattice:
    z, y, x = (part.start for part in box)
    origin = np.asarray(lattice.origin_mm) + np.array([x, y, z]) * lattice.spacing_mm
    size = [part.stop - part.start for part in box]
    return Lattice(
        (float(origin[0]), float(origin[1]), float(origin[2])),
        lattice.spacing_mm,
        (size[0], size[1], size[2]),
    )


def _cropped(values: Float32Array, lattice: Lattice) -> ScalarField:
    low, high = lattice.box_of(values < 0.5, 2.0)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return ScalarField(np.ascontiguousarray(values[box]), _part(lattice, box), FAR_MM)


def _pressed(cement: LevelCement, plan: AbutPlan, bone: BoneFields) -> LevelCement:
    """Add a lump that touches a wall from inside."""
    shape, lattice = bone.shape, cement.cement.lattice
    unit = np.asarray(plan.direction) / np.linalg.norm(plan.direction)
    steps = np.arange(0.0, 45.0, 0.25)
    line = shape.frame.to_lps_mm(steps[:, None] * unit)
    depth = shape.body.at(line)
    centre = line[int(np.argmax(depth > -0.6 * plan.radius_mm))]
    points = lattice.points_mm()
    inside = np.argwhere(cement.cement.values < 0)[::11]
    known = np.asarray(lattice.origin_mm) + inside[:, ::-1] * lattice.spacing_mm
    nearest = known[np.linalg.norm(known - centre, axis=1).argmin()]
    lump = capsule(points, centre, centre) - np.float32(plan.radius_mm)
    neck = capsule(points, centre, nearest) - np.float32(1.8)
    rng = np.random.default_rng([shape.level.number, 57])
    lump = np.minimum(lump, neck)
    lump += np.float32(ROUGH_MM) * smooth_noise(lattice, ROUGH_LENGTH_MM, rng)
    lump = np.maximum(lump, shape.body.at(points) + np.float32(plan.gap_mm))
    values = np.minimum(cement.cement.values, lump).astype(np.float32)
    return LevelCement(cement.level, ScalarField(values, lattice, FAR_MM), ())


def _merged(
    leaks: Sequence[DrawnLeak], bones: Mapping[str, BoneFields]
) -> Iterator[DrawnLeak]:
    """Join leaks of one vertebra that touch each other outside the bone."""
    left = list(leaks)
    while left:
        group = [left.pop(0)]
        grown = True
        while grown:
            touching = [k for k in left if any(_touch(k, g, bones) for g in group)]
            grown = bool(touching)
            group += touching
            left = [k for k in left if not any(k is t for t in touching)]
        yield group[0] if len(group) == 1 else _joined(group)


def _touch(one: DrawnLeak, other: DrawnLeak, bones: Mapping[str, BoneFields]) -> bool:
    level = one.plans[0].level
    if level != other.plans[0].level:
        return False
    points = one.whole.lattice.points_mm()[one.whole.values < 0.5 * APART_MM]
    near = other.whole.at(points) < 0.5 * APART_MM
    if not near.any():
        return False
    outside = bones[level].shape.bone.at(points[near]) > APART_MM
    return bool(outside.any())


def _joined(group: Sequence[DrawnLeak]) -> DrawnLeak:
    order = sorted(group, key=lambda g: -g.plans[0].volume_ml)
    corners = np.vstack([g.whole.corners_mm() for g in group])
    step = group[0].whole.lattice.spacing_mm
    # Leaks of a level lie on lattices with common nodes.
    start = np.asarray(group[0].whole.lattice.origin_mm)
    low = start - np.ceil((start - corners.min(axis=0)) / step - 1e-6) * step
    lattice = Lattice.around(low, corners.max(axis=0) - 1e-6, step)
    values = np.full(lattice.shape, FAR_MM, np.float32)
    for leak in group:
        part = leak.whole.lattice
        first = np.rint(lattice.index_of(np.asarray(part.origin_mm))).astype(int)
        box = tuple(
            slice(int(a), int(a) + n) for a, n in zip(first, part.shape, strict=True)
        )
        values[box] = np.minimum(values[box], leak.whole.values)
    return DrawnLeak(
        tuple(p for g in order for p in g.plans),
        tuple(p for g in order for p in g.paths),
        ScalarField(values, lattice, FAR_MM),
    )
