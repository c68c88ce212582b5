"""The report of a case, field by field as other programs read it.

Frame: LPS mm. Volumes mL, lengths mm, angles degrees, HU. What was not measured is
``{"status": "not_assessed", "reason": "..."}``; no field is left out and none but
``hu_clipped_at`` is ever null. `cemscope_pipelines.report_builder` fills the models,
`cemscope_pipelines.report_schema` writes their JSON Schema.
"""

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from cemscope_pipelines.report_base import Assessed as Assessed
from cemscope_pipelines.report_base import Count as Count
from cemscope_pipelines.report_base import IntervalML as IntervalML
from cemscope_pipelines.report_base import NotAssessedEntry as NotAssessedEntry
from cemscope_pipelines.report_base import PointLPSmm as PointLPSmm
from cemscope_pipelines.report_base import ReportModel as ReportModel
from cemscope_pipelines.report_base import Volume as Volume
from cemscope_pipelines.report_followup import FollowupEntry

REPORT_SCHEMA_VERSION: Literal["1.3"] = "1.3"
"""Grows by 0.1 where a field is added, by 1 where one changes its meaning."""

VOLUME_DECIMALS = 3
"""mL: a microlitre is far below what a CT voxel can tell."""


class SoftwareEntry(ReportModel):
    """What made the report."""

    name: Literal["cemscope"] = "cemscope"
    version: str
    config_hash: str = Field(description="SHA-256 of the canonical configuration.")


class WarningEntry(ReportModel):
    """Something a reader should know before trusting a number."""

    code: str = Field(description="Stable code for programs.")
    message: str = Field(description="Sentence for people.")


class SeriesEntry(ReportModel):
    """The CT series that was measured."""

    study_instance_uid: Assessed[str]
    series_instance_uid: Assessed[str]
    frame_of_reference_uid: Assessed[str]
    acquisition_date: Assessed[str] = Field(description="DICOM date YYYYMMDD.")
    kvp: Assessed[float] = Field(description="Peak tube voltage, kV.")
    kernel: Assessed[str] = Field(description="Convolution kernel.")
    rows: int
    columns: int
    slices: int
    spacing_mm: tuple[float, float, float] = Field(description="[z, y, x]")
    hu_min: int
    hu_max: int
    hu_clipped_at: int | None = Field(
        description="Ceiling of the scale where values pile up at it, else null."
    )
    warnings: tuple[WarningEntry, ...]


class CementEntry(ReportModel):
    """Cement of one vertebra."""

    volume_ml: Volume = Field(description="All cement of this level.")
    interval_ml: IntervalML
    threshold_volume_ml: Volume = Field(
        description="Voxels over a plain threshold, for comparison."
    )
    intrabody_ml: Volume = Field(description="Inside the surface of the body.")
    leaked_ml: Volume = Field(description="Leaked out of the vertebra.")
    fill_ratio: float = Field(ge=0.0, description="intrabody_ml / body volume")


class LeakEvidenceEntry(ReportModel):
    """What a leak's types are argued from."""

    sentence: str = Field(description="The argument in words.")
    candidates: tuple[Literal["B", "S", "C", "D", "I"], ...] = Field(
        description="The two types that cannot be told apart; empty if definite."
    )
    exit_lps_mm: PointLPSmm = Field(description="Where the cement leaves the bone.")
    exit_wall: Literal[
        "anterior", "left", "right", "posterior",
        "superior_endplate", "inferior_endplate", "arch",
    ]  # fmt: skip
    exit_height: float = Field(description="0 lower endplate, 1 upper endplate.")
    midline_mm: float = Field(description="Of the exit; positive to the left.")
    midline_share: float = Field(description="midline_mm / width of the body")
    opening_mm: float = Field(ge=0.0, description="Diameter of the opening.")
    cortex_gap: Assessed[float] = Field(
        description="Share of the wall around the opening without a cortex."
    )
    length_mm: float = Field(ge=0.0, description="Longest way within the leak.")
    width_mm: float = Field(ge=0.0, description="Mean width across that way.")
    elongation: float = Field(ge=0.0, description="length_mm / width_mm")
    slope_deg: float = Field(description="Of the course against the endplates.")
    off_surface_mm: float = Field(ge=0.0, description="Median distance from the body.")
    track_mm: Assessed[float] = Field(
        description="Median distance from the nearest shaft of the level."
    )
    canal_depth_mm: Assessed[float] = Field(
        description="Largest sagittal diameter of the cement in the canal."
    )


class LeakEntry(ReportModel):
    """One leak."""

    id: str
    scheme: Literal["yeom+"] = "yeom+"
    types: tuple[Literal["B", "S", "C", "D", "I"], ...] = Field(
        description="B basivertebral vein, S segmental vein, C cortical defect, "
        "D disc, I along the instrument."
    )
    certainty: Literal["definite", "indeterminate"]
    locations: tuple[str, ...]
    volume_ml: Volume = Field(description="Cement outside the body surface only.")
    max_distance_mm: float = Field(ge=0.0, description="From the body surface.")
    centroid_lps_mm: PointLPSmm
    canal_encroachment_percent: Assessed[float] = Field(
        description="Worst slice, cement area / canal area."
    )
    evidence: Assessed[LeakEvidenceEntry]


