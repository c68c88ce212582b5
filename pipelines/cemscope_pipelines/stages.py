"""Progress and timings of the stages of an analysis."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cemscope_pipelines.memory import peak_memory_mib

logger = logging.getLogger(__name__)

StageListener = Callable[[str, float], None]
"""Called with the stage's name and the share (0 ... 1) of it that is done."""


def ignore_progress(stage: str, share: float) -> None:
    """Do nothing; the listener where nobody listens."""


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What a stage cost.

    Attributes
    ----------
    name : str
        E.g. "vertebrae".
    seconds : float
        Wall-clock time.
    peak_memory_mib : float
        Largest resident memory of the process up to the end of the stage.
    """

    name: str
    seconds: float
    peak_memory_mib: float


@dataclass(slots=True)
class StageClock:
    """Times the stages of one case and tells a listener about them."""

    listener: StageListener = ignore_progress
    records: list[StageRecord] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float], None]]:
        """Time a block; the value is a function that takes the share done so far."""
        self.listener(name, 0.0)
        start = time.perf_counter()
        yield lambda share: self.listener(name, share)
        seconds = time.perf_counter() - start
        self.records.append(StageRecord(name, seconds, peak_memory_mib()))
        self.listener(name, 1.0)
        logger.info("%s: %.1f s, peak %.0f MiB", name, seconds, peak_memory_mib())
