import importlib.util
import os
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from cases.nifti_files import with_label_table
from cases.vertebra_labels import Row
from cemscope.anatomy_schemes import LabelScheme
from cemscope.errors import ConfigError, NoVertebraFoundError, SegmentationError
from cemscope.spine import VertebraSource
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines.cli.status import ExitStatus, status_of
from cemscope_pipelines.label_files import write_label_map
from cemscope_pipelines.totalsegmentator import (
    TotalSegmentatorSettings,
    run_totalsegmentator,
    totalsegmentator_versions,
)
from cemscope_pipelines.vertebra_source import SourceSettings, load_vertebrae

ROW = Row()
SCHEME = LabelScheme.TOTALSEGMENTATOR


@pytest.fixture(scope="module")
def ct() -> CTVolume:
    scan: CTVolume = ROW.ct(ROW.grid((2.5, 2.0, 2.0)))
    return scan


@pytest.fixture(autouse=True)
def _nothing_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Only what a test puts into ``bin`` can be found."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "home"))
    totalsegmentator_versions.cache_clear()
    yield
    totalsegmentator_versions.cache_clear()


def stand_in(tmp_path: Path, body: str) -> None:
    """A program in TotalSegmentator's place, called as the real one is."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "TotalSegmentator"
    head = f"#!{sys.executable} -SE\nimport sys\n"
    program.write_text(head + dedent(body))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def copies(truth: Path) -> str:
    return f"""
        arguments = sys.argv[1:]
        if arguments == ["--version"]:
            print("2.18.0")
            sys.exit()
        assert arguments[0] == "-i" and arguments[2] == "-o", arguments
        assert arguments[4:8] == ["--ml", "--device", "gpu", "--roi_subset"], arguments
        assert "vertebrae_L3" in arguments and "liver" not in arguments
        assert open(arguments[1], "rb").read(2) == bytes([0x1F, 0x8B])
        print("Predicting...")
        open(arguments[3], "wb").write(open({str(truth)!r}, "rb").read())
    """


def test_package_that_is_not_installed(ct: CTVolume) -> None:
    with pytest.raises(ConfigError, match="pip install") as refusal:
        load_vertebrae(ct, "totalsegmentator")
    assert "\n" not in str(refusal.value)
    assert status_of(refusal.value) == ExitStatus.USAGE
    assert totalsegmentator_versions()["TotalSegmentator"] == "not installed"


@pytest.mark.parametrize("named", [False, True])
def test_map_in_the_format_of_the_program(
    ct: CTVolume, tmp_path: Path, named: bool
) -> None:
    truth = tmp_path / "truth.nii.gz"
    write_label_map(ROW.labels(ct.geometry, SCHEME), truth)
    if named:
        with_label_table(
            truth,
            {n: f"vertebrae_{level.name}" for n, level in SCHEME.levels.items()}
            | {25: "sacrum", 1: "spleen"},
        )
    stand_in(tmp_path, copies(truth))
    spine = load_vertebrae(ct, "totalsegmentator")
    assert [v.level.name for v in spine.vertebrae] == ["L4", "L3", "L2"]
    assert {v.source for v in spine.vertebrae} == {VertebraSource.TOTALSEGMENTATOR}
    assert spine.notices == ()


def test_versions_of_package_and_model_are_told(tmp_path: Path) -> None:
    stand_in(tmp_path, copies(tmp_path / "none"))
    weights = tmp_path / "home" / "nnunet" / "results"
    model = "Dataset292_TotalSegmentator_part2_vertebrae_1532subj"
    for name in (model, "Dataset298_TotalSegmentator_total_6mm_1559subj"):
        (weights / name).mkdir(parents=True)
    found = totalsegmentator_versions()
    assert found["TotalSegmentator"] == "2.18.0"
    assert found["TotalSegmentator model"] == model


@dataclass(frozen=True)
class Failure:
    name: str
    body: str
    message: str
    error: type[SegmentationError] = SegmentationError


FAILURES = (
    Failure("exit", "sys.exit('broken here')", r"exit status 1: broken here$"),
    Failure("silent exit", "sys.exit(3)", r"exit status 3: no message$"),
    Failure("nothing written", "pass", "without an output file"),
    Failure(
        "no connection",
        "print('Downloading model for Task 292 ...')\n"
        "raise RuntimeError('requests.exceptions.ConnectionError: HTTPSConnectionPool:"
        " Max retries exceeded')",
        "could not fetch its weights .*first run needs a connection",
    ),
    Failure(
        "licence",
        "print('  It requires a license. See the website.')\nsys.exit(1)",
        "asks for a licence",
    ),
    Failure("killed", "import os\nos.kill(os.getpid(), 9)", "signal 9.*out of memory"),
    Failure(
        "garbage",
        "open(sys.argv[4], 'wb').write(b'no image at all')",
        "output of TotalSegmentator cannot be read",
    ),
)


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case.name)
def test_failure_is_one_clear_line(ct: CTVolume, tmp_path: Path, case: Failure) -> None:
    stand_in(tmp_path, case.body)
    with pytest.raises(case.error, match=case.message) as failure:
        run_totalsegmentator(ct)
    assert "\n" not in str(failure.value)
    assert status_of(failure.value) == ExitStatus.FAILED


def test_empty_map_means_no_vertebra(ct: CTVolume, tmp_path: Path) -> None:
    truth = tmp_path / "truth.nii.gz"
    array = np.zeros(ct.geometry.shape, dtype=np.uint8)
    write_label_map(LabelMap(array, ct.geometry), truth)
    stand_in(tmp_path, copies(truth))
    with pytest.raises(NoVertebraFoundError, match="found no vertebra"):
        load_vertebrae(ct, "totalsegmentator")


def test_output_is_checked_as_any_import(ct: CTVolume, tmp_path: Path) -> None:
    labels = ROW.labels(ct.geometry, SCHEME)
    beside = LabelMap(np.roll(labels.labels, 18, axis=2), ct.geometry)
    truth = tmp_path / "truth.nii.gz"
    write_label_map(beside, truth)
    stand_in(tmp_path, copies(truth))
    with pytest.raises(SegmentationError, match=r"do not lie on bone.* mm away"):
        load_vertebrae(ct, "totalsegmentator")


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_program_that_hangs_is_stopped_with_its_workers(
    ct: CTVolume, tmp_path: Path
) -> None:
    stand_in(
        tmp_path,
        f"""
        import subprocess, time
        sleep = "import time; time.sleep(99)"
        worker = subprocess.Popen([sys.executable, "-SEc", sleep])
        open({str(tmp_path / "worker")!r}, "w").write(str(worker.pid))
        time.sleep(99)
        """,
    )
    settings = SourceSettings(totalsegmentator=TotalSegmentatorSettings(timeout_s=4.0))
    start = time.monotonic()
    with pytest.raises(SegmentationError, match="stopped after 4 s"):
        load_vertebrae(ct, "totalsegmentator", settings=settings)
    assert time.monotonic() - start < 60
    worker = tmp_path / "worker"
    if worker.exists():  # on a busy machine it may not have come so far
        pid = int(worker.read_text() or 0)
        # A killed process may need a moment to be gone.
        while _is_running(pid) and time.monotonic() - start < 60:
            time.sleep(0.1)
        assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    if not Path("/proc").is_dir() or pid == 0:
        return False
    return state.exists() and state.read_text().split(")")[1].split()[0] != "Z"
