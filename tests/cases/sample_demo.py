"""``cemscope demo`` on the sample patient, made once for all tests of a run."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

WAIT_S = 900.0


@dataclass(frozen=True)
class SampleDemo:
    """What the demo left.

    Attributes
    ----------
    case : Path
        Case folder; copy it before you change it.
    output : str
        What the command printed.
    """

    case: Path
    output: str


def sample_demo_of(factory: pytest.TempPathFactory, sample: Path) -> SampleDemo:
    """Run the demo, or wait for the process of this test run that does."""
    base = factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    made, mine = shared / "sample-demo", shared / "sample-demo.lock"
    try:
        mine.mkdir()
    except FileExistsError:
        end = time.monotonic() + WAIT_S
        while not made.is_dir() and time.monotonic() < end:
            time.sleep(0.5)
    else:
        part = shared / "sample-demo.part"
        part.mkdir()
        words = ["demo", "--sample", str(sample), "--out", str(part / "case")]
        ended = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "cemscope_pipelines", *words],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        (part / "output.txt").write_text(ended.stdout, encoding="utf-8")
        (part / "status.txt").write_text(f"{ended.returncode}\n{ended.stderr}")
        part.rename(made)
    assert made.is_dir(), "another process began the demo and did not end"
    status = (made / "status.txt").read_text().split("\n", 1)
    assert status[0] == "0", status
    return SampleDemo(made / "case", (made / "output.txt").read_text("utf-8"))


def copy_of(demo: SampleDemo, folder: Path) -> Path:
    """Case folder of one's own."""
    return Path(shutil.copytree(demo.case, folder))
