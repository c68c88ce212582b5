"""Signs a reviewed case: draft -> reviewed -> signed, and each amendment again."""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cemscope.dicom.objects.object_facts import object_facts, read_object
from cemscope.dicom.objects.source_images import SourceImages
from cemscope.dicom.objects.stamp import DicomObject, ObjectStamp
from cemscope.dicom.objects.structured_report import Verification, require_one_patient
from cemscope.errors import ExportError, SignatureError
from cemscope_pipelines.case_folder import (
    MACHINE_FILES,
    MATERIALS_FILE,
    PROVENANCE_FILE,
    REPORT_FILE,
    VERTEBRAE_FILE,
)
from cemscope_pipelines.export.case_objects import (
    REPORT_PDF_FILE,
    REPORT_SR_FILE,
    ObjectBuilder,
    ObjectChoice,
    SignedBy,
    machine_stamp,
    open_source,
)
from cemscope_pipelines.export.case_record import (
    CaseContent,
    CaseRecord,
    ContentState,
    file_sha256,
    machine_content,
    read_case,
    reviewed_content,
)
from cemscope_pipelines.label_files import write_label_map
from cemscope_pipelines.report_builder import software_version
from cemscope_pipelines.review.review_document import (
    REVIEW_FILE,
    ReviewDocument,
    finding_ids,
)
from cemscope_pipelines.review.review_journal import JOURNAL_FILE
from cemscope_pipelines.signing.audit_check import broken_places
from cemscope_pipelines.signing.audit_trail import append_entry
from cemscope_pipelines.signing.signed_versions import (
    MACHINE_PREFIX,
    REVIEW_MAPS,
    SIGNATURE_FILE,
    SIGNED_FOLDER,
    Signature,
    SignedVersion,
    signed_versions,
    version_folder,
)

_NAME_LIMIT = 64
"""Characters of a person's or an organization's name in DICOM."""

_TOLD = 5
"""So many open findings are named in a refusal."""


@dataclass(frozen=True, slots=True)
class SigningJob:
    """Who signs which case.

    Attributes
    ----------
    case_folder : Path
        A case that `cemscope review` has finished.
    reader : str
        DICOM person name, "Family^Given".
    organization : str
        Whom the reader signs for.
    amend : bool
        Whether an earlier signature is to be followed by a new version.
    reason : str
        Why it is amended.
    series : Path or None
        Where the CT series lies; None takes the place the analysis read it from.
    """

    case_folder: Path
    reader: str
    organization: str
    amend: bool = False
    reason: str = ""
    series: Path | None = None


def sign_case(job: SigningJob) -> SignedVersion:
    """Sign a reviewed case, or amend a signed one.

    Writes ``signed/vN`` whole or not at all, and a line of the audit trail.

    Raises
    ------
    SignatureError
        If names are malformed, the review is not finished or not of this report, the
        case was signed already, or its audit trail is broken.
    EvidenceError
        If the CT series is another one, or of another patient or study.
    ExportError
        If the disk refuses.
    """
    job = replace(job, reader=job.reader.strip(), organization=job.organization.strip())
    _check_names(job)
    case = read_case(job.case_folder)
    review = _finished_review(case)
    _require_not_stale(case, review)
    earlier = signed_versions(job.case_folder)
    _require_right_turn(job, earlier)
    source = open_source(case, job.series)
    signing = _Signing(job, case, review, source, earlier)
    return signing.write()


def _check_names(job: SigningJob) -> None:
    family, _, given = job.reader.partition("^")
    if not (family.strip() and given.replace("^", "").strip()):
        raise SignatureError(
            '--reader: expected a family and a given name, "Family^Given"'
        )
    for option, text in (
        ("--reader", job.reader),
        ("--organization", job.organization),
    ):
        if len(text) > _NAME_LIMIT or re.search(r"[\\\x00-\x1f]", text):
            raise SignatureError(
                f"{option}: expected at most {_NAME_LIMIT} characters without "
                "backslashes or line breaks"
            )
    if not job.organization.strip():
        raise SignatureError("--organization: expected a name")
    if job.amend and not job.reason.strip():
        raise SignatureError("--amend needs --reason TEXT: why is there a new version?")
    if job.reason and not job.amend:
        raise SignatureError("--reason belongs to --amend")


