"""Random pairs of scans of one patient, with what changed in between.

Seeds 0 to 99 are for tuning, 100 and above only for testing. The last digit of a seed
chooses the kind of change (`KINDS`); pose, posture, kernel, slices and voltage are
drawn for each scan.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from scipy.spatial.transform import Rotation

from cemscope.findings import Side
from cemscope.testing.cement_case import draw_person, draw_scan
from cemscope.testing.cement_draw import CementFamily
from cemscope.testing.halo_patient import ScrewHalo
from cemscope.testing.lumbar_cement import CementPlan
from cemscope.testing.lumbar_implants import ScrewPlan
from cemscope.testing.quick_scanner import QuickScan
from cemscope.testing.scalar_field import Pose
from cemscope.testing.spine_patient import PatientSettings
from cemscope.testing.spine_posture import Collapse, LevelPlan

MOST_TURN_DEG, MOST_SHIFT_MM = 15.0, 30.0
"""Difference of the poses on the table."""


class ChangeKind(StrEnum):
    """What happened between the scans."""

    NONE = "none"
    COLLAPSE = "collapse"
    SCREW_MOVED = "screw_moved"
    CEMENT_MOVED = "cement_moved"
    HALO_GROWN = "halo_grown"


KINDS = (
    ChangeKind.NONE,
    ChangeKind.COLLAPSE,
    ChangeKind.SCREW_MOVED,
    ChangeKind.CEMENT_MOVED,
    ChangeKind.HALO_GROWN,
)


@dataclass(frozen=True, slots=True)
class ScrewChange:
    """Movement of a screw about the centre of its head.

    Attributes
    ----------
    level, side
        Which.
    tilt_deg, convergence_deg : float
        Rotation upwards, and to the midline.
    along_mm : float
        Deeper; negative backs out.
    """

    level: str
    side: Side
    tilt_deg: float = 0.0
    convergence_deg: float = 0.0
    along_mm: float = 0.0


@dataclass(frozen=True, slots=True)
class CementChange:
    """Movement of a level's cement: (left, posterior, superior) in its vertebra."""

    level: str
    shift_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class FollowupCase:
    """A patient, two scans, and what changed.

    Attributes
    ----------
    seed : int
        It was drawn from.
    kind : ChangeKind
        Kind of change.
    targets : tuple of str
        Levels that both scans hold as a whole.
    baseline, followup : PatientSettings
        The patient at both times; screws and cement are planned for the baseline.
    scans : tuple of QuickScan
        How, at both times.
    screws : tuple of ScrewChange
        Screws that moved.
    cement : tuple of CementChange
        Cement that moved.
    halos : tuple of tuple of ScrewHalo
        Gaps around screws, at both times.
    """

    seed: int
    kind: ChangeKind
    targets: tuple[str, ...]
    baseline: PatientSettings
    followup: PatientSettings
    scans: tuple[QuickScan, QuickScan]
    screws: tuple[ScrewChange, ...] = ()
    cement: tuple[CementChange, ...] = ()
    halos: tuple[tuple[ScrewHalo, ...], tuple[ScrewHalo, ...]] = ((), ())

    @property
    def family(self) -> CementFamily:
        """Kind of case, as `cement_scene.make_cement_scene` asks for it."""
        return CementFamily.SCREWS

    @property
    def notes(self) -> str:
        """One line for people."""
        words = [
            f"{scan.kernel.value} {scan.kvp} kVp "
            f"{scan.slice_thickness_mm:.2f}/{scan.slice_increment_mm:.2f} mm"
            for scan in self.scans
        ]
        return f"{self.kind.value}: {' '.join(self.targets)}; {' -> '.join(words)}"


def draw_followup_case(seed: int) -> FollowupCase:
    """Draw a pair of scans; the same seed gives the same pair."""
    rng = np.random.default_rng([seed, 83])
    kind = KINDS[seed % len(KINDS)]
    person, chosen = draw_person(rng, 5000 + seed, 5, breakable=False)
    # Random deformations depend on the grid: both scans must see one bone.
    levels = tuple(
        replace(p, shape_noise_mm=0.0, osteophyte_mm=0.0) for p in person.levels
    )
    names = [levels[k].name for k in chosen]
    held = names[: int(rng.integers(1, 3))]
    screws = tuple(
        ScrewPlan(
            name,
            side,
            diameter_mm=float(rng.choice([5.5, 6.0, 6.5])),
            shaft_mm=40.0 if name < "L" else 45.0,
            cement_ml=float(rng.uniform(0.8, 1.8)) if _cemented(kind, rng) else 0.0,
        )
        for name in held
        for side in Side
    )
    free = names[-1] if names[-1] not in held else None
    clouds = []
    if free is not None and kind is not ChangeKind.COLLAPSE:
        place = (float(rng.uniform(-6, 6)), float(rng.uniform(-6, 2)), 0.0)
        clouds.append(CementPlan(free, float(rng.uniform(1.5, 3.0)), place, 5.0))
    baseline = replace(
        person,
        levels=levels,
        screws=screws,
        vertebroplasties=tuple(clouds),
        rods=len(held) > 1,
        barium_sulfate_fraction=float(rng.uniform(0.1, 0.25)),
    )
    later = replace(
        baseline, levels=_bent(levels, rng), pose=_other_pose(baseline.pose, rng)
    )
    if kind is ChangeKind.COLLAPSE:
        # A body without implants, else the first one.
        broken = free if free is not None else names[-1]
        later = replace(later, levels=_broken(later.levels, broken, rng))
    scans = (
        _scan(baseline, chosen, rng, seed, thick=False),
        _scan(later, chosen, rng, 1000 + seed, thick=rng.random() < 0.2),
    )
    case = FollowupCase(seed, kind, tuple(names), baseline, later, scans)
    if kind is ChangeKind.SCREW_MOVED:
        return replace(case, screws=(_moved(screws, rng),))
    if kind is ChangeKind.CEMENT_MOVED and (clouds or screws[0].cement_ml > 0.0):
        level = clouds[0].level if clouds else screws[0].level
        return replace(case, cement=(_shifted(level, rng),))
    if kind is ChangeKind.HALO_GROWN:
        return replace(case, halos=_halos(screws, rng))
    return case


