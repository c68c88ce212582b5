import importlib.util
import stat
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from cases.vertebra_labels import Row, dice, level_number
from cemscope.anatomy_schemes import LabelScheme
from cemscope.errors import ConfigError, LabelMapError, SegmentationError
from cemscope.spine import VertebraSource
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines.label_files import write_label_map
from cemscope_pipelines.vertebra_source import load_vertebrae

ROW = Row()


@pytest.fixture(scope="module")
def ct() -> CTVolume:
    scan: CTVolume = ROW.ct(ROW.grid((2.0, 1.5, 1.5)))
    return scan


def stand_in(folder: Path, body: str) -> Path:
    """A program in TotalSegmentator's place, called as the real one is."""
    folder.mkdir(exist_ok=True)
    program = folder / "TotalSegmentator"
    head = f"#!{sys.executable}\nimport sys\n"
    program.write_text(head + dedent(body))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def use_only(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_file_of_another_grid(ct: CTVolume, tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    write_label_map(ROW.labels(ROW.grid((3.0, 1.0, 1.0))), path)
    spine = load_vertebrae(ct, str(path))
    assert [v.level.name for v in spine.vertebrae] == ["L4", "L3", "L2"]
    assert {v.source for v in spine.vertebrae} == {VertebraSource.IMPORTED}
    body, _ = ROW.parts(ct.geometry)["L3"]
    assert dice(spine.labels.labels == level_number("L3"), body) > 0.92


def test_scheme_overrules_detection(ct: CTVolume, tmp_path: Path) -> None:
    path = tmp_path / "labels.nrrd"
    write_label_map(ROW.labels(ct.geometry, LabelScheme.VERSE), path)
    with pytest.raises(LabelMapError, match="under the numbering 'totalsegmentator'"):
        load_vertebrae(ct, str(path), "totalsegmentator")
    with pytest.raises(ConfigError, match="found 'spine'"):
        load_vertebrae(ct, str(path), "spine")


def test_missing_file_and_folder(ct: CTVolume, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'embeded', where no file lies"):
        load_vertebrae(ct, "embeded")
    with pytest.raises(ConfigError, match="folder with 0 files"):
        load_vertebrae(ct, str(tmp_path))
    with pytest.raises(ConfigError, match="reads none"):
        load_vertebrae(ct, "embedded", "verse")


def test_totalsegmentator_that_is_not_installed(
    ct: CTVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_only(monkeypatch, tmp_path)
    with pytest.raises(ConfigError, match="pip install") as refusal:
        load_vertebrae(ct, "totalsegmentator")
    assert "\n" not in str(refusal.value)


def test_stand_in_writes_a_map_in_totalsegmentators_format(
    ct: CTVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = tmp_path / "truth.nii.gz"
    write_label_map(ROW.labels(ct.geometry, LabelScheme.TOTALSEGMENTATOR), truth)
    stand_in(
        tmp_path / "bin",
        f"""
        import shutil
        arguments = sys.argv[1:]
        assert arguments[0] == "-i" and arguments[2] == "-o", arguments
        assert arguments[4:6] == ["--ml", "--roi_subset"], arguments
        assert "vertebrae_L3" in arguments and "liver" not in arguments
        open(arguments[1], "rb").close()
        shutil.copyfile({str(truth)!r}, arguments[3])
        """,
    )
    use_only(monkeypatch, tmp_path / "bin")
    spine = load_vertebrae(ct, "totalsegmentator")
    assert [v.level.name for v in spine.vertebrae] == ["L4", "L3", "L2"]
    assert {v.source for v in spine.vertebrae} == {VertebraSource.TOTALSEGMENTATOR}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('no weights here')", "status 1: no weights here"),
        ("pass", "without an output file"),
    ],
)
def test_failing_program_is_told_in_one_line(
    ct: CTVolume,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    message: str,
) -> None:
    stand_in(tmp_path / "bin", body)
    use_only(monkeypatch, tmp_path / "bin")
    with pytest.raises(SegmentationError, match=message) as failure:
        load_vertebrae(ct, "totalsegmentator")
    assert "\n" not in str(failure.value)


def test_output_of_a_program_is_checked_as_any_import(
    ct: CTVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = ROW.labels(ct.geometry, LabelScheme.TOTALSEGMENTATOR)
    beside = LabelMap(np.roll(labels.labels, 24, axis=2), ct.geometry)
    truth = tmp_path / "truth.nii.gz"
    write_label_map(beside, truth)
    stand_in(
        tmp_path / "bin",
        f"import shutil\nshutil.copyfile({str(truth)!r}, sys.argv[4])\n",
    )
    use_only(monkeypatch, tmp_path / "bin")
    with pytest.raises(LabelMapError, match=r"do not lie on bone.* 3\d mm away"):
        load_vertebrae(ct, "totalsegmentator")
