"""Which material fills which cell: from a scene to the scanner's planes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.testing.attenuation import ADIPOSE, CORTICAL_BONE, MARROW, MUSCLE
from cemscope.testing.lumbar_anatomy import VertebraShape
from cemscope.testing.lumbar_implants import ScrewPlan
from cemscope.testing.lumbar_scene import LumbarScene
from cemscope.testing.scalar_field import PlaneGrid, Pose, ScalarField, coverage
from cemscope.testing.scanner import MaterialGrid, MaterialLayer

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

PATCH_CELL_MM, COARSE_CELL_MM = 0.5, 1.25
"""Cells of the spine and of the body round it."""

PATCH_CELLS = 260
"""Rows and columns of the spine's patch (130 mm, a multiple of the coarse cells)."""

PATCH_CENTRE_MM = (0.0, 24.0)
"""Middle of the patch on the table: between vertebral bodies and skin."""

SUPERSAMPLING = 2
"""Cement and metal are known on cells this much finer along each axis."""

DISC_DENSITY = 1.045
"""Disc as muscle of this relative density: about 90 HU."""

BODY_CORTEX_MM, ENDPLATE_MM, ARCH_CORTEX_MM, PELVIS_CORTEX_MM = 0.45, 0.8, 1.1, 1.2
"""Cortex of an osteoporotic vertebra: 0.3 to 0.6 mm on the body (Ritzel 1997,
doi:10.1359/jbmr.1997.12.1.89), thicker at endplates and arch."""

CORTEX_SHARE = 0.8
"""Volume fraction of compact bone in the porous cortex."""

BASIVERTEBRAL_RADIUS_MM = 2.2
"""Radius of the basivertebral foramen at the posterior wall."""

BASIVERTEBRAL_EMPTINESS, BASIVERTEBRAL_EDGE_MM = 0.85, 1.0
"""Share of the trabeculae missing in the vein's channel, and its blurred border."""

GRANULATION_DENSITY = 0.96
"""Soft tissue in the gap round a loose screw, as muscle of this density: ~0 HU."""

ENDPLATE_HEIGHT_MM = 9.5
"""Body surface further than this from the mid-plane counts as endplate."""

PLAQUE_SHARE = 0.7
"""Volume fraction of mineral, as compact bone, in a calcified plaque."""

SCLEROTIC_SHARE, SCLEROTIC_MM = 0.25, 0.9
"""Compact bone added in the rim behind the gap, and the rim's width."""


def material_grids(
    scene: LumbarScene, plane_z_mm: FloatArray, pose: Pose
) -> tuple[MaterialGrid, ...]:
    """Fill planes of the scanner with materials.

    Parameters
    ----------
    scene
        The patient.
    plane_z_mm
        Table positions of the planes, ascending, evenly spaced.
    pose
        How the patient lies.

    Returns
    -------
    tuple of MaterialGrid
        The spine on small cells and the rest of the body on large ones.
    """
    plane_mm = float(plane_z_mm[1] - plane_z_mm[0]) if len(plane_z_mm) > 1 else 1.0
    size = PATCH_CELLS * PATCH_CELL_MM
    low = np.array(PATCH_CENTRE_MM) - 0.5 * size
    first = low + 0.5 * PATCH_CELL_MM
    patch = PlaneGrid(
        (float(first[0]), float(first[1]), float(plane_z_mm[0])),
        PATCH_CELL_MM,
        plane_mm,
        (len(plane_z_mm), PATCH_CELLS, PATCH_CELLS),
        pose,
    )
    corners = pose.to_table(scene.anatomy.trunk.skin.corners_mm())[:, :2]
    before = np.ceil((low - corners.min(axis=0)) / COARSE_CELL_MM).astype(int)
    after = np.ceil((corners.max(axis=0) - low) / COARSE_CELL_MM).astype(int)
    first = low + (0.5 - before) * COARSE_CELL_MM
    coarse = PlaneGrid(
        (float(first[0]), float(first[1]), float(plane_z_mm[0])),
        COARSE_CELL_MM,
        plane_mm,
        (len(plane_z_mm), int((before + after)[1]), int((before + after)[0])),
        pose,
    )
    around = _trunk(scene, coarse)
    span = round(size / COARSE_CELL_MM)
    for part in around:
        part[:, before[1] : before[1] + span, before[0] : before[0] + span] = 0.0
    return (_grid(scene, patch, _spine(scene, patch)), _grid(scene, coarse, around))


