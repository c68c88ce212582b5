"""Ribs, vessels, canal and discs of a simulated spine, as tissue layers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.testing.lumbar_anatomy import FAR_MM
from cemscope.testing.scalar_field import Lattice, Pose, ScalarField
from cemscope.testing.spine_posture import StandingSpine, StandingVertebra
from cemscope.testing.tissue_layers import Tissue, TissueLayer, tube_fields

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

RIB_SEMI_AXES_MM = (146.0, 98.0)
"""Half width and depth of the rib cage at T12."""

RIB_CENTRE_MM = -48.0
"""Middle of the rib cage behind (negative: in front of) the vertebral centre."""

RIB_SLOPE = 0.42
"""How far a rib falls per millimetre to the side."""

RIB_RADIUS_MM, RIB_NECK_RADIUS_MM = 4.8, 3.2
"""Half thickness of a rib's shaft and of its neck."""

RIB_CORTEX_MM = 0.9
"""Cortex of a rib: 0.5 to 1.3 mm (Mohr 2007, J Biomech 40:1310)."""

RIB_MARROW = Tissue(compact=0.08, marrow=0.92)
COMPACT_BONE = Tissue(compact=0.85, marrow=0.15)
DISC = Tissue(muscle=1.04)
SAC = Tissue(muscle=0.98)
EPIDURAL_FAT = Tissue(fat=0.9, muscle=0.1)

CANAL_RADIUS_MM, SAC_RADIUS_MM = 10.5, 7.0
"""Canal with its fat, and thecal sac."""

DISC_GRID_MM = 1.0
"""Grid of a disc."""

DISC_OVERLAP_MM = 8.0
"""How far a disc's shape reaches into its bodies, which are painted over it."""

AORTA_RADIUS_MM = 10.0
"""Radius of the abdominal aorta."""

CAVA_RADIUS_MM = 9.0
"""Radius of the inferior vena cava: 15 to 22 mm wide in most people."""


@dataclass(frozen=True, slots=True)
class TableReach:
    """How the patient lies, and which part of the table is scanned.

    Attributes
    ----------
    pose : Pose
        Of the patient.
    z_mm : tuple of float
        Lowest and highest plane.
    """

    pose: Pose
    z_mm: tuple[float, float]


def rib_layers(standing: StandingVertebra, reach: TableReach) -> Iterator[TissueLayer]:
    """Both ribs of a vertebra."""
    length = standing.plan.ribs_mm
    if length <= 0:
        return
    for sign in (1.0, -1.0):
        line = reach.pose.to_table(rib_line_mm(standing, sign))
        radius = np.full(len(line), RIB_RADIUS_MM)
        radius[:2] = RIB_NECK_RADIUS_MM
        radius[-1] = 0.6 * RIB_RADIUS_MM
        for field in tube_fields(line, radius.tolist(), reach.z_mm):
            yield TissueLayer(field, RIB_MARROW, COMPACT_BONE, RIB_CORTEX_MM)


def rib_line_mm(standing: StandingVertebra, sign: float) -> FloatArray:
    """Centre line of a rib in the patient's frame, from its head, shape (n, 3)."""
    high = standing.high_mm
    wall, half = float(high[1]), float(high[0])
    lower = standing.plan.stored in ("T11", "T12", "L1")
    height = 0.0 if lower else 0.55 * float(high[2])
    frame = standing.frame
    near = frame.to_lps_mm(
        np.array(
            [
                [sign * (half + 1.5), wall - 3.0, height],
                [sign * (half + 9.0), wall + 8.0, height - 1.0],
                [sign * (half + 18.0), wall + 13.0, height - 4.0],
            ]
        )
    )
    scale = standing.scale
    a, b = (axis * s for axis, s in zip(RIB_SEMI_AXES_MM, scale[:2], strict=True))
    if standing.plan.stored[0] == "T":
        narrowing = 1.0 - 0.03 * (12 - int(standing.plan.stored[1:]))
        a, b = a * narrowing, b * narrowing
    centre = frame.origin_lps_mm + np.array([0.0, RIB_CENTRE_MM * scale[1], 0.0])
    angle = np.radians(np.arange(28.0, 150.0, 4.0))
    around = np.stack(
        [sign * a * np.sin(angle), b * np.cos(angle), np.zeros(len(angle))], axis=1
    )
    around += centre
    along = np.linalg.norm(np.diff(around[:, :2], axis=0), axis=1).cumsum()
    fall = RIB_SLOPE * np.concatenate([[0.0], along])
    around[:, 2] = near[-1, 2] - 6.0 - fall
    line = np.concatenate([near, around])
    reach = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1)])
    kept = int(np.searchsorted(reach.cumsum(), standing.plan.ribs_mm))
    return np.asarray(line[: max(kept, 4)])


def canal_layers(spine: StandingSpine, reach: TableReach) -> Iterator[TissueLayer]:
    """Epidural fat and thecal sac from the uppermost vertebra to the sacrum."""
    points = [
        v.frame.to_lps_mm([0.0, v.high_mm[1] + 8.5 * float(spine.size[1]), 0.0])
        for v in spine.vertebrae
    ]
    first, last = spine.vertebrae[0], spine.vertebrae[-1]
    above = points[0] + 40.0 * first.frame.superior
    below = points[-1] - 36.0 * last.frame.superior
    line = reach.pose.to_table(np.array([above, *points, below]))
    for radius, tissue in ((CANAL_RADIUS_MM, EPIDURAL_FAT), (SAC_RADIUS_MM, SAC)):
        size = radius * float(spine.size[0])
        for field in tube_fields(line, [size] * len(line), reach.z_mm, pieces=2):
            yield TissueLayer(field, tissue)


