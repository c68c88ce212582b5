"""The sample patient: two simulated postoperative CT studies with known truth.

L3-L4-L5 fixation with solid titanium screws, rods and cement, L2 vertebroplasty, a
leak through the basivertebral foramen (type B) and one along a segmental vein (type
S). One CT one day after surgery, one six months later, when a screw has loosened.
"""

import hashlib
import json
import logging
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cemscope.findings import LeakType, Side
from cemscope.testing.dicom_writer import (
    PixelEncoding,
    SeriesIdentity,
    WriteOptions,
    write_series,
)
from cemscope.testing.lumbar_anatomy import LumbarAnatomy, build_anatomy
from cemscope.testing.lumbar_cement import CementPlan, LeakPlan
from cemscope.testing.lumbar_implants import ScrewPlan
from cemscope.testing.lumbar_scan import ScanPlan, scan_scene
from cemscope.testing.lumbar_scene import LumbarScene, SceneSettings, build_scene
from cemscope.testing.lumbar_truth import scene_truth
from cemscope.testing.scalar_field import Pose
from cemscope.testing.scanner_settings import ScannerSettings

_logger = logging.getLogger(__name__)

GENERATOR_VERSION = 1
"""Raised whenever the files change."""

SAMPLE_SEED = 20260
"""Of bone texture and cement shapes; the noise of the studies counts from here."""

SURGERY_DATE = "20250310"
"""The baseline CT is made on the next day."""

LOOSENED = ("L5", Side.LEFT)
"""The screw that is loose in the follow-up."""

LUCENCY_MM = 1.5
"""Width of the gap round it."""

MANIFEST_FILE = "manifest.json"
"""Truth and checksums beside the studies."""

TRUTH_LEVELS: tuple[str, ...] = ("L1", "L2", "L3", "L4", "L5")
"""Vertebrae whose whole body is in view."""

_LIBRARIES = ("numpy", "scipy", "spekpy", "xraydb", "pydicom", "pyjpegls")


@dataclass(frozen=True, slots=True)
class SampleStudy:
    """One study of the sample patient.

    Attributes
    ----------
    folder : str
        Where its slices lie.
    date : str
        YYYYMMDD.
    loosened : bool
        Whether the loosened screw is loose.
    scan : ScanPlan
        Scanner and pose.
    """

    folder: str
    date: str
    loosened: bool
    scan: ScanPlan

    @property
    def identity(self) -> SeriesIdentity:
        """DICOM identity of the series."""
        return SeriesIdentity(
            patient_name="CEMSCOPE^SAMPLE",
            patient_id="CEMSCOPE-SAMPLE",
            patient_birth_date="19520417",
            patient_sex="F",
            study_date=self.date,
            study_time="093000",
            study_key=f"{self.folder}-{GENERATOR_VERSION}",
            series_key="spine-1mm",
            study_description="CT lumbar spine, simulated",
            series_description="Lumbar spine 1.0 mm, simulated",
            body_part="LSPINE",
        )


def sample_studies() -> tuple[SampleStudy, ...]:
    """Baseline and follow-up."""
    scanner = ScannerSettings(
        centre_xy_mm=(0.0, 20.0),
        views=600,
        photons=5.0e5,
        scatter_fraction=0.015,
        seed=SAMPLE_SEED,
    )
    baseline = ScanPlan(scanner, first_z_mm=-124.0, slices=212)
    pose = Pose(rotation_deg=(1.8, -1.2, 2.2), shift_mm=(3.5, -2.5, 4.3))
    followup = ScanPlan(
        replace(scanner, seed=SAMPLE_SEED + 1), first_z_mm=-120.0, slices=212, pose=pose
    )
    return (
        SampleStudy("baseline", "20250311", False, baseline),
        SampleStudy("followup", "20250910", True, followup),
    )


