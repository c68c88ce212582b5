"""Calls that leave processes behind; imported by the processes of the calls.

The payload names a file that gets the numbers of the processes, one a line, and says
after a space what becomes of the call.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cemscope_pipelines.batch.isolated_call import Report

RUNNER = "cases.stray_processes:run"
_LONG_S = 600


def _note(path: Path, pid: int) -> None:
    with path.open("a") as stream:
        stream.write(f"{pid}\n")


def _fork_away() -> int:
    """Start a copy of this process that leaves its session; it keeps every pipe."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        time.sleep(_LONG_S)
        os._exit(0)
    return pid


def _orphan(path: Path) -> None:
    """Start a process whose parent dies at once and that left its session."""
    program = f"import time; time.sleep({_LONG_S})"
    starter = (
        "import subprocess, sys; "
        f"p = subprocess.Popen([sys.executable, '-c', {program!r}], "
        "start_new_session=True, stdout=subprocess.DEVNULL); print(p.pid)"
    )
    told = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", starter], check=True, stdout=subprocess.PIPE
    )
    _note(path, int(told.stdout))


def run(payload: str, report: Report) -> str:
    name, _, word = payload.partition(" ")
    path = Path(name)
    _note(path, os.getpid())
    _note(path, os.getppid())
    _note(path, _fork_away())
    _orphan(path)
    if word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "exit":
        os._exit(7)
    if word == "hang":
        time.sleep(_LONG_S)
    return "result"
