"""A batch of fake cases: one that dies, hangs or eats memory costs only itself."""

import contextlib
import csv
import html
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from cases.batch_roots import TWELVE, FakeSeries, runs_of, write_fake_series
from cases.fake_cases import REPORT_SOURCE, RUNNER
from cemscope.errors import ConfigError
from cemscope_pipelines.batch import case_job
from cemscope_pipelines.batch.batch_run import listed_cases, write_pages
from cemscope_pipelines.batch.ledger import Ledger
from cemscope_pipelines.batch.ledger_case import CaseStatus, CaseUpdate, LedgerCase
from cemscope_pipelines.batch.out_lock import OutLock
from cemscope_pipelines.cli import main

Starter = Callable[..., "subprocess.Popen[bytes]"]

TESTS = Path(__file__).resolve().parent.parent


@pytest.fixture
def fake_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case_job, "CASE_RUNNER", RUNNER)


@pytest.fixture
def start_batch() -> Iterator[Starter]:
    """Start the same batch in a process of its own; it is killed in the end."""
    with ExitStack() as stack:

        def started(root: Path, out: Path, *options: str) -> "subprocess.Popen[bytes]":
            process = subprocess.Popen(  # noqa: S603 - our own module
                [
                    *(sys.executable, "-m", "cases.batch_driver"),
                    *("batch", str(root), "--out", str(out), *options),
                ],
                env={**os.environ, "PYTHONPATH": str(TESTS)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )

            def end() -> None:
                process.kill()
                if process.stdout is not None and not process.stdout.closed:
                    process.communicate()

            stack.callback(end)
            return process

        yield started


def wait_until_done(
    batch: "subprocess.Popen[bytes]", out: Path, count: int, seconds: float = 60.0
) -> None:
    """Wait until the ledger of a running batch holds so many finished cases."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert batch.poll() is None, batch.communicate()
        with contextlib.suppress(ConfigError):  # it is being made
            done = [c for c in listed_cases(out) if c.status is CaseStatus.DONE]
            if len(done) >= count:
                return
        time.sleep(0.05)
    pytest.fail(f"{count} cases were not finished in {seconds} s")


def assert_all_dead(pids: Sequence[int], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        alive = [
            p
            for p in pids
            if psutil.pid_exists(p)
            and psutil.Process(p).status() != psutil.STATUS_ZOMBIE
        ]
        if not alive:
            return
        time.sleep(0.05)
    pytest.fail(f"processes {alive} still run")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.usefixtures("fake_cases")
def test_twelve_series_give_seven_results_and_five_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "Canary^Wilhelmina", tmp_path / "out"
    folders = {s.name: write_fake_series(s, root) for s in TWELVE}
    command = [
        *("batch", str(root), "--out", str(out)),
        *("--workers", "4", "--memory", "0.3", "--timeout", "15"),
    ]
    assert main(command) == 5
    text = "".join(capsys.readouterr())
    assert "7 of 12 cases have a result" in text
    assert "Canary" not in text

    cases = listed_cases(out)
    assert Counter(c.status.value for c in cases) == {
        "done": 7, "refused": 2, "killed": 1, "timeout": 1, "memory": 1,
    }  # fmt: skip
    reasons = {c.status.value: c.reason for c in cases if c.reason}
    assert "SIGKILL" in reasons["killed"]
    assert "over 15 s" in reasons["timeout"]
    assert "GiB" in reasons["memory"]
    refused = {c.reason_code for c in cases if c.status is CaseStatus.REFUSED}
    assert refused == {"missing_slices", "unreadable_pixels"}

    done = [c for c in cases if c.status is CaseStatus.DONE]
    assert {p.name for p in (out / "cases").iterdir()} == {c.name for c in done}
    pids = [pid for f in folders.values() for pid in runs_of(f)[0]]
    assert_all_dead(pids)
    assert len(pids) == 11  # ten processes and the grandchild of the one that hangs

    table = rows(out / "cases.csv")
    assert Counter(r["status"] for r in table)["done"] == 7
    first = next(r for r in table if r["status"] == "done")
    assert (first["cement_ml"], first["vertebrae_not_assessed"]) == ("5.1", "1")
    assert first["screws_loose"] == ""
    assert pq.read_table(out / "cases.parquet").num_rows == 12
    assert len(rows(out / "leaks.csv")) == 7
    assert len(rows(out / "screws.csv")) == 14
    page = html.unescape((out / "batch.html").read_text(encoding="utf-8"))
    assert all(c.name in page and c.reason in page for c in cases)
    for path in out.rglob("*"):
        if path.is_file() and path.name != "provenance.json":
            assert b"Canary" not in path.read_bytes(), path
    source = (folders["good0"] / REPORT_SOURCE).read_bytes()
    for entry in done:
        assert (out / "cases" / entry.name / "report.json").read_bytes() == source
    where = json.loads((out / "provenance.json").read_text())["cases"]
    assert {Path(c["path"]).name for c in where} == set(folders)

    # Again: what has a result is not repeated, the three that failed in a run are.
    for name in ("killed", "hung", "greedy"):
        (folders[name] / "behaviour.txt").write_text("ok")
    assert main([*command, "--retry-failed", "--json"]) == 5
    result = json.loads(capsys.readouterr().out.split("cases have a result\n")[-1])
    assert (result["done"], result["without_result"]) == (10, 2)
    starts = Counter(c.starts for c in listed_cases(out))
    assert starts == {0: 2, 1: 7, 2: 3}


def test_a_killed_parent_loses_nothing_and_repeats_nothing(
    tmp_path: Path, start_batch: Starter
) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    folders = [
        write_fake_series(FakeSeries(f"s{i}", "sleep 0.6"), root) for i in range(8)
    ]
    options = ("--workers", "2", "--timeout", "60")
    parent = start_batch(root, out, *options)
    wait_until_done(parent, out, 3)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert_all_dead([pid for f in folders for pid in runs_of(f)[0]])
    before = {c.key for c in listed_cases(out) if c.status is CaseStatus.DONE}
    assert 3 <= len(before) < 8

    again = start_batch(root, out, *options, "--json")
    told, _ = again.communicate()
    assert again.returncode == 0
    assert json.loads(told)["done"] == 8
    cases = listed_cases(out)
    assert all(c.starts == 1 for c in cases if c.key in before)
    assert [runs_of(f)[1] for f in folders] == [1] * 8
    assert not list((out / "cases").glob(".*"))


def test_ctrl_c_ends_cleanly_and_a_second_batch_is_refused(
    tmp_path: Path, start_batch: Starter
) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    folders = [
        write_fake_series(FakeSeries(f"s{i}", word), root)
        for i, word in enumerate(("ok", "hang", "hang"))
    ]
    parent = start_batch(root, out, "--workers", "3")
    wait_until_done(parent, out, 1)
    second = start_batch(root, out)
    _, said = second.communicate()
    assert second.returncode == 2
    assert b"another batch is writing there" in said
    parent.send_signal(signal.SIGINT)
    _, said = parent.communicate(timeout=30)
    assert parent.returncode == 130, said
    assert b"Traceback" not in said
    assert_all_dead([pid for f in folders for pid in runs_of(f)[0]])
    counts = Counter(c.status.value for c in listed_cases(out))
    assert counts == {"done": 1, "waiting": 2}
    assert (out / "batch.html").exists()
    assert not list((out / "cases").glob(".*"))


def test_a_report_that_was_damaged_later_is_a_failure(tmp_path: Path) -> None:
    folder = tmp_path / "cases" / "20250101-k"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text("{")
    case = LedgerCase("k", folder.name, "1.3", "1.2", "", "", 20, True, "")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.put([case])
        ledger.end("k", CaseUpdate(CaseStatus.DONE, seconds=3.0))
        write_pages(tmp_path, ledger)
        (found,) = ledger.cases()
    assert (found.status, found.reason_code, found.seconds) == (
        CaseStatus.FAILED,
        "report_unreadable",
        3.0,
    )
    assert "Remove the folder" in found.reason
    assert rows(tmp_path / "cases.csv")[0]["status"] == "failed"


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    with OutLock(tmp_path):
        pass
    with OutLock(tmp_path):
        pass
