"""A comparison of two scans in the form of the report."""

from typing import Any

from cemscope.findings import NotAssessed
from cemscope.measurement.followup import FollowupComparison
from cemscope.measurement.followup_findings import (
    BodyHeights,
    CementMovement,
    Change,
    Displacement,
    HeightChange,
    RodFollowup,
    ScrewFollowup,
    ScrewMovement,
    VertebraFollowup,
)
from cemscope_pipelines.report import Report
from cemscope_pipelines.report_base import NotAssessedEntry
from cemscope_pipelines.report_followup import (
    CementMovementEntry,
    DegreeChange,
    DisplacementEntry,
    FollowedRodEntry,
    FollowedScrewEntry,
    FollowedVertebraEntry,
    HeightEntry,
    HeightsEntry,
    MillimetreChange,
    ScrewMovementEntry,
    VolumeChange,
)


def _refused(one: NotAssessed) -> NotAssessedEntry:
    return NotAssessedEntry(reason=one.reason)


def _mm(change: Change) -> MillimetreChange:
    return MillimetreChange(
        value_mm=round(change.value, 2), uncertainty_mm=round(change.uncertainty, 2)
    )


def _deg(change: Change) -> DegreeChange:
    return DegreeChange(
        value_deg=round(change.value, 2), uncertainty_deg=round(change.uncertainty, 2)
    )


def _displacement(one: Displacement) -> DisplacementEntry:
    left, posterior, superior = one.direction_mm
    return DisplacementEntry(
        distance=_mm(one.distance_mm),
        direction_mm=(round(left, 2), round(posterior, 2), round(superior, 2)),
    )


def _height(one: HeightChange | NotAssessed) -> HeightEntry | NotAssessedEntry:
    if isinstance(one, NotAssessed):
        return _refused(one)
    return HeightEntry(
        baseline_mm=round(one.baseline_mm, 2),
        followup_mm=round(one.followup_mm, 2),
        loss=_mm(one.loss_mm),
        loss_percent=round(one.loss_percent, 1),
    )


def _heights(one: BodyHeights | NotAssessed) -> HeightsEntry | NotAssessedEntry:
    if isinstance(one, NotAssessed):
        return _refused(one)
    grade, broken = one.genant_grade, one.new_fracture
    return HeightsEntry(
        anterior=_height(one.anterior),
        middle=_height(one.middle),
        posterior=_height(one.posterior),
        genant_grade=_refused(grade) if isinstance(grade, NotAssessed) else grade,
        new_fracture=_refused(broken) if isinstance(broken, NotAssessed) else broken,
        method="edges" if one.method == "edges" else "outlines",
    )


def _cement(
    one: CementMovement | NotAssessed,
) -> CementMovementEntry | NotAssessedEntry:
    if isinstance(one, NotAssessed):
        return _refused(one)
    change = one.volume_change_ml
    return CementMovementEntry(
        displacement=_displacement(one.displacement),
        turn_deg=round(one.turn_deg, 2),
        surface_mm=round(one.surface_mm, 2),
        volume_change=_refused(change)
        if isinstance(change, NotAssessed)
        else VolumeChange(
            value_ml=round(change.value, 3), uncertainty_ml=round(change.uncertainty, 3)
        ),
        moved=one.moved,
    )


def vertebra_entry(one: VertebraFollowup) -> FollowedVertebraEntry:
    """Put one vertebra into the form of the report."""
    found = one.registration
    fit: dict[str, Any]
    if isinstance(found, NotAssessed):
        fit = dict.fromkeys(("residual_mm", "agreement", "edges"), _refused(found))
    else:
        fit = {
            "residual_mm": round(found.residual_mm, 3),
            "agreement": round(found.agreement, 3),
            "edges": found.edges,
        }
    return FollowedVertebraEntry(
        level=one.level,
        baseline_level=one.baseline_level,
        **fit,
        heights=_heights(one.heights),
        cement=_cement(one.cement),
    )


def _movement(
    one: ScrewMovement | NotAssessed,
) -> ScrewMovementEntry | NotAssessedEntry:
    if isinstance(one, NotAssessed):
        return _refused(one)
    return ScrewMovementEntry(
        tilt=_deg(one.tilt_deg),
        convergence=_deg(one.convergence_deg),
        tip=_displacement(one.tip),
        head=_displacement(one.head),
        along=_mm(one.along_mm),
        moved=one.moved,
    )


def screw_entry(one: ScrewFollowup, baseline_id: str) -> FollowedScrewEntry:
    """Put one screw into the form of the report."""
    growth, state = one.growth_mm, one.integrity
    return FollowedScrewEntry(
        id=one.screw_id,
        baseline_id=baseline_id,
        level=one.level,
        side=one.side.value,
        movement=_movement(one.movement),
        growth_mm=_refused(growth)
        if isinstance(growth, NotAssessed)
        else round(growth, 2),
        growth_seen_fraction=round(one.growth_seen_fraction, 3),
        integrity=_refused(state) if isinstance(state, NotAssessed) else state.value,
        integrity_reason=one.integrity_reason,
    )


def rod_entry(one: RodFollowup) -> FollowedRodEntry:
    """Put one rod into the form of the report."""
    state = one.integrity
    return FollowedRodEntry(
        side=one.side.value,
        levels=one.levels,
        integrity=_refused(state) if isinstance(state, NotAssessed) else state.value,
    )


def vertebra_entries(
    found: FollowupComparison, report: Report
) -> tuple[FollowedVertebraEntry, ...]:
    """Put all vertebrae of the later scan into the form of the report."""
    entries = {one.level: vertebra_entry(one) for one in found.vertebrae}
    alone = NotAssessedEntry(reason="the vertebra was not found in the baseline")
    for level in found.only_one.new_levels:
        entries[level] = FollowedVertebraEntry(
            level=level,
            baseline_level=alone,
            residual_mm=alone,
            agreement=alone,
            edges=alone,
            heights=alone,
            cement=alone,
        )
    return tuple(entries[v.level] for v in report.vertebrae if v.level in entries)


def screw_entries(
    found: FollowupComparison, report: Report
) -> tuple[FollowedScrewEntry, ...]:
    """Put all screws of the later scan into the form of the report."""
    entries = {
        one.screw_id: screw_entry(one, pair.before.screw_id)
        for one, pair in zip(found.screws, found.pairs, strict=True)
    }
    alone = NotAssessedEntry(reason="the screw was not found in the baseline")
    for screw in report.screws:
        if screw.id in found.only_one.new_screws:
            entries[screw.id] = FollowedScrewEntry(
                id=screw.id,
                baseline_id=alone,
                level=screw.level,
                side=screw.side,
                movement=alone,
                growth_mm=alone,
                growth_seen_fraction=0.0,
                integrity=alone,
                integrity_reason="",
            )
    return tuple(entries[s.id] for s in report.screws if s.id in entries)
