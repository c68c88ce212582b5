"""Verifies a case against its audit trail: chain, hashes and objects."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cemscope.dicom.objects.object_facts import ObjectFacts, object_facts
from cemscope.dicom.objects.stamp import dicom_datetime
from cemscope.errors import AuditError, ConfigError, EvidenceError
from cemscope_pipelines.case_folder import PROVENANCE_FILE
from cemscope_pipelines.export.case_objects import REPORT_SR_FILE
from cemscope_pipelines.export.case_record import file_sha256
from cemscope_pipelines.provenance import Provenance
from cemscope_pipelines.review.review_document import REVIEW_FILE
from cemscope_pipelines.review.review_journal import JOURNAL_FILE
from cemscope_pipelines.signing.audit_trail import AUDIT_FILE, AuditEntry, read_trail
from cemscope_pipelines.signing.signed_versions import (
    MACHINE_PREFIX,
    REVIEW_MAPS,
    SIGNATURE_FILE,
    SIGNED_FOLDER,
    SignedVersion,
    signed_versions,
)

SIGNING_EVENTS = ("signed", "amended")


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What an audit found.

    Attributes
    ----------
    lines : int
        Lines of the trail that were read.
    versions : int
        Signed versions.
    broken : tuple of str
        What is not as the trail says, the first broken place first; empty where all
        is in order.
    """

    lines: int
    versions: int
    broken: tuple[str, ...]


def audit_case(case_folder: Path) -> AuditResult:
    """Verify chain, hashes and objects of a case.

    Raises
    ------
    ConfigError
        If there is no folder.
    """
    if not case_folder.is_dir():
        raise ConfigError("expected a case folder")
    try:
        lines = len(read_trail(case_folder))
    except AuditError:
        lines = 0
    try:
        versions = len(signed_versions(case_folder))
    except AuditError:
        versions = 0
    return AuditResult(lines, versions, broken_places(case_folder))


def broken_places(
    case_folder: Path, *, before_signing: bool = False
) -> tuple[str, ...]:
    """List what in a case is not as its trail says.

    Parameters
    ----------
    before_signing
        A review that was changed since the last signature is in order: it is what
        will be signed.
    """
    try:
        entries = read_trail(case_folder)
        versions = signed_versions(case_folder)
    except AuditError as error:
        return (str(error),)
    signings = [entry for entry in entries if entry.event in SIGNING_EVENTS]
    broken = _counts(signings, versions)
    for version, entry in zip(versions, signings, strict=False):
        broken += _broken_version(version, entry)
    broken += _strangers(case_folder, versions, before_signing)
    if versions:
        broken += _broken_case(case_folder, versions[-1], before_signing)
    elif not before_signing:
        broken += _broken_analysis(case_folder)
    return tuple(broken)


def _counts(
    signings: list[AuditEntry], versions: tuple[SignedVersion, ...]
) -> list[str]:
    if len(versions) > len(signings):
        return [
            f"signed/v{len(signings) + 1} is not in {AUDIT_FILE}: lines were removed, "
            "or signing was interrupted (then delete that folder and sign again)"
        ]
    if len(signings) > len(versions):
        entry = signings[len(versions)]
        return [
            f"{AUDIT_FILE} line {entry.number} tells of signed version "
            f"{entry.details.get('version')}, which is not there"
        ]
    return []


def _broken_version(version: SignedVersion, entry: AuditEntry) -> list[str]:
    name = f"{SIGNED_FOLDER}/v{version.number}"
    told = f"({AUDIT_FILE} line {entry.number})"
    if file_sha256(version.folder / SIGNATURE_FILE) != entry.details.get(
        "signature_sha256"
    ):
        return [f"{name}/{SIGNATURE_FILE} was altered {told}"]
    broken = []
    for file, known in version.signature.files.items():
        path = version.folder / file
        if not path.is_file():
            broken.append(f"{name}/{file} is missing {told}")
        elif file_sha256(path) != known:
            broken.append(f"{name}/{file} was altered {told}")
    known_files = {*version.signature.files, SIGNATURE_FILE}
    broken += [
        f"{name}/{path.name} was added {told}"
        for path in sorted(version.folder.iterdir())
        if path.name not in known_files
    ]
    return broken or _broken_objects(version, name)


