"""Published summaries beside our own, refused where no numbers can have them."""

import csv
from dataclasses import dataclass
from pathlib import Path

from cemscope.errors import ConfigError
from cemscope_pipelines.cohort.statistic_row import Subject
from cemscope_pipelines.cohort.study_table import SUMMARY_HEADER, StudyTable, words
from cemscope_pipelines.cohort.summary import Summary, impossible

COLUMNS = (
    "measure", "group", "unit", "n", "mean", "sd", "minimum", "maximum", "scale_low",
    "scale_high",
)  # fmt: skip

_ROUNDING = 0.006
"""Summaries are printed to 0.01."""


@dataclass(frozen=True, slots=True)
class Published:
    """A summary from a paper."""

    measure: str
    group: str
    unit: str
    summary: Summary


def read_published(path: Path) -> tuple[Published, ...]:
    """Read published summaries and refuse impossible ones.

    Parameters
    ----------
    path
        CSV with `COLUMNS`; what a paper does not print stays empty.

    Raises
    ------
    ConfigError
        With every line that no numbers can have, e.g. an SD larger than the range
        allows.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            if set(reader.fieldnames or ()) != set(COLUMNS):
                raise ConfigError(
                    f"--published: expected the columns {', '.join(COLUMNS)}"
                )
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"--published: the file cannot be read ({type(error).__name__})"
        ) from None
    found, problems = [], []
    for line, row in rows:
        numbers = {name: _number(row[name], line, name) for name in COLUMNS[3:]}
        low, high = numbers["scale_low"], numbers["scale_high"]
        summary = Summary(
            n=int(numbers["n"] or 0),
            not_assessed=0,
            mean=numbers["mean"],
            sd=numbers["sd"],
            minimum=numbers["minimum"],
            maximum=numbers["maximum"],
        )
        scale = None if low is None or high is None else (low, high)
        problem = impossible(summary, scale, _ROUNDING)
        if problem:
            problems.append(
                f"line {line} ({row['measure']}, {row['group']}): {problem}"
            )
        found.append(Published(row["measure"], row["group"], row["unit"], summary))
    if problems:
        raise ConfigError("--published: " + "; ".join(problems))
    return tuple(found)


def _number(text: str, line: int, name: str) -> float | None:
    try:
        return float(text) if text.strip() else None
    except ValueError:
        raise ConfigError(
            f"--published: line {line}, column {name}: expected a number, found "
            f"{text!r}"
        ) from None


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
