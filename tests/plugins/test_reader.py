"""The plugin's manifest, readers and writer; the last test opens napari's window."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest

import napari_cemscope
from cases.review_case import LEAK_ID, TinyCase, write_case
from cemscope.errors import ConfigError
from cemscope_pipelines.label_files import read_label_map
from cemscope_pipelines.review.review_document import FindingId
from cemscope_pipelines.review.review_session import ReviewSession
from napari_cemscope._reader import get_reader, read_case, read_ct
from napari_cemscope._sample import open_sample
from napari_cemscope._writer import write_labels

MANIFEST = Path(napari_cemscope.__file__).parent / "napari.yaml"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> TinyCase:
    return write_case(tmp_path_factory.mktemp("reader"))


def test_the_manifest_is_valid_and_all_it_names_exists() -> None:
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == "cemscope"
    contributed = manifest.contributions
    assert contributed.readers
    assert contributed.writers
    assert contributed.sample_data
    assert contributed.widgets


def test_a_ct_folder_becomes_an_image_layer(case: TinyCase) -> None:
    reader = get_reader(str(case.series))
    assert reader is read_ct
    ((data, keywords, kind),) = reader(str(case.series))
    assert kind == "image"
    assert data.shape == (60, 76, 64)
    assert keywords["scale"] == pytest.approx((1.0, 0.8, 0.8))
    assert keywords["translate"] == pytest.approx((-300.0, -24.0, -25.6))


def test_a_case_becomes_its_scan_and_a_layer_for_each_material(case: TinyCase) -> None:
    reader = get_reader(str(case.folder))
    assert reader is read_case
    layers = reader(str(case.folder))
    names = [keywords["name"] for _, keywords, _ in layers]
    assert names == ["CT", "vertebrae", "metal", "cement", "leaks"]
    materials = layers[2][0]
    assert all(np.shares_memory(materials, data) for data, _, _ in layers[3:])


def test_a_case_without_its_scan_still_shows_what_was_found(
    case: TinyCase, tmp_path: Path
) -> None:
    moved = tmp_path / "case"
    moved.mkdir()
    for name in ("report.json", "materials.nii.gz", "vertebrae.nii.gz"):
        (moved / name).write_bytes((case.folder / name).read_bytes())
    names = [keywords["name"] for _, keywords, _ in read_case(str(moved))]
    assert names == ["vertebrae", "metal", "cement", "leaks"]


def test_other_things_are_left_to_other_plugins(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a scan")
    assert get_reader(str(tmp_path)) is None
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader([str(tmp_path)]) is None


def test_a_layer_is_written_with_the_materials_codes(
    case: TinyCase, tmp_path: Path
) -> None:
    layers = {k["name"]: (data, k) for data, k, _ in read_case(str(case.folder))}
    data, keywords = layers["leaks"]
    path = str(tmp_path / "leaks.nii.gz")
    assert write_labels(path, data, keywords) == [path]
    written = read_label_map(Path(path))
    machine = read_label_map(case.folder / "materials.nii.gz")
    np.testing.assert_array_equal(written.labels, machine.labels)
    np.testing.assert_allclose(
        written.geometry.affine_lps, machine.geometry.affine_lps, atol=1e-4
    )


@pytest.mark.sample
def test_the_sample_is_an_image() -> None:
    ((data, keywords, kind),) = open_sample()
    assert (kind, keywords["name"]) == ("image", "sample CT")
    assert data.ndim == 3


def test_without_the_sample_it_is_said_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CEMSCOPE_SAMPLE", str(tmp_path))
    with pytest.raises(ConfigError, match="drag its folder sample_dicom/baseline"):
        open_sample()


@pytest.mark.gui
@pytest.mark.skipif(
    sys.platform == "linux" and not os.environ.get("DISPLAY"),
    reason="needs a display: run scripts/with_display.sh, or install xvfb first",
)
def test_napari_opens_a_case_through_the_manifest(
    make_napari_viewer, case: TinyCase
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.open(str(case.folder), plugin="cemscope")
    assert "leaks" in viewer.layers
    shown = viewer.screenshot(canvas_only=True, flash=False)
    assert shown[..., :3].std() > 1.0  # something is drawn
    session = ReviewSession(case.folder)  # reading has written nothing
    assert session.state.decision(FindingId("leak", LEAK_ID)).decision == "open"
    assert not (case.folder / "review.json").exists()
