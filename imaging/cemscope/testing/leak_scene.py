"""A finished scan of leaking vertebrae with its truth, and its files.

    scene = make_leak_scene(draw_leak_case(7))
    write_leak_scene(scene, Path("scenes/l007"))
    known = read_leak_scene(Path("scenes/l007"))

Files: those of `cement_scene`, ``leaks.nii.gz`` (leaked cement under the number of the
leak), ``canal.nii.gz``; ``truth.json`` has ``leaks`` (`leak_truth.LeakTruth`) besides.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cemscope.spine import Spine
from cemscope.testing.cement_scene import (
    CementScene,
    Scanner,
    make_cement_scene,
    read_cement_scene,
    write_cement_scene,
)
from cemscope.testing.leak_canal import TrueCanal
from cemscope.testing.leak_case import LeakCase
from cemscope.testing.leak_shape import LeakyPatient, lay_leaks
from cemscope.testing.leak_truth import LeakMasks, leak_truth
from cemscope.testing.quick_scanner import quick_scan
from cemscope.testing.spine_patient import SpinePatient, lay_patient
from cemscope.testing.spine_scene import read_nifti, write_nifti
from cemscope.testing.tissue_layers import Tissue, TissueLayer, tube_fields
from cemscope.volume import CTVolume, LabelMap, Mask

LEAK_FILE, CANAL_FILE = "leaks.nii.gz", "canal.nii.gz"

VEIN_RADIUS_MM = (1.3, 2.2)
"""Radius of the longitudinal epidural veins, filled [our choice]."""

VEIN_TURN_DEG = 48.0
"""Where they run: this far from the middle of the canal's front."""

MUSCLE_SCALE_HU = 1044.0
"""One unit of soft tissue, above air; as for the great vessels."""


@dataclass(frozen=True, slots=True, eq=False)
class LeakScene:
    """A scan and all that is known about it.

    Attributes
    ----------
    scan : CementScene
        CT, bones, cement, metal, and the truth with ``leaks``.
    masks : LeakMasks
        Leaks and canal on its grid.
    """

    scan: CementScene
    masks: LeakMasks

    @property
    def name(self) -> str:
        """For people."""
        return self.scan.name

    @property
    def ct(self) -> CTVolume:
        """The scan."""
        return self.scan.ct

    @property
    def truth(self) -> dict[str, Any]:
        """Content of ``truth.json``."""
        return self.scan.truth

    def spine(self) -> Spine:
        """Give the true outlines of the vertebrae in view, lowest first."""
        return self.scan.spine()


def make_leak_scene(
    case: LeakCase, leaky: LeakyPatient | None = None, scanner: Scanner = quick_scan
) -> LeakScene:
    """Scan and measure a patient, who is built where not given."""
    if leaky is None:
        leaky = lay_leaky_patient(case)
    scene = make_cement_scene(case, leaky.patient, scanner)
    truths, masks = leak_truth(leaky, case.scan)
    record = scene.truth | {
        "leaks": [asdict(t) for t in truths],
        "epidural_contrast_hu": case.epidural_contrast_hu,
        "abutting": [a.level for a in case.abutting],
    }
    # Tuples become lists, as in the file.
    record = json.loads(json.dumps(record))
    return LeakScene(replace(scene, name=f"l{case.seed:03d}", truth=record), masks)


def lay_leaky_patient(case: LeakCase) -> LeakyPatient:
    """Build the patient of a case with its leaks."""
    scan = case.scan
    low = scan.first_mm[2]
    reach = low, low + scan.slice_increment_mm * (scan.slices - 1)
    leaky = lay_leaks(lay_patient(case.patient, reach), case.routes, case.abutting)
    if case.epidural_contrast_hu <= 0:
        return leaky
    veins = _epidural_veins(leaky.canal, case, reach)
    patient: SpinePatient = replace(
        leaky.patient, layers=(*leaky.patient.layers, *veins)
    )
    return replace(leaky, patient=patient)


def _epidural_veins(
    canal: TrueCanal, case: LeakCase, reach_z_mm: tuple[float, float]
) -> Iterator[TissueLayer]:
    """Longitudinal veins in front of the dura, filled with contrast medium."""
    rng = np.random.default_rng([case.seed, 61])
    blood = Tissue(muscle=1.0 + case.epidural_contrast_hu / MUSCLE_SCALE_HU)
    top = canal.low_mm + len(canal.centres_mm) - 1.0
    heights = np.arange(canal.low_mm, top, 6.0)
    for sign in (1.0, -1.0):
        line, radii = [], []
        for height in heights:
            turn = VEIN_TURN_DEG + rng.normal(0.0, 6.0)
            angle = 1.5 * np.pi + sign * np.radians(turn)
            radius = float(rng.uniform(*VEIN_RADIUS_MM))
            reach = canal.radius_mm(angle, float(height)) - radius - 0.3
            way = np.array([np.cos(angle), np.sin(angle), 0.0])
            line.append(canal.centre_mm(float(height)) + reach * way)
            radii.append(radius)
        for field in tube_fields(np.array(line), radii, reach_z_mm):
            yield TissueLayer(field, blood)


def write_leak_scene(scene: LeakScene, folder: Path) -> None:
    """Write a scene; needs SimpleITK."""
    write_cement_scene(scene.scan, folder)
    write_nifti(scene.masks.leaks.labels, scene.ct.geometry, folder / LEAK_FILE)
    canal = scene.masks.canal.voxels.astype(np.uint8)
    write_nifti(canal, scene.ct.geometry, folder / CANAL_FILE)


def read_leak_scene(folder: Path) -> LeakScene:
    """Read a scene; needs SimpleITK."""
    scene = read_cement_scene(folder)
    leaks, canal = (
        read_nifti(folder / name)[0].astype(np.uint8)
        for name in (LEAK_FILE, CANAL_FILE)
    )
    names = {
        leak["number"]: f"leak {leak['number']} of {leak['level']}"
        for leak in scene.truth["leaks"]
    }
    geometry = scene.ct.geometry
    masks = LeakMasks(LabelMap(leaks, geometry, names), Mask(canal > 0, geometry))
    return LeakScene(scene, masks)
