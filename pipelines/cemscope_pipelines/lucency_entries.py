"""Lucency of screws and of cement in the form of the report."""

from typing import Any

from cemscope.findings import Lucency, LucencyPart, NotAssessed
from cemscope.measurement.cement_rim import RimOfVertebra
from cemscope_pipelines.report import (
    CementRimEntry,
    GrownLucencyEntry,
    LucencyEntry,
    LucencyPartEntry,
    NotAssessedEntry,
)


def lucency_entry(
    lucency: Lucency | NotAssessed,
) -> LucencyEntry | NotAssessedEntry:
    """Put the lucency of a screw into the form of the report."""
    if isinstance(lucency, NotAssessed):
        return NotAssessedEntry(reason=lucency.reason)
    return LucencyEntry(
        **_part_values(lucency.whole),
        grade=lucency.grade.value,
        double_halo=lucency.double_halo,
        cement_covered_fraction=round(lucency.cement_covered_fraction, 3),
        pedicle=_part(lucency.pedicle),
        body=_part(lucency.body),
    )


def cement_rim_entry(
    level: str, rims: tuple[RimOfVertebra, ...]
) -> CementRimEntry | NotAssessedEntry:
    """Put the rim around a vertebra's cement into the form of the report."""
    for one in rims:
        if one.level != level:
            continue
        if isinstance(one.rim, NotAssessed):
            return NotAssessedEntry(reason=one.rim.reason)
        return CementRimEntry(
            max_width_mm=round(one.rim.max_width_mm, 2),
            mean_width_mm=round(one.rim.mean_width_mm, 2),
            surface_fraction=round(one.rim.surface_fraction, 3),
            seen_fraction=round(one.rim.seen_fraction, 3),
            surface_mm2=round(one.rim.surface_mm2, 0),
        )
    return NotAssessedEntry(reason="the rim of the cement was not looked at")


def grown_lucency_entry(
    lucency: LucencyEntry | NotAssessedEntry, growth_mm: float | NotAssessed
) -> GrownLucencyEntry | NotAssessedEntry:
    """Add the growth since the baseline: only the report of a follow-up tells it."""
    if isinstance(lucency, NotAssessedEntry):
        return lucency
    values = {name: getattr(lucency, name) for name in LucencyEntry.model_fields}
    return GrownLucencyEntry(
        **values,
        growth_mm=NotAssessedEntry(reason=growth_mm.reason)
        if isinstance(growth_mm, NotAssessed)
        else round(growth_mm, 2),
    )


def _part(part: LucencyPart | NotAssessed) -> LucencyPartEntry | NotAssessedEntry:
    if isinstance(part, NotAssessed):
        return NotAssessedEntry(reason=part.reason)
    return LucencyPartEntry(**_part_values(part))


def _part_values(part: LucencyPart) -> dict[str, Any]:
    return {
        "max_width_mm": round(part.max_width_mm, 2),
        "mean_width_mm": round(part.mean_width_mm, 2),
        "arc_deg": round(part.arc_deg, 0),
        "length_fraction": round(part.length_fraction, 3),
        "seen_fraction": round(part.seen_fraction, 3),
    }
