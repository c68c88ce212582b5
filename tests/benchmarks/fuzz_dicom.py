"""A long run of the fuzz test, with its slowest case and peak memory.

    PYTHONPATH=tests python tests/benchmarks/fuzz_dicom.py --cases 100000

Other cases: ``--first-seed N``; ``--seconds`` ends the run earlier. Every case is
repeatable by its corpus and seed. Exit status 1 at the first error that is not ours.
"""

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

from cases.mutations import corpora, read_mutated


def peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(s.split()[1]) for s in lines if s.startswith("VmHWM")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    inputs = corpora()
    slowest, where, read, done = 0.0, "", 0, 0
    end = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(options.cases):
            if time.monotonic() > end:
                break
            corpus = inputs[number % len(inputs)]
            seed = options.first_seed + number // len(inputs)
            start = time.perf_counter()
            try:
                volume = read_mutated(corpus, Path(scratch, "in"), seed)
            except BaseException:  # noqa: BLE001 - told with its seed
                traceback.print_exc()
                sys.exit(f"corpus {corpus.name}, seed {seed}: not our error")
            read += volume is not None
            done += 1
            seconds = time.perf_counter() - start
            if seconds > slowest:
                slowest, where = seconds, f"{corpus.name}, seed {seed}"
    print(
        f"{done} cases: {read} read, {done - read} refused; slowest "
        f"{slowest:.2f} s ({where}); peak memory {peak_mib():.0f} MiB"
    )


if __name__ == "__main__":
    main()
