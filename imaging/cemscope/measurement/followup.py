"""Compare two scans of one patient: what moved, grew, fell or broke in between.

The one entry that pipelines call: `compare_scans`.
"""

import logging
from dataclasses import dataclass

from cemscope.findings import CementVolume, NotAssessed
from cemscope.measurement.followup_cement import cement_movement
from cemscope.measurement.followup_findings import (
    Integrity,
    Registration,
    RodFollowup,
    ScrewFollowup,
    VertebraFollowup,
)
from cemscope.measurement.followup_heights import height_changes, outline_heights
from cemscope.measurement.followup_integrity import rods_between, screw_integrity
from cemscope.measurement.followup_lucency import rim_growth
from cemscope.measurement.followup_scan import FollowedScan, FollowedScrew
from cemscope.measurement.followup_screws import screw_movement
from cemscope.measurement.followup_settings import FollowupSettings
from cemscope.measurement.followup_shaft import follow_shaft
from cemscope.measurement.lucency_surface import LucencyMap, LucencySettings
from cemscope.registration.initial_pose import LevelPair
from cemscope.registration.level_matching import Implants, LevelMatch, match_levels
from cemscope.registration.vertebra_registration import (
    RegisteredVertebra,
    Registrar,
)
from cemscope.volume import Notice

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class FollowedPair:
    """A screw in both scans, for pictures.

    Attributes
    ----------
    before, after : FollowedScrew
        The screw.
    bone : RegisteredVertebra or NotAssessed
        Its vertebra in both scans.
    baseline_surface : LucencyMap or None
        The baseline's rim on the places of the follow-up's.
    growth_told : bool
        Whether the growth of its rim is assessed.
    """

    before: FollowedScrew
    after: FollowedScrew
    bone: RegisteredVertebra | NotAssessed
    baseline_surface: LucencyMap | None
    growth_told: bool = False


@dataclass(frozen=True, slots=True)
class OnlyOneScan:
    """What has no counterpart in the other scan.

    Attributes
    ----------
    lost_levels, new_levels : tuple of str
        Vertebrae of the baseline, and of the follow-up.
    lost_screws : tuple of str
        Screws of the baseline whose vertebra is in both scans.
    new_screws : tuple of str
        Screws of the follow-up.
    """

    lost_levels: tuple[str, ...] = ()
    new_levels: tuple[str, ...] = ()
    lost_screws: tuple[str, ...] = ()
    new_screws: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class FollowupComparison:
    """What changed between two scans.

    Attributes
    ----------
    vertebrae : tuple of VertebraFollowup
        In both scans, from the lowest upwards.
    screws : tuple of ScrewFollowup
        In both scans.
    rods : tuple of RodFollowup
        Between neighbouring screws.
    pairs : tuple of FollowedPair
        In the order of ``screws``.
    notices : tuple of Notice
        What a reader should know.
    only_one : OnlyOneScan
        What only one of the scans holds.
    bones : dict
        Registration of each vertebra, by the follow-up's name.
    """

    vertebrae: tuple[VertebraFollowup, ...]
    screws: tuple[ScrewFollowup, ...]
    rods: tuple[RodFollowup, ...]
    pairs: tuple[FollowedPair, ...]
    notices: tuple[Notice, ...]
    only_one: OnlyOneScan
    bones: dict[str, RegisteredVertebra | NotAssessed]


def compare_scans(
    baseline: FollowedScan,
    followup: FollowedScan,
    lucency: LucencySettings | None = None,
    settings: FollowupSettings | None = None,
) -> FollowupComparison:
    """Register every vertebra of a follow-up scan to the baseline and compare.

    Parameters
    ----------
    baseline, followup
        Both scans with their findings.
    lucency
        Limits of the lucent rim, the same for both scans.
    settings
        Limits of change; None for the defaults.
    """
    settings = settings or FollowupSettings()
    lucency = lucency or LucencySettings()
    registrar = Registrar(baseline.scanned, followup.scanned, settings.registration)
    match = match_levels(
        baseline.scanned.spine,
        followup.scanned.spine,
        (_implants(baseline), _implants(followup)),
        registrar.agreement,
    )
    bones = {
        pair[1].level.name: registrar.register(pair, match.pairs)
        for pair in match.pairs
    }
    vertebrae = tuple(
        _vertebra(baseline, followup, pair, bones[pair[1].level.name], settings)
        for pair in match.pairs
    )
    screws, pairs, ids = _screws((baseline, followup), match, bones, lucency, settings)
    only_one = _unmatched(baseline, followup, match, ids)
    return FollowupComparison(
        vertebrae,
        screws,
        rods_between(baseline, followup, ids),
        pairs,
        match.notices + _unmatched_notices(only_one),
        only_one,
        bones,
    )


CEMENTED_ML = 0.5
"""A level with this much cement counts as cemented when levels are matched."""


def _implants(scan: FollowedScan) -> Implants:
    held: dict[str, set[str]] = {}
    for screw in scan.screws:
        held.setdefault(screw.model.level, set()).add(f"screw {screw.model.side}")
    for level, cement in scan.cement.items():
        if isinstance(cement, CementVolume) and cement.volume_ml >= CEMENTED_ML:
            held.setdefault(level, set()).add("cement")
    return {level: frozenset(things) for level, things in held.items()}


