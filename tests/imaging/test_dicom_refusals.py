"""Series that must never become a volume in silence."""

import contextlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from cases.series import datasets, phantom_ct, save
from cemscope.dicom import list_series, read_series
from cemscope.errors import (
    NoSeriesError,
    SeriesError,
    UnevenSpacingError,
    UnreadablePixelsError,
)
from cemscope.testing.dicom_writer import PixelEncoding, WriteOptions


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSeriesError, match="0 files of other kinds, 0 damaged"):
        list_series(tmp_path)


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSeriesError, match="does not exist"):
        read_series(tmp_path / "nowhere")


def test_other_files_are_counted_and_refused(tmp_path: Path) -> None:
    (tmp_path / "note.dcm").write_text("not an image at all\n" * 20)
    (tmp_path / "empty.dcm").touch()
    Image.new("L", (8, 8)).save(tmp_path / "picture.png")
    with pytest.raises(NoSeriesError, match="3 files of other kinds, 0 damaged"):
        read_series(tmp_path)
    with pytest.raises(NoSeriesError, match="1 files of other kinds"):
        read_series(tmp_path / "note.dcm")


@pytest.mark.real_data
def test_all_faults_of_the_real_ge_series_are_named(cemscope_data: Path) -> None:
    with pytest.raises(UnevenSpacingError) as refusal:
        read_series(cemscope_data / "real-ge-tilt-irregular")
    message = str(refusal.value)
    for words in ("18.5 degrees", "1.14 mm", "4.22 mm", "7.38 mm", "28 slices"):
        assert words in message


@pytest.mark.parametrize(
    "encoding",
    [
        PixelEncoding.JPEG2000_LOSSLESS,
        PixelEncoding.JPEG_LS_LOSSLESS,
        PixelEncoding.JPEG_LOSSLESS,
        PixelEncoding.RLE,
    ],
    ids=lambda e: e.name.lower(),
)
def test_a_compressed_frame_that_is_cut_short_is_refused(
    encoding: PixelEncoding, tmp_path: Path
) -> None:
    """The file itself is whole: only the codestream in it ends too early."""
    slices = datasets(phantom_ct((12, 40, 36)))
    folder = save(slices, tmp_path / "ct", WriteOptions(encoding))
    (path,) = [p for p in folder.iterdir() if pydicom.dcmread(p).InstanceNumber == 4]
    dataset = pydicom.dcmread(path)
    frame = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = pydicom.encaps.encapsulate([frame[: len(frame) // 2]])
    dataset.save_as(path)
    with pytest.raises(UnreadablePixelsError, match=r"1 of 12 slices .* instance 4"):
        read_series(folder)


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_never_escapes_as_another_error(
    seed: int, tmp_path: Path
) -> None:
    """Bytes changed at random in one header: a volume or a refusal, nothing else."""
    rng = np.random.default_rng(seed)
    folder = save(datasets(phantom_ct((6, 4, 4), (2.0, 1.0, 1.0))), tmp_path / "ct")
    path = sorted(folder.iterdir())[seed % 6]
    data = bytearray(path.read_bytes())
    for place in rng.integers(0, len(data), 8):
        data[place] = rng.integers(256)
    path.write_bytes(bytes(data))
    with contextlib.suppress(SeriesError):
        assert read_series(folder).geometry.shape[1:] == (4, 4)
