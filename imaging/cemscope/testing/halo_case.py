"""Random scans of loose and tight screws: patient, halos and scan from one seed.

Seeds 0 to 99 are for tuning, 100 and above only for testing. Every scene is one
vertebra with a screw on each side; what the screws are like follows from the seed
(`KINDS`), so that forty screws hold every kind as often as it should be; all else is
random. Half of the patients have the screws of a second level and rods, which throw
streaks through the slices.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from cemscope.findings import Side
from cemscope.testing.beam_table import Substance
from cemscope.testing.cement_case import (
    NOISE_HU,
    SPINE_DEPTH_MM,
    VOLTAGE_NOISE,
    draw_person,
)
from cemscope.testing.cement_scene import CementScene, make_cement_scene
from cemscope.testing.halo_patient import HaloPatient, ScrewHalo
from cemscope.testing.lumbar_implants import ScrewPlan
from cemscope.testing.quick_scanner import QuickScan, TissueSource, quick_scan
from cemscope.testing.scanner_settings import Kernel, ScannerSettings
from cemscope.testing.spine_full_scan import full_scan
from cemscope.testing.spine_patient import PatientSettings, lay_patient
from cemscope.testing.spine_posture import stand
from cemscope.volume import CTVolume


class HaloFamily(StrEnum):
    """Whether there is cement around the tips."""

    PLAIN = "plain"
    CEMENTED = "cemented"


KINDS = (
    *(0.0, 1.0, 0.0, 1.5, 0.0, 2.0, 0.0, 1.0, 0.5, 3.0),
    *(0.0, 1.5, 0.0, 1.0, 0.0, 2.0, 0.0, 1.5, 0.0, 1.0),
)
"""Widths of the halos of twenty screws in a row."""

METALS = (Substance.TITANIUM, Substance.COBALT_CHROME, Substance.STEEL)
METAL_ODDS = (0.6, 0.25, 0.15)

VIEWS, BIN_MM = 320, 0.6
"""Projections and detector: near metal 320 views are enough for pixels of 0.4 mm."""

SLICES_AT_ONCE = 80
"""All slices of a scene share the work of a projection."""


@dataclass(frozen=True, slots=True)
class HaloCase:
    """A patient and a scan.

    Attributes
    ----------
    seed : int
        It was drawn from.
    targets : tuple of str
        The level in view.
    patient : PatientSettings
        Who.
    halos : tuple of ScrewHalo
        One per screw of the target, left then right; 0 mm for a tight one.
    scan : QuickScan
        How.
    """

    seed: int
    targets: tuple[str, ...]
    patient: PatientSettings
    halos: tuple[ScrewHalo, ...]
    scan: QuickScan

    @property
    def family(self) -> HaloFamily:
        """Kind of case."""
        cemented = any(
            s.cement_ml > 0 for s in self.patient.screws if s.level in self.targets
        )
        return HaloFamily.CEMENTED if cemented else HaloFamily.PLAIN

    @property
    def notes(self) -> str:
        """One line for people."""
        scan = self.scan
        return (
            f"{self.targets[0]} {self.patient.metal.value}, {scan.kvp} kVp, "
            f"{scan.slice_thickness_mm:.2f}/{scan.slice_increment_mm:.2f} mm, pixel "
            f"{scan.pixel_mm:.2f}, {scan.kernel.value}, ceiling {scan.ceiling_hu}, "
            f"{self.family.value}{', rods' if self.patient.rods else ''}"
        )


def draw_halo_case(seed: int) -> HaloCase:
    """Draw a patient and a scan; the same seed gives the same case."""
    rng = np.random.default_rng([seed, 61])
    patient, chosen = draw_person(rng, 3000 + seed, 5, breakable=False)
    names = [patient.levels[k].name for k in chosen]
    index = int(rng.integers(0, 2))
    target = names[index]
    rods = bool(rng.random() < 0.5)
    metal = METALS[int(rng.choice(3, p=METAL_ODDS))]
    screws: list[ScrewPlan] = []
    halos = []
    for name in names[:2] if rods else [target]:
        diameter = float(rng.choice([5.5, 6.0, 6.5, 7.0]))
        shaft = float(rng.choice([40.0, 45.0, 50.0]))
        shaft *= min(1.0, patient.size.posterior + 0.05)
        cannulated = bool(rng.random() < 0.3)
        for side in Side:
            cement = float(rng.uniform(0.6, 1.8)) if rng.random() < 0.2 else 0.0
            turn = (float(rng.normal(0.0, 3.0)), float(rng.normal(0.0, 5.0)))
            screws.append(
                ScrewPlan(
                    name, side, diameter, shaft, cannulated, cement, turn_deg=turn
                )
            )
            if name == target:
                number = 2 * seed + list(Side).index(side)
                halos.append(_draw_halo(screws[-1], KINDS[number % len(KINDS)], rng))
    barium = float(rng.uniform(0.1, 0.3))
    patient = replace(
        patient,
        screws=tuple(screws),
        rods=rods,
        metal=metal,
        barium_sulfate_fraction=barium,
    )
    scan = _draw_scan(patient, chosen[index], rng, seed)
    return HaloCase(seed, (target,), patient, tuple(halos), scan)


def _draw_halo(
    screw: ScrewPlan, width_mm: float, rng: np.random.Generator
) -> ScrewHalo:
    """Draw the extent of a halo: at least what the definition asks for."""
    arc = float(rng.choice([360.0, 360.0, 360.0, 270.0, 180.0, 135.0]))
    start, end = [(0.0, 1.0), (0.0, 1.0), (0.0, 1.0), (0.45, 1.0), (0.0, 0.55)][
        int(rng.integers(0, 5))
    ]
    if screw.cement_ml > 0.0:  # the tip is held by its cement
        start, end = max(start, 0.35), 1.0
    rim = float(rng.uniform(0.15, 0.4)) if rng.random() < 0.5 else 0.0
    middle = float(rng.uniform(0.0, 360.0))
    return ScrewHalo(screw.level, screw.side, width_mm, rim, arc, middle, start, end)


def _draw_scan(
    patient: PatientSettings, index: int, rng: np.random.Generator, seed: int
) -> QuickScan:
    vertebra = stand(patient.levels, patient.size).vertebrae[index]
    pose = patient.pose
    ends = np.array([vertebra.upper_endplate_mm, vertebra.lower_endplate_mm])
    heights = pose.to_table(ends)[:, 2]
    low_z, high_z = float(heights.min()) - 1.0, float(heights.max()) + 4.0
    thickness = float(rng.choice([0.6, 0.75, 0.8, 1.0, 1.0, 1.0, 1.25, 1.5]))
    increment = round(thickness * (0.75 if rng.random() < 0.25 else 1.0), 3)
    field_mm = float(rng.uniform(105.0, 125.0)) * max(
        patient.size.left, patient.size.posterior, 0.95
    )
    pixel = float(rng.uniform(0.35, 0.75))
    middle = pose.to_table(vertebra.frame.origin_lps_mm)[:2]
    middle = middle + np.array([0.0, SPINE_DEPTH_MM * patient.size.posterior])
    n = int(field_mm / pixel)
    x, y = (float(v) for v in middle - 0.5 * (n - 1) * pixel)
    kernel = list(Kernel)[int(rng.choice(3, p=[0.25, 0.4, 0.35]))]
    kvp = int(rng.choice([80, 100, 120, 120, 120, 140]))
    dose = float(rng.uniform(0.7, 1.6))
    return QuickScan(
        pixel_mm=pixel,
        rows=n,
        columns=n,
        slice_increment_mm=increment,
        slice_thickness_mm=thickness,
        slices=int((high_z - low_z) / increment) + 1,
        first_mm=(x, y, low_z),
        pose=pose,
        head_first=bool(rng.random() < 0.3),
        kvp=kvp,
        kernel=kernel,
        blur_fwhm_mm=float(rng.uniform(0.7, 1.1)),
        noise_hu=NOISE_HU[kernel] * dose * VOLTAGE_NOISE[kvp] / thickness**0.5,
        photons=4.0e5 / dose**2,
        scatter_fraction=float(rng.uniform(0.005, 0.025)),
        ceiling_hu=30710 if rng.random() < 0.4 else 3071,
        seed=seed,
    )


def full_halo_scan(patient: TissueSource, scan: QuickScan) -> CTVolume:
    """Scan by projection; needs the extra ``simulation``."""
    settings = ScannerSettings(
        views=VIEWS,
        bin_mm=BIN_MM,
        subslice_mm=min(0.5, 0.5 * scan.slice_thickness_mm),
    )
    return full_scan(patient, scan, settings, slices_at_once=SLICES_AT_ONCE)


def make_halo_scene(
    case: HaloCase,
    scanner: Callable[[TissueSource, QuickScan], CTVolume] = quick_scan,
) -> CementScene:
    """Scan a case; its ``truth`` has ``halos`` besides.

    Parameters
    ----------
    case
        The patient and the scan.
    scanner
        `quick_scan`, whose streaks come from the polychromatic rays through metal, or
        `full_halo_scan`, three times as slow.
    """
    scan = case.scan
    high_z = scan.first_mm[2] + scan.slice_increment_mm * (scan.slices - 1)
    laid = lay_patient(case.patient, (scan.first_mm[2], high_z))
    placed = {(s.plan.level, s.plan.side) for s in laid.screws}
    halos = tuple(h for h in case.halos if (h.level, h.side) in placed)
    worn = HaloPatient(laid, case.targets[0], halos)

    def scanned(_: object, how: QuickScan) -> CTVolume:
        return scanner(worn, how)

    scene = make_cement_scene(case, laid, scanned)
    scene.truth["halos"] = [
        {
            "level": h.level,
            "side": h.side.value,
            "width_mm": h.width_mm,
            "rim_share": h.rim_share,
            "arc_deg": h.arc_deg,
            "middle_deg": h.middle_deg,
            "from_share": h.from_share,
            "to_share": h.to_share,
            "bone_mm": float(np.linalg.norm(screw.tip_mm - screw.entry_mm)),
        }
        for h in halos
        for screw in laid.screws
        if (screw.plan.level, screw.plan.side) == (h.level, h.side)
    ]
    return scene
