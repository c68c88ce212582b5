"""Rows of the tables: one per case, vertebra, leak and screw.

A field's metadata tell its unit and meaning; from them come the columns of CSV and
Parquet files and the data dictionary. An empty cell is a value that does not exist;
one that was not assessed is empty too, and its reason stands in the column beside it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cemscope_pipelines.batch.case_view import (
    CaseView,
    CementView,
    FollowupView,
    LucencyView,
    NotAssessedView,
)
from cemscope_pipelines.batch.comparisons import Comparison
from cemscope_pipelines.batch.ledger_case import LedgerCase

SEPARATOR = ";"
"""Between several words in one cell."""


def column(unit: str, meaning: str) -> Any:
    """Make a field of a row, with its unit ("" for none) and its meaning."""
    return field(metadata={"unit": unit, "meaning": meaning})


_CASE = "Name of the case; its folder is cases/<name>."
NOT_FOUND = "the screw was not found in both scans"
_WHY_NOT = "Why {} was not assessed; empty where it was."


@dataclass(frozen=True, slots=True)
class CaseRow:
    """One row of ``cases.csv``."""

    case: str = column("", _CASE)
    patient_key: str = column("", "Pseudonym of the patient; empty if unknown.")
    patient_note: str = column(
        "", "Says where a patient number is of several patients."
    )
    study_instance_uid: str = column("", "DICOM study.")
    series: str = column("", "DICOM series UID, with #part where it has several parts.")
    acquisition_date: str = column("", "DICOM date YYYYMMDD; empty if unknown.")
    role: str = column("", "single, baseline or followup (only with --pair-followups).")
    baseline_case: str = column("", "Of a follow-up: the case of the first scan.")
    days_since_baseline: int | None = column("days", "Of a follow-up.")
    preferred: bool = column("", "Whether analyze would take this series of its study.")
    preference: str = column("", "Why it is, or is not, preferred.")
    status: str = column("", "done, refused, failed, memory, timeout, killed, waiting.")
    reason_code: str = column("", "Stable word for the reason of a failure.")
    reason: str = column("", "Why there is no result.")
    stage: str = column("", "Last stage of the analysis.")
    run_time_s: float | None = column("s", "Wall-clock time of the last attempt.")
    peak_memory_mib: float | None = column("MiB", "Largest resident memory, sampled.")
    starts: int = column("", "How often a process was started for the case.")
    values_from: str = column("", "machine, or reader after a finished review.")
    followup_case: str = column(
        "", "Folder of the comparison with the baseline; empty if there is none."
    )
    followup_problem: str = column("", "Why it could not be compared.")
    slices: int | None = column("", "Slices of the series.")
    spacing_z_mm: float | None = column("mm", "Distance between slices.")
    spacing_y_mm: float | None = column("mm", "Distance between rows.")
    spacing_x_mm: float | None = column("mm", "Distance between columns.")
    kvp_kv: float | None = column("kV", "Peak tube voltage; empty if unknown.")
    kernel: str = column("", "Convolution kernel; empty if unknown.")
    hu_clipped_at: int | None = column("HU", "Ceiling of the scale if values clip.")
    cement_ml: float | None = column("mL", "All cement of the scan.")
    cement_low_ml: float | None = column("mL", "Lower end of the 95 % interval.")
    cement_high_ml: float | None = column("mL", "Upper end of the 95 % interval.")
    leaked_ml: float | None = column("mL", "Cement outside the vertebrae.")
    cement_not_assessed: str = column("", _WHY_NOT.format("the total"))
    vertebrae_in_view: int | None = column("", "Vertebrae in the report.")
    vertebrae_augmented: int | None = column("", "Vertebrae with cement.")
    vertebrae_not_assessed: int | None = column("", "Vertebrae whose cement is open.")
    leaks: int | None = column("", "Leaks found.")
    screws: int | None = column("", "Screws found.")
    screws_cemented: int | None = column("", "Screws with cement.")
    screws_loose: int | None = column(
        "", "Screws graded loose; empty where the lucency of none was assessed."
    )
    screws_suspicious: int | None = column(
        "", "Screws graded suspicious; empty where the lucency of none was assessed."
    )
    screws_lucency_not_assessed: int | None = column(
        "", "Screws whose lucency was not assessed."
    )
    cement_elsewhere_ml: float | None = column("mL", "Cement away from vertebrae.")
    warnings: str = column("", f"Codes of the warnings, separated by {SEPARATOR}.")
    software_version: str = column("", "cemscope that made the case.")
    config_hash: str = column("", "SHA-256 of the configuration.")
    schema_version: str = column("", "Of report.json.")


@dataclass(frozen=True, slots=True)
class VertebraRow:
    """One row of ``vertebrae.csv``."""

    case: str = column("", _CASE)
    patient_key: str = column("", "Pseudonym of the patient; empty if unknown.")
    level: str = column("", "C1 ... S1, or V1, V2 ... where levels cannot be told.")
    level_confidence: float = column("", "0 ... 1.")
    source: str = column("", "Where the outline comes from.")
    complete: bool = column("", "Whole body in the field of view.")
    centroid_x_mm: float = column("mm", "LPS, to the patient's left.")
    centroid_y_mm: float = column("mm", "LPS, to the back.")
    centroid_z_mm: float = column("mm", "LPS, to the head.")
    body_volume_ml: float = column("mL", "Volume of the body.")
    cement_ml: float | None = column("mL", "All cement of this level.")
    cement_low_ml: float | None = column("mL", "Lower end of the 95 % interval.")
    cement_high_ml: float | None = column("mL", "Upper end of the 95 % interval.")
    cement_threshold_ml: float | None = column("mL", "Plain threshold, to compare.")
    cement_intrabody_ml: float | None = column("mL", "Within the body.")
    cement_leaked_ml: float | None = column("mL", "Leaked out of the vertebra.")
    fill_ratio: float | None = column("", "cement_intrabody_ml / body_volume_ml.")
    cement_not_assessed: str = column("", _WHY_NOT.format("cement"))
    leaks: int = column("", "Leaks of this level.")
    screws: int = column("", "Screws of this level.")


@dataclass(frozen=True, slots=True)
class LeakRow:
    """One row of ``leaks.csv``."""

    case: str = column("", _CASE)
    patient_key: str = column("", "Pseudonym of the patient; empty if unknown.")
    leak: str = column("", "Id within the case.")
    level: str = column("", "Vertebra it comes from.")
    types: str = column("", f"Of B, S, C, D, I, separated by {SEPARATOR}.")
    certainty: str = column("", "definite or indeterminate.")
    locations: str = column("", f"Places, separated by {SEPARATOR}.")
    volume_ml: float = column("mL", "Cement outside the body surface.")
    max_distance_mm: float = column("mm", "Farthest from the body surface.")
    centroid_x_mm: float = column("mm", "LPS, to the patient's left.")
    centroid_y_mm: float = column("mm", "LPS, to the back.")
    centroid_z_mm: float = column("mm", "LPS, to the head.")
    canal_encroachment_percent: float | None = column("%", "Worst slice, area.")
    canal_encroachment_not_assessed: str = column("", _WHY_NOT.format("it"))


@dataclass(frozen=True, slots=True)
class ScrewRow:
    """One row of ``screws.csv``."""

    case: str = column("", _CASE)
    patient_key: str = column("", "Pseudonym of the patient; empty if unknown.")
    screw: str = column("", "Id within the case.")
    level: str = column("", "Vertebra it lies in.")
    side: str = column("", "left or right.")
    diameter_mm: float = column("mm", "Of the shaft.")
    length_mm: float = column("mm", "From head to tip.")
    head_x_mm: float = column("mm", "LPS, to the patient's left.")
    head_y_mm: float = column("mm", "LPS, to the back.")
    head_z_mm: float = column("mm", "LPS, to the head.")
    tip_x_mm: float = column("mm", "LPS, to the patient's left.")
    tip_y_mm: float = column("mm", "LPS, to the back.")
    tip_z_mm: float = column("mm", "LPS, to the head.")
    cemented: bool = column("", "Whether cement lies at it.")
    cement_ml: float | None = column("mL", "Cement of this screw.")
    cement_not_assessed: str = column("", _WHY_NOT.format("its cement"))
    lucency_grade: str = column("", "none, suspicious, loose; empty: not assessed.")
    lucency_max_width_mm: float | None = column("mm", "Widest place.")
    lucency_mean_width_mm: float | None = column("mm", "Mean width.")
    lucency_arc_deg: float | None = column("deg", "Arc around the shaft.")
    lucency_length_fraction: float | None = column("", "Share of the length, 0 ... 1.")
    lucency_double_halo: bool | None = column("", "A sclerotic rim bounds it.")
    lucency_seen_fraction: float | None = column(
        "", "Share of the surface in bone that could be judged, 0 ... 1."
    )
    lucency_cement_covered_fraction: float | None = column(
        "", "Share of the surface in bone that cement covers, 0 ... 1."
    )
    lucency_not_assessed: str = column("", _WHY_NOT.format("lucency"))
    lucency_growth_mm: float | None = column("mm", "Since the baseline; follow-ups.")
    lucency_growth_not_assessed: str = column("", _WHY_NOT.format("its growth"))
    moved: bool | None = column("", "Since the baseline; empty: not known.")
    suspected_break: bool | None = column("", "Since the baseline; empty: not known.")


def _number(value: float | NotAssessedView | None) -> float | None:
    return None if value is None or isinstance(value, NotAssessedView) else float(value)


def _whole(value: float | NotAssessedView) -> int | None:
    return None if isinstance(value, NotAssessedView) else int(value)


def _text(value: str | NotAssessedView) -> str:
    return "" if isinstance(value, NotAssessedView) else value


def _why(value: object) -> str:
    return value.reason if isinstance(value, NotAssessedView) else ""


def case_row(
    entry: LedgerCase, view: CaseView | None, comparison: Comparison | None = None
) -> CaseRow:
    """Row of a case; ``view`` is None where there is no result."""
    series = None if view is None else view.series
    totals = None if view is None else view.totals
    low, high = None, None
    if totals is not None and not isinstance(totals.interval_ml, NotAssessedView):
        low, high = totals.interval_ml
    grades = (
        []
        if view is None
        else [
            s.lucency.grade for s in view.screws if isinstance(s.lucency, LucencyView)
        ]
    )
    z, y, x = (None, None, None) if series is None else series.spacing_mm
    return CaseRow(
        case=entry.name,
        patient_key=entry.patient_key,
        patient_note=entry.patient_note,
        study_instance_uid=entry.study,
        series=entry.series,
        acquisition_date=entry.acquisition_date,
        role=entry.role,
        baseline_case=entry.baseline,
        days_since_baseline=entry.days_since_baseline,
        preferred=entry.preferred,
        preference=entry.preference,
        status=entry.status.value,
        reason_code=entry.reason_code,
        reason=entry.reason,
        stage=entry.stage,
        run_time_s=entry.seconds,
        peak_memory_mib=entry.peak_memory_mib,
        starts=entry.starts,
        values_from="" if view is None else view.values_from,
        followup_case=comparison.name if comparison and comparison.followup else "",
        followup_problem="" if comparison is None else comparison.problem,
        slices=entry.slices or None,
        spacing_z_mm=z,
        spacing_y_mm=y,
        spacing_x_mm=x,
        kvp_kv=None if series is None else _number(series.kvp),
        kernel="" if series is None else _text(series.kernel),
        hu_clipped_at=None if series is None else series.hu_clipped_at,
        cement_ml=None if totals is None else _number(totals.cement_ml),
        cement_low_ml=low,
        cement_high_ml=high,
        leaked_ml=None if totals is None else _number(totals.leaked_ml),
        cement_not_assessed="" if totals is None else _why(totals.cement_ml),
        vertebrae_in_view=None if view is None else len(view.vertebrae),
        vertebrae_augmented=None
        if totals is None
        else _whole(totals.vertebrae_augmented),
        vertebrae_not_assessed=None
        if view is None
        else sum(isinstance(v.cement, NotAssessedView) for v in view.vertebrae),
        leaks=None if view is None else sum(len(v.leaks) for v in view.vertebrae),
        screws=None if view is None else len(view.screws),
        screws_cemented=None if view is None else sum(s.cemented for s in view.screws),
        screws_loose=grades.count("loose") if grades else None,
        screws_suspicious=grades.count("suspicious") if grades else None,
        screws_lucency_not_assessed=None
        if view is None
        else len(view.screws) - len(grades),
        cement_elsewhere_ml=None
        if view is None
        else round(sum(e.volume_ml for e in view.cement_elsewhere), 3),
        warnings=""
        if series is None
        else SEPARATOR.join(w.code for w in series.warnings),
        software_version="" if view is None else view.software.version,
        config_hash="" if view is None else view.software.config_hash,
        schema_version="" if view is None else view.schema_version,
    )


def vertebra_rows(entry: LedgerCase, view: CaseView) -> Iterator[VertebraRow]:
    """Rows of the vertebrae of a case."""
    for v in view.vertebrae:
        cement = v.cement if isinstance(v.cement, CementView) else None
        x, y, z = v.centroid_lps_mm
        yield VertebraRow(
            case=entry.name,
            patient_key=entry.patient_key,
            level=v.level,
            level_confidence=v.level_confidence,
            source=v.source,
            complete=v.complete,
            centroid_x_mm=x,
            centroid_y_mm=y,
            centroid_z_mm=z,
            body_volume_ml=v.body_volume_ml,
            cement_ml=None if cement is None else cement.volume_ml,
            cement_low_ml=None if cement is None else cement.interval_ml[0],
            cement_high_ml=None if cement is None else cement.interval_ml[1],
            cement_threshold_ml=None if cement is None else cement.threshold_volume_ml,
            cement_intrabody_ml=None if cement is None else cement.intrabody_ml,
            cement_leaked_ml=None if cement is None else cement.leaked_ml,
            fill_ratio=None if cement is None else cement.fill_ratio,
            cement_not_assessed=_why(v.cement),
            leaks=len(v.leaks),
            screws=sum(s.level == v.level for s in view.screws),
        )


def leak_rows(entry: LedgerCase, view: CaseView) -> Iterator[LeakRow]:
    """Rows of the leaks of a case."""
    for v in view.vertebrae:
        for leak in v.leaks:
            x, y, z = leak.centroid_lps_mm
            yield LeakRow(
                case=entry.name,
                patient_key=entry.patient_key,
                leak=leak.id,
                level=v.level,
                types=SEPARATOR.join(leak.types),
                certainty=leak.certainty,
                locations=SEPARATOR.join(leak.locations),
                volume_ml=leak.volume_ml,
                max_distance_mm=leak.max_distance_mm,
                centroid_x_mm=x,
                centroid_y_mm=y,
                centroid_z_mm=z,
                canal_encroachment_percent=_number(leak.canal_encroachment_percent),
                canal_encroachment_not_assessed=_why(leak.canal_encroachment_percent),
            )


def screw_rows(
    entry: LedgerCase, view: CaseView, followup: FollowupView | None = None
) -> Iterator[ScrewRow]:
    """Rows of the screws of a case; ``followup`` compares it with an earlier scan."""
    for screw in view.screws:
        lucency = screw.lucency if isinstance(screw.lucency, LucencyView) else None
        change = None if followup is None else followup.of(screw)
        growth_open = ""
        if followup is not None:
            growth_open = NOT_FOUND if change is None else _why(change.growth_mm)
        yield ScrewRow(
            entry.name,
            entry.patient_key,
            screw.id,
            screw.level,
            screw.side,
            screw.diameter_mm,
            screw.length_mm,
            *screw.head_lps_mm,
            *screw.tip_lps_mm,
            screw.cemented,
            _number(screw.cement_volume_ml),
            _why(screw.cement_volume_ml),
            "" if lucency is None else lucency.grade,
            None if lucency is None else _number(lucency.max_width_mm),
            None if lucency is None else _number(lucency.mean_width_mm),
            None if lucency is None else _number(lucency.arc_deg),
            None if lucency is None else _number(lucency.length_fraction),
            None if lucency is None else lucency.double_halo,
            None if lucency is None else _number(lucency.seen_fraction),
            None if lucency is None else _number(lucency.cement_covered_fraction),
            _why(screw.lucency),
            None if change is None else _number(change.growth_mm),
            growth_open,
            None if change is None else change.moved,
            None if change is None else change.broken,
        )
