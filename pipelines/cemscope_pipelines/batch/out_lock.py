"""One batch at a time writes to an output folder."""

import os
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from cemscope.errors import ConfigError

LOCK_FILE = ".batch.lock"


class OutLock:
    """Lock on an output folder; the system lets go of it when the process dies.

    Raises
    ------
    ConfigError
        If another batch holds it.
    """

    def __init__(self, out: Path) -> None:
        self._descriptor = os.open(out / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(self._descriptor)
        except OSError:
            holder = os.pread(self._descriptor, 200, 0) if _HAS_PREAD else b""
            os.close(self._descriptor)
            words = holder.decode("utf-8", "replace").strip()
            raise ConfigError(
                "--out: another batch is writing there"
                + (f" ({words})" if words else "")
                + "; wait for its end, or give another folder"
            ) from None
        if _HAS_PREAD:
            os.ftruncate(self._descriptor, 0)
            text = f"process {os.getpid()} on {socket.gethostname()}\n"
            os.pwrite(self._descriptor, text.encode(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)


_HAS_PREAD = hasattr(os, "pread")


if sys.platform == "win32":

    def _lock(descriptor: int) -> None:
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:

    def _lock(descriptor: int) -> None:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
