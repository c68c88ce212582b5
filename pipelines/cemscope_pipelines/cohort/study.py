"""The cases and patients of a study, read from the output of a batch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cemscope.errors import ConfigError, ExportError
from cemscope_pipelines.batch.case_view import read_case
from cemscope_pipelines.batch.comparisons import read_comparisons
from cemscope_pipelines.batch.ledger import LEDGER_FILE, Ledger
from cemscope_pipelines.batch.ledger_case import CaseStatus, LedgerCase
from cemscope_pipelines.batch.request import CASES_FOLDER
from cemscope_pipelines.cohort.loose_cases import entry_of, loose_cases
from cemscope_pipelines.cohort.study_case import UNREADABLE, LeftOut, StudyCase
from cemscope_pipelines.cohort.study_patients import (
    StudyPatient,
    patient_of,
    study_patients,
)

NOT_COMPARED = "no comparison with a scan of this study"


@dataclass(frozen=True, slots=True)
class Study:
    """What the tables are made from.

    Attributes
    ----------
    patients : tuple of StudyPatient
        By key.
    cases, measured : int
        Cases in all, and with a result.
    left_out : tuple of LeftOut
        Cases that are not used, or not for all.
    shared_numbers : frozenset of str
        Keys of patient numbers that several patients have.
    salt : bytes or None
        For the pseudonyms; None where there is no ledger.
    """

    patients: tuple[StudyPatient, ...]
    cases: int
    measured: int
    left_out: tuple[LeftOut, ...] = field(default=())
    shared_numbers: frozenset[str] = frozenset()
    salt: bytes | None = None


def _from_ledger(out: Path) -> tuple[list[LedgerCase], bytes]:
    with Ledger(out / LEDGER_FILE, read_only=True) as ledger:
        return list(ledger.cases()), ledger.salt


def _listed_case(entry: LedgerCase, out: Path) -> StudyCase | LeftOut:
    """Read a case of a batch."""
    if entry.status is not CaseStatus.DONE:
        why = f"it has no result: {entry.status}"
        return LeftOut(entry.name, entry.patient_key, why, entry.reason)
    try:
        view = read_case(out / CASES_FOLDER / entry.name)
    except ExportError as error:
        return LeftOut(entry.name, entry.patient_key, UNREADABLE, str(error))
    return StudyCase(entry, view)


def _study_of(entry: LedgerCase) -> tuple[str, str]:
    return (entry.study or entry.series, entry.patient_key)


def _second_choices(
    cases: Iterable[StudyCase], entries: Iterable[LedgerCase]
) -> Iterator[StudyCase | LeftOut]:
    """Of each study, keep the preferred series, and say what became of the others."""
    preferred = {_study_of(e): e for e in entries if e.preferred}
    for case in cases:
        entry = case.entry
        first = preferred.get(_study_of(entry))
        if entry.preferred:
            yield case
            continue
        if first is None:
            why = "no series of its study could be preferred"
        elif first.status is CaseStatus.DONE:
            why = "another series of its study is more suitable"
        else:
            why = "another series of its study is more suitable, but has no result"
        yield LeftOut(entry.name, entry.patient_key, why, entry.preference)


def _compared_cases(
    out: Path, entries: Iterable[LedgerCase]
) -> Iterator[StudyCase | LeftOut]:
    """Follow-up cases of the patients of a batch."""
    patients = {
        entry.series.partition("#")[0]: patient_of(entry)
        for entry in entries
        if entry.status is CaseStatus.DONE
    }
    for one in read_comparisons(out):
        if one.view is None or one.followup is None:
            why = UNREADABLE if one.damaged else NOT_COMPARED
            yield LeftOut(one.name, "", why, one.problem)
            continue
        baseline = one.followup.baseline_series_instance_uid
        patient = patients.get(baseline) if isinstance(baseline, str) else None
        if patient is None:
            detail = "its baseline is no case of this study"
            yield LeftOut(one.name, "", NOT_COMPARED, detail)
        else:
            yield StudyCase(entry_of(one.name, patient, one.view), one.view)


def read_study(out: Path) -> Study:
    """Read all cases of a folder; one that cannot be read costs only itself.

    Parameters
    ----------
    out
        Output of a batch, with follow-up cases of its patients in ``followups/``; or a
        folder with case folders in it, see `loose_cases`.

    Raises
    ------
    ConfigError
        If there is no case.
    """
    salt = None
    shared: set[str] = set()
    if (out / LEDGER_FILE).is_file():
        entries, salt = _from_ledger(out)
        shared = {e.number_key for e in entries if e.patient_note}
        read = [_listed_case(entry, out) for entry in entries]
        compared = list(_compared_cases(out, entries))
    else:
        read, compared = loose_cases(out), []
        entries = [one.entry for one in read if isinstance(one, StudyCase)]
    left_out = [one for one in (*read, *compared) if isinstance(one, LeftOut)]
    measured = [one for one in read if isinstance(one, StudyCase)]
    if not measured:
        damaged = [one.detail for one in left_out if one.why == UNREADABLE]
        raise ConfigError(
            "expected the output of a batch, or a folder with cases in it; found no "
            "case with a result" + (f" ({damaged[0]})" if damaged else "")
        )
    chosen: list[StudyCase] = []
    for one in _second_choices(measured, entries):
        if isinstance(one, LeftOut):
            left_out.append(one)
        else:
            chosen.append(one)
    chosen += [one for one in compared if isinstance(one, StudyCase)]
    patients, others = study_patients(chosen)
    return Study(
        patients,
        len(read),
        len(measured),
        (*left_out, *others),
        frozenset(shared),
        salt,
    )


def level_order(levels: Sequence[str]) -> list[str]:
    """Names of levels from the head down, unnamed ones last."""
    from cemscope.anatomy import VERSE_NUMBERS

    def place(level: str) -> tuple[int, float, str]:
        if level == "T13":
            return (0, VERSE_NUMBERS["T12"] + 0.5, level)
        if level in VERSE_NUMBERS:
            return (0, VERSE_NUMBERS[level], level)
        return (1, -float(level[1:] or 0), level)

    return sorted(set(levels), key=place)
