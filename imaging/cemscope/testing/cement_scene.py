"""A finished cement scan with its truth, and its files.

    scene = make_cement_scene(draw_cement_case(7))
    write_cement_scene(scene, Path("scenes/c007"))
    known = read_cement_scene(Path("scenes/c007"))

Files (the NIfTI ones need SimpleITK): ``ct.nii.gz``, ``bodies_arches.nii.gz`` (VerSe
numbers, arches + 100), ``cement.nii.gz`` (cement under the number of its vertebra),
``metal.nii.gz``, ``truth.json``.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cemscope.anatomy import VertebraLevel
from cemscope.spine import Spine, Vertebra, VertebraFrame, VertebraSource
from cemscope.testing.cement_truth import cement_truth
from cemscope.testing.quick_scanner import QuickScan, quick_scan
from cemscope.testing.spine_patient import (
    PatientSettings,
    SpinePatient,
    lay_patient,
)
from cemscope.testing.spine_scene import read_nifti, write_nifti
from cemscope.testing.spine_truth import label_map
from cemscope.volume import Acquisition, CTVolume, LabelMap, Mask

CT_FILE, LABEL_FILE, TRUTH_FILE = "ct.nii.gz", "bodies_arches.nii.gz", "truth.json"
CEMENT_FILE, METAL_FILE = "cement.nii.gz", "metal.nii.gz"


@dataclass(frozen=True, slots=True, eq=False)
class CementScene:
    """A scan and all that is known about it.

    Attributes
    ----------
    name : str
        For people.
    ct : CTVolume
        The scan.
    labels : LabelMap
        Bodies and arches on its grid.
    cement : LabelMap
        Cement under the number of the vertebra that owns it.
    metal : Mask
        Implants.
    truth : dict
        The rest, as in ``truth.json``: ``vertebrae`` (`cement_truth.LevelTruth`),
        ``screws`` (`lumbar_truth.ScrewTruth`), ``family``, ``notes``, ``scan``.
    """

    name: str
    ct: CTVolume
    labels: LabelMap
    cement: LabelMap
    metal: Mask
    truth: dict[str, Any]

    def spine(self) -> Spine:
        """Give the true outlines of the vertebrae in view, lowest first."""
        numbers = set(np.unique(self.labels.labels).tolist())
        vertebrae = []
        for known in reversed(self.truth["vertebrae"]):
            level = VertebraLevel(known["level"])
            if level.number not in numbers:
                continue
            frame = VertebraFrame(
                np.array(known["centroid_lps_mm"]),
                *_orthogonal(known["left"], known["posterior"], known["superior"]),
            )
            vertebrae.append(
                Vertebra(
                    level,
                    1.0,
                    VertebraSource.IMPORTED,
                    known["whole_in_view"],
                    frame,
                    known["body_volume_ml"],
                )
            )
        return Spine(self.labels, tuple(vertebrae))


Scanner = Callable[[SpinePatient, QuickScan], CTVolume]
"""`quick_scanner.quick_scan`, or `spine_full_scan.full_scan`."""


class ScannedCase(Protocol):
    """A case that can be made: `cement_case.CementCase` or `leak_case.LeakCase`."""

    @property
    def seed(self) -> int:
        """It was drawn from."""
        ...

    @property
    def family(self) -> StrEnum:
        """Kind of case."""
        ...

    @property
    def targets(self) -> tuple[str, ...]:
        """Levels that the scan holds as a whole."""
        ...

    @property
    def patient(self) -> PatientSettings:
        """Who."""
        ...

    @property
    def scan(self) -> QuickScan:
        """How."""
        ...

    @property
    def notes(self) -> str:
        """One line for people."""
        ...


def make_cement_scene(
    case: ScannedCase,
    patient: SpinePatient | None = None,
    scanner: Scanner = quick_scan,
) -> CementScene:
    """Scan a patient; it is built where it is not given."""
    scan = case.scan
    if patient is None:
        low = scan.first_mm[2]
        high = low + scan.slice_increment_mm * (scan.slices - 1)
        patient = lay_patient(case.patient, (low, high))
    ct = scanner(patient, scan)
    truth, masks = cement_truth(patient, scan)
    record = asdict(truth)
    record |= {
        "seed": case.seed,
        "family": case.family.value,
        "targets": list(case.targets),
        "notes": case.notes,
        "kvp": scan.kvp,
        "kernel": scan.kernel.value,
        "slice_thickness_mm": scan.slice_thickness_mm,
        "ceiling_hu": scan.ceiling_hu,
        "metal": case.patient.metal.value if patient.screws else "",
        "barium_sulfate_fraction": case.patient.barium_sulfate_fraction,
        "zirconia_fraction": case.patient.zirconia_fraction,
    }
    return CementScene(
        f"c{case.seed:03d}",
        ct,
        label_map(patient, scan),
        masks.owner,
        masks.metal,
        record,
    )


def write_cement_scene(scene: CementScene, folder: Path) -> None:
    """Write a scene; needs SimpleITK."""
    folder.mkdir(parents=True, exist_ok=True)
    for array, name in (
        (scene.ct.hu, CT_FILE),
        (scene.labels.labels, LABEL_FILE),
        (scene.cement.labels, CEMENT_FILE),
        (scene.metal.voxels.astype(np.uint8), METAL_FILE),
    ):
        write_nifti(array, scene.ct.geometry, folder / name)
    text = json.dumps(scene.truth, indent=1) + "\n"
    (folder / TRUTH_FILE).write_text(text, encoding="utf-8")


def read_cement_scene(folder: Path) -> CementScene:
    """Read a scene; needs SimpleITK."""
    truth = json.loads((folder / TRUTH_FILE).read_text(encoding="utf-8"))
    hu, geometry = read_nifti(folder / CT_FILE)
    labels, cement, metal = (
        read_nifti(folder / name)[0].astype(np.uint8)
        for name in (LABEL_FILE, CEMENT_FILE, METAL_FILE)
    )
    names: dict[int, str] = {}
    for known in truth["vertebrae"]:
        level = VertebraLevel(known["level"])
        names |= {level.number: level.name, level.arch_number: f"{level.name} arch"}
    ceiling = int(truth["ceiling_hu"])
    acquisition = Acquisition(
        kvp=float(truth["kvp"]),
        kernel=truth["kernel"],
        slice_thickness_mm=truth["slice_thickness_mm"],
        manufacturer="cemscope simulation",
    )
    return CementScene(
        folder.name,
        CTVolume(
            hu.astype(np.int16),
            geometry,
            acquisition=acquisition,
            clipped_at_hu=ceiling if (hu >= ceiling).any() else None,
        ),
        LabelMap(labels, geometry, names),
        LabelMap(cement, geometry, names),
        Mask(metal > 0, geometry),
        truth,
    )


def _orthogonal(
    left: list[float], posterior: list[float], superior: list[float]
) -> tuple[npt.NDArray[np.float64], ...]:
    """Repair the rounding of stored axes."""
    u, _, v = np.linalg.svd(np.array([left, posterior, superior], float))
    axes = u @ v
    return axes[0], axes[1], axes[2]
