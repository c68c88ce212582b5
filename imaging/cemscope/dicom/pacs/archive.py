"""What both protocols share: which objects, which archive, when to try again."""

import importlib
import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol, TypeVar

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from cemscope.dicom.privacy import silenced_pydicom
from cemscope.errors import PacsError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_LIMIT = 64
"""PS3.5, 9.1."""


@dataclass(frozen=True, slots=True, order=True)
class StoredObject:
    """A DICOM file and its identity.

    Attributes
    ----------
    path : Path
        Where it lies.
    study_uid, series_uid, instance_uid, sop_class_uid, transfer_syntax_uid : str
        What it is.
    """

    path: Path
    study_uid: str
    series_uid: str
    instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class ArchivedSeries:
    """A series in an archive; nothing of the patient is kept."""

    series_uid: str
    modality: str
    instances: int | None


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificates as PEM files.

    Attributes
    ----------
    authority : Path or None
        Who vouches for the archive; None takes the authorities of the system.
    certificate, key : Path or None
        With what cemscope identifies itself.
    """

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """When a failed exchange is tried again.

    Attributes
    ----------
    tries : int
        At most so many, the first one included.
    first_wait_s : float
        Doubled after each try, and lengthened by up to a quarter by chance.
    timeout_s : float
        Longest wait for an answer.
    """

    tries: int = 4
    first_wait_s: float = 0.5
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if self.tries < 1 or self.first_wait_s < 0 or self.timeout_s <= 0:
            raise ValueError("expected tries >= 1, waits >= 0 and a timeout > 0")


Stored = Callable[[StoredObject], None]
"""Told each object that an archive has taken."""


class PassingFault(PacsError):
    """A fault that may be gone at the next try."""


class Archive(Protocol):
    """An archive that objects are sent to and fetched from."""

    @property
    def place(self) -> str:
        """Where it is, for the record; no credentials."""

    def instances_of(
        self, study_uid: str, series_uids: Sequence[str]
    ) -> frozenset[str] | None:
        """Instances of some series there; None where the archive does not tell."""

    def series_of(self, study_uid: str) -> tuple[ArchivedSeries, ...]:
        """Series of a study there."""

    def store(
        self, objects: Sequence[StoredObject], stored: Stored = lambda one: None
    ) -> None:
        """Send objects, telling each that was taken."""

    def fetch(self, study_uid: str, series_uid: str, folder: Path) -> int:
        """Fetch a series into a folder; returns the number of new files."""


def stored_object(path: Path) -> StoredObject:
    """Read the identity of a DICOM file.

    Raises
    ------
    PacsError
        If the file is none.
    """
    try:
        with silenced_pydicom():
            header = dcmread(path, stop_before_pixels=True)
            return StoredObject(
                path,
                str(header.StudyInstanceUID),
                str(header.SeriesInstanceUID),
                str(header.SOPInstanceUID),
                str(header.SOPClassUID),
                str(header.file_meta.TransferSyntaxUID),
            )
    except (InvalidDicomError, OSError, AttributeError) as error:
        raise PacsError(f"{path.name} is no DICOM object that can be sent") from error


def tried_again(action: Callable[[], T], settings: RetrySettings, what: str) -> T:
    """Do something, and again with growing waits while it fails in passing.

    Raises
    ------
    PacsError
        The last fault.
    """
    wait_s = settings.first_wait_s
    for attempt in range(1, settings.tries):
        try:
            return action()
        except PassingFault as fault:
            logger.info("%s failed at try %d: %s", what, attempt, fault)
            # Many clients that come back at once would bring the archive down again.
            time.sleep(wait_s * (1.0 + 0.25 * random.random()))  # noqa: S311 - no secret
            wait_s *= 2.0
    return action()


def optional_library(name: str) -> ModuleType:
    """Import a library of the extra ``pacs``.

    Raises
    ------
    PacsError
        If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise PacsError(
            f"{name} is not installed: pip install 'cemscope[pacs]'"
        ) from None


def is_uid(text: str) -> bool:
    """Tell whether a text is a UID, and so the name of a file or folder as well.

    Examples
    --------
    >>> is_uid("1.2.840.10008"), is_uid("../1.2"), is_uid("..")
    (True, False, False)
    """
    return len(text) <= _UID_LIMIT and _UID.fullmatch(text) is not None


def write_fetched(folder: Path, instance_uid: str, content: bytes) -> bool:
    """Write a fetched object under its UID; False where it lies there already."""
    if not is_uid(instance_uid):
        raise PacsError("the archive sent an object without a valid UID")
    path = folder / f"{instance_uid}.dcm"
    if path.exists():
        return False
    part = folder / f".{instance_uid}.part"
    part.write_bytes(content)
    part.replace(path)
    return True
