"""JPEG 2000 without pydicom: the same values, and only where nothing needs repair."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import get_frame

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
