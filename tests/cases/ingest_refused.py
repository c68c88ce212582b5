"""Inputs beyond single series that must be refused: damaged, hostile, ambiguous."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.encaps import encapsulate, get_frame

from cases.enhanced import enhanced_ct
from cases.series import datasets, phantom_ct, save
from cemscope.errors import (
    DuplicateSliceError,
    NoSeriesError,
    SeriesError,
    UnevenSpacingError,
    UnreadablePixelsError,
    UnsupportedTransferSyntaxError,
)
from cemscope.testing.dicom_writer import PixelEncoding, WriteOptions, write_dataset


@dataclass(frozen=True, slots=True)
class RefusedCase:
    """An input that must be refused; ``words`` stand in the error message."""

    name: str
    fault: str
    write: Callable[[Path], Path]
    error: type[SeriesError]
    words: tuple[str, ...]


def _path_of(folder: Path, instance: int) -> Path:
    for path in folder.iterdir():
        if pydicom.dcmread(path, stop_before_pixels=True).InstanceNumber == instance:
            return path
    raise LookupError(instance)


def _truncated(folder: Path) -> Path:
    ct = save(datasets(), folder / "ct")
    path = _path_of(ct, 7)
    path.write_bytes(path.read_bytes()[:-100])
    return ct


def _damaged_header(folder: Path) -> Path:
    ct = save(datasets(), folder / "ct")
    path = _path_of(ct, 12)
    path.write_bytes(path.read_bytes()[:200])
    return ct


def _codestream(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        options = WriteOptions(PixelEncoding.JPEG2000_LOSSLESS)
        ct = save(datasets(phantom_ct((11, 40, 36))), folder / "ct", options)
        path = _path_of(ct, 4)
        dataset = pydicom.dcmread(path)
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        dataset.PixelData = encapsulate([change(frame)])
        dataset.save_as(path)
        return ct

    return write


def _enlarge(codestream: bytes) -> bytes:
    """Let a JPEG 2000 codestream claim 60,000 x 60,000 pixels."""
    start = codestream.index(b"\xff\x4f\xff\x51") + 8
    return (
        codestream[:start] + struct.pack(">II", 60000, 60000) + codestream[start + 8 :]
    )


def _phases(folder: Path) -> Path:
    second = datasets(phantom_ct())
    for index, dataset in enumerate(second):
        dataset.SOPInstanceUID = f"2.25.{index + 1}"
        dataset.PixelData = dataset.PixelData[::-1]
    return save([*datasets(), *second], folder / "ct")


def _unknown_syntax(folder: Path) -> Path:
    ct = save(datasets(), folder / "ct")
    for path in ct.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
        dataset.PixelData = encapsulate([b"\x00" * 8])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
    return ct


def _no_dicom(folder: Path) -> Path:
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "empty.dcm").touch()
    (folder / "a" / "scan.nii").write_bytes(bytes(400))
    return folder / "a"


def _archive(fill: Callable[[zipfile.ZipFile], None]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            fill(archive)
        return folder / "a.zip"

    return write


def _slice_bytes() -> bytes:
    buffer = io.BytesIO()
    dataset = datasets()[0]
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _link(archive: zipfile.ZipFile) -> None:
    member = zipfile.ZipInfo("ct/0001")
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(member, "/etc/passwd")


def _claim_size(path: Path, size: int) -> None:
    """Let the directory of an archive claim another unpacked size."""
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place + 24 : place + 28] = size.to_bytes(4, "little")
    path.write_bytes(bytes(data))


def _bomb(folder: Path) -> Path:
    path = _archive(lambda a: a.writestr("ct/0001", _slice_bytes() + bytes(2**21)))(
        folder
    )
    _claim_size(path, 2**32 - 2)
    return path


def _deflate_bomb(folder: Path) -> Path:
    """A deflated data set of 0.1 MB that inflates to 140 MiB."""
    ct = save(datasets(), folder / "ct", WriteOptions(PixelEncoding.DEFLATED))
    path = _path_of(ct, 12)
    data = path.read_bytes()
    meta_end = 144 + int.from_bytes(data[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    piece = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(data[:meta_end] + piece * 140)
    return ct


def _claiming(**values: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        slices = datasets()
        for dataset in slices:
            for name, value in values.items():
                setattr(dataset, name, value)
        return save(slices, folder / "ct")

    return write


def _claimed_frames(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    dataset = enhanced_ct(datasets())
    dataset.NumberOfFrames = 2_000_000_000
    write_dataset(dataset, folder / "enhanced", WriteOptions())
    return folder


def _free_syntax(folder: Path) -> Path:
    ct = save(datasets(), folder / "ct")
    for path in ct.iterdir():
        proper, text = b"1.2.840.10008.1.2.1\0", b"what is this syntax?"
        path.write_bytes(path.read_bytes().replace(proper, text))
    return ct


HOSTILE_CASES = (
    RefusedCase(
        "truncated_file",
        "one file cut short in its pixels",
        _truncated,
        UnreadablePixelsError,
        ("1 of 20 slices", "instance 7", "expected 384 bytes", "ends after 284"),
    ),
    RefusedCase(
        "damaged_header",
        "one file inside cut short in its header",
        _damaged_header,
        UnevenSpacingError,
        ("1 slices are missing", "2.00 mm instead of 1.00 mm"),
    ),
    RefusedCase(
        "codestream_cut_short",
        "a JPEG 2000 slice cut short",
        _codestream(lambda c: c[: len(c) // 2]),
        UnreadablePixelsError,
        ("1 of 11 slices", "instance 4"),
    ),
    RefusedCase(
        "codestream_of_noise",
        "a JPEG 2000 slice overwritten with noise",
        _codestream(lambda c: c[:2] + bytes(range(256)) * 4),
        UnreadablePixelsError,
        ("1 of 11 slices", "instance 4"),
    ),
    RefusedCase(
        "codestream_of_other_size",
        "a JPEG 2000 slice that claims 60,000 x 60,000 pixels",
        _codestream(_enlarge),
        UnreadablePixelsError,
        ("expected 40 x 36 pixels, found 60000 x 60000",),
    ),
    RefusedCase(
        "two_phases",
        "two phases under one series UID without any label",
        _phases,
        DuplicateSliceError,
        ("20 slice positions", "one acquisition and one reconstruction"),
    ),
    RefusedCase(
        "unknown_syntax",
        "a transfer syntax without decoder",
        _unknown_syntax,
        UnsupportedTransferSyntaxError,
        ("MPEG2", "Explicit VR Little Endian"),
    ),
    RefusedCase(
        "free_syntax",
        "free text for a transfer syntax",
        _free_syntax,
        UnsupportedTransferSyntaxError,
        ("(unnamed)",),
    ),
    RefusedCase(
        "no_dicom",
        "no DICOM file at all",
        _no_dicom,
        NoSeriesError,
        ("2 files of other kinds, 0 damaged",),
    ),
    RefusedCase(
        "huge_slices",
        "slices that claim 60,000 x 60,000 pixels",
        _claiming(Rows=60000, Columns=60000),
        SeriesError,
        ("60000 rows or columns, expected at most 4096",),
    ),
    RefusedCase(
        "many_frames",
        "an object that claims 2,000,000,000 frames",
        _claimed_frames,
        NoSeriesError,
        ("claims 2000000000 frames, expected at most 20000",),
    ),
    RefusedCase(
        "path_traversal",
        "a zip with names that lead out of it",
        _archive(lambda a: a.writestr("../../ct/0001", _slice_bytes())),
        NoSeriesError,
        ("1 names in it lead outside", "path traversal"),
    ),
    RefusedCase(
        "absolute_path",
        "a zip with an absolute name",
        _archive(lambda a: a.writestr("C:\\ct\\0001", _slice_bytes())),
        NoSeriesError,
        ("lead outside",),
    ),
    RefusedCase(
        "link", "a zip with a symbolic link", _archive(_link), NoSeriesError,
        ("1 of its members are symbolic links",),
    ),
    RefusedCase(
        "zip_bomb",
        "a zip of 5 kB that unpacks to 4 GiB",
        _bomb,
        NoSeriesError,
        ("unpacks to 4.0 GiB", "zip bomb"),
    ),
    RefusedCase(
        "deflate_bomb",
        "a deflated data set of 0.1 MB that inflates to 140 MiB",
        _deflate_bomb,
        UnevenSpacingError,
        ("1 slices are missing",),
    ),
)  # fmt: skip
"""Each is refused by `read_series` with its own error."""
