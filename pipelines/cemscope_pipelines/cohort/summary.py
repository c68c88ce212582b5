"""Summaries of numbers and of counts, and the check that a summary is possible."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_Z_95 = 1.959963984540054
"""Two-sided 95 % point of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What is told of a list of numbers.

    Attributes
    ----------
    n, not_assessed : int
        Values, and things whose value is not known.
    mean, sd, minimum, maximum, median, q1, q3 : float or None
        Sample standard deviation (n - 1); quartiles by linear interpolation (Hyndman
        and Fan 1996, type 7). None without values; ``sd`` None below two.
    """

    n: int
    not_assessed: int
    mean: float | None = None
    sd: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    median: float | None = None
    q1: float | None = None
    q3: float | None = None


def summarise(values: Sequence[float], not_assessed: int = 0) -> Summary:
    """Summarise numbers; what was not assessed is counted, never taken as 0."""
    if not values:
        return Summary(0, not_assessed)
    data = np.asarray(values, dtype=np.float64)
    q1, median, q3 = np.quantile(data, (0.25, 0.5, 0.75))
    summary = Summary(
        n=data.size,
        not_assessed=not_assessed,
        mean=float(data.mean()),
        sd=float(data.std(ddof=1)) if data.size > 1 else None,
        minimum=float(data.min()),
        maximum=float(data.max()),
        median=float(median),
        q1=float(q1),
        q3=float(q3),
    )
    problem = impossible(summary)
    if problem:
        raise ArithmeticError(f"a summary of our own is impossible: {problem}")
    return summary


def largest_sd(n: int, mean: float, minimum: float, maximum: float) -> float:
    """Largest sample SD of n numbers with this mean between two bounds.

    Bhatia and Davis, Am. Math. Mon. 2000;107:353-357: the variance is at most
    (maximum - mean) (mean - minimum), times n / (n - 1) for a sample.

    Examples
    --------
    >>> round(largest_sd(30, 5.0, 0.0, 10.0), 2)
    5.09
    """
    room = max(0.0, (maximum - mean) * (mean - minimum))
    return math.sqrt(room * n / (n - 1)) if n > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Rounding:
    """By how much printed numbers may be off; the default is that of arithmetic."""

    mean: float = 1e-9
    sd: float = 1e-9
    minimum: float = 1e-9
    maximum: float = 1e-9


def impossible(
    summary: Summary,
    scale: tuple[float, float] | None = None,
    rounding: Rounding | None = None,
) -> str:
    """Say why no list of numbers can have this summary; "" if one can.

    Parameters
    ----------
    summary
        Only n, mean, SD and the ends of the range are looked at.
    scale
        Ends of the scale that the numbers were read from, e.g. 0 and 10.
    rounding
        Of the printed numbers.
    """
    off = rounding or Rounding()
    low, high = summary.minimum, summary.maximum
    if low is not None and high is not None and high < low:
        return f"the maximum {high:g} is smaller than the minimum {low:g}"
    if scale is not None:
        if low is not None and low < scale[0] - off.minimum:
            return f"the minimum {low:g} lies below the scale ({scale[0]:g})"
        if high is not None and high > scale[1] + off.maximum:
            return f"the maximum {high:g} lies above the scale ({scale[1]:g})"
        low = scale[0] if low is None else low
        high = scale[1] if high is None else high
    mean, sd = summary.mean, summary.sd
    if sd is not None and sd < 0:
        return f"the SD {sd:g} is negative"
    if mean is None:
        return ""
    # A mean can be as far off as it was rounded, the ends as far as they were.
    bottom = -math.inf if low is None else low - off.minimum
    top = math.inf if high is None else high + off.maximum
    if mean < bottom - off.mean or mean > top + off.mean:
        ends = " to ".join("?" if end is None else f"{end:g}" for end in (low, high))
        return f"the mean {mean:g} lies outside {ends}"
    if sd is None or low is None or high is None:
        return ""
    most = max(
        largest_sd(summary.n, min(top, max(bottom, m)), bottom, top)
        for m in _means(mean, off.mean, (bottom + top) / 2)
    )
    if sd > most + off.sd:
        return (
            f"the SD {sd:g} is impossible: {summary.n} values from {low:g} to {high:g} "
            f"with a mean of {mean:g} have one of {most:.2f} at most"
        )
    return ""


def _means(mean: float, off: float, middle: float) -> list[float]:
    """Means that the printed one can stand for; the SD is largest in the middle."""
    ends = [mean - off, mean + off]
    return [*ends, middle] if ends[0] < middle < ends[1] else ends


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share with its Wilson interval.

    Attributes
    ----------
    count, n, not_assessed : int
        How many of how many, and how many are not known.
    percent, low_percent, high_percent : float or None
        The share and its 95 % interval; None if n is 0.
    """

    count: int
    n: int
    not_assessed: int
    percent: float | None
    low_percent: float | None
    high_percent: float | None


def proportion(count: int, n: int, not_assessed: int = 0) -> Proportion:
    """Share with the score interval of Wilson (J Am Stat Assoc 1927;22:209-212).

    Examples
    --------
    >>> share = proportion(3, 30)
    >>> round(share.low_percent, 1), round(share.high_percent, 1)
    (3.5, 25.6)
    """
    if not 0 <= count <= n:
        raise ValueError(f"expected a count of 0 to {n}, found {count}")
    if n == 0:
        return Proportion(0, 0, not_assessed, None, None, None)
    share, z2 = count / n, _Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = (_Z_95 / (1 + z2 / n)) * math.sqrt(
        share * (1 - share) / n + z2 / (4 * n * n)
    )
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == n else centre + half
    return Proportion(count, n, not_assessed, 100 * share, 100 * low, 100 * high)


def share_of_marks(marks: Sequence[bool | None], not_assessed: int = 0) -> Proportion:
    """Share of what has a mark; None is not known."""
    unknown = marks.count(None)
    count = marks.count(True)
    return proportion(count, len(marks) - unknown, unknown + not_assessed)


def any_of(marks: Sequence[bool | None]) -> bool | None:
    """Whether one thing has the mark; None if that is not known of all others."""
    if True in marks:
        return True
    return None if None in marks else False
