"""Label maps read and written slice by slice are those that ITK reads and writes."""

import gzip
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from cemscope.errors import ExportError, LabelMapError
from cemscope.geometry import VoxelGeometry
from cemscope.volume import LabelMap
from cemscope_pipelines.label_files import read_label_map, write_label_map
from cemscope_pipelines.review.map_stream import (
    marked_box,
    read_map,
    sparse_zeros,
    write_map,
)

TILTED = ((0.1, 0.0, 0.995), (0.0, -1.0, 0.0), (0.995, 0.0, -0.1))
GEOMETRY = VoxelGeometry.from_axes(
    (7, 9, 11), (2.0, 0.5, 0.7), (-20.0, 30.0, 100.0),
    np.array(TILTED) / np.linalg.norm(TILTED, axis=1)[:, None],
)  # fmt: skip


def some_labels() -> LabelMap:
    labels = np.zeros(GEOMETRY.shape, np.uint8)
    labels[2:5, 3:6, 4] = 22
    labels[4, 8, 0] = 255
    return LabelMap(labels, GEOMETRY)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd"])
def test_a_map_is_read_as_itk_reads_it(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"labels{ending}"
    write_label_map(some_labels(), path)
    found, expected = read_map(path), read_label_map(path)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.geometry.describe_difference(expected.geometry) == ()


def test_a_map_of_other_numbers_is_read_as_a_whole(tmp_path: Path) -> None:
    """16-bit labels in NIfTI, as other programs write them."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(some_labels().labels.astype(np.int16))
    path = tmp_path / "labels.nii.gz"
    sitk.WriteImage(image, str(path))
    np.testing.assert_array_equal(read_map(path).labels, some_labels().labels)


def test_damaged_and_missing_maps_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    write_label_map(some_labels(), path)
    whole = gzip.decompress(path.read_bytes())
    for content in (path.read_bytes()[:-30], gzip.compress(whole[:-100]), b"no gzip"):
        path.write_bytes(content)
        with pytest.raises(LabelMapError):
            read_map(path)
    with pytest.raises(LabelMapError):
        read_map(tmp_path / "nothing.nii.gz")


def test_a_corrected_map_has_the_grid_of_the_machines(tmp_path: Path) -> None:
    machine, path = tmp_path / "materials.nii.gz", tmp_path / "review.nii.gz"
    write_label_map(some_labels(), machine)
    table = np.arange(256, dtype=np.uint8)
    table[22] = 2
    write_map(some_labels(), table, path, machine)
    written, original = read_label_map(path), read_label_map(machine)
    np.testing.assert_array_equal(written.labels, table[original.labels])
    assert written.geometry.describe_difference(original.geometry) == ()
    assert [one.name for one in tmp_path.iterdir() if one.name[0] == "."] == []
    with pytest.raises(ExportError, match="cannot be written"):
        write_map(some_labels(), table, tmp_path / "no" / "x.nii.gz", machine)


def test_the_box_of_what_is_marked_is_tight() -> None:
    assert marked_box(some_labels().labels) == (slice(2, 5), slice(3, 9), slice(0, 5))
    assert marked_box(np.zeros((2, 3, 4), np.uint8)) is None


def test_only_what_is_marked_takes_memory() -> None:
    before = psutil.Process().memory_info().rss
    labels = sparse_zeros((300, 512, 512))
    assert labels.flags.writeable
    assert not labels[::50].any()
    labels[:, 250, 250] = 3  # a column through all slices
    assert marked_box(labels) == (slice(0, 300), slice(250, 251), slice(250, 251))
    taken = psutil.Process().memory_info().rss - before
    if sys.platform == "linux":  # elsewhere the system counts in its own way
        # A page of 4 KiB in each slice, and room for what else Python does.
        assert taken < 0.25 * labels.size
