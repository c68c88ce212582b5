"""The sample patient: its files, its manifest and its truth."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from cemscope.findings import LeakType
from cemscope.testing.sample_patient import (
    GENERATOR_VERSION,
    LOOSENED,
    LUCENCY_MM,
    SAMPLE_SEED,
    TRUTH_LEVELS,
    sample_settings,
    sample_studies,
)

LIMIT_BYTES = 25_000_000


def test_plan_is_the_operation_of_the_seed_study() -> None:
    settings = sample_settings(loosened=False)
    assert {s.level for s in settings.screws} == {"L3", "L4", "L5"}
    assert len(settings.screws) == 6
    assert all(1.0 <= s.cement_ml <= 2.0 and not s.cannulated for s in settings.screws)
    assert settings.rods
    assert {p.level for p in settings.vertebroplasties} == {"L2"}
    assert 3.0 <= sum(p.volume_ml for p in settings.vertebroplasties) <= 4.0
    types = {leak.leak_type for leak in settings.leaks}
    assert types == {LeakType.BASIVERTEBRAL, LeakType.SEGMENTAL}
    assert all(0.15 <= leak.volume_ml <= 0.4 for leak in settings.leaks)


def test_only_one_screw_differs_at_follow_up() -> None:
    before, after = (sample_settings(loosened=flag) for flag in (False, True))
    changed = [b for a, b in zip(before.screws, after.screws, strict=True) if a != b]
    assert [(s.level, s.side) for s in changed] == [LOOSENED]
    assert changed[0].lucency_mm == LUCENCY_MM
    baseline, followup = sample_studies()
    assert baseline.scan.pose != followup.scan.pose
    assert baseline.scan.scanner.seed != followup.scan.scanner.seed
    assert followup.scan.scanner.slice_increment_mm <= 1.0
    assert baseline.identity.patient_id == followup.identity.patient_id
    assert baseline.identity.study_instance_uid != followup.identity.study_instance_uid


@pytest.fixture(scope="module")
def manifest(sample_dicom: Path) -> dict[str, Any]:
    path = sample_dicom / "manifest.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


@pytest.mark.sample
def test_files_are_the_manifest_s(sample_dicom: Path, manifest: dict[str, Any]) -> None:
    assert manifest["seed"] == SAMPLE_SEED
    assert manifest["generator_version"] == GENERATOR_VERSION
    listed = {
        n: h for scan in manifest["scans"].values() for n, h in scan["files"].items()
    }
    found = {
        p.relative_to(sample_dicom).as_posix() for p in sample_dicom.rglob("*.dcm")
    }
    assert found == set(listed)
    size = 0
    for name, digest in listed.items():
        content = (sample_dicom / name).read_bytes()
        size += len(content)
        assert hashlib.sha256(content).hexdigest() == digest, name
    assert size <= LIMIT_BYTES


@pytest.mark.sample
def test_truth_adds_up(manifest: dict[str, Any]) -> None:
    assert list(manifest["scans"]) == [s.folder for s in sample_studies()]
    truths = [scan["truth"] for scan in manifest["scans"].values()]
    for study, flag in zip(truths, (False, True), strict=True):
        settings = sample_settings(loosened=flag)
        vertebrae = {v["level"]: v for v in study["vertebrae"]}
        assert tuple(vertebrae) == TRUTH_LEVELS
        for vertebra in vertebrae.values():
            parts = vertebra["intrabody_ml"] + vertebra["leaked_ml"]
            assert vertebra["volume_ml"] == pytest.approx(parts, abs=1e-4)
            leaks = sum(leak["volume_ml"] for leak in vertebra["leaks"])
            assert leaks == pytest.approx(vertebra["leaked_ml"], abs=0.005)
            assert vertebra["intrabody_ml"] < 0.3 * vertebra["body_volume_ml"]
        total = sum(v["volume_ml"] for v in vertebrae.values())
        assert study["totals"]["cement_ml"] == pytest.approx(total, abs=1e-3)
        assert vertebrae["L1"]["volume_ml"] == 0.0
        for level in ("L3", "L5"):
            injected = sum(s.cement_ml for s in settings.screws if s.level == level)
            assert vertebrae[level]["volume_ml"] == pytest.approx(injected, rel=0.01)
        for screw in study["screws"]:
            head, tip = np.array(screw["head_lps_mm"]), np.array(screw["tip_lps_mm"])
            length = float(np.linalg.norm(tip - head))
            assert screw["length_mm"] == pytest.approx(length, abs=0.03)
            assert (tip - head) / length == pytest.approx(screw["axis"], abs=2e-3)
            left = screw["side"] == "left"
            body = vertebrae[screw["level"]]["centroid_lps_mm"]
            assert (head[0] > body[0]) == left
    baseline, followup = truths
    assert [v["volume_ml"] for v in baseline["vertebrae"]] == [
        v["volume_ml"] for v in followup["vertebrae"]
    ]
    assert not any(s["loosened"] for s in baseline["screws"])
    loose = [s for s in followup["screws"] if s["loosened"]]
    assert [(s["level"], s["side"]) for s in loose] == [
        (LOOSENED[0], LOOSENED[1].value)
    ]


@pytest.mark.sample
@pytest.mark.parametrize("folder", ["baseline", "followup"])
def test_pixels_agree_with_the_truth(
    sample_dicom: Path, manifest: dict[str, Any], folder: str
) -> None:
    scan = manifest["scans"][folder]
    study = scan["truth"]
    by_height = {}
    for name in scan["files"]:
        header = pydicom.dcmread(sample_dicom / name, stop_before_pixels=True)
        assert header.PatientName == "CEMSCOPE^SAMPLE"
        assert header.StudyInstanceUID == scan["study_instance_uid"]
        by_height[float(header.ImagePositionPatient[2])] = sample_dicom / name
    heights = np.array(sorted(by_height))
    assert np.diff(heights) == pytest.approx(1.0)

    def hu_at(
        point: np.ndarray[Any, Any], half_mm: float = 1.0
    ) -> np.ndarray[Any, Any]:
        slice_ = pydicom.dcmread(
            by_height[heights[np.abs(heights - point[2]).argmin()]]
        )
        hu = slice_.pixel_array.astype(int) + int(slice_.RescaleIntercept)
        spacing = float(slice_.PixelSpacing[0])
        origin = np.array(slice_.ImagePositionPatient[:2], float)
        column, row = np.rint((point[:2] - origin) / spacing).astype(int)
        reach = max(round(half_mm / spacing), 1)
        return hu[row - reach : row + reach + 1, column - reach : column + reach + 1]

    for screw in study["screws"]:
        head, tip = np.array(screw["head_lps_mm"]), np.array(screw["tip_lps_mm"])
        assert hu_at(0.5 * (head + tip)).max() == 3071
    for vertebra in study["vertebrae"]:
        for leak in vertebra["leaks"]:
            assert hu_at(np.array(leak["centroid_lps_mm"]), 2.5).max() > 1000
    untreated = next(v for v in study["vertebrae"] if v["level"] == "L1")
    marrow = hu_at(np.array(untreated["centroid_lps_mm"]), 5.0)
    assert 20.0 < marrow.mean() < 130.0
