"""The same batch on a Dask scheduler with workers that come and go."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from cases.batch_roots import TWELVE, runs_of, write_fake_series
from cases.fake_cases import REPORT_SOURCE
from cemscope.errors import ConfigError
from cemscope_pipelines.batch.batch_run import listed_cases
from cemscope_pipelines.batch.ledger_case import CaseStatus

pytest.importorskip("distributed")

TESTS = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(TESTS),
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "10s",
}

Starter = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Starter]:
    """Start ``python -m`` something; whatever still runs in the end is killed."""
    with ExitStack() as stack:

        def started(*words: str) -> "subprocess.Popen[bytes]":
            process = subprocess.Popen(  # noqa: S603 - our own words
                [sys.executable, "-m", *words],
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )

            def end() -> None:
                process.kill()
                if process.stdout is not None and not process.stdout.closed:
                    process.communicate()

            stack.callback(end)
            return process

        yield started


def wait_for(what: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def done_in(out: Path) -> int:
    """Count the finished cases of a batch; 0 while it has no ledger."""
    with contextlib.suppress(ConfigError):
        return sum(c.status is CaseStatus.DONE for c in listed_cases(out))
    return 0


def test_a_lost_worker_and_a_lost_parent_cost_no_case(
    tmp_path: Path, start: Starter
) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    series = [
        replace(s, behaviour="sleep 0.7") if s.behaviour == "ok" and not s.broken else s
        for s in TWELVE
    ]
    folders = {s.name: write_fake_series(s, root) for s in series}
    where = tmp_path / "scheduler.json"
    start(
        *("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"),
        *("--no-dashboard", "--scheduler-file", str(where)),
    )

    def worker(name: str) -> "subprocess.Popen[bytes]":
        return start(
            *("distributed.cli.dask_worker", "--scheduler-file", str(where)),
            *("--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name),
            *("--host", "127.0.0.1", "--local-directory", str(tmp_path / name)),
        )

    wait_for(where.exists)
    address = json.loads(where.read_text())["address"]
    lost, _ = worker("one"), worker("two")
    command = (
        *("cases.batch_driver", "batch", str(root), "--out", str(out)),
        *("--cluster", address, "--timeout", "6", "--memory", "0.3"),
    )
    batch = start(*command)
    wait_for(lambda: done_in(out) >= 1 or batch.poll() is not None)
    lost.send_signal(signal.SIGKILL)
    worker("three")  # joins on the way
    wait_for(lambda: done_in(out) >= 3 or batch.poll() is not None)
    batch.send_signal(signal.SIGKILL)
    batch.communicate()
    before = {c.key for c in listed_cases(out) if c.status is CaseStatus.DONE}
    batch = start(*command)
    said, _ = batch.communicate(timeout=90)
    assert batch.returncode == 5, said.decode()

    cases = listed_cases(out)
    done = [c for c in cases if c.status is CaseStatus.DONE]
    assert len(done) == 7, [c.reason for c in cases]
    assert before <= {c.key for c in done}
    assert all(c.starts == 1 for c in done if c.key in before)
    assert {c.reason_code for c in cases if c.reason} == {
        "SIGKILL", "timeout", "memory", "missing_slices", "unreadable_pixels",
    }  # fmt: skip
    ends = {name: runs_of(folder)[1] for name, folder in folders.items()}
    assert [ends[f"good{i}"] for i in range(7)] == [1] * 7
    assert sum(ends.values()) == 7

    # As on one machine (test_batch_run): the same names, whole folders, same bytes.
    names = {p.name for p in (out / "cases").iterdir()}
    assert names == {c.name for c in done}
    source = (folders["good0"] / REPORT_SOURCE).read_bytes()
    for name in names:
        assert (out / "cases" / name / "report.json").read_bytes() == source
    assert (out / "vertebrae.csv").read_bytes().count(b"\n") == 1 + 3 * 7
