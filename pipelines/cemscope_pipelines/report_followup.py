"""The section ``followup`` of a report: what changed since the baseline.

Changes are follow-up less baseline, each with the half-width of its 95 % interval.
Directions are those of the vertebra in the baseline: left, posterior, superior.
"""

from typing import Annotated, Literal

from pydantic import Field

from cemscope_pipelines.report_base import Assessed, ReportModel

DirectionMM = Annotated[
    tuple[float, float, float],
    Field(description="[left, posterior, superior] in the vertebra's own axes, mm"),
]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class MillimetreChange(ReportModel):
    """A change in mm."""

    value_mm: float
    uncertainty_mm: float = Field(ge=0.0, description="Half-width of 95 %.")


class DegreeChange(ReportModel):
    """A change in degrees."""

    value_deg: float
    uncertainty_deg: float = Field(ge=0.0, description="Half-width of 95 %.")


class VolumeChange(ReportModel):
    """A change in mL."""

    value_ml: float
    uncertainty_ml: float = Field(ge=0.0, description="Half-width of 95 %.")


class DisplacementEntry(ReportModel):
    """Movement of a point in its vertebra."""

    distance: MillimetreChange
    direction_mm: DirectionMM


class HeightEntry(ReportModel):
    """Height of a body at one place of its midline."""

    baseline_mm: float
    followup_mm: float
    loss: MillimetreChange = Field(description="Positive: lower than before.")
    loss_percent: float


class HeightsEntry(ReportModel):
    """Heights of one body in both scans."""

    status: Literal["assessed"] = "assessed"
    anterior: Assessed[HeightEntry]
    middle: Assessed[HeightEntry]
    posterior: Assessed[HeightEntry]
    genant_grade: Assessed[int] = Field(
        description="Of the largest certain loss: 1, 2, 3 from 20, 25, 40 percent."
    )
    new_fracture: Assessed[bool]
    method: Literal["edges", "outlines"] = Field(
        description="edges: endplates followed between the scans; outlines: less exact."
    )


class CementMovementEntry(ReportModel):
    """Movement of a vertebra's cement in its bone."""

    status: Literal["assessed"] = "assessed"
    displacement: DisplacementEntry = Field(description="Of the cement's centre.")
    turn_deg: float
    surface_mm: float = Field(description="95 % of the surface moved less than this.")
    volume_change: Assessed[VolumeChange]
    moved: bool


class FollowedVertebraEntry(ReportModel):
    """One vertebra in both scans."""

    level: str
    baseline_level: Assessed[str] = Field(description="Its name in the baseline.")
    residual_mm: Assessed[float] = Field(
        description="Root mean square distance of edges of bone after registration."
    )
    agreement: Assessed[Share] = Field(description="Share of the edges that agree.")
    edges: Assessed[int]
    heights: Assessed[HeightsEntry]
    cement: Assessed[CementMovementEntry]


class ScrewMovementEntry(ReportModel):
    """Movement of a screw in its vertebra."""

    status: Literal["assessed"] = "assessed"
    tilt: DegreeChange = Field(
        description="Against the upper endplate; positive: the tip went up."
    )
    convergence: DegreeChange = Field(
        description="In the endplate's plane; positive: towards the midline."
    )
    tip: DisplacementEntry
    head: DisplacementEntry
    along: MillimetreChange = Field(
        description="Of the tip along the axis; negative: the screw backs out."
    )
    moved: bool


class FollowedScrewEntry(ReportModel):
    """One screw in both scans."""

    id: str
    baseline_id: Assessed[str]
    level: str
    side: Literal["left", "right"]
    movement: Assessed[ScrewMovementEntry]
    growth_mm: Assessed[float] = Field(
        description="Of the lucent rim's mean width, over what both scans show."
    )
    growth_seen_fraction: Share
    integrity: Assessed[Literal["whole", "suspected_break"]]
    integrity_reason: str = Field(description="What speaks for a break; else empty.")


class FollowedRodEntry(ReportModel):
    """A rod between two neighbouring screws."""

    side: Literal["left", "right"]
    levels: tuple[str, str]
    integrity: Assessed[Literal["whole", "suspected_break"]]


class PatientCheckEntry(ReportModel):
    """Whether both scans are of one patient."""

    result: Literal["same", "not_known", "overridden"]
    reason: str


class ConclusionEntry(ReportModel):
    """One thing that a reader should look at."""

    code: Literal[
        "screw_loose", "screw_suspicious", "lucency_grown", "screw_moved",
        "screw_broken", "screw_missing", "screw_new", "rod_broken", "cement_moved",
        "new_fracture",
    ]  # fmt: skip
    subject: str = Field(description="Screw, rod or level.")
    message: str


class FollowupEntry(ReportModel):
    """What changed since the baseline."""

    baseline_report_hash: str = Field(description="SHA-256 of its report.json.")
    baseline_study_instance_uid: Assessed[str]
    baseline_series_instance_uid: Assessed[str]
    baseline_acquisition_date: Assessed[str]
    baseline_reviewed: bool = Field(description="Whether a reader's values were used.")
    days_between: Assessed[int]
    patient: PatientCheckEntry
    vertebrae: tuple[FollowedVertebraEntry, ...] = Field(
        description="All of this scan, lowest first."
    )
    screws: tuple[FollowedScrewEntry, ...] = Field(description="All of this scan.")
    rods: tuple[FollowedRodEntry, ...]
    conclusions: tuple[ConclusionEntry, ...] = Field(
        description="Suspicions that need a reader's eye; empty where nothing changed."
    )
