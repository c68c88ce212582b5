"""Cement clouds and leaks for simulated lumbar scans."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.errors import ConfigError
from cemscope.findings import LeakType, Side
from cemscope.testing.lumbar_anatomy import FAR_MM, VertebraShape
from cemscope.testing.lumbar_implants import capsule
from cemscope.testing.scalar_field import Lattice, ScalarField, coverage

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

LEAK_REACH_MM = 8.0
"""No simulated leak goes further from the body than this."""

WALL_MM = 0.9
"""Cement stays this far inside the body's surface, in front of the cortex."""

FINGER_MM = 1.0
"""How far fingers of cement reach into the trabecular bone."""

VEIN_OFFSET_MM = 1.9
"""Distance of a vein's centre line from the body's surface."""

DISC_OFFSET_MM = 2.2
"""Distance of a disc leak's centre line from the endplate."""


@dataclass(frozen=True, slots=True)
class CementPlan:
    """Cement injected at one place.

    Attributes
    ----------
    level : str
        Vertebra.
    volume_ml : float
        Inside the body.
    centre_local_mm : tuple of float
        Where it starts, (left, posterior, superior) in the vertebra's frame.
    spread_mm : float
        How far its lobes lie apart.
    fingers : float
        How far it interdigitates with the trabeculae, relative to `FINGER_MM`.
    """

    level: str
    volume_ml: float
    centre_local_mm: tuple[float, float, float]
    spread_mm: float = 4.0
    fingers: float = 1.0


@dataclass(frozen=True, slots=True)
class LeakPlan:
    """A leak.

    Attributes
    ----------
    level : str
        Vertebra.
    leak_type : LeakType
        BASIVERTEBRAL, SEGMENTAL or DISC.
    side : Side
        Where it runs.
    volume_ml : float
        Outside the body.
    height : float
        Height of the exit, fraction from the lower to the upper endplate; a leak into
        the disc above starts there.
    """

    level: str
    leak_type: LeakType
    side: Side
    volume_ml: float
    height: float = 0.55


@dataclass(frozen=True, slots=True, eq=False)
class PlacedLeak:
    """A leak in the patient's frame; ``whole`` includes its root in the body."""

    plan: LeakPlan
    exit_mm: FloatArray
    whole: ScalarField


@dataclass(frozen=True, slots=True, eq=False)
class LevelCement:
    """All cement of one vertebra.

    Attributes
    ----------
    level : str
        Vertebra.
    cement : ScalarField
        Signed distance, mm; metal is not yet taken out.
    leaks : tuple of PlacedLeak
        Those of the level.
    """

    level: str
    cement: ScalarField
    leaks: tuple[PlacedLeak, ...]


def place_cement(
    shape: VertebraShape,
    plans: Sequence[CementPlan],
    leaks: Sequence[LeakPlan],
    metal: Sequence[ScalarField],
    seed: int,
    grid_mm: float = 0.4,
) -> LevelCement:
    """Fill a body with cement until each plan has its volume beside the metal."""
    rng = np.random.default_rng(seed)
    inside = shape.body.values < 0
    lattice = _fine(shape.body.lattice.crop_around(inside, LEAK_REACH_MM), grid_mm)
    points = lattice.points_mm()
    body = shape.body.at(points)
    interior = body + np.float32(WALL_MM)
    cells = interior < grid_mm  # elsewhere no cloud can be
    local = shape.frame.to_local_mm(points[cells])
    free = 1.0 - coverage(metal_distance(metal, points[cells]), grid_mm)
    fingers = _fingers(lattice, rng)[cells]
    filled = np.full(len(local), FAR_MM, np.float32)
    for plan in plans:
        cloud = _cloud(plan, local, rng) + np.float32(plan.fingers) * fingers
        # What an earlier cloud holds already is not counted twice.
        room = free * (1.0 - coverage(filled, grid_mm)) * lattice.voxel_ml
        low, high = -6.0, 25.0
        for _ in range(30):
            radius = 0.5 * (low + high)
            part = np.maximum(cloud - np.float32(radius), interior[cells])
            volume = float((coverage(part, grid_mm) * room).sum())
            low, high = (radius, high) if volume < plan.volume_ml else (low, radius)
        filled = np.minimum(filled, part)
    total = np.full(lattice.shape, FAR_MM, np.float32)
    total[cells] = filled
    bone = shape.bone.at(points) if leaks else body
    placed = []
    for leak in leaks:
        line, exit_mm = _leak_line(shape, leak, plans)
        tube = _tube(points, line, body, bone, leak, rng, lattice)
        placed.append(PlacedLeak(leak, exit_mm, ScalarField(tube, lattice, FAR_MM)))
        total = np.minimum(total, tube)
    return LevelCement(
        shape.level.name, ScalarField(total, lattice, FAR_MM), tuple(placed)
    )


