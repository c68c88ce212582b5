"""The work on one case: the same on this machine and on a worker of a cluster."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

from cemscope_pipelines.batch.case_job import CaseJob
from cemscope_pipelines.batch.isolated_call import (
    CallEnd,
    CallLimits,
    EndKind,
    IsolatedCall,
)
from cemscope_pipelines.batch.isolation import Listener, run_isolated
from cemscope_pipelines.case_folder import REPORT_FILE


def remove_parts(cases_folder: Path, name: str) -> None:
    """Remove the half-written folders of a case; ``name`` may be a pattern."""
    for part in cases_folder.glob(f".{name}.part-*"):
        shutil.rmtree(part, ignore_errors=True)


def is_finished(case_folder: Path) -> bool:
    """Tell whether a case is there; `case_folder.written_whole` writes it whole."""
    return (case_folder / REPORT_FILE).is_file()


def work_on_case(
    job: CaseJob,
    runner: str,
    limits: CallLimits,
    listener: Listener,
    stop: threading.Event,
) -> CallEnd:
    """Measure a case in a process of its own; nothing half-written is left.

    A case that is there already was written whole under this key, by a run or a worker
    that died before it could tell; it is kept.

    Parameters
    ----------
    job
        The case.
    runner
        The function that measures it, see `IsolatedCall.function`.
    limits
        Of the process.
    listener, stop
        As in `run_isolated`.
    """
    folder = Path(job.case_folder)
    if not folder.parent.is_dir():
        return CallEnd(
            EndKind.FAILED,
            reason="the output folder is not there on this machine; a cluster needs a "
            "file system that all its workers share",
            code="no_output_folder",
        )
    if is_finished(folder):
        return CallEnd(EndKind.DONE)
    end = run_isolated(
        IsolatedCall(runner, job.model_dump_json()), limits, listener, stop
    )
    if end.kind is not EndKind.DONE:
        remove_parts(folder.parent, folder.name)
        if is_finished(folder):
            # It was written whole; what stopped the process came after.
            return replace(end, kind=EndKind.DONE, reason="", code="")
        return end
    if not is_finished(folder):
        return replace(
            end,
            kind=EndKind.FAILED,
            reason="the process ended well, but wrote no case",
            code="no_case",
        )
    return end
