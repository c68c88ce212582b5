"""Series that are unusual, or broken in a way that can be repaired exactly."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from cases.enhanced import enhanced_ct, legacy_enhanced_ct
from cases.media import write_medium, zipped
from cases.series import datasets, phantom_ct, save
from cemscope.geometry import VoxelGeometry
from cemscope.testing.dicom_writer import (
    PixelEncoding,
    WriteOptions,
    write_dataset,
    write_series,
)
from cemscope.volume import CTVolume


@dataclass(frozen=True, slots=True)
class ReadCase:
    """An input that must give the volume ``truth``, with these notices."""

    name: str
    fault: str
    write: Callable[[Path], Path]
    notices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    truth: Callable[[], CTVolume] = phantom_ct


def _encoded(encoding: PixelEncoding, **options: bool) -> Callable[[Path], Path]:
    chosen = WriteOptions(encoding, **options)
    return lambda folder: save(datasets(_wide()), folder / "ct", chosen)


def _wide() -> CTVolume:
    """Compressors want more than a handful of pixels."""
    return phantom_ct((11, 40, 36))


def _numbered(number: Callable[[int], int | None]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        slices = datasets()
        for index, dataset in enumerate(slices):
            dataset.InstanceNumber = number(index)
            dataset.SliceLocation = "0"
        return save(slices, folder / "ct")

    return write


def _feet_first(folder: Path) -> Path:
    axes = np.array([[0, 0, -1.0], [0, 1, 0], [1, 0, 0]])
    write_series(phantom_ct(directions_lps=axes), folder / "ct")
    return folder / "ct"


def _feet_first_truth() -> CTVolume:
    return phantom_ct(directions_lps=np.array([[0, 0, -1.0], [0, 1, 0], [1, 0, 0]]))


def _even_values() -> CTVolume:
    ct = phantom_ct()
    return replace(ct, hu=(ct.hu // 4 * 4).astype(np.int16))


def _own_rescale(folder: Path) -> Path:
    options = WriteOptions(
        rescale_slope=tuple(float(1 + i % 2) for i in range(20)),
        rescale_intercept=tuple(-2000.0 - 4 * i for i in range(20)),
    )
    return save(datasets(_even_values(), options=options), folder / "ct")


def _own_sign(folder: Path) -> Path:
    signed = datasets(options=WriteOptions(signed=True, rescale_intercept=0.0))
    unsigned = datasets(options=WriteOptions(rescale_intercept=-1024.0))
    pairs = zip(signed, unsigned, strict=True)
    return save([pair[i % 2] for i, pair in enumerate(pairs)], folder / "ct")


def _padded(folder: Path) -> Path:
    options = WriteOptions(signed=True, rescale_intercept=0.0, padding_stored=-2000)
    slices = datasets(options=options)
    for dataset in slices:
        stored = np.frombuffer(dataset.PixelData, "<i2").copy()
        stored[:16] = -2000
        dataset.PixelData = stored.tobytes()
    return save(slices, folder / "ct")


def _padded_truth() -> CTVolume:
    ct = phantom_ct()
    hu = ct.hu.copy()
    hu[:, 0, :] = -1024
    return replace(ct, hu=hu)


def _over_int16(folder: Path) -> Path:
    slices = datasets(_tens(), options=WriteOptions(rescale_slope=10.0))
    stored = np.frombuffer(slices[3].PixelData, "<u2").copy()
    stored[:5] = (33000 + 8192) // 10
    slices[3].PixelData = stored.tobytes()
    return save(slices, folder / "ct")


def _tens() -> CTVolume:
    ct = phantom_ct()
    return replace(ct, hu=(ct.hu // 10 * 10 - 2).clip(-1002, 2998).astype(np.int16))


def _over_int16_truth() -> CTVolume:
    ct = _tens()
    hu = ct.hu.copy()
    hu[3].reshape(-1)[:5] = 32767
    return replace(ct, hu=hu)


def _object(make: Callable[[list[Dataset]], Dataset]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        options = WriteOptions(rescale_intercept=tuple(-8192.0 + i for i in range(20)))
        folder.mkdir(parents=True, exist_ok=True)
        dataset = make(datasets(options=options)[::-1])
        write_dataset(dataset, folder / "enhanced", WriteOptions())
        return folder

    return write


def scout() -> Dataset:
    """A frontal localizer that shares the series UID of the axial slices."""
    axes = np.array([[0, 1.0, 0], [0, 0, -1.0], [1.0, 0, 0]])
    (dataset,) = datasets(phantom_ct((1, 24, 16), directions_lps=axes))
    dataset.SOPInstanceUID = "2.25.9"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return dataset


def _with_scout(folder: Path) -> Path:
    return save([*datasets(), scout()], folder / "ct")


def _with_other_plane(folder: Path) -> Path:
    sagittal = scout()
    sagittal.ImageType = ["DERIVED", "SECONDARY", "REFORMATTED"]
    return save([*datasets(), sagittal], folder / "ct")


def _two_kernels(folder: Path) -> Path:
    sharp = datasets(_seen_before())
    for index, dataset in enumerate(sharp):
        dataset.ConvolutionKernel = "Br69"
        dataset.SOPInstanceUID = f"2.25.{index + 1}"
    return save([*datasets(), *sharp], folder / "ct")


def _seen_before() -> CTVolume:
    ct = phantom_ct()
    return replace(ct, hu=ct.hu[:, ::-1].copy())


def _step_and_shoot(folder: Path) -> Path:
    slices = datasets()
    for index, dataset in enumerate(slices):
        dataset.AcquisitionNumber = 1 + index // 4
    return save(slices, folder / "ct")


def _copied(folder: Path) -> Path:
    return save([*datasets(), datasets()[11]], folder / "ct")


def _stored_twice(folder: Path) -> Path:
    second = datasets()
    for index, dataset in enumerate(second):
        dataset.SOPInstanceUID = f"2.25.{index + 1}"
        dataset.InstanceNumber = 100 + index
    save(datasets(), folder / "ct" / "first")
    return save(second, folder / "ct" / "again").parent


def _other_objects(folder: Path) -> Path:
    others = []
    for number, (modality, sop_class) in enumerate(
        (
            ("MR", "1.2.840.10008.5.1.4.1.1.4"),
            ("CR", "1.2.840.10008.5.1.4.1.1.1"),
            ("SR", "1.2.840.10008.5.1.4.1.1.88.34"),
            ("SEG", "1.2.840.10008.5.1.4.1.1.66.4"),
            ("OT", "1.2.840.10008.5.1.4.1.1.7"),
        )
    ):
        (other,) = datasets(phantom_ct((1, 12, 16)))
        other.Modality, other.SOPClassUID = modality, sop_class
        other.SOPInstanceUID = f"2.25.{number + 20}"
        other.SeriesInstanceUID = f"2.25.{number + 10}"
        if modality in ("SR", "SEG", "OT"):
            for name in ("ImagePositionPatient", "ImageOrientationPatient"):
                delattr(other, name)
        if modality == "SR":
            for name in ("PixelData", "Rows", "Columns", "BitsAllocated"):
                delattr(other, name)
        others.append(other)
    return save([*datasets(), *others, scout()], folder / "ct")


def _stray_files(folder: Path) -> Path:
    ct = save(datasets(), folder / "ct")
    (ct / "empty.dcm").touch()
    (ct / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    (ct / "report.txt").write_text("no image\n" * 50)
    return ct


def _damaged_end(folder: Path) -> Path:
    ct = save(datasets()[:-1], folder / "ct")
    last = folder / "last"
    write_dataset(datasets()[-1], last, WriteOptions())
    (ct / "damaged").write_bytes(last.read_bytes()[:200])
    return ct


def _shorter() -> CTVolume:
    ct = phantom_ct()
    return CTVolume(ct.hu[:-1].copy(), ct.geometry.crop((slice(0, 19), *_ALL)))


_ALL = (slice(None), slice(None))


def _whole_pixel_tilt() -> CTVolume:
    """Each slice 0.8 mm further back: 1 row of pixels, 21.8 degrees."""
    ct = phantom_ct(spacing_mm=(2.0, 0.8, 0.7))
    affine = ct.geometry.affine_lps.copy()
    affine[1, 0] = 0.8
    return replace(ct, geometry=VoxelGeometry(ct.hu.shape, affine, "1.2.3.4"))


def _medium(folder: Path) -> Path:
    return write_medium(datasets(), folder / "cd")


def _medium_without_end(folder: Path) -> Path:
    return write_medium(datasets(), folder / "cd", missing=(19,))


READ_CASES = (
    ReadCase("clean", "nothing", lambda f: save(datasets(), f / "ct")),
    ReadCase(
        "shuffled_numbers",
        "instance numbers shuffled, slice locations all 0",
        _numbered(lambda i: (i * 7) % 20),
    ),
    ReadCase("equal_numbers", "every instance number is 1", _numbered(lambda _: 1)),
    ReadCase("no_numbers", "no instance numbers", _numbered(lambda _: None)),
    ReadCase(
        "descending",
        "slices from head to feet",
        _feet_first,
        truth=_feet_first_truth,
    ),
    ReadCase(
        "own_rescale",
        "slope and intercept differ from slice to slice",
        _own_rescale,
        truth=_even_values,
    ),
    ReadCase("own_sign", "signed and unsigned slices in one series", _own_sign),
    ReadCase(
        "padding", "padding of -2000 around the field", _padded, truth=_padded_truth
    ),
    ReadCase(
        "slope_10",
        "slope 10 and values of 33,000 HU",
        _over_int16,
        ("hu_over_int16",),
        ("5 voxels over 32767 HU",),
        _over_int16_truth,
    ),
    ReadCase(
        "no_preamble",
        "no preamble, no extension",
        _encoded(PixelEncoding.EXPLICIT_LE, preamble=False),
        truth=_wide,
    ),
    ReadCase(
        "bare",
        "neither preamble nor file meta group",
        _encoded(PixelEncoding.IMPLICIT_LE, file_meta=False),
        truth=_wide,
    ),
    *(
        ReadCase(
            encoding.name.lower(),
            f"stored as {encoding.value.name}",
            _encoded(encoding),
            truth=_wide,
        )
        for encoding in PixelEncoding
        if encoding is not PixelEncoding.EXPLICIT_LE
    ),
    ReadCase("enhanced", "an enhanced multi-frame object", _object(enhanced_ct)),
    ReadCase(
        "legacy_enhanced",
        "a legacy converted enhanced object",
        _object(legacy_enhanced_ct),
    ),
    ReadCase(
        "localizer_inside",
        "localizer under the same series UID",
        _with_scout,
        ("series_in_parts",),
        ("20 slices, the others 1",),
    ),
    ReadCase(
        "other_plane_inside",
        "a reformat in another plane under the same series UID",
        _with_other_plane,
        ("series_in_parts",),
    ),
    ReadCase(
        "two_reconstructions",
        "bone and soft kernel under one series UID",
        _two_kernels,
        ("series_in_parts",),
        ("20 slices, the others 20",),
    ),
    ReadCase("step_and_shoot", "each rotation its own acquisition", _step_and_shoot),
    ReadCase(
        "copied_file",
        "one file twice",
        _copied,
        ("copies_left_out",),
        ("1 slices lie in the input twice",),
    ),
    ReadCase(
        "stored_twice",
        "the whole series twice, the second time with other UIDs and numbers",
        _stored_twice,
        ("copies_left_out",),
        ("20 slices lie in the input twice",),
    ),
    ReadCase(
        "other_objects",
        "MR, CR, SR, SEG, screen capture and scout beside the CT",
        _other_objects,
        ("series_in_parts",),
    ),
    ReadCase("stray_files", "an empty file, a text and Thumbs.db", _stray_files),
    ReadCase(
        "damaged_end",
        "the last file cut short in its header",
        _damaged_end,
        ("unreadable_files",),
        ("1 damaged DICOM files", "shorter at one end"),
        _shorter,
    ),
    ReadCase(
        "tilt",
        "gantry tilt, regular spacing",
        lambda f: save(datasets(_whole_pixel_tilt()), f / "ct"),
        ("gantry_tilt",),
        ("21.8 degrees", "0.80 mm sideways per slice", "orthogonal grid", "+7.7 %"),
        _whole_pixel_tilt,
    ),
    ReadCase("medium", "a CD: DICOMDIR, nested folders, a viewer", _medium),
    ReadCase(
        "medium_by_dicomdir",
        "the DICOMDIR of a CD instead of its folder",
        lambda f: _medium(f) / "DICOMDIR",
    ),
    ReadCase(
        "medium_without_end",
        "a CD that lacks its last slice",
        _medium_without_end,
        ("images_missing_from_medium",),
        ("lists 20 images", "1 of them"),
        _shorter,
    ),
    ReadCase(
        "zipped_medium",
        "a zip of that CD",
        lambda f: zipped(_medium(f), f / "cd.zip"),
    ),
    ReadCase(
        "nested",
        "slices spread over nested folders",
        lambda f: (
            save(
                datasets()[10:], save(datasets()[:10], f / "a") / "b" / "c"
            ).parent.parent
        ),
    ),
)
"""Each is read as its ``truth``."""
