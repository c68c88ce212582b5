"""From a reader's state to values in the form of the report."""

from collections.abc import Mapping

import numpy as np

from cemscope_pipelines.report import (
    VOLUME_DECIMALS,
    CementEntry,
    LeakEntry,
    NotAssessedEntry,
    Report,
    ScrewEntry,
    TotalsEntry,
    VertebraEntry,
)
from cemscope_pipelines.review.review_document import (
    FindingDecision,
    FindingId,
    FindingKind,
    ReviewedFindings,
    elsewhere_id,
)
from cemscope_pipelines.review.review_state import ReviewState

NO_CEMENT = "no cement"
WITHIN_BONE = "cement inside the bone"
NOT_MEASURABLE = "cannot be measured"
NO_SCREW = "no screw"
WRONG_PLACE = "wrong place"

ERASED_REASON = f"{NO_CEMENT}: erased by the reader"

REJECT_REASONS: Mapping[FindingKind, tuple[str, ...]] = {
    "vertebra": (NO_CEMENT, NOT_MEASURABLE),
    "leak": (NO_CEMENT, WITHIN_BONE),
    "screw": (NO_SCREW, WRONG_PLACE),
    "elsewhere": (NO_CEMENT, NOT_MEASURABLE),
}
"""Reasons to choose from; a note may follow. `WITHIN_BONE` keeps a leak's volume in its
vertebra, `NO_CEMENT` takes it off."""


def result_ids(state: ReviewState) -> dict[tuple[FindingKind, str], str]:
    """Id of every finding in the result: ids follow the names of the levels."""
    ids: dict[tuple[FindingKind, str], str] = {}
    moved: list[tuple[str, str]] = []
    for vertebra in state.vertebrae:
        name = state.level_names.get(vertebra.level, vertebra.level)
        ids["vertebra", vertebra.level] = name
        for leak in vertebra.leaks:
            if leak.id.rsplit("-", 1)[0] == name:
                ids["leak", leak.id] = leak.id
            else:
                moved.append((leak.id, name))
    taken = {value for (kind, _), value in ids.items() if kind == "leak"}
    for leak_id, name in moved:
        number = 1
        while f"{name}-{number}" in taken:
            number += 1
        ids["leak", leak_id] = f"{name}-{number}"
        taken.add(f"{name}-{number}")
    for screw in state.screws:
        name = state.level_names.get(screw.level, screw.level)
        usual = screw.id == f"{screw.level}-{screw.side}"
        ids["screw", screw.id] = f"{name}-{screw.side}" if usual else screw.id
    for index in range(len(state.cement_elsewhere)):  # as in the report, for good
        ids["elsewhere", elsewhere_id(index)] = elsewhere_id(index)
    return ids


def _is_rejected(state: ReviewState, kind: FindingKind, finding_id: str) -> bool:
    try:
        return state.decision(FindingId(kind, finding_id)).decision == "rejected"
    except KeyError:
        return False


def result_decisions(state: ReviewState) -> tuple[FindingDecision, ...]:
    """Decisions with the ids of the result."""
    ids = result_ids(state)
    return tuple(
        one.model_copy(
            update={
                "result_id": None
                if one.decision == "rejected" and one.kind != "vertebra"
                else ids.get((one.kind, one.finding_id))
            }
        )
        for one in state.decisions
    )


def reviewed_findings(state: ReviewState, machine: Report) -> ReviewedFindings:
    """Put the reader's values into the form of the report, without what is rejected.

    Parameters
    ----------
    state
        What the reader decided and changed.
    machine
        The report that is judged; its totals hold where no volume changed.
    """
    ids = result_ids(state)
    vertebrae = tuple(_vertebra(state, entry, ids) for entry in state.vertebrae)
    away = {
        elsewhere_id(index): entry
        for index, entry in enumerate(state.cement_elsewhere)
        if not _is_rejected(state, "elsewhere", elsewhere_id(index))
    }
    screws = tuple(
        screw.model_copy(
            update={
                "id": ids["screw", screw.id],
                "level": state.level_names.get(screw.level, screw.level),
            }
        )
        for screw in state.screws
        if not _is_rejected(state, "screw", screw.id)
    )
    return ReviewedFindings(
        vertebrae=vertebrae,
        screws=_with_rejected_levels(state, screws),
        cement_elsewhere=tuple(away.values()),
        elsewhere_ids=tuple(away),
        metal=state.metal,
        totals=machine.totals
        if [v.cement for v in vertebrae] == [v.cement for v in machine.vertebrae]
        else totals_of(vertebrae),
    )


