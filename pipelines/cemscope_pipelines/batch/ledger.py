"""The ledger of a batch: what was found, tried and finished (SQLite).

It holds pseudonyms and UIDs, no path and no name. One process writes it, see
`cemscope_pipelines.batch.out_lock`; every change is committed before the next step.
"""

import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from cemscope.errors import ConfigError

LEDGER_FILE = "ledger.sqlite"

LEDGER_VERSION = "1"


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

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cases (
    key TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    series TEXT NOT NULL,
    study TEXT NOT NULL,
    patient_key TEXT NOT NULL,
    acquisition_date TEXT NOT NULL,
    slices INTEGER NOT NULL,
    preferred INTEGER NOT NULL,
    preference TEXT NOT NULL,
    role TEXT NOT NULL,
    baseline TEXT NOT NULL,
    days_since_baseline INTEGER,
    status TEXT NOT NULL,
    reason_code TEXT NOT NULL,
    reason TEXT NOT NULL,
    stage TEXT NOT NULL,
    starts INTEGER NOT NULL,
    seconds REAL,
    peak_memory_mib REAL,
    finished_utc TEXT NOT NULL,
    input_hash TEXT NOT NULL,
    config_hash TEXT NOT NULL,
    version TEXT NOT NULL,
    superseded INTEGER NOT NULL,
    thumbnail BLOB
);
CREATE INDEX IF NOT EXISTS cases_series ON cases (series);
CREATE TABLE IF NOT EXISTS unsuitable (
    series TEXT PRIMARY KEY, reason TEXT NOT NULL, reason_code TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS attempts (
    key TEXT NOT NULL, started_utc TEXT NOT NULL, ended_utc TEXT, status TEXT
);
"""


def now_utc() -> str:
    """Time as it is written, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class LedgerCase:
    """One case of the ledger.

    Attributes
    ----------
    key, name : str
        See `FoundSeries.case_key` and `case_name`; the folder is ``cases/<name>``.
    series, study : str
        UIDs; the series with ``#part`` where it has several.
    patient_key : str
        Pseudonym, "" if unknown.
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


_COLUMNS = tuple(LedgerCase.__dataclass_fields__)


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


class Ledger:
    """An open ledger; a context manager.

    Parameters
    ----------
    path
        The database; made with its tables where it does not exist.
    read_only
        Look, and change nothing.

    Raises
    ------
    ConfigError
        If the file is no ledger, or of another version.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        try:
            if read_only:
                uri = f"{path.resolve().as_uri()}?mode=ro"
                self._db = sqlite3.connect(uri, uri=True)
            else:
                self._db = sqlite3.connect(path)
                # A case counts as finished only when the disk has it.
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(_SCHEMA)
            self._check_version()
        except sqlite3.Error as error:
            raise ConfigError(
                f"--out: {LEDGER_FILE} cannot be opened ({error}). Move it away to "
                "start a new one: finished cases are recognised by their folders."
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def _check_version(self) -> None:
        found = self._meta("version")
        if found == "":
            self._set_meta("version", LEDGER_VERSION)
            self._set_meta("salt", secrets.token_hex(16))
        elif found != LEDGER_VERSION:
            raise ConfigError(
                f"--out: expected a ledger of version {LEDGER_VERSION}, found {found}; "
                "give another folder"
            )

    def _meta(self, name: str) -> str:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,))
        found = row.fetchone()
        return "" if found is None else str(found[0])

    def _set_meta(self, name: str, value: str) -> None:
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    @property
    def salt(self) -> bytes:
        """Secret that the pseudonyms of this output depend on."""
        return bytes.fromhex(self._meta("salt"))

    def put(self, cases: Iterable[LedgerCase]) -> None:
        """Add new cases, and bring what the headers tell of known ones up to date.

        Other cases of the same series become superseded.
        """
        places = ", ".join("?" for _ in _COLUMNS)
        told = (
            "patient_key", "preferred", "preference", "role", "baseline",
            "days_since_baseline", "superseded",
        )  # fmt: skip
        updates = ", ".join(f"{name} = excluded.{name}" for name in told)
        rows = [tuple(getattr(c, name) for name in _COLUMNS) for c in cases]
        series = [(row[2], row[0]) for row in rows]
        with self._db:
            self._db.executemany(
                f"INSERT INTO cases ({', '.join(_COLUMNS)}) VALUES ({places}) "  # noqa: S608 - our own names
                f"ON CONFLICT (key) DO UPDATE SET {updates}",
                rows,
            )
            self._db.executemany(
                "UPDATE cases SET superseded = 1 WHERE series = ? AND key <> ?", series
            )

    def put_unsuitable(self, series: Iterable[Unsuitable]) -> None:
        """Replace the list of series that are no cases."""
        rows = [(s.series, s.reason, s.reason_code) for s in series]
        with self._db:
            self._db.execute("DELETE FROM unsuitable")
            self._db.executemany(
                "INSERT OR REPLACE INTO unsuitable VALUES (?, ?, ?)", rows
            )

    def retire_unreadable(self, root_key: str) -> None:
        """Supersede the damaged folders of a root; `put` brings back what remains."""
        with self._db:
            self._db.execute(
                "UPDATE cases SET superseded = 1 WHERE study = ?", (root_key,)
            )

    def start(self, key: str) -> None:
        """Note that a process is started for a case."""
        with self._db:
            self._db.execute(
                "UPDATE cases SET status = ?, starts = starts + 1, reason = '', "
                "reason_code = '', stage = '' WHERE key = ?",
                (CaseStatus.RUNNING, key),
            )
            self._db.execute(
                "INSERT INTO attempts (key, started_utc) VALUES (?, ?)",
                (key, now_utc()),
            )

    def end(self, key: str, update: CaseUpdate) -> None:
        """Note how a case ended, or that it waits again."""
        finished = "" if update.status is CaseStatus.WAITING else now_utc()
        with self._db:
            self._db.execute(
                "UPDATE cases SET status = ?, reason_code = ?, reason = ?, stage = ?, "
                "seconds = ?, peak_memory_mib = ?, finished_utc = ?, thumbnail = ? "
                "WHERE key = ?",
                (
                    update.status,
                    update.reason_code,
                    update.reason,
                    update.stage,
                    update.seconds,
                    update.peak_memory_mib,
                    finished,
                    update.thumbnail,
                    key,
                ),
            )
            self._db.execute(
                "UPDATE attempts SET ended_utc = ?, status = ? "
                "WHERE key = ? AND ended_utc IS NULL",
                (now_utc(), update.status, key),
            )

    def wait_again(
        self, statuses: Iterable[CaseStatus], keys: AbstractSet[str] | None = None
    ) -> None:
        """Put cases of some statuses back to waiting; all, or those of some keys."""
        wanted = frozenset(statuses)
        found = [
            (CaseStatus.WAITING, case.key)
            for case in self.cases()
            if case.status in wanted and (keys is None or case.key in keys)
        ]
        with self._db:
            self._db.executemany("UPDATE cases SET status = ? WHERE key = ?", found)

    def cases(self, status: CaseStatus | None = None) -> Iterator[LedgerCase]:
        """All cases that are not superseded, by name."""
        where = "superseded = 0" + ("" if status is None else " AND status = ?")
        rows = self._db.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM cases WHERE {where} ORDER BY name",  # noqa: S608 - our own names
            () if status is None else (status,),
        )
        for row in rows:
            values = dict(zip(_COLUMNS, row, strict=True))
            values["status"] = CaseStatus(values["status"])
            values["preferred"] = bool(values["preferred"])
            values["superseded"] = bool(values["superseded"])
            yield LedgerCase(**values)

    def thumbnail(self, key: str) -> bytes:
        """Small picture of a case as JPEG, b"" if there is none."""
        row = self._db.execute("SELECT thumbnail FROM cases WHERE key = ?", (key,))
        found = row.fetchone()
        return b"" if found is None or found[0] is None else bytes(found[0])

    def unsuitable(self) -> Iterator[Unsuitable]:
        """Series that are no cases."""
        rows = self._db.execute("SELECT * FROM unsuitable ORDER BY series")
        return (Unsuitable(*row) for row in rows)

    def counts(self) -> dict[CaseStatus, int]:
        """How many cases stand where."""
        rows = self._db.execute(
            "SELECT status, COUNT(*) FROM cases WHERE superseded = 0 GROUP BY status"
        )
        return {CaseStatus(status): count for status, count in rows}
