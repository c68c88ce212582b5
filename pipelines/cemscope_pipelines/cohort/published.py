"""Published summaries beside our own, refused where no numbers can have them."""

import math
from dataclasses import dataclass
from pathlib import Path

from cemscope.errors import ConfigError
from cemscope_pipelines.cohort.statistic_row import Subject
from cemscope_pipelines.cohort.study_table import SUMMARY_HEADER, StudyTable, words
from cemscope_pipelines.cohort.summary import Rounding, Summary, impossible
from cemscope_pipelines.cohort.user_csv import read_user_csv

COLUMNS = (
    "measure", "group", "unit", "n", "mean", "sd", "minimum", "maximum", "scale_low",
    "scale_high",
)  # fmt: skip

_EXACT = 1e-9


@dataclass(frozen=True, slots=True)
class Published:
    """A summary from a paper."""

    measure: str
    group: str
    unit: str
    summary: Summary


def read_published(path: Path) -> tuple[Published, ...]:
    """Read published summaries and refuse impossible ones.

    Mean and SD are taken as rounded to their last printed place, and so are the ends of
    the range where they have decimals; whole numbers there are values as measured.

    Parameters
    ----------
    path
        CSV with `COLUMNS`; what a paper does not print stays empty, but n.

    Raises
    ------
    ConfigError
        With every line that cannot be right: no n, a cell that is no number, or a
        summary that no numbers can have, e.g. an SD larger than the range allows.
    """
    file = read_user_csv(path, "--published")
    if set(file.names) != set(COLUMNS) or len(file.names) != len(COLUMNS):
        raise ConfigError(f"--published: expected the columns {', '.join(COLUMNS)}")
    found, problems = [], []
    for line, row in file.rows:
        try:
            found.append(_published(row, comma=file.decimal_comma))
        except ValueError as problem:
            name = ", ".join(w for w in (row["measure"], row["group"]) if w)
            problems.append(f"line {line} ({name}): {problem}")
    if problems:
        raise ConfigError("--published: " + "; ".join(problems))
    if not found:
        raise ConfigError("--published: expected one line per summary, found none")
    return tuple(found)


def _published(row: dict[str, str], *, comma: bool) -> Published:
    cells = {name: row[name].strip() for name in COLUMNS[3:]}
    if comma:
        cells = {name: text.replace(",", ".") for name, text in cells.items()}
    numbers = {name: _number(text, name) for name, text in cells.items()}
    low, high = numbers["scale_low"], numbers["scale_high"]
    summary = Summary(
        n=_whole(cells["n"]),
        not_assessed=0,
        mean=numbers["mean"],
        sd=numbers["sd"],
        minimum=numbers["minimum"],
        maximum=numbers["maximum"],
    )
    if (low is None) != (high is None):
        raise ValueError("expected both ends of the scale, or none")
    if summary.n < 2 and summary.sd is not None:
        raise ValueError("an SD needs two values at least, n is 1")
    rounding = Rounding(
        mean=_half_place(cells["mean"]),
        sd=_half_place(cells["sd"]),
        minimum=_half_place(cells["minimum"], whole=_EXACT),
        maximum=_half_place(cells["maximum"], whole=_EXACT),
    )
    scale = None if low is None or high is None else (low, high)
    problem = impossible(summary, scale, rounding)
    if problem:
        raise ValueError(problem)
    return Published(row["measure"], row["group"], row["unit"], summary)


def _whole(text: str) -> int:
    """Read the number of values; without it, a summary cannot be checked."""
    if not text:
        raise ValueError("n is empty: give the number of values the summary is of")
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError(f"expected a whole number from 1 up for n, found {text!r}")
    return int(text)


def _number(text: str, name: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"column {name}: expected a number, found {text!r}")
    return value


def _half_place(text: str, whole: float = 0.5) -> float:
    """Half a unit of the last printed place, and a little for binary fractions."""
    digits = text.lower().partition("e")[0].partition(".")[2]
    return (0.5 * 10.0 ** -len(digits) if digits else whole) + _EXACT


def published_table(published: tuple[Published, ...]) -> StudyTable:
    """Show published summaries."""
    table = StudyTable(
        "P", "Table P. Published values, for comparison", ("", "group", *SUMMARY_HEADER)
    )
    for one in published:
        subject = Subject("P", one.group, one.measure, unit=one.unit)
        row_cells = table.summary(subject, one.summary)
        name = f"{one.measure}, {one.unit}" if one.unit else one.measure
        table.lines.append((*words(name, one.group), *row_cells))
    table.notes.append("Each summary was checked: some list of numbers can have it.")
    return table
