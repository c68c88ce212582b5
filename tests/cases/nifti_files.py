"""NIfTI files as other programs write them, made from the bytes of plain ones."""

import gzip
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

_HEADER_BYTES = 348
_SECTION_BYTES = 16
"""Extensions are padded to a multiple of this."""


def _read(path: Path) -> bytearray:
    return bytearray(gzip.decompress(path.read_bytes()))


def _write(path: Path, content: bytes | bytearray) -> None:
    path.write_bytes(gzip.compress(bytes(content), compresslevel=1))


def with_label_table(path: Path, names: Mapping[int, str]) -> None:
    """Add a table of names as TotalSegmentator does: a Caret extension in XML."""
    rows = "\n".join(
        f'<Label Key="{number}" Red="1.0" Green="0.0" Blue="0.0" Alpha="1">'
        f"<![CDATA[{name}]]></Label>"
        for number, name in names.items()
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?> <CaretExtension>  '
        '<VolumeInformation Index="0">   <LabelTable>\n'
        f"{rows}\n  </LabelTable>  </VolumeInformation></CaretExtension>"
    ).encode()
    size = -(-(len(text) + 8) // _SECTION_BYTES) * _SECTION_BYTES
    section = struct.pack("<ii", size, 0) + text.ljust(size - 8, b"\0")
    content = _read(path)
    struct.pack_into("<f", content, 108, _HEADER_BYTES + 4 + size)
    start = _HEADER_BYTES + 4
    extended = content[:_HEADER_BYTES] + b"\1\0\0\0" + section + content[start:]
    _write(path, extended)


def with_forms(
    path: Path,
    qform_code: int,
    sform_code: int,
    sform_ras: npt.NDArray[np.float64] | None = None,
) -> None:
    """Overwrite the codes of both positions, and the sform."""
    content = _read(path)
    struct.pack_into("<2h", content, 252, qform_code, sform_code)
    if sform_ras is not None:
        struct.pack_into("<12f", content, 280, *sform_ras[:3].ravel())
    _write(path, content)
