"""One row per patient: what the tables of a study are made from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cemscope_pipelines.batch.case_view import LucencyView, NotAssessedView
from cemscope_pipelines.batch.rows import SEPARATOR, column
from cemscope_pipelines.cohort.groups import Grouping, Member
from cemscope_pipelines.followup.conclusions import GROWN_MM


@dataclass(frozen=True, slots=True)
class PatientRow:
    """One row of ``cohort_patients.csv``."""

    patient_key: str = column("", "Pseudonym of the patient.")
    group: str = column("", "Procedure group.")
    case: str = column("", "Case of the earliest scan: cement and leaks.")
    last_case: str = column("", "Case of the latest scan: loosening.")
    values_from: str = column("", "machine, or reader after a finished review.")
    cement_ml: float | None = column("mL", "All cement; empty if a level is open.")
    leaked_ml: float | None = column("mL", "Cement outside the vertebrae; likewise.")
    vertebrae_augmented: int = column("", "Vertebrae with cement.")
    vertebrae_not_assessed: int = column("", "Vertebrae whose cement is open.")
    leaks: int = column("", "Leaks of vertebrae with cement.")
    leak_types: str = column("", f"Types that are certain, separated by {SEPARATOR}.")
    leaks_of_uncertain_type: int = column("", "Leaks whose type is not certain.")
    screws: int = column("", "Screws.")
    screws_cemented: int = column("", "Screws with cement.")
    screws_loose: int | None = column("", "At the latest scan; empty: none assessed.")
    screws_lucency_not_assessed: int = column("", "At the latest scan.")
    compared_case: str = column(
        "", "Case that compares the latest scan with an earlier one; else empty."
    )
    screws_grown_lucency: int | None = column(
        "", f"Lucent rim grown by {GROWN_MM:g} mm or more; empty: none assessed."
    )
    screws_moved: int | None = column("", "Moved since; empty: none assessed.")
    screws_suspected_broken: int | None = column("", "Empty: none assessed.")
    sex: str = column("", "F, M or empty.")
    age_years: float | None = column("years", "Clinical file.")
    hospital_stay_days: float | None = column("days", "Clinical file.")
    odi_before_percent: float | None = column("%", "Clinical file, odi_before.")
    odi_after_percent: float | None = column("%", "Clinical file, odi_after.")
    vas_before: float | None = column("", "Clinical file, 0 to 10.")
    vas_after: float | None = column("", "Clinical file, 0 to 10.")
    mrc_before: float | None = column("", "Clinical file, 0 to 5.")
    mrc_after: float | None = column("", "Clinical file, 0 to 5.")
    complications: str = column("", "Clinical file; none, or empty: not recorded.")


def _count(marks: Iterable[bool | None]) -> int | None:
    """How many have a mark; None if it is known of none."""
    known = [mark for mark in marks if mark is not None]
    return sum(known) if known else None


def _row(member: Member, group: str) -> PatientRow:
    patient, clinical = member.patient, member.clinical
    first, last = patient.first, patient.last
    totals = first.view.totals
    leaks = [leak for v in first.augmented for leak in v.leaks]
    grades = [
        s.lucency.grade for s in last.view.screws if isinstance(s.lucency, LucencyView)
    ]
    changes = [change for change in patient.changes if change is not None]
    values = {} if clinical is None else clinical.values
    told = None if clinical is None else clinical.complications
    return PatientRow(
        patient_key=patient.key,
        group=group,
        case=first.entry.name,
        last_case=last.entry.name,
        values_from=first.view.values_from,
        cement_ml=None
        if isinstance(totals.cement_ml, NotAssessedView) or first.open_levels
        else totals.cement_ml,
        leaked_ml=None
        if isinstance(totals.leaked_ml, NotAssessedView) or first.open_levels
        else totals.leaked_ml,
        vertebrae_augmented=len(first.augmented),
        vertebrae_not_assessed=first.not_assessed,
        leaks=len(leaks),
        leak_types=SEPARATOR.join(
            sorted({t for k in leaks if k.type_is_certain for t in k.types})
        ),
        leaks_of_uncertain_type=sum(not k.type_is_certain for k in leaks),
        screws=len(patient.screws),
        screws_cemented=sum(s.cemented for s in patient.screws),
        screws_loose=grades.count("loose") if grades else None,
        screws_lucency_not_assessed=len(last.view.screws) - len(grades),
        compared_case="" if patient.compared is None else patient.compared.entry.name,
        screws_grown_lucency=_count(s.grown(GROWN_MM) for s in changes),
        screws_moved=_count(s.moved for s in changes),
        screws_suspected_broken=_count(s.broken for s in changes),
        sex="" if clinical is None else clinical.sex,
        age_years=values.get("age_years"),
        hospital_stay_days=values.get("hospital_stay_days"),
        odi_before_percent=values.get("odi_before"),
        odi_after_percent=values.get("odi_after"),
        vas_before=values.get("vas_before"),
        vas_after=values.get("vas_after"),
        mrc_before=values.get("mrc_before"),
        mrc_after=values.get("mrc_after"),
        complications=""
        if told is None
        else "none"
        if not told
        else SEPARATOR.join(told),
    )


def patient_rows(grouping: Grouping) -> Iterator[PatientRow]:
    """Rows of all patients, group by group."""
    for group in grouping.groups[1:]:
        for member in group.members:
            yield _row(member, group.name)
