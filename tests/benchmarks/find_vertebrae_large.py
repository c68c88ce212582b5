"""Time and memory of the embedded vertebra finder on a large scan.

    python tests/benchmarks/find_vertebrae_large.py [--profile]

An analytic spine from the sacrum to T3 on 600 slices of 512 x 512 voxels of
0.7 x 0.7 x 0.8 mm. The goal is 15 s and 1 GiB above the scan on two idle cores.
"""

import argparse
import cProfile
import pstats
import resource
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.vertebrae import find_vertebrae
from cemscope.testing.spine_phantom import PatientShape, PhantomScan, spine_phantom
from cemscope.volume import CTVolume

GOAL_SECONDS = 15.0
GOAL_MIB = 1024.0

LEVELS = (
    "S1",
    *(f"L{k}" for k in range(5, 0, -1)),
    *(f"T{k}" for k in range(12, 2, -1)),
)
SCAN = PhantomScan(
    spacing_mm=(0.8, 0.7, 0.7),
    low_lps_mm=(-179.5, -190.0, -60.0),
    high_lps_mm=(179.5, 169.0, 420.5),
)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mib() -> float:
    with open("/proc/self/statm", encoding="ascii") as statm:
        pages = int(statm.read().split()[1])
    return pages * resource.getpagesize() / 2**20


def save_scan(path: str) -> None:
    ct = spine_phantom(PatientShape(levels=LEVELS), SCAN).ct
    np.savez(path, hu=ct.hu, affine=ct.geometry.affine_lps)


def scan() -> CTVolume:
    """Make the scan in a process of its own: making it takes far more memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "scan.npz")
        child = get_context("spawn").Process(target=save_scan, args=(path,))
        child.start()
        child.join()
        with np.load(path) as stored:
            hu, affine = stored["hu"], stored["affine"]
    return CTVolume(hu, VoxelGeometry(hu.shape, affine))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    ct = scan()
    before, highest = resident_mib(), peak_mib()
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    wall, cpu = time.perf_counter(), time.process_time()
    spine = find_vertebrae(ct)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    profile.disable()
    above = peak_mib() - before
    print(" x ".join(str(n) for n in ct.hu.shape), "voxels")
    print(", ".join(vertebra.level.name for vertebra in spine.vertebrae))
    print(f"time   {wall:6.1f} s, {cpu:.1f} s of CPU (goal {GOAL_SECONDS:.0f} s)")
    bound = "at most " if peak_mib() <= highest else ""
    print(f"memory {bound}{above:6.0f} MiB above the scan (goal {GOAL_MIB:.0f})")
    if options.profile:
        pstats.Stats(profile, stream=sys.stdout).sort_stats("cumtime").print_stats(40)


if __name__ == "__main__":
    main()
