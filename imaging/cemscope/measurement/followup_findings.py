"""What changed between two scans of a patient: frozen values without arrays.

Lengths mm, angles degrees, volumes mL. Directions are those of the vertebra itself:
to its left, its back (posterior) and its upper endplate (superior).
"""

from dataclasses import dataclass
from enum import StrEnum

from cemscope.findings import NotAssessed, Side

Direction = tuple[float, float, float]
"""(left, posterior, superior) in a vertebra's own axes."""


@dataclass(frozen=True, slots=True)
class Change:
    """A difference between follow-up and baseline with its 95 % half-width."""

    value: float
    uncertainty: float

    @property
    def certain(self) -> bool:
        """Whether it is not explained by its uncertainty."""
        return abs(self.value) > self.uncertainty


@dataclass(frozen=True, slots=True)
class Displacement:
    """Movement of a point in its vertebra.

    Attributes
    ----------
    distance_mm : Change
        How far.
    direction_mm : Direction
        Its parts.
    """

    distance_mm: Change
    direction_mm: Direction


@dataclass(frozen=True, slots=True)
class ScrewMovement:
    """Movement of a screw in its vertebra.

    Attributes
    ----------
    level : str
        Vertebra, as the follow-up names it.
    side : Side
        Side of the screw.
    tilt_deg : Change
        Against the upper endplate; positive: the tip went up.
    convergence_deg : Change
        In the plane of the endplate; positive: the tip went to the midline.
    tip, head : Displacement
        Movement of both ends.
    along_mm : Change
        Of the tip along the axis; negative: the screw backs out.
    moved : bool
        Whether tilt or tip changed beyond the limits and their uncertainty.
    """

    level: str
    side: Side
    tilt_deg: Change
    convergence_deg: Change
    tip: Displacement
    head: Displacement
    along_mm: Change
    moved: bool


class Integrity(StrEnum):
    """Whether a screw or rod is in one piece."""

    WHOLE = "whole"
    SUSPECTED_BREAK = "suspected_break"


@dataclass(frozen=True, slots=True)
class ScrewFollowup:
    """One screw in both scans.

    Attributes
    ----------
    screw_id : str
        In the follow-up's report.
    level, side
        Where it is.
    movement : ScrewMovement or NotAssessed
        Tilt and migration.
    growth_mm : float or NotAssessed
        Increase of the lucent rim's mean width over what both scans show.
    growth_seen_fraction : float
        Share of the shaft's surface in bone that both scans show.
    integrity : Integrity or NotAssessed
        Of the shaft.
    integrity_reason : str
        What speaks for a break; else "".
    """

    screw_id: str
    level: str
    side: Side
    movement: ScrewMovement | NotAssessed
    growth_mm: float | NotAssessed
    growth_seen_fraction: float
    integrity: Integrity | NotAssessed
    integrity_reason: str = ""


@dataclass(frozen=True, slots=True)
class RodFollowup:
    """A rod between two neighbouring screws of a side."""

    side: Side
    levels: tuple[str, str]
    integrity: Integrity | NotAssessed


@dataclass(frozen=True, slots=True)
class HeightChange:
    """Height of a body at one place in both scans.

    Attributes
    ----------
    baseline_mm, followup_mm : float
        Between the endplates, along the body's axis.
    loss_mm : Change
        Positive: lower than before.
    loss_percent : float
        Of the baseline.
    """

    baseline_mm: float
    followup_mm: float
    loss_mm: Change
    loss_percent: float


@dataclass(frozen=True, slots=True)
class BodyHeights:
    """Heights of one body in both scans.

    Attributes
    ----------
    anterior, middle, posterior : HeightChange or NotAssessed
        In the midline.
    genant_grade : int or NotAssessed
        0 to 3, of the largest loss since the baseline (Genant 1993,
        doi:10.1002/jbmr.5650080915).
    new_fracture : bool or NotAssessed
        Whether it broke since.
    method : str
        "edges" (endplates followed between the scans) or "outlines".
    """

    anterior: HeightChange | NotAssessed
    middle: HeightChange | NotAssessed
    posterior: HeightChange | NotAssessed
    genant_grade: int | NotAssessed
    new_fracture: bool | NotAssessed
    method: str


@dataclass(frozen=True, slots=True)
class CementMovement:
    """Cement of a vertebra in both scans.

    Attributes
    ----------
    displacement : Displacement
        Of its centre in the vertebra.
    turn_deg : float
        Rotation in the vertebra.
    surface_mm : float
        Distance that 95 % of its surface stay within.
    volume_change_ml : Change or NotAssessed
        Follow-up less baseline.
    moved : bool
        Whether it moved beyond the limit and its uncertainty.
    """

    displacement: Displacement
    turn_deg: float
    surface_mm: float
    volume_change_ml: Change | NotAssessed
    moved: bool


@dataclass(frozen=True, slots=True)
class Registration:
    """How well a vertebra was found again.

    Attributes
    ----------
    residual_mm : float
        Root mean square distance of the edges of bone that agree.
    agreement : float
        Share of the visible edges that agree.
    edges : int
        Visible edges.
    """

    residual_mm: float
    agreement: float
    edges: int


@dataclass(frozen=True, slots=True)
class VertebraFollowup:
    """One vertebra in both scans.

    Attributes
    ----------
    level : str
        As the follow-up names it.
    baseline_level : str
        As the baseline names it.
    registration : Registration or NotAssessed
        Refused where poor.
    heights : BodyHeights or NotAssessed
        Change of the body.
    cement : CementMovement or NotAssessed
        Change of its cement.
    """

    level: str
    baseline_level: str
    registration: Registration | NotAssessed
    heights: BodyHeights | NotAssessed
    cement: CementMovement | NotAssessed
