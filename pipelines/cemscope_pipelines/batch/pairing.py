"""Pair later scans with the first of the same patient."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, date, datetime

from cemscope_pipelines.batch.ledger_case import LedgerCase

BASELINE, FOLLOWUP, SINGLE = "baseline", "followup", "single"


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None


def paired_by_date(
    cases: Sequence[LedgerCase],
    *,
    pair: bool = True,
    before: AbstractSet[str] = frozenset(),
) -> tuple[LedgerCase, ...]:
    """Give every case its role; without ``pair`` all are single.

    Of each patient (by pseudonym) and date, the series that ``analyze`` would take
    counts; the first date is the baseline, each later one a follow-up of it. What has
    no patient, no date, or is not the preferred series of its study stays single.
    Two preferred series of one patient on one day: the one that comes first by name.

    Parameters
    ----------
    cases
        All cases of an output.
    pair
        Whether to pair at all.
    before
        Keys of scans that show neither cement nor screws: such a one is no baseline
        if a later scan of the patient shows some.
    """
    cases = [
        replace(c, role=SINGLE, baseline="", days_since_baseline=None) for c in cases
    ]
    if not pair:
        return tuple(cases)
    patients: dict[str, list[LedgerCase]] = {}
    for case in cases:
        if case.preferred and case.patient_key and _day(case.acquisition_date):
            patients.setdefault(case.patient_key, []).append(case)
    roles: dict[str, LedgerCase] = {}
    for members in patients.values():
        of_date: dict[str, LedgerCase] = {}
        for case in sorted(members, key=lambda c: (c.acquisition_date, c.name)):
            of_date.setdefault(case.acquisition_date, case)
        days = list(of_date.values())
        start_day = next((k for k, c in enumerate(days) if c.key not in before), 0)
        first, *later = days[start_day:]
        if not later:
            continue
        roles[first.key] = replace(first, role=BASELINE)
        start = _day(first.acquisition_date)
        for case in later:
            day = _day(case.acquisition_date)
            roles[case.key] = replace(
                case,
                role=FOLLOWUP,
                baseline=first.name,
                days_since_baseline=(day - start).days if day and start else None,
            )
    return tuple(roles.get(case.key, case) for case in cases)
