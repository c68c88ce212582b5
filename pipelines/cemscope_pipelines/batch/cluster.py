"""Cases on a Dask cluster: the same work, handed out by a scheduler.

Needs ``distributed`` (extra ``cluster``) here and on the workers, and one file system.
"""

import json
import secrets
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cemscope.errors import ConfigError
from cemscope_pipelines.batch.case_job import CaseJob
from cemscope_pipelines.batch.case_work import work_on_case
from cemscope_pipelines.batch.engine import CaseEvent, CaseEventKind, EventQueue
from cemscope_pipelines.batch.isolated_call import (
    CallEnd,
    CallLimits,
    EndKind,
    Message,
)

_CONNECT_S = 20.0

_LOOK_S = 0.5
"""How often a worker looks whether its case is still wanted."""


def _stop_when_unwanted(worker: Any, task: str, stop: threading.Event) -> None:
    """Set ``stop`` when the scheduler has taken the task back."""
    while not stop.wait(_LOOK_S):
        state = worker.state.tasks.get(task)
        if state is None or state.state == "cancelled":
            stop.set()


def cluster_work(
    job_json: str, runner: str, memory_gib: float, timeout_s: float, version: str
) -> str:
    """Measure a case on a worker.

    Parameters
    ----------
    job_json
        A `CaseJob`.
    runner, memory_gib, timeout_s
        As in `work_on_case`; 0 is no limit.
    version
        Version of the software that the batch was started with.

    Returns
    -------
    str
        A `CallEnd` as JSON.
    """
    from distributed import get_worker

    from cemscope_pipelines.batch.installed import installed_version

    job = CaseJob.model_validate_json(job_json)
    found = installed_version()
    if found != version:
        end = CallEnd(
            EndKind.FAILED,
            reason=f"the worker has cemscope {found}, the batch was started with "
            f"{version}; install the same version",
            code="other_version",
        )
        return json.dumps(asdict(end))
    worker = get_worker()
    topic = _topic(job)
    stop = threading.Event()
    watcher = threading.Thread(
        target=_stop_when_unwanted, args=(worker, worker.get_current_task(), stop)
    )
    watcher.start()
    worker.log_event(topic, {"key": job.key, "kind": CaseEventKind.STARTED.value})
    last = ""

    def listen(message: Message) -> None:
        nonlocal last
        if message.text != last:
            last = message.text
            news = {"key": job.key, "kind": CaseEventKind.STAGE.value, "stage": last}
            worker.log_event(topic, news)

    try:
        limits = CallLimits(memory_gib or None, timeout_s or None)
        return json.dumps(asdict(work_on_case(job, runner, limits, listen, stop)))
    finally:
        stop.set()
        watcher.join()


def _topic(job: CaseJob) -> str:
    return f"cemscope-{job.run}"


class ClusterEngine:
    """Runs cases on the workers of a Dask scheduler.

    A worker that is lost costs the time of its case: the scheduler gives the case to
    another. A case that loses three workers is given up.

    Parameters
    ----------
    address
        Of the scheduler, e.g. ``tcp://node:8786``.
    runner, limits
        See `work_on_case`.
    version
        Of the software here; workers must have the same.

    Raises
    ------
    ConfigError
        If ``distributed`` is not installed, or nobody answers at the address.
    """

    def __init__(
        self, address: str, runner: str, limits: CallLimits, version: str
    ) -> None:
        try:
            import distributed
        except ImportError:
            raise ConfigError(
                "--cluster needs Dask: pip install 'cemscope[cluster]'"
            ) from None
        self._runner, self._limits, self._version = runner, limits, version
        self._futures: list[Any] = []
        self._stopping = False
        connect: Any = distributed.Client
        try:
            self._client: Any = connect(
                address, timeout=_CONNECT_S, set_as_default=False, name="cemscope"
            )
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"--cluster: no Dask scheduler answers at {address} "
                f"({type(error).__name__})"
            ) from None

    def start(self, jobs: Sequence[CaseJob], events: EventQueue) -> None:
        """Hand the jobs to the scheduler and return."""

        def news(event: Any) -> None:
            _, said = event
            kind = CaseEventKind(said["kind"])
            events.put(CaseEvent(said["key"], kind, said.get("stage", "")))

        run = secrets.token_hex(6)
        if jobs:
            self._client.subscribe_topic(f"cemscope-{run}", news)
        for job in jobs:
            told = job.model_copy(update={"run": run})
            future = self._client.submit(
                cluster_work,
                told.model_dump_json(),
                self._runner,
                self._limits.memory_gib or 0.0,
                self._limits.timeout_s or 0.0,
                self._version,
                key=f"cemscope-{run}-{job.key}",
                pure=False,
            )
            self._futures.append(future)
            future.add_done_callback(
                lambda done, key=job.key: events.put(
                    CaseEvent(key, CaseEventKind.ENDED, end=_end_of(done))
                )
            )

    def stop(self) -> None:
        """Take all cases back and leave the cluster."""
        if not self._stopping:
            self._stopping = True
            self._client.cancel(self._futures, force=True)
            self._client.close()


def _end_of(future: Any) -> CallEnd:
    """Say in our terms what became of a case."""
    if future.status == "finished":
        said = json.loads(future.result())
        return CallEnd(**{**said, "kind": EndKind(said["kind"])})
    if future.status == "error":
        error = future.exception()
        name = type(error).__name__
        if name == "KilledWorker":
            return CallEnd(
                EndKind.KILLED,
                reason="the workers that tried it died, one after the other",
                code=name,
            )
        return CallEnd(EndKind.FAILED, reason=f"the worker failed ({name})", code=name)
    return CallEnd(EndKind.INTERRUPTED, reason="taken back", code="interrupted")
