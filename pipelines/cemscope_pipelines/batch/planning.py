"""Turn what was found into cases of the ledger."""

from dataclasses import dataclass, replace
from pathlib import Path

from cemscope_pipelines.batch.found_series import (
    FoundSeries,
    FoundUnit,
    keyed_letters,
)
from cemscope_pipelines.batch.ledger_case import (
    SEARCH,
    CaseStatus,
    LedgerCase,
    Unsuitable,
)
from cemscope_pipelines.batch.prepare import ReadyConfig
from cemscope_pipelines.batch.search import FoundInput

UNREADABLE = "unreadable"
"""First word of the name of a case that stands for a folder without any series."""


MIXED = "mixed_series"
"""Reason code of a series that holds several acquisitions of one region."""


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """A case and where its scan lies.

    Attributes
    ----------
    entry : LedgerCase
        As it goes into the ledger.
    path : str
        Folder or archive; it can name the patient.
    """

    entry: LedgerCase
    path: str


@dataclass(frozen=True, slots=True)
class CasePlan:
    """Cases, and series that are none.

    Attributes
    ----------
    cases, unsuitable
        Both.
    root_key : str
        Pseudonym of the root.
    found : frozenset of str
        Names of all series under the root.
    """

    cases: tuple[PlannedCase, ...]
    unsuitable: tuple[Unsuitable, ...]
    root_key: str
    found: frozenset[str] = frozenset()


def _case(
    found: FoundSeries, ready: ReadyConfig, root_key: str, *, refuse_mixed: bool
) -> LedgerCase:
    key = found.case_key(ready.config_hash, ready.version)
    entry = LedgerCase(
        key=key,
        name=found.case_name(key),
        series=found.name,
        study=found.study_uid,
        patient_key=found.patient_key,
        number_key=found.patient_key,
        issuer_key=found.issuer_key,
        birth_key=found.birth_key,
        root=root_key,
        acquisition_date=found.acquisition_date,
        slices=found.slices,
        preferred=found.preferred,
        preference=found.reason if found.measurable else "",
        input_hash=found.input_hash,
        config_hash=ready.config_hash,
        version=ready.version,
    )
    if found.measurable and not refuse_mixed:
        return entry
    return replace(
        entry,
        status=CaseStatus.REFUSED,
        reason=found.reason,
        reason_code=MIXED if found.measurable else found.reason_code,
        stage=SEARCH,
    )


def _damaged_folder(
    unit: FoundUnit, root_key: str, ready: ReadyConfig, salt: bytes
) -> LedgerCase:
    """Make a case of a folder of damaged DICOM files: no scan may get lost."""
    key = keyed_letters(unit.path, salt)
    return LedgerCase(
        key=key,
        name=f"{UNREADABLE}-{key}",
        series=f"{UNREADABLE}-{key}",
        study=root_key,
        patient_key="",
        acquisition_date="",
        slices=0,
        preferred=False,
        preference="",
        status=CaseStatus.REFUSED,
        reason=unit.problem,
        reason_code=unit.problem_code,
        stage=SEARCH,
        root=root_key,
        config_hash=ready.config_hash,
        version=ready.version,
    )


def plan_cases(
    found: FoundInput,
    ready: ReadyConfig,
    root: Path,
    salt: bytes,
    *,
    one_per_study: bool,
) -> CasePlan:
    """Decide which series become cases.

    Every CT series that was meant for reading is a case: one that cannot be measured
    is a refused case with its reason. Localizers, projections, other modalities and
    fragments of a few slices are listed as unsuitable.

    Parameters
    ----------
    one_per_study
        Leave out what ``analyze`` would not take of a study. A study whose only
        series mixes acquisitions is refused: nothing may get lost.
    """
    root_key = f"root-{keyed_letters(str(root), salt)}"
    chosen: list[PlannedCase] = []
    unsuitable = []
    with_choice = {_study(s) for s in found.series if s.preferred}
    for series in found.series:
        rival = _study(series) in with_choice
        if not series.measurable and not series.intended:
            unsuitable.append(
                Unsuitable(series.name, series.reason, series.reason_code)
            )
        elif one_per_study and series.measurable and not series.preferred and rival:
            reason = f"another series of the study is taken: {series.reason}"
            unsuitable.append(
                Unsuitable(series.name, series.reason, MIXED)
                if series.mixed
                else Unsuitable(series.name, reason, "not_preferred")
            )
        else:
            refused = one_per_study and series.mixed and not series.preferred
            entry = _case(series, ready, root_key, refuse_mixed=refused)
            chosen.append(PlannedCase(entry, series.path))
    chosen += [
        PlannedCase(_damaged_folder(unit, root_key, ready, salt), unit.path)
        for unit in found.units
        if unit.problem
    ]
    names = frozenset(series.name for series in found.series)
    return CasePlan(tuple(chosen), tuple(unsuitable), root_key, names)


def _study(series: FoundSeries) -> tuple[str, str]:
    return (series.study_uid or series.name, series.patient_key)
