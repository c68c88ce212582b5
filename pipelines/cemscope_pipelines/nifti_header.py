"""What a NIfTI header says about place and names, read without ITK.

A NIfTI file can hold two positions, the qform and the sform, and a table of label
names. ITK picks one of the positions by rules of its own, tells nobody, and drops the
table; TotalSegmentator writes its class names into it.
"""

import gzip
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, cast
from xml.etree import ElementTree

import numpy as np

from cemscope.geometry import FloatArray

_EXTENSIONS_LIMIT = 4 * 1024 * 1024
"""Bytes of header extensions that are read; tables of names take some thousand."""

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class NiftiHeader:
    """Position and names of a NIfTI image.

    Attributes
    ----------
    sform_lps, qform_lps : ndarray, shape (4, 4), or None
        Map voxel (i, j, k, 1) to LPS mm; None where the header does not give them.
    sizes : tuple of int
        Number of voxels along i, j and k.
    label_names : mapping of int to str
        The table of names, if there is one.
    """

    sform_lps: FloatArray | None
    qform_lps: FloatArray | None
    sizes: tuple[int, int, int]
    label_names: Mapping[int, str]

    @property
    def forms_differ_mm(self) -> float:
        """Largest distance between both positions of a corner voxel, mm."""
        if self.sform_lps is None or self.qform_lps is None:
            return 0.0
        last = np.array(self.sizes, dtype=float) - 1
        unit = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1)
        corners = np.column_stack([unit.reshape(-1, 3) * last, np.ones(8)])
        gap = corners @ (self.sform_lps - self.qform_lps)[:3].T
        return float(np.linalg.norm(gap, axis=1).max())


def read_nifti_header(path: Path) -> NiftiHeader | None:
    """Read the header of a NIfTI-1 or NIfTI-2 file (.nii or .nii.gz).

    Returns
    -------
    NiftiHeader or None
        None where the file is no single-file NIfTI or is cut short.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                return _parsed(raw)
            with gzip.open(raw) as unpacked:
                return _parsed(cast("BinaryIO", unpacked))
    except (OSError, EOFError, struct.error, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class _Layout:
    """Offsets of the fields in a header of one version."""

    length: int
    dims: tuple[int, str]
    pixdim: tuple[int, str]
    vox_offset: tuple[int, str]
    codes: tuple[int, str]
    quaternion: tuple[int, str]
    rows: tuple[int, str]


_LAYOUTS: Mapping[int, _Layout] = MappingProxyType(
    {
        348: _Layout(
            348, (40, "8h"), (76, "8f"), (108, "f"), (252, "2h"), (256, "6f"),
            (280, "12f"),
        ),
        540: _Layout(
            540, (16, "8q"), (104, "8d"), (168, "q"), (344, "2i"), (352, "6d"),
            (400, "12d"),
        ),
    }
)  # fmt: skip
"""Field offsets of NIfTI-1 (348 bytes) and NIfTI-2 (540 bytes), from nifti1.h and
nifti2.h of the NIfTI standard (nifti.nimh.nih.gov)."""


def _parsed(file: BinaryIO) -> NiftiHeader | None:
    start = file.read(4)
    for order in ("<", ">"):
        layout = _LAYOUTS.get(struct.unpack(f"{order}i", start)[0])
        if layout is not None:
            break
    else:
        return None
    header = start + file.read(layout.length - 4)

    def field(place: tuple[int, str]) -> tuple[float, ...]:
        return struct.unpack_from(order + place[1], header, place[0])

    dims = field(layout.dims)
    qform_code, sform_code = field(layout.codes)
    sform = None
    if sform_code > 0:
        rows = np.array(field(layout.rows), dtype=np.float64).reshape(3, 4)
        sform = _LPS_FROM_RAS @ np.vstack([rows, [0.0, 0.0, 0.0, 1.0]])
    qform = None
    if qform_code > 0:
        qform = _LPS_FROM_RAS @ _from_quaternion(
            field(layout.quaternion), field(layout.pixdim)
        )
    size = int(field(layout.vox_offset)[0]) - layout.length
    extensions = file.read(min(max(size, 0), _EXTENSIONS_LIMIT))
    return NiftiHeader(
        sform,
        qform,
        (int(dims[1]), int(dims[2]), int(dims[3])),
        MappingProxyType(_names_in(extensions)),
    )


def _from_quaternion(
    values: tuple[float, ...], pixdim: tuple[float, ...]
) -> FloatArray:
    """Affine of a qform ("method 2" of nifti1.h): rotation, spacing, offset."""
    b, c, d, *offset = values
    a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    flip = -1.0 if pixdim[0] < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array([pixdim[1], pixdim[2], flip * pixdim[3]])
    affine[:3, 3] = offset
    return affine


def _names_in(extensions: bytes) -> dict[int, str]:
    """Label table of a Caret extension, the XML that Workbench introduced."""
    found = re.search(rb"<LabelTable>.*?</LabelTable>", extensions, re.DOTALL)
    # The table holds no entities; a document type could only do harm.
    if found is None or b"<!DOCTYPE" in extensions or b"<!ENTITY" in extensions:
        return {}
    try:
        table = ElementTree.fromstring(found.group())  # noqa: S314 - see above
        return {
            int(label.attrib["Key"]): (label.text or "").strip()
            for label in table.iter("Label")
        }
    except (ElementTree.ParseError, KeyError, ValueError):
        return {}
