"""The process of one call: ``python -m cemscope_pipelines.batch.child``.

The call comes as one line on stdin; the pipe stays open as long as the parent lives.
Where processes can fork, this one becomes a guard and its child does the work: when
the work ends, or the pipe closes because the parent died, the guard kills whatever
the work started, and ends as the work did. On Linux it is the subreaper of its
descendants, so that nothing escapes by leaving the session or losing its parent.
"""

import contextlib
import ctypes
import importlib
import os
import select
import signal
import sys
import threading
from typing import BinaryIO

from cemscope.errors import (
    CemscopeError,
    ConfigError,
    LabelMapError,
    SeriesError,
)
from cemscope_pipelines.batch.isolated_call import (
    EndKind,
    IsolatedCall,
    Message,
    MessageKind,
)

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""

_GIB = 1024**3

_BACKSTOP = 1.5
_BACKSTOP_GIB = 1.0
"""The parent watches what is resident; the kernel's limit on what is *allocated* lies
higher and catches what grows faster than the parent looks."""


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _limit_memory(gib: float) -> None:
    if sys.platform != "linux" or gib <= 0:
        return
    import resource

    most = int((_BACKSTOP * gib + _BACKSTOP_GIB) * _GIB)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _private_stdout() -> BinaryIO:
    """Take stdout for our messages; what libraries print goes nowhere."""
    ours = os.dup(1)
    _to_nowhere(1)
    return os.fdopen(ours, "wb", buffering=0)


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _end_of(error: Exception, stage: str) -> Message:
    """Tell an error without a traceback and without what it may quote."""
    code = type(error).__name__
    if isinstance(error, MemoryError):
        kind, detail = EndKind.MEMORY, f"out of memory in stage {stage!r}"
    elif isinstance(error, SeriesError | LabelMapError):
        kind, detail = EndKind.REFUSED, str(error)
    elif isinstance(error, ConfigError):
        kind, detail = EndKind.CONFIG, str(error)
    elif isinstance(error, CemscopeError):
        kind, detail = EndKind.FAILED, str(error)
    else:
        kind, detail = EndKind.FAILED, f"internal error ({code}) in stage {stage!r}"
    return Message(MessageKind.END, kind, detail=detail, code=code)


def _run(call: IsolatedCall, out: BinaryIO) -> Message:
    stage = "start"

    def report(message: Message) -> None:
        nonlocal stage
        if message.kind is MessageKind.STAGE:
            stage = message.text
        out.write(message.to_line())

    try:
        module, _, name = call.function.partition(":")
        function = getattr(importlib.import_module(module), name)
        result: str = function(call.payload, report)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this case's end
        return _end_of(error, stage)
    return Message(MessageKind.END, EndKind.DONE, detail=result)


def _work(call: IsolatedCall, memory_gib: float) -> None:
    """Run the call and tell how it ended."""
    _limit_memory(memory_gib)
    out = _private_stdout()
    out.write(_run(call, out).to_line())


def _read_call() -> IsolatedCall | None:
    """Read the line on stdin; None if the parent died before it was whole."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 65536)
        if not piece:
            return None
        line += piece
    return IsolatedCall.from_line(line)


def _leave(status: int) -> None:
    """End at once: the result is out, the files are closed, no thread is waited for."""
    sys.stderr.flush()
    os._exit(status)


def _be_worker(call: IsolatedCall, guard: int, memory_gib: float) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != guard:
        _leave(1)
    os.setpgid(0, 0)
    _to_nowhere(0)
    _work(call, memory_gib)


def _buried(worker: int) -> int | None:
    """Bury the dead; the wait status of the worker if it is among them."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, found = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == worker:
                status = found
    return status


def _wait(worker: int, bell: int) -> int | None:
    """Wait status of the worker; None when the parent died first."""
    while True:
        status = _buried(worker)
        if status is not None:
            return status
        ready, _, _ = select.select([0, bell], [], [])
        if bell in ready:
            os.read(bell, 4096)
        if 0 in ready and not os.read(0, 4096):
            return None


def _end_all(worker: int) -> None:
    """Kill the worker, its group, and all that either started."""
    import psutil

    from cemscope_pipelines.batch.process_family import end_descendants

    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker, signal.SIGKILL)
    end_descendants(psutil.Process())
    _buried(worker)


def _guard(call: IsolatedCall, memory_gib: float) -> None:
    """Let a child do the work, and end as it ended."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    bell, ringer = os.pipe()
    os.set_blocking(ringer, False)
    # A signal without a handler would not ring.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ringer, warn_on_full_buffer=False)
    guard = os.getpid()
    worker = os.fork()
    if worker == 0:
        try:
            _be_worker(call, guard, memory_gib)
        finally:
            _leave(1 if sys.exc_info()[0] else 0)
    _to_nowhere(1)
    status = _wait(worker, bell)
    _end_all(worker)
    if status is None:
        _leave(1)
    elif os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        _without_core()
        os.kill(guard, number)
    else:
        _leave(os.WEXITSTATUS(status))


def _without_core() -> None:
    """Write no core file: it would be the guard's, and could hold identity."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _watch() -> None:
    """Where nothing can fork: end with the parent."""
    import psutil

    from cemscope_pipelines.batch.process_family import end_descendants

    while os.read(0, 4096):
        continue
    end_descendants(psutil.Process())
    os._exit(1)


def main() -> int:
    """Run the call that stands on stdin."""
    # Ctrl-C reaches the whole terminal; the parent decides what becomes of a case.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    call, memory_gib = _read_call(), float(sys.argv[1])
    if call is None:
        return 1
    if hasattr(os, "fork"):
        _guard(call, memory_gib)
        return 1
    threading.Thread(target=_watch, daemon=True).start()
    _work(call, memory_gib)
    return 0


if __name__ == "__main__":
    _leave(main())
