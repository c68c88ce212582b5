"""A finished simulated scan with its truth, and its files.

    scene = make_scene(draw_case(7))
    write_scene(scene, Path("scenes/s007"))

Files (the NIfTI ones need SimpleITK): ``ct.nii.gz``, ``bodies_arches.nii.gz`` (VerSe
numbers, arches + 100), ``truth.json``.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cemscope.geometry import VoxelGeometry
from cemscope.testing.quick_scanner import quick_scan
from cemscope.testing.spine_case import SpineCase
from cemscope.testing.spine_patient import lay_patient
from cemscope.testing.spine_truth import SpineTruth, label_map, spine_truth
from cemscope.volume import CTVolume, LabelMap

CT_FILE, LABEL_FILE, TRUTH_FILE = "ct.nii.gz", "bodies_arches.nii.gz", "truth.json"


@dataclass(frozen=True, slots=True, eq=False)
class SpineScene:
    """A scan and all that is known about it.

    Attributes
    ----------
    case : SpineCase
        How it was made.
    ct : CTVolume
        The scan.
    labels : LabelMap
        Bodies and arches on the scan's grid.
    truth : SpineTruth
        Names, volumes, positions.
    """

    case: SpineCase
    ct: CTVolume
    labels: LabelMap
    truth: SpineTruth


def make_scene(case: SpineCase) -> SpineScene:
    """Build and scan a patient."""
    scan = case.scan
    low = scan.first_mm[2]
    high = low + scan.slice_increment_mm * (scan.slices - 1)
    patient = lay_patient(case.patient, (low, high))
    ct = quick_scan(patient, scan)
    return SpineScene(case, ct, label_map(patient, scan), spine_truth(patient, scan))


def truth_record(scene: SpineScene) -> dict[str, Any]:
    """Content of ``truth.json``."""
    case = scene.case
    record = asdict(scene.truth)
    record["seed"] = case.seed
    record["family"] = case.family.value
    record["transitional"] = case.transition.value
    record["notes"] = case.notes
    record["scan"] = {
        name: str(value) for name, value in asdict(case.scan).items() if name != "pose"
    }
    return record


def write_scene(scene: SpineScene, folder: Path) -> None:
    """Write a scene; needs SimpleITK."""
    folder.mkdir(parents=True, exist_ok=True)
    write_nifti(scene.ct.hu, scene.ct.geometry, folder / CT_FILE)
    write_nifti(scene.labels.labels, scene.labels.geometry, folder / LABEL_FILE)
    text = json.dumps(truth_record(scene), indent=1) + "\n"
    (folder / TRUTH_FILE).write_text(text, encoding="utf-8")


def write_nifti(
    array: npt.NDArray[np.generic], geometry: VoxelGeometry, path: Path
) -> None:
    """Write an array on a grid; needs SimpleITK."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_mm[::-1])  # type: ignore[no-untyped-call]
    image.SetOrigin(geometry.origin_lps_mm.tolist())  # type: ignore[no-untyped-call]
    # Columns of the direction are the axes x, y, z of the image: ours, reversed.
    direction = geometry.directions_lps[::-1].T.ravel().tolist()
    image.SetDirection(direction)  # type: ignore[no-untyped-call]
    sitk.WriteImage(image, str(path), True)


def read_nifti(path: Path) -> tuple[npt.NDArray[Any], VoxelGeometry]:
    """Read what `write_nifti` wrote; needs SimpleITK."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    direction = image.GetDirection()  # type: ignore[no-untyped-call]
    spacing = image.GetSpacing()  # type: ignore[no-untyped-call]
    steps = np.array(direction).reshape(3, 3) * spacing
    affine = np.eye(4)
    affine[:3, :3] = steps[:, ::-1]
    affine[:3, 3] = image.GetOrigin()  # type: ignore[no-untyped-call]
    array = sitk.GetArrayFromImage(image)
    return array, VoxelGeometry(array.shape, affine)
