from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cases.nifti_files import with_forms, with_label_table
from cemscope.errors import ExportError, LabelMapError
from cemscope.geometry import VoxelGeometry
from cemscope.testing.strategies import voxel_geometries
from cemscope.volume import LabelMap
from cemscope_pipelines.label_files import (
    read_label_file,
    read_label_map,
    write_label_map,
)


def numbered(geometry: VoxelGeometry, seed: int = 0) -> LabelMap:
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 256, geometry.shape).astype(np.uint8)
    return LabelMap(array, geometry)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    geometry=voxel_geometries(),
    seed=st.integers(0, 1000),
    suffix=st.sampled_from([".nii", ".nii.gz", ".nrrd"]),
    mirrored=st.booleans(),
)
def test_round_trip_in_any_orientation(
    tmp_path: Path, geometry: VoxelGeometry, seed: int, suffix: str, mirrored: bool
) -> None:
    if mirrored:
        affine = geometry.affine_lps.copy()
        affine[:3, 1] *= -1
        geometry = VoxelGeometry(geometry.shape, affine)
    labels = numbered(geometry, seed)
    path = tmp_path / f"labels{suffix}"
    write_label_map(labels, path)
    again = read_label_map(path)
    assert np.array_equal(again.labels, labels.labels)
    assert again.geometry.describe_difference(geometry) == ()


def test_a_file_of_the_same_stem_beside_it_is_not_mixed_in(tmp_path: Path) -> None:
    geometry = VoxelGeometry.from_axes((2, 3, 4), (1, 1, 1))
    for seed, suffix in enumerate((".nii", ".nii.gz", ".nii")):
        write_label_map(numbered(geometry, seed), tmp_path / f"labels{suffix}")
    again = read_label_map(tmp_path / "labels.nii.gz")
    assert np.array_equal(again.labels, numbered(geometry, 1).labels)
    again = read_label_map(tmp_path / "labels.nii")
    assert np.array_equal(again.labels, numbered(geometry, 2).labels)


def test_axes_are_lps_and_slice_first(tmp_path: Path) -> None:
    image: Any = sitk.GetImageFromArray(np.zeros((4, 3, 2), dtype=np.uint8))
    image[1, 2, 3] = 9
    image.SetSpacing((0.5, 0.7, 2.0))
    image.SetOrigin((10.0, 20.0, 30.0))
    path = tmp_path / "labels.nii"
    sitk.WriteImage(image, str(path))
    labels = read_label_map(path)
    assert np.argwhere(labels.labels == 9).tolist() == [[3, 2, 1]]
    assert np.allclose(labels.geometry.index_to_lps([3, 2, 1]), [10.5, 21.4, 36.0])
    assert np.allclose(labels.geometry.spacing_mm, (2.0, 0.7, 0.5))


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.int16, np.uint16, np.int8]
)
def test_any_number_type(tmp_path: Path, dtype: type) -> None:
    array: npt.NDArray[Any] = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    path = tmp_path / "labels.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    assert np.array_equal(read_label_map(path).labels, array)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((2, 2, 2), 0.4, np.float32), r"up to 0\.400 away"),
        (np.full((2, 2, 2), 300, np.int16), "found 300 to 300"),
        (np.full((2, 2, 2), -1, np.int16), "found -1 to -1"),
        (np.full((2, 2, 2), np.nan, np.float32), "no numbers"),
        (np.zeros((2, 2), np.uint8), r"three-dimensional .* size \(2, 2\)"),
    ],
)
def test_other_values_are_refused(
    tmp_path: Path, values: np.ndarray, message: str
) -> None:
    path = tmp_path / "labels.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    with pytest.raises(LabelMapError, match=message):
        read_label_map(path)


def test_colour_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.nrrd"
    image = sitk.GetImageFromArray(np.zeros((2, 2, 2, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(path))
    with pytest.raises(LabelMapError, match="one number per voxel"):
        read_label_map(path)


def test_single_fourth_axis_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii"
    array = np.arange(8, dtype=np.uint8).reshape(1, 2, 2, 2)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=False), str(path))
    assert np.array_equal(read_label_map(path).labels, array[0])


def test_missing_damaged_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(LabelMapError, match="does not exist"):
        read_label_map(tmp_path / "none.nii.gz")
    foreign = tmp_path / "Doe^Jane.txt"
    foreign.write_text("text")
    with pytest.raises(LabelMapError, match=r"found \.txt") as refusal:
        read_label_map(foreign)
    assert "Jane" not in str(refusal.value)
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(b"\x1f\x8b no gzip")
    with pytest.raises(LabelMapError, match="cannot be read"):
        read_label_map(damaged)


