"""Writes the results of a case for other systems."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from cemscope.dicom.objects.document_object import document_pdf
from cemscope.dicom.objects.segmentation_object import SegmentationEncoding
from cemscope.errors import AuditError, ConfigError
from cemscope_pipelines.case_folder import MATERIALS_FILE, VERTEBRAE_FILE
from cemscope_pipelines.export.case_objects import (
    KEY_OBJECTS_FILE,
    REPORT_PDF_FILE,
    REPORT_PDF_OBJECT_FILE,
    ObjectBuilder,
    ObjectChoice,
    machine_stamp,
    open_source,
    reviewed_stamp,
)
from cemscope_pipelines.export.case_record import (
    CaseContent,
    CaseRecord,
    ContentState,
    current_content,
    file_sha256,
    read_case,
)
from cemscope_pipelines.export.case_tables import case_tables
from cemscope_pipelines.export.export_folder import export_folder, write_manifest
from cemscope_pipelines.label_files import write_label_map
from cemscope_pipelines.report_builder import software_version
from cemscope_pipelines.signing.audit_trail import append_entry
from cemscope_pipelines.signing.signed_versions import SignedVersion, latest_version


@dataclass(frozen=True, slots=True)
class ExportJob:
    """What `export_case` is to do.

    Attributes
    ----------
    case_folder, target : Path
        From where, to where.
    series : Path or None
        Where the CT series lies; None takes the place the analysis read it from.
    dicom : bool
        Whether DICOM objects are written.
    choice : ObjectChoice
        Which of them.
    csv, nifti : bool
        Whether tables and label maps are written.
    recorded : bool
        Whether the audit trail tells of it.
    """

    case_folder: Path
    target: Path
    series: Path | None = None
    dicom: bool = True
    choice: ObjectChoice = field(default_factory=ObjectChoice)
    csv: bool = False
    nifti: bool = False
    recorded: bool = True


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written.

    Attributes
    ----------
    state : ContentState
        Whether a reader answers for it.
    version : int or None
        Signed version.
    files : tuple of str
        Names in the target folder.
    """

    state: ContentState
    version: int | None
    files: tuple[str, ...]


def export_case(job: ExportJob) -> ExportResult:
    """Write the results of a case.

    A signed case gives the objects that were signed, unchanged; else they are built
    from the reader's result where every finding is judged, or from the machine's,
    and say that nobody answers for them.

    Raises
    ------
    ConfigError
        If the case cannot be read or the target holds files of others.
    EvidenceError
        If the CT series is not the one that was measured.
    ExportError
        If the disk refuses.
    """
    case = read_case(job.case_folder)
    signed = latest_version(job.case_folder)
    content = current_content(case) if signed is None else signed.content(case)
    with export_folder(job.target) as folder:
        if job.dicom and signed is not None:
            _copy_signed(signed, folder, job.choice)
        elif job.dicom:
            _build(case, content, job, folder)
        if job.csv:
            for name, text in case_tables(content, job.case_folder.name).items():
                (folder / name).write_text(text, encoding="utf-8", newline="\n")
        if job.nifti:
            write_label_map(content.vertebrae, folder / VERTEBRAE_FILE)
            write_label_map(content.materials, folder / MATERIALS_FILE)
        files = tuple(sorted(path.name for path in folder.iterdir()))
        write_manifest(
            folder,
            {
                "software_version": software_version(),
                "state": content.state.value,
                "signed_version": signed.number if signed else None,
                "content": content.key,
            },
        )
        if job.recorded:
            record_export(job.case_folder, content, files)
    return ExportResult(content.state, signed.number if signed else None, files)


def record_export(
    case_folder: Path,
    content: CaseContent,
    files: tuple[str, ...],
    *,
    for_research: bool = False,
) -> None:
    """Tell the audit trail of an export, before its files are put in their place.

    A line about an export that then fails is better than an export without a line.

    Raises
    ------
    AuditError, ExportError
        As `append_entry`.
    """
    append_entry(
        case_folder,
        "exported",
        software_version(),
        {
            "state": content.state.value,
            "content": content.key,
            "for_research": for_research,
            "files": list(files),
        },
    )


def _build(
    case: CaseRecord, content: CaseContent, job: ExportJob, folder: Path
) -> None:
    source = open_source(case, job.series)
    drafted = content.state is ContentState.DRAFT
    stamp = (machine_stamp if drafted else reviewed_stamp)(case, content)
    ObjectBuilder(case, content, source, stamp).write(folder, job.choice)


def _copy_signed(signed: SignedVersion, folder: Path, choice: ObjectChoice) -> None:
    """Copy what was signed, as it is, with the machine's report it follows."""
    if choice.encoding is not SegmentationEncoding.BINARY:
        raise ConfigError(
            "--labelmap: the case is signed, and what was signed leaves as it is; its "
            "segmentations are BINARY"
        )
    for path in signed.object_files():
        if file_sha256(path) != signed.signature.files.get(path.name):
            raise AuditError(
                f"signed/v{signed.number}/{path.name} is not the file that was signed: "
                "see `cemscope audit`, and take the case folder from a backup"
            )
        wanted = True
        if path.name == REPORT_PDF_OBJECT_FILE:
            wanted = choice.pdf
        elif path.name.startswith("key_image"):
            wanted = choice.pictures
        elif path.name == KEY_OBJECTS_FILE:
            wanted = choice.key_objects
        if wanted:
            shutil.copyfile(path, folder / path.name)
    if choice.pdf:
        pdf = document_pdf(signed.folder / REPORT_PDF_OBJECT_FILE)
        (folder / REPORT_PDF_FILE).write_bytes(pdf)
