"""Writes a case for research: no identity, and nothing that a reader wrote in words."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cemscope.dicom.objects.deidentified_source import ResearchKey, research_source
from cemscope.dicom.objects.stamp import ObjectStamp
from cemscope.errors import ConfigError
from cemscope_pipelines.case_folder import MATERIALS_FILE, VERTEBRAE_FILE
from cemscope_pipelines.export.case_objects import (
    ObjectBuilder,
    ObjectChoice,
    open_source,
)
from cemscope_pipelines.export.case_record import (
    CaseContent,
    CaseRecord,
    current_content,
    read_case,
)
from cemscope_pipelines.export.case_tables import case_tables
from cemscope_pipelines.export.export_case import ExportResult, record_export
from cemscope_pipelines.export.export_folder import export_folder, write_manifest
from cemscope_pipelines.export.private_terms import LEAK_PLACES
from cemscope_pipelines.label_files import write_label_map
from cemscope_pipelines.report_builder import software_version
from cemscope_pipelines.review.review_document import ReviewedFindings
from cemscope_pipelines.signing.signed_versions import latest_version

KEY_VARIABLE = "CEMSCOPE_RESEARCH_KEY"
"""Environment variable that holds the key, where no file is given."""

WITHHELD = "withheld: the reader's own words"

_WORDS = ("reason", "sentence", "location", "locations", "message")
"""Fields of a report that hold free text."""


@dataclass(frozen=True, slots=True)
class ResearchJob:
    """What `export_for_research` is to do.

    Attributes
    ----------
    case_folder, target : Path
        From where, to where.
    series : Path or None
        Where the CT series lies; None takes the place the analysis read it from.
    key : ResearchKey
        Secret of the project.
    choice : ObjectChoice
        How segmentations are stored; documents and pictures are not written.
    shift_dates : bool
        Whether the study's date is told, moved.
    """

    case_folder: Path
    target: Path
    series: Path | None
    key: ResearchKey
    choice: ObjectChoice
    shift_dates: bool = False


def load_research_key(path: Path | None) -> ResearchKey:
    """Read the key from a file, or from the environment.

    Raises
    ------
    ConfigError
        If there is none, or it is too short.
    """
    if path is not None:
        try:
            return ResearchKey(path.read_bytes().strip())
        except OSError as error:
            raise ConfigError(
                f"--research-key: the file cannot be read ({error.strerror})"
            ) from None
    text = os.environ.get(KEY_VARIABLE, "")
    if not text:
        raise ConfigError(
            "--research needs the secret key of the project: --research-key FILE, or "
            f"the variable {KEY_VARIABLE}. Make one with `openssl rand -hex 32`"
        )
    return ResearchKey(text.strip().encode())


def export_for_research(job: ResearchJob) -> ExportResult:
    """Write segmentations, report, tables and label maps without identity.

    The same key gives the same pseudonym and UIDs in each export, so that studies of
    one patient stay together.

    Raises
    ------
    ConfigError, EvidenceError, ExportError
        As `export_case`.
    """
    case = read_case(job.case_folder)
    signed = latest_version(job.case_folder)
    content = current_content(case) if signed is None else signed.content(case)
    told, content = content, _without_words(case, content, job.key)
    case = _without_warnings(case)
    research = research_source(
        open_source(case, job.series), job.key, shift_dates=job.shift_dates
    )
    stamp = ObjectStamp(
        content.key,
        research.content_date,
        case.report.software.version,
        "research",
        for_research=True,
        dates_shifted=research.dates_shifted,
    )
    with export_folder(job.target) as folder:
        choice = ObjectChoice(encoding=job.choice.encoding)
        ObjectBuilder(case, content, research.source, stamp).write(folder, choice)
        for name, text in case_tables(content, research.pseudonym).items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        write_label_map(content.vertebrae, folder / VERTEBRAE_FILE)
        write_label_map(content.materials, folder / MATERIALS_FILE)
        files = tuple(sorted(path.name for path in folder.iterdir()))
        write_manifest(
            folder,
            {
                "software_version": software_version(),
                "state": content.state.value,
                "case": research.pseudonym,
                "content": content.key,
            },
        )
        record_export(job.case_folder, told, files, for_research=True)
    return ExportResult(content.state, signed.number if signed else None, files)


def _without_words(
    case: CaseRecord, content: CaseContent, key: ResearchKey
) -> CaseContent:
    """Withhold what a reader may have typed; hashes are keyed."""
    machine = {*_texts(case.report.model_dump(mode="json")), *LEAK_PLACES}
    values = content.findings.model_dump(mode="json")
    findings = ReviewedFindings.model_validate(_withheld(values, machine))
    decisions = tuple(
        one.model_copy(update={"reason": "", "at": None}) for one in content.decisions
    )
    return replace(
        content, findings=findings, decisions=decisions, key=key.hash(content.key)
    )


def _without_warnings(case: CaseRecord) -> CaseRecord:
    """Leave out the scan's warnings in words: they can name series and files.

    The comparison with a baseline goes, too: it names that scan and its date.
    """
    warnings = tuple(
        one.model_copy(update={"message": "see the code"})
        for one in case.report.series.warnings
    )
    series = case.report.series.model_copy(update={"warnings": warnings})
    clean = {"series": series, "followup": None}
    return replace(case, report=case.report.model_copy(update=clean))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list | tuple):
        return [text for one in value for text in _texts(one)]
    return []


def _withheld(value: Any, known: set[str], name: str = "") -> Any:
    if isinstance(value, str):
        return WITHHELD if name in _WORDS and value not in known else value
    if isinstance(value, dict):
        return {key: _withheld(one, known, key) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_withheld(one, known, name) for one in value]
    return value