def _grid(
    scene: LumbarScene, grid: PlaneGrid, parts: Sequence[Float32Array]
) -> MaterialGrid:
    materials = (
        ADIPOSE,
        MUSCLE,
        CORTICAL_BONE,
        MARROW,
        scene.settings.cement,
        scene.settings.metal.value,
    )
    layers = [MaterialLayer(m, p) for m, p in zip(materials, parts, strict=False)]
    return MaterialGrid(grid.cell_mm, grid.first_mm[:2], tuple(layers))


def _trunk(
    scene: LumbarScene, grid: PlaneGrid
) -> tuple[Float32Array, Float32Array, Float32Array, Float32Array]:
    """Fat, muscle, compact bone and marrow without the mobile spine."""
    trunk = scene.anatomy.trunk
    width = grid.cell_mm
    inside = coverage(grid.sample(trunk.skin), width)
    inside *= 1.0 - coverage(grid.sample(trunk.gas), width)
    fat = coverage(grid.sample(trunk.fat), width)
    tone = 1.0 + grid.sample(trunk.tone_hu) / np.float32(1000.0)
    distance = grid.sample(trunk.pelvis)
    bone = coverage(distance, width)
    spongy = coverage(distance + np.float32(PELVIS_CORTEX_MM), width)
    share = np.float32(scene.settings.trabecular_share)
    compact = (bone - spongy) * np.float32(CORTEX_SHARE) + spongy * share
    rest = inside * (1.0 - bone)
    return rest * fat, rest * (1.0 - fat) * tone, compact, bone - compact


def _spine(scene: LumbarScene, grid: PlaneGrid) -> tuple[Float32Array, ...]:
    """Fractions of fat, muscle, compact bone, marrow, cement and metal."""
    width = grid.cell_mm
    fat, muscle, compact, marrow = _trunk(scene, grid)
    for disc in scene.anatomy.discs:
        box = grid.box_of(disc)
        if box is None:
            continue
        share = coverage(grid.crop(box).sample(disc), width)
        # The sacrum has precedence.
        share = share * np.clip(1.0 - compact[box] - marrow[box], 0.0, 1.0)
        for part in (fat, muscle):
            part[box] *= 1.0 - share
        muscle[box] += share * np.float32(DISC_DENSITY)
    for vertebra in scene.anatomy.vertebrae:
        box = grid.box_of(vertebra.bone)
        if box is None:
            continue
        inner = grid.crop(box)
        bone = coverage(inner.sample(vertebra.bone), width)
        hard = _compact_share(scene, vertebra, inner)
        gap = _lucency(scene, vertebra, inner, hard) * bone
        for part in (fat, muscle, compact, marrow):
            part[box] *= 1.0 - bone
        compact[box] += (bone - gap) * hard
        marrow[box] += (bone - gap) * (1.0 - hard)
        muscle[box] += gap * np.float32(GRANULATION_DENSITY)
    for plaque in scene.plaque:
        box = grid.box_of(plaque)
        if box is not None:
            share = coverage(grid.crop(box).sample(plaque), width) * PLAQUE_SHARE
            for part in (fat, muscle):
                part[box] *= 1.0 - share
            compact[box] += share
    metal = _supersampled(scene.metal, grid)
    cement = _supersampled([c.cement for c in scene.cements], grid) * (1.0 - metal)
    for part in (fat, muscle, compact, marrow):
        np.multiply(part, 1.0 - metal - cement, out=part)
    return fat, muscle, compact, marrow, cement, metal


def _compact_share(
    scene: LumbarScene, vertebra: VertebraShape, grid: PlaneGrid
) -> Float32Array:
    """Volume fraction of compact bone inside a vertebra: cortex and texture."""
    local = vertebra.frame.to_local_mm(grid.points_mm())
    endplate = np.abs(local[..., 2]) > ENDPLATE_HEIGHT_MM
    on_body = np.where(endplate, ENDPLATE_MM, BODY_CORTEX_MM)
    in_body = grid.sample(vertebra.body) < 0.5
    cortex = np.where(in_body, on_body, ARCH_CORTEX_MM).astype(np.float32)
    inner = coverage(grid.sample(vertebra.bone) + cortex, grid.cell_mm)
    hole = coverage(_basivertebral(local), BASIVERTEBRAL_EDGE_MM)
    shell = (1.0 - inner) * (1.0 - hole)
    channel = 1.0 - np.float32(BASIVERTEBRAL_EMPTINESS) * hole
    share = grid.sample(scene.texture) * channel
    total = shell * np.float32(CORTEX_SHARE) + (1.0 - shell) * share
    return np.asarray(total, np.float32)


