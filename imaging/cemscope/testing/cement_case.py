"""Random cement scans: patient, treatment and scan drawn from one seed.

Seeds 0 to 99 are for tuning, 100 and above only for testing. The last digit of a seed
chooses the family (see `CementFamily`), for traps the digit before it the kind of trap;
all else is random.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cemscope.testing.cement_draw import (
    CementFamily,
    draw_implants,
    draw_traps,
    family_of,
)
from cemscope.testing.quick_scanner import QuickScan
from cemscope.testing.scalar_field import Pose
from cemscope.testing.scanner_settings import Kernel
from cemscope.testing.spine_draw import Family, Transition, draw_levels, draw_quality
from cemscope.testing.spine_patient import PatientSettings
from cemscope.testing.spine_posture import Collapse, LevelPlan, PersonSize, stand

FloatArray = npt.NDArray[np.float64]

LARGEST_SCAN_VOXELS = 8_000_000
"""Scans are drawn smaller than this, so that one is made and measured in half a
minute."""

SPINE_DEPTH_MM = 24.0
"""Middle of the field of view behind the middle of the bodies: rods have to fit in."""

NOISE_HU = {Kernel.SOFT: 11.0, Kernel.STANDARD: 18.0, Kernel.BONE: 40.0}
"""Usual standard deviation at 1 mm slices, by kernel."""

VOLTAGE_NOISE = {80: 1.5, 100: 1.2, 120: 1.0, 140: 0.9}
"""Noise relative to 120 kVp."""


@dataclass(frozen=True, slots=True)
class CementCase:
    """A patient and a scan.

    Attributes
    ----------
    seed : int
        It was drawn from.
    family : CementFamily
        Kind of case.
    targets : tuple of str
        Levels that the scan holds as a whole, from the head to the feet.
    patient : PatientSettings
        Who.
    scan : QuickScan
        How.
    """

    seed: int
    family: CementFamily
    targets: tuple[str, ...]
    patient: PatientSettings
    scan: QuickScan

    @property
    def notes(self) -> str:
        """One line for people."""
        patient, scan = self.patient, self.scan
        screws = sorted({s.level for s in patient.screws})
        barium, zirconia = patient.barium_sulfate_fraction, patient.zirconia_fraction
        opacifier = f"BaSO4 {barium:.0%}" if barium else f"ZrO2 {zirconia:.0%}"
        kinds = "cannulated " if any(s.cannulated for s in patient.screws) else ""
        parts = [
            f"{self.family.value}: {' '.join(self.targets)}",
            f"pixel {scan.pixel_mm:.2f}, slice {scan.slice_thickness_mm:.2f}/"
            f"{scan.slice_increment_mm:.2f} mm, {scan.kernel.value}, {scan.kvp} kVp, "
            f"noise {scan.noise_hu:.0f} HU, ceiling {scan.ceiling_hu}",
            f"{kinds}screws {' '.join(screws)} {patient.metal.value}"
            f"{'' if patient.rods else ', no rods'}"
            if screws
            else "no screws",
            opacifier,
            "leaks " + " ".join(f"{k.level}:{k.leak_type}" for k in patient.leaks)
            if patient.leaks
            else "",
            "tracks " + " ".join(t.level for t in patient.tracks)
            if patient.tracks
            else "",
            "islands " + " ".join(i.level for i in patient.islands)
            if patient.islands
            else "",
            f"contrast {patient.contrast_hu:.0f} HU" if patient.contrast_hu else "",
            "oblique grid" if scan.patient_axes else "",
            "head first" if scan.head_first else "",
        ]
        return "; ".join(p for p in parts if p)


def draw_cement_case(seed: int) -> CementCase:
    """Draw a patient and a scan; the same seed gives the same case."""
    rng = np.random.default_rng([seed, 40])
    family = family_of(seed)
    # The scan holds T10 or lower.
    patient, chosen = draw_person(rng, 1000 + seed, 4, breakable=not family.metal)
    targets = tuple(patient.levels[k].name for k in chosen)
    patient = draw_implants(family, patient, targets, rng)
    patient = draw_traps(family, seed, patient, targets, rng)
    scan = draw_scan(patient, chosen, rng, seed, thick=family.thick)
    return CementCase(seed, family, targets, patient, scan)


def draw_person(
    rng: np.random.Generator, seed: int, highest: int, *, breakable: bool
) -> tuple[PatientSettings, range]:
    """Draw a patient without implants, and which levels are scanned.

    Parameters
    ----------
    rng
        Of all but the texture.
    seed
        Of texture and cement.
    highest
        Index of the highest level that may be scanned.
    breakable
        Whether one of the scanned bodies may be broken.
    """
    size = PersonSize(*(float(rng.uniform(0.84, 1.1)) for _ in range(3)))
    common = 0.5 * (size.left + size.posterior)
    size = PersonSize(
        0.5 * (size.left + common), 0.5 * (size.posterior + common), size.superior
    )
    x, y, z = (float(np.clip(t, -10.0, 10.0)) for t in rng.normal(0.0, 3.5, 3))
    pose = Pose((x, y, z), (0.0, 0.0, float(rng.uniform(-20, 20))))
    levels = draw_levels(Family.LUMBAR, Transition.NONE, float(rng.normal(0, 4)), rng)
    levels = tuple(replace(p, collapse=None) for p in levels)
    count = int(rng.integers(2, 4))
    first = int(rng.integers(highest, len(levels) - count + 1))
    chosen = range(first, first + count)
    if breakable and rng.random() < 0.45:
        levels = _broken(levels, int(rng.choice(chosen)), rng)
    marrow_hu = float(rng.uniform(40.0, 180.0))
    patient = PatientSettings(
        levels,
        size,
        pose,
        draw_quality(rng),
        trabecular_share=(marrow_hu + 20.0) / 1640.0,
        trabecular_spread=float(rng.uniform(0.008, 0.025)),
        cortex_share=float(rng.uniform(0.65, 0.95)),
        plaques=int(rng.integers(0, 6)),
        seed=seed,
    )
    return patient, chosen


def _broken(
    levels: tuple[LevelPlan, ...], index: int, rng: np.random.Generator
) -> tuple[LevelPlan, ...]:
    """Break one body: what vertebroplasty is for."""
    kind = str(rng.choice(["wedge", "biconcave"]))
    loss = float(rng.uniform(0.2, 0.45))
    collapse = Collapse(kind, loss, float(rng.uniform(1.0, 1.8)))
    changed = replace(levels[index], collapse=collapse)
    return (*levels[:index], changed, *levels[index + 1 :])


def draw_scan(
    patient: PatientSettings,
    chosen: range,
    rng: np.random.Generator,
    seed: int,
    *,
    thick: bool,
    deep: bool = False,
) -> QuickScan:
    """Draw a scan of some levels.

    Parameters
    ----------
    patient
        With its screws, which need room behind.
    chosen
        Indices of the levels that it holds as a whole.
    rng, seed
        Of the scan, and of its noise.
    thick
        Whether slices are thicker than 1.5 mm.
    deep
        Whether there is something far behind without screws.
    """
    deep = deep or bool(patient.screws)
    spine = stand(patient.levels, patient.size)
    pose = patient.pose
    seen = [spine.vertebrae[k] for k in chosen]
    ends = [v.upper_endplate_mm for v in seen] + [v.lower_endplate_mm for v in seen]
    heights = pose.to_table(np.array(ends))[:, 2]
    # Rods stand out 7 mm, and arches hang down from their bodies.
    low_z = float(heights.min() - rng.uniform(14.0, 20.0))
    high_z = float(heights.max() + rng.uniform(10.0, 16.0))
    thickness = float(
        rng.choice([2.0, 2.5, 2.5] if thick else [0.6, 0.75, 1.0, 1.0, 1.25, 1.5])
    )
    increment = round(thickness * (0.75 if rng.random() < 0.25 else 1.0), 3)
    wide = (125.0, 160.0) if deep else (105.0, 140.0)
    field = float(rng.uniform(*wide)) * max(
        patient.size.left, patient.size.posterior, 0.95
    )
    pixel = float(rng.uniform(0.3, 0.75))
    slices = int((high_z - low_z) / increment) + 1
    pixel = max(pixel, float(np.sqrt(field**2 * slices / LARGEST_SCAN_VOXELS)))
    centres = pose.to_table(np.array([v.frame.origin_lps_mm for v in seen]))[:, :2]
    middle = 0.5 * (centres.min(axis=0) + centres.max(axis=0))
    depth = SPINE_DEPTH_MM if deep else 0.5 * SPINE_DEPTH_MM
    middle += np.array([0.0, depth * patient.size.posterior])
    middle += rng.uniform(-5, 5, 2)
    n = int(field / pixel)
    x, y = (float(v) for v in middle - 0.5 * (n - 1) * pixel)
    kernel = list(Kernel)[int(rng.choice(3, p=[0.35, 0.35, 0.3]))]
    kvp = int(rng.choice([80, 100, 120, 120, 120, 140]))
    if kvp == 80 and patient.screws:  # nobody scans metal with so soft a beam
        kvp = 100
    dose = float(rng.uniform(0.7, 1.6))  # of the noise, relative
    return QuickScan(
        pixel_mm=pixel,
        rows=n,
        columns=n,
        slice_increment_mm=increment,
        slice_thickness_mm=thickness,
        slices=slices,
        first_mm=(x, y, low_z),
        pose=pose,
        patient_axes=bool(rng.random() < 0.25),
        head_first=bool(rng.random() < 0.3),
        kvp=kvp,
        kernel=kernel,
        blur_fwhm_mm=float(rng.uniform(0.7, 1.1)),
        aperture_mm=0.5,
        noise_hu=NOISE_HU[kernel] * dose * VOLTAGE_NOISE[kvp] / thickness**0.5,
        photons=4.0e5 / dose**2,
        scatter_fraction=float(rng.uniform(0.005, 0.025)),
        ceiling_hu=30710 if rng.random() < 0.3 else 3071,
        seed=seed,
    )
