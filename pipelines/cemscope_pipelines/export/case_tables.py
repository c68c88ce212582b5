"""Results as CSV tables, one row per finding, units in the column names."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from cemscope_pipelines.export.case_record import CaseContent
from cemscope_pipelines.export.tracking import decision_of
from cemscope_pipelines.report import CementEntry, NotAssessedEntry
from cemscope_pipelines.review.review_document import FindingKind

VERTEBRAE_CSV = "vertebrae.csv"
LEAKS_CSV = "leaks.csv"
SCREWS_CSV = "screws.csv"

_VERTEBRA_COLUMNS = (
    "case", "state", "level", "level_confidence", "source", "complete",
    "centroid_x_lps_mm", "centroid_y_lps_mm", "centroid_z_lps_mm", "body_volume_ml",
    "cement_status", "cement_reason", "cement_volume_ml", "cement_low_ml",
    "cement_high_ml", "cement_threshold_volume_ml", "cement_intrabody_ml",
    "cement_leaked_ml", "fill_ratio", "decision",
)  # fmt: skip
_LEAK_COLUMNS = (
    "case", "state", "leak", "level", "types", "certainty", "locations", "volume_ml",
    "max_distance_mm", "centroid_x_lps_mm", "centroid_y_lps_mm", "centroid_z_lps_mm",
    "canal_encroachment_percent", "decision",
)  # fmt: skip
_SCREW_COLUMNS = (
    "case", "state", "screw", "level", "side", "diameter_mm", "length_mm", "cemented",
    "cement_volume_ml", "lucency_status", "lucency_grade", "lucency_max_width_mm",
    "lucency_mean_width_mm", "lucency_arc_deg", "lucency_length_fraction",
    "lucency_growth_mm", "lucency_seen_fraction", "decision",
)  # fmt: skip

ASSESSED, NOT_ASSESSED = "assessed", "not_assessed"


def case_tables(content: CaseContent, case_name: str) -> dict[str, str]:
    """Write all tables of a content.

    Parameters
    ----------
    case_name
        First column of each row, to join tables of several cases.

    Returns
    -------
    dict of str to str
        File name -> CSV text. What was not assessed is empty beside its status.
    """
    start = (case_name, content.state.value)
    return {
        VERTEBRAE_CSV: _csv(_VERTEBRA_COLUMNS, _vertebra_rows(content, start)),
        LEAKS_CSV: _csv(_LEAK_COLUMNS, _leak_rows(content, start)),
        SCREWS_CSV: _csv(_SCREW_COLUMNS, _screw_rows(content, start)),
    }


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _decision(content: CaseContent, kind: FindingKind, finding_id: str) -> str:
    one = decision_of(content.decisions, kind, finding_id)
    if one is None:
        return ""
    return "added" if one.added_by_reader else one.decision


def _number(value: float | NotAssessedEntry) -> float | str:
    return "" if isinstance(value, NotAssessedEntry) else value


def _vertebra_rows(
    content: CaseContent, start: tuple[str, str]
) -> Iterable[Sequence[Any]]:
    for one in content.findings.vertebrae:
        cement = one.cement
        if isinstance(cement, CementEntry):
            values: tuple[Any, ...] = (
                ASSESSED, "", cement.volume_ml, *cement.interval_ml,
                cement.threshold_volume_ml, cement.intrabody_ml, cement.leaked_ml,
                cement.fill_ratio,
            )  # fmt: skip
        else:
            values = (NOT_ASSESSED, cement.reason, *[""] * 7)
        yield (
            *start, one.level, one.level_confidence, one.source, one.complete,
            *one.centroid_lps_mm, one.body_volume_ml, *values,
            _decision(content, "vertebra", one.level),
        )  # fmt: skip


def _leak_rows(content: CaseContent, start: tuple[str, str]) -> Iterable[Sequence[Any]]:
    for vertebra in content.findings.vertebrae:
        for leak in vertebra.leaks:
            yield (
                *start, leak.id, vertebra.level, "+".join(leak.types), leak.certainty,
                "+".join(leak.locations), leak.volume_ml, leak.max_distance_mm,
                *leak.centroid_lps_mm, _number(leak.canal_encroachment_percent),
                _decision(content, "leak", leak.id),
            )  # fmt: skip
    for index, entry in enumerate(content.findings.cement_elsewhere):
        name = content.findings.elsewhere_id_at(index)
        yield (
            *start, name, "", "", "", entry.location, entry.volume_ml, "",
            *entry.centroid_lps_mm, "", _decision(content, "elsewhere", name),
        )  # fmt: skip


def _screw_rows(
    content: CaseContent, start: tuple[str, str]
) -> Iterable[Sequence[Any]]:
    for screw in content.findings.screws:
        yield (
            *start, screw.id, screw.level, screw.side, screw.diameter_mm,
            screw.length_mm, screw.cemented, _number(screw.cement_volume_ml),
            *_lucency_cells(screw.lucency), _decision(content, "screw", screw.id),
        )  # fmt: skip


def _lucency_cells(lucency: Any) -> tuple[Any, ...]:
    if isinstance(lucency, NotAssessedEntry):
        return (NOT_ASSESSED, *[""] * 7)
    fields = (
        "grade", "max_width_mm", "mean_width_mm", "arc_deg", "length_fraction",
        "growth_mm", "seen_fraction",
    )  # fmt: skip
    values = [getattr(lucency, name, "") for name in fields]
    cells = ["" if isinstance(v, NotAssessedEntry) or v is None else v for v in values]
    return (ASSESSED, *cells)