def metal_distance(metal: Sequence[ScalarField], points_mm: FloatArray) -> Float32Array:
    """Distance to the nearest of several metal parts."""
    distance = np.full(points_mm.shape[:-1], FAR_MM, np.float32)
    for part in metal:
        distance = np.minimum(distance, part.at(points_mm))
    return distance


def _fine(lattice: Lattice, grid_mm: float) -> Lattice:
    low = np.asarray(lattice.origin_mm)
    size = (np.array(lattice.shape)[::-1] - 1) * lattice.spacing_mm
    return Lattice.around(low, low + size, grid_mm)


def smooth_noise(
    lattice: Lattice, sigma_mm: float, rng: np.random.Generator
) -> Float32Array:
    """Gaussian noise of standard deviation 1 with a correlation length."""
    white = rng.standard_normal(lattice.shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(white, sigma_mm / lattice.spacing_mm)
    return np.asarray(smooth / smooth.std(), np.float32)


def _fingers(lattice: Lattice, rng: np.random.Generator) -> Float32Array:
    coarse, fine = smooth_noise(lattice, 1.6, rng), smooth_noise(lattice, 0.8, rng)
    fingers = 0.8 * coarse + 0.5 * fine
    return (np.float32(FINGER_MM) * fingers).astype(np.float32)


def _cloud(
    plan: CementPlan, local: FloatArray, rng: np.random.Generator
) -> Float32Array:
    """Smooth union of lobes: a distance from which the radius is to be taken off."""
    lobes = np.asarray(plan.centre_local_mm) + rng.normal(
        0.0, plan.spread_mm * np.array([1.0, 1.0, 0.7]), (6, 3)
    )
    lobes[0] = plan.centre_local_mm
    size = rng.uniform(-1.5, 1.5, len(lobes))
    sharpness = 2.0
    total = np.zeros(local.shape[:-1], np.float32)
    for centre, extra in zip(lobes, size, strict=True):
        gap = np.linalg.norm(local - centre, axis=-1) - extra
        total += np.exp(-gap / sharpness).astype(np.float32)
    return np.asarray(-sharpness * np.log(total + 1e-12), np.float32)


def _leak_line(
    shape: VertebraShape, leak: LeakPlan, plans: Sequence[CementPlan]
) -> tuple[FloatArray, FloatArray]:
    """Centre line of a leak, LPS mm, and its exit through the body's surface."""
    frame = shape.frame
    inside = frame.to_local_mm(shape.body.lattice.points_mm()[shape.body.values < 0])
    low, high = np.percentile(inside[:, 2], [1.0, 99.0])
    level = low + leak.height * (high - low)
    start = np.asarray(
        min(plans, key=lambda p: _side_distance(p, leak)).centre_local_mm
        if plans
        else (0.0, 0.0, level)
    )
    if leak.leak_type is LeakType.BASIVERTEBRAL:
        sign = 1.0 if leak.side is Side.LEFT else -1.0
        stops = [
            (1.0 * sign, level),
            (3.0 * sign, level + 4.0),
            (6.0 * sign, level + 7.5),
        ]
        other = [
            (1.0 * sign, level),
            (-2.5 * sign, level - 3.5),
            (-4.5 * sign, level - 8.0),
        ]
        first = [_behind(shape, x, s, VEIN_OFFSET_MM) for x, s in stops]
        second = [_behind(shape, x, s, VEIN_OFFSET_MM) for x, s in other]
        exit_local = _behind(shape, 1.0 * sign, level, 0.0)
        centre = np.array([0.5 * sign, exit_local[1] - 9.0, level])
        line = [start, centre, exit_local, *first, *first[::-1], *second]
    elif leak.leak_type is LeakType.SEGMENTAL:
        sign = 1.0 if leak.side is Side.LEFT else -1.0
        angles = np.radians(np.arange(-8.0, 66.0, 6.0))
        around = [
            _beside(
                shape, np.array([sign * np.cos(a), -np.sin(a)]), level, VEIN_OFFSET_MM
            )
            for a in angles
        ]
        exit_local = _beside(shape, np.array([sign, 0.14]), level, 0.0)
        line = [
            start,
            exit_local - np.array([5.0 * sign, 0.0, 0.0]),
            exit_local,
            *around,
        ]
    elif leak.leak_type is LeakType.DISC:
        sign = 1.0 if leak.side is Side.LEFT else -1.0
        stops = [(4.0 * sign, -6.0), (8.0 * sign, -3.0), (7.0 * sign, -10.0)]
        exit_local = _above(shape, *stops[0], 0.0)
        spread = [_above(shape, x, y, DISC_OFFSET_MM) for x, y in stops]
        line = [start, exit_local, *spread]
    else:
        raise ConfigError(f"no simulated leak of type {leak.leak_type}")
    return frame.to_lps_mm(np.array(line)), frame.to_lps_mm(exit_local)


def _side_distance(plan: CementPlan, leak: LeakPlan) -> float:
    sign = 1.0 if leak.side is Side.LEFT else -1.0
    return abs(plan.centre_local_mm[0] - 10.0 * sign)


def _behind(shape: VertebraShape, left: float, up: float, offset: float) -> FloatArray:
    steps = np.arange(4.0, 30.0, 0.1)
    line = np.stack([np.full_like(steps, left), steps, np.full_like(steps, up)], axis=1)
    depth = shape.body.at(shape.frame.to_lps_mm(line))
    return np.asarray(line[int(np.argmax(depth > offset))])


def _beside(
    shape: VertebraShape, direction: FloatArray, up: float, offset: float
) -> FloatArray:
    steps = np.arange(6.0, 40.0, 0.1)
    flat = steps[:, None] * direction / np.linalg.norm(direction)
    line = np.column_stack([flat, np.full_like(steps, up)])
    depth = shape.body.at(shape.frame.to_lps_mm(line))
    return np.asarray(line[int(np.argmax(depth > offset))])


def _above(
    shape: VertebraShape, left: float, behind: float, offset: float
) -> FloatArray:
    steps = np.arange(4.0, 30.0, 0.1)
    line = np.column_stack(
        [np.full_like(steps, left), np.full_like(steps, behind), steps]
    )
    depth = shape.body.at(shape.frame.to_lps_mm(line))
    return np.asarray(line[int(np.argmax(depth > offset))])


def _tube(
    points: FloatArray,
    line: FloatArray,
    body: Float32Array,
    bone: Float32Array,
    leak: LeakPlan,
    rng: np.random.Generator,
    lattice: Lattice,
) -> Float32Array:
    """Tube that has the wanted volume outside the body."""
    distance = np.full(lattice.shape, FAR_MM, np.float32)
    for start, end in pairwise(line):
        distance = np.minimum(distance, capsule(points, start, end))
    distance += np.float32(0.25) * smooth_noise(lattice, 1.5, rng)
    # Outside the body, cement finds no room in the bone of the arch.
    blocked = np.where(body > 0.5, np.float32(0.3) - bone, np.float32(-FAR_MM))
    beyond = 1.0 - coverage(body, lattice.spacing_mm)
    low, high = 0.3, 5.0
    for _ in range(30):
        radius = 0.5 * (low + high)
        whole = np.maximum(distance - np.float32(radius), blocked)
        share = coverage(whole, lattice.spacing_mm) * beyond
        volume = float(share.sum()) * lattice.voxel_ml
        low, high = (radius, high) if volume < leak.volume_ml else (low, radius)
    return np.asarray(whole, np.float32)
