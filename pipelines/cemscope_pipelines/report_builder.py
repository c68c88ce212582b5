"""Fill the report from what was found and measured."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from cemscope.findings import (
    CementVolume,
    Interval,
    Leak,
    LeakEvidence,
    NotAssessed,
    PointLPS,
    Screw,
    TotalCement,
)
from cemscope.measurement.augmentation import Augmentation
from cemscope.spine import Spine, Vertebra
from cemscope.volume import CTVolume, Notice
from cemscope_pipelines.config import AnalysisConfig
from cemscope_pipelines.lucency_entries import cement_rim_entry, lucency_entry
from cemscope_pipelines.report import (
    VOLUME_DECIMALS,
    CementElsewhereEntry,
    CementEntry,
    LeakEntry,
    LeakEvidenceEntry,
    MetalEntry,
    NotAssessedEntry,
    PointLPSmm,
    Report,
    ScrewEntry,
    SeriesEntry,
    SoftwareEntry,
    TotalsEntry,
    VertebraEntry,
    WarningEntry,
)

LENGTH_DECIMALS = 2
"""mm"""

SPACING_DECIMALS = 6
"""mm; spacings are multiplied up, so they keep the digits of the header."""


def software_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("cemscope")
    except PackageNotFoundError:
        return "unknown (not installed)"


def _ml(value: float) -> float:
    return round(max(0.0, float(value)), VOLUME_DECIMALS)


def _mm(value: float) -> float:
    return round(float(value), LENGTH_DECIMALS)


def _point(point: PointLPS | Iterable[float]) -> PointLPSmm:
    x, y, z = point
    return _mm(x), _mm(y), _mm(z)


def _interval(interval: Interval) -> tuple[float, float]:
    return _ml(interval.low_ml), _ml(interval.high_ml)


def _absent(what: str) -> NotAssessedEntry:
    return NotAssessedEntry(reason=f"the DICOM header has no {what}")


def _maybe(value: float | NotAssessed, decimals: int) -> float | NotAssessedEntry:
    if isinstance(value, NotAssessed):
        return NotAssessedEntry(reason=value.reason)
    return round(float(value), decimals)


def series_entry(ct: CTVolume, notices: Iterable[Notice]) -> SeriesEntry:
    """Describe the series; ``notices`` are those of all stages, duplicates allowed."""
    scan, source = ct.acquisition, ct.source
    slices, rows, columns = ct.geometry.shape
    z, y, x = ct.geometry.spacing_mm
    unique = dict.fromkeys((n.code, n.message) for n in notices)
    no_source = NotAssessedEntry(reason="the scan was not read from DICOM")
    return SeriesEntry(
        study_instance_uid=source.study_instance_uid if source else no_source,
        series_instance_uid=source.series_instance_uid if source else no_source,
        frame_of_reference_uid=ct.geometry.frame_of_reference_uid
        or _absent("frame of reference UID"),
        acquisition_date=scan.acquisition_date or _absent("acquisition date"),
        kvp=scan.kvp if scan.kvp is not None else _absent("tube voltage (KVP)"),
        kernel=scan.kernel or _absent("convolution kernel"),
        rows=rows,
        columns=columns,
        slices=slices,
        spacing_mm=(
            round(z, SPACING_DECIMALS),
            round(y, SPACING_DECIMALS),
            round(x, SPACING_DECIMALS),
        ),
        hu_min=int(ct.hu.min()),
        hu_max=int(ct.hu.max()),
        hu_clipped_at=ct.clipped_at_hu,
        warnings=tuple(WarningEntry(code=c, message=m) for c, m in unique),
    )


def _cement_entry(cement: CementVolume | NotAssessed) -> CementEntry | NotAssessedEntry:
    if isinstance(cement, NotAssessed):
        return NotAssessedEntry(reason=cement.reason)
    return CementEntry(
        volume_ml=_ml(cement.volume_ml),
        interval_ml=_interval(cement.interval),
        threshold_volume_ml=_ml(cement.threshold_volume_ml),
        intrabody_ml=_ml(cement.intrabody_ml),
        leaked_ml=_ml(cement.leaked_ml),
        fill_ratio=round(float(cement.fill_ratio), 4),
    )


def _cement_of(level: str, found: Augmentation) -> CementVolume | NotAssessed:
    for measured in found.cement:
        if measured.level == level:
            return measured.cement
    return NotAssessed("cement was not measured at this level")


def _evidence_entry(
    evidence: LeakEvidence | NotAssessed,
) -> LeakEvidenceEntry | NotAssessedEntry:
    if isinstance(evidence, NotAssessed):
        return NotAssessedEntry(reason=evidence.reason)
    return LeakEvidenceEntry(
        sentence=evidence.sentence,
        candidates=tuple(kind.value for kind in evidence.candidates),
        exit_lps_mm=_point(evidence.exit_lps_mm),
        exit_wall=evidence.exit_wall.value,
        exit_height=round(evidence.exit_height, 3),
        midline_mm=_mm(evidence.midline_mm),
        midline_share=round(evidence.midline_share, 3),
        opening_mm=_mm(evidence.opening_mm),
        cortex_gap=_maybe(evidence.cortex_gap, 2),
        length_mm=_mm(evidence.length_mm),
        width_mm=_mm(evidence.width_mm),
        elongation=round(evidence.elongation, 2),
        slope_deg=round(evidence.slope_deg, 1),
        off_surface_mm=_mm(evidence.off_surface_mm),
        track_mm=_maybe(evidence.track_mm, LENGTH_DECIMALS),
        canal_depth_mm=_maybe(evidence.canal_depth_mm, LENGTH_DECIMALS),
    )


def leak_entry(leak: Leak) -> LeakEntry:
    """Put one leak into the form of the report."""
    return LeakEntry(
        id=leak.leak_id,
        types=tuple(kind.value for kind in leak.types),
        certainty=leak.certainty.value,
        locations=leak.locations,
        volume_ml=_ml(leak.volume_ml),
        max_distance_mm=_mm(leak.max_distance_mm),
        centroid_lps_mm=_point(leak.centroid_lps_mm),
        canal_encroachment_percent=_maybe(leak.canal_encroachment_percent, 1),
        evidence=_evidence_entry(leak.evidence),
    )


def _vertebra_entry(vertebra: Vertebra, found: Augmentation) -> VertebraEntry:
    name = vertebra.level.name
    return VertebraEntry(
        level=name,
        level_confidence=round(float(vertebra.level_confidence), 3),
        source=vertebra.source.value,
        complete=vertebra.complete,
        centroid_lps_mm=_point(vertebra.centroid_lps_mm),
        body_volume_ml=_ml(vertebra.body_volume_ml),
        cement=_cement_entry(_cement_of(name, found)),
        cement_rim=cement_rim_entry(name, found.cement_rims),
        leaks=tuple(leak_entry(one) for one in found.leaks if one.level == name),
    )


def _screw_entry(screw: Screw) -> ScrewEntry:
    return ScrewEntry(
        id=screw.screw_id,
        level=screw.level,
        side=screw.side.value,
        head_lps_mm=_point(screw.head_lps_mm),
        tip_lps_mm=_point(screw.tip_lps_mm),
        diameter_mm=_mm(screw.diameter_mm),
        length_mm=_mm(screw.length_mm),
        cemented=screw.cemented,
        cement_volume_ml=_maybe(screw.cement_volume_ml, VOLUME_DECIMALS),
        lucency=lucency_entry(screw.lucency),
    )


def _totals_entry(total: TotalCement | NotAssessed) -> TotalsEntry:
    if isinstance(total, NotAssessed):
        missing = NotAssessedEntry(reason=total.reason)
        return TotalsEntry(
            cement_ml=missing,
            interval_ml=missing,
            leaked_ml=missing,
            vertebrae_augmented=missing,
        )
    return TotalsEntry(
        cement_ml=_ml(total.cement_ml),
        interval_ml=_interval(total.interval),
        leaked_ml=_ml(total.leaked_ml),
        vertebrae_augmented=total.vertebrae_augmented,
    )


def build_report(
    ct: CTVolume, spine: Spine, found: Augmentation, config: AnalysisConfig
) -> Report:
    """Put the findings of a case into the form of ``report.json``.

    Raises
    ------
    ValueError
        If cement or a leak belongs to a level that is not among the vertebrae: it
        would vanish from the report.
    """
    in_view = {v.level.name for v in spine.vertebrae}
    lost = {c.level for c in found.cement} | {leak.level for leak in found.leaks}
    lost -= in_view
    if lost:
        raise ValueError(
            f"findings at {sorted(lost)}, but in view are {sorted(in_view)}"
        )
    return Report(
        software=SoftwareEntry(
            version=software_version(), config_hash=config.config_hash
        ),
        series=series_entry(ct, (*ct.notices, *spine.notices, *found.notices)),
        vertebrae=tuple(_vertebra_entry(v, found) for v in spine.vertebrae),
        screws=tuple(_screw_entry(s) for s in found.screws),
        cement_elsewhere=tuple(
            CementElsewhereEntry(
                location=e.location,
                volume_ml=_ml(e.volume_ml),
                centroid_lps_mm=_point(e.centroid_lps_mm),
            )
            for e in found.elsewhere
        ),
        metal=tuple(
            MetalEntry(kind=m.kind.value, volume_ml=_ml(m.volume_ml))
            for m in found.metal
        ),
        totals=_totals_entry(found.total),
    )
