"""Random leaks, and what can be mistaken for one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from cemscope.findings import LeakType, Side
from cemscope.testing.beam_table import Substance
from cemscope.testing.cement_draw import CementFamily, draw_implants
from cemscope.testing.cement_track import TrackPlan
from cemscope.testing.leak_route import RouteEnd, RoutePlan
from cemscope.testing.leak_shape import AbutPlan
from cemscope.testing.lumbar_cement import CementPlan
from cemscope.testing.spine_patient import PatientSettings

SMALLEST_ML, LARGEST_ML = 0.03, 1.5
"""Volumes outside the bone, drawn evenly on a log scale."""

LEAST_CEMENT_ML = 1.0
"""Cement of a vertebra that leaks: none leaks that holds next to nothing."""

UPPER_LEVELS = ("T9", "T10", "T11")
"""Levels with thin discs and narrow canals: leaks are smaller there."""


class LeakFamily(StrEnum):
    """What a scan is about."""

    BASIVERTEBRAL = "basivertebral"
    SEGMENTAL = "segmental"
    CORTICAL = "cortical"
    DISC = "disc"
    NEEDLE = "needle track"
    SCREW_TRACK = "screw track"
    COMBINED = "combined"
    TOUCHING = "touching neighbours"
    SCREWS = "screws"
    STREAKS = "streaks"
    TRAP_BONE = "trap at the bone"
    TRAP_VESSEL = "trap of vessel or screw"

    @property
    def metal(self) -> bool:
        """Whether there are always screws."""
        return self in (LeakFamily.SCREW_TRACK, LeakFamily.SCREWS, LeakFamily.STREAKS)

    @property
    def trap(self) -> bool:
        """Whether there is no leak."""
        return self in (LeakFamily.TRAP_BONE, LeakFamily.TRAP_VESSEL)


ROUTES = {
    LeakFamily.BASIVERTEBRAL: "B",
    LeakFamily.SEGMENTAL: "S",
    LeakFamily.CORTICAL: "C",
    LeakFamily.DISC: "D",
    LeakFamily.NEEDLE: "I",
    LeakFamily.SCREW_TRACK: "I",
    LeakFamily.COMBINED: "BSSCD",
    LeakFamily.TOUCHING: "D",
    LeakFamily.SCREWS: "SSSBBCI",
    LeakFamily.STREAKS: "BBC",
}
"""Types that a family draws from; of leaking screws S 72-78 %, B 12-24 %, I 8-14 %."""


def leak_family_of(seed: int) -> LeakFamily:
    """Give the family of a seed."""
    return list(LeakFamily)[seed % len(LeakFamily)]


@dataclass(frozen=True, slots=True)
class LeakDraft:
    """A case in the making: see `leak_case.LeakCase`.

    ``deep`` tells whether cement lies far behind the vertebrae.
    """

    family: LeakFamily
    seed: int
    patient: PatientSettings
    targets: tuple[str, ...]
    routes: tuple[RoutePlan, ...] = ()
    abutting: tuple[AbutPlan, ...] = ()
    epidural_contrast_hu: float = 0.0
    deep: bool = False


def draw_leaking(draft: LeakDraft, rng: np.random.Generator) -> LeakDraft:
    """Put in cement, leaks and traps."""
    family = draft.family
    screwed = family.metal or (
        family is LeakFamily.TRAP_VESSEL and draft.seed // len(LeakFamily) % 2 == 1
    )
    kind = CementFamily.SCREWS if screwed else CementFamily.COMPACT
    patient = draw_implants(kind, draft.patient, draft.targets, rng)
    patient = replace(patient, leaks=())
    if family is LeakFamily.STREAKS:
        dense = rng.random() < 0.5
        metal = Substance.COBALT_CHROME if dense else Substance.TITANIUM
        patient = replace(patient, metal=metal, rods=True)
    patient = _enough_cement(patient, draft.targets, rng)
    draft = replace(draft, patient=patient)
    if family.trap:
        return _traps(draft, rng)
    if family is LeakFamily.TOUCHING:
        return _touching(draft, rng)
    cemented = _cemented(patient)
    count = 1
    if family is LeakFamily.COMBINED:
        count = int(rng.integers(2, 4))
    elif rng.random() < 0.6:
        count = 2
    routes: list[RoutePlan] = []
    used: set[tuple[str, str, str]] = set()
    for _ in range(3 * count):  # some are drawn twice
        if len(routes) == count:
            break
        level = str(rng.choice(cemented))
        kinds = ROUTES[family]
        leak_type = LeakType(kinds[int(rng.integers(0, len(kinds)))])
        route = draw_route(level, leak_type, patient, rng)
        if family is LeakFamily.STREAKS and route.end is not RouteEnd.CANAL:
            route = _beside_foramen(route, rng, upper=level in UPPER_LEVELS)
        place = (level, leak_type.value, route.side.value)
        if leak_type is LeakType.BASIVERTEBRAL:
            place = (level, leak_type.value, "")
        if place not in used:
            routes.append(route)
            used.add(place)
    draft = replace(draft, routes=tuple(routes))
    return _with_tracks(draft, rng)


def _cemented(patient: PatientSettings) -> list[str]:
    levels = {c.level for c in patient.vertebroplasties}
    levels |= {s.level for s in patient.screws if s.cement_ml > 0}
    return sorted(levels)


def _enough_cement(
    patient: PatientSettings, targets: Sequence[str], rng: np.random.Generator
) -> PatientSettings:
    """Raise small fills: cement that leaks has filled something first."""
    clouds = list(patient.vertebroplasties)
    for name in sorted({c.level for c in clouds}):
        total = sum(c.volume_ml for c in clouds if c.level == name)
        factor = max(1.0, LEAST_CEMENT_ML * float(rng.uniform(1.0, 2.0)) / total)
        clouds = [
            replace(c, volume_ml=c.volume_ml * factor) if c.level == name else c
            for c in clouds
        ]
    screws = [
        replace(s, cement_ml=max(s.cement_ml, 0.8)) if s.cement_ml > 0 else s
        for s in patient.screws
    ]
    if not clouds and not any(s.cement_ml > 0 for s in screws):
        screws = [replace(s, cement_ml=1.2) for s in screws]
        if not screws:
            name = str(rng.choice(list(targets)))
            clouds = [CementPlan(name, 2.0, (0.0, -4.0, 0.0), 2.0)]
    return replace(patient, vertebroplasties=tuple(clouds), screws=tuple(screws))


def draw_route(
    level: str, leak_type: LeakType, patient: PatientSettings, rng: np.random.Generator
) -> RoutePlan:
    """Draw a leak of a type."""
    upper = level in UPPER_LEVELS
    largest = LARGEST_ML
    if upper:
        largest = {LeakType.DISC: 0.3, LeakType.BASIVERTEBRAL: 0.6}.get(leak_type, 1.0)
    elif leak_type is LeakType.DISC:
        largest = 1.0
    volume = float(np.exp(rng.uniform(np.log(SMALLEST_ML), np.log(largest))))
    sides = [s.side for s in patient.screws if s.level == level and s.cement_ml > 0]
    if not sides:
        at = [
            c.centre_local_mm[0] for c in patient.vertebroplasties if c.level == level
        ]
        sides = [Side.LEFT if x > 0 else Side.RIGHT for x in at]
        if leak_type is not LeakType.INSTRUMENT and rng.random() < 0.2:
            sides = list(Side)
    side = sides[int(rng.integers(0, len(sides)))]
    plan = RoutePlan(
        level,
        leak_type,
        side,
        volume,
        RouteEnd.HERE,
        slenderness=float(rng.uniform(4.0, 8.0)),
        seed=int(rng.integers(0, 2**31)),
    )
    if leak_type is LeakType.BASIVERTEBRAL:
        height = float(rng.uniform(0.45, 0.66))
        return replace(plan, end=RouteEnd.CANAL, height=height)
    if leak_type is LeakType.SEGMENTAL:
        height = float(rng.uniform(0.36, 0.62))
        # Behind, ribs lie on the bodies of thoracic vertebrae.
        if level[0] == "L" and rng.random() < 0.45:
            angle = float(rng.uniform(-10.0, 40.0))
            return replace(plan, end=RouteEnd.FORAMEN, height=height, angle_deg=angle)
        angle = float(rng.uniform(0.0, 65.0))
        return replace(plan, end=RouteEnd.FRONT, height=height, angle_deg=angle)
    if leak_type is LeakType.CORTICAL:
        return _cortical(plan, rng, upper=upper)
    if leak_type is LeakType.DISC:
        end = RouteEnd.DISC_ABOVE if rng.random() < 0.55 else RouteEnd.DISC_BELOW
        angle, across = float(rng.uniform(-60.0, 90.0)), float(rng.uniform(0.0, 0.55))
        return replace(plan, end=end, angle_deg=angle, across=across)
    angle, volume = float(rng.uniform(-30.0, 80.0)), min(plan.volume_ml, 0.8)
    end = RouteEnd.BEHIND if rng.random() < 0.6 else RouteEnd.PEDICLE_WALL
    return replace(plan, end=end, angle_deg=angle, volume_ml=volume)


def _cortical(plan: RoutePlan, rng: np.random.Generator, *, upper: bool) -> RoutePlan:
    wall = float(rng.random())
    rim = float(rng.choice([rng.uniform(0.1, 0.2), rng.uniform(0.8, 0.9)]))
    if wall < 0.25:
        return _beside_foramen(plan, rng, upper=upper)
    in_front = wall < 0.6
    angle = float(rng.uniform(60.0, 90.0) if in_front else rng.uniform(-10.0, 45.0))
    if rng.random() < 0.2:  # a fracture gap at mid-height: only its shape tells
        rim = float(rng.uniform(0.3, 0.7))
    return replace(plan, height=rim, angle_deg=angle)


def _beside_foramen(
    plan: RoutePlan, rng: np.random.Generator, *, upper: bool
) -> RoutePlan:
    """Break the posterior wall beside the basivertebral foramen."""
    return replace(
        plan,
        end=RouteEnd.CANAL,
        across=float(rng.uniform(0.45, 0.6)),
        height=float(rng.uniform(0.15, 0.85)),
        volume_ml=min(plan.volume_ml, 0.25 if upper else 0.5),
    )


def _with_tracks(draft: LeakDraft, rng: np.random.Generator) -> LeakDraft:
    """Let cement reach the pedicle where it leaks out of it."""
    tracks = list(draft.patient.tracks)
    for route in draft.routes:
        if route.leak_type is not LeakType.INSTRUMENT:
            continue
        tracks = [t for t in tracks if (t.level, t.side) != (route.level, route.side)]
        mine = [
            s
            for s in draft.patient.screws
            if (s.level, s.side) == (route.level, route.side)
        ]
        radius = 0.5 * mine[0].diameter_mm + 0.9 if mine else 1.8
        length = 40.0 if route.end is RouteEnd.BEHIND else 26.0
        start = float(rng.uniform(2.0, 8.0))
        tracks.append(TrackPlan(route.level, route.side, radius, length, start))
    deep = any(r.end is RouteEnd.BEHIND for r in draft.routes)
    patient = replace(draft.patient, tracks=tuple(tracks))
    return replace(draft, patient=patient, deep=deep)


def _touching(draft: LeakDraft, rng: np.random.Generator) -> LeakDraft:
    """Let cement of two neighbours meet in the disc between them."""
    upper, lower = draft.targets[:2]
    patient = draft.patient
    clouds = list(patient.vertebroplasties)
    for name in (upper, lower):
        if all(c.level != name for c in clouds):
            x = float(rng.uniform(-8.0, 8.0))
            clouds.append(
                CementPlan(name, float(rng.uniform(1.2, 3.0)), (x, -4.0, 0.0))
            )
    patient = replace(patient, vertebroplasties=tuple(clouds))
    first = draw_route(upper, LeakType.DISC, patient, rng)
    angle, across = first.angle_deg, min(first.across, 0.4)
    thin = upper in UPPER_LEVELS
    least = 0.1 if thin else 0.25
    first = replace(
        first,
        end=RouteEnd.DISC_BELOW,
        across=across,
        volume_ml=max(first.volume_ml, least),
    )
    second = replace(
        first,
        level=lower,
        end=RouteEnd.DISC_ABOVE,
        volume_ml=float(rng.uniform(0.04, least)),
        seed=first.seed + 1,
        angle_deg=angle + float(rng.uniform(-20.0, 20.0)),
    )
    routes = (first, second) if rng.random() < 0.6 else (first,)
    abutting: tuple[AbutPlan, ...] = ()
    if len(routes) == 1:  # the neighbour's cement reaches the endplate from within
        a = np.radians(angle)
        sign = 1.0 if first.side is Side.LEFT else -1.0
        flat = across * np.array([sign * np.cos(a) * 20.0, -np.sin(a) * 14.0])
        up = (float(flat[0]), float(flat[1]), 11.0)
        abutting = (AbutPlan(lower, up, 4.0, 0.1),)
    return replace(draft, patient=patient, routes=routes, abutting=abutting)


def _traps(draft: LeakDraft, rng: np.random.Generator) -> LeakDraft:
    patient = draft.patient
    if draft.family is LeakFamily.TRAP_BONE:
        levels = tuple(
            replace(p, osteophyte_mm=float(rng.uniform(2.5, 5.0)))
            if p.name in draft.targets and rng.random() < 0.7
            else p
            for p in patient.levels
        )
        abutting = [_abutting(name, rng) for name in _cemented(patient)]
        tracks = tuple(
            TrackPlan(
                c.level,
                Side.LEFT if c.centre_local_mm[0] > 0 else Side.RIGHT,
                float(rng.uniform(1.8, 2.8)),
                float(rng.uniform(30.0, 42.0)),
                float(rng.uniform(4.0, 9.0)),
            )
            for c in patient.vertebroplasties
        )
        patient = replace(patient, levels=levels, tracks=tracks)
        return replace(draft, patient=patient, abutting=tuple(abutting))
    contrast = float(rng.uniform(200.0, 380.0))
    patient = replace(
        patient,
        contrast_hu=contrast,
        cava_hu=contrast * float(rng.uniform(0.6, 1.0)),
        plaques=int(rng.integers(8, 16)),
    )
    if patient.screws:
        screws = tuple(
            replace(
                s,
                tip_margin_mm=float(rng.uniform(-4.0, -1.5)),
                shaft_mm=s.shaft_mm + 16.0,
            )
            if k % 2 == 0
            else s
            for k, s in enumerate(patient.screws)
        )
        patient = replace(patient, screws=screws)
    veins = float(rng.uniform(180.0, 350.0))
    return replace(draft, patient=patient, epidural_contrast_hu=veins)


def _abutting(name: str, rng: np.random.Generator) -> AbutPlan:
    """Press cement against the side, the front, the canal's wall or an endplate."""
    sign = float(rng.choice([-1.0, 1.0]))
    towards = [
        (sign, float(rng.uniform(-0.6, 0.2)), 0.0),
        (0.3 * sign, -1.0, 0.0),
        (0.1 * sign, 1.0, 0.1),
        (0.3 * sign, -0.2, sign),
    ]
    direction = towards[int(rng.integers(0, len(towards)))]
    radius, gap = float(rng.uniform(3.0, 6.0)), float(rng.uniform(0.0, 0.5))
    return AbutPlan(name, direction, radius, gap)
