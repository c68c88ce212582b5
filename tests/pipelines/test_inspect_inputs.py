"""`cemscope inspect` of inputs that leave open which series is meant."""

import json
from pathlib import Path

import pytest

from cases.ingest_inputs import INPUT_CASES, REFUSED_INPUTS
from cemscope_pipelines.cli import main

CASES = {case.name: case for case in (*INPUT_CASES, *REFUSED_INPUTS)}


def test_a_series_of_two_phases_hides_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = CASES["phases_beside_clear"].write(tmp_path)
    assert main(["inspect", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["refusal"] is None
    first, *others = found["series"]
    assert (first["chosen"], first["slices"]) == (True, 10)
    assert [n["code"] for n in first["notices"]] == ["series_passed_over"]
    assert [s["measurable"] for s in others] == [True, True]
    assert {s["patient"] for s in found["series"]} == {1}


def test_the_series_of_two_patients_are_numbered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = CASES["two_patients"].write(tmp_path)
    assert main(["inspect", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["chosen"] is None
    assert "2 patients" in found["refusal"]
    assert [s["patient"] for s in found["series"]] == [1, 2]
    assert main(["inspect", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "patient 2 of this input" in said
    assert "can be measured if it is named" in said
    assert "PHANTOM" not in said
    assert main(["analyze", str(folder), "--out", str(tmp_path / "out")]) == 3
    assert "2 patients" in capsys.readouterr().err


def test_archives_that_stay_closed_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = CASES["zip_inside"].write(tmp_path)
    assert main(["inspect", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["closed_archives"] == 1
    assert main(["inspect", str(folder)]) == 0
    assert "1 zip archives unopened" in capsys.readouterr().err
