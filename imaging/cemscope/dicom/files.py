"""Finds the files of an input: a folder, one file, or a zip archive.

Nothing is unpacked to disk: zip members are read in memory, so a member's path
cannot lead anywhere and nothing is left behind.
"""

import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from cemscope.dicom.archive import open_archive
from cemscope.dicom.deflated import inflate_dataset
from cemscope.dicom.limits import InputLimits
from cemscope.errors import NoSeriesError

_PREFIX_OFFSET = 128
SNIFF_BYTES = _PREFIX_OFFSET + 4
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
_MAX_FIRST_LENGTH = 1024

READ_ERRORS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)
"""What reading a damaged, locked or encrypted file can raise."""


@dataclass(frozen=True, slots=True, order=True)
class FileEntry:
    """One file on disk, or one member of a zip archive.

    Paths can hold a patient's name: neither goes into a message or a log.

    Attributes
    ----------
    path : Path
        File or archive.
    member : str or None
        Name in the archive.
    deflated : bool
        Whether the data set in it is deflated; `InputFiles.open` inflates it.
    """

    path: Path
    member: str | None = None
    deflated: bool = False


class InputFiles:
    """The files of one input; a context manager, because zip archives stay open.

    Parameters
    ----------
    path
        Folder (searched with its subfolders), DICOM file or zip archive. A DICOMDIR
        stands for the folder it lies in.
    limits
        What is too large to be read.

    Raises
    ------
    NoSeriesError
        If the path does not exist, the file is locked or damaged, or an archive is
        not safe to read.
    """

    def __init__(self, path: Path, limits: InputLimits | None = None) -> None:
        self._path = path
        self.limits = limits or InputLimits()
        self._archive: zipfile.ZipFile | None = None
        if not path.exists():
            raise NoSeriesError(
                "expected a folder, a DICOM file or a zip archive, but the input path "
                "does not exist. Check its spelling."
            )
        if path.is_file() and path.name.upper() == "DICOMDIR":
            self._path = path.parent
        elif path.is_file():
            try:
                if _is_zip(path):
                    self._archive = open_archive(path, self.limits)
            except READ_ERRORS:
                raise NoSeriesError(
                    "the input file cannot be opened: it is locked or damaged. "
                    "Check its permissions, or export it again."
                ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the archive, if there is one."""
        if self._archive is not None:
            self._archive.close()

    def entries(self) -> Iterator[FileEntry]:
        """All regular files, in the order of their names.

        Links to folders are not followed, so that the search ends; devices and pipes
        are left out.
        """
        if self._archive is not None:
            for name in sorted(
                {i.filename for i in self._archive.infolist() if not i.is_dir()}
            ):
                yield FileEntry(self._path, name)
        elif self._path.is_file():
            yield FileEntry(self._path)
        else:
            for folder, subfolders, names in os.walk(self._path):
                subfolders.sort()
                for name in sorted(names):
                    path = Path(folder, name)
                    if path.is_file():
                        yield FileEntry(path)

    @contextmanager
    def open(self, entry: FileEntry) -> Iterator[BinaryIO]:
        """Open a file for reading from its start to its end.

        Raises
        ------
        OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error
            One of `READ_ERRORS`, if the file cannot be read or inflates to too much.
        """
        with self._open_plain(entry) as stream:
            if entry.deflated:
                yield io.BytesIO(inflate_dataset(stream, self.limits))
            else:
                yield stream

    @contextmanager
    def _open_plain(self, entry: FileEntry) -> Iterator[BinaryIO]:
        if entry.member is None:
            with entry.path.open("rb", buffering=0) as stream:
                yield stream
        elif self._archive is not None:
            with self._archive.open(entry.member) as member:
                # typeshed calls it IO[bytes]; it reads, seeks and tells.
                yield member  # type: ignore[misc]
        else:
            with (
                InputFiles(entry.path, self.limits) as archive,
                archive.open(entry) as stream,
            ):
                yield stream

    def size(self, entry: FileEntry) -> int | None:
        """Bytes of a file; None where only reading it can tell."""
        if entry.deflated or (entry.member is not None and self._archive is None):
            return None
        if entry.member is None:
            return entry.path.stat().st_size
        assert self._archive is not None  # noqa: S101 - settled two lines above
        return self._archive.getinfo(entry.member).file_size


def looks_like_dicom(head: bytes) -> bool:
    """Tell from the first bytes whether a file holds a DICOM data set.

    Files without preamble, or without file meta group, are recognised by a first
    element of group 0002 or 0008 with a plausible VR or length.
    """
    if head[_PREFIX_OFFSET:SNIFF_BYTES] == b"DICM":
        return True
    if len(head) < 8 or head[:2] not in _FIRST_GROUPS or head[3] != 0:
        return False
    if head[4:6].isalpha() and head[4:6].isupper():
        return True
    return 0 < int.from_bytes(head[4:8], "little") <= _MAX_FIRST_LENGTH


def _is_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(SNIFF_BYTES)
    return not looks_like_dicom(head) and zipfile.is_zipfile(path)
