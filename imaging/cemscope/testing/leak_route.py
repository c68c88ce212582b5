"""The ways by which cement leaves a vertebra, as lines through simulated anatomy.

The routes follow Yeom 2003 (J Bone Joint Surg Br 85:83-9) and the later additions D
(disc) and I (along the instrument): the basivertebral vein leaves the posterior wall in
the midline and joins the longitudinal veins of the anterior epidural space; segmental
veins leave the waist of the body and run round it, forwards to the great vessels or
backwards to the foramen (Batson 1940, Ann Surg 112:138-49).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from cemscope.errors import ConfigError
from cemscope.findings import LeakType, Side
from cemscope.testing.body_ruler import BodyRuler
from cemscope.testing.leak_canal import TrueCanal
from cemscope.testing.lumbar_anatomy import VertebraShape
from cemscope.testing.lumbar_implants import PlacedScrew
from cemscope.testing.spine_treatment import NEEDLE_MM

FloatArray = npt.NDArray[np.float64]

BEYOND_MM = 0.8
"""A root ends this far outside, so that it joins the leak."""

PEDICLE_MM = 7.0
"""Middle of a pedicle behind the body's posterior wall."""


class RouteEnd(StrEnum):
    """Where a leak goes."""

    CANAL = "canal"
    FRONT = "front"
    FORAMEN = "foramen"
    HERE = "at the exit"
    DISC_ABOVE = "disc above"
    DISC_BELOW = "disc below"
    BEHIND = "behind the pedicle"
    PEDICLE_WALL = "beside the pedicle"


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """A leak to be placed.

    Attributes
    ----------
    level : str
        Vertebra.
    leak_type : LeakType
        Its route.
    side : Side
        Where it runs.
    volume_ml : float
        Outside the bone.
    end : RouteEnd
        Where it goes.
    height : float
        Of the exit, fraction from the lower to the upper endplate (B, S, C).
    angle_deg : float
        Of the exit round the body: 0 at the side, 90 in front (S, C); for a leak out of
        the pedicle 0 laterally, 90 downwards, 180 to the canal. Of a disc leak the
        direction of its exit from the centre of the endplate.
    across : float
        How far from the centre of the endplate a disc leak leaves it, or from the
        midline a cortical leak leaves the posterior wall; share of the half width.
    slenderness : float
        Length of a tube over its diameter.
    seed : int
        Of its roughness.
    """

    level: str
    leak_type: LeakType
    side: Side
    volume_ml: float
    end: RouteEnd
    height: float = 0.5
    angle_deg: float = 0.0
    across: float = 0.0
    slenderness: float = 5.0
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class LeakPath:
    """Where a leak runs, on the table, mm.

    Attributes
    ----------
    root : ndarray, shape (n, 3)
        From the cement in the bone to the exit.
    root_radius_mm : float
        Of that part.
    exit_mm : ndarray, shape (3,)
        On the surface of the bone.
    branches : tuple of ndarray, shape (n, 3)
        Centre lines outside.
    axis_mm : ndarray, shape (2, 3), or None
        Of the screw or needle that it follows, from behind to the tip.
    """

    root: FloatArray
    root_radius_mm: float
    exit_mm: FloatArray
    branches: tuple[FloatArray, ...]
    axis_mm: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What a route has to know.

    Attributes
    ----------
    shape : VertebraShape
        The vertebra.
    canal : TrueCanal
        Behind it.
    start_local_mm : ndarray, shape (3,)
        Cement from which the leak comes, in the vertebra's frame.
    way : PlacedScrew or None
        The screw or needle on the leak's side.
    """

    shape: VertebraShape
    canal: TrueCanal
    start_local_mm: FloatArray
    way: PlacedScrew | None


def lay_path(plan: RoutePlan, around: Surroundings) -> LeakPath:
    """Find a leak's way.

    Raises
    ------
    ConfigError
        If it follows an instrument and there is none.
    """
    ruler = BodyRuler(around.shape)
    rng = np.random.default_rng([plan.seed, 51])
    layers = {
        LeakType.BASIVERTEBRAL: _basivertebral,
        LeakType.SEGMENTAL: _segmental,
        LeakType.CORTICAL: _cortical,
        LeakType.DISC: _disc,
        LeakType.INSTRUMENT: _instrument,
    }
    return layers[plan.leak_type](plan, around, ruler, rng)


def tube_radius_mm(plan: RoutePlan) -> float:
    """Radius of a tube with the plan's volume and slenderness."""
    cubic = 1000.0 * plan.volume_ml / (2.0 * np.pi * plan.slenderness)
    return float(np.clip(np.cbrt(cubic), 0.6, 3.0))


