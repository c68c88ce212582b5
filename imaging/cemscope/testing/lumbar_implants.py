"""Pedicle screws and rods for simulated lumbar scans."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cemscope.errors import ConfigError
from cemscope.findings import Side
from cemscope.spine import VertebraFrame
from cemscope.testing.lumbar_anatomy import FAR_MM, VertebraShape
from cemscope.testing.scalar_field import Lattice, ScalarField

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

THREAD_PITCH_MM = 2.7
"""Usual pitch of single-lead pedicle screws."""

THREAD_DEPTH_MM = 0.75
"""Usual depth of thread of pedicle screws of 6 to 7 mm."""

TIP_CONE_MM = 6.0
"""Length over which the shaft narrows to its tip."""

TULIP_RADIUS_MM = 6.3
"""Outer radius of the polyaxial head."""

TULIP_BELOW_MM, TULIP_ABOVE_MM = 6.0, 8.5
"""The tulip's reach in front of and behind the rod's centre line."""

ROD_RADIUS_MM = 2.75
"""Rods of 5.5 mm."""

ROD_OVERHANG_MM = 7.0
"""How far a rod stands out beyond the outermost screws."""

BORE_RADIUS_MM = 0.9
"""Cannulation of a fenestrated screw."""

SIDE_HOLE_RADIUS_MM = 0.8
"""Fenestrations of the shaft near its tip."""

USUAL_CONVERGENCE_DEG = {"L1": 8.0, "L2": 10.0, "L3": 12.0, "L4": 15.0, "L5": 20.0}
"""Medial angle of lumbar pedicles (Zindrick 1987, Spine 12:160-6, rounded)."""


@dataclass(frozen=True, slots=True)
class ScrewPlan:
    """A screw to be placed.

    Attributes
    ----------
    level : str
        Vertebra.
    side : Side
        The patient's side.
    diameter_mm : float
        Over the thread.
    shaft_mm : float
        From under the head to the tip.
    cannulated : bool
        Bore and side holes.
    cement_ml : float
        Cement to inject round its tip; 0 for none.
    lucency_mm : float
        Width of the zone without bone round a loosened shaft.
    offset_mm, turn_deg : tuple of float
        How far the surgeon missed the best axis: (lateral, superior) in the pedicle,
        and more (convergence, upward tilt).
    tip_margin_mm : float
        Least bone in front of the tip; negative perforates the anterior wall.
    """

    level: str
    side: Side
    diameter_mm: float = 6.5
    shaft_mm: float = 45.0
    cannulated: bool = False
    cement_ml: float = 1.5
    lucency_mm: float = 0.0
    offset_mm: tuple[float, float] = (0.0, 0.0)
    turn_deg: tuple[float, float] = (0.0, 0.0)
    tip_margin_mm: float = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class PlacedScrew:
    """A screw in the patient's frame, LPS mm.

    Attributes
    ----------
    plan : ScrewPlan
        What was asked for.
    head_mm, tip_mm : ndarray, shape (3,)
        Centre of the head (where the rod runs), and foremost point.
    entry_mm : ndarray, shape (3,)
        Where the axis enters the bone.
    pedicle_clearance_mm : float
        Bone between the thread and the narrowest part of the pedicle's wall;
        negative for a breach.
    """

    plan: ScrewPlan
    head_mm: FloatArray
    tip_mm: FloatArray
    entry_mm: FloatArray
    pedicle_clearance_mm: float

    @property
    def axis(self) -> FloatArray:
        """Unit vector from the head to the tip."""
        along = self.tip_mm - self.head_mm
        return np.asarray(along / np.linalg.norm(along))

    def cylinder_coordinates(
        self, points_mm: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Distance behind the tip along the axis, and distance from the axis, mm."""
        offset = points_mm - self.tip_mm
        behind = -(offset @ self.axis)
        radius = np.linalg.norm(offset + behind[..., None] * self.axis, axis=-1)
        return behind, radius


