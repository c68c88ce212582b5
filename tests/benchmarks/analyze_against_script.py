"""Time and memory of `cemscope analyze` against the threshold script, in one run.

    python tests/benchmarks/analyze_against_script.py [--repeats 3] [--slices 600]

The series is the sample patient's baseline CT brought to 512 x 512 x 600 voxels and
stored uncompressed, so that both read the same bytes. Each command runs in its own
process; the time is the median, the memory the largest peak of resident memory.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from cemscope.dicom import read_series
from cemscope.geometry import VoxelGeometry
from cemscope.testing.dicom_writer import SeriesIdentity, write_series
from cemscope.volume import CTVolume

REPOSITORY = Path(__file__).resolve().parents[2]
GOAL_TIME_RATIO = 3.0
GOAL_MEMORY_RATIO = 2.0


@dataclass(frozen=True)
class Run:
    seconds: float
    peak_mib: float


def enlarged(ct: CTVolume, shape: tuple[int, int, int]) -> CTVolume:
    """The same patient on a finer grid over the same field of view."""
    zoom = np.array(shape) / np.array(ct.hu.shape)
    hu = ndimage.zoom(ct.hu, zoom, order=1, grid_mode=True, mode="nearest")
    steps = ct.geometry.affine_lps[:3, :3] / zoom
    affine = np.eye(4)
    affine[:3, :3] = steps
    affine[:3, 3] = ct.geometry.index_to_lps(0.5 / zoom - 0.5)
    return CTVolume(hu, VoxelGeometry(shape, affine), acquisition=ct.acquisition)


def measure(command: list[str], log: Path) -> Run:
    start = time.perf_counter()
    with log.open("w") as sink:
        pid = os.posix_spawn(
            command[0],
            command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, sink.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, sink.fileno(), 2),
            ],
        )
        _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    return Run(seconds, usage.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--columns", type=int, default=512)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="cemscope-benchmark-") as scratch:
        folder = Path(scratch)
        series = folder / "series"
        sample = read_series(REPOSITORY / "sample_dicom" / "baseline")
        shape = (options.slices, options.columns, options.columns)
        ct = enlarged(sample, shape)
        write_series(ct, series, SeriesIdentity())
        del ct, sample
        script = [
            sys.executable,
            str(REPOSITORY / "tests/benchmarks/threshold_script.py"),
            str(series),
        ]
        analyze = [sys.executable, "-m", "cemscope_pipelines", "analyze", "--quiet"]
        runs: dict[str, list[Run]] = {"threshold script": [], "cemscope analyze": []}
        for i in range(options.repeats):  # interleaved: both meet the same machine
            runs["threshold script"].append(measure(script, folder / "script.log"))
            command = [*analyze, str(series), "--out", str(folder / f"case{i}")]
            runs["cemscope analyze"].append(measure(command, folder / "analyze.log"))

    seconds = {n: statistics.median(r.seconds for r in rs) for n, rs in runs.items()}
    peak_mib = {n: max(r.peak_mib for r in rs) for n, rs in runs.items()}
    print(f"{shape[1]} x {shape[2]} x {shape[0]}, median of {options.repeats}")
    for name in runs:
        print(f"{name:18} {seconds[name]:7.1f} s {peak_mib[name]:8.0f} MiB")
    time_ratio = seconds["cemscope analyze"] / seconds["threshold script"]
    memory_ratio = peak_mib["cemscope analyze"] / peak_mib["threshold script"]
    print(f"time ratio   {time_ratio:.2f} (goal <= {GOAL_TIME_RATIO})")
    print(f"memory ratio {memory_ratio:.2f} (goal <= {GOAL_MEMORY_RATIO})")


if __name__ == "__main__":
    main()
