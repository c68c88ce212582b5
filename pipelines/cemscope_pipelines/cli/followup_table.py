"""The comparison of two scans as plain text."""

from cemscope_pipelines.cli.table import format_table
from cemscope_pipelines.report import Report
from cemscope_pipelines.report_base import NotAssessedEntry
from cemscope_pipelines.report_followup import (
    FollowedScrewEntry,
    FollowedVertebraEntry,
    HeightEntry,
    HeightsEntry,
    ScrewMovementEntry,
)

UNKNOWN = "not assessed"


def _change(value: float, uncertainty: float) -> str:
    return f"{value:+z.1f} +/- {uncertainty:.1f}"


def _screw_row(screw: FollowedScrewEntry, report: Report) -> tuple[str, ...]:
    lucency = next(s.lucency for s in report.screws if s.id == screw.id)
    grade = UNKNOWN if isinstance(lucency, NotAssessedEntry) else lucency.grade
    growth = screw.growth_mm
    grown = UNKNOWN if isinstance(growth, NotAssessedEntry) else f"{growth:+z.1f}"
    whole = screw.integrity if isinstance(screw.integrity, str) else UNKNOWN
    movement = screw.movement
    if not isinstance(movement, ScrewMovementEntry):
        return screw.id, grade, grown, UNKNOWN, "-", "-", whole
    tip = movement.tip.distance
    return (
        screw.id,
        grade,
        grown,
        _change(movement.tilt.value_deg, movement.tilt.uncertainty_deg),
        _change(tip.value_mm, tip.uncertainty_mm),
        "yes" if movement.moved else "no",
        whole.replace("_", " "),
    )


def _vertebra_row(vertebra: FollowedVertebraEntry) -> tuple[str, ...]:
    residual = vertebra.residual_mm
    fit = "refused" if isinstance(residual, NotAssessedEntry) else f"{residual:.2f}"
    heights = vertebra.heights
    if not isinstance(heights, HeightsEntry):
        return vertebra.level, fit, UNKNOWN, "-", "-", "-"
    losses = [
        _change(one.loss.value_mm, one.loss.uncertainty_mm)
        if isinstance(one, HeightEntry)
        else UNKNOWN
        for one in (heights.anterior, heights.middle, heights.posterior)
    ]
    broken = heights.new_fracture
    told = UNKNOWN if isinstance(broken, NotAssessedEntry) else "no"
    return vertebra.level, fit, *losses, "YES" if broken is True else told


def followup_table(report: Report) -> str:
    """Screws, vertebrae and conclusions of a follow-up.

    Raises
    ------
    ValueError
        If the report is that of no follow-up.
    """
    found = report.followup
    if found is None:
        raise ValueError("expected the report of a follow-up")
    lines = []
    if found.screws:
        header = (
            "screw", "lucency", "grew mm", "tilt deg", "tip moved mm", "moved",
            "in one piece",
        )  # fmt: skip
        rows = [_screw_row(screw, report) for screw in found.screws]
        lines.append(format_table(header, rows, (0, 1, 6)))
    columns = (
        "level",
        "residual mm",
        "front lost mm",
        "middle",
        "back",
        "new fracture",
    )
    bones = [_vertebra_row(v) for v in reversed(found.vertebrae)]
    lines.append(format_table(columns, bones, (0,)))
    if found.conclusions:
        lines.append("to be looked at:")
        lines += [f"  {one.message}" for one in found.conclusions]
    else:
        lines.append("nothing changed beyond the limits, as far as it was assessed")
    return "\n".join(lines)