def place_screw(plan: ScrewPlan, shape: VertebraShape) -> PlacedScrew:
    """Put a screw through a pedicle along its best axis.

    Raises
    ------
    ConfigError
        If the vertebra has no pedicle there.
    """
    frame = shape.frame
    sign = 1.0 if plan.side is Side.LEFT else -1.0
    wall = _last_inside(shape.body, frame, np.zeros(3), np.array([0.0, 1.0, 0.0]))
    lateral = sign * np.arange(7.0, 26.0, 0.5)
    height = np.arange(-8.0, 16.0, 0.5)
    back = wall + np.arange(3.0, 9.0, 1.0)
    grid = np.meshgrid(back, height, lateral, indexing="ij")
    bone = shape.bone.at(frame.to_lps_mm(np.stack(grid[::-1], axis=-1)[..., [0, 2, 1]]))
    # The isthmus: in each coronal plane the deepest point, of these the shallowest.
    deepest = bone.reshape(len(back), -1).argmin(axis=1)
    plane = int(bone.reshape(len(back), -1).min(axis=1).argmax())
    row, column = np.unravel_index(deepest[plane], bone.shape[1:])
    isthmus = np.array([lateral[column], back[plane], height[row]])
    if bone.reshape(len(back), -1).min(axis=1).max() > -1.0:
        raise ConfigError(f"no pedicle found in {plan.level} on the {plan.side}")
    best = (-np.inf, np.zeros(3), isthmus, 0.0)
    usual = USUAL_CONVERGENCE_DEG.get(plan.level, 12.0)
    steps = np.arange(-5.0, 8.1, 1.0)
    shifts = [
        (across, up)
        for across in np.arange(-3.0, 3.1, 1.5)
        for up in np.arange(-7.5, 7.6, 1.5)
    ]
    for convergence in np.arange(0.0, 32.0, 3.0):
        for tilt in np.arange(-10.0, 11.0, 4.0):
            a, b = np.radians(convergence), np.radians(tilt)
            flat = np.array([-sign * np.sin(a), -np.cos(a), 0.0]) * np.cos(b)
            ahead = flat + np.array([0.0, 0.0, np.sin(b)])
            for shift in shifts:
                centre = isthmus + np.array([shift[0], 0.0, shift[1]])
                line = frame.to_lps_mm(centre + steps[:, None] * ahead)
                clearance = -float(shape.bone.at(line).max())
                score = clearance - 0.08 * abs(convergence - usual) - 0.06 * abs(tilt)
                if score > best[0]:
                    best = (score, ahead, centre, clearance)
    _, ahead, centre, clearance = best
    front = _last_inside(shape.body, frame, centre, ahead, first_mm=10.0)
    behind = _last_inside(shape.bone, frame, centre, -ahead)
    tip = min(front - plan.tip_margin_mm, plan.shaft_mm - behind - 1.0)
    if plan.offset_mm != (0.0, 0.0) or plan.turn_deg != (0.0, 0.0):
        ahead, centre = _missed(plan, ahead, centre, sign)
        line = frame.to_lps_mm(centre + steps[:, None] * ahead)
        clearance = -float(shape.bone.at(line).max())
    head = tip - plan.shaft_mm - TULIP_BELOW_MM
    return PlacedScrew(
        plan,
        frame.to_lps_mm(centre + head * ahead),
        frame.to_lps_mm(centre + tip * ahead),
        frame.to_lps_mm(centre - behind * ahead),
        clearance - 0.5 * plan.diameter_mm,
    )


def _missed(
    plan: ScrewPlan, ahead: FloatArray, centre: FloatArray, sign: float
) -> tuple[FloatArray, FloatArray]:
    """Turn and shift an axis in the vertebra's frame."""
    inwards, upwards = np.radians(plan.turn_deg)
    across = np.array([-sign, 0.0, 0.0])
    turned = ahead + np.tan(inwards) * across + np.tan(upwards) * np.array([0, 0, 1.0])
    lateral, up = plan.offset_mm
    moved = centre + np.array([sign * lateral, 0.0, up])
    return turned / np.linalg.norm(turned), moved


def screw_field(
    screw: PlacedScrew, rod_direction: FloatArray | None, grid_mm: float
) -> ScalarField:
    """Signed distance to a screw with its head, on a grid that resolves the thread."""
    ends = np.stack([screw.head_mm, screw.tip_mm])
    margin = TULIP_RADIUS_MM + TULIP_ABOVE_MM
    lattice = Lattice.around(
        ends.min(axis=0) - margin, ends.max(axis=0) + margin, grid_mm
    )
    points = lattice.points_mm()
    behind, radius = screw.cylinder_coordinates(points)
    near = (radius < 0.5 * screw.plan.diameter_mm + 1.5) | (
        np.abs(behind - screw.plan.shaft_mm - TULIP_BELOW_MM) < margin
    )
    distance = np.full(lattice.shape, FAR_MM, np.float32)
    distance[near] = np.minimum(
        _shaft(screw, points[near]), _tulip(screw, points[near], rod_direction)
    )
    low, high = lattice.box_of(distance < 1.5, 0.0)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return ScalarField(
        np.ascontiguousarray(distance[box]),
        lattice.crop_around(distance < 1.5, 0.0),
        FAR_MM,
    )