def _vertebra(
    baseline: FollowedScan,
    followup: FollowedScan,
    pair: LevelPair,
    bone: RegisteredVertebra | NotAssessed,
    settings: FollowupSettings,
) -> VertebraFollowup:
    names = (pair[1].level.name, pair[0].level.name)
    scans = (baseline.scanned, followup.scanned)
    if isinstance(bone, NotAssessed):
        heights = outline_heights(*scans, pair, settings)
        return VertebraFollowup(
            *names, bone, heights, NotAssessed("the vertebra was not registered")
        )
    missing = NotAssessed("cement was not measured at this level")
    volumes = (
        baseline.cement.get(names[1], missing),
        followup.cement.get(names[0], missing),
    )
    return VertebraFollowup(
        *names,
        Registration(bone.found.residual_mm, bone.found.agreement, bone.found.edges),
        height_changes(*scans, bone, settings),
        cement_movement(*scans, bone, volumes, settings),
    )


def _screws(
    scans: tuple[FollowedScan, FollowedScan],
    match: LevelMatch,
    bones: dict[str, RegisteredVertebra | NotAssessed],
    lucency: LucencySettings,
    settings: FollowupSettings,
) -> tuple[tuple[ScrewFollowup, ...], tuple[FollowedPair, ...], dict[str, str]]:
    baseline, followup = scans
    before = {(s.model.level, s.model.side): s for s in baseline.screws}
    earlier = {b.level.name: a.level.name for a, b in match.pairs}
    found: list[ScrewFollowup] = []
    pairs: list[FollowedPair] = []
    ids: dict[str, str] = {}
    for screw in followup.screws:
        level, side = screw.model.level, screw.model.side
        old = before.get((earlier.get(level, ""), side))
        if old is None:
            continue
        ids[screw.screw_id] = old.screw_id
        thick = _too_thick(scans, settings)
        state: Integrity | NotAssessed
        state, reason = (
            (thick, "")
            if thick
            else screw_integrity(old, screw, followup.scanned, settings)
        )
        bone = bones[level]
        if isinstance(bone, NotAssessed):
            refused = NotAssessed(f"its vertebra was not registered: {bone.reason}")
            found.append(
                ScrewFollowup(
                    screw.screw_id, level, side, refused, refused, 0.0, state, reason
                )
            )
            pairs.append(FollowedPair(old, screw, bone, None))
            continue
        growth = rim_growth(
            old, screw, bone.found.pose, lucency, settings.growth_seen_fraction
        )
        movement = thick or screw_movement(
            (old.model, screw.model),
            bone.pair[0].frame,
            bone.found,
            follow_shaft(
                (baseline.scanned, followup.scanned),
                (old.model, screw.model),
                bone.found.pose,
                settings.registration,
            ),
            settings,
        )
        found.append(
            ScrewFollowup(
                screw.screw_id,
                level,
                side,
                movement,
                growth.growth_mm,
                growth.seen_fraction,
                state,
                reason,
            )
        )
        told = not isinstance(growth.growth_mm, NotAssessed)
        pairs.append(FollowedPair(old, screw, bone, growth.baseline, told))
    return tuple(found), tuple(pairs), ids


def _too_thick(
    scans: tuple[FollowedScan, FollowedScan], settings: FollowupSettings
) -> NotAssessed | None:
    """Refuse to compare screws where a scan's slices are thick."""
    thick = max(
        max(one.scanned.ct.spacing_mm[0], acquired.slice_thickness_mm or 0.0)
        for one in scans
        for acquired in (one.scanned.ct.acquisition,)
    )
    if thick <= settings.thickest_slice_mm + 1e-3:
        return None
    return NotAssessed(
        f"slices of {thick:.2f} mm in one of the scans; a screw's place needs "
        f"{settings.thickest_slice_mm:.1f} mm or less"
    )


def _unmatched(
    baseline: FollowedScan,
    followup: FollowedScan,
    match: LevelMatch,
    ids: dict[str, str],
) -> OnlyOneScan:
    """Collect what only one of the scans holds."""
    seen = {a.level.name for a, _ in match.pairs}
    later = {b.level.name for _, b in match.pairs}
    in_both = set(ids.values())
    spines = (baseline.scanned.spine, followup.scanned.spine)
    lost, new = (
        tuple(v.level.name for v in spine.vertebrae if v.level.name not in known)
        for spine, known in zip(spines, (seen, later), strict=True)
    )
    return OnlyOneScan(
        lost,
        new,
        tuple(
            s.screw_id
            for s in baseline.screws
            if s.screw_id not in in_both and s.model.level in seen
        ),
        tuple(s.screw_id for s in followup.screws if s.screw_id not in ids),
    )


def _unmatched_notices(only_one: OnlyOneScan) -> tuple[Notice, ...]:
    """Name what only one of the scans holds."""
    sentences = (
        (
            only_one.lost_levels,
            "levels_not_in_view",
            "Not found in this scan: {} of the baseline.",
        ),
        (
            only_one.lost_screws,
            "screw_missing",
            "Screws of the baseline that were not found in this scan: {}. Removed, "
            "broken or not recognised: check them.",
        ),
        (
            only_one.new_screws,
            "screw_new",
            "Screws without a counterpart in the baseline: {}.",
        ),
    )
    return tuple(
        Notice(code, words.format(", ".join(names)))
        for names, code, words in sentences
        if names
    )
