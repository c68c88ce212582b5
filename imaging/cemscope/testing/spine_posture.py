"""How the vertebrae of a simulated person stand on each other.

A chain from the sacrum upwards. Each joint keeps the relative position it has in the
atlas, so that facets meet, and adds the person's own disc height and angles.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from cemscope.spine import VertebraFrame
from cemscope.testing.spine_atlas import (
    STORED_LEVELS,
    StoredVertebra,
    sacral_base,
    stored_vertebrae,
    trunk_arrays,
)

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Collapse:
    """A broken body.

    Attributes
    ----------
    kind : str
        "wedge" (in front), "biconcave" (in the middle) or "crush" (everywhere).
    loss : float
        Share of the height that is lost where it is lost most.
    sclerosis : float
        Density of the crushed bone, relative.
    """

    kind: str
    loss: float
    sclerosis: float = 1.5


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """One vertebra of a person.

    Attributes
    ----------
    name : str
        Its true name.
    stored : str
        Atlas vertebra that lends its shape.
    scale : tuple of float
        Its own size (left, posterior, superior), beside the person's.
    ribs_mm : float
        Length of its ribs; 0 for none.
    disc_change_mm : float
        Height of the disc below it, relative to the atlas.
    flexion_deg, bending_deg, turn_deg : float
        Rotation in the joint below: forwards, to the left, and about the axis.
    collapse : Collapse or None
        A fracture.
    vacuum_mm : float
        Thickness of gas in the disc below it.
    osteophyte_mm : float
        Height of spurs at the rims of its endplates.
    shape_noise_mm : float
        Standard deviation of its own smooth deformation.
    seed : int
        Of that deformation and the spurs.
    """

    name: str
    stored: str
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ribs_mm: float = 0.0
    disc_change_mm: float = 0.0
    flexion_deg: float = 0.0
    bending_deg: float = 0.0
    turn_deg: float = 0.0
    collapse: Collapse | None = None
    vacuum_mm: float = 0.0
    osteophyte_mm: float = 0.0
    shape_noise_mm: float = 0.6
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PersonSize:
    """Size of a person relative to the atlas."""

    left: float = 1.0
    posterior: float = 1.0
    superior: float = 1.0

    @property
    def factors(self) -> FloatArray:
        """(left, posterior, superior)."""
        return np.array([self.left, self.posterior, self.superior])


@dataclass(frozen=True, slots=True, eq=False)
class StandingVertebra:
    """A vertebra in its place in the patient's frame.

    Attributes
    ----------
    plan : LevelPlan
        What was asked for.
    stored : StoredVertebra
        Its shape.
    frame : VertebraFrame
        Centre of the unbroken body, and axes.
    scale : ndarray, shape (3,)
        Size relative to the stored shape (left, posterior, superior).
    """

    plan: LevelPlan
    stored: StoredVertebra
    frame: VertebraFrame
    scale: FloatArray

    @property
    def low_mm(self) -> FloatArray:
        """Extent of the unbroken body in its frame."""
        return self.stored.low_mm * self.scale

    @property
    def high_mm(self) -> FloatArray:
        """Extent of the unbroken body in its frame."""
        return self.stored.high_mm * self.scale

    @property
    def upper_endplate_mm(self) -> FloatArray:
        """Middle of the upper endplate, LPS."""
        return self.frame.to_lps_mm([0.0, 0.0, self.high_mm[2]])

    @property
    def lower_endplate_mm(self) -> FloatArray:
        """Middle of the lower endplate, LPS."""
        return self.frame.to_lps_mm([0.0, 0.0, self.low_mm[2]])


@dataclass(frozen=True, slots=True, eq=False)
class StandingSpine:
    """All vertebrae, from the head to the feet, in the patient's frame.

    The frame is LPS in mm; its origin is where the trunk of the atlas has L3.
    """

    vertebrae: tuple[StandingVertebra, ...]
    size: FloatArray = field(default_factory=lambda: np.ones(3))


def trunk_origin_mm() -> FloatArray:
    """Origin of the patient's frame in the stored trunk, (x, y, z)."""
    return np.asarray(trunk_arrays()["L3_centre_mm"][::-1], float)


