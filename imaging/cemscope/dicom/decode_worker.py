"""Decodes compressed slices in a process of its own; started by `decoder_process`.

A decoder is a C library fed with bytes from outside: in its own process it can
neither crash nor starve the reader, and two of them decode at the same time. The
script reads requests from stdin and answers on stdout until stdin ends. It imports
nothing of cemscope, and pydicom only for what needs it, so that it starts fast.

Request: two little-endian uint32 (length of a JSON text, length of the codestream),
then both. Answer: one byte (0: done, 1: cannot be decoded, 2: another size), one
uint32, and as many bytes: the stored values, or two uint32 with rows and columns.
"""

import json
import logging
import os
import signal
import struct
import sys
import warnings
from typing import Any, BinaryIO

DECODED, UNREADABLE, OTHER_SIZE = range(3)
REQUEST = struct.Struct("<II")
ANSWER = struct.Struct("<BI")
SIZE = struct.Struct("<II")

_J2K_START = b"\xff\x4f\xff\x51"
_J2K_SIZE = struct.Struct(">IIII")
_J2K_DEPTH = struct.Struct(">HB")
_J2K_DEPTH_OFFSET = 40
_J2K_SIGNED = 0x80

_JPEG2000_UIDS = frozenset(
    ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
)  # fmt: skip
_JPEG_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC),
                          *range(0xCD, 0xD0), 0xF7))  # fmt: skip
_BARE_MARKERS = frozenset((0xD8, 0x01, *range(0xD0, 0xD8)))


