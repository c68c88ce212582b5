"""Search folders and archives for series; runs in a process of its own.

The rules are those of ``analyze`` and ``inspect``: `cemscope.dicom.scan_input` and
`choose_series`.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from cemscope.dicom import (
    FindingCode,
    InputLimits,
    SeriesSummary,
    choose_series,
    scan_input,
)
from cemscope.dicom.files import SNIFF_BYTES, InputFiles, looks_like_dicom
from cemscope.dicom.patient_key import read_patient_key
from cemscope.errors import NoSeriesError, SeriesError
from cemscope_pipelines.batch.found_series import FoundSeries, FoundUnit, SearchJob
from cemscope_pipelines.batch.isolated_call import Message, MessageKind, Report
from cemscope_pipelines.batch.prepare import ready_config
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


def _input_hash(series: SeriesSummary, files: InputFiles) -> str:
    """Hash of the instances and sizes of the files; pixels are not read.

    Another size means another file, e.g. one that was cut short and came again.
    """
    lines = sorted(
        f"{h.sop_instance_uid}#{h.frame_index} {files.size(h.entry)}"
        for h in series.headers
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _place(series: SeriesSummary) -> str:
    """Smallest folder that holds all files of a series, or their archive."""
    entries = {h.entry.path for h in series.headers if h.entry.member is not None}
    if entries:
        return str(min(entries))
    return os.path.commonpath({str(h.entry.path.parent) for h in series.headers})


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A series as `choose_series` wants it, without its slices, and as it is told."""

    summary: SeriesSummary
    found: FoundSeries


def _candidate(series: SeriesSummary, files: InputFiles, salt: bytes) -> _Candidate:
    codes = [f.code for f in series.findings]
    found = FoundSeries(
        path=_place(series),
        name=series.name,
        study_uid=series.study_instance_uid,
        patient_key=read_patient_key(series.headers[0], files, salt),
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
    # Thousands of slices would be kept for nothing.
    return _Candidate(replace(series, headers=()), found)


def _scan_unit(
    unit: Path, config: AnalysisConfig, salt: bytes
) -> tuple[FoundUnit, list[_Candidate]]:
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
    with InputFiles(unit, limits) as files:
        candidates = [_candidate(series, files, salt) for series in scan.series]
    record = FoundUnit(
        path=str(unit),
        skipped_files=scan.skipped_files,
        unreadable_files=scan.unreadable_files,
    )
    return record, candidates


def _with_preferences(candidates: Iterable[_Candidate]) -> Iterator[FoundSeries]:
    """Say of every series whether ``analyze`` would take it of its study, and why."""
    studies: dict[str, dict[str, _Candidate]] = {}
    for one in candidates:
        study = studies.setdefault(one.found.study_uid, {})
        study[one.found.name] = one
    for members in studies.values():
        preferred, why = "", {}
        try:
            choice = choose_series([m.summary for m in members.values()])
        except SeriesError as error:
            why = dict.fromkeys(members, str(error))
        else:
            preferred = choice.chosen.name
            why = {r.series.name: r.reason for r in choice.rejected}
            why[preferred] = choice.reason
        for name, member in members.items():
            told: dict[str, object] = {"preferred": name == preferred}
            if member.found.measurable:
                told |= {"reason": why[name]}
            yield member.found.model_copy(update=told)


@dataclass(slots=True)
class SeriesCollection:
    """Series of several units, each once.

    Attributes
    ----------
    candidates : dict of str to _Candidate
        By name.
    copies : int
        Series that lie there several times; the first counts, or of different copies
        in archives the one with the most slices.
    split : set of str
        UIDs of series whose slices are spread over several units.
    """

    candidates: dict[str, _Candidate] = field(default_factory=dict)
    copies: int = 0
    split: set[str] = field(default_factory=set)

    def add(self, candidates: Iterable[_Candidate]) -> None:
        """Take the series of a unit."""
        for one in candidates:
            known = self.candidates.setdefault(one.found.name, one)
            if known is one:
                continue
            if known.found.input_hash == one.found.input_hash:
                self.copies += 1
            elif _may_be_zip(Path(one.found.path)) or _may_be_zip(
                Path(known.found.path)
            ):
                # A series is not spread over archives: this is another copy of it.
                if one.summary.slices > known.summary.slices:
                    self.candidates[one.found.name] = one
                self.copies += 1
            else:
                self.split.add(one.summary.series_instance_uid)

    def replace_split(self, candidates: Iterable[_Candidate]) -> None:
        """Put series of the whole root in the place of the split ones."""
        whole = [c for c in candidates if c.summary.series_instance_uid in self.split]
        found = {c.summary.series_instance_uid for c in whole}
        for name in list(self.candidates):
            if self.candidates[name].summary.series_instance_uid in found:
                del self.candidates[name]
        for one in whole:
            self.candidates[one.found.name] = one

    def series(self) -> Iterator[FoundSeries]:
        """All series, with their preferences."""
        return _with_preferences(self.candidates.values())


def _may_be_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and zipfile.is_zipfile(path)


def _has_dicom(files: list[Path]) -> bool:
    for path in files:
        try:
            with path.open("rb") as stream:
                if looks_like_dicom(stream.read(SNIFF_BYTES)):
                    return True
        except OSError:
            continue
    return False


def units_of(root: Path, excluded: Path) -> Iterator[Path]:
    """Take a root apart into folders and archives that are searched on their own.

    A folder with DICOM files in it is one unit with all below it, because its series
    may go on there; so is each folder below one that has none. Archives are units of
    their own wherever they lie. Links to folders are not followed.
    """
    if root.is_file():
        yield root
        return
    folder = root
    while True:
        entries = sorted(folder.iterdir())
        files = [e for e in entries if e.is_file()]
        folders = [
            e
            for e in entries
            if e.is_dir() and not e.is_symlink() and e.resolve() != excluded
        ]
        if _has_dicom(files):
            yield folder
            break
        if len(folders) != 1:
            yield from folders
            break
        folder = folders[0]
    for place, below, names in os.walk(root):
        below[:] = sorted(n for n in below if Path(place, n).resolve() != excluded)
        for name in sorted(names):
            if _may_be_zip(Path(place, name)):
                yield Path(place, name)


def find_series(
    job: SearchJob, config: AnalysisConfig, report: Report
) -> tuple[SeriesCollection, list[FoundUnit]]:
    """Search all units of a root, then what is split between them in the whole."""
    salt, root = bytes.fromhex(job.salt), Path(job.root)
    units = sorted(set(units_of(root, Path(job.excluded))))
    collection = SeriesCollection()
    records = []
    for number, unit in enumerate(units):
        progress = f"{number} {len(units)} {len(collection.candidates)}"
        report(Message(MessageKind.RECORD, progress, code="progress"))
        if str(unit) in job.bad:
            continue
        report(Message(MessageKind.RECORD, str(unit), code="start"))
        record, candidates = _scan_unit(unit, config, salt)
        records.append(record)
        collection.add(candidates)
    if collection.split:
        report(Message(MessageKind.RECORD, str(root), code="start"))
        collection.replace_split(_scan_unit(root, config, salt)[1])
    return collection, records


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
    collection, units = find_series(job, config, report)
    for unit in units:
        report(Message(MessageKind.RECORD, unit.model_dump_json(), code="unit"))
    for series in collection.series():
        report(Message(MessageKind.RECORD, series.model_dump_json(), code="series"))
    report(Message(MessageKind.RECORD, str(collection.copies), code="copies"))
    return ready.model_dump_json()