def aorta_layers(
    spine: StandingSpine,
    reach: TableReach,
    contrast_hu: float,
    plaques: int,
    seed: int,
) -> Iterator[TissueLayer]:
    """Aorta in front of the spine, with contrast medium and calcified plaques."""
    points = []
    for v in spine.vertebrae:
        front = float(v.low_mm[1])
        if v.plan.name in ("L5", "L6"):
            continue
        thoracic = v.plan.stored[0] == "T"
        left = float(v.high_mm[0]) * (0.75 if thoracic else 0.4)
        points.append(v.frame.to_lps_mm([left, front - 0.5 * AORTA_RADIUS_MM - 7.0, 0]))
    if len(points) < 2:
        return
    line = reach.pose.to_table(np.array(points))
    radius = AORTA_RADIUS_MM * float(spine.size[0])
    blood = Tissue(muscle=1.0 + contrast_hu / 1044.0)
    for field in tube_fields(line, [radius] * len(line), reach.z_mm, pieces=2):
        yield TissueLayer(field, blood)
    rng = np.random.default_rng([seed, 5])
    for _ in range(plaques):
        k = int(rng.integers(0, len(line) - 1))
        centre = line[k] + rng.uniform(0, 1) * (line[k + 1] - line[k])
        turn = rng.uniform(0, 2 * np.pi) + np.linspace(0.0, rng.uniform(0.4, 1.2), 4)
        arc = centre + (radius - 0.8) * np.stack(
            [np.cos(turn), np.sin(turn), 0.15 * (turn - turn[0])], axis=1
        )
        thick = float(rng.uniform(0.6, 1.6))
        for field in tube_fields(arc, [thick] * 4, reach.z_mm):
            yield TissueLayer(field, Tissue(compact=0.6, marrow=0.4))


def cava_layers(
    spine: StandingSpine, reach: TableReach, contrast_hu: float
) -> Iterator[TissueLayer]:
    """Inferior vena cava, which all but touches the lumbar bodies."""
    points = []
    for v in spine.vertebrae:
        if v.plan.name in ("L5", "L6") or v.plan.stored[0] == "T":
            continue
        local = [0.4 * float(v.low_mm[0]), float(v.low_mm[1]) - CAVA_RADIUS_MM - 2.5, 0]
        points.append(v.frame.to_lps_mm(local))
    if len(points) < 2:
        return
    line = reach.pose.to_table(np.array(points))
    radius = CAVA_RADIUS_MM * float(spine.size[0])
    blood = Tissue(muscle=1.0 + contrast_hu / 1044.0)
    for field in tube_fields(line, [radius] * len(line), reach.z_mm, pieces=2):
        yield TissueLayer(field, blood)


def disc_layers(
    upper: StandingVertebra,
    lower_plate_mm: FloatArray,
    on_table: TableReach,
) -> Iterator[TissueLayer]:
    """Disc between an endplate and the middle of the next one, with its vacuum."""
    plate = upper.lower_endplate_mm
    axis = upper.frame.superior
    gap = max(float((plate - lower_plate_mm) @ axis), 1.0)
    centre = 0.5 * (plate + lower_plate_mm)
    left, back = upper.frame.left, upper.frame.posterior
    middle = 0.5 * (upper.low_mm + upper.high_mm)
    centre = centre + middle[1] * back
    half = 0.5 * (upper.high_mm - upper.low_mm)[:2]
    reach = 0.5 * gap + DISC_OVERLAP_MM
    pose = on_table.pose
    table = pose.to_table(centre)
    axes = np.stack([pose.turn(v) for v in (left, back, axis)])
    size = float(max(*half, reach)) + 4.0
    if not on_table.z_mm[0] - size < table[2] < on_table.z_mm[1] + size:
        return
    lattice = Lattice.around(table - size, table + size, DISC_GRID_MM)
    local = (lattice.points_mm() - table) @ axes.T
    radius = np.hypot(local[..., 0] / (half[0] + 1.0), local[..., 1] / (half[1] + 1.0))
    flat = np.abs(local[..., 2]) - reach
    round_edge = (radius - 1.0) * float(half.min())
    behind = local[..., 1] - (half[1] - 0.5)
    distance = np.maximum.reduce([round_edge, flat, behind]).astype(np.float32)
    yield TissueLayer(ScalarField(distance, lattice, FAR_MM), DISC)
    vacuum_mm = upper.plan.vacuum_mm
    if vacuum_mm > 0:
        across = np.hypot(local[..., 0] / 1.3, local[..., 1])
        thick = max(0.5 * vacuum_mm, 0.4)
        lens = np.hypot(across / 9.0, local[..., 2] / thick) - 1.0
        gas = (lens * thick).astype(np.float32)
        yield TissueLayer(ScalarField(gas, lattice, FAR_MM), Tissue())
