"""The audit trail of a case: lines that each hold the hash of the one before.

A line can be added, never changed: each carries its own hash and that of its
predecessor, so that the first altered, removed or inserted line is found. Who can write
the whole file anew with all hashes is not stopped by it; the signed report, which
leaves for an archive, holds the hash of the result.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from cemscope.errors import AuditError, ExportError

AUDIT_FILE = "audit.jsonl"
FIRST_PREVIOUS = "0" * 64
"""Stands in the first line in place of a predecessor's hash."""

EVENTS = (
    "signed", "amended", "exported", "push_started", "pushed", "push_failed",
)  # fmt: skip
"""A push has two lines, so that one that was killed midway is told, too."""

DetailValue = str | int | bool | dict[str, str] | list[str]


class AuditEntry(BaseModel):
    """One line of ``audit.jsonl``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=1)
    at: AwareDatetime
    event: str = Field(description="What happened; one of `EVENTS`.")
    software_version: str
    details: dict[str, DetailValue]
    previous_sha256: str = Field(description="`entry_sha256` of the line before.")
    entry_sha256: str = Field(description="Of this line without this field.")

    def expected_sha256(self) -> str:
        """Hash that the line should carry."""
        content = self.model_dump(mode="json", exclude={"entry_sha256"})
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def line(self) -> str:
        """Write the entry as it stands in the file, without the line break."""
        content = self.model_dump(mode="json")
        return json.dumps(content, sort_keys=True, separators=(",", ":"))


def read_trail(case_folder: Path) -> tuple[AuditEntry, ...]:
    """Read and verify the trail of a case; empty where there is none.

    Raises
    ------
    AuditError
        Naming the first broken line.
    """
    try:
        content = (case_folder / AUDIT_FILE).read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise AuditError(f"{AUDIT_FILE} cannot be read ({error.strerror})") from None
    return _verified(content)


def _verified(content: bytes) -> tuple[AuditEntry, ...]:
    if not content:
        return ()
    entries: list[AuditEntry] = []
    previous = FIRST_PREVIOUS
    lines = content.split(b"\n")
    if lines[-1] != b"":
        raise AuditError(f"{AUDIT_FILE} line {len(lines)} is broken: it ends midway")
    for number, line in enumerate(lines[:-1], start=1):
        entry = _entry(line, number)
        if entry.number != number:
            raise AuditError(
                f"{AUDIT_FILE} line {number} is broken: it carries number "
                f"{entry.number}; lines were removed, added or moved"
            )
        if entry.previous_sha256 != previous:
            raise AuditError(
                f"{AUDIT_FILE} line {number} is broken: it does not follow the line "
                "before it"
            )
        # The bytes count, not only their meaning: a space more is an alteration.
        if entry.entry_sha256 != entry.expected_sha256() or line != (
            entry.line().encode()
        ):
            raise AuditError(
                f"{AUDIT_FILE} line {number} is broken: its content does not match "
                "its hash"
            )
        previous = entry.entry_sha256
        entries.append(entry)
    return tuple(entries)


def _entry(line: bytes, number: int) -> AuditEntry:
    try:
        return AuditEntry.model_validate_json(line)
    except ValidationError:
        raise AuditError(
            f"{AUDIT_FILE} line {number} is broken: it is no audit entry"
        ) from None


def append_entry(
    case_folder: Path, event: str, software_version: str, details: dict[str, Any]
) -> AuditEntry:
    """Add a line to the trail, durably; the lines before are verified first.

    Raises
    ------
    AuditError
        If the trail is broken already: nothing is added to it.
    ExportError
        If the disk refuses.
    """
    try:
        with _locked(case_folder / AUDIT_FILE) as file:
            entries = _verified(file.read())
            draft = AuditEntry(
                number=len(entries) + 1,
                at=datetime.now(UTC).replace(microsecond=0),
                event=event,
                software_version=software_version,
                details=details,
                previous_sha256=entries[-1].entry_sha256 if entries else FIRST_PREVIOUS,
                entry_sha256="",
            )
            entry = draft.model_copy(update={"entry_sha256": draft.expected_sha256()})
            file.seek(0, os.SEEK_END)
            file.write(entry.line().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            return entry
    except OSError as error:
        raise ExportError(
            f"{AUDIT_FILE} cannot be written: {error.strerror}"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Open a file that no other cemscope writes to meanwhile, where locks are."""
    with path.open("a+b") as file:
        try:
            import fcntl
        except ImportError:  # Windows
            file.seek(0)
            yield file
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file