def _cemented(kind: ChangeKind, rng: np.random.Generator) -> bool:
    draw = rng.random()
    if kind in (ChangeKind.SCREW_MOVED, ChangeKind.HALO_GROWN):
        return False  # cement holds its screw
    return bool(draw < (0.9 if kind is ChangeKind.CEMENT_MOVED else 0.5))


def _scan(
    patient: PatientSettings,
    chosen: range,
    rng: np.random.Generator,
    seed: int,
    *,
    thick: bool,
) -> QuickScan:
    scan = draw_scan(patient, chosen, rng, seed, thick=thick)
    # Room for a turned patient: slices above and below, and the table's own axes.
    more = round(8.0 / scan.slice_increment_mm)
    x, y, z = scan.first_mm
    return replace(
        scan,
        patient_axes=False,
        slices=scan.slices + 2 * more,
        first_mm=(x, y, z - more * scan.slice_increment_mm),
    )


def _bent(
    levels: tuple[LevelPlan, ...], rng: np.random.Generator
) -> tuple[LevelPlan, ...]:
    """Another posture: every joint a little different."""
    return tuple(
        replace(
            p,
            flexion_deg=p.flexion_deg + float(rng.normal(0.0, 1.0)),
            bending_deg=p.bending_deg + float(rng.normal(0.0, 0.7)),
            turn_deg=p.turn_deg + float(rng.normal(0.0, 0.5)),
        )
        for p in levels
    )


def _other_pose(pose: Pose, rng: np.random.Generator) -> Pose:
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = float(rng.uniform(3.0, MOST_TURN_DEG))
    turn = Rotation.from_rotvec(np.radians(angle) * axis)
    both = turn * Rotation.from_rotvec(pose.rotation_deg, degrees=True)
    way = rng.normal(size=3)
    way *= float(rng.uniform(5.0, MOST_SHIFT_MM)) / np.linalg.norm(way)
    x, y, z = (float(v) for v in both.as_rotvec(degrees=True))
    dx, dy, dz = (float(v) for v in np.add(pose.shift_mm, way))
    return Pose((x, y, z), (dx, dy, dz), pose.centre_mm)


def _broken(
    levels: tuple[LevelPlan, ...], name: str, rng: np.random.Generator
) -> tuple[LevelPlan, ...]:
    kind = str(rng.choice(["wedge", "biconcave", "crush"]))
    collapse = Collapse(
        kind, float(rng.uniform(0.25, 0.5)), float(rng.uniform(1.0, 1.8))
    )
    return tuple(replace(p, collapse=collapse) if p.name == name else p for p in levels)


def _moved(screws: tuple[ScrewPlan, ...], rng: np.random.Generator) -> ScrewChange:
    one = screws[int(rng.integers(len(screws)))]
    sign = float(rng.choice([-1.0, 1.0]))
    if rng.random() < 0.5:
        return ScrewChange(one.level, one.side, tilt_deg=4.0 * sign)
    return ScrewChange(one.level, one.side, tilt_deg=sign, along_mm=-2.0)


def _shifted(level: str, rng: np.random.Generator) -> CementChange:
    way = rng.normal(size=3)
    way *= float(rng.uniform(1.5, 4.0)) / np.linalg.norm(way)
    x, y, z = (float(v) for v in way)
    return CementChange(level, (x, y, z))


def _halos(
    screws: tuple[ScrewPlan, ...], rng: np.random.Generator
) -> tuple[tuple[ScrewHalo, ...], tuple[ScrewHalo, ...]]:
    """Draw a gap around a screw that is new, or wider than before."""
    one = screws[int(rng.integers(len(screws)))]
    rim = float(rng.uniform(0.15, 0.4)) if rng.random() < 0.6 else 0.0
    after = float(rng.choice([1.5, 2.0, 3.0]))
    before = float(rng.choice([0.0, 0.0, 1.0]))
    halo = ScrewHalo(one.level, one.side, after, rim)
    first = (replace(halo, width_mm=before),) if before > 0.0 else ()
    return first, (halo,)
