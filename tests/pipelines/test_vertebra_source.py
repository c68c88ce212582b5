from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from cases.vertebra_labels import Row, dice, level_number
from cemscope.anatomy_schemes import LabelScheme
from cemscope.errors import ConfigError, LabelMapError
from cemscope.geometry import VoxelGeometry
from cemscope.spine import VertebraSource
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines import vertebra_source
from cemscope_pipelines.label_files import read_label_map, write_label_map
from cemscope_pipelines.vertebra_source import load_vertebrae

ROW = Row()


@pytest.fixture(scope="module")
def ct() -> CTVolume:
    scan: CTVolume = ROW.ct(ROW.grid((2.5, 2.0, 2.0)))
    return scan


def test_file_of_another_grid(ct: CTVolume, tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    write_label_map(ROW.labels(ROW.grid((3.0, 1.0, 1.0))), path)
    spine = load_vertebrae(ct, str(path))
    assert [v.level.name for v in spine.vertebrae] == ["L4", "L3", "L2"]
    assert {v.source for v in spine.vertebrae} == {VertebraSource.IMPORTED}
    body, _ = ROW.parts(ct.geometry)["L3"]
    # Half a voxel of 2 mm around a body of 25 x 30 x 44 mm costs 0.05.
    assert dice(spine.labels.labels == level_number("L3"), body) > 0.92


def test_scheme_overrules_detection(ct: CTVolume, tmp_path: Path) -> None:
    path = tmp_path / "labels.nrrd"
    write_label_map(ROW.labels(ct.geometry, LabelScheme.VERSE), path)
    with pytest.raises(LabelMapError, match="under the numbering 'totalsegmentator'"):
        load_vertebrae(ct, str(path), "totalsegmentator")
    named = load_vertebrae(ct, str(path), "verse")
    assert [v.level.name for v in named.vertebrae] == ["L4", "L3", "L2"]
    with pytest.raises(ConfigError, match="found 'spine'"):
        load_vertebrae(ct, str(path), "spine")


def test_missing_file_and_folder(ct: CTVolume, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'embeded', where no file lies"):
        load_vertebrae(ct, "embeded")
    with pytest.raises(ConfigError, match="folder with 0 files"):
        load_vertebrae(ct, str(tmp_path))
    with pytest.raises(ConfigError, match="reads none"):
        load_vertebrae(ct, "embedded", "verse")
    with pytest.raises(ConfigError, match="numbered by that program"):
        load_vertebrae(ct, "totalsegmentator", "verse")


def test_dicom_segmentation_with_names_needs_no_scheme(
    ct: CTVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {22: "L3", 21: "L2", 23: "L4"}
    labels = LabelMap(ROW.labels(ct.geometry).labels, ct.geometry, names)
    path = tmp_path / "seg"
    path.write_bytes(b"stands for a DICOM file")
    monkeypatch.setattr(vertebra_source, "is_segmentation", lambda path: True)
    monkeypatch.setattr(vertebra_source, "read_segmentation", lambda path: labels)
    spine = load_vertebrae(ct, str(path), "totalsegmentator")
    assert [v.level.name for v in spine.vertebrae] == ["L4", "L3", "L2"]
    assert "label_scheme_unused" in {n.code for n in spine.notices}


def test_outermost_vertebrae_of_a_dicom_segmentation_are_whole(
    ct: CTVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its stored frames end where the labels end.
    labels = ROW.labels(ct.geometry)
    used = np.nonzero(labels.labels.any(axis=(1, 2)))[0]
    box = (slice(int(used[0]), int(used[-1]) + 1), slice(None), slice(None))
    stored = LabelMap(labels.labels[box].copy(), ct.geometry.crop(box))
    path = tmp_path / "seg"
    path.write_bytes(b"stands for a DICOM file")
    monkeypatch.setattr(vertebra_source, "is_segmentation", lambda path: True)
    monkeypatch.setattr(vertebra_source, "read_segmentation", lambda path: stored)
    spine = load_vertebrae(ct, str(path))
    assert [v.complete for v in spine.vertebrae] == [True, True, True]
    assert spine.notices == ()


def spineps_maps(folder: Path, ct: CTVolume) -> tuple[Path, Path]:
    """The two files as SPINEPS writes them: whole vertebrae, and their parts."""
    array = ROW.labels(ct.geometry).labels.copy()
    part = np.zeros_like(array)
    for body, arch in ROW.parts(ct.geometry).values():
        part[arch] = 41
        part[body] = 49
    core = ndimage.binary_erosion(part == 49)
    part[core] = 50
    part[0, 0, 0] = 61
    files = (
        folder / "sub-1_seg-vert_msk.nii.gz",
        folder / "sub-1_seg-spine_msk.nii.gz",
    )
    write_label_map(LabelMap(array, ct.geometry), files[0])
    write_label_map(LabelMap(part, ct.geometry), files[1])
    return files


def test_both_maps_of_spineps_give_bodies_without_a_cut(
    ct: CTVolume, tmp_path: Path
) -> None:
    vertebrae, parts = spineps_maps(tmp_path, ct)
    spine = load_vertebrae(ct, str(tmp_path))
    for name, (body, arch) in ROW.parts(ct.geometry).items():
        assert np.array_equal(spine.labels.labels == level_number(name), body)
        assert np.array_equal(spine.labels.labels == level_number(name) + 100, arch)
    with pytest.raises(LabelMapError, match=r"map of parts \(seg-spine\)"):
        load_vertebrae(ct, str(parts))
    alone = load_vertebrae(ct, str(vertebrae))
    assert [v.level.name for v in alone.vertebrae] == ["L4", "L3", "L2"]


def test_maps_of_spineps_that_do_not_belong_together_are_refused(
    ct: CTVolume, tmp_path: Path
) -> None:
    _, parts = spineps_maps(tmp_path, ct)
    moved = VoxelGeometry(
        ct.geometry.shape, ct.geometry.crop((slice(30, None),) * 3).affine_lps
    )
    write_label_map(LabelMap(read_label_map(parts).labels, moved), parts)
    with pytest.raises(LabelMapError, match="do not belong together"):
        load_vertebrae(ct, str(tmp_path))
