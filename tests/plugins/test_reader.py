"""The napari reader, with and without a window."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from cemscope.geometry import VoxelGeometry
from cemscope.testing.dicom_writer import SeriesIdentity, write_series
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines.label_files import write_label_map
from napari_cemscope._reader import get_reader, read_case, read_ct

GEOMETRY = VoxelGeometry.from_axes((6, 16, 20), (2.0, 0.7, 0.7), (-50.0, 10.0, -300.0))


@pytest.fixture
def ct_folder(tmp_path: Path) -> Path:
    hu = np.random.default_rng(1).normal(40, 30, GEOMETRY.shape).astype(np.int16)
    write_series(CTVolume(hu, GEOMETRY), tmp_path / "ct", SeriesIdentity())
    return tmp_path / "ct"


@pytest.fixture
def case_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "case"
    folder.mkdir()
    labels = np.zeros(GEOMETRY.shape, np.uint8)
    labels[2:4, 4:8, 4:8] = 22
    for name in ("vertebrae", "materials"):
        write_label_map(LabelMap(labels, GEOMETRY), folder / f"{name}.nii.gz")
    (folder / "report.json").write_text("{}")
    return folder


def test_a_ct_folder_becomes_an_image_layer(ct_folder: Path) -> None:
    reader = get_reader(str(ct_folder))
    assert reader is read_ct
    ((data, keywords, kind),) = reader(str(ct_folder))
    assert (kind, data.shape) == ("image", GEOMETRY.shape)
    corner = keywords["affine"] @ [0, 0, 0, 1]
    np.testing.assert_allclose(corner[:3], (-300.0, 10.0, -50.0), atol=1e-6)


def test_a_case_becomes_two_label_layers(case_folder: Path) -> None:
    reader = get_reader(str(case_folder))
    assert reader is read_case
    layers = reader(str(case_folder))
    assert [keywords["name"] for _, keywords, _ in layers] == ["vertebrae", "materials"]
    for data, _, kind in layers:
        assert kind == "labels"
        assert (data == 22).sum() == 32


def test_other_things_are_left_to_other_plugins(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a scan")
    assert get_reader(str(tmp_path)) is None
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader([str(tmp_path)]) is None


@pytest.mark.gui
@pytest.mark.skipif(
    sys.platform == "linux" and not os.environ.get("DISPLAY"),
    reason="needs a display: run scripts/with_display.sh, or install xvfb first",
)
def test_napari_opens_both_through_the_manifest(
    make_napari_viewer, ct_folder: Path, case_folder: Path
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.open(str(ct_folder), plugin="cemscope")
    viewer.open(str(case_folder), plugin="cemscope")
    assert [layer.name for layer in viewer.layers] == ["CT", "vertebrae", "materials"]
    shown = viewer.screenshot(canvas_only=True, flash=False)
    assert shown[..., :3].std() > 1.0  # something is drawn
