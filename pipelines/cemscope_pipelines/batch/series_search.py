"""Search folders and archives for series; runs in a process of its own.

The rules are those of ``analyze`` and ``inspect``: `cemscope.dicom.scan_input` and
`choose_series`.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cemscope.dicom import FindingCode, InputLimits, SeriesSummary, scan_input
from cemscope.dicom.files import InputFiles
from cemscope.dicom.patient_pseudonym import read_patient_pseudonym
from cemscope.errors import NoSeriesError
from cemscope_pipelines.batch.folders import walk_root
from cemscope_pipelines.batch.found_series import (
    FoundSeries,
    FoundUnit,
    RootNotes,
    SearchJob,
)
from cemscope_pipelines.batch.isolated_call import Message, MessageKind, Report
from cemscope_pipelines.batch.prepare import ready_config
from cemscope_pipelines.batch.series_collection import Candidate, SeriesCollection
from cemscope_pipelines.config import AnalysisConfig

_NOT_FOR_READING = frozenset(
    (
        FindingCode.NOT_CT,
        FindingCode.LOCALIZER,
        FindingCode.PROJECTION,
        FindingCode.TOO_FEW_SLICES,
    )
)


_NO_DAMAGE = " 0 damaged files"
"""What `scan_input` says of a folder without a DICOM file in it."""


@dataclass(frozen=True, slots=True)
class SearchRecords:
    """What a search tells."""

    series: tuple[FoundSeries, ...]
    units: tuple[FoundUnit, ...]
    notes: RootNotes


def _input_hash(series: SeriesSummary, files: InputFiles) -> str:
    """Hash of the instances and sizes of the files; pixels are not read.

    Another size means another file, e.g. one that was cut short and came again.
    """
    lines = sorted(
        f"{h.sop_instance_uid}#{h.frame_index} {files.size(h.entry)}"
        for h in series.headers
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _place(parts: Sequence[SeriesSummary]) -> str:
    """Smallest folder that holds all files of a series, or their archive.

    It holds all parts of the series: their numbers depend on each other.
    """
    entries = [h.entry for part in parts for h in part.headers]
    archives = {e.path for e in entries if e.member is not None}
    if archives:
        return str(min(archives))
    return os.path.commonpath({str(e.path.parent) for e in entries})


def _candidate(
    series: SeriesSummary, place: str, unit: Path, files: InputFiles, salt: bytes
) -> Candidate:
    codes = [f.code for f in series.findings]
    patient = read_patient_pseudonym(series.headers[0], files, salt)
    found = FoundSeries(
        path=place,
        name=series.name,
        study_uid=series.study_instance_uid,
        patient_key=patient.number,
        issuer_key=patient.issuer,
        birth_key=patient.birth_date,
        acquisition_date=series.acquisition.acquisition_date or "",
        slices=series.slices,
        spacing_mm=series.spacing_mm[0] if series.spacing_mm else -1.0,
        coverage_mm=series.coverage_mm,
        kernel=series.acquisition.kernel or "",
        plane=series.plane,
        input_hash=_input_hash(series, files),
        measurable=series.measurable,
        intended=not _NOT_FOR_READING.intersection(codes),
        preferred=False,
        reason="" if series.measurable else str(series.refusal()),
        reason_code="" if series.measurable else codes[0].value,
    )
    return Candidate(replace(series, headers=()), found, unit)


def _candidates(
    unit: Path, series: Sequence[SeriesSummary], limits: InputLimits, salt: bytes
) -> list[Candidate]:
    parts: dict[str, list[SeriesSummary]] = {}
    for one in series:
        parts.setdefault(one.series_instance_uid, []).append(one)
    whole = unit.is_file() and unit.name.upper() != "DICOMDIR"
    places = {
        uid: str(unit) if whole else _place(members) for uid, members in parts.items()
    }
    with InputFiles(unit, limits) as files:
        return [
            _candidate(one, places[one.series_instance_uid], unit, files, salt)
            for one in series
        ]


def _scan_unit(
    unit: Path, config: AnalysisConfig, salt: bytes
) -> tuple[FoundUnit, list[Candidate]]:
    """List the series of one folder or archive."""
    settings = config.reading
    limits: InputLimits = settings.limits
    try:
        scan = scan_input(unit, settings.stack, limits)
    except NoSeriesError as error:
        # A folder without any DICOM file is not worth a line; a damaged one is.
        damaged = _NO_DAMAGE not in str(error)
        code = type(error).__name__
        return (
            FoundUnit(
                path=str(unit),
                skipped_files=0,
                unreadable_files=int(damaged),
                problem=str(error) if damaged else "",
                problem_code=code if damaged else "",
            ),
            [],
        )
    candidates = _candidates(unit, scan.series, limits, salt)
    record = FoundUnit(
        path=str(unit),
        skipped_files=scan.skipped_files,
        unreadable_files=scan.unreadable_files,
    )
    return record, candidates


def find_series(
    job: SearchJob, config: AnalysisConfig, report: Report
) -> SearchRecords:
    """Search all units of a root, then what is split between them together.

    Raises
    ------
    NoSeriesError
        If the root itself cannot be read.
    """
    salt, root = bytes.fromhex(job.salt), Path(job.root)
    walk = walk_root(root, Path(job.excluded))
    if root in walk.unreadable:
        raise NoSeriesError(f"ROOT: the folder cannot be read: {walk.unreadable[root]}")
    units = sorted(walk.units)
    known = frozenset(units)
    collection = SeriesCollection()
    records = [_unreadable(path, why) for path, why in walk.unreadable.items()]

    def scan(unit: Path) -> list[Candidate] | None:
        if str(unit) in job.bad:
            return None
        report(Message(MessageKind.RECORD, str(unit), code="start"))
        record, candidates = _scan_unit(unit, config, salt)
        if unit in known:
            records.append(record)
        return candidates

    for number, unit in enumerate(units):
        progress = f"{number} {len(units)} {len(collection.candidates)}"
        report(Message(MessageKind.RECORD, progress, code="progress"))
        collection.add(scan(unit) or ())
    collection.settle_split(walk.linked, scan)
    return SearchRecords(
        tuple(collection.series()),
        tuple(records),
        RootNotes(
            copies=collection.copies,
            links_followed=walk.links_followed,
            links_dead=walk.links_dead,
            links_back=walk.links_back,
        ),
    )


def _unreadable(path: Path, why: str) -> FoundUnit:
    return FoundUnit(
        path=str(path),
        skipped_files=0,
        unreadable_files=0,
        problem=f"the folder cannot be read: {why}. Scans in it were not found; give "
        "the right to read it and start again",
        problem_code="unreadable_folder",
    )


def run(payload: str, report: Report) -> str:
    """Search for the series of a `SearchJob`; series and units become records.

    Raises
    ------
    ConfigError
        If a setting is wrong, or holds for one scan only.
    """
    job = SearchJob.model_validate_json(payload)
    report(Message(MessageKind.STAGE, "configuration"))
    ready = ready_config(job.config)
    report(Message(MessageKind.STAGE, "headers"))
    config = AnalysisConfig.model_validate_json(ready.config)
    found = find_series(job, config, report)
    for unit in found.units:
        report(Message(MessageKind.RECORD, unit.model_dump_json(), code="unit"))
    for series in found.series:
        report(Message(MessageKind.RECORD, series.model_dump_json(), code="series"))
    notes = found.notes.model_dump_json()
    report(Message(MessageKind.RECORD, notes, code="notes"))
    return ready.model_dump_json()
