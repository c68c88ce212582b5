"""Find the series under the root of a batch; other processes read the headers."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cemscope.errors import ConfigError, ExportError, NoSeriesError
from cemscope_pipelines.batch.found_series import (
    FoundSeries,
    FoundUnit,
    RootNotes,
    SearchJob,
)
from cemscope_pipelines.batch.isolated_call import (
    EndKind,
    IsolatedCall,
    Message,
    MessageKind,
)
from cemscope_pipelines.batch.isolation import run_isolated
from cemscope_pipelines.batch.prepare import ReadyConfig

_SEARCHER = "cemscope_pipelines.batch.series_search:run"

_MOST_CRASHES = 10
"""Units that may bring a searching process down before the search is given up."""

SearchListener = Callable[[int, int, int], None]
"""Told the units done, the units in all, and the series found."""


@dataclass(frozen=True, slots=True)
class FoundInput:
    """What lies under a root.

    Attributes
    ----------
    series : tuple of FoundSeries
        Each once, in the order of their paths.
    units : tuple of FoundUnit
        Folders and archives.
    notes : RootNotes
        Copies and links.
    config : ReadyConfig
        The configuration, as the searching process read it.
    """

    series: tuple[FoundSeries, ...]
    units: tuple[FoundUnit, ...]
    notes: RootNotes
    config: ReadyConfig


@dataclass(slots=True)
class _Records:
    """What one searching process tells."""

    listener: SearchListener
    series: list[FoundSeries] = field(default_factory=list)
    units: list[FoundUnit] = field(default_factory=list)
    notes: RootNotes = field(default_factory=RootNotes)
    current: str = ""

    def take(self, message: Message) -> None:
        """Keep a record."""
        if message.kind is not MessageKind.RECORD:
            return
        if message.code == "series":
            self.series.append(FoundSeries.model_validate_json(message.text))
        elif message.code == "unit":
            self.units.append(FoundUnit.model_validate_json(message.text))
        elif message.code == "notes":
            self.notes = RootNotes.model_validate_json(message.text)
        elif message.code == "start":
            self.current = message.text
        elif message.code == "progress":
            done, count, found = map(int, message.text.split())
            self.listener(done, count, found)


def search_root(
    job: SearchJob, stop: threading.Event, listener: SearchListener
) -> FoundInput:
    """List every series under a root.

    A folder that brings the searching process down is left out, and told.

    Parameters
    ----------
    job
        Root, what to leave out, configuration and salt.
    stop
        Set by another thread to stop the search.
    listener
        Told about the progress.

    Raises
    ------
    ConfigError
        If a setting is wrong.
    NoSeriesError
        If the root cannot be read.
    ExportError
        If the search itself fails.
    """
    bad: list[FoundUnit] = []
    for _ in range(_MOST_CRASHES):
        records = _Records(listener)
        asked = job.model_copy(update={"bad": tuple(unit.path for unit in bad)})
        call = IsolatedCall(_SEARCHER, asked.model_dump_json())
        end = run_isolated(call, None, records.take, stop)
        if end.kind is EndKind.DONE:
            return FoundInput(
                tuple(sorted(records.series, key=lambda s: (s.path, s.name))),
                tuple(sorted((*records.units, *bad), key=lambda u: u.path)),
                records.notes,
                ReadyConfig.model_validate_json(end.result),
            )
        if end.kind is EndKind.CONFIG:
            raise ConfigError(end.reason)
        if end.kind is EndKind.REFUSED:
            raise NoSeriesError(end.reason)
        if not records.current or records.current in asked.bad:
            raise ExportError(f"the search for series failed: {end.reason}")
        bad.append(
            FoundUnit(
                path=records.current,
                skipped_files=0,
                unreadable_files=0,
                problem=f"the search for series failed here: {end.reason}",
                problem_code=end.code,
            )
        )
    raise ExportError(f"the search for series failed in {_MOST_CRASHES} folders")


def excluded_folder(root: Path, out: Path) -> Path:
    """Folder that the search leaves out because the results lie there.

    Raises
    ------
    ConfigError
        If the results would lie among the scans where they cannot be told apart.
    """
    root, out = root.resolve(), out.resolve()
    if root == out or out in root.parents:
        raise ConfigError(
            "--out: expected a folder beside or below ROOT, found one that holds it"
        )
    return out
