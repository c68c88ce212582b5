"""The cases and patients of a study, read from the output of a batch."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cemscope.errors import ConfigError, ExportError
from cemscope_pipelines.batch.case_view import (
    CaseView,
    CementView,
    NotAssessedView,
    ScrewView,
    VertebraView,
    read_case,
)
from cemscope_pipelines.batch.ledger import LEDGER_FILE, Ledger
from cemscope_pipelines.batch.ledger_case import CaseStatus, LedgerCase
from cemscope_pipelines.batch.request import CASES_FOLDER
from cemscope_pipelines.batch.rows import column
from cemscope_pipelines.case_folder import REPORT_FILE

_DEPTH = 3
"""Levels of folders that are searched for cases where there is no ledger."""


@dataclass(frozen=True, slots=True)
class StudyCase:
    """A measured case."""

    entry: LedgerCase
    view: CaseView

    @property
    def augmented(self) -> tuple[VertebraView, ...]:
        """Vertebrae with cement; those that were not assessed are not among them."""
        return tuple(
            v
            for v in self.view.vertebrae
            if isinstance(v.cement, CementView) and v.cement.volume_ml > 0
        )

    @property
    def open_levels(self) -> bool:
        """Whether the cement of a whole vertebra in view was not assessed."""
        return any(
            v.complete and isinstance(v.cement, NotAssessedView)
            for v in self.view.vertebrae
        )

    @property
    def operated(self) -> bool:
        """Whether the scan shows cement or screws, or may."""
        return bool(self.augmented or self.view.screws or self.open_levels)

    @property
    def not_assessed(self) -> int:
        """Vertebrae whose cement was not assessed."""
        return sum(isinstance(v.cement, NotAssessedView) for v in self.view.vertebrae)


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
    """

    key: str
    first: StudyCase
    last: StudyCase

    @property
    def screws(self) -> tuple[ScrewView, ...]:
        """Screws of the earliest scan."""
        return self.first.view.screws


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A case that the tables do not use, and why; a row of ``cohort_left_out.csv``."""

    case: str = column("", "Name of the case.")
    patient_key: str = column("", "Pseudonym of the patient; empty if unknown.")
    why: str = column("", "Why it is not used, in a few words.")
    detail: str = column("", "What else is known of the reason.")


UNREADABLE = "its result cannot be read"


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


def _folders(out: Path) -> Iterator[Path]:
    """Case folders below a folder, in the order of their names."""
    for place, below, names in os.walk(out):
        depth = len(Path(place).relative_to(out).parts)
        below[:] = [] if depth >= _DEPTH else sorted(n for n in below if n[0] != ".")
        if REPORT_FILE in names:
            below[:] = []
            yield Path(place)


def _loose_case(folder: Path, out: Path) -> StudyCase | LeftOut:
    """Read a case that `analyze` wrote alone; its folder stands for its patient."""
    name = folder.relative_to(out).as_posix() if folder != out else folder.name
    try:
        view = read_case(folder)
    except ExportError as error:
        return LeftOut(name, name, UNREADABLE, str(error))
    date = view.series.acquisition_date
    study = view.series.study_instance_uid
    entry = LedgerCase(
        key=hashlib.sha256(name.encode()).hexdigest()[:12],
        name=name,
        series=str(view.series.series_instance_uid),
        study=study if isinstance(study, str) else "",
        patient_key=name,
        acquisition_date=date if isinstance(date, str) else "",
        slices=view.series.slices,
        preferred=True,
        preference="",
        status=CaseStatus.DONE,
    )
    return StudyCase(entry, view)


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


def _patients(
    cases: Iterable[StudyCase],
) -> tuple[tuple[StudyPatient, ...], list[LeftOut]]:
    """First scan after the operation and latest scan of each; the rest is left out."""
    of_patient: dict[str, list[StudyCase]] = {}
    for case in cases:
        entry = case.entry
        key = entry.patient_key or f"study {entry.study or entry.series}"
        of_patient.setdefault(key, []).append(case)
    patients, left_out = [], []
    for key, members in sorted(of_patient.items()):
        members.sort(key=lambda c: (c.entry.acquisition_date or "9", c.entry.name))
        operated = [k for k, member in enumerate(members) if member.operated]
        start = min(operated, default=0)
        first, last = members[start], members[-1]
        patients.append(StudyPatient(key, first, last))
        for k, case in enumerate(members):
            if k < start:
                why = "an earlier scan without cement or screws"
            elif case is first:
                continue
            elif case is last:
                why = "a later scan of the patient: used for loosening only"
            else:
                why = "a later scan of the patient"
            left_out.append(LeftOut(case.entry.name, case.entry.patient_key, why, ""))
    return tuple(patients), left_out


def read_study(out: Path) -> Study:
    """Read all cases of a folder; one that cannot be read costs only itself.

    Parameters
    ----------
    out
        Output of a batch; or a folder with case folders in it, each of which then
        counts as a patient of its own, named by its folder.

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
    else:
        read = [_loose_case(folder, out) for folder in _folders(out)]
        entries = [one.entry for one in read if isinstance(one, StudyCase)]
    left_out = [one for one in read if isinstance(one, LeftOut)]
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
    patients, others = _patients(chosen)
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