def _basivertebral(
    plan: RoutePlan, around: Surroundings, ruler: BodyRuler, rng: np.random.Generator
) -> LeakPath:
    radius = tube_radius_mm(plan)
    frame = around.shape.frame
    sign = 1.0 if plan.side is Side.LEFT else -1.0
    x = float(ruler.middle[0] + sign * rng.uniform(0.0, 1.5))
    out = ruler.behind(x, plan.height, 0.0)
    inner = np.array([x, out[1] - 10.0, out[2]])
    through = ruler.behind(x, plan.height, BEYOND_MM)
    root = frame.to_lps_mm(np.array([around.start_local_mm, inner, out, through]))
    length = 1000.0 * plan.volume_ml / (np.pi * radius**2)
    # Behind the body to one or both longitudinal veins, and along these.
    ways = [(sign, 1.0), (sign, -1.0), (-sign, 1.0), (-sign, -1.0)]
    if rng.random() < 0.5:
        ways[0], ways[1] = ways[1], ways[0]
    if rng.random() < 0.5:
        ways[1], ways[2] = ways[2], ways[1]
    count = 1 if plan.volume_ml < 0.12 else 2 if plan.volume_ml < 0.5 else 4
    branches = []
    for across, up in ways[:count]:
        share = max(length / count, 3.0)
        rise = np.array([0.0, 1.0, 3.0, 8.0, 14.0, 20.0, 26.0]) * up
        turn = across * np.array([0.1, 0.45, 0.6, 0.62, 0.6, 0.6, 0.6])
        line = [
            _before_canal(around, t, frame.to_lps_mm(out)[2] + r, radius)
            for t, r in zip(turn, rise, strict=True)
        ]
        branches.append(cut(np.array(line), share))
    return LeakPath(root, 1.5, frame.to_lps_mm(out), tuple(branches))


def _before_canal(
    around: Surroundings, across: float, height_mm: float, radius_mm: float
) -> FloatArray:
    """Give a place at the front of the canal: -1 far right, 1 far left."""
    centre = around.canal.centre_mm(height_mm)
    angle = 1.5 * np.pi + across * np.radians(75.0)
    reach = around.canal.radius_mm(angle, height_mm) - 0.8 * radius_mm
    return centre + reach * np.array([np.cos(angle), np.sin(angle), 0.0])


def _segmental(
    plan: RoutePlan, around: Surroundings, ruler: BodyRuler, rng: np.random.Generator
) -> LeakPath:
    radius = tube_radius_mm(plan)
    frame, shape = around.shape.frame, around.shape
    out = ruler.around(plan.side, plan.angle_deg, plan.height, 0.0)
    centre = np.array([*ruler.middle[:2], out[2]])
    inner = out + 6.0 * (centre - out) / np.linalg.norm(centre - out)
    through = ruler.around(plan.side, plan.angle_deg, plan.height, BEYOND_MM)
    root = frame.to_lps_mm(np.array([around.start_local_mm, inner, out, through]))
    back = plan.end is RouteEnd.FORAMEN
    step = -4.0 if back else 4.0
    drift = float(rng.uniform(-0.003, 0.003))  # nearly along the waist
    line = []
    for angle in plan.angle_deg + step * np.arange(36):
        if angle < -84.0 or angle > 150.0:
            break
        height = plan.height + drift * abs(angle - plan.angle_deg)
        offset = radius + 0.2
        place = ruler.around(plan.side, float(angle), height, offset)
        for _ in range(24):  # under the pedicle
            if shape.bone.at(frame.to_lps_mm(place)[None])[0] > 0.9 * radius:
                break
            place = place - np.array([0.0, 0.0, 0.5])
        line.append(place)
    length = 1000.0 * plan.volume_ml / (np.pi * radius**2)
    path = cut(frame.to_lps_mm(np.array(line)), length)
    return LeakPath(root, min(1.2, radius), frame.to_lps_mm(out), (path,))


