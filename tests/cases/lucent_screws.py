"""Screws whose lucency is told in each form of the report."""

from cemscope_pipelines.report import (
    GrownLucencyEntry,
    LucencyEntry,
    LucencyPartEntry,
    NotAssessedEntry,
    Report,
    ScrewEntry,
)

PART = LucencyPartEntry(
    max_width_mm=2.1, mean_width_mm=1.2, arc_deg=240.0, length_fraction=0.55,
    seen_fraction=0.8,
)  # fmt: skip
ONE_SCAN = LucencyEntry(
    **PART.model_dump(), grade="loose", double_halo=True,
    cement_covered_fraction=0.25, pedicle=PART,
    body=NotAssessedEntry(reason="the streaks hide it"),
)  # fmt: skip
TWO_SCANS = GrownLucencyEntry(
    **{**ONE_SCAN.model_dump(), "grade": "suspicious", "double_halo": False},
    growth_mm=0.46,
)


def with_lucency(report: Report) -> Report:
    """Screws whose rims were measured on one scan, on two, and not at all."""
    first = report.screws[0]
    screws: list[ScrewEntry] = [first.model_copy(update={"lucency": ONE_SCAN})]
    for level, lucency in (
        ("L2", TWO_SCANS), ("L3", NotAssessedEntry(reason="slices of 3 mm")),
    ):  # fmt: skip
        changed = {"id": f"{level}-right", "level": level, "side": "right"}
        screws.append(first.model_copy(update={**changed, "lucency": lucency}))
    return report.model_copy(update={"screws": tuple(screws)})
