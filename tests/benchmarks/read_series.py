"""Time and memory of `read_series` against SimpleITK, in one run.

    python tests/benchmarks/read_series.py [--slices 600] [--compressed-slices 300]

SimpleITK is given a sorted list of files, and so spared the search; cemscope is given
the folder, reads every header, checks the geometry and returns int16 Hounsfield units.
Each reader runs in a process of its own, in turns; the time is the median of ratios of
neighbouring runs, told with the lowest and the highest. SimpleITK decodes the parts of
a JPEG 2000 slice on all processors, so it is timed with all of them and with one.

CPU seconds are those of the whole process and its decoders, from the start of Python
on. Memory is the peak of resident memory of the reading process, with its libraries;
the peaks of its decoders are told beside it (pages that they share are counted in each)
and included in the ratio of compressed series. Linux only. Exit status 1 if a goal
fails. Run it on an idle machine: the decoders want a core each. Where none is idle,
root can run it with ``--real-time``: it then takes all processors for itself, for a
minute or two.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.testing.dicom_writer import PixelEncoding, WriteOptions, write_series
from cemscope.volume import Acquisition, CTVolume

GOAL_RAW_TIME_RATIO = 1.3
GOAL_JPEG2000_SPEED_UP = 1.7
GOAL_MEMORY_RATIO = 1.5
SIDE = 512

ENCODINGS = {
    "raw": PixelEncoding.EXPLICIT_LE,
    "JPEG 2000": PixelEncoding.JPEG2000_LOSSLESS,
}

PREAMBLE = """
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
def peak(process="self"):
    # Peak of resident memory since this program began (ru_maxrss is inherited).
    lines = Path("/proc", process, "status").read_text().splitlines()
    return sum(int(l.split()[1]) for l in lines if l.startswith("VmHWM")) / 1024
def report(seconds, before, shape, total):
    lists = [p.read_text() for p in Path("/proc/self/task").glob("*/children")]
    children = [pid for text in lists for pid in text.split()]
    print(json.dumps({
        "seconds": seconds,
        "peak_mib": peak(),
        "decoders_mib": sum(map(peak, children)),
        "base_mib": before,
        "shape": list(shape), "sum": int(total),
    }))
"""

SIMPLEITK = (
    PREAMBLE
    + """
import SimpleITK as sitk
files = sorted(str(p) for p in folder.iterdir())
before = peak()
start = time.perf_counter()
image = sitk.ReadImage(files)
array = sitk.GetArrayViewFromImage(image)
seconds = time.perf_counter() - start
report(seconds, before, array.shape, array.sum(dtype="int64"))
"""
)

ONE_CORE = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"

CEMSCOPE = (
    PREAMBLE
    + """
from cemscope.dicom import read_series
before = peak()
start = time.perf_counter()
ct = read_series(folder)
seconds = time.perf_counter() - start
report(seconds, before, ct.hu.shape, ct.hu.sum(dtype="int64"))
"""
)


@dataclass(frozen=True)
class Run:
    """What one reader needed for one series; ``check`` holds its shape and sum."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    base_mib: float
    decoders_mib: float
    check: tuple[object, ...]


@dataclass(frozen=True)
class Comparison:
    """Cemscope beside SimpleITK: time over time, memory over the volume's.

    ``one_core_ratio`` is beside SimpleITK on one processor.
    """

    time_ratio: float
    one_core_ratio: float
    memory_ratio: float


