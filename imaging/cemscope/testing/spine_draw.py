"""Random spines: anatomy and treatment of a simulated patient, drawn at random."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from cemscope.findings import LeakType, Side
from cemscope.testing.beam_table import Substance
from cemscope.testing.lumbar_cement import CementPlan, LeakPlan
from cemscope.testing.lumbar_implants import ScrewPlan
from cemscope.testing.spine_bones import BoneQuality
from cemscope.testing.spine_patient import PatientSettings
from cemscope.testing.spine_posture import Collapse, LevelPlan

THORACIC_DISC_LOSS_MM = {"T6": -0.5, "T7": -0.5, "T8": -0.5, "T11": 1.0, "T12": 0.5}
"""In the mask behind the atlas the upper bodies all but touch; the lower discs are as
thick as in most people (3 to 5 mm; Pooni 1986, Surg Radiol Anat 8:175)."""


class Family(StrEnum):
    """What a scan is about."""

    LUMBAR = "lumbar"
    THORACOLUMBAR = "thoracolumbar"
    SMALL_FIELD = "small field"
    TRANSITIONAL = "transitional"
    ABDOMEN = "abdomen"
    INSTRUMENTED = "instrumented"
    COLLAPSED = "collapsed"
    CHEST = "chest"
    SCOLIOSIS = "scoliosis"
    AUGMENTED = "augmented"


class Transition(StrEnum):
    """Lumbosacral and thoracolumbar variants."""

    NONE = ""
    SIX_LUMBAR = "L6"
    SACRALISED = "sacralised L5"
    THIRTEEN_RIBS = "T13"
    ELEVEN_RIBS = "11 rib pairs"


def transition_of(family: Family, seed: int) -> Transition:
    """Choose the variant of a transitional spine."""
    if family is not Family.TRANSITIONAL:
        return Transition.NONE
    kinds = [t for t in Transition if t is not Transition.NONE]
    return kinds[seed // 10 % len(kinds)]


def draw_levels(
    family: Family, transition: Transition, cobb_deg: float, rng: np.random.Generator
) -> tuple[LevelPlan, ...]:
    """Vertebrae from T6 to the last lumbar one."""
    names = [f"T{i}" for i in range(6, 13)]
    stored = list(names)
    if transition is Transition.THIRTEEN_RIBS:
        names.append("T13")
        stored.append("L1")
    names += [f"L{i}" for i in range(1, 6)]
    stored += [f"L{i}" for i in range(1, 6)]
    if transition is Transition.SIX_LUMBAR:
        names.append("L6")
        stored = [*stored[:-1], "L4", "L5"]
    ribs = {name: 300.0 for name in names if name[0] == "T"}
    ribs["T11"] = float(rng.uniform(170, 230))
    ribs["T12"] = float(rng.uniform(45, 150))
    if transition is Transition.THIRTEEN_RIBS:
        ribs |= {"T12": float(rng.uniform(120, 190)), "T13": float(rng.uniform(30, 80))}
    if transition is Transition.ELEVEN_RIBS:
        ribs["T12"] = 0.0
    lordosis, kyphosis = rng.normal(0.0, 1.3), rng.normal(0.0, 0.9)
    disc, thoracic_disc = float(rng.uniform(-2.5, 3.0)), float(rng.uniform(0.8, 2.8))
    noise = float(rng.uniform(0.4, 0.9))
    apex = int(rng.integers(5, 9))
    levels = []
    for k, (name, source) in enumerate(zip(names, stored, strict=True)):
        lumbar = name[0] == "L"
        # A curve of the Cobb angle over five levels, and half of it back on each side.
        bend = cobb_deg / 2.6 * np.exp(-0.5 * ((k - apex) / 1.3) ** 2)
        bend -= cobb_deg / 5.2 * np.exp(-0.5 * ((abs(k - apex) - 4) / 1.3) ** 2)
        turn = -0.25 * cobb_deg * np.sign(k - apex) * np.exp(-abs(k - apex) / 2.0)
        change = (
            disc if lumbar else thoracic_disc - THORACIC_DISC_LOSS_MM.get(name, 0.0)
        )
        change += float(rng.normal(0.0, 0.8 if lumbar else 0.4))
        vacuum = 0.0
        if lumbar and rng.random() < 0.15:  # a worn disc
            change = float(rng.uniform(-5.0, -3.0))
            vacuum = float(rng.uniform(0.0, 2.5))
        if name == names[-1]:  # the sacrum is stiff: no bone may sink into it
            change = max(change, -2.5)
        if name == "L5" and transition is Transition.SACRALISED:
            change, vacuum = -4.0, 0.0
        levels.append(
            LevelPlan(
                name,
                source,
                (
                    float(rng.normal(1.0, 0.025)),
                    float(rng.normal(1.0, 0.025)),
                    float(rng.normal(1.0, 0.03)),
                ),
                ribs_mm=ribs.get(name, 0.0),
                disc_change_mm=change,
                flexion_deg=float(
                    (lordosis if lumbar else kyphosis) + rng.normal(0, 0.6)
                ),
                bending_deg=float(bend + rng.normal(0, 0.5)),
                turn_deg=float(turn + rng.normal(0, 0.4)),
                vacuum_mm=vacuum,
                osteophyte_mm=float(rng.uniform(1.0, 4.0))
                if rng.random() < 0.25
                else 0.0,
                shape_noise_mm=noise,
                seed=int(rng.integers(0, 2**31)),
            )
        )
    chance = {Family.COLLAPSED: 1.0, Family.AUGMENTED: 0.6}.get(family, 0.12)
    broken = rng.random() < chance
    return _broken(levels, rng) if broken else tuple(levels)


def _broken(levels: list[LevelPlan], rng: np.random.Generator) -> tuple[LevelPlan, ...]:
    """Break one or two bodies, mostly at the thoracolumbar junction."""
    odds = np.array(
        [3.0 if p.name in ("T12", "L1", "L2") else 1.0 for p in levels], float
    )
    odds[[p.name[0] == "T" and p.name not in ("T11", "T12") for p in levels]] = 0.15
    count = 1 + int(rng.random() < 0.35)
    chosen = rng.choice(len(levels), count, replace=False, p=odds / odds.sum())
    result = list(levels)
    for k in chosen:
        kind = str(rng.choice(["wedge", "biconcave", "crush"], p=[0.5, 0.35, 0.15]))
        most = {"wedge": 0.6, "biconcave": 0.55, "crush": 0.4}[kind]
        collapse = Collapse(
            kind, float(rng.uniform(0.25, most)), float(rng.uniform(1.0, 1.8))
        )
        result[k] = replace(result[k], collapse=collapse)
    return tuple(result)


@dataclass(frozen=True, slots=True)
class ScanWindow:
    """Which part of the spine is scanned: indices of levels, and where it is cut."""

    top: int
    bottom: int
    above_mm: float
    below_mm: float
    sacrum: bool


def draw_window(
    family: Family, levels: tuple[LevelPlan, ...], rng: np.random.Generator
) -> ScanWindow:
    """Draw which levels are scanned and where the scan ends."""
    names = [p.name for p in levels]
    last = len(names) - 1
    cut_above, cut_below = (float(v) for v in rng.uniform(-14.0, 28.0, 2))
    l1 = names.index("L1")
    sacrum = bool(rng.random() < 0.65)
    if family is Family.CHEST:
        top, bottom = 0, int(rng.integers(l1 - 1, l1 + 2))
        return ScanWindow(top, bottom, float(rng.uniform(-6.0, 6.0)), cut_below, False)
    if family is Family.THORACOLUMBAR:
        top = int(rng.integers(0, 4))
        bottom = last if sacrum else int(rng.integers(l1 + 2, last))
    elif family is Family.SMALL_FIELD:
        bottom = int(rng.integers(l1 + 1, last + 1))
        top = bottom - int(rng.integers(3, 5))
        sacrum = sacrum and bottom == last
    elif family is Family.TRANSITIONAL:
        top = int(rng.integers(1, 5))
        bottom, sacrum = last, bool(rng.random() < 0.85)
    else:
        top = int(rng.integers(l1 - 3, l1 + 2))
        bottom = last if sacrum else int(rng.integers(max(top + 3, l1 + 2), last + 1))
    if top == 0:
        cut_above = min(cut_above, 6.0)
    if sacrum:
        cut_below = float(rng.uniform(35.0, 80.0))
    return ScanWindow(top, bottom, cut_above, cut_below, sacrum)


def draw_treatment(
    family: Family,
    patient: PatientSettings,
    window: ScanWindow,
    rng: np.random.Generator,
) -> PatientSettings:
    """Put in screws and cement."""
    names = [p.name for p in patient.levels]
    inner = names[max(window.top + 1, 2) : window.bottom + 1] or names[window.top :]
    screw_chance = {Family.INSTRUMENTED: 1.0, Family.COLLAPSED: 0.3, Family.CHEST: 0.2}
    cement_chance = {Family.AUGMENTED: 1.0, Family.INSTRUMENTED: 0.5}
    screws: list[ScrewPlan] = []
    if rng.random() < screw_chance.get(family, 0.35):
        count = min(int(rng.integers(2, 5)), len(inner))
        first = int(rng.integers(0, len(inner) - count + 1))
        cemented = rng.random() < 0.6
        cannulated = bool(cemented and rng.random() < 0.5)
        for name in inner[first : first + count]:
            thoracic = name[0] == "T" and name not in ("T12", "T13")
            diameter = float(
                rng.choice([4.5, 5.0] if thoracic else [5.5, 6.0, 6.5, 7.0])
            )
            shaft = float(rng.choice([35.0, 40.0] if thoracic else [40.0, 45.0, 50.0]))
            screws += [
                ScrewPlan(
                    name,
                    side,
                    diameter,
                    shaft * min(1.0, patient.size.posterior + 0.05),
                    cannulated,
                    float(rng.uniform(0.8, 2.2)) if cemented else 0.0,
                )
                for side in Side
            ]
    used = {s.level for s in screws}
    cements: list[CementPlan] = []
    if rng.random() < cement_chance.get(family, 0.25):
        free = [n for n in inner if n not in used]
        broken = [p.name for p in patient.levels if p.collapse and p.name in free]
        count = min(int(rng.integers(1, 4)), len(free))
        chosen = broken + [str(n) for n in rng.permutation(free) if n not in broken]
        for name in chosen[:count]:
            size = patient.size
            volume = 28.0 * size.left * size.posterior * size.superior
            both = rng.random() < 0.5
            total = float(rng.uniform(1.0, min(6.0, 0.2 * volume)))
            for sign in (-1.0, 1.0) if both else (float(rng.choice([-1.0, 1.0])),):
                x = sign * float(rng.uniform(2.0, 10.0))
                centre = (x, float(rng.uniform(-8, -2)), float(rng.uniform(-3, 3)))
                part = 0.5 if both else 1.0
                cements.append(CementPlan(name, part * total, centre, 4.0))
    leaks: list[LeakPlan] = []
    cemented_levels = sorted(
        {s.level for s in screws if s.cement_ml > 0} | {c.level for c in cements}
    )
    if cemented_levels and rng.random() < 0.5:
        kind = LeakType.SEGMENTAL if rng.random() < 0.5 else LeakType.BASIVERTEBRAL
        level = str(rng.choice(cemented_levels))
        side = Side.LEFT if rng.random() < 0.5 else Side.RIGHT
        leaks.append(LeakPlan(level, kind, side, float(rng.uniform(0.1, 0.4))))
    barium = rng.random() < 0.7
    share = float(rng.uniform(0.1, 0.3))
    return replace(
        patient,
        screws=tuple(screws),
        vertebroplasties=tuple(cements),
        leaks=tuple(leaks),
        metal=Substance.TITANIUM if rng.random() < 0.75 else Substance.COBALT_CHROME,
        barium_sulfate_fraction=share if barium else 0.0,
        zirconia_fraction=0.0 if barium else share,
    )


def draw_quality(rng: np.random.Generator) -> BoneQuality:
    """Draw how thick the cortex of wall, endplates and arch is."""
    return BoneQuality(
        float(rng.uniform(0.35, 0.75)),
        float(rng.uniform(0.5, 1.1)),
        float(rng.uniform(0.8, 1.4)),
    )
