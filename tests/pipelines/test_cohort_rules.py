"""Which scans the tables of a study are made from, and what they leave open."""

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cases.reports import LevelCase, ReportCase, made_report
from cemscope.dicom.patient_key import patient_key_of
from cemscope_pipelines.batch.ledger import Ledger
from cemscope_pipelines.batch.ledger_case import CaseStatus, LedgerCase
from cemscope_pipelines.cli import main
from cemscope_pipelines.cohort.study import Study, read_study
from cemscope_pipelines.report import LucencyEntry, NotAssessedEntry

Row = dict[str, str]

EMPTY = (LevelCase("L3", 0.0),)
CEMENTED = (LevelCase("L3", 2.0),)
UNKNOWN = (LevelCase("L3", None),)


@dataclass(frozen=True)
class Scan:
    """A case of a made-up batch; ``levels`` None: its report is damaged."""

    name: str
    patient: str
    date: str
    levels: tuple[LevelCase, ...] | None = CEMENTED
    preferred: bool = True
    preference: str = ""
    status: CaseStatus = CaseStatus.DONE
    study: str = ""
    note: str = ""


def report_of(scan: Scan) -> dict[str, Any]:
    report = made_report(ReportCase("1.2", "1.3", scan.levels or (), scan.date))
    found: dict[str, Any] = json.loads(report.to_json())
    return found


def write_batch(out: Path, *scans: Scan) -> None:
    """Write what a batch would leave: ledger and case folders."""
    (out / "cases").mkdir(parents=True)
    entries = []
    for scan in scans:
        entry = LedgerCase(
            key=scan.name,
            name=scan.name,
            series=f"1.3.{scan.name}",
            study=scan.study or f"1.2.{scan.name}",
            patient_key=scan.patient,
            acquisition_date=scan.date,
            slices=20,
            preferred=scan.preferred,
            preference=scan.preference,
            status=scan.status,
            reason="" if scan.status is CaseStatus.DONE else "no vertebra",
        )
        entries.append(replace(entry, number_key=scan.patient, patient_note=scan.note))
        if scan.status is CaseStatus.DONE:
            folder = out / "cases" / scan.name
            folder.mkdir()
            text = "{" if scan.levels is None else json.dumps(report_of(scan))
            (folder / "report.json").write_text(text)
    with Ledger(out / "ledger.sqlite") as ledger:
        ledger.put(entries)
        ledger.tell_patients(entries)


def left_out(study: Study) -> dict[str, str]:
    return {case.case: case.why for case in study.left_out}


