"""Runs `decode_worker` in processes of their own and keeps them for the next slice."""

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from pydicom.uid import (
    JPEG2000,
    AllTransferSyntaxes,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cemscope.dicom import decode_worker
from cemscope.dicom.hounsfield import StoredArray
from cemscope.dicom.limits import InputLimits
from cemscope.dicom.pixel_format import PixelFormat
from cemscope.errors import UnreadablePixelsError

_FAST_PLUGINS = {
    str(JPEGLSLossless): "pyjpegls",
    str(JPEGLSNearLossless): "pyjpegls",
    str(RLELossless): "pylibjpeg",
    str(JPEG2000): "pylibjpeg",
    str(JPEG2000Lossless): "pylibjpeg",
}
"""Measured for 512 x 512: JPEG-LS 14 instead of 56 ms, RLE 5 instead of 38 ms, JPEG
2000 45 instead of 53 ms."""

_PIPE_BYTES = 2**20
"""A slice of 512 x 512 passes a pipe of this size at once (0.5 MiB)."""

_MOST_DECODERS = 8
"""Eight read 600 slices in two to three seconds; each takes 35 MiB, and damage can
drive each to its limit of memory."""

_GRACE_S = 10.0
"""How much later a decoder ends itself than its reader would end it."""

_CANNOT_DECODE = "the decoder cannot read the pixels"


class NoDecoderError(UnreadablePixelsError):
    """No process can be started: nothing is wrong with the pixels."""


class DecoderProcess:
    """One decoder; it serves one slice at a time.

    Parameters
    ----------
    limits
        Its memory, and its time for one slice.
    transfer_syntax_uid
        What it will decode first; its library is loaded before that.
    """

    def __init__(self, limits: InputLimits, transfer_syntax_uid: str = "") -> None:
        self._limits = limits
        self._timed_out = False
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        # Headers can name anything as their syntax; a command line shows in lists.
        known = transfer_syntax_uid in AllTransferSyntaxes
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own script
                [
                    *(sys.executable, "-P", "-S", str(Path(decode_worker.__file__))),
                    str(int(limits.decoder_memory_gib * 1024)),
                    str(limits.decoder_timeout_s + _GRACE_S),
                    transfer_syntax_uid if known else "",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError:
            raise NoDecoderError(
                "no process to decode the pixels can be started: this computer allows "
                "no more processes or memory. Close other programs, or set "
                "reading.limits.decoder_processes to 1"
            ) from None
        _widen(self._process.stdin)
        _widen(self._process.stdout)

    @property
    def is_alive(self) -> bool:
        """Whether it can serve another slice."""
        return self._process.poll() is None

    def serves(self, limits: InputLimits) -> bool:
        """Whether it was started under these limits and still runs."""
        return self._limits == limits and self.is_alive

    def decode(
        self, codestream: bytes, pixels: PixelFormat, shape: tuple[int, int]
    ) -> StoredArray:
        """Decode the stored values of one slice, before rescale.

        Raises
        ------
        UnreadablePixelsError
            If it cannot be decoded, has another size, crashes the decoder or takes
            too long. What the decoder says is left out: it can quote the header.
        """
        timer = threading.Timer(self._limits.decoder_timeout_s, self._give_up)
        timer.start()
        try:
            kind, answer = self._ask(codestream, pixels, shape)
        except (OSError, EOFError):
            self.close()
            if self._timed_out:
                seconds = self._limits.decoder_timeout_s
                raise UnreadablePixelsError(
                    f"decoding the pixels took over {seconds:g} s"
                ) from None
            reason = "the decoder crashed on the pixels"
            raise UnreadablePixelsError(reason) from None
        finally:
            timer.cancel()
        if kind == decode_worker.OTHER_SIZE:
            rows, columns = decode_worker.SIZE.unpack(answer)
            raise UnreadablePixelsError(
                f"expected {shape[0]} x {shape[1]} pixels, found {rows} x {columns}"
            )
        if kind != decode_worker.DECODED or len(answer) != 2 * shape[0] * shape[1]:
            raise UnreadablePixelsError(_CANNOT_DECODE)
        stored: StoredArray = np.frombuffer(answer, "<i2" if pixels.signed else "<u2")
        return stored.reshape(shape)

    def _ask(
        self, codestream: bytes, pixels: PixelFormat, shape: tuple[int, int]
    ) -> tuple[int, bytes]:
        request = json.dumps(
            {
                "transfer_syntax_uid": pixels.transfer_syntax_uid,
                "plugin": _FAST_PLUGINS.get(pixels.transfer_syntax_uid, ""),
                "photometric": pixels.photometric,
                "signed": pixels.signed,
                "bits_allocated": pixels.bits_allocated,
                "bits_stored": pixels.bits_stored,
                "rows": shape[0],
                "columns": shape[1],
            }
        ).encode()
        source, sink = self._process.stdout, self._process.stdin
        if source is None or sink is None:
            raise EOFError
        sink.write(decode_worker.REQUEST.pack(len(request), len(codestream)))
        sink.write(request + codestream)
        sink.flush()
        head = source.read(decode_worker.ANSWER.size)
        if len(head) < decode_worker.ANSWER.size:
            raise EOFError
        kind, length = decode_worker.ANSWER.unpack(head)
        if length > 2 * shape[0] * shape[1]:
            raise EOFError
        answer = source.read(length)
        if len(answer) < length:
            raise EOFError
        return kind, answer

    def _give_up(self) -> None:
        self._timed_out = True
        self._process.kill()

    def kill(self) -> None:
        """End the process under a slice; whoever waits for that gets an error."""
        self._process.kill()

    def close(self) -> None:
        """End the process."""
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue
        self._process.wait()


_idle: "queue.SimpleQueue[DecoderProcess]" = queue.SimpleQueue()
"""Decoders without work; starting one takes as long as decoding ten slices."""


def decoder_count(limits: InputLimits) -> int:
    """How many slices are decoded at the same time."""
    if limits.decoder_processes:
        return limits.decoder_processes
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        processors = os.cpu_count() or 1
    return min(processors, _MOST_DECODERS)


def start_decoders(limits: InputLimits, transfer_syntax_uid: str) -> None:
    """Start the decoders that a series will need, so that they load meanwhile.

    What cannot be started now is started, or fails, when a slice needs it.

    Parameters
    ----------
    limits
        As of the series.
    transfer_syntax_uid
        As of its slices.
    """
    for _ in range(decoder_count(limits) - _idle.qsize()):
        try:
            _idle.put(DecoderProcess(limits, transfer_syntax_uid))
        except NoDecoderError:
            return


@contextmanager
def borrowed_decoder(
    limits: InputLimits, transfer_syntax_uid: str
) -> Iterator[DecoderProcess]:
    """Lend a decoder process; it is kept for the next slice or series.

    Raises
    ------
    NoDecoderError
        If none is idle and none can be started.
    """
    decoder = _idle_decoder(limits) or DecoderProcess(limits, transfer_syntax_uid)
    try:
        yield decoder
    except UnreadablePixelsError:
        if decoder.is_alive:
            _idle.put(decoder)
        raise
    except BaseException:
        # An answer may still be under way.
        decoder.close()
        raise
    _idle.put(decoder)


def _idle_decoder(limits: InputLimits) -> DecoderProcess | None:
    while True:
        try:
            decoder = _idle.get_nowait()
        except queue.Empty:
            return None
        if decoder.serves(limits):
            return decoder
        decoder.close()


def _widen(pipe: IO[bytes] | None) -> None:
    """Make a pipe large; on Linux, and while the user's share of pipes lasts."""
    try:
        import fcntl

        if pipe is not None:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        return


def _forget_idle() -> None:
    # A forked child shares the pipes, but not the right to use them.
    global _idle
    _idle = queue.SimpleQueue()


@atexit.register
def close_idle_decoders() -> None:
    """End all decoders without work."""
    while True:
        try:
            _idle.get_nowait().close()
        except queue.Empty:
            return


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_idle)
