"""Analyse one scan in memory: vertebrae, then metal and cement, then the report."""

from dataclasses import dataclass

from cemscope.measurement.augmentation import Augmentation, measure_augmentation
from cemscope.spine import Spine
from cemscope.volume import CTVolume
from cemscope_pipelines.config import AnalysisConfig
from cemscope_pipelines.report import Report
from cemscope_pipelines.report_builder import build_report
from cemscope_pipelines.stages import StageClock
from cemscope_pipelines.vertebra_source import SourceSettings, load_vertebrae


@dataclass(frozen=True, slots=True, eq=False)
class CaseResult:
    """Everything that a case folder is written from.

    Attributes
    ----------
    ct : CTVolume
        The scan.
    spine, augmentation
        What was found.
    config : AnalysisConfig
        What it was found with.
    report : Report
        The measurements.
    """

    ct: CTVolume
    spine: Spine
    augmentation: Augmentation
    config: AnalysisConfig
    report: Report


def analyse_case(
    ct: CTVolume, config: AnalysisConfig, clock: StageClock | None = None
) -> CaseResult:
    """Measure cement, leaks and screws on one scan; nothing is written.

    Parameters
    ----------
    ct
        A postoperative CT.
    config
        Source of the vertebrae, anchor, and the settings of the algorithms.
    clock
        Times the stages "vertebrae", "cement" and "report".

    Raises
    ------
    LabelMapError
        If an imported label map cannot be used.
    SegmentationError
        If no vertebra is found.
    """
    clock = clock or StageClock()
    with clock.stage("vertebrae"):
        spine = load_vertebrae(
            ct,
            config.vertebra_source,
            config.label_scheme,
            config.level_anchor,
            SourceSettings(
                config.vertebrae, config.label_import, config.totalsegmentator
            ),
        )
    with clock.stage("cement"):
        augmentation = measure_augmentation(ct, spine, config.augmentation)
    with clock.stage("report"):
        report = build_report(ct, spine, augmentation, config)
    return CaseResult(ct, spine, augmentation, config, report)
