"""Inflates data sets of the transfer syntax Deflated Explicit VR Little Endian.

pydicom inflates without a limit: a file of 1 MB can ask for 1 GB.
"""

import io
import zlib
from typing import BinaryIO

from pydicom.uid import DeflatedExplicitVRLittleEndian

from cemscope.dicom.limits import MIB, InputLimits

_PREFIX = 132
_GROUP_LENGTH_ELEMENT = b"\x02\x00\x00\x00UL\x04\x00"
_UID = str(DeflatedExplicitVRLittleEndian).encode()
_UID_ELEMENT = b"\x02\x00\x10\x00UI" + len(_UID).to_bytes(2, "little") + _UID


def is_deflated(head: bytes) -> bool:
    """Tell from the first kilobytes of a file whether its data set is deflated."""
    return _UID_ELEMENT in head


def inflate_dataset(stream: BinaryIO, limits: InputLimits) -> bytes:
    """Inflate the data set of a file, without its preamble and file meta group.

    Parameters
    ----------
    stream
        At the start of the file.

    Returns
    -------
    bytes
        Explicit VR little endian, from its first element on.

    Raises
    ------
    OSError, EOFError, zlib.error
        If the file is damaged or inflates to more than ``max_inflated_mib``.
    """
    limit = int(limits.max_inflated_mib * MIB)
    packed = stream.read(limit)
    start = _meta_end(packed)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    found = inflater.decompress(packed[start:], limit)
    if inflater.unconsumed_tail:
        raise OSError(f"the data set inflates to over {limits.max_inflated_mib:g} MiB")
    return found


def _meta_end(data: bytes) -> int:
    """Where the file meta group ends, by its group length."""
    with io.BytesIO(data) as stream:
        stream.seek(_PREFIX if data[_PREFIX - 4 : _PREFIX] == b"DICM" else 0)
        if stream.read(len(_GROUP_LENGTH_ELEMENT)) != _GROUP_LENGTH_ELEMENT:
            raise OSError("a deflated file without the length of its meta group")
        length = int.from_bytes(stream.read(4), "little")
        return stream.tell() + length
