import json
from pathlib import Path

import pytest

from cases.sample_demo import SampleDemo
from cases.treated_spine import treated_spine
from cemscope.errors import ConfigError
from cemscope_pipelines.cli import main
from cemscope_pipelines.cli.demo import FOLLOWUP_SUFFIX, loose_line, truth_table
from cemscope_pipelines.config import AnalysisConfig
from cemscope_pipelines.report_builder import build_report
from cemscope_pipelines.sample_case import (
    LevelTruth,
    SampleTruth,
    find_sample,
    read_truth,
)

DEMO_ERROR_PERCENT = 15.0
"""What the sample's volumes must keep."""

LOOSE_GAP_MM, GROWTH_ERROR_MM = 1.5, 0.4


def test_a_named_folder_comes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("given", "environment"):
        (tmp_path / name / "baseline").mkdir(parents=True)
    monkeypatch.setenv("CEMSCOPE_SAMPLE", str(tmp_path / "environment"))
    assert find_sample(tmp_path / "given").name == "given"
    assert find_sample().name == "environment"


def test_a_missing_sample_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="Clone the cemscope repository"):
        find_sample(tmp_path)
    status = main(["demo", "--sample", str(tmp_path), "--out", str(tmp_path / "case")])
    assert status == 2
    assert "CEMSCOPE_SAMPLE" in capsys.readouterr().err


def test_without_a_manifest_there_is_no_truth(tmp_path: Path) -> None:
    assert read_truth(tmp_path) is None


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"scans": 3}'])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match="manifest"):
        read_truth(tmp_path)


def test_measured_and_true_volumes_stand_side_by_side() -> None:
    case = treated_spine()
    report = build_report(case.ct, case.spine, case.augmentation, AnalysisConfig())
    truth = SampleTruth(
        (
            LevelTruth("L4", (0.0, 2.0, 35.0), 2.0),
            LevelTruth("L2", (0.0, 0.0, 108.0), 3.0),
        ),
        ("L4-left", "L4-right"),
    )
    lines = truth_table(report, truth).splitlines()
    (l4,) = [line for line in lines if line.startswith("L4")]
    assert l4.split() == [
        "L4",
        "L4",
        "2.44",
        "2.10",
        "-",
        "2.80",
        "2.00",
        "+22.2",
        "no",
    ]
    (l3,) = [line for line in lines if line.startswith("L3")]
    assert l3.split()[1:4] == ["none", "not", "assessed"]
    assert "not found: L2 with 3.00 mL" in lines
    assert lines[-1] == "screws by name: 1 of 2 found, 0 others"


@pytest.mark.sample
def test_the_demo_measures_the_sample_patient(
    sample_dicom: Path, sample_demo: SampleDemo
) -> None:
    assert "against the simulation's truth" in sample_demo.output
    assert "report.html" in sample_demo.output
    assert (sample_demo.case / "report.html").is_file()
    truth = read_truth(sample_dicom)
    assert truth is not None
    report = json.loads((sample_demo.case / "report.json").read_text())
    cement = {v["level"]: v["cement"] for v in report["vertebrae"]}
    for level in truth.levels:
        if level.cement_ml > 0:
            error = cement[level.level]["volume_ml"] / level.cement_ml - 1
            assert abs(100 * error) < DEMO_ERROR_PERCENT, (level, error)
    assert {screw["id"] for screw in report["screws"]} == set(truth.screw_ids)


@pytest.mark.sample
def test_the_demo_names_the_one_loose_screw(
    sample_dicom: Path, sample_demo: SampleDemo
) -> None:
    truth = read_truth(sample_dicom)
    assert truth is not None
    assert truth.loosened == ("L5-left",)
    assert "loose screws: L5-left (true: L5-left)" in sample_demo.output
    later = sample_demo.case.with_name(sample_demo.case.name + FOLLOWUP_SUFFIX)
    found = json.loads((later / "report.json").read_text())["followup"]
    assert [c["code"] for c in found["conclusions"]] == ["screw_loose"]
    growth = {s["id"]: s["growth_mm"] for s in found["screws"]}
    assert abs(growth.pop("L5-left") - LOOSE_GAP_MM) < GROWTH_ERROR_MM
    for other in growth.values():
        assert isinstance(other, dict) or abs(other) < GROWTH_ERROR_MM
    for vertebra in found["vertebrae"]:
        assert vertebra["residual_mm"] < 0.5
        heights = vertebra["heights"]
        assert (
            heights["status"] == "not_assessed" or heights["new_fracture"] is not True
        )


def test_the_line_of_loose_screws_tells_misses_and_false_alarms() -> None:
    case = treated_spine()
    report = build_report(case.ct, case.spine, case.augmentation, AnalysisConfig())
    truth = SampleTruth((), (), loosened=("L4-left",))
    assert loose_line(report, truth) == "loose screws: none (true: L4-left)"
