"""Valid DICOM files with bytes and tags changed at random."""

import io
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from cases.enhanced import enhanced_ct
from cases.media import dicomdir
from cases.series import datasets, phantom_ct
from cemscope.dicom import choose_series, list_series, read_series
from cemscope.errors import SeriesError
from cemscope.testing.dicom_writer import PixelEncoding, WriteOptions, write_dataset
from cemscope.volume import CTVolume

Rng = np.random.Generator

_TAGS = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "NumberOfFrames"),
    *("PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "PixelPaddingValue"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Modality"),
    *("SliceThickness", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"),
    *("InstanceNumber", "AcquisitionNumber", "AcquisitionTime", "ImageType", "KVP"),
    *("ConvolutionKernel", "FrameOfReferenceUID", "SpecificCharacterSet"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("LossyImageCompression", "AcquisitionDate", "SeriesDescription", "PixelData"),
    *("TemporalPositionIdentifier", "PixelPaddingRangeLimit", "StudyInstanceUID"),
)
_VALUES: tuple[tuple[str, Any], ...] = (
    *(("DS", v) for v in ("", "0", "-1", "1e308", "-1e308", "1e-308", "nan", "inf")),
    *(("DS", v) for v in ("0\\0\\0", "1e308\\-1e308\\1e308", "1\\0\\0\\0\\1\\0")),
    *(("DS", v) for v in ("0.5\\0.5", "nan\\nan", "1\\" * 400 + "1", "9" * 300)),
    *(("IS", v) for v in ("2147483647", "-2147483648", "9" * 200, "1.5", "x")),
    *(("US", v) for v in (0, 1, 2, 7, 8, 12, 17, 32, 64, 4097, 65535)),
    *(("LO", v) for v in ("", "Jane Doe", "\\\\\\", "x" * 5000, "\x1b$B\x1b(B")),
    *(("UI", v) for v in ("1.2.3", "1..2", "x" * 64, "1.2.840.10008.1.3.10")),
    ("UN", b"\xff" * 4000),
    ("UN", b""),
    ("SQ", []),
    ("SQ", [Dataset()]),
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files of a sound input by name; all of them together are one series."""

    name: str
    files: dict[str, bytes]
    zipped: bool = False


def _encoded(encoding: PixelEncoding, **options: bool) -> dict[str, bytes]:
    ct = phantom_ct((5, 36, 34), (2.5, 0.8, 0.7))
    return _written(datasets(ct), WriteOptions(encoding, **options))


def _written(slices: list[Dataset], options: WriteOptions) -> dict[str, bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for number, dataset in enumerate(slices):
            write_dataset(dataset, Path(folder, f"{number:02d}"), options)
        return {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir())}


def _with_directory(files: dict[str, bytes]) -> dict[str, bytes]:
    slices = [pydicom.dcmread(io.BytesIO(data)) for data in files.values()]
    buffer = io.BytesIO()
    names = [[name] for name in files]
    dicomdir(slices, names).save_as(buffer, enforce_file_format=True)
    return {**files, "DICOMDIR": buffer.getvalue()}


def corpora() -> tuple[Corpus, ...]:
    """Sound inputs of every kind that the reader knows."""
    plain = _encoded(PixelEncoding.EXPLICIT_LE)
    bare = _encoded(PixelEncoding.IMPLICIT_LE, file_meta=False)
    ct = phantom_ct((5, 36, 34), (2.5, 0.8, 0.7))
    return (
        Corpus("explicit", plain),
        Corpus("implicit_bare", bare),
        *(
            Corpus(encoding.name.lower(), _encoded(encoding))
            for encoding in PixelEncoding
            if encoding is not PixelEncoding.EXPLICIT_LE
        ),
        Corpus("enhanced", _written([enhanced_ct(datasets(ct))], WriteOptions())),
        Corpus("medium", _with_directory(plain)),
        Corpus("zip", plain, zipped=True),
    )


def _flip(data: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    end = len(data) if rng.random() < 0.3 else min(len(data), 1500)
    for place in rng.integers(0, end, rng.integers(1, 17)):
        changed[place] = rng.integers(256)
    return bytes(changed)


def _lengths(data: bytes, rng: Rng) -> bytes:
    """Put extreme numbers where lengths and values are likely to stand."""
    changed = bytearray(data)
    for place in rng.integers(0, max(1, min(len(data), 1500) - 4), 3):
        extreme = (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xfe\xff\xff\x7f",
                   b"\xff\xff", b"\xfe\xff\x00\xe0")[rng.integers(5)]  # fmt: skip
        changed[place : place + len(extreme)] = extreme
    return bytes(changed)


def _cut(data: bytes, rng: Rng) -> bytes:
    return data[: rng.integers(0, len(data))]


def _remove(data: bytes, rng: Rng) -> bytes:
    start = int(rng.integers(0, len(data)))
    return data[:start] + data[start + int(rng.integers(1, 200)) :]


def _repeat(data: bytes, rng: Rng) -> bytes:
    start = int(rng.integers(0, len(data)))
    piece = data[start : start + int(rng.integers(1, 400))]
    return data[:start] + piece * int(rng.integers(2, 6)) + data[start:]


def _retag(data: bytes, rng: Rng) -> bytes:
    """Give a tag another value, maybe of another VR; or take it away."""
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    name = _TAGS[rng.integers(len(_TAGS))]
    if rng.random() < 0.15:
        if name in dataset:
            del dataset[name]
    else:
        vr, value = _VALUES[rng.integers(len(_VALUES))]
        dataset.add_new(pydicom.datadict.tag_for_keyword(name), vr, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


MUTATIONS: tuple[Callable[[bytes, Rng], bytes], ...] = (
    *(_flip, _flip, _lengths, _cut, _remove, _repeat, _retag, _retag, _retag),
)


def _mutated(data: bytes, rng: Rng) -> bytes:
    mutation = MUTATIONS[rng.integers(len(MUTATIONS))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return mutation(data, rng)
        except Exception:  # noqa: BLE001 - pydicom cannot write every nonsense
            return _flip(data, rng)


@contextmanager
def mutated_input(corpus: Corpus, folder: Path, rng: Rng) -> Iterator[Path]:
    """The corpus on disk with one file changed, or all in the same way."""
    names = sorted(corpus.files)
    chosen = names if rng.random() < 0.2 else [names[rng.integers(len(names))]]
    seed = int(rng.integers(2**31))
    files = dict(corpus.files)
    for name in chosen:
        files[name] = _mutated(files[name], np.random.default_rng(seed))
    folder.mkdir(exist_ok=True)
    try:
        if corpus.zipped:
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
            packed = buffer.getvalue()
            path = folder / "in.zip"
            path.write_bytes(_mutated(packed, rng) if rng.random() < 0.7 else packed)
            yield path
        else:
            for name, data in files.items():
                (folder / name).write_bytes(data)
            yield folder
    finally:
        shutil.rmtree(folder)


def read_mutated(corpus: Corpus, folder: Path, seed: int) -> CTVolume | None:
    """Read one mutation; None where it is refused. Any other error escapes."""
    rng = np.random.default_rng(seed)
    with mutated_input(corpus, folder, rng) as path:
        try:
            return read_series(choose_series(list_series(path)).chosen)
        except SeriesError:
            return None
