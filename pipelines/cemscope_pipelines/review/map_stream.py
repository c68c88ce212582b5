"""Label maps read and written slice by slice: what is not marked takes no memory."""

import contextlib
import gzip
import mmap
import os
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

from cemscope.errors import ExportError, LabelMapError
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.scan_region import Box
from cemscope.volume import LabelArray, LabelMap
from cemscope_pipelines.label_files import read_label_map, write_label_map
from cemscope_pipelines.nifti_header import read_nifti_header

_UINT8 = 2
"""Data type code of bytes, from nifti1.h of the NIfTI standard."""

_HEADER_BYTES = 348

_GZIP_LEVEL = 1
"""Label maps are mostly runs of equal bytes."""


def read_map(path: Path) -> LabelMap:
    """Read a label map as `read_label_map` does, but sparingly.

    A map of bytes in a .nii.gz file, as `cemscope analyze` writes it, is unpacked
    slice by slice into an array of zeros, of which only what is marked takes memory.
    Other files are read as a whole.

    Raises
    ------
    LabelMapError
        If the file is missing or damaged.
    """
    try:
        found = _streamed(path)
    except (OSError, EOFError, zlib.error, struct.error):
        found = None
    return read_label_map(path) if found is None else found


def _streamed(path: Path) -> LabelMap | None:
    if not path.name.endswith(".nii.gz"):
        return None
    header = read_nifti_header(path)
    if header is None:
        return None
    form = header.qform_lps if header.sform_lps is None else header.sform_lps
    if form is None:
        return None
    with gzip.open(path) as file:
        offset = _offset_of(file.read(_HEADER_BYTES))
        if offset is None:
            return None
        columns, rows, slices = header.sizes
        file.read(offset - _HEADER_BYTES)
        labels = sparse_zeros((slices, rows, columns))
        for part in labels:
            content = np.frombuffer(file.read(rows * columns), np.uint8)
            if content.size < rows * columns:
                raise LabelMapError(f"{path.name} is cut short")
            if not content.any():
                continue
            lines = content.reshape(rows, columns)
            marked = np.flatnonzero(lines.any(axis=1))
            part[marked[0] : marked[-1] + 1] = lines[marked[0] : marked[-1] + 1]
        file.read(1)  # checks the sum at the end of the file
    affine = form.copy()
    affine[:, :3] = form[:, 2::-1]  # array axes run (k, j, i)
    return LabelMap(labels, VoxelGeometry((slices, rows, columns), affine))


def sparse_zeros(shape: tuple[int, int, int]) -> LabelArray:
    """Make an empty label map of which only what is written to takes memory.

    numpy asks for huge pages: there a single mark takes 2 MiB, which is eight slices.
    """
    if sys.platform == "win32":
        return np.zeros(shape, np.uint8)
    size = int(np.prod(shape))
    # Private: a page of shared memory is made when it is read.
    memory = mmap.mmap(-1, max(size, 1), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    labels: LabelArray = np.frombuffer(memory, np.uint8, size).reshape(shape)
    return labels


def write_map(labels: LabelMap, table: LabelArray, path: Path, like: Path) -> None:
    """Write a label map beside the one that it corrects, slice by slice.

    Parameters
    ----------
    labels
        The map; its codes are translated as they are written.
    table
        Code in the file for each code of the map, shape (256,).
    path
        File to write; an existing one is replaced as a whole.
    like
        The machine's map on the same grid, whose header is taken over.

    Raises
    ------
    ExportError
        If the file cannot be written.
    """
    part: str | None = None
    try:
        header = _header_of(like)
        if header is None:
            write_label_map(LabelMap(table[labels.labels], labels.geometry), path)
            return
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as raw:
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as file:
                file.write(header)
                for slice_ in labels.labels:
                    file.write(np.ascontiguousarray(table[slice_]).data)
            raw.flush()
            os.fsync(raw.fileno())
        Path(part).chmod(like.stat().st_mode)
        Path(part).replace(path)
    except OSError as error:
        if part is not None:
            Path(part).unlink(missing_ok=True)
        raise ExportError(f"{path.name} cannot be written: {error.strerror}") from error


def _header_of(path: Path) -> bytes | None:
    """Everything before the voxels of a map of bytes; None for other files."""
    if not path.name.endswith(".nii.gz"):
        return None
    try:
        with gzip.open(path) as file:
            start = file.read(_HEADER_BYTES)
            offset = _offset_of(start)
            return None if offset is None else start + file.read(offset - len(start))
    except (OSError, EOFError, zlib.error, struct.error):
        return None


def _offset_of(header: bytes) -> int | None:
    """Place of the first voxel; None where the file is no plain map of bytes."""
    if struct.unpack_from("<i", header)[0] != _HEADER_BYTES:
        return None
    dims = struct.unpack_from("<8h", header, 40)
    datatype, bits = struct.unpack_from("<2h", header, 70)
    offset, slope, inter = struct.unpack_from("<3f", header, 108)
    plain = (slope, inter) in ((0.0, 0.0), (1.0, 0.0))
    if (dims[0], datatype, bits) != (3, _UINT8, 8) or not plain:
        return None
    return int(offset)


def marked_box(labels: LabelArray) -> Box | None:
    """Smallest box that holds all labels; None for an empty map.

    Works slice by slice: no copy of the map is made.
    """
    slices = np.flatnonzero([bool(part.any()) for part in labels])
    if not len(slices):
        return None
    used = slice(int(slices[0]), int(slices[-1]) + 1)
    rows = np.zeros(labels.shape[1], np.bool_)
    columns = np.zeros(labels.shape[2], np.bool_)
    for part in labels[used]:
        rows |= part.any(axis=1)
        columns |= part.any(axis=0)
    return used, _span(rows), _span(columns)


def _span(line: np.ndarray) -> slice:
    marked = np.flatnonzero(line)
    return slice(int(marked[0]), int(marked[-1]) + 1)
