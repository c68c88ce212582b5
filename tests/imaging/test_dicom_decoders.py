"""JPEG 2000 without pydicom: the same values, and only where nothing needs repair."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from openjpeg.utils import encode_array
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEG2000Lossless

from cases.series import SIGNED_12, datasets, phantom_ct, save
from cemscope.dicom import InputLimits, ReadSettings, read_series
from cemscope.dicom.decode_worker import DECODED, decode, is_plain_jpeg2000
from cemscope.dicom.decoder_process import (
    borrowed_decoder,
    close_idle_decoders,
    decoder_count,
    start_decoders,
)
from cemscope.testing.dicom_writer import PixelEncoding, WriteOptions

UNSIGNED = WriteOptions(PixelEncoding.JPEG2000_LOSSLESS, rescale_intercept=-1024.0)


def _slice(folder: Path, *, signed: bool) -> tuple[bytes, dict[str, Any], np.ndarray]:
    """A codestream, its request, and the values that pydicom makes of it."""
    ct = phantom_ct((5, 40, 36))
    stored = SIGNED_12 if signed else UNSIGNED
    save(datasets(ct, options=stored), folder, WriteOptions(UNSIGNED.encoding))
    dataset = pydicom.dcmread(folder / "0000")
    request = {
        "transfer_syntax_uid": str(dataset.file_meta.TransferSyntaxUID),
        "plugin": "pylibjpeg",
        "photometric": dataset.PhotometricInterpretation,
        "signed": dataset.PixelRepresentation == 1,
        "bits_allocated": dataset.BitsAllocated,
        "bits_stored": dataset.BitsStored,
        "rows": 40,
        "columns": 36,
    }
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    return frame, request, dataset.pixel_array


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_values_are_those_of_pydicom(signed: bool, tmp_path: Path) -> None:
    codestream, request, truth = _slice(tmp_path / "ct", signed=signed)
    assert request["signed"] == signed
    assert is_plain_jpeg2000(codestream, request)
    kind, values = decode(codestream, request)
    assert kind == DECODED
    found = np.frombuffer(values, "<i2" if signed else "<u2").reshape(40, 36)
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize(
    "change",
    [
        {"signed": True},
        {"bits_stored": 10},
        {"bits_allocated": 8},
        {"transfer_syntax_uid": "1.2.840.10008.1.2.4.80"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_differs_from_the_header_goes_to_pydicom(
    change: dict[str, Any], tmp_path: Path
) -> None:
    codestream, request, _ = _slice(tmp_path / "ct", signed=False)
    assert not is_plain_jpeg2000(codestream, {**request, **change})


@dataclass(frozen=True, slots=True)
class OtherWords:
    """A codestream that stores the words of its header under another name."""

    name: str
    header_signed: bool
    header_bits: int
    stream_signed: bool
    stream_bits: int
    intercept: float = -1024.0


OTHER_WORDS = (
    OtherWords("signed header, unsigned stream", True, 16, False, 16, 0.0),
    OtherWords("unsigned header, signed stream", False, 16, True, 16, -33000.0),
    OtherWords("12 bits, signed header, unsigned stream", True, 12, False, 12, 0.0),
    OtherWords("12 bits in a header of 16", False, 16, False, 12),
    OtherWords("13 signed bits in a header of 16", True, 16, True, 13, 0.0),
    OtherWords("16 bits in a header of 12", False, 12, False, 16),
)


@pytest.mark.parametrize("words", OTHER_WORDS, ids=lambda w: w.name)
def test_signs_and_bits_that_differ_are_put_right(
    words: OtherWords, tmp_path: Path
) -> None:
    """Archives recompress and change headers: 65,536 HU apart if taken literally."""
    ct = phantom_ct((5, 40, 36), (2.5, 0.8, 0.7))
    hu = np.clip(ct.hu, -1000, 2047).astype(np.int16)
    options = WriteOptions(
        signed=words.header_signed, rescale_intercept=words.intercept
    )
    slices = datasets(replace(ct, hu=hu), options=options)
    for dataset in slices:
        # The lowest bits of the stored words, which mean the same in both.
        stored = np.frombuffer(dataset.PixelData, "<u2").reshape(40, 36)
        stored = stored & np.uint16(2**words.stream_bits - 1)
        if words.stream_signed:
            unused = 16 - words.stream_bits
            stored = (stored << unused).view(np.int16) >> unused
        stream = encode_array(
            stored, bits_stored=words.stream_bits, photometric_interpretation=2
        )
        dataset.PixelData = encapsulate([bytes(stream)])
        dataset["PixelData"].is_undefined_length = True
        dataset.BitsStored, dataset.HighBit = words.header_bits, words.header_bits - 1
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    (tmp_path / "ct").mkdir()
    for number, dataset in enumerate(slices):
        dataset.save_as(tmp_path / "ct" / str(number), enforce_file_format=True)
    np.testing.assert_array_equal(read_series(tmp_path / "ct").hu, hu)


@pytest.mark.parametrize("length", [0, 3, 12, 41])
def test_stumps_are_not_plain(length: int, tmp_path: Path) -> None:
    codestream, request, _ = _slice(tmp_path / "ct", signed=False)
    assert not is_plain_jpeg2000(codestream[:length], request)


def test_decoders_start_once_and_are_used(tmp_path: Path) -> None:
    limits = InputLimits(decoder_processes=2, decoder_timeout_s=59.0)
    assert decoder_count(limits) == 2
    close_idle_decoders()
    start_decoders(limits, UNSIGNED.encoding.value)
    start_decoders(limits, UNSIGNED.encoding.value)
    with (
        borrowed_decoder(limits, "") as first,
        borrowed_decoder(limits, "") as second,
        borrowed_decoder(limits, "") as third,
    ):
        assert first.is_alive
        assert second.is_alive
        assert third not in (first, second)
    folder = save(datasets(phantom_ct((11, 40, 36))), tmp_path / "ct", UNSIGNED)
    found = read_series(folder, settings=ReadSettings(limits=limits))
    np.testing.assert_array_equal(found.hu, phantom_ct((11, 40, 36)).hu)
    close_idle_decoders()
