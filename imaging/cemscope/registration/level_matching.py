"""Which vertebra of the follow-up scan is which of the baseline.

Names decide, unless the bones say otherwise: names counted from the wrong end differ by
a level, and a growth measured between two different vertebrae would be worthless.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from cemscope.registration.initial_pose import LevelPair, spine_pose
from cemscope.spine import Spine, Vertebra
from cemscope.volume import Notice

log = logging.getLogger(__name__)

Implants = Mapping[str, frozenset[str]]
"""What each level holds, e.g. {"L4": {"screw left", "cement"}}."""

PairTest = Callable[[LevelPair, tuple[LevelPair, ...]], float]
"""Share of the bone's surface that agrees between two vertebrae (0 to 1)."""

CLEARLY_BETTER = 0.12
"""Another count of the levels is believed if this much more of the bone agrees."""

ALIKE = 0.75
"""Bone that agrees on this share is the same vertebra: no other count is tried."""

BELIEVED = 0.6
"""Without common names, less bone that agrees matches nothing."""

PROBES = 2
"""Vertebrae on which a count is tried."""

MOST_STEPS = 3
"""Counts that are tried where names do not tell."""


@dataclass(frozen=True, slots=True, eq=False)
class LevelMatch:
    """Vertebrae of both scans that are the same bone.

    Attributes
    ----------
    pairs : tuple of LevelPair
        From the lowest upwards.
    notices : tuple of Notice
        Where names and bones disagree, or names tell nothing.
    """

    pairs: tuple[LevelPair, ...]
    notices: tuple[Notice, ...] = ()


def match_levels(
    baseline: Spine,
    followup: Spine,
    implants: tuple[Implants, Implants],
    agreement: PairTest,
) -> LevelMatch:
    """Match the vertebrae of two scans.

    Parameters
    ----------
    baseline, followup
        Both spines.
    implants
        What each level holds, in both scans.
    agreement
        Compares two vertebrae by their bone; costly, so it is asked little.
    """
    lower, upper = baseline.vertebrae, followup.vertebrae
    named = all(v.level.is_named for v in (*lower, *upper))
    by_name = _pairs_by_name(lower, upper) if named else ()
    if by_name:
        score = _tried(by_name, agreement)
        conflict = _implant_conflicts(by_name, implants)
        if score >= ALIKE and conflict == 0:
            return LevelMatch(by_name)
        step = _index(upper, by_name[0][1]) - _index(lower, by_name[0][0])
        others = [_pairs_by_step(lower, upper, step + k) for k in (-1, 1)]
    else:
        score, conflict = BELIEVED, 99
        others = _likely_counts(lower, upper, implants)
    best, best_score, best_conflict = by_name, score, conflict
    for pairs in others:
        if not pairs:
            continue
        other = _tried(pairs, agreement)
        clash = _implant_conflicts(pairs, implants)
        if other > best_score + (CLEARLY_BETTER if best is by_name else 0.0) and (
            clash <= best_conflict or other >= ALIKE > best_score
        ):
            best, best_score, best_conflict = pairs, other, clash
    log.info("levels: %.2f by name, %.2f as matched", score, best_score)
    return LevelMatch(best, _notices(best, by_name, named, best_score))


def _notices(
    best: tuple[LevelPair, ...],
    by_name: tuple[LevelPair, ...],
    named: bool,
    score: float,
) -> tuple[Notice, ...]:
    if not best:
        return (
            Notice(
                "levels_not_matched",
                "No vertebra of the baseline was recognised in this scan.",
            ),
        )
    shown = ", ".join(f"{b.level.name} = {a.level.name}" for a, b in best)
    if not named:
        return (
            Notice(
                "levels_matched_by_bone",
                "Levels could not be told in both scans; vertebrae were matched by "
                f"their bone (this scan = baseline: {shown}). Name them with --anchor.",
            ),
        )
    if best is not by_name:
        return (
            Notice(
                "levels_disagree",
                "The names of the vertebrae disagree between the scans: bone and "
                f"implants match otherwise (this scan = baseline: {shown}). One of the "
                "scans is named wrongly: check both and repeat it with --anchor.",
            ),
        )
    if score < ALIKE:
        return (
            Notice(
                "levels_not_proven",
                f"Only {100.0 * score:.0f} % of the bone's surface agrees between "
                "vertebrae of one name: whether both scans count alike rests on the "
                "names.",
            ),
        )
    return ()


def _pairs_by_name(
    lower: tuple[Vertebra, ...], upper: tuple[Vertebra, ...]
) -> tuple[LevelPair, ...]:
    names = {v.level.name: v for v in upper}
    return tuple((v, names[v.level.name]) for v in lower if v.level.name in names)


def _index(vertebrae: tuple[Vertebra, ...], one: Vertebra) -> int:
    return next(k for k, v in enumerate(vertebrae) if v is one)


def _pairs_by_step(
    lower: tuple[Vertebra, ...], upper: tuple[Vertebra, ...], step: int
) -> tuple[LevelPair, ...]:
    return tuple(
        (v, upper[k + step]) for k, v in enumerate(lower) if 0 <= k + step < len(upper)
    )


def _likely_counts(
    lower: tuple[Vertebra, ...],
    upper: tuple[Vertebra, ...],
    implants: tuple[Implants, Implants],
) -> list[tuple[LevelPair, ...]]:
    """List counts in the order of what implants and distances of bodies say."""
    counts = [
        _pairs_by_step(lower, upper, step) for step in range(1 - len(lower), len(upper))
    ]
    counts = [pairs for pairs in counts if len(pairs) >= min(2, len(lower), len(upper))]

    def misfit(pairs: tuple[LevelPair, ...]) -> tuple[int, float]:
        pose = spine_pose(pairs)
        away = [
            np.linalg.norm(pose.to_followup(a.centroid_lps_mm) - b.centroid_lps_mm)
            + abs(a.body_volume_ml - b.body_volume_ml)
            for a, b in pairs
        ]
        return _implant_conflicts(pairs, implants), float(np.mean(away)) / len(pairs)

    return sorted(counts, key=misfit)[:MOST_STEPS]


def _implant_conflicts(
    pairs: tuple[LevelPair, ...], implants: tuple[Implants, Implants]
) -> int:
    """Implants of the baseline that the matched vertebra lacks, and the reverse."""
    empty: frozenset[str] = frozenset()
    return sum(
        len(implants[0].get(a.level.name, empty) ^ implants[1].get(b.level.name, empty))
        for a, b in pairs
    )


def _tried(pairs: tuple[LevelPair, ...], agreement: PairTest) -> float:
    """Median agreement of some vertebrae, those whole in both scans first."""
    order = sorted(
        range(len(pairs)),
        key=lambda k: (
            not (pairs[k][0].complete and pairs[k][1].complete),
            abs(k - 0.5 * (len(pairs) - 1)),
        ),
    )
    return float(np.median([agreement(pairs[k], pairs) for k in order[:PROBES]]))