def rod_field(screws: Sequence[PlacedScrew], grid_mm: float) -> ScalarField:
    """Signed distance to the rod through the heads of screws of one side."""
    line = rod_line_mm(screws)
    lattice = Lattice.around(line.min(axis=0) - 6.0, line.max(axis=0) + 6.0, grid_mm)
    points = lattice.points_mm()
    distance = np.full(lattice.shape, FAR_MM, np.float32)
    for start, end in pairwise(line):
        distance = np.minimum(distance, capsule(points, start, end))
    return ScalarField(distance - np.float32(ROD_RADIUS_MM), lattice, FAR_MM)


def rod_line_mm(screws: Sequence[PlacedScrew]) -> FloatArray:
    """Bent centre line of a rod through the heads, shape (n, 3)."""
    heads = np.array(sorted((s.head_mm for s in screws), key=lambda h: float(h[2])))
    degree = min(2, len(heads) - 1)
    z = heads[:, 2]
    fit = [np.polyfit(z, heads[:, axis], degree) for axis in (0, 1)]
    along = np.linspace(z[0] - ROD_OVERHANG_MM, z[-1] + ROD_OVERHANG_MM, 13)
    return np.stack([np.polyval(fit[0], along), np.polyval(fit[1], along), along], 1)


def capsule(points_mm: FloatArray, start: FloatArray, end: FloatArray) -> Float32Array:
    """Distance to a line segment."""
    along = end - start
    t = np.clip(((points_mm - start) @ along) / max(float(along @ along), 1e-9), 0, 1)
    gap = points_mm - start - t[..., None] * along
    return np.asarray(np.sqrt((gap**2).sum(axis=-1)), np.float32)


def _last_inside(
    field: ScalarField,
    frame: VertebraFrame,
    start: FloatArray,
    direction: FloatArray,
    first_mm: float = 0.0,
) -> float:
    """How far a line (local frame) stays inside, starting at ``first_mm``."""
    steps = np.arange(first_mm, 60.0, 0.25)
    outside = field.at(frame.to_lps_mm(start + steps[:, None] * direction)) > 0
    return float(steps[int(np.argmax(outside))]) if outside.any() else 60.0


def _shaft(screw: PlacedScrew, points: FloatArray) -> FloatArray:
    plan = screw.plan
    behind, radius = screw.cylinder_coordinates(points)
    across = np.cross(screw.axis, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    up = np.cross(across, screw.axis)
    offset = points - screw.tip_mm
    turn = np.arctan2(offset @ up, offset @ across) / (2 * np.pi)
    phase = (behind / THREAD_PITCH_MM - turn) % 1.0
    crest = np.clip(2.2 - np.abs(phase - 0.5) * 6.0, 0.0, 1.0)
    outer = 0.5 * plan.diameter_mm * np.clip(behind / TIP_CONE_MM, 0.0, 1.0) ** 0.6
    depth = np.minimum(THREAD_DEPTH_MM, 0.3 * outer)
    distance: FloatArray = np.maximum(radius - outer + depth * (1.0 - crest), -behind)
    distance = np.maximum(distance, behind - plan.shaft_mm - TULIP_BELOW_MM)
    if plan.cannulated:
        distance = np.maximum(distance, BORE_RADIUS_MM - radius)
        for along in (9.0, 14.0):
            for direction in (across, up):
                centre = offset + along * screw.axis
                gap = np.linalg.norm(
                    centre - (centre @ direction)[..., None] * direction, axis=-1
                )
                distance = np.maximum(distance, SIDE_HOLE_RADIUS_MM - gap)
    return distance


def _tulip(
    screw: PlacedScrew, points: FloatArray, rod_direction: FloatArray | None
) -> FloatArray:
    offset = points - screw.head_mm
    along = np.array([0.0, 0.0, 1.0]) if rod_direction is None else rod_direction
    back = -screw.axis - along * float(-screw.axis @ along)
    back /= np.linalg.norm(back)
    across = np.cross(along, back)
    height, sideways = offset @ back, offset @ across
    radius = np.linalg.norm(offset - height[..., None] * back, axis=-1)
    body = np.maximum(
        radius - TULIP_RADIUS_MM,
        np.maximum(-TULIP_BELOW_MM - height, height - TULIP_ABOVE_MM),
    )
    slot = np.maximum(np.abs(sideways) - ROD_RADIUS_MM - 0.2, -ROD_RADIUS_MM - height)
    distance: FloatArray = np.maximum(body, -slot)
    if rod_direction is not None:
        plug = np.maximum(
            radius - 4.8, np.maximum(ROD_RADIUS_MM - height, height - TULIP_ABOVE_MM)
        )
        distance = np.minimum(distance, plug)
    return distance
