"""A table of the study: rows of ``cohort.csv`` and how they are shown."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cemscope_pipelines.cohort.comparison import Comparison
from cemscope_pipelines.cohort.statistic_row import StatisticRow, Subject
from cemscope_pipelines.cohort.summary import Proportion, Summary

NO_VALUE = "\N{EN DASH}"


COHORT_FILE = "cohort.csv"
LEFT_OUT_FILE = "cohort_left_out.csv"


@dataclass(frozen=True, slots=True)
class TableCell:
    """A cell; its numbers come from one row of a file.

    Attributes
    ----------
    text : str
        As it is shown.
    row : str
        Id of the row; "" for words.
    file : str
        Where the row stands.
    """

    text: str
    row: str = ""
    file: str = COHORT_FILE


@dataclass(slots=True)
class StudyTable:
    """A table of the study while it is filled.

    Attributes
    ----------
    key : str
        First part of the ids of its rows.
    title : str
        With its number.
    header : tuple of str
        Heads of the columns.
    lines : list
        Cells, line by line.
    rows : list of StatisticRow
        What the cells are made from.
    notes : list of str
        Below the table; without numbers of their own.
    """

    key: str
    title: str
    header: tuple[str, ...]
    lines: list[tuple[TableCell, ...]] = field(default_factory=list)
    rows: list[StatisticRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def _next(self) -> str:
        return f"{self.key}.{len(self.rows) + 1:03d}"

    def _cell(
        self, row: StatisticRow, show: Callable[[StatisticRow], str]
    ) -> TableCell:
        self.rows.append(row)
        return TableCell(show(row), row.row)

    def count(self, subject: Subject, count: int) -> TableCell:
        """Add a count."""
        row = StatisticRow.of_count(self._next(), subject, count)
        return self._cell(row, lambda r: f"{r.count}")

    def summary(self, subject: Subject, found: Summary) -> tuple[TableCell, ...]:
        """Add a summary: n, mean and SD, range, median and quartiles, not assessed."""
        row = StatisticRow.of_summary(self._next(), subject, found)
        self.rows.append(row)
        return tuple(TableCell(text, row.row) for text in summary_words(row))

    def proportion(self, subject: Subject, found: Proportion) -> TableCell:
        """Add a share."""
        row = StatisticRow.of_proportion(self._next(), subject, found)
        return self._cell(row, proportion_words)

    def comparison(
        self, subject: Subject, found: Comparison, kind: str
    ) -> tuple[TableCell, ...]:
        """Add a test: its name, change, statistic and p, and effect."""
        row = StatisticRow.of_comparison(self._next(), subject, found, kind)
        self.rows.append(row)
        return tuple(TableCell(text, row.row) for text in comparison_words(row))


SUMMARY_HEADER = ("n", "mean ± SD", "range", "median (IQR)", "not assessed")

COMPARISON_HEADER = ("test", "n", "mean change [95 % CI]", "p", "effect size")


def summary_words(row: StatisticRow) -> tuple[str, ...]:
    """Words of a summary under `SUMMARY_HEADER`."""
    n = f"{row.n}"
    missing = f"{row.not_assessed}"
    if row.mean is None:
        return (n, NO_VALUE, NO_VALUE, NO_VALUE, missing)
    sd = NO_VALUE if row.sd is None else f"{row.sd:.2f}"
    ends, middle = NO_VALUE, NO_VALUE
    if row.minimum is not None and row.maximum is not None:
        ends = f"{row.minimum:.2f} to {row.maximum:.2f}"
    if row.median is not None and row.q1 is not None and row.q3 is not None:
        middle = f"{row.median:.2f} ({row.q1:.2f} to {row.q3:.2f})"
    return (n, f"{row.mean:.2f} ± {sd}", ends, middle, missing)


def proportion_words(row: StatisticRow) -> str:
    """E.g. "3/30 (10.0 % [3.5 to 25.6])"."""
    missing = f", {row.not_assessed} not assessed" if row.not_assessed else ""
    if not row.n:
        return f"not assessed ({row.not_assessed})" if row.not_assessed else NO_VALUE
    return (
        f"{row.count}/{row.n} ({row.percent:.1f} % "
        f"[{row.low_percent:.1f} to {row.high_percent:.1f}]){missing}"
    )


def p_words(p_value: float | None) -> str:
    """Words of a p value, with its usual digits."""
    if p_value is None:
        return NO_VALUE
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def comparison_words(row: StatisticRow) -> tuple[str, ...]:
    """Words of a test under `COMPARISON_HEADER`."""
    change = NO_VALUE
    if row.change is not None:
        change = f"{row.change:.2f}"
        if row.change_low is not None:
            change += f" [{row.change_low:.2f} to {row.change_high:.2f}]"
    effect = NO_VALUE if row.effect is None else f"{row.effect_name} {row.effect:.2f}"
    if row.p_value is None and row.note:
        effect = row.note
    return (row.test, f"{row.n}", change, p_words(row.p_value), effect)


def words(*texts: str) -> tuple[TableCell, ...]:
    """Cells without numbers."""
    return tuple(TableCell(text) for text in texts)
