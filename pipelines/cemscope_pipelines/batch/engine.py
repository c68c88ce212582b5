"""What runs the cases of a batch, and the engine for this machine."""

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from cemscope_pipelines.batch.case_job import CaseJob
from cemscope_pipelines.batch.case_work import work_on_case
from cemscope_pipelines.batch.isolated_call import (
    CallEnd,
    CallLimits,
    EndKind,
    Message,
)


class CaseEventKind(StrEnum):
    """What happened to a case."""

    STARTED = "started"
    STAGE = "stage"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class CaseEvent:
    """News of one case.

    Attributes
    ----------
    key : str
        The case.
    kind : CaseEventKind
        What happened.
    stage, share : str and float
        Of a stage: its name, and the share (0 ... 1) of it that is done.
    end : CallEnd or None
        Of an end.
    """

    key: str
    kind: CaseEventKind
    stage: str = ""
    share: float = 0.0
    end: CallEnd | None = None


EventQueue = queue.SimpleQueue[CaseEvent]


class CaseEngine(Protocol):
    """Runs cases and tells about them; every started case ends with one event."""

    def start(self, jobs: Sequence[CaseJob], events: EventQueue) -> None:
        """Take the jobs and return at once."""

    def stop(self) -> None:
        """Stop what runs, forget the rest; returns when all has ended."""


class LocalEngine:
    """Runs several cases at a time on this machine.

    Parameters
    ----------
    workers
        Processes at a time.
    runner
        See `work_on_case`.
    limits
        Of each process.
    """

    def __init__(self, workers: int, runner: str, limits: CallLimits) -> None:
        self._runner = runner
        self._limits = limits
        self._workers = workers
        self._stop = threading.Event()
        self._jobs: queue.SimpleQueue[CaseJob] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self, jobs: Sequence[CaseJob], events: EventQueue) -> None:
        """Take the jobs and return at once."""
        for job in jobs:
            self._jobs.put(job)
        self._threads = [
            threading.Thread(target=self._serve, args=(events,), name=f"case-{i}")
            for i in range(min(self._workers, len(jobs)))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Kill what runs, forget the rest."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _serve(self, events: EventQueue) -> None:
        # The thread that starts a process must outlive it: the kernel counts the
        # death of the thread as that of the parent.
        while not self._stop.is_set():
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            events.put(CaseEvent(job.key, CaseEventKind.STARTED))
            events.put(
                CaseEvent(job.key, CaseEventKind.ENDED, end=self._work(job, events))
            )

    def _work(self, job: CaseJob, events: EventQueue) -> CallEnd:
        def listen(message: Message) -> None:
            events.put(
                CaseEvent(job.key, CaseEventKind.STAGE, message.text, message.share)
            )

        try:
            return work_on_case(job, self._runner, self._limits, listen, self._stop)
        except OSError as error:
            return CallEnd(
                EndKind.FAILED,
                reason=f"no process could be started: {error.strerror}",
                code="no_process",
            )
