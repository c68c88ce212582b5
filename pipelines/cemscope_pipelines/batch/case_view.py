"""What tables read of a ``report.json``; newer and older reports are understood.

Fields that tables do not show are ignored, so that a report with more in it, or a
reader's corrected one, can be read. What is not assessed stays so.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from cemscope.errors import ExportError
from cemscope_pipelines.case_folder import REPORT_FILE

REVIEW_FILE = "review.json"


class View(BaseModel):
    """Base of all parts: immutable, further keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class NotAssessedView(View):
    """A thing that was not measured."""

    status: Literal["not_assessed"]
    reason: str


Number = float | NotAssessedView
Interval = tuple[float, float] | NotAssessedView
Text = str | NotAssessedView


class WarningView(View):
    """A warning of the series."""

    code: str
    message: str = ""


class SeriesView(View):
    """The scan."""

    study_instance_uid: Text
    series_instance_uid: Text
    acquisition_date: Text
    kvp: Number
    kernel: Text
    rows: int
    columns: int
    slices: int
    spacing_mm: tuple[float, float, float]
    hu_clipped_at: int | None
    warnings: tuple[WarningView, ...]


class SoftwareView(View):
    """What made the report."""

    version: str
    config_hash: str


class CementView(View):
    """Cement of a vertebra."""

    volume_ml: float
    interval_ml: tuple[float, float]
    threshold_volume_ml: float
    intrabody_ml: float
    leaked_ml: float
    fill_ratio: float


class EvidenceView(View):
    """What the types of a leak are argued from."""

    candidates: tuple[str, ...] = ()


class LeakView(View):
    """A leak; where its type is not certain, ``types`` holds the likelier one or none.

    ``evidence`` is missing in older reports.
    """

    id: str
    types: tuple[str, ...]
    certainty: str
    locations: tuple[str, ...]
    volume_ml: float
    max_distance_mm: float
    centroid_lps_mm: tuple[float, float, float]
    canal_encroachment_percent: Number
    evidence: EvidenceView | None = None

    @property
    def type_is_certain(self) -> bool:
        """Whether it is of its types."""
        return self.certainty == "definite"

    def may_be(self, kind: str) -> bool:
        """Whether its type is not certain and may be this one."""
        known = {*self.types, *(self.evidence.candidates if self.evidence else ())}
        return not self.type_is_certain and (not known or kind in known)


class VertebraView(View):
    """A vertebra."""

    level: str
    level_confidence: float
    source: str
    complete: bool
    centroid_lps_mm: tuple[float, float, float]
    body_volume_ml: float
    cement: CementView | NotAssessedView
    leaks: tuple[LeakView, ...]


class LucencyView(View):
    """Lucency of a screw; growth only where there was an earlier scan.

    The last three are missing in older reports.
    """

    status: Literal["assessed"]
    max_width_mm: Number
    mean_width_mm: Number
    arc_deg: Number
    length_fraction: Number
    grade: Literal["none", "suspicious", "loose"]
    growth_mm: Number | None = None
    double_halo: bool | None = None
    seen_fraction: Number | None = None
    cement_covered_fraction: Number | None = None


def _status(value: Any) -> str:
    if isinstance(value, View):
        return str(getattr(value, "status", ""))
    return str(value.get("status", "")) if isinstance(value, dict) else ""


class ScrewView(View):
    """A screw."""

    id: str
    level: str
    side: str
    head_lps_mm: tuple[float, float, float]
    tip_lps_mm: tuple[float, float, float]
    diameter_mm: float
    length_mm: float
    cemented: bool
    cement_volume_ml: Number
    lucency: Annotated[
        Annotated[LucencyView, Tag("assessed")]
        | Annotated[NotAssessedView, Tag("not_assessed")],
        Discriminator(_status),
    ]


class ElsewhereView(View):
    """Cement that belongs to no vertebra in view."""

    location: str
    volume_ml: float


