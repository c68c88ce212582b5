"""Reports of cases as `analyze` writes them, made without a scan."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cemscope_pipelines.report import (
    CementEntry,
    LeakEntry,
    NotAssessedEntry,
    Report,
    ScrewEntry,
    SeriesEntry,
    SoftwareEntry,
    TotalsEntry,
    VertebraEntry,
)

NO_EVIDENCE = NotAssessedEntry(reason="made without a scan")


@dataclass(frozen=True, slots=True)
class LevelCase:
    """A vertebra of a made-up report; ``cement_ml`` None: not assessed.

    ``leaks`` are (types, locations, volume in mL); ``screws`` are cement in mL by side,
    None for a screw without cement.
    """

    level: str
    cement_ml: float | None = 0.0
    leaks: tuple[tuple[tuple[str, ...], tuple[str, ...], float], ...] = ()
    screws: tuple[tuple[str, float | None], ...] = ()
    body_ml: float = 30.0


@dataclass(frozen=True, slots=True)
class ReportCase:
    """A made-up report."""

    study_uid: str
    series_uid: str
    levels: Sequence[LevelCase]
    date: str = "20250301"
    warnings: tuple[str, ...] = field(default=())


def _cement(level: LevelCase) -> CementEntry | NotAssessedEntry:
    if level.cement_ml is None:
        return NotAssessedEntry(reason="metal hides it")
    leaked = round(sum(leak[2] for leak in level.leaks), 3)
    return CementEntry(
        volume_ml=level.cement_ml,
        interval_ml=(round(0.9 * level.cement_ml, 3), round(1.1 * level.cement_ml, 3)),
        threshold_volume_ml=level.cement_ml,
        intrabody_ml=round(level.cement_ml - leaked, 3),
        leaked_ml=leaked,
        fill_ratio=round((level.cement_ml - leaked) / level.body_ml, 4),
    )


def _vertebra(level: LevelCase, number: int) -> VertebraEntry:
    return VertebraEntry(
        level=level.level,
        level_confidence=0.95,
        source="embedded",
        complete=True,
        centroid_lps_mm=(0.0, 0.0, 35.0 * number),
        body_volume_ml=level.body_ml,
        cement=_cement(level),
        leaks=tuple(
            LeakEntry(
                id=f"{level.level}-{i}",
                types=types,
                certainty="definite",
                locations=locations,
                volume_ml=volume,
                max_distance_mm=4.0,
                centroid_lps_mm=(0.0, 18.0, 35.0 * number),
                canal_encroachment_percent=NotAssessedEntry(reason="no canal"),
                evidence=NO_EVIDENCE,
            )
            for i, (types, locations, volume) in enumerate(level.leaks, 1)
        ),
    )


def _screws(level: LevelCase, number: int) -> list[ScrewEntry]:
    return [
        ScrewEntry(
            id=f"{level.level}-{side}",
            level=level.level,
            side=side,
            head_lps_mm=(15.0, 45.0, 35.0 * number),
            tip_lps_mm=(8.0, 0.0, 35.0 * number),
            diameter_mm=6.5,
            length_mm=45.0,
            cemented=cement is not None,
            cement_volume_ml=NotAssessedEntry(reason="no cement at it")
            if cement is None
            else cement,
            lucency=NotAssessedEntry(reason="not measured"),
        )
        for side, cement in level.screws
    ]


def made_report(case: ReportCase) -> Report:
    known = [v for v in case.levels if v.cement_ml is not None]
    cement = round(sum(v.cement_ml or 0.0 for v in known), 3)
    missing = NotAssessedEntry(reason="no vertebra could be assessed")
    from cemscope_pipelines.report import WarningEntry

    return Report(
        software=SoftwareEntry(version="0.1.0", config_hash="0" * 64),
        series=SeriesEntry(
            study_instance_uid=case.study_uid,
            series_instance_uid=case.series_uid,
            frame_of_reference_uid="1.2.3",
            acquisition_date=case.date,
            kvp=120.0,
            kernel="Br40",
            rows=512,
            columns=512,
            slices=300,
            spacing_mm=(1.0, 0.4, 0.4),
            hu_min=-1024,
            hu_max=3071,
            hu_clipped_at=3071,
            warnings=tuple(WarningEntry(code=c, message=c) for c in case.warnings),
        ),
        vertebrae=tuple(_vertebra(v, n) for n, v in enumerate(case.levels)),
        screws=tuple(s for n, v in enumerate(case.levels) for s in _screws(v, n)),
        cement_elsewhere=(),
        metal=(),
        totals=TotalsEntry(
            cement_ml=cement if known else missing,
            interval_ml=(round(0.9 * cement, 3), round(1.1 * cement, 3))
            if known
            else missing,
            leaked_ml=round(sum(leak[2] for v in known for leak in v.leaks), 3)
            if known
            else missing,
            vertebrae_augmented=sum(bool(v.cement_ml) for v in known)
            if known
            else missing,
        ),
    )