def _basivertebral(local: FloatArray) -> Float32Array:
    """Distance to the basivertebral foramen: a cone from the posterior wall inwards."""
    mouth, apex = np.array([0.0, 24.0, 1.0]), np.array([0.0, 1.0, 1.0])
    along = mouth - apex
    t = np.clip(((local - apex) @ along) / float(along @ along), 0.0, 1.0)
    gap = np.linalg.norm(local - apex - t[..., None] * along, axis=-1)
    return np.asarray(gap - BASIVERTEBRAL_RADIUS_MM * np.sqrt(t), np.float32)


def _lucency(
    scene: LumbarScene, vertebra: VertebraShape, grid: PlaneGrid, hard: Float32Array
) -> Float32Array:
    """Share of bone that loose screws have worn away; hardens the rim behind it."""
    gap = np.zeros(grid.shape, np.float32)
    for screw in scene.screws:
        plan = screw.plan
        if plan.level != vertebra.level.name or plan.lucency_mm <= 0:
            continue
        behind, radius = screw.cylinder_coordinates(grid.points_mm())
        wall = radius - 0.5 * plan.diameter_mm - plan.lucency_mm
        ends = np.maximum(lucency_start_mm(plan) - behind, behind - plan.shaft_mm - 5.0)
        sleeve = np.maximum(wall, ends).astype(np.float32)
        np.maximum(gap, coverage(sleeve, grid.cell_mm), out=gap)
        rim = np.maximum(sleeve - np.float32(SCLEROTIC_MM), -sleeve)
        hard += coverage(rim, grid.cell_mm) * np.float32(SCLEROTIC_SHARE)
    np.clip(hard, 0.0, 1.0, out=hard)
    return gap


def lucency_start_mm(plan: ScrewPlan) -> float:
    """Where the gap round a loose shaft begins, mm behind the tip.

    The tip stays anchored in its cement; the rest toggles.
    """
    return 0.3 * plan.shaft_mm


def _supersampled(shapes: Sequence[ScalarField], grid: PlaneGrid) -> Float32Array:
    """Volume fraction of a union of shapes."""
    total = np.zeros(grid.shape, np.float32)
    n = SUPERSAMPLING
    for shape in shapes:
        box = grid.box_of(shape)
        if box is None:
            continue
        fine = grid.crop(box).refine(n)
        share = coverage(fine.sample(shape), fine.cell_mm)
        planes, rows, columns = (count // n for count in share.shape)
        cells = share.reshape(planes, n, rows, n, columns, n).mean(axis=(1, 3, 5))
        total[box] = np.maximum(total[box], cells)
    return total


@dataclass(frozen=True, slots=True, eq=False)
class TruthMaps:
    """Truth on the voxels of a scan, arrays (slice, row, column).

    Attributes
    ----------
    labels : ndarray of uint8
        Bodies under their number, arches under number + 100, as in `Spine.labels`.
    cement, leaked, metal : ndarray of float32
        Volume fractions; ``leaked`` is the part of ``cement`` outside the closed
        surfaces of the bodies.
    """

    labels: npt.NDArray[np.uint8]
    cement: Float32Array
    leaked: Float32Array
    metal: Float32Array


def truth_maps(scene: LumbarScene, grid: PlaneGrid) -> TruthMaps:
    """Sample the truth of a scene on a scan's voxels.

    Parameters
    ----------
    scene
        The patient.
    grid
        The scan's voxels with the pose of the patient.
    """
    labels = np.zeros(grid.shape, np.uint8)
    for vertebra in scene.anatomy.vertebrae:
        box = grid.box_of(vertebra.bone)
        if box is None:
            continue
        inner = grid.crop(box)
        part = labels[box]
        part[inner.sample(vertebra.bone) < 0] = vertebra.level.arch_number
        part[inner.sample(vertebra.body) < 0] = vertebra.level.number
    metal = _supersampled(scene.metal, grid)
    cement = _supersampled([c.cement for c in scene.cements], grid) * (1.0 - metal)
    inside = _supersampled([v.body for v in scene.anatomy.vertebrae], grid)
    return TruthMaps(labels, cement, cement * (1.0 - inside), metal)
