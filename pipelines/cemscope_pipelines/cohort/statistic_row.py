"""One row of ``cohort.csv``: a number of the study with all that belongs to it."""

from dataclasses import dataclass, fields
from typing import Self

from cemscope_pipelines.batch.rows import column
from cemscope_pipelines.cohort.comparison import Comparison
from cemscope_pipelines.cohort.summary import Proportion, Summary


@dataclass(frozen=True, slots=True)
class Subject:
    """What a row is about.

    Attributes
    ----------
    table : str
        Key of the table.
    group : str
        Procedure group, or "all".
    measure : str
        What was measured, per what.
    subset : str
        A level, a type of leak, a place; "" for all.
    unit : str
        Of the values.
    """

    table: str
    group: str
    measure: str
    subset: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class StatisticRow:
    """One row of ``cohort.csv``."""

    row: str = column("", "Id of the row; every number in cohort.html names one.")
    table: str = column("", "Table of cohort.html.")
    group: str = column("", "Procedure group, or all.")
    measure: str = column("", "What was measured, and per what.")
    subset: str = column("", "Level, type or place; empty for all.")
    unit: str = column("", "Of mean, sd, minimum, maximum, median, q1, q3, change.")
    kind: str = column("", "summary, proportion, count, paired or groups.")
    n: int | None = column("", "Values, or the denominator of a proportion.")
    not_assessed: int | None = column("", "Things whose value is not known.")
    mean: float | None = column("unit", "Mean.")
    sd: float | None = column("unit", "Sample standard deviation (n - 1).")
    minimum: float | None = column("unit", "Smallest value.")
    maximum: float | None = column("unit", "Largest value.")
    median: float | None = column("unit", "Median.")
    q1: float | None = column("unit", "First quartile (linear interpolation).")
    q3: float | None = column("unit", "Third quartile (linear interpolation).")
    count: int | None = column("", "How many of n.")
    percent: float | None = column("%", "count / n.")
    low_percent: float | None = column("%", "Wilson 95 % interval, lower end.")
    high_percent: float | None = column("%", "Wilson 95 % interval, upper end.")
    test: str = column("", "Name of the test.")
    statistic: float | None = column("", "Of the test: t, W or H.")
    p_value: float | None = column("", "Two-sided, not corrected for many tests.")
    effect_name: str = column("", "Which effect size.")
    effect: float | None = column("", "Effect size.")
    change: float | None = column("unit", "Mean of after - before.")
    change_low: float | None = column("unit", "Its 95 % interval, lower end.")
    change_high: float | None = column("unit", "Its 95 % interval, upper end.")
    note: str = column("", "What to know about the row.")

    @classmethod
    def of_summary(cls, row: str, subject: Subject, found: Summary) -> Self:
        """Row of a summary."""
        return cls._made(
            row,
            subject,
            "summary",
            n=found.n,
            not_assessed=found.not_assessed,
            mean=found.mean,
            sd=found.sd,
            minimum=found.minimum,
            maximum=found.maximum,
            median=found.median,
            q1=found.q1,
            q3=found.q3,
        )

    @classmethod
    def of_proportion(cls, row: str, subject: Subject, found: Proportion) -> Self:
        """Row of a share."""
        return cls._made(
            row,
            subject,
            "proportion",
            n=found.n,
            not_assessed=found.not_assessed,
            count=found.count,
            percent=found.percent,
            low_percent=found.low_percent,
            high_percent=found.high_percent,
        )

    @classmethod
    def of_count(cls, row: str, subject: Subject, count: int) -> Self:
        """Row of a plain count."""
        return cls._made(row, subject, "count", count=count)

    @classmethod
    def of_comparison(
        cls, row: str, subject: Subject, found: Comparison, kind: str
    ) -> Self:
        """Row of a test; ``kind`` is "paired" or "groups"."""
        return cls._made(
            row,
            subject,
            kind,
            n=found.n,
            test=found.test,
            statistic=found.statistic,
            p_value=found.p_value,
            effect_name=found.effect_name,
            effect=found.effect,
            change=found.mean_change,
            change_low=found.low,
            change_high=found.high,
            note=found.note,
        )

    @classmethod
    def _made(
        cls, row: str, subject: Subject, kind: str, **values: float | str | None
    ) -> Self:
        start = {
            "row": row,
            "table": subject.table,
            "group": subject.group,
            "measure": subject.measure,
            "subset": subject.subset,
            "unit": subject.unit,
            "kind": kind,
        }
        texts = {"test", "effect_name", "note"}
        rest = {
            f.name: "" if f.name in texts else None
            for f in fields(cls)
            if f.name not in start
        }
        return cls(**{**start, **rest, **values})  # type: ignore[arg-type]
