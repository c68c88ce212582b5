"""Follow-up cases of a study: later scans that were compared with their baselines."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cemscope.errors import ExportError
from cemscope_pipelines.batch.case_view import CaseView, FollowupView, read_case
from cemscope_pipelines.batch.ledger import Ledger
from cemscope_pipelines.batch.ledger_case import FAILURES, LedgerCase
from cemscope_pipelines.case_folder import REPORT_FILE

FOLLOWUPS_FOLDER = "followups"
"""Folder of an output with the later scans that were compared with earlier ones."""

FOLLOWUPS_LEDGER = "followups.sqlite"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A later scan of a study, compared with an earlier one, or why it is not.

    Attributes
    ----------
    name : str
        Its folder, below that of the study.
    series : str
        UID of the later scan, "" if it is not known.
    view : CaseView or None
        The case; None if there is none, or it cannot be read.
    followup : FollowupView or None
        The comparison.
    problem : str
        Why there is no comparison, else "".
    damaged : bool
        Whether its report cannot be read.
    """

    name: str
    series: str
    view: CaseView | None = None
    followup: FollowupView | None = None
    problem: str = ""
    damaged: bool = False


def read_comparisons(out: Path) -> Iterator[Comparison]:
    """Follow-up cases below ``followups/``, by name, then those without a result.

    Those of an earlier version, or with an earlier result of a scan, are left out.
    """
    current, outdated = _listed(out)
    for report in sorted((out / FOLLOWUPS_FOLDER).glob(f"[!.]*/{REPORT_FILE}")):
        if report.parent.name not in outdated:
            yield _read(report.parent, out)
    for entry in current:
        if entry.status in FAILURES:
            name = f"{FOLLOWUPS_FOLDER}/{entry.name}"
            yield Comparison(name, _uid(entry.series), problem=entry.reason)


def _listed(out: Path) -> tuple[tuple[LedgerCase, ...], frozenset[str]]:
    """Comparisons that a batch made, and names of those that do not count any more."""
    if not (out / FOLLOWUPS_LEDGER).is_file():
        return (), frozenset()
    with Ledger(out / FOLLOWUPS_LEDGER, read_only=True) as ledger:
        return tuple(ledger.cases()), ledger.superseded_names()


def _uid(series: str) -> str:
    return series.partition("#")[0]


def _read(folder: Path, out: Path) -> Comparison:
    name = folder.relative_to(out).as_posix()
    try:
        view = read_case(folder)
    except ExportError as error:
        return Comparison(name, "", problem=str(error), damaged=True)
    uid = view.series.series_instance_uid
    problem = "" if view.followup else "it is not compared with a baseline"
    series = uid if isinstance(uid, str) else ""
    return Comparison(name, series, view, view.followup, problem)


def comparisons_by_series(out: Path) -> dict[str, Comparison]:
    """Comparisons by the UID of the later scan; of several, one that succeeded.

    Without the cases that they are part of: of thousands they would fill the memory.
    """
    found: dict[str, Comparison] = {}
    for one in read_comparisons(out):
        if one.series and (one.followup is not None or one.series not in found):
            found[one.series] = replace(one, view=None)
    return found


def comparison_of(
    entry: LedgerCase, comparisons: dict[str, Comparison]
) -> Comparison | None:
    """Find the comparison of the scan of a case."""
    return comparisons.get(_uid(entry.series))