def _vertebra(
    state: ReviewState, entry: VertebraEntry, ids: dict[tuple[FindingKind, str], str]
) -> VertebraEntry:
    decision = state.decision(FindingId("vertebra", entry.level))
    cement: CementEntry | NotAssessedEntry = entry.cement
    rim = entry.cement_rim
    kept: list[LeakEntry] = []
    for leak in entry.leaks:
        verdict = state.decision(FindingId("leak", leak.id))
        if verdict.decision == "rejected":
            cement = without_leak(cement, leak, verdict.reason, entry.body_volume_ml)
        else:
            kept.append(leak.model_copy(update={"id": ids["leak", leak.id]}))
    if decision.decision == "rejected":
        cement = NotAssessedEntry(reason=f"rejected by the reader: {decision.reason}")
        rim = cement
    renamed = entry.level in state.level_names
    return entry.model_copy(
        update={
            "level": ids["vertebra", entry.level],
            "level_confidence": 1.0 if renamed else entry.level_confidence,
            "cement": cement,
            "cement_rim": rim,
            "leaks": tuple(kept),
        }
    )


def _with_rejected_levels(
    state: ReviewState, screws: tuple[ScrewEntry, ...]
) -> tuple[ScrewEntry, ...]:
    """Cement of screws is not assessed where that of their vertebra was rejected."""
    rejected = {
        state.level_names.get(entry.level, entry.level)
        for entry in state.vertebrae
        if _is_rejected(state, "vertebra", entry.level)
    }
    missing = NotAssessedEntry(reason="the reader rejected the cement of this level")
    return tuple(
        screw.model_copy(update={"cement_volume_ml": missing})
        if screw.level in rejected
        else screw
        for screw in screws
    )


def without_leak(
    cement: CementEntry | NotAssessedEntry,
    leak: LeakEntry,
    reason: str,
    body_volume_ml: float,
) -> CementEntry | NotAssessedEntry:
    """Cement of a vertebra after one of its leaks was rejected.

    Parameters
    ----------
    cement
        With the leak.
    leak
        The rejected leak.
    reason
        Begins with `WITHIN_BONE` where the volume stays in the vertebra.
    body_volume_ml
        Of the vertebra's body.
    """
    if isinstance(cement, NotAssessedEntry):
        return cement
    within = reason.startswith(WITHIN_BONE)
    taken = 0.0 if within else min(leak.volume_ml, cement.volume_ml)
    intrabody = cement.intrabody_ml + (leak.volume_ml if within else 0.0)
    volume = cement.volume_ml - taken
    low, high = cement.interval_ml
    return cement.model_copy(
        update={
            "volume_ml": _ml(volume),
            "interval_ml": (_ml(low - taken), _ml(max(high - taken, volume))),
            "intrabody_ml": _ml(intrabody),
            "leaked_ml": _ml(cement.leaked_ml - leak.volume_ml),
            "fill_ratio": fill_ratio(intrabody, body_volume_ml),
        }
    )


def fill_ratio(intrabody_ml: float, body_volume_ml: float) -> float:
    """Cement in the body over the volume of the body."""
    if body_volume_ml <= 0.0:
        return 0.0
    return round(max(0.0, intrabody_ml) / body_volume_ml, 4)


def _ml(value: float) -> float:
    return round(max(0.0, float(value)), VOLUME_DECIMALS)


def totals_of(vertebrae: tuple[VertebraEntry, ...]) -> TotalsEntry:
    """Sum the assessed vertebrae, as `cemscope.measurement.augmentation` does.

    Level and background are shared by all vertebrae, so that half-widths add up; what
    may have been missed in empty vertebrae is independent.
    """
    assessed = [v.cement for v in vertebrae if isinstance(v.cement, CementEntry)]
    if not assessed:
        missing = NotAssessedEntry(
            reason="no vertebra could be assessed: see the reason at each"
        )
        return TotalsEntry(
            cement_ml=missing,
            interval_ml=missing,
            leaked_ml=missing,
            vertebrae_augmented=missing,
        )
    filled = [c for c in assessed if c.volume_ml > 0.0]
    empty = [c.interval_ml[1] for c in assessed if c.volume_ml <= 0.0]
    low = sum(c.interval_ml[0] for c in filled)
    missed = float(np.sqrt(sum(high**2 for high in empty)))
    high = sum(c.interval_ml[1] for c in filled) + missed
    return TotalsEntry(
        cement_ml=_ml(sum(c.volume_ml for c in filled)),
        interval_ml=(_ml(low), _ml(max(low, high))),
        leaked_ml=_ml(sum(c.leaked_ml for c in filled)),
        vertebrae_augmented=len(filled),
    )
