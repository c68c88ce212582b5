"""Progress of a batch: a line that is redrawn on a terminal, plain lines elsewhere."""

import shutil
import sys
import time
from dataclasses import dataclass, field

import click

from cemscope_pipelines.batch.engine import CaseEvent, CaseEventKind
from cemscope_pipelines.batch.ledger_case import CaseStatus, CaseUpdate
from cemscope_pipelines.batch.request import BatchPlan
from cemscope_pipelines.cli.console import Console

_SHOWN_CASES = 3
_REDRAW_S = 0.2


def duration_words(seconds: float) -> str:
    """E.g. "42 s", "7 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _notes(plan: BatchPlan) -> list[str]:
    """Say what to know about links under the root and about patients."""
    links = plan.notes
    lines = []
    if links.links_followed:
        lines.append(f"{links.links_followed} links to folders followed")
    if links.links_back:
        lines.append(
            f"{links.links_back} links to folders not followed: they lead to what is "
            "searched anyway, or above it"
        )
    if links.links_dead:
        lines.append(
            f"{links.links_dead} links lead nowhere: scans behind them were not found"
        )
    if plan.shared_numbers:
        lines.append(
            f"{plan.shared_numbers} patient numbers are of several patients (other "
            "issuer or birth date): each has a key of its own, see patient_note in "
            "cases.csv"
        )
    return lines


@dataclass(slots=True)
class ConsoleDisplay:
    """Tells the user how a batch goes on.

    Attributes
    ----------
    console : Console
        Where it speaks.
    """

    console: Console
    _names: dict[str, str] = field(default_factory=dict)
    _stages: dict[str, tuple[str, float]] = field(default_factory=dict)
    _what: str = "cases"
    _to_run: int = 0
    _ended: int = 0
    _failed: int = 0
    _start: float = 0.0
    _expected_end: float = 0.0
    _drawn: float = 0.0
    _is_drawn: bool = False

    def searching(self, done: int, count: int, series: int) -> None:
        """Hear that headers of ``done`` of ``count`` folders are read."""
        self._draw(f"finding series: {done} of {count} folders, {series} series")

    def planned(self, plan: BatchPlan) -> None:
        """Hear what the cases are."""
        self._erase()
        self._names = plan.names
        self._to_run = plan.to_run
        self._ended = self._failed = 0
        self._what = plan.what
        self._stages.clear()
        self._start = time.monotonic()
        words = [f"{plan.cases} {plan.what} found", f"{plan.to_run} to run"]
        if plan.done:
            words.append(f"{plan.done} finished before")
        if plan.failed:
            words.append(f"{plan.failed} failed or refused")
        if plan.unsuitable:
            words.append(f"{plan.unsuitable} unsuitable series left out")
        if plan.notes.copies:
            words.append(f"{plan.notes.copies} copies left out")
        if plan.gone:
            words.append(
                f"{plan.gone} without a result dropped: not under ROOT any more"
            )
        self.console.say(", ".join(words))
        for line in _notes(plan):
            self.console.say(line)

    def happened(self, event: CaseEvent, update: CaseUpdate | None) -> None:
        """Hear that a case started, went on, or ended as ``update`` says."""
        if event.kind is CaseEventKind.STARTED:
            self._stages[event.key] = ("start", 0.0)
        elif event.kind is CaseEventKind.STAGE:
            self._stages[event.key] = (event.stage, event.share)
        elif update is not None and update.status is not CaseStatus.WAITING:
            self._stages.pop(event.key, None)
            self._ended += 1
            self._failed += update.status is not CaseStatus.DONE
            now = time.monotonic()
            pace = (now - self._start) / self._ended
            self._expected_end = now + pace * (self._to_run - self._ended)
            self._tell_end(event.key, update)
        self.tick()

    def _tell_end(self, key: str, update: CaseUpdate) -> None:
        start = f"[{self._ended}/{self._to_run}] {self._names.get(key, key)} "
        took = duration_words(update.seconds or 0.0)
        if update.status is CaseStatus.DONE:
            if not self.console.shows_progress:
                self.console.say(f"{start}done in {took}{self._rest()}")
            return
        self._erase()
        self.console.say(f"{start}{update.status} after {took}: {update.reason}")

    def _rest(self) -> str:
        """Time that the remaining cases will take, from the pace at the last end."""
        if self._ended in (0, self._to_run):
            return ""
        left = self._expected_end - time.monotonic()
        return f", about {duration_words(max(1.0, left))} to go"

    def tick(self) -> None:
        """Hear that some time went by."""
        if time.monotonic() - self._drawn < _REDRAW_S:
            return
        running = [
            f"{self._names.get(key, key)} {stage} {100 * share:.0f} %"
            for key, (stage, share) in list(self._stages.items())[:_SHOWN_CASES]
        ]
        more = len(self._stages) - len(running)
        failed = f", {self._failed} failed" if self._failed else ""
        self._draw(
            f"{self._ended} of {self._to_run} {self._what}{failed}{self._rest()} | "
            + "; ".join(running)
            + (f" and {more} more" if more > 0 else "")
        )

    def writing(self) -> None:
        """Hear that tables and overview are written."""
        self._erase()
        self._draw("writing tables and overview")

    def close(self) -> None:
        """Leave the terminal clean."""
        self._erase()

    def _draw(self, text: str) -> None:
        if not self.console.shows_progress:
            return
        self._drawn = time.monotonic()
        self._is_drawn = True
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write("\r\x1b[2K" + text[:width])
        sys.stderr.flush()

    def _erase(self) -> None:
        if self._is_drawn:
            self._is_drawn = False
            click.echo("\r\x1b[2K", nl=False, err=True)
