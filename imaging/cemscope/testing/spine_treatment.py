"""Screws, cement and dense bone of a simulated patient, placed in its vertebrae."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cemscope.errors import ConfigError
from cemscope.findings import Side
from cemscope.testing.cement_track import TrackPlan, add_tracks
from cemscope.testing.lumbar_cement import (
    CementPlan,
    LeakPlan,
    LevelCement,
    place_cement,
)
from cemscope.testing.lumbar_implants import PlacedScrew, ScrewPlan, place_screw
from cemscope.testing.scalar_field import ScalarField
from cemscope.testing.spine_bones import BoneFields

CEMENT_GRID_MM = 0.6
"""Grid of cement."""

NEEDLE_MM, NEEDLE_REACH_MM = 3.0, 45.0
"""A vertebroplasty needle of 10 or 11 gauge, and its length in the bone."""


@dataclass(frozen=True, slots=True)
class CementPlans:
    """Cement that is not injected through screws, and where cement runs off to."""

    vertebroplasties: tuple[CementPlan, ...]
    leaks: tuple[LeakPlan, ...]
    tracks: tuple[TrackPlan, ...]
    seed: int


def placed_screws(
    plans: Sequence[ScrewPlan], bones: Mapping[str, BoneFields]
) -> Iterator[PlacedScrew]:
    """Screws whose vertebra is there and has a pedicle for them."""
    for plan in plans:
        if plan.level not in bones:
            continue
        try:
            yield place_screw(plan, bones[plan.level].shape)
        except ConfigError:  # a pedicle too thin for any screw: surgeons leave it out
            continue


def placed_cements(
    plans: CementPlans,
    bones: Mapping[str, BoneFields],
    screws: Sequence[PlacedScrew],
    metal: Sequence[ScalarField],
) -> Iterator[LevelCement]:
    """Cement of each vertebra that has any, from the head to the feet."""
    for index, (name, bone) in enumerate(bones.items()):
        clouds = [p for p in plans.vertebroplasties if p.level == name]
        mine = [s for s in screws if s.plan.level == name]
        clouds += [_at_tip(s, bone) for s in mine if s.plan.cement_ml > 0]
        leaks = [leak for leak in plans.leaks if leak.level == name]
        if not clouds:
            continue
        seed = plans.seed * 100 + index
        cement = place_cement(bone.shape, clouds, leaks, metal, seed, CEMENT_GRID_MM)
        tracks = [
            (t, track_way(t, mine, bone)) for t in plans.tracks if t.level == name
        ]
        known = [(track, way) for track, way in tracks if way is not None]
        yield add_tracks(cement, bone.shape, known, seed) if known else cement


def _at_tip(screw: PlacedScrew, bone: BoneFields) -> CementPlan:
    tip = bone.shape.frame.to_local_mm(screw.tip_mm)
    x, y, z = (float(v) for v in tip)
    side = 1.0 if screw.plan.side is Side.LEFT else -1.0
    return CementPlan(
        screw.plan.level, screw.plan.cement_ml, (x + side, y + 3.0, z), fingers=1.0
    )


def track_way(
    track: TrackPlan, screws: Sequence[PlacedScrew], bone: BoneFields
) -> PlacedScrew | None:
    """Give the screw that a track follows, or the needle's way; None without one."""
    for screw in screws:
        if screw.plan.side is track.side:
            return screw
    needle = ScrewPlan(
        track.level, track.side, NEEDLE_MM, NEEDLE_REACH_MM, cement_ml=0.0
    )
    return next(placed_screws([needle], {track.level: bone}), None)
