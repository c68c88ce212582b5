"""Random scans of leaking vertebrae: patient, leaks and scan drawn from one seed.

Seeds 0 to 99 are for tuning, 100 and above only for testing. The seed modulo twelve
chooses the family (see `leak_draw.LeakFamily`), for traps the turn after that the kind
of trap; all else is random.
"""

from dataclasses import dataclass, replace

import numpy as np

from cemscope.testing.beam_table import Substance
from cemscope.testing.cement_case import draw_person, draw_scan
from cemscope.testing.leak_draw import (
    LeakDraft,
    LeakFamily,
    draw_leaking,
    leak_family_of,
)
from cemscope.testing.leak_route import RoutePlan
from cemscope.testing.leak_shape import AbutPlan
from cemscope.testing.quick_scanner import QuickScan
from cemscope.testing.scanner_settings import Kernel
from cemscope.testing.spine_patient import PatientSettings

HIGHEST_LEVEL = 3
"""Index of T9: the highest vertebra that is scanned as a whole."""

THICK_SHARE = 0.25
"""Scans with slices of 2 to 2.5 mm."""


@dataclass(frozen=True, slots=True)
class LeakCase:
    """A patient with leaks, and a scan.

    Attributes
    ----------
    seed : int
        It was drawn from.
    family : LeakFamily
        Kind of case.
    targets : tuple of str
        Levels that the scan holds as a whole, from the head to the feet.
    patient : PatientSettings
        Who, without the leaks.
    scan : QuickScan
        How.
    routes : tuple of RoutePlan
        The leaks.
    abutting : tuple of AbutPlan
        Cement that only touches the cortex.
    epidural_contrast_hu : float
        Enhancement of the epidural veins; 0 for none.
    """

    seed: int
    family: LeakFamily
    targets: tuple[str, ...]
    patient: PatientSettings
    scan: QuickScan
    routes: tuple[RoutePlan, ...] = ()
    abutting: tuple[AbutPlan, ...] = ()
    epidural_contrast_hu: float = 0.0

    @property
    def notes(self) -> str:
        """One line for people."""
        patient, scan = self.patient, self.scan
        screws = sorted({s.level for s in patient.screws})
        broken = [p for p in patient.levels if p.collapse and p.name in self.targets]
        barium, zirconia = patient.barium_sulfate_fraction, patient.zirconia_fraction
        parts = [
            f"{self.family.value}: {' '.join(self.targets)}",
            "leaks "
            + ", ".join(
                f"{r.level} {r.leak_type.value} {r.side.value} {r.volume_ml:.2f} mL "
                f"({r.end.value})"
                for r in self.routes
            )
            if self.routes
            else "no leak",
            "abutting " + " ".join(a.level for a in self.abutting)
            if self.abutting
            else "",
            " ".join(f"{p.name} {p.collapse.kind}" for p in broken if p.collapse),
            f"pixel {scan.pixel_mm:.2f}, slice {scan.slice_thickness_mm:.2f}/"
            f"{scan.slice_increment_mm:.2f} mm, {scan.kernel.value}, {scan.kvp} kVp, "
            f"noise {scan.noise_hu:.0f} HU, ceiling {scan.ceiling_hu}",
            f"screws {' '.join(screws)} {patient.metal.value}" if screws else "",
            f"BaSO4 {barium:.0%}" if barium else f"ZrO2 {zirconia:.0%}",
            f"contrast {patient.contrast_hu:.0f} HU" if patient.contrast_hu else "",
            f"epidural veins {self.epidural_contrast_hu:.0f} HU"
            if self.epidural_contrast_hu
            else "",
            "oblique grid" if scan.patient_axes else "",
            "head first" if scan.head_first else "",
        ]
        return "; ".join(p for p in parts if p)


def draw_leak_case(seed: int) -> LeakCase:
    """Draw a patient and a scan; the same seed gives the same case."""
    rng = np.random.default_rng([seed, 60])
    family = leak_family_of(seed)
    patient, chosen = draw_person(
        rng, 5000 + seed, HIGHEST_LEVEL, breakable=not family.metal
    )
    targets = tuple(patient.levels[k].name for k in chosen)
    drawn = draw_leaking(LeakDraft(family, seed, patient, targets), rng)
    thick = bool(rng.random() < THICK_SHARE)
    scan = draw_scan(drawn.patient, chosen, rng, seed, thick=thick, deep=drawn.deep)
    if drawn.patient.metal is Substance.COBALT_CHROME and drawn.patient.screws:
        # A softer beam fills every plane with streaks; our choice, on tuning scenes.
        scan = replace(scan, kvp=max(scan.kvp, 120))
    if family is LeakFamily.STREAKS and scan.kernel is Kernel.SOFT:
        scan = replace(scan, kernel=Kernel.STANDARD)
    return LeakCase(
        seed,
        family,
        targets,
        drawn.patient,
        scan,
        drawn.routes,
        drawn.abutting,
        drawn.epidural_contrast_hu,
    )