def run(program: str, folder: Path) -> Run:
    """Run a reader in its own process and take its account."""
    before = os.times()
    result = subprocess.run(  # noqa: S603 -- our own programs
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    after = os.times()
    found = json.loads(result.stdout)
    return Run(
        found["seconds"],
        after.children_user
        - before.children_user
        + after.children_system
        - before.children_system,
        found["peak_mib"],
        found["base_mib"],
        found["decoders_mib"],
        (tuple(found["shape"]), found["sum"]),
    )


def noisy_body(slices: int) -> CTVolume:
    """A volume with soft edges and scanner noise, so that it packs as CT does."""
    rng = np.random.default_rng(1)
    base = ndimage.gaussian_filter(rng.normal(0, 900, (8, SIDE, SIDE)), 2)
    hu = np.empty((slices, SIDE, SIDE), np.int16)
    for index in range(slices):
        noise = rng.normal(0, 20, (SIDE, SIDE))
        hu[index] = np.clip(base[index % 8] + noise, -1000, 3000)
    geometry = VoxelGeometry.from_axes(
        hu.shape, (1.0, 0.5, 0.5), frame_of_reference_uid="1.2.3"
    )
    return CTVolume(hu, geometry, acquisition=Acquisition(120.0, "Br40", 1.0))


def compare(name: str, slices: int, options: argparse.Namespace) -> Comparison:
    """Let the readers read one series in turns, and print their figures."""
    readers = {
        "SimpleITK": SIMPLEITK,
        "SimpleITK on one core": f"{ONE_CORE}\n{SIMPLEITK}",
        "cemscope": CEMSCOPE,
    }
    runs: dict[str, list[Run]] = {reader: [] for reader in readers}
    with tempfile.TemporaryDirectory(prefix="cemscope-benchmark-") as scratch:
        folder = Path(scratch)
        encoding = ENCODINGS[name]
        stored = WriteOptions(encoding, rescale_intercept=-1024.0)
        write_series(noisy_body(slices), folder, options=stored)
        if options.real_time:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        for _ in range(options.repeats):
            for reader, program in readers.items():
                runs[reader].append(run(program, folder))
        if options.real_time:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    ours = runs["cemscope"]
    assert len({one.check for some in runs.values() for one in some}) == 1, (
        "the readers disagree"
    )
    volume_mib = slices * SIDE * SIDE * 2 / 1024**2
    for reader, some in runs.items():
        seconds = statistics.median(r.seconds for r in some)
        cpu_seconds = statistics.median(r.cpu_seconds for r in some)
        above = max(r.peak_mib - r.base_mib for r in some)
        peak = max(r.peak_mib for r in some)
        decoders = max(r.decoders_mib for r in some)
        print(
            f"{name}, {slices} slices, {reader}: {seconds:.2f} s, {cpu_seconds:.2f} s "
            f"of CPU; peak {peak:.0f} MiB, decoders {decoders:.0f} MiB; "
            f"{above:.0f} MiB above start = {above / volume_mib:.2f} x the volume"
        )
    medians = []
    for other in ("SimpleITK", "SimpleITK on one core"):
        ratios = [m.seconds / o.seconds for m, o in zip(ours, runs[other], strict=True)]
        medians.append(statistics.median(ratios))
        print(
            f"{name}, cemscope beside {other}: time ratio {medians[-1]:.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}), speed-up "
            f"{1 / medians[-1]:.2f} ({1 / max(ratios):.2f} to {1 / min(ratios):.2f})"
        )
    whole = max(r.peak_mib + r.decoders_mib for r in ours) / volume_mib
    print(
        f"{name}: all processes {whole:.2f} x the volume; load {os.getloadavg()[0]:.1f}"
    )
    return Comparison(*medians, whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--compressed-slices", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--real-time", action="store_true")
    options = parser.parse_args()
    raw = compare("raw", options.slices, options)
    packed = compare("JPEG 2000", options.compressed_slices, options)
    goals = (
        (
            f"raw time ratio <= {GOAL_RAW_TIME_RATIO}",
            raw.time_ratio <= GOAL_RAW_TIME_RATIO,
        ),
        (
            f"JPEG 2000 speed-up >= {GOAL_JPEG2000_SPEED_UP}",
            1.0 / packed.time_ratio >= GOAL_JPEG2000_SPEED_UP,
        ),
        (
            f"JPEG 2000 speed-up over SimpleITK on one core >= "
            f"{GOAL_JPEG2000_SPEED_UP}",
            1.0 / packed.one_core_ratio >= GOAL_JPEG2000_SPEED_UP,
        ),
        (
            f"peak memory of the process <= {GOAL_MEMORY_RATIO} x the volume (raw)",
            raw.memory_ratio <= GOAL_MEMORY_RATIO,
        ),
    )
    for goal, met in goals:
        print(f"{'met ' if met else 'MISSED'}: {goal}")
    sys.exit(0 if all(met for _, met in goals) else 1)


if __name__ == "__main__":
    main()
