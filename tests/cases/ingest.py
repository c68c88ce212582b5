"""Every way in which a series reaches us, and what cemscope makes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cases.ingest_inputs import INPUT_CASES, REFUSED_INPUTS
from cases.ingest_read import READ_CASES, ReadCase
from cases.ingest_refused import HOSTILE_CASES, RefusedCase
from cases.series import BROKEN_SERIES, SPACING_MM, BrokenSeries, save
from cemscope.errors import SeriesError
from cemscope.volume import CTVolume


@dataclass(frozen=True, slots=True)
class IngestCase:
    """One input, written by ``write`` under a folder.

    Either ``truth`` is what must be read, with these notices, or ``error`` is how it
    is refused; ``words`` stand in the notices or in the error. ``spacing_mm`` is true
    where there is no ``truth``.
    """

    name: str
    fault: str
    write: Callable[[Path], Path]
    words: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    truth: Callable[[], CTVolume] | None = None
    error: type[SeriesError] | None = None
    spacing_mm: tuple[float, float, float] = SPACING_MM


def _from_read(case: ReadCase) -> IngestCase:
    return IngestCase(
        case.name, case.fault, case.write, case.words, case.notices, case.truth
    )


def _from_refused(case: RefusedCase) -> IngestCase:
    return IngestCase(case.name, case.fault, case.write, case.words, error=case.error)


def _from_broken(case: BrokenSeries) -> IngestCase:
    return IngestCase(
        case.name,
        case.fault,
        lambda folder: save(case.slices(), folder / "ct"),
        case.words,
        error=case.error,
        spacing_mm=case.spacing_mm,
    )


INGEST_CASES = (
    *map(_from_read, (*READ_CASES, *INPUT_CASES)),
    *map(_from_broken, BROKEN_SERIES),
    *map(_from_refused, (*HOSTILE_CASES, *REFUSED_INPUTS)),
)
