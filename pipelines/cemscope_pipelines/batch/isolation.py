"""Run a function in a process of its own, with limits on memory and time."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO

import psutil

from cemscope_pipelines.batch.isolated_call import (
    CallEnd,
    CallLimits,
    EndKind,
    IsolatedCall,
    Message,
    MessageKind,
)
from cemscope_pipelines.batch.process_family import (
    descendants,
    end_descendants,
    is_running,
    kill,
    memory_mib,
)

_TICK_S = 0.1
"""How often memory and time are looked at."""

_LAST_WORDS_S = 2.0
"""A process that ended has said all; its pipe should close with it."""

_GUARD_END_S = 10.0
"""The guard of a process cleans up and ends by itself, see `batch.child`."""

_ONE_THREAD = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB")
_ENVIRONMENT = {
    **{f"{name}_NUM_THREADS": "1" for name in _ONE_THREAD},
    "VECLIB_MAXIMUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}
"""The workers are the parallelism; and sums do not depend on the machine's cores."""

Listener = Callable[[Message], None]


def _ignore(message: Message) -> None:
    """Drop a message."""


def _start(call: IsolatedCall, limits: CallLimits) -> "subprocess.Popen[bytes]":
    environment = {
        **os.environ,
        **_ENVIRONMENT,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(  # noqa: S603 - our own module
        [
            *(sys.executable, "-P", "-m", "cemscope_pipelines.batch.child"),
            str(limits.memory_gib or 0.0),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env=environment,
        start_new_session=True,
    )
    if process.stdin is not None:
        # If it died at once, its exit tells how.
        with contextlib.suppress(BrokenPipeError):
            _write_whole(process.stdin, call.to_line())
    return process


def _write_whole(pipe: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[pipe.write(view) :]


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process, and all that it started and that did not leave its session."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


class _Watch:
    """One running call."""

    def __init__(self, call: IsolatedCall, limits: CallLimits) -> None:
        self.limits = limits
        self.start = time.monotonic()
        self.process = _start(call, limits)
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.stage = "start"
        self.peak_mib = 0.0
        self._looked = 0.0
        self.end: Message | None = None
        try:
            self._member: psutil.Process | None = psutil.Process(self.process.pid)
        except psutil.Error:
            self._member = None
        self._family: set[psutil.Process] = set()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        # The pipe is closed here: elsewhere it could be while it is being read.
        if self.process.stdout is None:
            return
        with self.process.stdout as stdout:
            rest = b""
            while piece := stdout.read(65536):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    message = Message.from_line(line)
                    if message is not None:
                        self.messages.put(message)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def over_limit(self) -> tuple[EndKind, str] | None:
        """Which limit is passed, in words."""
        if self.end is not None or self.seconds - self._looked < _TICK_S:
            return None
        self._looked = self.seconds
        most_s, most_gib = self.limits.timeout_s, self.limits.memory_gib
        if most_s is not None and self.seconds > most_s:
            return (
                EndKind.TIMEOUT,
                f"over {most_s:g} s in stage {self.stage!r} (--timeout)",
            )
        if self._member is not None:
            # Those seen before are kept in mind: without their guard, nobody is
            # their ancestor.
            known = {m for m in self._family if is_running(m)}
            self._family = known | set(descendants(self._member))
            used = memory_mib([self._member, *self._family])
            self.peak_mib = max(self.peak_mib, used)
            if most_gib is not None and used > 1024.0 * most_gib:
                return (
                    EndKind.MEMORY,
                    f"over {most_gib:g} GiB of memory in stage {self.stage!r} "
                    f"({used / 1024:.1f} GiB when it was stopped; --memory)",
                )
        return None

    def close(self) -> None:
        """End whatever still runs and give the pipes back."""
        if self._member is not None and self.process.poll() is None:
            # The guard still adopts what loses its parent: nothing gets away.
            end_descendants(self._member)
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(_GUARD_END_S)
        except subprocess.TimeoutExpired:
            kill_group(self.process)
            self.process.wait()
        # Were it the guard that was killed, its family would still run.
        for member in self._family:
            kill(member)


def _ended(watch: _Watch, kind: EndKind, reason: str, code: str = "") -> CallEnd:
    return CallEnd(
        kind,
        reason=reason,
        code=code or kind.value,
        stage=watch.stage,
        seconds=watch.seconds,
        peak_memory_mib=watch.peak_mib,
    )


def _by_itself(watch: _Watch, status: int) -> CallEnd:
    """How a process ended that nobody stopped."""
    end = watch.end
    if end is not None and end.text == EndKind.DONE:
        return CallEnd(
            EndKind.DONE,
            result=end.detail,
            stage=watch.stage,
            seconds=watch.seconds,
            peak_memory_mib=watch.peak_mib,
        )
    if end is not None:
        return _ended(watch, EndKind(end.text), end.detail, end.code)
    if status < 0:
        name = signal.Signals(-status).name if -status in _SIGNALS else str(-status)
        hint = (
            "; the system may have run out of memory"
            if -status == getattr(signal, "SIGKILL", 9)
            else ""
        )
        reason = (
            f"the process was killed by {name} in stage {watch.stage!r} with "
            f"{watch.peak_mib / 1024:.1f} GiB in use{hint}"
        )
        return _ended(watch, EndKind.KILLED, reason, name)
    reason = f"the process ended with status {status} in stage {watch.stage!r}"
    return _ended(watch, EndKind.KILLED, reason, f"exit_{status}")


_SIGNALS = frozenset(int(s) for s in signal.Signals)


def _hear(watch: _Watch, listener: Listener, *, wait: bool) -> None:
    """Take what the child said; wait for the first word of it."""
    while True:
        try:
            message = watch.messages.get(timeout=_TICK_S if wait else 0.0)
        except queue.Empty:
            return
        wait = False
        if message.kind is MessageKind.END:
            watch.end = message
        else:
            if message.kind is MessageKind.STAGE:
                watch.stage = message.text
            listener(message)


def run_isolated(
    call: IsolatedCall,
    limits: CallLimits | None = None,
    listener: Listener = _ignore,
    stop: threading.Event | None = None,
) -> CallEnd:
    """Run a function in a process of its own and wait for its end.

    The process, and all it started, is killed with SIGKILL when a limit is passed,
    when ``stop`` is set, or when this process dies. It never raises for what happens
    in there.

    Parameters
    ----------
    call
        What to run.
    limits
        Memory is sampled ten times a second over the whole family of processes.
    listener
        Told every message of the child, in this thread.
    stop
        Set by another thread to stop the call.
    """
    watch = _Watch(call, limits or CallLimits())
    try:
        while True:
            # Asked before the messages are read: what it said last is among them.
            status = watch.process.poll()
            if status is not None:
                # Something that it left behind may hold the pipe open for ever.
                watch.reader.join(_LAST_WORDS_S)
            _hear(watch, listener, wait=status is None)
            if status is not None:
                return _by_itself(watch, status)
            if stop is not None and stop.is_set() and watch.end is None:
                return _ended(watch, EndKind.INTERRUPTED, "interrupted")
            passed = watch.over_limit()
            if passed is not None:
                return _ended(watch, *passed)
    finally:
        watch.close()