def _cortical(
    plan: RoutePlan, around: Surroundings, ruler: BodyRuler, rng: np.random.Generator
) -> LeakPath:
    frame = around.shape.frame
    blob = _blob_radius_mm(plan)
    posterior = plan.end is RouteEnd.CANAL
    sign = 1.0 if plan.side is Side.LEFT else -1.0

    def place(turn: float, height: float, offset: float) -> FloatArray:
        if posterior:
            x = ruler.middle[0] + sign * (plan.across * ruler.half[0] + turn)
            return ruler.behind(float(x), height, offset)
        angle = plan.angle_deg + np.degrees(turn / float(ruler.half[0]))
        return ruler.around(plan.side, float(angle), height, offset)

    out = place(0.0, plan.height, 0.0)
    centre = np.array([*ruler.middle[:2], out[2]])
    inner = out + 6.0 * (centre - out) / np.linalg.norm(centre - out)
    through = place(0.0, plan.height, BEYOND_MM)
    root = frame.to_lps_mm(np.array([around.start_local_mm, inner, out, through]))
    tall = float(ruler.high[2] - ruler.low[2])
    line = [place(0.0, plan.height, 0.5 * blob)]
    for _ in range(4):
        turn, rise = rng.normal(0.0, 0.6 * blob, 2)
        height = float(np.clip(plan.height + rise / tall, 0.04, 0.96))
        line.append(place(float(turn), height, float(rng.uniform(0.3, 0.8)) * blob))
    radius = float(np.clip(0.6 * blob, 1.2, 3.0))
    branch = frame.to_lps_mm(np.array(line))
    return LeakPath(root, radius, frame.to_lps_mm(out), (branch,))


def _disc(
    plan: RoutePlan, around: Surroundings, ruler: BodyRuler, rng: np.random.Generator
) -> LeakPath:
    frame = around.shape.frame
    upper = plan.end is RouteEnd.DISC_ABOVE
    sign = 1.0 if plan.side is Side.LEFT else -1.0
    a = np.radians(plan.angle_deg)
    flat = np.array([sign * np.cos(a), -np.sin(a)]) * plan.across
    x, y = ruler.middle[:2] + flat * ruler.half[:2]
    out = ruler.plate(x, y, 0.0, upper=upper)
    inner = out - np.array([0.0, 0.0, 5.0 if upper else -5.0])
    through = ruler.plate(x, y, BEYOND_MM, upper=upper)
    root = frame.to_lps_mm(np.array([around.start_local_mm, inner, out, through]))
    spread = 0.75 * _blob_radius_mm(plan)
    line = [ruler.plate(x, y, 1.6, upper=upper)]
    for _ in range(4):
        dx, dy = rng.normal(0.0, spread, 2)
        at = np.array([x + dx, y + dy])
        inwards = (at - ruler.middle[:2]) / ruler.half[:2]
        far = float(np.hypot(*inwards))
        if far > 0.75:
            at = ruler.middle[:2] + (at - ruler.middle[:2]) * 0.75 / far
        line.append(ruler.plate(at[0], at[1], 1.6, upper=upper))
    branch = frame.to_lps_mm(np.array(line))
    return LeakPath(root, 1.8, frame.to_lps_mm(out), (branch,))


