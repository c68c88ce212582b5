"""Later scans that a batch compares with the first ones of their patients."""

import csv
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cases.batch_roots import FakeSeries, runs_of, write_fake_series
from cases.fake_cases import COMPARED_FILE, RUNNER
from cases.reports import LevelCase, ReportCase, made_report
from cemscope_pipelines.batch import case_job, case_run
from cemscope_pipelines.batch.batch_run import listed_cases, listed_followups
from cemscope_pipelines.batch.case_job import CaseJob
from cemscope_pipelines.cli import main
from cemscope_pipelines.cohort.study import read_study
from cemscope_pipelines.config import AnalysisConfig
from cemscope_pipelines.followup import followup_run

Row = dict[str, str]

EMPTY = (LevelCase("L5", 0.0), LevelCase("L4", 0.0))

SCANS = (
    FakeSeries("preoperative", patient="A", date="20250101", levels=EMPTY),
    FakeSeries("first", patient="A", date="20250105"),
    FakeSeries("later", patient="A", date="20250601"),
    FakeSeries("b_first", patient="B", date="20250105"),
    FakeSeries("b_later", patient="B", date="20250701", compared="raise"),
    FakeSeries("c_first", "raise", patient="C", date="20250105"),
    FakeSeries("c_later", patient="C", date="20250801"),
)


def rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def counted(out: Path, measure: str) -> tuple[str, str, str]:
    whole = [r for r in rows(out / "cohort.csv") if r["group"] == "all"]
    (row,) = [r for r in whole if r["measure"] == measure]
    return row["count"], row["n"], row["not_assessed"]


def test_later_scans_are_compared_with_the_first_after_the_operation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case_job, "CASE_RUNNER", RUNNER)
    root, out = tmp_path / "root", tmp_path / "out"
    scans = [replace(s, own_uid=True) for s in SCANS]
    folders = {s.name: write_fake_series(s, root) for s in scans}
    command = ["batch", str(root), "--out", str(out), "--workers", "2", "--json"]
    command.append("--pair-followups")
    assert main(command) == 5
    told = json.loads(capsys.readouterr().out)
    assert (told["done"], told["without_result"]) == (6, 1)
    by_date = {c.acquisition_date: c for c in listed_followups(out)}
    assert {d: c.reason_code for d, c in by_date.items()} == {
        "20250601": "", "20250701": "SegmentationError", "20250801": "no_baseline",
    }  # fmt: skip

    table = {r["acquisition_date"]: r for r in rows(out / "cases.csv")}
    later = table["20250601"]
    assert table["20250101"]["role"] == "single"
    assert later["baseline_case"].startswith("20250105-")
    assert later["days_since_baseline"] == "147"
    assert later["followup_case"] == f"followups/{by_date['20250601'].name}"
    assert (out / later["followup_case"] / "report.json").is_file()
    assert "looks like one" in table["20250701"]["followup_problem"]
    assert "has no result" in table["20250801"]["followup_problem"]
    screws = [r for r in rows(out / "screws.csv") if r["case"] == later["case"]]
    assert {(s["lucency_growth_mm"], s["moved"]) for s in screws} == {("1.5", "yes")}
    page = (out / "batch.html").read_text(encoding="utf-8")
    assert f'href="{later["followup_case"]}/report.html"' in page
    assert "Not compared with its baseline: no vertebra looks like one" in page

    # A study: patient A has one scan after the operation and one comparison.
    assert main(["cohort", str(out), "--quiet"]) == 0
    assert counted(out, "patients whose scans were compared")[0] == "1"
    grown = "lucent rim grown by 1 mm or more, per "
    assert counted(out, grown + "screw") == ("2", "2", "0")
    assert counted(out, grown + "patient with screws") == ("1", "1", "0")
    assert counted(out, "suspected break, per screw") == ("0", "0", "2")
    assert counted(out, "patients")[0] == "3"
    (row,) = [r for r in rows(out / "cohort_patients.csv") if r["screws_moved"]]
    assert (row["case"], row["last_case"]) == (
        later["baseline_case"],
        later["followup_case"],
    )
    capsys.readouterr()

    # Again: nothing is repeated but what failed, and that only when asked.
    (folders["b_later"] / COMPARED_FILE).write_text("ok")
    assert main([*command, "--retry-failed"]) == 5
    assert Counter(c.starts for c in listed_followups(out)) == {0: 1, 1: 1, 2: 1}
    assert runs_of(folders["later"])[1] == 2  # measured once, compared once
    assert {c.starts for c in listed_cases(out)} == {1, 2}
    assert not list((out / "followups").glob(".*"))


