"""Time and memory of `read_series` against SimpleITK, in one run.

    python tests/benchmarks/read_series.py [--slices 600] [--compressed-slices 100]

SimpleITK is given a sorted list of files, and so spared the search; cemscope is given
the folder, reads every header, checks the geometry and returns int16 Hounsfield units.
Each reader runs in a process of its own, in turns; the time is the median of ratios of
neighbouring runs. Memory is the peak of resident memory of the reading process, with
its libraries. Linux only. Exit status 1 if a goal fails. Run it on an idle machine: the
decoders want a core each.
"""

import argparse
import json
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

PREAMBLE = """
import json, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
def peak():
    # Peak of resident memory since this program began (ru_maxrss is inherited).
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(l.split()[1]) for l in lines if l.startswith("VmHWM")) / 1024
def report(start, before, clock, shape, total):
    print(json.dumps({
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - clock,
        "peak_mib": peak(),
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
start, clock = time.perf_counter(), time.process_time()
image = sitk.ReadImage(files)
array = sitk.GetArrayViewFromImage(image)
report(start, before, clock, array.shape, array.sum(dtype="int64"))
"""
)

CEMSCOPE = (
    PREAMBLE
    + """
from cemscope.dicom import read_series
before = peak()
start, clock = time.perf_counter(), time.process_time()
ct = read_series(folder)
report(start, before, clock, ct.hu.shape, ct.hu.sum(dtype="int64"))
"""
)


@dataclass(frozen=True)
class Run:
    seconds: float
    peak_mib: float
    base_mib: float
    check: tuple[object, ...]


def run(program: str, folder: Path) -> Run:
    """Run a reader in its own process and take its account."""
    result = subprocess.run(  # noqa: S603 -- our own programs
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(result.stdout)
    return Run(
        found["seconds"],
        found["peak_mib"],
        found["base_mib"],
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


def compare(name: str, slices: int, repeats: int, encoding: PixelEncoding) -> Run:
    """Print both readers' figures; the time ratio stands in the returned run."""
    with tempfile.TemporaryDirectory(prefix="cemscope-benchmark-") as scratch:
        folder = Path(scratch)
        options = WriteOptions(encoding, rescale_intercept=-1024.0)
        write_series(noisy_body(slices), folder, options=options)
        theirs, ours = [], []
        for _ in range(repeats):
            theirs.append(run(SIMPLEITK, folder))
            ours.append(run(CEMSCOPE, folder))
        for mine in ours:
            assert mine.check == theirs[0].check, "the readers disagree"
    ratio = statistics.median(
        mine.seconds / other.seconds for mine, other in zip(ours, theirs, strict=True)
    )
    volume_mib = slices * SIDE * SIDE * 2 / 1024**2
    for reader, runs in (("SimpleITK", theirs), ("cemscope", ours)):
        seconds = statistics.median(r.seconds for r in runs)
        above = max(r.peak_mib - r.base_mib for r in runs)
        peak = max(r.peak_mib for r in runs)
        print(
            f"{name}, {slices} slices, {reader}: {seconds:.2f} s, peak {peak:.0f} MiB, "
            f"{above:.0f} MiB above start = {above / volume_mib:.2f} x the volume"
        )
    memory = max(r.peak_mib - r.base_mib for r in ours) / volume_mib
    whole = max(r.peak_mib for r in ours) / volume_mib
    print(f"{name}: time ratio {ratio:.2f}, whole process {whole:.2f} x the volume")
    return Run(ratio, whole, memory, ())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--compressed-slices", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    raw = compare("raw", options.slices, options.repeats, PixelEncoding.EXPLICIT_LE)
    packed = compare(
        "JPEG 2000",
        options.compressed_slices,
        options.repeats,
        PixelEncoding.JPEG2000_LOSSLESS,
    )
    goals = (
        (f"raw time ratio <= {GOAL_RAW_TIME_RATIO}", raw.seconds <= 1.3),
        (
            f"JPEG 2000 speed-up >= {GOAL_JPEG2000_SPEED_UP}",
            1.0 / packed.seconds >= GOAL_JPEG2000_SPEED_UP,
        ),
        (
            f"peak memory of the process <= {GOAL_MEMORY_RATIO} x the volume (raw)",
            raw.peak_mib <= GOAL_MEMORY_RATIO,
        ),
    )
    for goal, met in goals:
        print(f"{'met ' if met else 'MISSED'}: {goal}")
    sys.exit(0 if all(met for _, met in goals) else 1)


if __name__ == "__main__":
    main()
