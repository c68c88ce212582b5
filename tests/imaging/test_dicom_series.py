"""Which series lie in an input, and which one is measured."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from cases.series import datasets, phantom_ct, save
from cemscope.dicom import (
    FindingCode,
    KernelSharpness,
    choose_series,
    list_series,
    read_series,
    scan_input,
)
from cemscope.dicom.kernel import kernel_sharpness
from cemscope.errors import (
    MixedSeriesError,
    NoSeriesError,
    NotCTError,
    UnevenSpacingError,
)
from cemscope.testing.dicom_writer import SeriesIdentity
from cemscope.volume import Acquisition, CTVolume


def _series(key: str, ct: CTVolume | None = None, **changes: object) -> list[Dataset]:
    slices = datasets(ct, SeriesIdentity(series_key=key))
    for dataset in slices:
        for name, value in changes.items():
            setattr(dataset, name, value)
    return slices


def _uid(key: str) -> str:
    return SeriesIdentity(series_key=key).series_instance_uid


def _scout(key: str = "axial") -> list[Dataset]:
    """A frontal localizer that shares the series UID of the axial slices."""
    axes = np.array([[0, 1.0, 0], [0, 0, -1.0], [1.0, 0, 0]])
    scout = datasets(
        phantom_ct((1, 24, 16), directions_lps=axes), SeriesIdentity(series_key=key)
    )
    scout[0].SOPInstanceUID = "2.25.9"
    scout[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return scout


def test_a_localizer_in_the_series_does_not_spoil_it(tmp_path: Path) -> None:
    folder = save([*datasets(), *_scout()], tmp_path / "ct")
    axial, scout = list_series(folder)
    assert (axial.slices, scout.slices) == (20, 1)
    assert axial.measurable
    codes = {f.code for f in scout.findings}
    assert codes == {FindingCode.LOCALIZER, FindingCode.TOO_FEW_SLICES}
    found = read_series(folder)
    np.testing.assert_array_equal(found.hu, phantom_ct().hu)
    (notice,) = found.notices
    assert notice.code == "series_in_parts"
    assert "20 slices, the others 1" in notice.message


def test_an_unlabelled_scout_of_another_orientation_is_split_off(
    tmp_path: Path,
) -> None:
    scout = _scout()
    scout[0].ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    folder = save([*datasets(), *scout], tmp_path / "ct")
    assert read_series(folder).geometry.shape == (20, 12, 16)


def test_a_localizer_in_the_form_of_the_slices_is_split_off(tmp_path: Path) -> None:
    (scout,) = datasets(phantom_ct((1, 12, 16), origin_lps_mm=(-40.0, -60.0, -250.0)))
    scout.SOPInstanceUID = "2.25.9"
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    folder = save([*datasets(), scout], tmp_path / "ct")
    assert read_series(folder).geometry.shape == (20, 12, 16)


def test_a_broken_series_beside_its_localizer_keeps_its_own_error(
    tmp_path: Path,
) -> None:
    folder = save([*datasets()[:8], *datasets()[10:], *_scout()], tmp_path / "ct")
    with pytest.raises(UnevenSpacingError, match="2 slices are missing"):
        read_series(folder)


def test_the_thin_full_axial_smooth_series_is_chosen(tmp_path: Path) -> None:
    coronal = np.array([[0, 1.0, 0], [0, 0, -1.0], [1.0, 0, 0]])
    sharp = replace(phantom_ct(), acquisition=Acquisition(120.0, "Br64", 1.0))
    series = {
        "thick": _series("thick", phantom_ct((8, 12, 16), (5.0, 0.8, 0.7))),
        "best": _series("best"),
        "coronal": _series("coronal", phantom_ct(directions_lps=coronal)),
        "sharp": _series("sharp", sharp),
        "short": _series("short", phantom_ct((12, 12, 16))),
        "mr": _series("mr", Modality="MR"),
        "mip": _series("mip", ImageType=["DERIVED", "SECONDARY", "AXIAL", "MIP"]),
    }
    for name, slices in series.items():
        save(slices, tmp_path / name)
    listed = list_series(tmp_path)
    assert len(listed) == 7
    assert {s.part_count for s in listed} == {1}
    # Thick covers 40 mm of 5 mm slices: beside it, 20 mm count as short.
    choice = choose_series([s for s in listed if s.name != _uid("thick")])
    assert choice.chosen.name == _uid("best")
    assert "smooth kernel" in choice.reason
    reasons = {r.series.name: r.reason for r in choice.rejected}
    assert reasons[_uid("sharp")] == "its kernel is sharper or unknown"
    assert reasons[_uid("short")] == "it covers less of the patient"
    assert reasons[_uid("coronal")] == "it is not axial"
    assert "found MR" in reasons[_uid("mr")]
    assert "projection" in reasons[_uid("mip")]
    named = choose_series(listed, _uid("thick"))
    assert named.chosen.name == _uid("thick")
    assert len(named.rejected) == 6


def test_of_equal_series_the_latest_scan_is_chosen(tmp_path: Path) -> None:
    for name, date in (("before", "20240105"), ("after", "20240109")):
        save(_series(name, AcquisitionDate=date), tmp_path / name)
    choice = choose_series(list_series(tmp_path))
    assert choice.chosen.name == _uid("after")
    assert choice.rejected[0].reason == "it is an earlier scan"


def test_an_unknown_uid_lists_the_known_ones(tmp_path: Path) -> None:
    folder = save(datasets(), tmp_path / "ct")
    with pytest.raises(NoSeriesError, match=r"no series 1\.2\.3 .*" + _uid("axial")):
        read_series(folder, "1.2.3")


def test_naming_a_series_that_is_broken_gives_its_error(tmp_path: Path) -> None:
    save(_series("good"), tmp_path / "good")
    save(_series("mr", Modality="MR"), tmp_path / "mr")
    with pytest.raises(NotCTError, match="found MR"):
        read_series(tmp_path, _uid("mr"))


def _acquisition(number: int, start: int, stop: int, shift_mm: float) -> list[Dataset]:
    ct = phantom_ct(origin_lps_mm=(-40.0, -60.0, -310.0 + shift_mm))
    slices = datasets(ct, SeriesIdentity(acquisition_number=number))[start:stop]
    for index, dataset in enumerate(slices):
        dataset.SOPInstanceUID = f"2.25.{1000 * number + index}"
    return slices


@pytest.mark.parametrize("shift_mm", [0.0, 0.5, 0.3], ids=["same", "half", "odd"])
def test_overlapping_acquisitions_must_be_named(
    shift_mm: float, tmp_path: Path
) -> None:
    folder = save(
        [*_acquisition(1, 0, 20, 0.0), *_acquisition(2, 0, 20, shift_mm)],
        tmp_path / "ct",
    )
    with pytest.raises(MixedSeriesError, match="2 acquisitions of the same region"):
        read_series(folder)
    second = read_series(folder, _uid("axial") + "#2")
    assert second.geometry.shape[0] == 20
    assert second.geometry.origin_lps_mm[2] == pytest.approx(-310.0 + shift_mm)


def test_step_and_shoot_rotations_stay_one_series(tmp_path: Path) -> None:
    slices = [d for n in range(5) for d in _acquisition(n + 1, 4 * n, 4 * n + 4, 0.0)]
    (series,) = list_series(save(slices, tmp_path / "ct"))
    assert series.measurable
    assert series.slices == 20


def test_two_blocks_that_are_regular_apart_are_listed_apart(tmp_path: Path) -> None:
    slices = [*_acquisition(1, 0, 12, 0.0), *_acquisition(2, 0, 14, 40.0)]
    listed = list_series(save(slices, tmp_path / "ct"))
    assert [(s.slices, s.measurable) for s in listed] == [(14, True), (12, True)]
    assert choose_series(listed).chosen.part_label == "acquisition number 2"


def test_different_kernels_in_one_series_are_two_parts(tmp_path: Path) -> None:
    sharp = _acquisition(1, 0, 20, 0.0)
    for dataset in sharp:
        dataset.ConvolutionKernel = "Br69"
    folder = save([*datasets(), *sharp], tmp_path / "ct")
    assert [s.acquisition.kernel for s in list_series(folder)].count("Br69") == 1
    assert read_series(folder).acquisition.kernel == "Br40"


def test_other_objects_are_listed_but_never_measured(tmp_path: Path) -> None:
    report = datasets()[:1]
    for name in ("PixelData", "Rows", "Columns", "ImagePositionPatient"):
        delattr(report[0], name)
    report[0].Modality = "SR"
    report[0].SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    report[0].SeriesInstanceUID = "2.25.5"
    (tmp_path / "notes.txt").write_text("hello")
    save([*datasets(), *report], tmp_path / "ct")
    scan = scan_input(tmp_path)
    assert (scan.skipped_files, scan.unreadable_files) == (1, 0)
    by_modality = {s.modality: s for s in scan.series}
    assert not by_modality["SR"].measurable
    assert by_modality["CT"].measurable


def test_a_dicomdir_is_skipped(tmp_path: Path) -> None:
    folder = save(datasets(), tmp_path / "disc")
    directory = Dataset()
    directory.FileSetID = "DISC"
    directory.DirectoryRecordSequence = []
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "2.25.3"
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.save_as(folder / "DICOMDIR", enforce_file_format=True)
    scan = scan_input(folder)
    assert (scan.skipped_files, scan.unreadable_files) == (1, 0)
    (series,) = scan.series
    assert series.measurable
    assert series.slices == 20


def test_summaries_hold_the_facts(tmp_path: Path) -> None:
    (series,) = list_series(save(datasets(), tmp_path / "ct"))
    assert series.name == _uid("axial")
    assert series.spacing_mm == pytest.approx((1.0, 0.8, 0.7))
    assert (series.slices, series.rows, series.columns) == (20, 12, 16)
    assert series.coverage_mm == pytest.approx(20.0)
    assert series.plane == "axial"
    assert series.sharpness is KernelSharpness.SMOOTH
    assert series.transfer_syntax == "Explicit VR Little Endian"
    assert series.acquisition.kernel == "Br40"


def test_damaged_and_encrypted_archives_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("readme.txt", "x" * 500)
    with pytest.raises(NoSeriesError, match="1 files of other kinds"):
        list_series(archive)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NoSeriesError):
        list_series(archive)
    # Bit 0 of the flags marks a member as encrypted, in both of its headers.
    locked = bytearray(whole)
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(bytes(locked))
    with pytest.raises(NoSeriesError, match="1 damaged files"):
        list_series(archive)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("B30f", KernelSharpness.SMOOTH),
        ("Br38f\\3", KernelSharpness.SMOOTH),
        ("I31f\\2", KernelSharpness.SMOOTH),
        ("B70s", KernelSharpness.SHARP),
        ("Br64", KernelSharpness.SHARP),
        ("STANDARD", KernelSharpness.SMOOTH),
        ("STD+", KernelSharpness.SMOOTH),
        ("BONEPLUS", KernelSharpness.SHARP),
        ("FC08", KernelSharpness.SMOOTH),
        ("FC30", KernelSharpness.SHARP),
        ("YC", KernelSharpness.SHARP),
        ("B", KernelSharpness.SMOOTH),
        ("", KernelSharpness.UNKNOWN),
        (None, KernelSharpness.UNKNOWN),
        ("Something new", KernelSharpness.UNKNOWN),
    ],
)
def test_kernels_are_classified(kernel: str | None, expected: KernelSharpness) -> None:
    assert kernel_sharpness(kernel) is expected


def test_a_tie_is_told_and_stable(tmp_path: Path) -> None:
    for key in ("one", "two"):
        save(_series(key), tmp_path / key)
    choice = choose_series(list_series(tmp_path))
    first, second = sorted((_uid("one"), _uid("two")))
    assert choice.chosen.name == first
    assert f"as suitable as {second}" in choice.reason
    assert choice.rejected[0].reason == "equally suitable; the first by UID is taken"
    (notice,) = read_series(choice.chosen).notices
    assert notice.code == "series_tie"
    assert second in notice.message
    backwards = choose_series(tuple(reversed(list_series(tmp_path))))
    assert backwards.chosen.name == first


def test_metal_artefact_reduction_is_told_apart(tmp_path: Path) -> None:
    plain = _series("plain")
    reduced = _series("reduced", SeriesDescription="Spine 1.0 iMAR")
    save(plain, tmp_path / "plain")
    save(reduced, tmp_path / "reduced")
    choice = choose_series(list_series(tmp_path))
    assert choice.chosen.name == _uid("plain")
    (other,) = choice.rejected
    assert other.series.acquisition.metal_artifact_reduction
    assert "metal artefact reduction" in other.reason


def test_both_reconstructions_of_one_series_uid_are_told_apart(tmp_path: Path) -> None:
    reduced = _series("axial", SeriesDescription="Spine 1.0 O-MAR")
    for index, dataset in enumerate(reduced):
        dataset.SOPInstanceUID = f"2.25.{index + 1}"
    listed = list_series(save([*datasets(), *reduced], tmp_path / "ct"))
    assert {s.acquisition.metal_artifact_reduction for s in listed} == {True, False}
    assert all(s.measurable for s in listed)


def test_uneven_series_have_no_spacing(tmp_path: Path) -> None:
    (series,) = list_series(save(datasets()[:8] + datasets()[10:], tmp_path / "ct"))
    assert series.spacing_mm is None
    assert series.step_range_mm == pytest.approx((1.0, 3.0))
    assert series.avoided_error_percent == pytest.approx((-62.7, 11.8), abs=0.1)
    assert "complete series" in series.advice