def codestream_size(codestream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a codestream itself claims.

    Decoders allocate by them, whatever the DICOM header says.

    Returns
    -------
    tuple of int or None
        None where it is neither JPEG 2000 nor JPEG nor JPEG-LS.
    """
    start = codestream.find(_J2K_START, 0, 4096)
    if start >= 0 and len(codestream) >= start + 24:
        right, bottom, left, top = _J2K_SIZE.unpack_from(codestream, start + 8)
        return bottom - top, right - left
    if codestream[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(codestream) and codestream[place] == 0xFF:
        marker = codestream[place + 1]
        if marker in _JPEG_FRAMES:
            rows, columns = struct.unpack_from(">HH", codestream, place + 5)
            return rows, columns
        if marker == 0xFF:
            place += 1
        elif marker in _BARE_MARKERS:
            place += 2
        else:
            place += 2 + int.from_bytes(codestream[place + 2 : place + 4], "big")
    return None


def decode(codestream: bytes, request: dict[str, Any]) -> tuple[int, bytes]:
    """Answer to one request: its kind and its bytes."""
    shape = (request["rows"], request["columns"])
    claimed = codestream_size(codestream)
    if claimed is not None and claimed != shape:
        return OTHER_SIZE, SIZE.pack(*(max(0, n) % 2**32 for n in claimed))
    if is_plain_jpeg2000(codestream, request):
        from openjpeg.utils import decode_pixel_data

        values = decode_pixel_data(codestream, version=2)
        if len(values) != 2 * shape[0] * shape[1]:
            return UNREADABLE, b""
        return DECODED, bytes(values)
    return _decode_with_pydicom(codestream, request)


def is_plain_jpeg2000(codestream: bytes, request: dict[str, Any]) -> bool:
    """Whether a JPEG 2000 codestream holds the 16-bit words its header names.

    Bare, grey, and of the bits and sign of the DICOM header, as scanners write it:
    then nothing needs to be put right after decoding, and pydicom is not needed.
    """
    if request["transfer_syntax_uid"] not in _JPEG2000_UIDS:
        return False
    if not codestream.startswith(_J2K_START) or sys.byteorder != "little":
        return False
    if len(codestream) < _J2K_DEPTH_OFFSET + _J2K_DEPTH.size:
        return False
    components, depth = _J2K_DEPTH.unpack_from(codestream, _J2K_DEPTH_OFFSET)
    bits = (depth & ~_J2K_SIGNED) + 1
    return (
        components == 1
        and bits == request["bits_stored"]
        and request["bits_allocated"] == 16
        and 8 < bits <= 16
        and bool(depth & _J2K_SIGNED) == bool(request["signed"])
    )


def _decode_with_pydicom(
    codestream: bytes, request: dict[str, Any]
) -> tuple[int, bytes]:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder

    shape = (request["rows"], request["columns"])
    options: dict[str, Any] = {
        # Values outside the stored bits must show, not be masked to other values.
        "correct_unused_bits": False,
        "decoding_plugin": request["plugin"],
        "rows": shape[0],
        "columns": shape[1],
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": request["photometric"],
        "pixel_representation": int(request["signed"]),
        "bits_allocated": request["bits_allocated"],
        "bits_stored": request["bits_stored"],
        "pixel_keyword": "PixelData",
    }
    decoder = get_decoder(request["transfer_syntax_uid"])
    array, _ = decoder.as_array(encapsulate([codestream]), index=0, raw=True, **options)
    if array.shape != shape:
        return OTHER_SIZE, SIZE.pack(*array.shape[:2])
    return DECODED, array.astype("<i2" if request["signed"] else "<u2").tobytes()


def limit_memory(mebibytes: int) -> bool:
    """Take a limit on memory, as far as the system lets a process.

    Returns
    -------
    bool
        False where it does not: Windows has no such limit, and macOS refuses one
        below what a process maps at its start. The sizes that headers and
        codestreams claim are checked there all the same.
    """
    try:
        import resource
    except ImportError:  # Windows
        return False
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limit = mebibytes * 1024**2
        _, highest = resource.getrlimit(resource.RLIMIT_AS)
        if highest != resource.RLIM_INFINITY:
            # Of a cluster's job, say; nobody may raise it.
            limit = min(limit, highest)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (OSError, ValueError):
        return False
    return True


def _end_after(seconds: float) -> None:
    """End this process later, even inside a C library; 0 takes it back.

    The reader ends a decoder that takes too long. Should the reader be gone by then,
    nobody else would.
    """
    if hasattr(signal, "setitimer"):  # not on Windows
        signal.setitimer(signal.ITIMER_REAL, seconds)


def serve(source: BinaryIO, sink: BinaryIO, timeout_s: float = 0.0) -> None:
    """Answer requests until the source ends."""
    while True:
        head = source.read(REQUEST.size)
        if len(head) < REQUEST.size:
            return
        text_length, length = REQUEST.unpack(head)
        request = json.loads(source.read(text_length))
        codestream = source.read(length)
        _end_after(timeout_s)
        try:
            kind, answer = decode(codestream, request)
        except BaseException:  # noqa: BLE001 - Rust panics are no Exception
            kind, answer = UNREADABLE, b""
        _end_after(0.0)
        sink.write(ANSWER.pack(kind, len(answer)))
        sink.write(answer)
        sink.flush()


def _load_decoder(transfer_syntax_uid: str) -> None:
    """Import what the first request will need, before it comes."""
    if transfer_syntax_uid in _JPEG2000_UIDS:
        import openjpeg.utils  # noqa: F401 - loaded for later
    else:
        import pydicom.pixels.decoders.base  # noqa: F401 - loaded for later


def main() -> None:
    """Serve on stdin and stdout.

    The arguments are the memory limit in MiB, the seconds for one slice, and the
    transfer syntax expected.
    """
    # Ctrl-C reaches all processes of a terminal. The reader answers it, and closes
    # the pipes; a slice that was broken off must not look like a damaged one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_memory(int(sys.argv[1]))
    timeout_s = float(sys.argv[2])
    warnings.simplefilter("ignore")
    logging.disable()
    # What a library prints may not mix with the answers.
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _load_decoder(sys.argv[3])
    serve(sys.stdin.buffer, sink, timeout_s)


if __name__ == "__main__":
    main()