class TotalsView(View):
    """Cement of the whole scan."""

    cement_ml: Number
    interval_ml: Interval
    leaked_ml: Number
    vertebrae_augmented: int | NotAssessedView


class MovementView(View):
    """Movement of a screw in its vertebra since the baseline."""

    moved: bool


class FollowedScrewView(View):
    """A screw in both scans."""

    level: str
    side: str
    movement: MovementView | NotAssessedView
    growth_mm: Number
    integrity: Text

    @property
    def moved(self) -> bool | None:
        """Whether it moved; None where that is not known."""
        return self.movement.moved if isinstance(self.movement, MovementView) else None

    @property
    def broken(self) -> bool | None:
        """Whether it may be broken; None where that is not known."""
        if isinstance(self.integrity, NotAssessedView):
            return None
        return self.integrity == "suspected_break"

    def grown(self, least_mm: float) -> bool | None:
        """Whether its lucent rim grew by so much; None where that is not known."""
        if isinstance(self.growth_mm, NotAssessedView):
            return None
        return self.growth_mm >= least_mm


class FollowupView(View):
    """Comparison with an earlier scan of the patient."""

    baseline_study_instance_uid: Text
    baseline_series_instance_uid: Text
    screws: tuple[FollowedScrewView, ...]

    def of(self, screw: ScrewView) -> FollowedScrewView | None:
        """Find what is told of a screw; None if it was not found in both scans."""
        place = (screw.level, screw.side)
        found = [one for one in self.screws if (one.level, one.side) == place]
        return found[0] if len(found) == 1 else None


class CaseView(View):
    """A case.

    Attributes
    ----------
    followup : FollowupView or None
        Comparison with the baseline; of a case of ``cemscope followup`` only.
    values_from : str
        "machine", or "reader" where a finished review replaced its findings.
    """

    schema_version: str
    software: SoftwareView
    series: SeriesView
    vertebrae: tuple[VertebraView, ...]
    screws: tuple[ScrewView, ...]
    cement_elsewhere: tuple[ElsewhereView, ...]
    totals: TotalsView
    followup: FollowupView | None = None
    values_from: Literal["machine", "reader"] = Field(default="machine")

    @property
    def augmented(self) -> tuple[VertebraView, ...]:
        """Vertebrae with cement; those that were not assessed are not among them."""
        return tuple(
            v
            for v in self.vertebrae
            if isinstance(v.cement, CementView) and v.cement.volume_ml > 0
        )

    @property
    def open_levels(self) -> bool:
        """Whether the cement of a whole vertebra in view was not assessed."""
        return any(
            v.complete and isinstance(v.cement, NotAssessedView) for v in self.vertebrae
        )

    @property
    def operated(self) -> bool:
        """Whether the scan shows cement or screws, or may."""
        return bool(self.augmented or self.screws or self.open_levels)


_REVIEWED = ("vertebrae", "screws", "cement_elsewhere", "totals")


def read_case(case_folder: Path) -> CaseView:
    """Read what a case folder says, a finished review before the machine's report.

    A review that judges other bytes than those of the report does not count.

    Raises
    ------
    ExportError
        If the report is missing or damaged.
    """
    try:
        text = (case_folder / REPORT_FILE).read_bytes()
        report = json.loads(text)
        review_file = case_folder / REVIEW_FILE
        if review_file.exists():
            review = json.loads(review_file.read_text(encoding="utf-8"))
            judged = review.get("report_sha256") == hashlib.sha256(text).hexdigest()
            if review.get("status") == "reviewed" and judged:
                result = review["result"]
                report |= {name: result[name] for name in _REVIEWED if name in result}
                report["values_from"] = "reader"
        return CaseView.model_validate(report)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        what = (
            f"{error.error_count()} fields are not as expected"
            if isinstance(error, ValidationError)
            else type(error).__name__
        )
        raise ExportError(
            f"case {case_folder.name}: {REPORT_FILE} cannot be read ({what})"
        ) from None