def test_a_comparison_does_what_followup_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[followup_run.FollowupJob] = []
    monkeypatch.setattr(
        followup_run, "follow_series", lambda job, listener: asked.append(job)
    )
    config = AnalysisConfig()
    job = CaseJob(
        key="k",
        series_path=str(tmp_path / "scan"),
        series_name="1.2.3",
        case_folder=str(tmp_path / "followups" / "k"),
        config=config.canonical_json(),
        command=("cemscope", "batch"),
        baseline_folder=str(tmp_path / "cases" / "first"),
    )
    case_run.run(job.model_dump_json(), lambda message: None)
    (found,) = asked
    assert found.baseline == tmp_path / "cases" / "first"
    assert found.same_patient is None
    assert found.analysis.series_uid == "1.2.3"
    assert found.analysis.case_folder == tmp_path / "followups" / "k"
    assert found.analysis.config == config


@dataclass(frozen=True)
class LooseCase:
    """A case folder: scan, date, and the scan that it was compared with."""

    name: str
    scan: str
    date: str
    baseline: str = ""


def write_case(folder: Path, case: LooseCase) -> None:
    levels = (LevelCase("L5", 2.0, screws=(("left", 1.0), ("right", 1.0))),)
    report: dict[str, Any] = json.loads(
        made_report(
            ReportCase(f"1.2.{case.scan}", f"1.3.{case.scan}", levels, case.date)
        ).to_json()
    )
    if case.baseline:
        not_known = {"status": "not_assessed", "reason": "not seen"}
        report["followup"] = {
            "baseline_study_instance_uid": f"1.2.{case.baseline}",
            "baseline_series_instance_uid": f"1.3.{case.baseline}",
            "screws": [
                {"level": "L5", "side": "left", "growth_mm": 0.2,
                 "movement": not_known, "integrity": "whole"},
            ],
        }  # fmt: skip
    (folder / case.name).mkdir(parents=True)
    (folder / case.name / "report.json").write_text(json.dumps(report))


def test_a_followup_and_its_baseline_are_one_patient(tmp_path: Path) -> None:
    for case in (
        LooseCase("z_first", "1", "20250101"),
        LooseCase("a_later", "2", "20250601", baseline="1"),
        LooseCase("b_latest", "3", "20260101", baseline="1"),
        LooseCase("other", "4", "20250101"),
        LooseCase("other_again", "4", "20250101"),
    ):
        write_case(tmp_path, case)
    study = read_study(tmp_path)
    found = {p.key: (p.first.entry.name, p.last.entry.name) for p in study.patients}
    assert found == {"z_first": ("z_first", "b_latest"), "other": ("other", "other")}
    assert {c.case: c.why for c in study.left_out} == {
        "a_later": "a later scan of the patient",
        "b_latest": "a later scan of the patient: used for loosening only",
        "other_again": "another result of a scan that is used",
    }
    assert main(["cohort", str(tmp_path), "--quiet"]) == 0
    assert counted(tmp_path, "cement per patient")[1] == "2"
    grown = "lucent rim grown by 1 mm or more, per "
    assert counted(tmp_path, grown + "screw") == ("0", "1", "1")
    assert counted(tmp_path, grown + "patient with screws") == ("0", "0", "1")
    assert counted(tmp_path, "suspected break, per screw") == ("0", "1", "1")
