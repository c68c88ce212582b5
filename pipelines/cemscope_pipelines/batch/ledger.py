"""The ledger of a batch: what was found, tried and finished (SQLite).

It holds pseudonyms and UIDs, no path and no name. One process writes it, see
`cemscope_pipelines.batch.out_lock`; every change is committed before the next step.
"""

import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from cemscope.errors import ConfigError
from cemscope_pipelines.batch.ledger_case import (
    SEARCH,
    CaseStatus,
    CaseUpdate,
    LedgerCase,
    Unsuitable,
)

LEDGER_FILE = "ledger.sqlite"

LEDGER_VERSION = "2"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cases (
    key TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    series TEXT NOT NULL,
    study TEXT NOT NULL,
    patient_key TEXT NOT NULL,
    patient_note TEXT NOT NULL,
    number_key TEXT NOT NULL,
    issuer_key TEXT NOT NULL,
    birth_key TEXT NOT NULL,
    root TEXT NOT NULL,
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


_COLUMNS = tuple(LedgerCase.__dataclass_fields__)


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
                "give another folder, or move the ledger away: finished cases are "
                "recognised by their folders"
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
            "preferred", "preference", "superseded", "number_key", "issuer_key",
            "birth_key", "root",
        )  # fmt: skip
        # A refusal for what headers say holds as long as they say it.
        settled = ("status", "reason", "reason_code", "stage")
        anew = (
            f"CASE WHEN cases.status <> '{CaseStatus.DONE}' AND "
            f"(excluded.status = '{CaseStatus.REFUSED}' OR cases.stage = '{SEARCH}') "
            "THEN excluded.{0} ELSE cases.{0} END"
        )
        updates = ", ".join(
            [f"{name} = excluded.{name}" for name in told]
            + [f"{name} = {anew.format(name)}" for name in settled]
        )
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

    def retire(
        self,
        root: str,
        keys: AbstractSet[str],
        names: AbstractSet[str],
        *,
        keep_results: bool = True,
    ) -> int:
        """Supersede what an earlier run found under a root and is not there any more.

        A result stays, unless the same series came back in another shape.

        Parameters
        ----------
        root
            Pseudonym of the root.
        keys
            Of the cases that are there now.
        names
            Of all series that are there now.
        keep_results
            Whether results stay as said above; else none does.

        Returns
        -------
        int
            Cases without a result that are gone.
        """
        uids = {name.partition("#")[0] for name in names}
        gone, reshaped = [], []
        for case in self.cases():
            if case.root != root or case.key in keys:
                continue
            if case.status is not CaseStatus.DONE or not keep_results:
                gone.append((case.key,))
            elif case.series not in names and case.series.partition("#")[0] in uids:
                reshaped.append((case.key,))
        with self._db:
            self._db.executemany(
                "UPDATE cases SET superseded = 1 WHERE key = ?", gone + reshaped
            )
        return len(gone)

    def tell_patients(self, cases: Iterable[LedgerCase]) -> None:
        """Note the patient of each case, and its place among the patient's scans."""
        told = (
            "patient_key", "patient_note", "role", "baseline", "days_since_baseline",
        )  # fmt: skip
        words = ", ".join(f"{name} = ?" for name in told)
        rows = [(*(getattr(c, name) for name in told), c.key) for c in cases]
        with self._db:
            self._db.executemany(f"UPDATE cases SET {words} WHERE key = ?", rows)  # noqa: S608 - our own names

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

    def superseded_names(self) -> frozenset[str]:
        """Names of the cases that are."""
        rows = self._db.execute("SELECT name FROM cases WHERE superseded = 1")
        return frozenset(name for (name,) in rows)

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
