"""Screws whose lucency is told in each form of the report, and a follow-up of them."""

from cemscope_pipelines.report import (
    GrownLucencyEntry,
    LucencyEntry,
    LucencyPartEntry,
    NotAssessedEntry,
    Report,
    ScrewEntry,
)
from cemscope_pipelines.report_followup import (
    ConclusionEntry,
    FollowedScrewEntry,
    FollowupEntry,
    PatientCheckEntry,
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


def with_followup(report: Report) -> Report:
    """The same on a follow-up: two conclusions, and screws that were not compared."""
    unseen = NotAssessedEntry(reason="not in the baseline")
    report = with_lucency(report)
    followup = FollowupEntry(
        baseline_report_hash="b" * 64, baseline_study_instance_uid="1.2.3.44",
        baseline_series_instance_uid="1.2.3.45", baseline_acquisition_date="20250311",
        baseline_reviewed=False, days_between=183,
        patient=PatientCheckEntry(result="same", reason="the patient IDs are equal"),
        vertebrae=(), rods=(),
        screws=tuple(
            FollowedScrewEntry(
                id=screw.id, baseline_id=unseen, level=screw.level, side=screw.side,
                movement=unseen, growth_mm=0.46 if screw.level == "L2" else unseen,
                growth_seen_fraction=0.8, integrity="whole", integrity_reason="",
            )
            for screw in report.screws
        ),
        conclusions=(
            ConclusionEntry(
                code="screw_loose", subject="L3-left",
                message="L3 left is suspected to be loose: rim of 2.1 mm.",
            ),
            ConclusionEntry(
                code="lucency_grown", subject="L2-right",
                message="The rim of L2 right grew by 0.5 mm.",
            ),
        ),
    )  # fmt: skip
    return report.model_copy(update={"followup": followup})
