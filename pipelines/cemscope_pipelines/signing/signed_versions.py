"""The signed versions of a case, each complete in its own folder.

``signed/v1`` holds the objects that leave (segmentations, report, PDF, key images), the
machine's report that they follow, the documents and label maps that were signed, and
``signature.json`` with the hash of each.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from cemscope.errors import AuditError
from cemscope_pipelines.case_folder import (
    MATERIALS_FILE,
    REPORT_FILE,
    VERTEBRAE_FILE,
)
from cemscope_pipelines.export.case_record import (
    CaseContent,
    CaseRecord,
    ContentState,
    content_of,
    file_sha256,
)
from cemscope_pipelines.report import Report
from cemscope_pipelines.review.replayed_review import replay_journal
from cemscope_pipelines.review.review_document import (
    REVIEW_FILE,
    REVIEW_MATERIALS_FILE,
    REVIEW_VERTEBRAE_FILE,
    ReviewDocument,
)
from cemscope_pipelines.review.review_journal import JOURNAL_FILE

SIGNED_FOLDER = "signed"
SIGNATURE_FILE = "signature.json"
MACHINE_PREFIX = "machine_"
"""Begins the names of the machine's objects in a signed version."""

_MACHINE_WORDS = (REPORT_FILE, VERTEBRAE_FILE, MATERIALS_FILE)

REVIEW_MAPS = frozenset({REVIEW_VERTEBRAE_FILE, REVIEW_MATERIALS_FILE})
"""Label maps that a reader corrected; in the case folder they may change again."""


class Signature(BaseModel):
    """Content of ``signature.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["1.0"] = "1.0"
    version: int = Field(ge=1)
    reader: str = Field(description="DICOM person name.")
    organization: str
    signed_at: AwareDatetime
    software_version: str
    config_hash: str
    content: str = Field(description="Hash over report, review and label maps.")
    amendment_reason: str
    report_sop_instance_uid: str = Field(description="Of the signed report.")
    predecessor_uids: tuple[str, ...]
    files: dict[str, str] = Field(description="SHA-256 of each file of this version.")
    case_files: dict[str, str] = Field(
        description="SHA-256 of the files of the case folder when it was signed."
    )


@dataclass(frozen=True, slots=True)
class SignedVersion:
    """One signed version on the disk.

    Attributes
    ----------
    folder : Path
        ``signed/v1`` and so on.
    number : int
        From 1.
    signature : Signature
        Who, when, what.
    """

    folder: Path
    number: int
    signature: Signature

    def object_files(self) -> tuple[Path, ...]:
        """DICOM objects of this version, the machine's included."""
        return tuple(sorted(self.folder.glob("*.dcm")))

    def content(self, case: CaseRecord) -> CaseContent:
        """Read what was signed: its own review, on the machine's maps of the case.

        Raises
        ------
        AuditError
            If one of them is not what it was at the signature.
        """
        for folder, files, names in (
            (self.folder, self.signature.files, (REVIEW_FILE, JOURNAL_FILE)),
            (case.folder, self.signature.case_files, _MACHINE_WORDS),
        ):
            for name in names:
                path = folder / name
                if not path.is_file() or file_sha256(path) != files.get(name):
                    place = path.relative_to(case.folder)
                    raise AuditError(
                        f"{place} is not the file of signed version {self.number}: "
                        "see `cemscope audit`, and take the case folder from a backup"
                    )
        text = (self.folder / REVIEW_FILE).read_text(encoding="utf-8")
        return content_of(
            replay_journal(case.folder, case.report, self.folder),
            ContentState.SIGNED,
            ReviewDocument.model_validate_json(text),
            self.signature.content,
        )

    def report(self) -> Report:
        """Read the machine's report that was judged."""
        text = (self.folder / REPORT_FILE).read_text(encoding="utf-8")
        return Report.model_validate_json(text)

    @property
    def signed_at(self) -> datetime:
        """When it was signed."""
        return self.signature.signed_at


def version_folder(case_folder: Path, number: int) -> Path:
    """Folder of a signed version."""
    return case_folder / SIGNED_FOLDER / f"v{number}"


def signed_versions(case_folder: Path) -> tuple[SignedVersion, ...]:
    """Read all signed versions of a case, the first one first.

    Raises
    ------
    AuditError
        If one cannot be read, or one is missing between others.
    """
    found = []
    root = case_folder / SIGNED_FOLDER
    if not root.is_dir():
        return ()
    numbers = sorted(
        int(entry.name[1:])
        for entry in root.iterdir()
        if entry.name[:1] == "v" and entry.name[1:].isdigit()
    )
    for expected, number in enumerate(numbers, start=1):
        folder = version_folder(case_folder, number)
        if number != expected:
            raise AuditError(f"signed version {expected} is missing")
        try:
            text = (folder / SIGNATURE_FILE).read_text(encoding="utf-8")
            signature = Signature.model_validate_json(text)
        except (OSError, UnicodeDecodeError, ValidationError):
            raise AuditError(
                f"signed/v{number}/{SIGNATURE_FILE} is missing or damaged"
            ) from None
        if signature.version != number:
            raise AuditError(
                f"signed/v{number} holds the signature of version {signature.version}"
            )
        found.append(SignedVersion(folder, number, signature))
    return tuple(found)


def latest_version(case_folder: Path) -> SignedVersion | None:
    """Give the version that counts; None where nothing is signed."""
    versions = signed_versions(case_folder)
    return versions[-1] if versions else None
