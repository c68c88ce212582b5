"""Gets the stored values of slices out of their files."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from pydicom.encaps import generate_frames

from cemscope.dicom.header import SliceHeader
from cemscope.dicom.hounsfield import StoredArray
from cemscope.dicom.limits import GIB, InputLimits
from cemscope.errors import UnreadablePixelsError
from cemscope.volume import HUArray

_CUT_SHORT = "the file is cut short or damaged"


def require_pixels(header: SliceHeader) -> None:
    """Check, as far as the header tells, that a file holds the pixels it claims.

    Raises
    ------
    UnreadablePixelsError
        If native pixels are missing, cut short or too long.
    """
    element = header.pixel_element
    if element is None:
        raise UnreadablePixelsError("the pixel data are missing")
    if header.pixels.is_compressed:
        return
    expected = 2 * header.rows * header.columns * header.frame_count
    claimed = element.length
    if claimed is None or not expected <= claimed <= expected + 1:
        raise UnreadablePixelsError(
            f"expected {expected} bytes of pixels, found {claimed or 0}"
        )
    if element.available is not None and element.available < expected:
        raise UnreadablePixelsError(
            f"expected {expected} bytes of pixels, the file ends after "
            f"{max(element.available, 0)}"
        )


def read_native(stream: BinaryIO, header: SliceHeader, target: HUArray) -> StoredArray:
    """Read the uncompressed stored values of one slice.

    Parameters
    ----------
    stream
        The file; frames of one file must be read in their order where it cannot go
        back.
    header
        The slice.
    target
        Contiguous int16 memory of the slice's shape; the result lies in it.

    Raises
    ------
    UnreadablePixelsError
        If the file ends before the slice does.
    """
    require_pixels(header)
    element = header.pixel_element
    if element is None:
        raise UnreadablePixelsError(_CUT_SHORT)
    stream.seek(element.offset + header.frame_index * target.nbytes)
    memory = target.reshape(-1).view(np.uint8).data
    filled = 0
    while filled < target.nbytes:
        count = stream.readinto(memory[filled:])  # type: ignore[attr-defined]  # of all streams
        if not count:
            raise UnreadablePixelsError(
                f"expected {target.nbytes} bytes of pixels, the file ends after "
                f"{filled}"
            )
        filled += count
    stored = target.view("<u2" if header.pixels.is_little_endian else ">u2")
    if not stored.dtype.isnative:
        stored.byteswap(inplace=True)
    return target if header.pixels.signed else target.view(np.uint16)


def read_pixel_bytes(
    stream: BinaryIO, header: SliceHeader, limits: InputLimits
) -> bytes:
    """Pixels of a slice as they are stored, to be compared.

    Raises
    ------
    UnreadablePixelsError
        If they are missing or damaged.
    """
    if header.pixels.is_compressed:
        for index, codestream in enumerate(read_codestreams(stream, header, limits)):
            if index == header.frame_index:
                return codestream
        raise UnreadablePixelsError(_CUT_SHORT)
    require_pixels(header)
    memory = np.empty((header.rows, header.columns), dtype=np.int16)
    return read_native(stream, header, memory).tobytes()


def read_codestreams(
    stream: BinaryIO, first: SliceHeader, limits: InputLimits
) -> Iterator[bytes]:
    """Compressed frames of one file, in their order.

    Raises
    ------
    UnreadablePixelsError
        If there are none, fewer than the header claims, or too many bytes of them.
    """
    require_pixels(first)
    element = first.pixel_element
    if element is None or element.length is not None:
        raise UnreadablePixelsError("the pixel data are not encapsulated")
    stream.seek(element.offset)
    limit = int(limits.max_file_gib * GIB)
    if element.available is not None:
        limit = min(limit, element.available + 1)
    data = stream.read(limit)
    if len(data) >= int(limits.max_file_gib * GIB):
        raise UnreadablePixelsError(
            f"expected at most {limits.max_file_gib:g} GiB of compressed pixels"
        )
    frames = generate_frames(data, number_of_frames=first.frame_count)
    count = 0
    while True:
        try:
            frame = next(frames)
        except StopIteration:
            break
        except Exception:  # noqa: BLE001 - pydicom raises anything on damage
            raise UnreadablePixelsError(_CUT_SHORT) from None
        count += 1
        if count > first.frame_count:
            break
        yield frame
    if count != first.frame_count:
        found = f"{count} frames" if count < first.frame_count else "more"
        raise UnreadablePixelsError(
            f"expected {first.frame_count} frames of pixels, found {found}"
        )
