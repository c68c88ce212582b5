"""How a batch scales: two workers against one, and a ledger of 10,000 cases.

    PYTHONPATH=tests python tests/benchmarks/batch_scale.py [--cases 8] [--seconds 6]

Prints the time of one and of two workers on cases that keep one processor busy, the
time to list a ledger of 10,000 cases, and the largest memory of the parent while a
batch resumes on it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from cases.batch_roots import FakeSeries, write_fake_series
from cemscope_pipelines.batch.ledger import LEDGER_FILE, Ledger
from cemscope_pipelines.batch.ledger_case import CaseStatus, LedgerCase

LEDGER_CASES = 10_000


def run_driver(*words: str) -> tuple[float, float, int]:
    """Run a batch of fake cases; wall-clock s, peak resident MiB, exit status."""
    start = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "cases.batch_driver", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peak = [0.0]

    def watch() -> None:
        parent = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak[0] = max(peak[0], parent.memory_info().rss / 1024**2)
            except psutil.Error:
                return
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    watcher.join()
    return time.perf_counter() - start, peak[0], status


def measure_workers(folder: Path, cases: int, seconds: float) -> None:
    root = folder / "root"
    for i in range(cases):
        write_fake_series(FakeSeries(f"s{i}", f"work {seconds}"), root)
    times = []
    for workers in (1, 2):
        taken, peak, status = run_driver(
            *("batch", str(root), "--out", str(folder / f"out{workers}")),
            *("--workers", str(workers)),
        )
        times.append(taken)
        print(
            f"{cases} cases of {seconds:g} s of processor time, {workers} workers: "
            f"{taken:.1f} s, parent at most {peak:.0f} MiB, status {status}"
        )
    print(f"two workers / one worker: {times[1] / times[0]:.2f}")


def fill_ledger(out: Path) -> None:
    entries = [
        LedgerCase(
            key=f"{i:012x}",
            name=f"20250101-{i:012x}",
            series=f"1.2.826.0.1.3680043.8.498.{10**30 + i}",
            study=f"1.2.826.0.1.3680043.8.498.{10**31 + i}",
            patient_key=f"P-{i:012x}",
            acquisition_date="20250101",
            slices=400,
            preferred=True,
            preference="axial, 300 mm covered, 0.75 mm between slices, smooth kernel",
            status=CaseStatus.DONE if i % 10 else CaseStatus.FAILED,
            reason="" if i % 10 else "expected a spine with at least 24 mm of canal",
            reason_code="" if i % 10 else "NoVertebraFoundError",
        )
        for i in range(LEDGER_CASES)
    ]
    with Ledger(out / LEDGER_FILE) as ledger:
        ledger.put(entries)


def measure_ledger(folder: Path) -> None:
    out = folder / "many"
    (out / "cases").mkdir(parents=True)
    fill_ledger(out)
    taken, peak, _ = run_driver("batch", "--out", str(out), "--list")
    print(f"--list of {LEDGER_CASES} cases: {taken:.2f} s, {peak:.0f} MiB")
    report = next((folder / "out1" / "cases").iterdir()) / "report.json"
    for i in range(LEDGER_CASES):
        if i % 10:
            case = out / "cases" / f"20250101-{i:012x}"
            case.mkdir()
            os.link(report, case / "report.json")
    taken, peak, status = run_driver("batch", str(folder / "root"), "--out", str(out))
    print(
        f"resumed batch with {LEDGER_CASES} older cases: {taken:.1f} s with tables and "
        f"overview, parent at most {peak:.0f} MiB, status {status}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure_workers(Path(name), options.cases, options.seconds)
        measure_ledger(Path(name))


if __name__ == "__main__":
    main()
