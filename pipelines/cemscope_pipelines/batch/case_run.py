"""Measure one case of a batch; runs in a process of its own."""

from pathlib import Path

from cemscope_pipelines.analysis import AnalysisJob, analyse_series
from cemscope_pipelines.batch.case_job import CaseJob
from cemscope_pipelines.batch.isolated_call import Message, MessageKind, Report
from cemscope_pipelines.config import AnalysisConfig


def run(payload: str, report: Report) -> str:
    """Do for one series of a `CaseJob` what ``cemscope analyze`` does."""
    job = CaseJob.model_validate_json(payload)
    analyse_series(
        AnalysisJob(
            series=Path(job.series_path),
            case_folder=Path(job.case_folder),
            config=AnalysisConfig.model_validate_json(job.config),
            series_uid=job.series_name,
            command=job.command,
        ),
        lambda stage, share: report(Message(MessageKind.STAGE, stage, share)),
    )
    return ""
