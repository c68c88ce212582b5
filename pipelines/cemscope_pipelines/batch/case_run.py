"""Measure one case of a batch; runs in a process of its own."""

from pathlib import Path

from cemscope_pipelines.analysis import AnalysisJob, analyse_series
from cemscope_pipelines.batch.case_job import CaseJob
from cemscope_pipelines.batch.isolated_call import Message, MessageKind, Report
from cemscope_pipelines.config import AnalysisConfig


def run(payload: str, report: Report) -> str:
    """Do what ``cemscope analyze`` does, or ``followup`` where there is a baseline."""
    job = CaseJob.model_validate_json(payload)
    analysis = AnalysisJob(
        series=Path(job.series_path),
        case_folder=Path(job.case_folder),
        config=AnalysisConfig.model_validate_json(job.config),
        series_uid=job.series_name,
        command=job.command,
    )

    def listener(stage: str, share: float) -> None:
        report(Message(MessageKind.STAGE, stage, share))

    if job.baseline_folder:
        from cemscope_pipelines.followup.followup_run import FollowupJob, follow_series

        follow_series(FollowupJob(analysis, Path(job.baseline_folder)), listener)
    else:
        analyse_series(analysis, listener)
    return ""
