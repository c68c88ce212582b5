"""What a reader should look at after a comparison, in sentences."""

from collections.abc import Iterator, Sequence

from cemscope.measurement.followup import OnlyOneScan
from cemscope_pipelines.report import ScrewEntry
from cemscope_pipelines.report_base import NotAssessedEntry
from cemscope_pipelines.report_followup import (
    CementMovementEntry,
    ConclusionEntry,
    FollowedRodEntry,
    FollowedScrewEntry,
    FollowedVertebraEntry,
    HeightEntry,
    HeightsEntry,
    ScrewMovementEntry,
)

GROWN_MM = 1.0
"""A rim that grew by this counts more than any single width [ours]."""


def conclusions(
    reported: Sequence[ScrewEntry],
    screws: Sequence[FollowedScrewEntry],
    rods: Sequence[FollowedRodEntry],
    vertebrae: Sequence[FollowedVertebraEntry],
) -> tuple[ConclusionEntry, ...]:
    """Collect the suspicions of a follow-up.

    Parameters
    ----------
    reported
        Screws of this scan with their lucency.
    screws, rods, vertebrae
        What changed.
    """
    found: list[ConclusionEntry] = []
    followed = {one.id: one for one in screws}
    for screw in reported:
        found.extend(_screw(screw, followed.get(screw.id)))
    found.extend(
        ConclusionEntry(
            code="rod_broken",
            subject=f"{rod.levels[0]}-{rod.levels[1]} {rod.side}",
            message=f"The {rod.side} rod no longer joins the screws of "
            f"{rod.levels[0]} and {rod.levels[1]}.",
        )
        for rod in rods
        if rod.integrity == "suspected_break"
    )
    for vertebra in vertebrae:
        found.extend(_vertebra(vertebra))
    return tuple(found)


def _screw(
    screw: ScrewEntry, followed: FollowedScrewEntry | None
) -> Iterator[ConclusionEntry]:
    name = f"{screw.level} {screw.side}"
    lucency = screw.lucency
    growth = None
    if followed is not None and not isinstance(followed.growth_mm, NotAssessedEntry):
        growth = followed.growth_mm
    if not isinstance(lucency, NotAssessedEntry) and lucency.grade != "none":
        grown = "" if growth is None else f", {growth:+z.1f} mm since the baseline"
        loose = lucency.grade == "loose"
        yield ConclusionEntry(
            code="screw_loose" if loose else "screw_suspicious",
            subject=screw.id,
            message=f"{name} is suspected to be loose"
            f"{'' if loose else ' (limits of suspicion only)'}: lucent rim of "
            f"{lucency.mean_width_mm:.1f} mm over {lucency.arc_deg:.0f} degrees and "
            f"{100 * lucency.length_fraction:.0f} % of the length{grown}.",
        )
    elif growth is not None and growth >= GROWN_MM:
        yield ConclusionEntry(
            code="lucency_grown",
            subject=screw.id,
            message=f"The lucent rim of {name} grew by {growth:.1f} mm.",
        )
    if followed is None:
        return
    movement = followed.movement
    if isinstance(movement, ScrewMovementEntry) and movement.moved:
        yield ConclusionEntry(
            code="screw_moved",
            subject=screw.id,
            message=f"{name} moved in its vertebra: tilt "
            f"{movement.tilt.value_deg:+z.1f} +/- {movement.tilt.uncertainty_deg:.1f} "
            f"degrees, tip {movement.tip.distance.value_mm:.1f} +/- "
            f"{movement.tip.distance.uncertainty_mm:.1f} mm.",
        )
    if followed.integrity == "suspected_break":
        yield ConclusionEntry(
            code="screw_broken",
            subject=screw.id,
            message=f"{name} may be broken: {followed.integrity_reason}.",
        )


def _vertebra(vertebra: FollowedVertebraEntry) -> Iterator[ConclusionEntry]:
    heights, cement = vertebra.heights, vertebra.cement
    if isinstance(heights, HeightsEntry) and heights.new_fracture is True:
        losses = [
            f"{place} {one.loss.value_mm:.1f} mm ({one.loss_percent:.0f} %)"
            for place, one in (
                ("anterior", heights.anterior),
                ("middle", heights.middle),
                ("posterior", heights.posterior),
            )
            if isinstance(one, HeightEntry)
        ]
        yield ConclusionEntry(
            code="new_fracture",
            subject=vertebra.level,
            message=f"{vertebra.level} lost height since the baseline: "
            f"{', '.join(losses)}; Genant grade {heights.genant_grade}.",
        )
    if isinstance(cement, CementMovementEntry) and cement.moved:
        distance = cement.displacement.distance
        yield ConclusionEntry(
            code="cement_moved",
            subject=vertebra.level,
            message=f"The cement of {vertebra.level} moved in its vertebra by "
            f"{distance.value_mm:.1f} +/- {distance.uncertainty_mm:.1f} mm.",
        )


def unmatched_screws(only_one: OnlyOneScan) -> tuple[ConclusionEntry, ...]:
    """Tell of screws that only one of the scans shows."""
    lost = tuple(
        ConclusionEntry(
            code="screw_missing",
            subject=name,
            message=f"{name} of the baseline was not found in this scan: removed, "
            "broken or not recognised.",
        )
        for name in only_one.lost_screws
    )
    new = tuple(
        ConclusionEntry(
            code="screw_new",
            subject=name,
            message=f"{name} was not found in the baseline.",
        )
        for name in only_one.new_screws
    )
    return lost + new
