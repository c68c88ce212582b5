"""What is too large or hangs is refused before it costs anything."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from cases.series import datasets, phantom_ct, save
from cemscope.dicom import InputLimits, ReadSettings, list_series, read_series
from cemscope.dicom.decode_worker import codestream_size
from cemscope.dicom.decoder_process import DecoderProcess
from cemscope.dicom.header import SliceHeader
from cemscope.errors import NoSeriesError, SeriesError, UnreadablePixelsError
from cemscope.testing.dicom_writer import PixelEncoding, WriteOptions


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (InputLimits(max_rows_columns=15), "16 rows or columns, expected at most 15"),
        (InputLimits(max_slices=19), "found 20 slices, expected at most 19"),
        (InputLimits(max_volume_gib=1e-6), "20 x 12 x 16 voxels need 0.0 GiB"),
    ],
    ids=["side", "slices", "volume"],
)
def test_sizes_are_checked_before_allocation(
    limits: InputLimits, words: str, tmp_path: Path
) -> None:
    folder = save(datasets(), tmp_path / "ct")
    with pytest.raises(SeriesError, match=words):
        read_series(folder, settings=ReadSettings(limits=limits))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (InputLimits(max_archive_files=19), "20 files, expected at most 19"),
        (InputLimits(max_archive_gib=1e-5), "expected at most 1e-05 GiB"),
    ],
    ids=["files", "size"],
)
def test_archives_are_measured_before_they_are_read(
    limits: InputLimits, words: str, tmp_path: Path
) -> None:
    folder = save(datasets(), tmp_path / "ct")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    with pytest.raises(NoSeriesError, match=words):
        list_series(tmp_path / "a.zip", limits=limits)


def test_other_packers_are_refused(tmp_path: Path) -> None:
    """Python unpacks bzip2 and lzma without a limit."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("ct/0001", bytes(10_000))
    with pytest.raises(NoSeriesError, match="packed otherwise than by deflate"):
        list_series(tmp_path / "a.zip")


def _packed(tmp_path: Path) -> tuple[SliceHeader, Path]:
    options = WriteOptions(PixelEncoding.JPEG2000_LOSSLESS)
    folder = save(datasets(phantom_ct((11, 40, 36))), tmp_path / "ct", options)
    (series,) = list_series(folder)
    return series.headers[0], folder


def test_a_decoder_that_hangs_is_ended(tmp_path: Path) -> None:
    header, _ = _packed(tmp_path)
    decoder = DecoderProcess(InputLimits(decoder_timeout_s=0.01))
    with pytest.raises(UnreadablePixelsError, match=r"took over 0\.01 s"):
        decoder.decode(b"\xff\x4f\xff\x51", header.pixels, (40, 36))
    assert not decoder.is_alive


def test_a_decoder_that_dies_is_an_error_of_ours(tmp_path: Path) -> None:
    header, folder = _packed(tmp_path)
    # So little memory that not even its libraries can be loaded.
    decoder = DecoderProcess(InputLimits(decoder_memory_gib=0.01))
    with pytest.raises(UnreadablePixelsError, match=r"crashed|cannot read"):
        decoder.decode(b"\xff\x4f\xff\x51", header.pixels, (40, 36))
    decoder.close()
    assert np.isfinite(read_series(folder).hu).all()


@pytest.mark.parametrize(
    ("codestream", "size"),
    [
        (
            b"\xff\x4f\xff\x51\x00\x2f\x00\x00" + (300).to_bytes(4, "big")
            + (200).to_bytes(4, "big") + bytes(8),
            (200, 300),
        ),
        (b"\xff\xd8\xff\xf7\x00\x0b\x10\x00\xc8\x01\x2c\x01", (200, 300)),
        (
            b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc3\x00\x0b\x10\x00\xc8\x01\x2c\x01",
            (200, 300),
        ),
        (b"\x01\x00\x00\x00", None),
        (b"\xff\xd8\xff", None),
        (b"", None),
    ],
    ids=["jpeg2000", "jpeg-ls", "jpeg", "rle", "cut", "empty"],
)  # fmt: skip
def test_codestreams_are_asked_for_their_size(
    codestream: bytes, size: tuple[int, int] | None
) -> None:
    assert codestream_size(codestream) == size
