"""Lucency of screws in the form of the report."""

from typing import Any

from cemscope.findings import Lucency, LucencyPart, NotAssessed
from cemscope_pipelines.report import (
    GrownLucencyEntry,
    LucencyEntry,
    LucencyPartEntry,
    NotAssessedEntry,
)


def lucency_entry(
    lucency: Lucency | NotAssessed, *, followed: bool = False
) -> LucencyEntry | NotAssessedEntry:
    """Put the lucency of a screw into the form of the report.

    Parameters
    ----------
    lucency
        What was measured.
    followed
        Whether the report is that of a follow-up: only then it tells the growth.
    """
    if isinstance(lucency, NotAssessed):
        return NotAssessedEntry(reason=lucency.reason)
    values = {
        **_part_values(lucency.whole),
        "grade": lucency.grade.value,
        "double_halo": lucency.double_halo,
        "cement_covered_fraction": round(lucency.cement_covered_fraction, 3),
        "pedicle": _part(lucency.pedicle),
        "body": _part(lucency.body),
    }
    if not followed:
        return LucencyEntry(**values)
    growth = lucency.growth_mm
    return GrownLucencyEntry(
        **values,
        growth_mm=NotAssessedEntry(reason=growth.reason)
        if isinstance(growth, NotAssessed)
        else round(growth, 2),
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
