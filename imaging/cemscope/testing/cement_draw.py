"""Random cement, screws and what can be mistaken for them."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np

from cemscope.findings import LeakType, Side
from cemscope.testing.beam_table import Substance
from cemscope.testing.cement_track import IslandPlan, TrackPlan
from cemscope.testing.lumbar_cement import CementPlan, LeakPlan
from cemscope.testing.lumbar_implants import ScrewPlan
from cemscope.testing.spine_patient import PatientSettings

LARGEST_FILL = 0.22
"""Most cement, relative to the body: fills of 0.22 to 0.29 are published."""

BODY_ML = {"T10": 17.0, "T11": 18.0, "T12": 21.0, "L1": 23.0, "L2": 26.0}
"""Volume of a body at size 1, roughly; 28 mL below L2."""


class CementFamily(StrEnum):
    """What a scan is about."""

    COMPACT = "compact"
    SCREWS = "screws"
    IRREGULAR = "irregular"
    MIXED = "mixed"
    THICK = "thick"
    DIFFICULT = "difficult screws"
    LEAKING = "leaking"
    CANNULATED = "cannulated"
    THICK_IRREGULAR = "thick irregular"
    TRAP = "trap"

    @property
    def metal(self) -> bool:
        """Whether there are screws."""
        return self in (
            CementFamily.SCREWS,
            CementFamily.MIXED,
            CementFamily.DIFFICULT,
            CementFamily.CANNULATED,
        )

    @property
    def thick(self) -> bool:
        """Whether slices are thicker than 1.5 mm."""
        return self in (CementFamily.THICK, CementFamily.THICK_IRREGULAR)


class Trap(StrEnum):
    """What a scan without cement holds."""

    NOTHING = "nothing"
    CONTRAST = "contrast"
    ISLANDS = "bone islands"
    SCREWS = "screws without cement"


def family_of(seed: int) -> CementFamily:
    """Give the family of a seed."""
    return list(CementFamily)[seed % 10]


def trap_of(seed: int) -> Trap:
    """Give the kind of trap of a seed of that family."""
    return list(Trap)[seed // 10 % len(Trap)]


def draw_implants(
    family: CementFamily,
    patient: PatientSettings,
    targets: Sequence[str],
    rng: np.random.Generator,
) -> PatientSettings:
    """Put in cement and screws."""
    barium = rng.random() < 0.7
    share = float(rng.uniform(0.1, 0.3))
    patient = replace(
        patient,
        barium_sulfate_fraction=share if barium else 0.0,
        zirconia_fraction=0.0 if barium else share,
        metal=Substance.TITANIUM if rng.random() < 0.75 else Substance.COBALT_CHROME,
        rods=bool(rng.random() < 0.75),
    )
    if family is CementFamily.TRAP:
        return patient
    free = list(targets)
    if family.metal:
        screwed = free[: 1 if family is CementFamily.MIXED and len(free) == 2 else 2]
        patient = _screws(family, patient, screwed, rng)
        free = [n for n in free if n not in screwed]
        if family is not CementFamily.MIXED:
            free = free if rng.random() < 0.3 else []
    broken = [p.name for p in patient.levels if p.collapse and p.name in free]
    filled = [n for n in free if n in broken or rng.random() < 0.7]
    if not filled and not family.metal:
        filled = [str(rng.choice(free))]
    cements: list[CementPlan] = []
    tracks: list[TrackPlan] = list(patient.tracks)
    for name in filled:
        clouds, way = _vertebroplasty(family, name, patient, rng)
        cements += clouds
        tracks += way
    cemented = sorted({s.level for s in patient.screws if s.cement_ml > 0})
    leaks = _leaks(family, sorted({c.level for c in cements}) + cemented, rng)
    return replace(
        patient,
        vertebroplasties=tuple(cements),
        tracks=tuple(tracks),
        leaks=tuple(leaks),
    )


def _vertebroplasty(
    family: CementFamily, name: str, patient: PatientSettings, rng: np.random.Generator
) -> tuple[list[CementPlan], list[TrackPlan]]:
    size = patient.size
    body = BODY_ML.get(name, 28.0) * size.left * size.posterior * size.superior
    plan = next(p for p in patient.levels if p.name == name)
    most = LARGEST_FILL * body * (0.7 if plan.collapse else 1.0)
    total = float(np.exp(rng.uniform(np.log(0.3), np.log(min(6.0, most)))))
    irregular = family in (CementFamily.IRREGULAR, CementFamily.THICK_IRREGULAR)
    irregular = irregular or rng.random() < 0.25
    spread = float(rng.uniform(3.0, 5.0) if irregular else rng.uniform(1.0, 2.5))
    fingers = float(rng.uniform(1.5, 2.5) if irregular else rng.uniform(0.3, 1.0))
    both = total > 0.8 and rng.random() < 0.4
    signs = (-1.0, 1.0) if both else (float(rng.choice([-1.0, 1.0])),)
    clouds = []
    tracks = []
    for sign in signs:
        near = 6.0 if both else 1.0
        at = (
            sign * float(rng.uniform(near, 10.0)) * size.left,
            float(rng.uniform(-9, -1)) * size.posterior,
            float(rng.uniform(-3, 3)) * size.superior,
        )
        clouds.append(CementPlan(name, total / len(signs), at, spread, fingers))
        if rng.random() < 0.25:
            side = Side.LEFT if sign > 0 else Side.RIGHT
            tracks.append(
                TrackPlan(
                    name,
                    side,
                    float(rng.uniform(1.2, 2.2)),
                    float(rng.uniform(24, 38)),
                    float(rng.uniform(4, 10)),
                )
            )
    return clouds, tracks


def _screws(
    family: CementFamily,
    patient: PatientSettings,
    names: Sequence[str],
    rng: np.random.Generator,
) -> PatientSettings:
    cannulated = family is CementFamily.CANNULATED or (
        family is CementFamily.DIFFICULT and rng.random() < 0.4
    )
    if family is CementFamily.DIFFICULT and rng.random() < 0.5:
        patient = replace(patient, metal=Substance.COBALT_CHROME)
    screws: list[ScrewPlan] = []
    tracks: list[TrackPlan] = []
    for name in names:
        thoracic = name[0] == "T" and name != "T12"
        small = [4.5, 5.0, 5.5] if thoracic else [5.5, 6.0, 6.5, 7.0]
        shafts = [35.0, 40.0] if thoracic else [40.0, 45.0, 50.0]
        diameter, shaft = float(rng.choice(small)), float(rng.choice(shafts))
        sides = list(Side)
        if rng.random() < 0.1:
            sides = [sides[int(rng.integers(0, 2))]]
        for side in sides:
            cement = float(np.exp(rng.uniform(np.log(0.5), np.log(2.5))))
            plan = ScrewPlan(
                name,
                side,
                diameter,
                shaft * min(1.0, patient.size.posterior + 0.05),
                cannulated,
                0.0 if rng.random() < 0.12 else cement,
            )
            if family is CementFamily.DIFFICULT and rng.random() < 0.6:
                plan = _missed(plan, rng)
            screws.append(plan)
            if plan.cement_ml > 0 and rng.random() < 0.3:
                radius = 0.5 * diameter + float(rng.uniform(0.6, 1.5))
                length, start = rng.uniform(16, 32), rng.uniform(6, 12)
                tracks.append(
                    TrackPlan(name, side, radius, float(length), float(start))
                )
    return replace(patient, screws=tuple(screws), tracks=tuple(tracks))


def _missed(plan: ScrewPlan, rng: np.random.Generator) -> ScrewPlan:
    """Draw a screw that leaves the pedicle, tilts or goes through the front."""
    kind = int(rng.integers(0, 3))
    if kind == 0:
        sign = float(rng.choice([-1.0, 1.0]))
        lateral, up = sign * rng.uniform(2.0, 5.0), rng.uniform(-1.5, 1.5)
        return replace(plan, offset_mm=(float(lateral), float(up)))
    if kind == 1:
        inwards, upwards = rng.uniform(-9.0, 9.0), rng.uniform(-9.0, 9.0)
        return replace(plan, turn_deg=(float(inwards), float(upwards)))
    margin, longer = rng.uniform(-3.0, 2.0), plan.shaft_mm + 5.0
    return replace(plan, tip_margin_mm=float(margin), shaft_mm=longer)


def _leaks(
    family: CementFamily, cemented: Sequence[str], rng: np.random.Generator
) -> list[LeakPlan]:
    chance = 0.9 if family is CementFamily.LEAKING else 0.2
    leaks = []
    for name in cemented:
        if rng.random() > chance:
            continue
        kinds = [LeakType.BASIVERTEBRAL, LeakType.SEGMENTAL]
        if name[0] == "L" and name != "L1":  # thoracic discs have no room
            kinds.append(LeakType.DISC)
        kind = kinds[int(rng.integers(0, len(kinds)))]
        side = Side.LEFT if rng.random() < 0.5 else Side.RIGHT
        leaks.append(LeakPlan(name, kind, side, float(rng.uniform(0.05, 0.5))))
    return leaks


def draw_traps(
    family: CementFamily,
    seed: int,
    patient: PatientSettings,
    targets: Sequence[str],
    rng: np.random.Generator,
) -> PatientSettings:
    """Add contrast medium, plaques, bone islands and osteophytes."""
    trap = trap_of(seed) if family is CementFamily.TRAP else None
    if trap is Trap.CONTRAST or (trap is None and rng.random() < 0.15):
        contrast = float(rng.uniform(250, 400))
        patient = replace(
            patient,
            contrast_hu=contrast,
            cava_hu=contrast * float(rng.uniform(0.6, 1.0)),
            plaques=int(rng.integers(3, 9)),
        )
    if trap is Trap.SCREWS:
        patient = _screws(CementFamily.SCREWS, patient, targets[:2], rng)
        bare = tuple(replace(s, cement_ml=0.0) for s in patient.screws)
        patient = replace(patient, screws=bare, tracks=())
    filled = {c.level for c in patient.vertebroplasties}
    filled |= {s.level for s in patient.screws}
    free = [n for n in targets if n not in filled]
    islands = []
    for name in free:
        if trap is Trap.ISLANDS or (trap is None and rng.random() < 0.2):
            half = tuple(float(v) for v in rng.uniform(1.5, 5.0, 3))
            at = (rng.uniform(-10, 10), rng.uniform(-9, 5), rng.uniform(-6, 6))
            islands.append(
                IslandPlan(
                    name,
                    (float(at[0]), float(at[1]), float(at[2])),
                    (half[0], half[1], half[2]),
                    float(rng.uniform(0.4, 0.75)),
                )
            )
    patient = replace(patient, islands=tuple(islands))
    if trap is Trap.ISLANDS:
        levels = tuple(
            replace(p, osteophyte_mm=float(rng.uniform(2.0, 5.0)))
            if p.name in targets
            else p
            for p in patient.levels
        )
        patient = replace(patient, levels=levels)
    return patient
