"""What an edit changes in a count is added to the machine's values."""

from dataclasses import dataclass, field

import numpy as np

from cemscope.findings import CementVolume
from cemscope.measurement.cement_volume import detection_limit_ml
from cemscope_pipelines.report import (
    VOLUME_DECIMALS,
    CementEntry,
    LeakEntry,
    NotAssessedEntry,
    ScrewEntry,
    VertebraEntry,
)
from cemscope_pipelines.review.level_recount import BoxCount
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.reviewed_result import fill_ratio
from cemscope_pipelines.review.scan_context import ScanContext

Z95 = 1.96

EDIT_UNCERTAINTY = 0.15
"""Relative standard uncertainty of what a reader's hand adds or removes: repeated
outlines of the same cement differ by about so much [our choice]."""

EDITED_RIM = NotAssessedEntry(
    reason="the cement was edited; its rim was not looked at again"
)
"""Of cement whose surface is no longer the one that was measured."""


@dataclass(frozen=True, slots=True)
class Recount:
    """The same box counted before and after an edit.

    Attributes
    ----------
    before, after : BoxCount
        Counts.
    levels : frozenset of str
        Vertebrae that the edit touched; the others keep their values.
    joined : dict of int to int
        Codes of leaks that became part of another, whose volume holds theirs already.
    emptied : frozenset of str
        Vertebrae without a voxel of cement left.
    """

    before: BoxCount
    after: BoxCount
    levels: frozenset[str]
    joined: dict[int, int] = field(default_factory=dict)
    emptied: frozenset[str] = frozenset()

    def leak_difference_ml(self, code: int) -> float:
        """Change of a leak's volume."""
        parts = [code, *(old for old, new in self.joined.items() if new == code)]
        before = sum(self.before.leaks_ml.get(part, 0.0) for part in parts)
        return self.after.leaks_ml.get(code, 0.0) - before


def with_differences(
    state: ReviewState, recount: Recount, context: ScanContext
) -> ReviewState:
    """Add the differences of a recount to the values of a state.

    Parameters
    ----------
    state
        With the edit in it, and the volumes from before.
    recount
        What the edit changed.
    context
        For the detection limit where all cement of a vertebra was erased.
    """
    for level in sorted(recount.levels):
        entry = state.vertebra(level)
        leaks = tuple(_leak(leak, state, recount) for leak in entry.leaks)
        changed = entry.model_copy(
            update={
                "leaks": leaks,
                "cement": _cement(entry, leaks, recount, context),
                "cement_rim": EDITED_RIM,
            }
        )
        state = state.with_vertebra(changed)
    screws = tuple(
        _screw(screw, recount) if screw.level in recount.levels else screw
        for screw in state.screws
    )
    return state.replace(screws=screws)


def _leak(leak: LeakEntry, state: ReviewState, recount: Recount) -> LeakEntry:
    difference = recount.leak_difference_ml(state.leak_codes[leak.id])
    volume = round(max(0.0, leak.volume_ml + difference), VOLUME_DECIMALS)
    return leak.model_copy(update={"volume_ml": volume})


def _cement(
    entry: VertebraEntry,
    leaks: tuple[LeakEntry, ...],
    recount: Recount,
    context: ScanContext,
) -> CementEntry | NotAssessedEntry:
    level = entry.level
    leaked = sum(leak.volume_ml for leak in leaks)
    now = recount.after.levels.get(level)
    if isinstance(entry.cement, NotAssessedEntry):
        if now is None:
            return entry.cement
        return _counted(now, leaked, entry.body_volume_ml)
    was = entry.cement
    step = recount.after.volume_ml(level) - recount.before.volume_ml(level)
    volume = max(0.0, was.volume_ml + step)
    if level in recount.emptied or volume < 0.5 * 10**-VOLUME_DECIMALS:
        limit_ml = detection_limit_ml(
            context.ct.geometry, context.levels, context.settings.cement
        )
        return _empty(limit_ml)
    inside = recount.after.intrabody_ml(level) - recount.before.intrabody_ml(level)
    intrabody = min(volume, max(0.0, was.intrabody_ml + inside))
    threshold = recount.after.threshold_ml(level) - recount.before.threshold_ml(level)
    low, high = _interval(was, volume, step, now)
    return CementEntry(
        volume_ml=_ml(volume),
        interval_ml=(_ml(low), _ml(high)),
        threshold_volume_ml=_ml(was.threshold_volume_ml + threshold),
        intrabody_ml=_ml(intrabody),
        leaked_ml=_ml(leaked),
        fill_ratio=fill_ratio(intrabody, entry.body_volume_ml),
    )


def _interval(
    was: CementEntry, volume_ml: float, step_ml: float, now: CementVolume | None
) -> tuple[float, float]:
    """Keep the machine's relative width, and add the uncertainty of the hand."""
    low, high = was.interval_ml
    if was.volume_ml > 0.0:
        share = volume_ml / was.volume_ml
        below = (was.volume_ml - low) * share
        above = (high - was.volume_ml) * share
    elif now is not None and now.volume_ml > 0.0:
        share = volume_ml / now.volume_ml
        below = (now.volume_ml - now.interval.low_ml) * share
        above = (now.interval.high_ml - now.volume_ml) * share
    else:
        below = above = 0.0
    hand = Z95 * EDIT_UNCERTAINTY * abs(step_ml)
    below, above = float(np.hypot(below, hand)), float(np.hypot(above, hand))
    return max(0.0, volume_ml - below), volume_ml + above


def _counted(now: CementVolume, leaked: float, body_ml: float) -> CementEntry:
    """Take the count alone where the machine measured nothing."""
    return CementEntry(
        volume_ml=_ml(now.volume_ml),
        interval_ml=(_ml(now.interval.low_ml), _ml(now.interval.high_ml)),
        threshold_volume_ml=_ml(now.threshold_volume_ml),
        intrabody_ml=_ml(now.intrabody_ml),
        leaked_ml=_ml(leaked),
        fill_ratio=fill_ratio(now.intrabody_ml, body_ml),
    )


def _empty(limit_ml: float) -> CementEntry:
    return CementEntry(
        volume_ml=0.0,
        interval_ml=(0.0, _ml(limit_ml)),
        threshold_volume_ml=0.0,
        intrabody_ml=0.0,
        leaked_ml=0.0,
        fill_ratio=0.0,
    )


def _screw(screw: ScrewEntry, recount: Recount) -> ScrewEntry:
    before = recount.before.screws.get(screw.id)
    after = recount.after.screws.get(screw.id)
    volumes = [
        found.cement_volume_ml
        if found is not None and isinstance(found.cement_volume_ml, float)
        else 0.0
        for found in (before, after)
    ]
    changes: dict[str, object] = {}
    if isinstance(screw.cement_volume_ml, float):
        changes["cement_volume_ml"] = _ml(
            screw.cement_volume_ml + volumes[1] - volumes[0]
        )
    was = before is not None and before.cemented
    now = after is not None and after.cemented
    if was != now and (before is not None or after is not None):
        changes["cemented"] = now
    return screw.model_copy(update=changes)


def _ml(value: float) -> float:
    return round(max(0.0, float(value)), VOLUME_DECIMALS)