def stand(plans: Sequence[LevelPlan], person: PersonSize) -> StandingSpine:
    """Stack vertebrae on the sacrum.

    Parameters
    ----------
    plans
        From the head to the feet; the last one stands on the sacrum.
    person
        Scales everything.
    """
    base = sacral_base()
    size = person.factors
    centre = (base.l5_centre_mm - trunk_origin_mm()) * size
    axes = _orthogonal(base.l5_axes * size)
    stored = stored_vertebrae()
    below: StandingVertebra | None = None
    placed: list[StandingVertebra] = []
    for plan in reversed(plans):
        shape = stored[plan.stored]
        scale = size * base.size * np.array(plan.scale)
        if below is None:
            plate = centre + axes[2] * shape.low_mm[2] * scale[2]
            turn = _joint(axes, plan)
            axes = axes @ turn.T
            gap = plan.disc_change_mm
            centre = plate + axes[2] * (gap - shape.low_mm[2] * scale[2])
        else:
            centre, axes = _upon(below, plan, shape, scale)
        frame = VertebraFrame(centre, axes[0], axes[1], axes[2])
        below = StandingVertebra(plan, shape, frame, scale)
        placed.append(below)
    return StandingSpine(tuple(reversed(placed)), size)


def _upon(
    below: StandingVertebra, plan: LevelPlan, shape: StoredVertebra, scale: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Centre and axes of a vertebra on the one below."""
    pair = _stored_pair(plan.stored, below.plan.stored)
    upper, lower = (stored_vertebrae()[name] for name in pair)
    lower_axes = np.stack(
        [below.frame.left, below.frame.posterior, below.frame.superior]
    )
    relative = upper.axes @ lower.axes.T  # rows: upper axes in the lower's frame
    axes = relative @ lower_axes
    # The vector between the facing endplates, as in the atlas.
    top = lower.centre_mm + lower.axes[2] * lower.high_mm[2]
    bottom = upper.centre_mm + upper.axes[2] * upper.low_mm[2]
    gap = ((bottom - top) @ lower.axes.T) * below.scale
    turn = _joint(axes, plan)
    plate = below.upper_endplate_mm - fallen_mm(below) * below.frame.superior
    middle = plate + 0.5 * gap @ lower_axes
    axes = axes @ turn.T
    axes = axes @ _wedging(axes, below).T
    bottom_mm = middle + turn @ (0.5 * gap @ lower_axes) + plan.disc_change_mm * axes[2]
    return bottom_mm - axes[2] * shape.low_mm[2] * scale[2], _orthogonal(axes)


def _stored_pair(upper: str, lower: str) -> tuple[str, str]:
    """Neighbours of the atlas that show how two vertebrae meet."""
    order = list(STORED_LEVELS)
    index = order.index(upper)
    if upper == lower or order.index(lower) != index + 1:
        index = min(index, len(order) - 2)
        return order[index], order[index + 1]
    return upper, lower


def _joint(axes: FloatArray, plan: LevelPlan) -> FloatArray:
    """Rotation about the axes: forwards, to the left, about the body axis."""
    # About the left axis the top goes forwards, about the posterior one to the left.
    vector = np.radians([plan.flexion_deg, plan.bending_deg, plan.turn_deg]) @ axes
    return np.asarray(Rotation.from_rotvec(vector).as_matrix())


def fallen_mm(below: StandingVertebra) -> float:
    """How much lower the neighbour stands on a broken body, in the middle."""
    collapse = below.plan.collapse
    if collapse is None:
        return 0.0
    height = float(below.high_mm[2] - below.low_mm[2])
    share = {"wedge": 0.4, "biconcave": 0.0, "crush": 0.95}[collapse.kind]
    return share * collapse.loss * height


def _wedging(axes: FloatArray, below: StandingVertebra) -> FloatArray:
    """Kyphosis over a wedge."""
    collapse = below.plan.collapse
    if collapse is None or collapse.kind != "wedge":
        return np.eye(3)
    height = float(below.high_mm[2] - below.low_mm[2])
    depth = float(below.high_mm[1] - below.low_mm[1])
    angle = 0.8 * np.arctan(collapse.loss * height / depth)
    return np.asarray(Rotation.from_rotvec(angle * axes[0]).as_matrix())


def _orthogonal(axes: FloatArray) -> FloatArray:
    u, _, vt = np.linalg.svd(axes)
    return np.asarray(u @ vt)