def table(out: Path, name: str = "cohort") -> list[Row]:
    with (out / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def find(out: Path, measure: str, subset: str = "") -> Row:
    (row,) = [
        r
        for r in table(out)
        if (r["group"], r["measure"], r["subset"]) == ("all", measure, subset)
    ]
    return row


def counted(row: Row) -> tuple[int, int, int]:
    return int(row["count"]), int(row["n"]), int(row["not_assessed"])


def test_scans_before_the_operation_are_left_out(tmp_path: Path) -> None:
    write_batch(
        tmp_path,
        Scan("a0", "P-1", "20250101", EMPTY),
        Scan("a1", "P-1", "20250105", CEMENTED),
        Scan("a2", "P-1", "20250301", (LevelCase("L3", 9.0),)),
        Scan("a3", "P-1", "20250601", (LevelCase("L3", 8.0),)),
    )
    (patient,) = read_study(tmp_path).patients
    assert (patient.first.entry.name, patient.last.entry.name) == ("a1", "a3")
    assert left_out(read_study(tmp_path)) == {
        "a0": "an earlier scan without cement or screws",
        "a2": "a later scan of the patient",
        "a3": "a later scan of the patient: used for loosening only",
    }
    assert main(["cohort", str(tmp_path), "--quiet"]) == 0
    row = find(tmp_path, "cement per patient")
    assert (row["n"], row["mean"]) == ("1", "2.0")
    row = find(tmp_path, "not used: an earlier scan without cement or screws")
    assert row["count"] == "1"


def test_a_scan_that_may_show_cement_is_not_before_the_operation(
    tmp_path: Path,
) -> None:
    write_batch(
        tmp_path,
        Scan("a0", "P-1", "20250101", UNKNOWN),
        Scan("a1", "P-1", "20250105", CEMENTED),
        Scan("b0", "P-2", "20250101", EMPTY),
        Scan("b1", "P-2", "20250105", EMPTY),
    )
    found = {p.key: p.first.entry.name for p in read_study(tmp_path).patients}
    assert found == {"P-1": "a0", "P-2": "b0"}


def test_a_damaged_report_costs_only_its_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_batch(
        tmp_path,
        Scan("good", "P-1", "20250101"),
        Scan("bad", "P-2", "20250101", None),
        Scan("killed", "P-3", "20250101", status=CaseStatus.KILLED),
    )
    assert main(["cohort", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "left out: case bad: report.json cannot be read" in said.err
    assert find(tmp_path, "patients")["count"] == "1"
    assert find(tmp_path, "not used: its result cannot be read")["count"] == "1"
    told = {
        r["case"]: (r["why"], r["detail"]) for r in table(tmp_path, "cohort_left_out")
    }
    assert told["killed"] == ("it has no result: killed", "no vertebra")
    assert "JSONDecodeError" in told["bad"][1]
    page = (tmp_path / "cohort.html").read_text(encoding="utf-8")
    assert 'data-row="bad" data-file="cohort_left_out.csv"' in page


def test_a_damaged_case_among_loose_ones_costs_only_itself(tmp_path: Path) -> None:
    for name, text in (
        ("one", json.dumps(report_of(Scan("one", "", "")))),
        ("two", "{"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(text)
    study = read_study(tmp_path)
    assert [p.key for p in study.patients] == ["one"]
    assert left_out(study) == {"two": "its result cannot be read"}


def test_second_choices_say_why(tmp_path: Path) -> None:
    write_batch(
        tmp_path,
        Scan("a", "P-1", "20250101", study="1"),
        Scan("b", "P-1", "20250101", study="1", preferred=False, preference="thick"),
        Scan("c", "P-2", "20250101", study="2", status=CaseStatus.MEMORY),
        Scan("d", "P-2", "20250101", study="2", preferred=False),
        Scan("e", "P-3", "20250101", study="3", preferred=False, preference="mixed"),
    )
    study = read_study(tmp_path)
    assert [p.key for p in study.patients] == ["P-1"]
    assert left_out(study) == {
        "b": "another series of its study is more suitable",
        "c": "it has no result: memory",
        "d": "another series of its study is more suitable, but has no result",
        "e": "no series of its study could be preferred",
    }
    assert {c.case: c.detail for c in study.left_out}["e"] == "mixed"


def indeterminate(report: dict[str, Any], level: int, candidates: list[str]) -> None:
    leak = report["vertebrae"][level]["leaks"][0]
    leak["certainty"] = "indeterminate"
    leak["evidence"] = {"candidates": candidates, "sentence": "..."}


LEAKING = (LevelCase("L3", 2.0, ((("S",), ("prevertebral",), 0.1),)),)


def test_leaks_of_uncertain_type_are_leaks_and_of_no_type(tmp_path: Path) -> None:
    write_batch(
        tmp_path,
        Scan("sure", "P-1", "20250101", LEAKING),
        Scan("unsure", "P-2", "20250101", LEAKING),
        Scan("none", "P-3", "20250101"),
    )
    path = tmp_path / "cases" / "unsure" / "report.json"
    report = json.loads(path.read_text())
    indeterminate(report, 0, ["S", "C"])
    path.write_text(json.dumps(report))
    assert main(["cohort", str(tmp_path), "--quiet"]) == 0
    for per in ("leak per patient with cement", "leak per level with cement"):
        assert counted(find(tmp_path, per, "any leak")) == (2, 3, 0)
        assert counted(find(tmp_path, per, "type not certain")) == (1, 3, 0)
        assert counted(find(tmp_path, per, "type S, segmental vein")) == (1, 2, 1)
        assert counted(find(tmp_path, per, "type C, cortical defect")) == (0, 2, 1)
        assert counted(find(tmp_path, per, "type B, basivertebral vein")) == (0, 3, 0)
        assert counted(find(tmp_path, per, "place: prevertebral")) == (2, 3, 0)
    leak_map = [r for r in table(tmp_path) if r["table"] == "F"]
    counts = {r["measure"]: r["count"] for r in leak_map}
    assert (counts["leaks"], counts["S"], counts["type not certain"]) == ("2", "1", "1")
    of_case = {r["case"]: r for r in table(tmp_path, "cohort_patients")}
    assert of_case["unsure"]["leak_types"] == ""
    assert of_case["unsure"]["leaks_of_uncertain_type"] == "1"
    assert of_case["sure"]["leak_types"] == "S"


def test_loosening_is_told_where_it_was_measured(tmp_path: Path) -> None:
    screws = (("left", 1.0), ("right", 1.0))
    levels = (LevelCase("L3", 2.0, (), screws),)
    write_batch(
        tmp_path,
        Scan("a", "P-1", "20250101", levels),
        Scan("b", "P-2", "20250101", levels),
        Scan("c", "P-3", "20250101", levels),
    )
    missing = NotAssessedEntry(reason="cement all round").model_dump(mode="json")
    for name, grades in (("a", ("loose", "none")), ("b", ("none", None))):
        path = tmp_path / "cases" / name / "report.json"
        report = json.loads(path.read_text())
        for screw, grade in zip(report["screws"], grades, strict=True):
            if grade is not None:
                part = NotAssessedEntry(reason="not in bone")
                screw["lucency"] = LucencyEntry(
                    grade=grade,
                    max_width_mm=2.4,
                    mean_width_mm=1.2,
                    arc_deg=200.0,
                    length_fraction=0.5,
                    seen_fraction=0.9,
                    double_halo=True,
                    cement_covered_fraction=0.1,
                    pedicle=part,
                    body=part,
                ).model_dump(mode="json")
            else:
                screw["lucency"] = missing
        path.write_text(json.dumps(report))
    assert main(["cohort", str(tmp_path), "--quiet"]) == 0
    assert counted(find(tmp_path, "loosened, per screw")) == (1, 3, 3)
    per_patient = find(tmp_path, "loosened, per patient with screws")
    assert counted(per_patient) == (1, 1, 2)
    of_case = {r["case"]: r for r in table(tmp_path, "cohort_patients")}
    assert of_case["c"]["screws_loose"] == ""
    assert of_case["c"]["screws_lucency_not_assessed"] == "2"


def test_a_number_of_several_patients_is_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_batch(tmp_path, Scan("a", "P-x", "20250101", note="of 2 patients"))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        number = patient_key_of("17", ledger.salt)
        entries = [replace(c, number_key=number) for c in ledger.cases()]
        ledger.put(entries)
    clinical = tmp_path / "clinical.csv"
    for cells in (
        "patient_id,procedure\n17,x\n",
        f"patient_key,procedure\n{number},x\n",
    ):
        clinical.write_text(cells)
        assert main(["cohort", str(tmp_path), "--clinical", str(clinical)]) == 2
        assert "line 2: the patient number is of several" in capsys.readouterr().err
    clinical.write_text("patient_key,procedure\nP-x,vertebroplasty\n")
    assert main(["cohort", str(tmp_path), "--clinical", str(clinical)]) == 0
