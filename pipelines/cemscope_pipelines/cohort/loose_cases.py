"""Cases of a study that lie in folders, without the ledger of a batch."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from cemscope.errors import ExportError
from cemscope_pipelines.batch.case_view import CaseView, read_case
from cemscope_pipelines.batch.ledger_case import CaseStatus, LedgerCase
from cemscope_pipelines.case_folder import REPORT_FILE
from cemscope_pipelines.cohort.study_case import UNREADABLE, LeftOut, StudyCase

_DEPTH = 3
"""Levels of folders that are searched for cases."""


def _folders(out: Path) -> Iterator[Path]:
    """Case folders below a folder, in the order of their names."""
    for place, below, names in os.walk(out):
        depth = len(Path(place).relative_to(out).parts)
        below[:] = [] if depth >= _DEPTH else sorted(n for n in below if n[0] != ".")
        if REPORT_FILE in names:
            below[:] = []
            yield Path(place)


def _loose_case(folder: Path, out: Path) -> StudyCase | LeftOut:
    """Read a case; its folder stands for its patient."""
    name = folder.relative_to(out).as_posix() if folder != out else folder.name
    try:
        view = read_case(folder)
    except ExportError as error:
        return LeftOut(name, name, UNREADABLE, str(error))
    return StudyCase(entry_of(name, name, view), view)


def entry_of(name: str, patient_key: str, view: CaseView) -> LedgerCase:
    """Make what a ledger would say of a case, from its report."""
    date, study = view.series.acquisition_date, view.series.study_instance_uid
    return LedgerCase(
        key=hashlib.sha256(name.encode()).hexdigest()[:12],
        name=name,
        series=str(view.series.series_instance_uid),
        study=study if isinstance(study, str) else "",
        patient_key=patient_key,
        acquisition_date=date if isinstance(date, str) else "",
        slices=view.series.slices,
        preferred=True,
        preference="",
        status=CaseStatus.DONE,
    )


def _scans(view: CaseView) -> Iterator[str]:
    """UIDs that say of which patient a case is: of its scan and of its baseline."""
    told = [view.series.study_instance_uid, view.series.series_instance_uid]
    if view.followup is not None:
        told += [
            view.followup.baseline_study_instance_uid,
            view.followup.baseline_series_instance_uid,
        ]
    return (uid for uid in told if isinstance(uid, str) and uid)


def _of_one_patient(cases: Iterable[StudyCase]) -> list[list[StudyCase]]:
    """Put cases together that share a scan, or that were compared."""
    groups: list[tuple[set[str], list[StudyCase]]] = []
    for case in cases:
        uids, members = set(_scans(case.view)), [case]
        apart = []
        for known in groups:
            if uids & known[0]:
                uids |= known[0]
                members = known[1] + members
            else:
                apart.append(known)
        groups = [*apart, (uids, members)]
    return [members for _, members in groups]


def loose_cases(out: Path) -> list[StudyCase | LeftOut]:
    """Read the case folders below a folder.

    Cases of one study or series, and a follow-up and its baseline, are of one patient,
    who is named by the folder of the earliest; every other case is a patient of its
    own.
    """
    read = [_loose_case(folder, out) for folder in _folders(out)]
    keys: dict[str, str] = {}
    for members in _of_one_patient(c for c in read if isinstance(c, StudyCase)):
        entries = [one.entry for one in members]
        first = min(entries, key=lambda e: (e.acquisition_date or "9", e.name))
        keys |= {entry.name: first.name for entry in entries}
    return [
        replace(c, entry=replace(c.entry, patient_key=keys[c.entry.name]))
        if isinstance(c, StudyCase)
        else c
        for c in read
    ]
