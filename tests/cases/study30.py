"""A made-up study of 30 patients whose tables can be computed by hand.

8 patients with cannulated screws: two levels, four screws of 1.0 + 0.1 i mL.
12 patients with ordinary screws: one level, two screws of 1.5 mL + 0.25 (i mod 3) mL,
lucency assessed; the first two have another level that was not assessed.
10 vertebroplasties of T12 with 2.0 + 0.2 i mL.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cases.reports import LevelCase, ReportCase, made_report

CANNULATED, ORDINARY, PLASTY = "cannulated screws", "ordinary screws", "vertebroplasty"


@dataclass(frozen=True, slots=True)
class StudyPerson:
    """A patient: folder, group, number within the group, report."""

    name: str
    group: str
    number: int
    report: dict[str, Any]


def _lucency(grade: str) -> dict[str, Any]:
    return {
        "status": "assessed",
        "max_width_mm": 2.5,
        "mean_width_mm": 1.2,
        "arc_deg": 120.0,
        "length_fraction": 0.5,
        "grade": grade,
    }


def _report(name: str, levels: tuple[LevelCase, ...]) -> dict[str, Any]:
    report = made_report(ReportCase(f"1.2.{name}", f"1.3.{name}", levels))
    found: dict[str, Any] = json.loads(report.to_json())
    return found


def people() -> Iterator[StudyPerson]:
    for i in range(8):
        per_screw = round(1.0 + 0.1 * i, 3)
        screws = (("left", per_screw), ("right", per_screw))
        leaks5 = ((("B",), ("epidural",), 0.2),) if i == 0 else ()
        leaks4 = ((("S",), ("paravertebral_left",), 0.1),) if i == 1 else ()
        levels = (
            LevelCase("L5", round(2 * per_screw, 3), leaks5, screws),
            LevelCase("L4", round(2 * per_screw, 3), leaks4, screws),
            LevelCase("L3", 0.0),
        )
        yield StudyPerson(f"can{i}", CANNULATED, i, _report(f"1{i}", levels))
    for i in range(12):
        per_screw = 1.5 + 0.25 * (i % 3)
        screws = (("left", per_screw), ("right", per_screw))
        leaks = (
            (
                (("S",), ("prevertebral",), 0.1),
                (("C",), ("paravertebral_right",), 0.05),
            )
            if i == 2
            else ()
        )
        levels = (LevelCase("L3", 2 * per_screw, leaks, screws),)
        if i < 2:
            levels = (LevelCase("L4", None), *levels)
        report = _report(f"2{i}", levels)
        for screw in report["screws"]:
            screw["lucency"] = _lucency("none")
        if i == 0:
            report["screws"][0]["lucency"] = _lucency("loose")
        if i == 1:
            report["screws"][1]["lucency"] = _lucency("suspicious")
        yield StudyPerson(f"ord{i:02d}", ORDINARY, i, report)
    for i in range(10):
        leaks = {
            0: ((("D",), ("disc_superior",), 0.3),),
            1: ((("I",), ("needle_track",), 0.1),),
        }.get(i, ())
        levels = (
            LevelCase("T12", round(2.0 + 0.2 * i, 3), leaks),
            LevelCase("L1", 0.0),
        )
        yield StudyPerson(f"ver{i}", PLASTY, i, _report(f"3{i}", levels))


def clinical_row(person: StudyPerson) -> dict[str, object]:
    """Age 60 + i; stay 5, 4, 1 days; ODI and VAS fall, MRC rises for the first two."""
    i = person.number
    stay = {CANNULATED: 5, ORDINARY: 4, PLASTY: 1}[person.group]
    return {
        "patient_key": person.name,
        "procedure": person.group,
        "sex": "F" if i % 2 == 0 else "M",
        "age_years": 60 + i,
        "hospital_stay_days": stay + i % 2,
        "odi_before": 70 + i,
        "odi_after": 30,
        "vas_before": 8,
        "vas_after": 3 if i else "",
        "mrc_before": 4 if i < 2 else 5,
        "mrc_after": 5,
        "complications": "wound infection + fever" if person.name == "can3" else "none",
    }


def write_study(folder: Path) -> Path:
    """Write the reports as case folders, and ``clinical.csv`` beside them."""
    rows = []
    for person in people():
        case = folder / person.name
        case.mkdir(parents=True)
        (case / "report.json").write_text(json.dumps(person.report))
        rows.append(clinical_row(person))
    clinical = folder / "clinical.csv"
    with clinical.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return clinical