def _instrument(
    plan: RoutePlan, around: Surroundings, ruler: BodyRuler, rng: np.random.Generator
) -> LeakPath:
    way = around.way
    if way is None:
        raise ConfigError(f"no instrument in {plan.level} on the {plan.side}")
    frame, bone = around.shape.frame, around.shape.bone
    axis_mm = np.stack([way.head_mm, way.tip_mm])
    start = frame.to_lps_mm(around.start_local_mm)
    back = -way.axis
    wall = ruler.behind(float(ruler.middle[0]), 0.6, 0.0)[1]
    local_tip = frame.to_local_mm(way.tip_mm)
    local_back = frame.to_local_mm(way.tip_mm + back) - local_tip
    isthmus = way.tip_mm + back * (wall + PEDICLE_MM - local_tip[1]) / local_back[1]
    thick = 0.5 * way.plan.diameter_mm + 0.9
    if plan.end is RouteEnd.BEHIND and way.plan.diameter_mm > NEEDLE_MM:
        return _beside_shaft(plan, around, way, (thick, isthmus), rng)
    if plan.end is RouteEnd.BEHIND:
        # The muscle closes round the needle's way: a string.
        steps = np.arange(0.0, 26.0, 1.5)
        length = float(np.clip(14.0 * np.cbrt(plan.volume_ml), 4.0, 22.0))
        behind = way.entry_mm + steps[:, None] * back
        root = np.stack([start, way.tip_mm, isthmus, way.entry_mm + BEYOND_MM * back])
        return LeakPath(root, thick, way.entry_mm, (cut(behind, length),), axis_mm)
    sign = 1.0 if plan.side is Side.LEFT else -1.0
    a = np.radians(plan.angle_deg)
    out_local = np.array([sign * np.cos(a), 0.0, -np.sin(a)])
    centre = frame.to_local_mm(isthmus)
    out = ruler.outwards(centre, out_local, 0.0, bone)
    blob = _blob_radius_mm(plan)
    middle = ruler.outwards(centre, out_local, 0.5 * blob, bone)
    wander = rng.normal(0.0, 0.5 * blob, (3, 3))
    wander -= np.outer(np.minimum(wander @ out_local, 0.0), out_local)
    root = np.stack(
        [start, way.tip_mm, isthmus, frame.to_lps_mm(out + BEYOND_MM * out_local)]
    )
    branch = frame.to_lps_mm(np.stack([middle, *(middle + wander)]))
    return LeakPath(root, 1.8, frame.to_lps_mm(out), (branch,), axis_mm)


def _beside_shaft(
    plan: RoutePlan,
    around: Surroundings,
    way: PlacedScrew,
    sleeve: tuple[float, FloatArray],
    rng: np.random.Generator,
) -> LeakPath:
    """Cement that wells up where a screw enters the bone, in front of its head."""
    frame, (thick_mm, isthmus) = around.shape.frame, sleeve
    sign = 1.0 if plan.side is Side.LEFT else -1.0
    a = np.radians(plan.angle_deg)
    out = frame.to_lps_mm(np.array([sign * np.cos(a), 0.0, -np.sin(a)]))
    out = out - frame.origin_lps_mm
    out -= (out @ way.axis) * way.axis
    out /= np.linalg.norm(out)
    blob = _blob_radius_mm(plan)
    centre = way.entry_mm - 1.0 * way.axis + (thick_mm + 0.3 * blob) * out
    wander = rng.normal(0.0, 0.4 * blob, (3, 3))
    wander -= np.outer(np.minimum(wander @ out, 0.0), out)
    start = frame.to_lps_mm(around.start_local_mm)
    root = np.stack([start, way.tip_mm, isthmus, way.entry_mm - BEYOND_MM * way.axis])
    branch = np.stack([centre, *(centre + wander)])
    axis_mm = np.stack([way.head_mm, way.tip_mm])
    return LeakPath(root, thick_mm, way.entry_mm, (branch,), axis_mm)


def _blob_radius_mm(plan: RoutePlan) -> float:
    return float(np.cbrt(3000.0 * plan.volume_ml / (4.0 * np.pi)))


def cut(line_mm: FloatArray, length_mm: float) -> FloatArray:
    """Cut a polyline to a length."""
    steps = np.linalg.norm(np.diff(line_mm, axis=0), axis=1)
    along = np.concatenate([[0.0], steps.cumsum()])
    if along[-1] <= length_mm:
        return line_mm
    kept = line_mm[along < length_mm]
    last = [np.interp(length_mm, along, line_mm[:, k]) for k in range(3)]
    return np.vstack([kept, last])