def sample_settings(*, loosened: bool) -> SceneSettings:
    """Return the patient, before or after a screw has loosened."""
    injected_ml = (
        ("L3", Side.LEFT, 1.6),
        ("L3", Side.RIGHT, 1.3),
        ("L4", Side.LEFT, 1.8),
        ("L4", Side.RIGHT, 1.5),
        ("L5", Side.LEFT, 1.4),
        ("L5", Side.RIGHT, 1.7),
    )
    screws = tuple(
        ScrewPlan(
            level,
            side,
            diameter_mm=6.0 if level == "L3" else 6.5,
            cement_ml=cement_ml,
            lucency_mm=LUCENCY_MM if loosened and (level, side) == LOOSENED else 0.0,
        )
        for level, side, cement_ml in injected_ml
    )
    return SceneSettings(
        seed=SAMPLE_SEED,
        screws=screws,
        vertebroplasties=(
            CementPlan("L2", 1.9, (8.0, -5.0, 0.0)),
            CementPlan("L2", 1.5, (-8.0, -6.0, 1.0)),
        ),
        leaks=(
            LeakPlan("L4", LeakType.BASIVERTEBRAL, Side.LEFT, 0.25, height=0.55),
            LeakPlan("L2", LeakType.SEGMENTAL, Side.RIGHT, 0.22, height=0.5),
        ),
    )


def sample_scene(
    *, loosened: bool, anatomy: LumbarAnatomy | None = None
) -> LumbarScene:
    """Build the patient's scene."""
    return build_scene(sample_settings(loosened=loosened), anatomy)


def generate_sample(
    folder: Path, progress: Callable[[str, int, int], None] | None = None
) -> Path:
    """Write both studies and the manifest.

    The same version on the same libraries gives the same bytes; it takes about a
    quarter of an hour on one core.

    Parameters
    ----------
    folder
        Gets ``baseline/``, ``followup/`` and ``manifest.json``.
    progress
        Called with the study's name, finished slices and all slices.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ConfigError
        If the extra ``simulation`` is missing.
    """
    anatomy = build_anatomy(sample_settings(loosened=False).anatomy)
    scans = {}
    for study in sample_studies():
        scene = sample_scene(loosened=study.loosened, anatomy=anatomy)

        def report(done: int, total: int, name: str = study.folder) -> None:
            if progress is not None:
                progress(name, done, total)

        ct = scan_scene(scene, study.scan, report)
        options = WriteOptions(
            encoding=PixelEncoding.JPEG_LS_LOSSLESS,
            rescale_intercept=float(study.scan.scanner.floor_hu),
            bits_stored=12,
        )
        paths = write_series(ct, folder / study.folder, study.identity, options)
        scans[study.folder] = _scan_record(study, scene, folder, paths)
        _logger.info("wrote %d slices to %s", len(paths), study.folder)
    return _write_manifest(folder, scans)


def _write_manifest(folder: Path, scans: dict[str, dict[str, Any]]) -> Path:
    manifest = {
        "about": "Simulated patient of cemscope; see README.md. Volumes in mL, "
        "positions in LPS mm of the respective scan.",
        "generator_version": GENERATOR_VERSION,
        "seed": SAMPLE_SEED,
        "surgery_date": SURGERY_DATE,
        "made_with": {
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
        },
        "scans": scans,
    }
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return path


def _scan_record(
    study: SampleStudy, scene: LumbarScene, folder: Path, paths: tuple[Path, ...]
) -> dict[str, Any]:
    truth = scene_truth(scene, study.scan.pose)
    scanner = asdict(study.scan.scanner)
    vertebrae = [asdict(v) for v in truth.vertebrae if v.level in TRUTH_LEVELS]
    return {
        "date": study.date,
        "study_instance_uid": study.identity.study_instance_uid,
        "series_instance_uid": study.identity.series_instance_uid,
        "scanner": scanner,
        "pose": asdict(study.scan.pose),
        "cement": asdict(scene.settings.cement),
        "truth": {
            "vertebrae": vertebrae,
            "screws": [asdict(s) for s in truth.screws],
            "totals": {
                "cement_ml": round(sum(v["volume_ml"] for v in vertebrae), 4),
                "leaked_ml": round(sum(v["leaked_ml"] for v in vertebrae), 4),
            },
        },
        "files": {
            p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in paths
        },
    }
