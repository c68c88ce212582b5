"""Looks at a zip archive before anything in it is unpacked."""

import stat
import zipfile
from pathlib import Path, PurePosixPath

from cemscope.dicom.limits import GIB, InputLimits
from cemscope.errors import NoSeriesError

_METHODS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
"""What hospitals pack with. Python unpacks the other methods without a limit."""

_RATIO_COUNTS_FROM = 1 * GIB


def open_archive(path: Path, limits: InputLimits) -> zipfile.ZipFile:
    """Open a zip archive that is safe to read.

    Raises
    ------
    NoSeriesError
        If names lead out of the archive, members are links, or the archive unpacks
        to more than the limits allow.
    OSError, RuntimeError, zipfile.BadZipFile
        If it cannot be opened.
    """
    archive = zipfile.ZipFile(path)
    reason = _objection(archive.infolist(), path.stat().st_size, limits)
    if reason:
        archive.close()
        raise NoSeriesError(
            f"the zip archive is refused: {reason}. Nothing was unpacked. Ask for a "
            "plain export of the series, or give the folder that holds it."
        )
    return archive


def _objection(
    members: list[zipfile.ZipInfo], packed_bytes: int, limits: InputLimits
) -> str:
    """Why an archive must not be read; "" where it may."""
    if len(members) > limits.max_archive_files:
        return (
            f"it holds {len(members)} files, expected at most "
            f"{limits.max_archive_files}"
        )
    outside = sum(_leads_outside(m.filename) for m in members)
    if outside:
        return f"{outside} names in it lead outside of the archive (path traversal)"
    links = sum(stat.S_ISLNK(m.external_attr >> 16) for m in members)
    if links:
        return f"{links} of its members are symbolic links"
    odd = sum(m.compress_type not in _METHODS for m in members)
    if odd:
        return f"{odd} of its members are packed otherwise than by deflate"
    unpacked = sum(m.file_size for m in members)
    if unpacked > limits.max_archive_gib * GIB:
        return (
            f"it unpacks to {unpacked / GIB:.1f} GiB, expected at most "
            f"{limits.max_archive_gib:g} GiB"
        )
    ratio = unpacked / max(packed_bytes, 1)
    if unpacked > _RATIO_COUNTS_FROM and ratio > limits.max_archive_ratio:
        return (
            f"it unpacks to {unpacked / GIB:.1f} GiB, {ratio:.0f} times its size "
            f"(expected at most {limits.max_archive_ratio:g}): a zip bomb"
        )
    return ""


def _leads_outside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or name[1:3] in (":\\", ":/")
