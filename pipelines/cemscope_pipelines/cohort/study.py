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
from cemscope_pipelines.batch.ledger import (
    LEDGER_FILE,
    CaseStatus,
    Ledger,
    LedgerCase,
)
from cemscope_pipelines.batch.request import CASES_FOLDER
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
    """A measured case that the tables do not use, and why."""

    case: str
    reason: str


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
        Measured cases that are not used.
    salt : bytes or None
        For the pseudonyms; None where there is no ledger.
    """

    patients: tuple[StudyPatient, ...]
    cases: int
    measured: int
    left_out: tuple[LeftOut, ...] = field(default=())
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


def _loose_cases(out: Path) -> Iterator[StudyCase]:
    """Cases that `analyze` wrote one by one; each folder is its own patient."""
    for folder in _folders(out):
        view = read_case(folder)
        name = folder.relative_to(out).as_posix() if folder != out else folder.name
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
        yield StudyCase(entry, view)


def _patients(
    cases: Iterable[StudyCase],
) -> tuple[tuple[StudyPatient, ...], list[LeftOut]]:
    """First scan after the operation and latest scan of each; the rest is left out."""
    of_patient: dict[str, list[StudyCase]] = {}
    left_out = []
    for case in cases:
        entry = case.entry
        if not entry.preferred:
            left_out.append(
                LeftOut(entry.name, "another series of the same study is more suitable")
            )
            continue
        key = entry.patient_key or f"study {entry.study or entry.series}"
        of_patient.setdefault(key, []).append(case)
    patients = []
    for key, members in sorted(of_patient.items()):
        members.sort(key=lambda c: (c.entry.acquisition_date or "9", c.entry.name))
        after = [k for k, member in enumerate(members) if member.operated]
        before, members = (
            members[: min(after, default=0)],
            members[min(after, default=0) :],
        )
        left_out += [
            LeftOut(c.entry.name, "an earlier scan without cement or screws")
            for c in before
        ]
        patients.append(StudyPatient(key, members[0], members[-1]))
        left_out += [
            LeftOut(
                c.entry.name,
                "a later scan of the patient"
                + (": used for loosening only" if c is members[-1] else ""),
            )
            for c in members[1:]
        ]
    return tuple(patients), left_out


def read_study(out: Path) -> Study:
    """Read all cases of a folder.

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
    unread: list[LeftOut] = []
    measured: list[StudyCase] = []
    if (out / LEDGER_FILE).is_file():
        entries, salt = _from_ledger(out)
        for entry in entries:
            if entry.status is not CaseStatus.DONE:
                continue
            try:
                view = read_case(out / CASES_FOLDER / entry.name)
            except ExportError as error:
                unread.append(LeftOut(entry.name, str(error)))
                continue
            measured.append(StudyCase(entry, view))
        count = len(entries)
    else:
        measured = list(_loose_cases(out))
        count = len(measured)
    if not measured:
        raise ConfigError(
            "expected the output of a batch, or a folder with cases in it; found no "
            "case with a result"
        )
    patients, left_out = _patients(measured)
    return Study(patients, count, len(measured), (*left_out, *unread), salt)


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
