"""The case of the first scan, as far as a later one is compared with it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cemscope.dicom import ReadSettings, SeriesSummary, choose_series, list_series
from cemscope.dicom.reader import read_series
from cemscope.errors import ConfigError, SeriesError
from cemscope.findings import CementVolume, Interval, NotAssessed
from cemscope.geometry import require_same_geometry
from cemscope.measurement.augmentation import AugmentationSettings
from cemscope.measurement.followup_refit import refit_screws
from cemscope.measurement.followup_scan import FollowedScan
from cemscope.registration.vertebra_patch import ScannedSpine
from cemscope.volume import LabelMap
from cemscope_pipelines.case_folder import (
    MATERIALS_FILE,
    REPORT_FILE,
    VERTEBRAE_FILE,
)
from cemscope_pipelines.export.case_record import CaseRecord, file_sha256, read_case
from cemscope_pipelines.followup.stored_spine import stored_spine
from cemscope_pipelines.label_files import read_label_map
from cemscope_pipelines.report import CementEntry, VertebraEntry
from cemscope_pipelines.review.case_series import series_path
from cemscope_pipelines.review.review_document import (
    REVIEW_MATERIALS_FILE,
    REVIEW_VERTEBRAE_FILE,
    ReviewedFindings,
)


@dataclass(frozen=True, slots=True, eq=False)
class BaselineContent:
    """The values and maps of a baseline that count.

    Attributes
    ----------
    findings : ReviewedFindings
        Vertebrae and screws.
    vertebrae, materials : LabelMap
        The maps that belong to them.
    reviewed : bool
        Whether they are a reader's.
    """

    findings: ReviewedFindings
    vertebrae: LabelMap
    materials: LabelMap
    reviewed: bool


def baseline_content(record: CaseRecord) -> BaselineContent:
    """Take the reader's result where every finding is judged, else the machine's.

    Raises
    ------
    ConfigError
        If the review judges another report than the one in the folder.
    LabelMapError
        If a map is missing or damaged.
    """
    folder, report, review = record.folder, record.report, record.review
    if review is not None and review.status == "reviewed":
        if review.report_sha256 != file_sha256(folder / REPORT_FILE):
            raise ConfigError(
                "the review of the baseline judges another report than the one in its "
                "folder: review the case again"
            )
        corrected = review.corrected_maps
        names = (
            REVIEW_VERTEBRAE_FILE if "vertebrae" in corrected else VERTEBRAE_FILE,
            REVIEW_MATERIALS_FILE if "materials" in corrected else MATERIALS_FILE,
        )
        return BaselineContent(
            review.result,
            read_label_map(folder / names[0]),
            read_label_map(folder / names[1]),
            True,
        )
    return BaselineContent(
        ReviewedFindings(
            vertebrae=report.vertebrae,
            screws=report.screws,
            cement_elsewhere=report.cement_elsewhere,
            metal=report.metal,
            totals=report.totals,
        ),
        read_label_map(folder / VERTEBRAE_FILE),
        read_label_map(folder / MATERIALS_FILE),
        False,
    )


@dataclass(frozen=True, slots=True, eq=False)
class BaselineCase:
    """A case folder and the series it was made from.

    Attributes
    ----------
    record : CaseRecord
        Report, provenance and review.
    content : BaselineContent
        The reader's values where the case is reviewed, else the machine's.
    series : SeriesSummary
        The scan, found again.
    """

    record: CaseRecord
    content: BaselineContent
    series: SeriesSummary

    @property
    def report_sha256(self) -> str:
        """Hash of ``report.json``."""
        return file_sha256(self.record.folder / REPORT_FILE)


def open_baseline(
    case_folder: Path, given: Path | None, reading: ReadSettings
) -> BaselineCase:
    """Open a case and find its CT series again; voxels are not read yet.

    Parameters
    ----------
    case_folder
        A folder that ``cemscope analyze`` or ``followup`` wrote.
    given
        Where the series lies now; None takes the place that the case remembers.
    reading
        Limits of reading.

    Raises
    ------
    ConfigError
        If the folder is no case, or its series is not found.
    SeriesError
        If the series cannot be measured any more.
    """
    record = read_case(case_folder)
    path = given or series_path(case_folder)
    if path is None:
        raise ConfigError(
            "the CT series of the baseline case is not where it was when the case was "
            "made, and a comparison needs it: give it with --baseline-series PATH"
        )
    wanted = record.provenance.input.series_instance_uid
    listed = list_series(path, reading.stack, reading.limits)
    try:
        chosen = choose_series(listed, wanted).chosen
    except SeriesError:
        if wanted is None or not any(series.measurable for series in listed):
            raise
        raise ConfigError(
            "the path holds CT series, but not the one that the baseline case was made "
            "from: give that one with --baseline-series PATH"
        ) from None
    return BaselineCase(record, baseline_content(record), chosen)


def read_baseline(
    case: BaselineCase,
    reading: ReadSettings,
    progress: Callable[[int, int], None] | None = None,
) -> ScannedSpine:
    """Read the scan of the baseline, with the vertebrae and materials of its case.

    Raises
    ------
    SeriesError
        If it cannot be read.
    GeometryMismatchError
        If the label maps lie on another grid.
    """
    ct = read_series(case.series, progress=progress, settings=reading)
    content = case.content
    require_same_geometry(ct.geometry, content.vertebrae.geometry)
    spine = stored_spine(content.vertebrae, content.findings.vertebrae)
    return ScannedSpine(ct, spine, content.materials)


def followed_baseline(
    scan: ScannedSpine, findings: ReviewedFindings, settings: AugmentationSettings
) -> FollowedScan:
    """Fit the screws of the baseline again; those a reader rejected are left out."""
    kept = {(screw.level, screw.side): screw.id for screw in findings.screws}
    screws = tuple(
        screw
        for screw in refit_screws(scan, settings)
        if (screw.model.level, screw.model.side.value) in kept
    )
    return FollowedScan(
        scan, screws, {v.level: cement_of(v) for v in findings.vertebrae}
    )


def cement_of(entry: VertebraEntry) -> CementVolume | NotAssessed:
    """Cement of a vertebra from its entry in a report."""
    cement = entry.cement
    if not isinstance(cement, CementEntry):
        return NotAssessed(cement.reason)
    return CementVolume(
        entry.level,
        cement.volume_ml,
        Interval(*cement.interval_ml),
        cement.threshold_volume_ml,
        cement.intrabody_ml,
        cement.leaked_ml,
        cement.fill_ratio,
    )
