"""One call in a process of its own: nothing that it started outlives it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from cases.stray_processes import RUNNER
from cemscope_pipelines.batch.isolated_call import CallLimits, EndKind, IsolatedCall
from cemscope_pipelines.batch.isolation import run_isolated

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="a subreaper, which catches all, is Linux's"
)

STRAYS = 4
"""Worker, guard, a fork in a session of its own, an orphan in a session of its own."""


def numbers(path: Path) -> list[int]:
    return [int(x) for x in path.read_text().split()] if path.exists() else []


def wait_for(what: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def running(path: Path) -> list[int]:
    def runs(pid: int) -> bool:
        try:
            return str(psutil.Process(pid).status()) != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return [pid for pid in numbers(path) if runs(pid)]


@dataclass(frozen=True)
class Ending:
    """A way in which a call with stray processes ends."""

    word: str
    kind: EndKind
    reason: str
    timeout_s: float | None = None


ENDINGS = (
    Ending("return", EndKind.DONE, ""),
    Ending("kill", EndKind.KILLED, "SIGKILL"),
    Ending("exit", EndKind.KILLED, "status 7"),
    Ending("hang", EndKind.TIMEOUT, "over 2 s", 2.0),
)


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda e: e.word)
def test_strays_end_with_the_call(ending: Ending, tmp_path: Path) -> None:
    told = tmp_path / "pids"
    start = time.monotonic()
    limits = CallLimits(timeout_s=ending.timeout_s)
    end = run_isolated(IsolatedCall(RUNNER, f"{told} {ending.word}"), limits)
    # The fork holds the pipe open: who waits for its end waits 600 s.
    assert time.monotonic() - start < 60
    assert (end.kind, ending.reason in end.reason) == (ending.kind, True)
    assert end.result == ("result" if ending.kind is EndKind.DONE else "")
    assert len(numbers(told)) == STRAYS
    wait_for(lambda: not running(told))


def test_strays_end_when_the_guard_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "pids"
    ends = []
    call = IsolatedCall(RUNNER, f"{told} hang")
    thread = threading.Thread(target=lambda: ends.append(run_isolated(call)))
    thread.start()
    wait_for(lambda: len(numbers(told)) == STRAYS)
    time.sleep(0.5)  # the parent looks ten times a second who is there
    os.kill(numbers(told)[1], signal.SIGKILL)
    thread.join(30)
    assert [end.kind for end in ends] == [EndKind.KILLED]
    wait_for(lambda: not running(told))


def test_strays_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "pids"
    program = (
        "from cemscope_pipelines.batch.isolated_call import IsolatedCall\n"
        "from cemscope_pipelines.batch.isolation import run_isolated\n"
        f"run_isolated(IsolatedCall({RUNNER!r}, {f'{told} hang'!r}))"
    )
    tests = Path(__file__).resolve().parent.parent
    parent = subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tests)},
    )
    try:
        wait_for(lambda: len(numbers(told)) == STRAYS)
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: not running(told))