def _finished_review(case: CaseRecord) -> ReviewDocument:
    review = case.review
    if review is None:
        raise SignatureError(
            "the case was not reviewed: open it with `cemscope review`, judge every "
            "finding, then sign"
        )
    decided = {(d.kind, d.finding_id) for d in review.decisions if d.decision != "open"}
    lacking = [
        one.finding_id
        for one in finding_ids(case.report)
        if (one.kind, one.finding_id) not in decided
    ]
    lacking += [
        d.finding_id
        for d in review.decisions
        if d.decision == "open" and d.finding_id not in lacking
    ]
    if lacking or review.status != "reviewed":
        more = f" and {len(lacking) - _TOLD} more" if len(lacking) > _TOLD else ""
        raise SignatureError(
            f"the review is not complete: {len(lacking)} findings are not judged "
            f"({', '.join(lacking[:_TOLD])}{more}). Judge each in `cemscope review`"
        )
    return review


def _require_not_stale(case: CaseRecord, review: ReviewDocument) -> None:
    """Refuse a review of another report, and a report of other label maps."""
    folder = case.folder
    if review.report_sha256 != file_sha256(folder / REPORT_FILE):
        raise SignatureError(
            "the review judges another report than the one in the case folder "
            f"({REPORT_FILE} has another hash). Review the case again"
        )
    report, provenance = case.report, case.provenance
    for what, told, known in (
        ("configuration", report.software.config_hash, provenance.config_hash),
        ("version", report.software.version, provenance.software_version),
    ):
        if told != known:
            raise SignatureError(
                f"{REPORT_FILE} and {PROVENANCE_FILE} name another {what}: they are "
                "not of one analysis. Analyse and review the series again"
            )
    for name, known in provenance.outputs_sha256.items():
        if file_sha256(folder / name) != known:
            raise SignatureError(
                f"{name} is not the one that the analysis wrote (another hash): the "
                "report is stale. Analyse and review the series again"
            )


def _require_right_turn(job: SigningJob, earlier: tuple[SignedVersion, ...]) -> None:
    broken = broken_places(job.case_folder, before_signing=True)
    if broken:
        raise SignatureError(
            f"the case is not what its audit trail says: {broken[0]}. Nothing can be "
            "signed on top of it; run `cemscope audit`"
        )
    if earlier and not job.amend:
        last = earlier[-1]
        raise SignatureError(
            f"the case was signed (version {last.number}, "
            f"{last.signed_at.isoformat(sep=' ', timespec='minutes')}): a new version "
            "needs --amend --reason TEXT"
        )
    if job.amend and not earlier:
        raise SignatureError("--amend: nothing was signed yet; sign without it")


