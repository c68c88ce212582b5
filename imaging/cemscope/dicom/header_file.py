"""Reads the header of one DICOM file, and finds where its pixels lie.

The header is read into memory piece by piece, so that no length it claims can make
pydicom ask for more than the file holds.
"""

import io
from typing import BinaryIO

import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cemscope.dicom.limits import MIB, InputLimits
from cemscope.dicom.pixel_format import PixelElement

FIRST_PIECE_BYTES = 16 * 1024
_GROWTH = 8
_PIXEL_DATA = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
_UNDEFINED = 0xFFFFFFFF


def read_header(
    stream: BinaryIO, head: bytes, size: int | None, limits: InputLimits
) -> tuple[FileDataset, PixelElement | None]:
    """Read a file up to its pixels; preamble and file meta group may lack.

    Parameters
    ----------
    stream
        Behind ``head``.
    head
        What was read of the file already.
    size
        Bytes of the file, where known.
    limits
        A longer header is refused.

    Returns
    -------
    tuple of FileDataset and PixelElement or None
        The latter is None where the file ends before its pixels.

    Raises
    ------
    Exception
        Of any kind, with header values in its text, if the file is damaged.
    """
    data, limit = head, int(limits.max_header_mib * MIB)
    piece = FIRST_PIECE_BYTES
    while True:
        data += _read_fully(stream, piece - len(data))
        is_whole = len(data) < piece
        with io.BytesIO(data) as buffer:
            try:
                dataset = pydicom.dcmread(buffer, force=True, stop_before_pixels=True)
                place = buffer.tell()
            except Exception:
                if is_whole or piece >= limit:
                    raise
            else:
                pixels = _pixel_element(data[place : place + 12], place, dataset)
                if pixels is not None or is_whole:
                    break
        if piece >= limit:
            raise OSError(f"the header is longer than {limits.max_header_mib:g} MiB")
        piece = min(piece * _GROWTH, limit)
    if is_whole:
        size = len(data)
    if pixels is not None and size is not None:
        pixels = PixelElement(pixels.offset, pixels.length, size - pixels.offset)
    _name_syntax(dataset)
    return dataset, pixels


def _read_fully(stream: BinaryIO, count: int) -> bytes:
    pieces = []
    while count > 0:
        piece = stream.read(count)
        if not piece:
            break
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _pixel_element(
    head: bytes, place: int, dataset: FileDataset
) -> PixelElement | None:
    """Parse the head of PixelData; None where something else stands there."""
    if len(head) < 8 or head[:4] not in _PIXEL_DATA:
        return None
    implicit, little = dataset.original_encoding
    if implicit:
        start, field = 8, head[4:8]
    elif head[4:6] in (b"OW", b"OB", b"UN") and len(head) == 12:
        start, field = 12, head[8:12]
    else:
        return None
    length = int.from_bytes(field, "little" if little else "big")
    return PixelElement(place + start, None if length == _UNDEFINED else length, None)


def _name_syntax(dataset: FileDataset) -> None:
    """Give a bare data set the transfer syntax that it was read with."""
    if "TransferSyntaxUID" in dataset.file_meta:
        return
    implicit, little = dataset.original_encoding
    dataset.file_meta.TransferSyntaxUID = (
        ImplicitVRLittleEndian
        if implicit
        else ExplicitVRLittleEndian
        if little
        else ExplicitVRBigEndian
    )
