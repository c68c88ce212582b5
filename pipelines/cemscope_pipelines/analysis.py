"""The main job: a series in, a case folder out."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cemscope.dicom import SeriesSummary, choose_series, list_series, read_series
from cemscope.findings import CementVolume
from cemscope.volume import CTVolume
from cemscope_pipelines.case import CaseResult, analyse_case
from cemscope_pipelines.case_folder import (
    HTML_FILE,
    LEVELS_FILE,
    MATERIALS_FILE,
    PREVIEW_FILE,
    PROVENANCE_FILE,
    REPORT_FILE,
    VERTEBRAE_FILE,
    check_target,
    written_whole,
)
from cemscope_pipelines.config import AnalysisConfig
from cemscope_pipelines.label_files import write_label_map
from cemscope_pipelines.pictures.composition import CaseImages
from cemscope_pipelines.provenance import BaselineRecord, record_provenance
from cemscope_pipelines.stages import StageClock, StageListener, ignore_progress


@dataclass(frozen=True, slots=True)
class AnalysisJob:
    """What `analyse_series` is to do.

    Attributes
    ----------
    series : Path
        Folder, file or zip with a CT series.
    case_folder : Path
        Where the case goes.
    config : AnalysisConfig
        How it is measured.
    series_uid : str or None
        Which series, where there are several; None takes the most suitable.
    command : tuple of str
        Words of the command line, for the provenance.
    """

    series: Path
    case_folder: Path
    config: AnalysisConfig
    series_uid: str | None = None
    command: tuple[str, ...] = ()


def case_images(result: CaseResult) -> CaseImages:
    """Collect what the pictures of a case are made from."""
    found = result.augmentation
    return CaseImages(
        ct=result.ct,
        spine=result.spine,
        materials=found.materials,
        cement=tuple(
            one.cement for one in found.cement if isinstance(one.cement, CementVolume)
        ),
        leaks=found.leaks,
        screws=found.screws,
        settings=result.config.pictures,
    )


def write_case(
    job: AnalysisJob,
    result: CaseResult,
    clock: StageClock,
    followup_pictures: tuple[tuple[str, str, bytes], ...] = (),
    baseline: BaselineRecord | None = None,
) -> None:
    """Write the case folder, whole or not at all.

    Parameters
    ----------
    job, result, clock
        What was done.
    followup_pictures
        Id of a screw, title and picture of each screw in a follow-up.
    baseline
        What a follow-up was compared with.

    Raises
    ------
    ConfigError
        If the folder holds something that must not be replaced.
    ExportError
        If the disk refuses.
    """
    # matplotlib and jinja2 are loaded only where pictures are made
    from cemscope_pipelines.pictures.preview import (
        render_axial_views,
        render_leak_views,
        render_preview,
    )
    from cemscope_pipelines.pictures.spine_picture import render_spine_picture
    from cemscope_pipelines.report_html import ReportPictures, render_html

    with written_whole(job.case_folder) as part:
        (part / REPORT_FILE).write_text(
            result.report.to_json(), encoding="utf-8", newline="\n"
        )
        with clock.stage("label maps"):
            write_label_map(result.spine.labels, part / VERTEBRAE_FILE)
            write_label_map(result.augmentation.materials, part / MATERIALS_FILE)
        with clock.stage("pictures"):
            images = case_images(result)
            pictures = ReportPictures(
                render_spine_picture(images),
                render_preview(images),
                render_axial_views(images),
                render_leak_views(images),
                followup_pictures,
            )
            (part / LEVELS_FILE).write_bytes(pictures.spine.png)
            (part / PREVIEW_FILE).write_bytes(pictures.preview_png)
            html = render_html(result.report, pictures)
            (part / HTML_FILE).write_text(html, encoding="utf-8", newline="\n")
        provenance = record_provenance(
            result, job.series, job.command, tuple(clock.records)
        ).model_copy(
            update={"outputs_sha256": _outputs_sha256(part), "baseline": baseline}
        )
        (part / PROVENANCE_FILE).write_text(
            provenance.to_json(), encoding="utf-8", newline="\n"
        )


def _outputs_sha256(folder: Path) -> dict[str, str]:
    """Hash what a later signature relies on."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in (REPORT_FILE, VERTEBRAE_FILE, MATERIALS_FILE)
    }


def _say_nothing(message: str) -> None:
    """Drop a message."""


def choose_job_series(
    job: AnalysisJob, clock: StageClock, say: Callable[[str], None] = _say_nothing
) -> SeriesSummary:
    """Choose the series of a job, and tell which one it is; no voxel is read.

    Raises
    ------
    SeriesError
        If the input is no CT series that can be measured.
    """
    settings = job.config.reading
    with clock.stage("headers"):
        listed = list_series(job.series, settings.stack, settings.limits)
        choice = choose_series(listed, job.series_uid)
    chosen = choice.chosen
    say(
        f"series {chosen.name}: {chosen.slices} slices of {chosen.rows} x "
        f"{chosen.columns} ({choice.reason})"
        + (f"; {len(choice.rejected)} others not taken" if choice.rejected else "")
    )
    return chosen


def read_job_series(
    job: AnalysisJob, clock: StageClock, say: Callable[[str], None] = _say_nothing
) -> CTVolume:
    """Choose and read the series of a job, and tell which one it is.

    Raises
    ------
    SeriesError
        If the input is no CT series that can be measured.
    """
    return read_chosen_series(choose_job_series(job, clock, say), job, clock)


def read_chosen_series(
    chosen: SeriesSummary, job: AnalysisJob, clock: StageClock, stage: str = "reading"
) -> CTVolume:
    """Read the voxels of a series with the limits of a job.

    Raises
    ------
    SeriesError
        If they cannot be read.
    """
    with clock.stage(stage) as share_done:
        return read_series(
            chosen,
            progress=lambda done, total: share_done(done / max(1, total)),
            settings=job.config.reading,
        )


def analyse_series(
    job: AnalysisJob,
    listener: StageListener = ignore_progress,
    say: Callable[[str], None] = _say_nothing,
) -> CaseResult:
    """Read a series, measure it and write its case folder.

    Parameters
    ----------
    job
        What to read, how to measure, where to write.
    listener
        Told about the progress of each stage.
    say
        Takes messages for the user, e.g. which series was chosen.

    Raises
    ------
    SeriesError
        If the input is no CT series that can be measured.
    LabelMapError
        If an imported label map cannot be used.
    SegmentationError
        If no vertebra is found.
    ConfigError, ExportError
        If the case folder cannot be written.
    """
    check_target(job.case_folder)
    clock = StageClock(listener)
    ct = read_job_series(job, clock, say)
    result = analyse_case(ct, job.config, clock)
    write_case(job, result, clock)
    return result