def _broken_objects(version: SignedVersion, name: str) -> list[str]:
    """Check that the objects say what the signature says."""
    signature = version.signature
    try:
        facts = {path.name: object_facts(path) for path in version.object_files()}
        report = facts[REPORT_SR_FILE]
        machine = facts[MACHINE_PREFIX + REPORT_SR_FILE]
    except (EvidenceError, KeyError) as error:
        return [f"{name}: {error}"]
    broken = []
    place = f"{name}/{REPORT_SR_FILE}"
    expected = (
        ("completion", report.completion, "COMPLETE"),
        ("verification", report.verification, "VERIFIED"),
        ("status", report.preliminary, "FINAL"),
        ("verifying observer", report.verifying_observer, signature.reader),
        ("organization", report.verifying_organization, signature.organization),
        ("time", report.verified_at, dicom_datetime(signature.signed_at)),
        ("UID", report.sop_instance_uid, signature.report_sop_instance_uid),
    )
    broken += [
        f"{place} has another {what} than the signature"
        for what, found, wanted in expected
        if found != wanted
    ]
    if machine.sop_instance_uid not in report.predecessor_uids:
        broken.append(f"{place} does not follow the machine's report")
    if report.predecessor_uids != signature.predecessor_uids:
        broken.append(f"{place} names other predecessors than the signature")
    if _patients(facts) > 1:
        broken.append(f"{name} holds objects of more than one patient or study")
    return broken


def _patients(facts: dict[str, ObjectFacts]) -> int:
    return len({(one.patient_id, one.study_instance_uid) for one in facts.values()})


def _strangers(
    case_folder: Path, versions: tuple[SignedVersion, ...], before_signing: bool
) -> list[str]:
    root = case_folder / SIGNED_FOLDER
    if not root.is_dir():
        return []
    known = {f"v{one.number}" for one in versions}
    return [
        f"{SIGNED_FOLDER}/{entry.name} does not belong there"
        for entry in sorted(root.iterdir())
        if entry.name not in known
        # what an interrupted signature left is cleared by the next one
        and not (before_signing and entry.name.startswith(".part-"))
    ]


def _broken_analysis(case_folder: Path) -> list[str]:
    """Compare a case that nobody signed with what its analysis wrote."""
    try:
        text = (case_folder / PROVENANCE_FILE).read_text(encoding="utf-8")
        known = Provenance.model_validate_json(text).outputs_sha256
    except (OSError, UnicodeDecodeError, ValidationError):
        return [f"{PROVENANCE_FILE} is missing or damaged"]
    broken = []
    for file, sha256 in known.items():
        path = case_folder / file
        if not path.is_file():
            broken.append(f"{file} is missing; the analysis wrote it")
        elif file_sha256(path) != sha256:
            broken.append(f"{file} was altered after the analysis wrote it")
    return broken


def _broken_case(
    case_folder: Path, last: SignedVersion, before_signing: bool
) -> list[str]:
    """Compare the case folder with what it was when it was signed last."""
    broken = []
    for file, known in last.signature.case_files.items():
        path = case_folder / file
        if before_signing and file in REVIEW_MAPS:
            continue
        if not path.is_file():
            broken.append(f"{file} is missing; it was there at the signature")
        elif file_sha256(path) != known:
            broken.append(f"{file} was altered after version {last.number} was signed")
    if before_signing:
        return broken
    broken += [
        f"{file} was added after version {last.number} was signed"
        for file in sorted(REVIEW_MAPS - last.signature.case_files.keys())
        if (case_folder / file).exists()
    ]
    for file in (REVIEW_FILE, JOURNAL_FILE):
        known = last.signature.files.get(file, "")
        path = case_folder / file
        if not path.is_file() or file_sha256(path) != known:
            broken.append(
                f"{file} is not the one that was signed as version {last.number}: "
                f"sign the change with --amend, or take back {SIGNED_FOLDER}/"
                f"v{last.number}/{file}"
            )
    return broken
