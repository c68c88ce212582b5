"""The validators of others, run on what cemscope writes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

INSTALL = "run scripts/install_dicom_validators.sh"
_PIXELMED = Path("/usr/share/java/pixelmed.jar")


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - the validators' own names
        [str(word) for word in words],
        capture_output=True,
        text=True,
        check=False,
        errors="replace",
    )


def _require(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: {INSTALL}")
    return found


def dciodvfy_errors(path: Path) -> list[str]:
    """Lines that begin with Error; the exit code of dciodvfy tells too little."""
    tool = _require("dciodvfy")
    result = run(tool, "-new", path)
    lines = (result.stdout + result.stderr).splitlines()
    assert any(line.strip() for line in lines), "dciodvfy said nothing"
    return [line for line in lines if line.startswith("Error")]


def sr_tree(path: Path) -> str:
    """What dsrdump prints."""
    result = run(_require("dsrdump"), "-Ec", path)
    assert result.returncode == 0, result.stderr
    return result.stdout


def pixelmed_lines(path: Path) -> list[str]:
    """What PixelMed's validator of SR templates says."""
    java = _require("java")
    if not _PIXELMED.exists():
        pytest.skip(f"PixelMed is not installed: {INSTALL}")
    limits = ("TotalOpLimit", "ExprOpLimit", "ExprGrpLimit")
    result = run(
        java, "-Xmx2g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        *(f"-Djdk.xml.xpath{name}=0" for name in limits), "-cp", "/usr/share/java/*",
        "com.pixelmed.validate.DicomSRValidator", path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return (result.stdout + result.stderr).splitlines()


def dcmqi_segments(path: Path, folder: Path) -> dict[str, sitk.Image]:
    """Segments as dcmqi reads them: label -> mask of the slices that hold any."""
    folder.mkdir()
    tool = _require_dcmqi("segimage2itkimage")
    result = run(tool, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nifti")
    assert result.returncode == 0, result.stdout + result.stderr
    meta = json.loads((folder / "meta.json").read_text())
    files = sorted(folder.glob("*.nii.gz"))
    found = {}
    for one in (item for group in meta["segmentAttributes"] for item in group):
        # A file per segment from BINARY, one file with all numbers from LABELMAP.
        number = one["labelID"]
        file = files[0] if len(files) == 1 else folder / f"{number}.nii.gz"
        image = sitk.ReadImage(str(file))
        found[one["SegmentLabel"]] = image == number if len(files) == 1 else image > 0
    return found


def dcmqi_report(path: Path, folder: Path) -> dict[str, object]:
    """Report as dcmqi reads it."""
    target = folder / "sr.json"
    tool = _require_dcmqi("tid1500reader")
    result = run(tool, "--inputDICOM", path, "--outputMetadata", target)
    assert result.returncode == 0, result.stdout + result.stderr
    found: dict[str, object] = json.loads(target.read_text())
    return found


def _require_dcmqi(name: str) -> str:
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return str(beside)
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: pip install dcmqi")
    return found
