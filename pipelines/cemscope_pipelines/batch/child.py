"""The process of one call: ``python -m cemscope_pipelines.batch.child``.

The call comes as one line on stdin. The pipe stays open as long as the parent lives;
when it closes, the process kills its whole group, so that nothing runs on for a
parent that was killed.
"""

import ctypes
import importlib
import os
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
"""From linux/prctl.h."""

_GIB = 1024**3

_BACKSTOP = 1.5
_BACKSTOP_GIB = 1.0
"""The parent watches what is resident; the kernel's limit on what is *allocated* lies
higher and catches what grows faster than the parent looks."""


def _die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when the parent's thread ends (Linux)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        _kill_group()


def _kill_group() -> None:
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _watch(stdin: BinaryIO) -> None:
    """Wait for the end of the pipe from the parent."""
    while stdin.read(1):
        continue
    _kill_group()


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
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return os.fdopen(ours, "wb", buffering=0)


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


def main() -> int:
    """Run the call that stands on stdin."""
    parent, memory_gib = int(sys.argv[1]), float(sys.argv[2])
    _die_with_parent(parent)
    _limit_memory(memory_gib)
    # Ctrl-C reaches the whole terminal; the parent decides what becomes of a case.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = _private_stdout()
    stdin = os.fdopen(os.dup(0), "rb", buffering=0)
    line = b""
    while not line.endswith(b"\n"):
        piece = stdin.read(65536)
        if not piece:
            return 1
        line += piece
    threading.Thread(target=_watch, args=(stdin,), daemon=True).start()
    out.write(_run(IsolatedCall.from_line(line), out).to_line())
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # No waiting for threads or finalisers: the result is out, the files are closed.
    os._exit(status)