class _Signing:
    """Builds one signed version and puts it in its place."""

    def __init__(
        self,
        job: SigningJob,
        case: CaseRecord,
        review: ReviewDocument,
        source: SourceImages,
        earlier: tuple[SignedVersion, ...],
    ) -> None:
        self._job = job
        self._case = case
        self._source = source
        self._earlier = earlier
        self._number = len(earlier) + 1
        self._signed_at = datetime.now().astimezone().replace(microsecond=0)
        self._content: CaseContent = replace(
            reviewed_content(case, review), state=ContentState.SIGNED
        )

    def write(self) -> SignedVersion:
        target = version_folder(self._job.case_folder, self._number)
        part: Path | None = None
        try:
            target.parent.mkdir(exist_ok=True)
            for left_over in target.parent.glob(".part-*"):
                shutil.rmtree(left_over, ignore_errors=True)
            part = Path(tempfile.mkdtemp(prefix=".part-", dir=target.parent))
            signature = self._fill(part)
            part.chmod(0o755)
            os.rename(part, target)
            try:
                self._record(target, signature)
            except BaseException:
                shutil.rmtree(target, ignore_errors=True)
                raise
        except OSError as error:
            raise ExportError(
                f"the signed version cannot be written: {error.strerror}"
            ) from error
        finally:
            if part is not None:
                shutil.rmtree(part, ignore_errors=True)
            root = self._job.case_folder / SIGNED_FOLDER
            if root.is_dir() and not any(root.iterdir()):
                root.rmdir()
        return SignedVersion(target, self._number, signature)

    def _fill(self, part: Path) -> Signature:
        machine = self._write_machine(part)
        predecessors = self._predecessors(machine)
        job = self._job
        signed_by = SignedBy(
            Verification(job.reader, job.organization, self._signed_at),
            self._number, predecessors, job.reason.strip(),
        )  # fmt: skip
        stamp = ObjectStamp(
            f"{self._content.key} {self._signed_at.isoformat()} {job.reader}",
            self._signed_at,
            software_version(),
            f"signed {self._number}",
        )
        ObjectBuilder(self._case, self._content, self._source, stamp, signed_by).write(
            part, ObjectChoice(pdf=True, pictures=True, key_objects=True)
        )
        # The page names the patient; in a case folder only DICOM objects may.
        (part / REPORT_PDF_FILE).unlink()
        self._copy_documents(part)
        facts = object_facts(part / REPORT_SR_FILE)
        signature = Signature(
            version=self._number,
            reader=job.reader,
            organization=job.organization,
            signed_at=self._signed_at,
            software_version=software_version(),
            config_hash=self._case.report.software.config_hash,
            content=self._content.key,
            amendment_reason=job.reason.strip(),
            report_sop_instance_uid=facts.sop_instance_uid,
            predecessor_uids=facts.predecessor_uids,
            files={p.name: file_sha256(p) for p in sorted(part.iterdir())},
            case_files={
                name: file_sha256(job.case_folder / name)
                for name in sorted(MACHINE_FILES | REVIEW_MAPS)
                if (job.case_folder / name).is_file()
            },
        )
        (part / SIGNATURE_FILE).write_text(
            signature.model_dump_json(indent=2) + "\n", encoding="utf-8", newline="\n"
        )
        return signature

    def _write_machine(self, part: Path) -> DicomObject:
        """Write the machine's own objects, which the signed report follows."""
        content = machine_content(self._case)
        stamp = machine_stamp(self._case, content)
        builder = ObjectBuilder(self._case, content, self._source, stamp)
        for name in builder.write(part, ObjectChoice()):
            (part / name).rename(part / f"{MACHINE_PREFIX}{name}")
        return read_object(part / f"{MACHINE_PREFIX}{REPORT_SR_FILE}")

    def _predecessors(self, machine: DicomObject) -> tuple[DicomObject, ...]:
        signed = [read_object(one.folder / REPORT_SR_FILE) for one in self._earlier]
        require_one_patient(self._source, [machine, *signed])
        return (machine, *signed)

    def _copy_documents(self, part: Path) -> None:
        folder = self._job.case_folder
        shutil.copyfile(folder / REPORT_FILE, part / REPORT_FILE)
        for name in (REVIEW_FILE, JOURNAL_FILE):
            shutil.copyfile(folder / name, part / name)
        write_label_map(self._content.vertebrae, part / VERTEBRAE_FILE)
        write_label_map(self._content.materials, part / MATERIALS_FILE)

    def _record(self, target: Path, signature: Signature) -> None:
        append_entry(
            self._job.case_folder,
            "amended" if self._earlier else "signed",
            software_version(),
            {
                "version": self._number,
                "reader": signature.reader,
                "organization": signature.organization,
                "reason": signature.amendment_reason,
                "signature_sha256": file_sha256(target / SIGNATURE_FILE),
                "report_sop_instance_uid": signature.report_sop_instance_uid,
                "content": signature.content,
            },
        )
