"""A later scan in, a case folder out that tells what changed since the baseline."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cemscope.findings import CementVolume, NotAssessed
from cemscope.measurement.followup import FollowupComparison, compare_scans
from cemscope.measurement.followup_refit import followed_screws
from cemscope.measurement.followup_scan import FollowedScan
from cemscope.registration.vertebra_patch import ScannedSpine
from cemscope.volume import Notice
from cemscope_pipelines.analysis import (
    AnalysisJob,
    choose_job_series,
    read_chosen_series,
    write_case,
)
from cemscope_pipelines.case import CaseResult, analyse_case
from cemscope_pipelines.case_folder import check_target
from cemscope_pipelines.followup.baseline_case import (
    BaselineCase,
    followed_baseline,
    open_baseline,
    read_baseline,
)
from cemscope_pipelines.followup.conclusions import conclusions, unmatched_screws
from cemscope_pipelines.followup.followup_entries import (
    rod_entry,
    screw_entries,
    vertebra_entries,
)
from cemscope_pipelines.followup.patient_check import (
    check_patient,
    days_between,
    order_notices,
    patient_notices,
)
from cemscope_pipelines.lucency_entries import grown_lucency_entry
from cemscope_pipelines.provenance import BaselineRecord
from cemscope_pipelines.report import Report, ScrewEntry, WarningEntry
from cemscope_pipelines.report_base import NotAssessedEntry
from cemscope_pipelines.report_followup import FollowupEntry, PatientCheckEntry
from cemscope_pipelines.stages import StageClock, StageListener, ignore_progress


@dataclass(frozen=True, slots=True)
class FollowupJob:
    """What `follow_series` is to do.

    Attributes
    ----------
    analysis : AnalysisJob
        The later scan, how it is measured, and the case folder to write.
    baseline : Path
        Case folder of the first scan.
    baseline_series : Path or None
        Where the first scan lies now; None takes the place that its case remembers.
    same_patient : str or None
        The user's reason to compare scans whose headers name different patients.
    """

    analysis: AnalysisJob
    baseline: Path
    baseline_series: Path | None = None
    same_patient: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FollowupResult:
    """A case and its comparison with the baseline.

    Attributes
    ----------
    case : CaseResult
        The later scan; its report holds the section ``followup``.
    baseline, followup : FollowedScan
        Both scans.
    comparison : FollowupComparison
        What changed.
    """

    case: CaseResult
    baseline: FollowedScan
    followup: FollowedScan
    comparison: FollowupComparison


def _say_nothing(message: str) -> None:
    """Drop a message."""


def follow_series(
    job: FollowupJob,
    listener: StageListener = ignore_progress,
    say: Callable[[str], None] = _say_nothing,
) -> FollowupResult:
    """Measure a later scan, compare it with the baseline and write its case folder.

    Parameters
    ----------
    job
        What to read and where to write.
    listener
        Told about the progress of each stage.
    say
        Takes messages for the user.

    Raises
    ------
    ConfigError
        If the baseline is no case, its series is not found, or the folder cannot be
        written.
    SeriesError
        If a series cannot be measured, or the scans are of different patients.
    LabelMapError, SegmentationError
        As `analyse_series`.
    ExportError
        If the disk refuses.
    """
    analysis = job.analysis
    config = analysis.config
    check_target(analysis.case_folder)
    clock = StageClock(listener)
    with clock.stage("baseline"):
        first = open_baseline(job.baseline, job.baseline_series, config.reading)
    told = "reviewed" if first.content.reviewed else "not reviewed"
    say(f"baseline: series {first.series.name}, {told}")
    chosen = choose_job_series(analysis, clock, say)
    patient = check_patient(first.series, chosen, job.same_patient)
    case = analyse_case(read_chosen_series(chosen, analysis, clock), config, clock)
    with clock.stage("baseline scan") as share_done:
        scanned = read_baseline(
            first, config.reading, lambda done, of: share_done(done / max(1, of))
        )
        baseline = followed_baseline(
            scanned, first.content.findings, config.augmentation
        )
    followup = followed_case(case)
    with clock.stage("comparison"):
        comparison = compare_scans(
            baseline, followup, config.augmentation.lucency, config.followup
        )
    report = followed_report(case.report, first, comparison, patient)
    result = FollowupResult(
        replace(case, report=report), baseline, followup, comparison
    )
    _write(job, result, first, clock)
    return result


def followed_case(case: CaseResult) -> FollowedScan:
    """Give the later scan in the form that is compared."""
    found = case.augmentation
    return FollowedScan(
        ScannedSpine(case.ct, case.spine, found.materials),
        followed_screws(found.models, found.screws, found.surfaces),
        {one.level: _volume(one.cement) for one in found.cement},
    )


def _volume(cement: CementVolume | NotAssessed) -> CementVolume | NotAssessed:
    return cement


def followed_report(
    report: Report,
    baseline: BaselineCase,
    found: FollowupComparison,
    patient: PatientCheckEntry,
) -> Report:
    """Add the comparison to the report of the later scan."""
    growth = {one.screw_id: one.growth_mm for one in found.screws}
    screws = tuple(_grown(screw, growth.get(screw.id)) for screw in report.screws)
    series = baseline.record.report.series
    days = days_between(
        _known(series.acquisition_date), _known(report.series.acquisition_date)
    )
    vertebrae = vertebra_entries(found, report)
    followed = screw_entries(found, report)
    rods = tuple(rod_entry(one) for one in found.rods)
    entry = FollowupEntry(
        baseline_report_hash=baseline.report_sha256,
        baseline_study_instance_uid=series.study_instance_uid,
        baseline_series_instance_uid=series.series_instance_uid,
        baseline_acquisition_date=series.acquisition_date,
        baseline_reviewed=baseline.content.reviewed,
        days_between=NotAssessedEntry(reason="a scan has no acquisition date")
        if days is None
        else days,
        patient=patient,
        vertebrae=vertebrae,
        screws=followed,
        rods=rods,
        conclusions=conclusions(screws, followed, rods, vertebrae)
        + unmatched_screws(found.only_one),
    )
    notices = (*patient_notices(patient), *order_notices(days), *found.notices)
    return report.model_copy(
        update={
            "screws": screws,
            "followup": entry,
            "series": _warned(report, notices),
        }
    )


def _known(value: str | NotAssessedEntry) -> str | None:
    return None if isinstance(value, NotAssessedEntry) else value


def _grown(screw: ScrewEntry, growth: float | NotAssessed | None) -> ScrewEntry:
    if growth is None:
        growth = NotAssessed("the screw was not found in the baseline")
    return screw.model_copy(
        update={"lucency": grown_lucency_entry(screw.lucency, growth)}
    )


def _warned(report: Report, notices: tuple[Notice, ...]) -> object:
    warnings = tuple(WarningEntry(code=n.code, message=n.message) for n in notices)
    return report.series.model_copy(
        update={"warnings": (*warnings, *report.series.warnings)}
    )


def _write(
    job: FollowupJob, result: FollowupResult, baseline: BaselineCase, clock: StageClock
) -> None:
    from cemscope_pipelines.pictures.followup_picture import followup_pictures

    with clock.stage("follow-up pictures"):
        pictures = followup_pictures(
            result.baseline, result.comparison, result.followup, result.case.report
        )
    record = BaselineRecord(
        path=str(job.baseline.absolute()),
        report_sha256=baseline.report_sha256,
        series_instance_uid=baseline.series.series_instance_uid,
        same_patient_reason=_one_line(job.same_patient),
    )
    write_case(job.analysis, result.case, clock, pictures, record)


def _one_line(text: str | None) -> str | None:
    return None if text is None else re.sub(r"\s+", " ", text).strip()
