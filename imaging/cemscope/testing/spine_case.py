"""Random spine scans: everything about a patient and a scan drawn from one seed.

Seeds 0 to 99 are for tuning (0 to 29 for daily work); 100 and above only for testing,
so that no threshold is fitted to the scans that judge it. The last digit of a seed
chooses the family (see `Family`), the one before it the variant of a transitional
spine; all else is random.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.testing.quick_scanner import QuickScan
from cemscope.testing.scalar_field import Pose
from cemscope.testing.scanner_settings import Kernel
from cemscope.testing.spine_draw import (
    Family,
    ScanWindow,
    Transition,
    draw_levels,
    draw_quality,
    draw_treatment,
    draw_window,
    transition_of,
)
from cemscope.testing.spine_patient import PatientSettings
from cemscope.testing.spine_posture import (
    PersonSize,
    StandingSpine,
    stand,
)

FloatArray = npt.NDArray[np.float64]

LARGEST_SCAN_VOXELS = 26_000_000
"""Scans are drawn smaller than this; about 600 MiB in all."""

SPINE_DEPTH_MM = 25.0
"""Middle of a spine scan behind the middle of the bodies."""


@dataclass(frozen=True, slots=True)
class SpineCase:
    """A patient and a scan.

    Attributes
    ----------
    seed : int
        It was drawn from.
    family : Family
        Kind of case.
    transition : Transition
        Anatomical variant.
    patient : PatientSettings
        Who.
    scan : QuickScan
        How.
    notes : str
        One line for people.
    """

    seed: int
    family: Family
    transition: Transition
    patient: PatientSettings
    scan: QuickScan
    notes: str


def draw_case(seed: int) -> SpineCase:
    """Draw a patient and a scan; the same seed gives the same case."""
    rng = np.random.default_rng([seed, 20])
    family = list(Family)[seed % 10]
    transition = transition_of(family, seed)
    size = PersonSize(*(float(rng.uniform(0.82, 1.1)) for _ in range(3)))
    common = 0.5 * (size.left + size.posterior)
    size = PersonSize(
        0.5 * (size.left + common), 0.5 * (size.posterior + common), size.superior
    )
    turn = rng.normal(0.0, 3.0, 3) if rng.random() < 0.7 else rng.uniform(-10, 10, 3)
    x, y, z = (float(np.clip(t, -10.0, 10.0)) for t in turn)
    pose = Pose((x, y, z), (0.0, 0.0, float(rng.uniform(-20, 20))))
    side = 1.0 if rng.random() < 0.5 else -1.0
    curved = family is Family.SCOLIOSIS
    cobb = side * float(rng.uniform(12, 25) if curved else abs(rng.normal(0, 4)))
    levels = draw_levels(family, transition, cobb, rng)
    hu = float(rng.uniform(40.0, 180.0))
    patient = PatientSettings(
        levels,
        size,
        pose,
        draw_quality(rng),
        trabecular_share=(hu + 20.0) / 1640.0,
        trabecular_spread=float(rng.uniform(0.008, 0.025)),
        cortex_share=float(rng.uniform(0.65, 0.95)),
        contrast_hu=float(rng.choice([0.0, 0.0, 130.0, 260.0])),
        plaques=int(rng.integers(0, 8)),
        sacralised=transition is Transition.SACRALISED,
        seed=seed,
    )
    window = draw_window(family, levels, rng)
    patient = draw_treatment(family, patient, window, rng)
    scan = _scan(family, patient, window, rng, seed)
    notes = _notes(family, transition, patient, scan, window, cobb, hu)
    return SpineCase(seed, family, transition, patient, scan, notes)


def _scan(
    family: Family,
    patient: PatientSettings,
    window: ScanWindow,
    rng: np.random.Generator,
    seed: int,
) -> QuickScan:
    spine = stand(patient.levels, patient.size)
    pose = patient.pose
    centres = _table_centres(spine, pose)
    top, bottom = centres[window.top], centres[window.bottom]
    low_z = float(bottom[2]) - window.below_mm * patient.size.superior
    high_z = float(top[2]) + window.above_mm * patient.size.superior
    wide = family is Family.ABDOMEN or (
        family in (Family.CHEST, Family.THORACOLUMBAR, Family.TRANSITIONAL)
        and rng.random() < 0.6
    )
    if wide:
        field, pixel = float(rng.uniform(330, 400)), float(rng.uniform(0.68, 0.9))
        thickness = float(rng.choice([1.0, 1.25, 1.5, 2.0, 3.0]))
    else:
        least = 120.0 if family is Family.SMALL_FIELD else 140.0
        field, pixel = float(rng.uniform(least, 200)), float(rng.uniform(0.3, 0.7))
        thickness = float(rng.choice([0.6, 0.8, 1.0, 1.0, 1.25, 2.0]))
    overlap = 0.75 if rng.random() < 0.25 else 1.0
    increment = round(thickness * overlap, 3)
    while field**2 * (high_z - low_z) / (pixel**2 * increment) > LARGEST_SCAN_VOXELS:
        if pixel < 0.6 or (pixel < 0.85 and thickness >= 1.0):
            pixel *= 1.05
        else:
            increment, thickness = increment * 1.1, thickness * 1.1
    seen = centres[window.top : window.bottom + 1]
    middle = 0.5 * (seen[:, :2].min(axis=0) + seen[:, :2].max(axis=0))
    offset = np.array([0.0, -45.0 if wide else SPINE_DEPTH_MM])
    offset += rng.uniform(-12, 12, 2) if not wide else rng.uniform(-20, 20, 2)
    middle = middle + offset * np.array([1.0, patient.size.posterior])
    n = int(field / pixel)
    x, y = (float(v) for v in middle - 0.5 * (n - 1) * pixel)
    sharp = rng.random() < 0.35
    kernel = (
        Kernel.BONE if sharp else Kernel(str(rng.choice(["SIM-soft", "SIM-standard"])))
    )
    noise = {Kernel.SOFT: 11.0, Kernel.STANDARD: 18.0, Kernel.BONE: 40.0}[kernel]
    noise *= float(rng.uniform(0.7, 1.6)) / np.sqrt(max(thickness, 0.7))
    return QuickScan(
        pixel_mm=pixel,
        rows=n,
        columns=n,
        slice_increment_mm=increment,
        slice_thickness_mm=thickness,
        slices=int((high_z - low_z) / increment) + 1,
        first_mm=(x, y, low_z),
        pose=pose,
        patient_axes=bool(rng.random() < 0.3),
        head_first=bool(rng.random() < 0.3),
        kvp=int(rng.choice([100, 120, 120, 120, 140])),
        kernel=kernel,
        blur_fwhm_mm=float(rng.uniform(0.75, 1.1)),
        noise_hu=float(noise),
        photons=float(rng.uniform(3.0e5, 9.0e5)),
        scatter_fraction=float(rng.uniform(0.005, 0.025)),
        ceiling_hu=30000 if rng.random() < 0.12 else 3071,
        seed=seed,
    )


def _table_centres(spine: StandingSpine, pose: Pose) -> FloatArray:
    return pose.to_table(np.array([v.frame.origin_lps_mm for v in spine.vertebrae]))


def _notes(
    family: Family,
    transition: Transition,
    patient: PatientSettings,
    scan: QuickScan,
    window: ScanWindow,
    cobb_deg: float,
    marrow_hu: float,
) -> str:
    names = [p.name for p in patient.levels]
    broken = [
        f"{p.name} {p.collapse.kind} {100 * p.collapse.loss:.0f} %"
        for p in patient.levels
        if p.collapse
    ]
    screws = sorted({s.level for s in patient.screws})
    cement = sorted({c.level for c in patient.vertebroplasties})
    span = f"{names[window.top]}-{names[window.bottom]}"
    parts = [
        f"{family.value}{', ' + transition.value if transition else ''}",
        f"{span}{' + sacrum' if window.sacrum else ''}",
        f"field {scan.columns * scan.pixel_mm:.0f} mm, pixel {scan.pixel_mm:.2f}, "
        f"slice {scan.slice_thickness_mm:.2f}/{scan.slice_increment_mm:.2f} mm, "
        f"{scan.kernel.value}, {scan.kvp} kVp, noise {scan.noise_hu:.0f} HU",
        f"marrow {marrow_hu:.0f} HU, curve {cobb_deg:.0f} deg",
        f"screws {' '.join(screws)} {patient.metal.value}" if screws else "no screws",
        f"cement {' '.join(cement)}" if cement else "",
        "; ".join(broken),
        "oblique grid" if scan.patient_axes else "",
        "head first" if scan.head_first else "",
    ]
    return "; ".join(p for p in parts if p)