def test_sheared_axes_are_not_written(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.1
    labels = numbered(VoxelGeometry((2, 2, 2), affine))
    with pytest.raises(ExportError, match="right angles"):
        write_label_map(labels, tmp_path / "labels.nii.gz")


def test_unknown_ending_and_folder_are_refused(tmp_path: Path) -> None:
    labels = numbered(VoxelGeometry.from_axes((2, 2, 2), (1, 1, 1)))
    with pytest.raises(ExportError, match=r"found \.png"):
        write_label_map(labels, tmp_path / "labels.png")
    with pytest.raises(ExportError, match="cannot be written"):
        write_label_map(labels, tmp_path / "none" / "labels.nii.gz")


LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras_form(geometry: VoxelGeometry) -> npt.NDArray[np.float64]:
    """Affine of voxel (i, j, k) in RAS, as a NIfTI header holds it."""
    affine = LPS_FROM_RAS @ geometry.affine_lps
    affine[:, :3] = affine[:, 2::-1]
    return affine


def test_table_of_names_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    geometry = VoxelGeometry.from_axes((3, 4, 5), (2, 1, 1), (10, 20, 30))
    labels = numbered(geometry)
    write_label_map(labels, path)
    with_label_table(path, {27: "vertebrae_L5", 28: "vertebrae_L4"})
    again = read_label_map(path)
    assert dict(again.names) == {27: "vertebrae_L5", 28: "vertebrae_L4"}
    assert np.array_equal(again.labels, labels.labels)
    assert again.geometry.describe_difference(geometry) == ()


def test_names_of_a_slicer_segmentation_are_read(tmp_path: Path) -> None:
    image: Any = sitk.GetImageFromArray(np.zeros((2, 3, 4), dtype=np.uint8))
    for key, value in (
        ("Segment0_Name", "L3 vertebra"),
        ("Segment0_LabelValue", "4"),
        ("Segment1_LabelValue", "5"),
    ):
        image.SetMetaData(key, value)
    path = tmp_path / "labels.seg.nrrd"
    sitk.WriteImage(image, str(path))
    assert dict(read_label_map(path).names) == {4: "L3 vertebra"}


@pytest.mark.parametrize(("qform_code", "sform_code"), [(1, 1), (1, 2), (2, 4)])
def test_of_two_positions_the_sform_is_used_and_told(
    tmp_path: Path, qform_code: int, sform_code: int
) -> None:
    path = tmp_path / "labels.nii.gz"
    geometry = VoxelGeometry.from_axes((3, 4, 5), (2, 1, 1), (10, 20, 30))
    write_label_map(numbered(geometry), path)
    elsewhere = VoxelGeometry.from_axes((3, 4, 5), (2, 1, 1), (10, 20, 42.5))
    with_forms(path, qform_code, sform_code, ras_form(elsewhere))
    file = read_label_file(path)
    assert file.labels.geometry.describe_difference(elsewhere) == ()
    assert [n.code for n in file.notices] == ["nifti_positions_differ"]
    assert "12.5 mm apart" in file.notices[0].message


def test_one_position_is_used_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    turned = np.array([[0, 0.6, 0.8], [0, 0.8, -0.6], [1, 0, 0]])
    geometry = VoxelGeometry.from_axes((3, 4, 5), (2, 1, 1), (10, 20, 30), turned)
    elsewhere = VoxelGeometry.from_axes((3, 4, 5), (2, 1, 1), (10, 20, 42.5))
    write_label_map(numbered(geometry), path)
    with_forms(path, 1, 0, ras_form(elsewhere))
    only_qform = read_label_file(path)
    assert only_qform.labels.geometry.describe_difference(geometry) == ()
    with_forms(path, 0, 1)
    only_sform = read_label_file(path)
    assert only_sform.labels.geometry.describe_difference(elsewhere) == ()
    assert (only_qform.notices, only_sform.notices) == ((), ())


def test_file_without_a_position_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    write_label_map(numbered(VoxelGeometry.from_axes((3, 4, 5), (2, 1, 1))), path)
    with_forms(path, 0, 0)
    with pytest.raises(LabelMapError, match="tells no position"):
        read_label_file(path)


def test_sheared_sform_is_refused_in_degrees(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    geometry = VoxelGeometry.from_axes((3, 4, 5), (2, 1, 1))
    write_label_map(numbered(geometry), path)
    sheared = ras_form(geometry)
    sheared[1, 2] = 2 * np.tan(np.radians(18.5))
    with_forms(path, 1, 1, sheared)
    with pytest.raises(LabelMapError, match=r"sheared by 18\.5 degrees"):
        read_label_file(path)


def test_nrrd_without_a_space_is_told(tmp_path: Path) -> None:
    path = tmp_path / "labels.nrrd"
    head = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"
    path.write_bytes(head + b"spacings: 1 1 2\n\n" + bytes(8))
    assert [n.code for n in read_label_file(path).notices] == ["label_space_unknown"]
    ras = b"space: right-anterior-superior\nspace origin: (10,20,30)\n"
    ras += b"space directions: (1,0,0) (0,1,0) (0,0,2)\n\n"
    path.write_bytes(head + ras + bytes(8))
    file = read_label_file(path)
    assert file.notices == ()
    assert np.allclose(file.labels.geometry.index_to_lps([1, 1, 1]), [-11, -21, 32])
