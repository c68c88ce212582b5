"""What the ledger of a batch holds of a case."""

from dataclasses import dataclass
from enum import StrEnum

SEARCH = "search"
"""Stage of a case that was refused by the search, for what its headers say."""


UNREADABLE_REPORT = "report_unreadable"
"""Reason code of a case that was written, but is damaged now."""


class CaseStatus(StrEnum):
    """Where a case stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    """The input cannot be measured."""
    FAILED = "failed"
    MEMORY = "memory"
    TIMEOUT = "timeout"
    KILLED = "killed"


FAILURES = frozenset(
    {
        CaseStatus.REFUSED,
        CaseStatus.FAILED,
        CaseStatus.MEMORY,
        CaseStatus.TIMEOUT,
        CaseStatus.KILLED,
    }
)


@dataclass(frozen=True, slots=True)
class LedgerCase:
    """One case of the ledger.

    Attributes
    ----------
    key, name : str
        See `FoundSeries.case_key` and `case_name`; the folder is ``cases/<name>``.
    series, study : str
        UIDs; the series with ``#part`` where it has several.
    patient_key, patient_note : str
        Pseudonym of the patient, "" if unknown; what to know about it, see
        `batch.patients`.
    number_key, issuer_key, birth_key : str
        As `FoundSeries.patient_key` and those beside it.
    root : str
        Pseudonym of the root it was found under.
    acquisition_date : str
        YYYYMMDD or "".
    slices : int
        Of the series.
    preferred : bool
        Whether ``analyze`` would take it of its study.
    preference : str
        Why, or why not.
    role : str
        "single", "baseline" or "followup".
    baseline : str
        Name of the baseline case of a follow-up, else "".
    days_since_baseline : int or None
        Of a follow-up with two known dates.
    status : CaseStatus
        Where it stands.
    reason_code, reason : str
        Why it failed.
    stage : str
        Last stage.
    starts : int
        How often a process was started for it.
    seconds, peak_memory_mib : float or None
        Of the last attempt.
    finished_utc : str
        When it ended, "" before.
    input_hash, config_hash, version : str
        What the key is made of.
    superseded : bool
        The same series was taken again with other input, settings or version.
    """

    key: str
    name: str
    series: str
    study: str
    patient_key: str
    acquisition_date: str
    slices: int
    preferred: bool
    preference: str
    role: str = "single"
    baseline: str = ""
    days_since_baseline: int | None = None
    status: CaseStatus = CaseStatus.WAITING
    reason_code: str = ""
    reason: str = ""
    stage: str = ""
    starts: int = 0
    seconds: float | None = None
    peak_memory_mib: float | None = None
    finished_utc: str = ""
    input_hash: str = ""
    config_hash: str = ""
    version: str = ""
    superseded: bool = False
    patient_note: str = ""
    number_key: str = ""
    issuer_key: str = ""
    birth_key: str = ""
    root: str = ""


@dataclass(frozen=True, slots=True)
class Unsuitable:
    """A series that is no case: a localizer, another modality, a fragment."""

    series: str
    reason: str
    reason_code: str


@dataclass(frozen=True, slots=True)
class CaseUpdate:
    """How an attempt ended."""

    status: CaseStatus
    reason_code: str = ""
    reason: str = ""
    stage: str = ""
    seconds: float | None = None
    peak_memory_mib: float | None = None
    thumbnail: bytes | None = None
