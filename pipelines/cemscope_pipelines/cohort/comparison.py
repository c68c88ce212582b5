"""Tests before against after, and between groups, with the sizes of the effects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, slots=True)
class Comparison:
    """A test and the size of its effect.

    Attributes
    ----------
    test : str
        Name.
    n : int
        Pairs, or values of all groups.
    statistic, p_value : float or None
        None where the test cannot be done; ``note`` says why.
    effect_name : str
        Name of the effect size.
    effect : float or None
        Its value.
    mean_change, low, high : float or None
        Mean of after - before and its 95 % interval (t distribution), for the t test.
    note : str
        Why there is no result, or what to know about it.
    """

    test: str
    n: int
    statistic: float | None = None
    p_value: float | None = None
    effect_name: str = ""
    effect: float | None = None
    mean_change: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


_DECIMALS = 9
"""Scores have fewer: what differs beyond is the noise of binary fractions."""


def _changes(
    before: Sequence[float], after: Sequence[float]
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Change of each pair; equal changes are equal."""
    change = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    return np.round(change, _DECIMALS)


def paired_t(before: Sequence[float], after: Sequence[float]) -> Comparison:
    """Paired t test with Cohen's d_z (Lakens, Front Psychol 2013;4:863)."""
    name = "paired t test"
    change = _changes(before, after)
    n = int(change.size)
    if n < 2:
        return Comparison(name, n, note="fewer than two pairs")
    mean, sd = float(change.mean()), float(change.std(ddof=1))
    if sd == 0.0:
        return Comparison(name, n, mean_change=mean, note="all pairs change alike")
    error = sd / math.sqrt(n)
    t = mean / error
    half = float(stats.t.ppf(0.975, n - 1)) * error
    return Comparison(
        name,
        n,
        statistic=t,
        p_value=float(2 * stats.t.sf(abs(t), n - 1)),
        effect_name="Cohen's d_z",
        effect=mean / sd,
        mean_change=mean,
        low=mean - half,
        high=mean + half,
    )


def signed_rank(before: Sequence[float], after: Sequence[float]) -> Comparison:
    """Wilcoxon's signed-rank test with the matched-pairs rank-biserial correlation.

    Pairs without a change are left out (Wilcoxon 1945); the effect is (sum of ranks of
    rises - sum of ranks of falls) / sum of ranks (Kerby 2014). The p value is exact for
    few pairs, else by the normal approximation (`scipy.stats.wilcoxon`, "auto").
    """
    name = "Wilcoxon signed-rank test"
    change = _changes(before, after)
    moved = change[change != 0]
    n = int(change.size)
    if moved.size < 1:
        return Comparison(name, n, note="no pair changes")
    ranks = stats.rankdata(np.abs(moved))
    rises, falls = float(ranks[moved > 0].sum()), float(ranks[moved < 0].sum())
    found = stats.wilcoxon(moved, correction=False, method="auto")
    unchanged = n - int(moved.size)
    return Comparison(
        name,
        n,
        statistic=min(rises, falls),
        p_value=float(found.pvalue),
        effect_name="rank-biserial r",
        effect=(rises - falls) / (rises + falls),
        note=f"{unchanged} pairs without a change" if unchanged else "",
    )


def between_groups(groups: Sequence[Sequence[float]]) -> Comparison:
    """Kruskal-Wallis test with epsilon squared (Tomczak 2014)."""
    name = "Kruskal-Wallis test"
    filled = [g for g in groups if len(g) > 0]
    n = sum(len(g) for g in filled)
    if len(filled) < 2:
        return Comparison(name, n, note="fewer than two groups with values")
    if len({v for g in filled for v in g}) < 2:
        return Comparison(name, n, note="all values are equal")
    found = stats.kruskal(*filled)
    statistic = float(found.statistic)
    return Comparison(
        name,
        n,
        statistic=statistic,
        p_value=float(found.pvalue),
        effect_name="epsilon squared",
        effect=statistic / (n - 1),
    )
