"""The patients of a study: which of their scans tell what."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cemscope_pipelines.batch.case_view import FollowedScrewView, ScrewView
from cemscope_pipelines.batch.ledger_case import LedgerCase
from cemscope_pipelines.cohort.study_case import LeftOut, StudyCase

LATER_SCAN = "a later scan of the patient: used for loosening only"


@dataclass(frozen=True, slots=True)
class StudyPatient:
    """A patient.

    Attributes
    ----------
    key : str
        Pseudonym.
    first : StudyCase
        The earliest scan with cement or screws, else the earliest: cement and leaks
        are told from it.
    last : StudyCase
        The latest scan: loosening is told from it; often the same.
    compared : StudyCase or None
        The latest scan again, as ``cemscope followup`` compared it with an earlier
        one; None if it was not.
    """

    key: str
    first: StudyCase
    last: StudyCase
    compared: StudyCase | None = None

    @property
    def screws(self) -> tuple[ScrewView, ...]:
        """Screws of the earliest scan."""
        return self.first.view.screws

    @property
    def changes(self) -> list[FollowedScrewView | None]:
        """What became of each screw of the latest scan; None: it was not compared."""
        found = None if self.compared is None else self.compared.view.followup
        if found is None:
            return []
        return [found.of(screw) for screw in self.last.view.screws]


def patient_of(entry: LedgerCase) -> str:
    """Key of the patient of a case; one whose patient is unknown is of its study."""
    return entry.patient_key or f"study {entry.study or entry.series}"


def _date(case: StudyCase) -> str:
    return case.entry.acquisition_date or "9"


def _patient(key: str, members: Sequence[StudyCase]) -> StudyPatient:
    """Choose the scans of a patient; a reader's values go before the machine's."""

    def told_by(case: StudyCase) -> tuple[bool, bool, str]:
        compared = case.view.followup is not None
        return (case.view.values_from != "reader", compared, case.entry.name)

    operated = [one for one in members if one.operated] or members
    start = min(map(_date, operated))
    first = min((one for one in operated if _date(one) == start), key=told_by)
    end = max(map(_date, members))
    latest = [one for one in members if _date(one) == end]
    compared = [one for one in latest if one.view.followup is not None]
    by_reader = [one for one in latest if one.view.values_from == "reader"]
    last = min(by_reader or compared or latest, key=told_by)
    if _date(first) == end and not compared:
        last = first
    same_scan = [one for one in compared if one.entry.series == last.entry.series]
    return StudyPatient(key, first, last, min(same_scan, key=told_by, default=None))


def study_patients(
    cases: Iterable[StudyCase],
) -> tuple[tuple[StudyPatient, ...], list[LeftOut]]:
    """Put cases together by patient, and say which of them are not used for all."""
    of_patient: dict[str, list[StudyCase]] = {}
    for case in cases:
        of_patient.setdefault(patient_of(case.entry), []).append(case)
    patients, left_out = [], []
    for key, members in sorted(of_patient.items()):
        members.sort(key=lambda one: (_date(one), one.entry.name))
        patient = _patient(key, members)
        patients.append(patient)
        for case in members:
            why = _not_used(case, patient)
            if why:
                entry = case.entry
                left_out.append(LeftOut(entry.name, entry.patient_key, why, ""))
    return tuple(patients), left_out


def _not_used(case: StudyCase, patient: StudyPatient) -> str:
    """Why a case is not used for all; "" if it is, or stands for one that is."""
    if case is patient.first:
        return ""
    if case is patient.last or case is patient.compared:
        return LATER_SCAN
    if _date(case) < _date(patient.first):
        return "an earlier scan without cement or screws"
    used = (patient.first.entry.series, patient.last.entry.series)
    if case.entry.series in used:
        return "another result of a scan that is used"
    if _date(case) == _date(patient.first):
        return "another scan of the patient on the same day"
    return "a later scan of the patient"