class CementRimEntry(ReportModel):
    """Lucent rim around the cement of a body: a suspicion, to be checked."""

    status: Literal["assessed"] = "assessed"
    max_width_mm: float = Field(ge=0.0, description="Widest part of the rim.")
    mean_width_mm: float = Field(ge=0.0, description="Mean where there is a rim.")
    surface_fraction: float = Field(
        ge=0.0, le=1.0, description="Rim / seen surface of the cement"
    )
    seen_fraction: float = Field(
        ge=0.0, le=1.0, description="Share of the cement's surface in bone seen."
    )
    surface_mm2: float = Field(ge=0.0, description="Surface of the cement in bone.")


class VertebraEntry(ReportModel):
    """One vertebra in the field of view."""

    level: str = Field(description="C1 ... S1, or V1, V2, ... from the lowest up.")
    level_confidence: float = Field(ge=0.0, le=1.0)
    source: Literal["embedded", "totalsegmentator", "imported"]
    complete: bool = Field(description="Whole body in the field of view.")
    centroid_lps_mm: PointLPSmm
    body_volume_ml: Volume
    cement: Assessed[CementEntry]
    cement_rim: Assessed[CementRimEntry] = Field(
        default=NotAssessedEntry(reason="the rim of the cement was not looked at"),
        description="Lucent rim between the cement of the body and its bone.",
    )
    leaks: tuple[LeakEntry, ...]


class LucencyPartEntry(ReportModel):
    """Lucent rim along a part of a shaft."""

    max_width_mm: float = Field(ge=0.0, description="Widest patch of the rim.")
    mean_width_mm: float = Field(ge=0.0, description="Mean where there is a rim.")
    arc_deg: float = Field(ge=0.0, description="Usual arc around the shaft.")
    length_fraction: float = Field(
        ge=0.0, le=1.0, description="Rim / seen length in bone"
    )
    seen_fraction: float = Field(
        ge=0.0, le=1.0, description="Share of the surface in bone that was seen."
    )


class LucencyEntry(LucencyPartEntry):
    """Lucent rim around a screw: a suspicion, to be checked on the images."""

    status: Literal["assessed"] = "assessed"
    grade: Literal["none", "suspicious", "loose"]
    double_halo: bool = Field(description="A sclerotic rim bounds the lucent one.")
    cement_covered_fraction: float = Field(
        ge=0.0, le=1.0, description="Share of the surface in bone that cement covers."
    )
    pedicle: Assessed[LucencyPartEntry]
    body: Assessed[LucencyPartEntry]


class GrownLucencyEntry(LucencyEntry):
    """The same on a follow-up scan."""

    growth_mm: Assessed[float] = Field(
        description="Change of the rim's mean width since the baseline."
    )


class ScrewEntry(ReportModel):
    """One pedicle screw."""

    id: str
    level: str
    side: Literal["left", "right"]
    head_lps_mm: PointLPSmm
    tip_lps_mm: PointLPSmm
    diameter_mm: float = Field(gt=0.0)
    length_mm: float = Field(gt=0.0)
    cemented: bool
    cement_volume_ml: Assessed[float]
    lucency: Annotated[
        GrownLucencyEntry | LucencyEntry | NotAssessedEntry,
        Field(union_mode="left_to_right"),
    ]


class CementElsewhereEntry(ReportModel):
    """Cement that belongs to no vertebra in view."""

    location: str
    volume_ml: Volume
    centroid_lps_mm: PointLPSmm


class MetalEntry(ReportModel):
    """Metal parts of one kind, each screw and rod on its own."""

    kind: Literal["screw", "rod", "other"]
    volume_ml: Volume


class TotalsEntry(ReportModel):
    """Cement of the whole scan; all fields are assessed, or none is."""

    cement_ml: Assessed[Volume]
    interval_ml: Assessed[IntervalML]
    leaked_ml: Assessed[Volume]
    vertebrae_augmented: Assessed[Count]


class Report(ReportModel):
    """Content of ``report.json``."""

    schema_version: Literal["1.2", "1.3"] = REPORT_SCHEMA_VERSION
    software: SoftwareEntry
    series: SeriesEntry
    vertebrae: tuple[VertebraEntry, ...] = Field(description="Lowest first.")
    screws: tuple[ScrewEntry, ...]
    cement_elsewhere: tuple[CementElsewhereEntry, ...]
    metal: tuple[MetalEntry, ...]
    totals: TotalsEntry
    followup: FollowupEntry | SkipJsonSchema[None] = Field(
        default=None, description="Comparison with a baseline; in a follow-up only."
    )

    def to_json(self) -> str:
        """Text of ``report.json``, ending in a line break."""
        absent = {"followup"} if self.followup is None else None
        return self.model_dump_json(indent=2, exclude=absent) + "\n"


def report_json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``report.json`` as it is written."""
    schema = Report.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "cemscope report.json",
    }
