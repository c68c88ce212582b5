"""Reads the headers of all files of an input, once."""

import logging
from collections import Counter
from dataclasses import dataclass, field, replace

from cemscope.dicom.decoder_process import start_decoders
from cemscope.dicom.deflated import is_deflated
from cemscope.dicom.files import (
    SNIFF_BYTES,
    FileEntry,
    InputFiles,
    looks_like_dicom,
)
from cemscope.dicom.header import HeaderError, SliceHeader, slice_headers
from cemscope.dicom.header_file import read_header
from cemscope.dicom.media import MediaDirectory, is_media_directory

logger = logging.getLogger(__name__)

_HEAD_BYTES = 1024
"""Enough for the file meta group."""

_ZIP_START = b"PK\x03\x04"


@dataclass(slots=True)
class InputHeaders:
    """What the files of an input say.

    Attributes
    ----------
    slices : list of SliceHeader
        All slices, in the order of their files.
    skipped_files : int
        Files that are no DICOM image (texts, pictures, a DICOMDIR).
    problems : Counter of str
        Why files that look like DICOM could not be read, and how many.
    media : MediaDirectory
        What DICOMDIR files list.
    closed_archives : int
        Zip archives inside the input, which are not opened; counted apart.
    """

    slices: list[SliceHeader] = field(default_factory=list)
    skipped_files: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    media: MediaDirectory = field(default_factory=MediaDirectory)
    closed_archives: int = 0

    @property
    def unreadable_files(self) -> int:
        """Files that look like DICOM but are damaged."""
        return sum(self.problems.values())


def read_input_headers(files: InputFiles, decode_soon: bool = False) -> InputHeaders:
    """Read the header of every DICOM file; pixels stay unread.

    Parameters
    ----------
    files
        The open input.
    decode_soon
        Whether to start decoders at the first compressed slice: they load while the
        other headers are read.
    """
    found = InputHeaders()
    for entry in files.entries():
        try:
            _read_file(entry, files, found)
        except HeaderError as error:
            found.problems[str(error)] += 1
        except Exception:  # noqa: BLE001 - pydicom raises anything on damage
            found.problems["the file or its header is damaged"] += 1
        if decode_soon and found.slices and found.slices[-1].pixels.is_compressed:
            decode_soon = False
            start_decoders(files.limits, found.slices[-1].pixels.transfer_syntax_uid)
    logger.debug(
        "%d slices, %d files skipped, %d unreadable",
        len(found.slices),
        found.skipped_files,
        found.unreadable_files,
    )
    return found


def _read_file(entry: FileEntry, files: InputFiles, found: InputHeaders) -> None:
    size = files.size(entry)
    with files.open(entry) as stream:
        head = stream.read(_HEAD_BYTES)
        if not looks_like_dicom(head[:SNIFF_BYTES]):
            if _is_archive(entry, head):
                found.closed_archives += 1
            else:
                found.skipped_files += 1
            return
        deflated = is_deflated(head)
        if not deflated:
            dataset, pixels = read_header(stream, head, size, files.limits)
    if deflated:
        entry = replace(entry, deflated=True)
        with files.open(entry) as stream:
            dataset, pixels = read_header(stream, b"", None, files.limits)
    if is_media_directory(dataset):
        found.media.add(dataset)
        found.skipped_files += 1
        return
    found.slices.extend(slice_headers(dataset, entry, pixels, files.limits))


def _is_archive(entry: FileEntry, head: bytes) -> bool:
    """Tell a zip archive from the many office files and programs packed as one."""
    name = entry.member or entry.path.name
    return head.startswith(_ZIP_START) and name.lower().endswith(".zip")
