"""Turn what was found into cases of the ledger."""

import hashlib
import hmac
from dataclasses import dataclass, replace
from pathlib import Path

from cemscope_pipelines.batch.found_series import KEY_LETTERS, FoundSeries, FoundUnit
from cemscope_pipelines.batch.ledger import CaseStatus, LedgerCase, Unsuitable
from cemscope_pipelines.batch.pairing import paired_by_date
from cemscope_pipelines.batch.prepare import ReadyConfig
from cemscope_pipelines.batch.search import FoundInput

UNREADABLE = "unreadable"
"""First word of the name of a case that stands for a folder without any series."""


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
    """

    cases: tuple[PlannedCase, ...]
    unsuitable: tuple[Unsuitable, ...]
    root_key: str


def _case(found: FoundSeries, ready: ReadyConfig) -> LedgerCase:
    key = found.case_key(ready.config_hash, ready.version)
    entry = LedgerCase(
        key=key,
        name=found.case_name(key),
        series=found.name,
        study=found.study_uid,
        patient_key=found.patient_key,
        acquisition_date=found.acquisition_date,
        slices=found.slices,
        preferred=found.preferred,
        preference=found.reason if found.measurable else "",
        input_hash=found.input_hash,
        config_hash=ready.config_hash,
        version=ready.version,
    )
    if found.measurable:
        return entry
    return replace(
        entry,
        status=CaseStatus.REFUSED,
        reason=found.reason,
        reason_code=found.reason_code,
        stage="headers",
    )


def _pseudonym(path: str, salt: bytes) -> str:
    digest = hmac.new(salt, path.encode("utf-8", "surrogateescape"), hashlib.sha256)
    return digest.hexdigest()[:KEY_LETTERS]


def _damaged_folder(
    unit: FoundUnit, root_key: str, ready: ReadyConfig, salt: bytes
) -> LedgerCase:
    """Make a case of a folder of damaged DICOM files: no scan may get lost."""
    key = _pseudonym(unit.path, salt)
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
        stage="headers",
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
    pair_followups: bool,
) -> CasePlan:
    """Decide which series become cases.

    Every CT series that was meant for reading is a case: one that cannot be measured
    is a refused case with its reason. Localizers, projections, other modalities and
    fragments of a few slices are listed as unsuitable.

    Parameters
    ----------
    one_per_study
        Leave out what ``analyze`` would not take of a study.
    pair_followups
        Give the cases their roles by patient and date.
    """
    root_key = f"root-{_pseudonym(str(root), salt)}"
    chosen: list[PlannedCase] = []
    unsuitable = []
    for series in found.series:
        if not series.measurable and not series.intended:
            unsuitable.append(
                Unsuitable(series.name, series.reason, series.reason_code)
            )
        elif one_per_study and series.measurable and not series.preferred:
            unsuitable.append(
                Unsuitable(
                    series.name,
                    f"another series of the study is taken: {series.reason}",
                    "not_preferred",
                )
            )
        else:
            chosen.append(PlannedCase(_case(series, ready), series.path))
    chosen += [
        PlannedCase(_damaged_folder(unit, root_key, ready, salt), unit.path)
        for unit in found.units
        if unit.problem
    ]
    if pair_followups:
        paired = paired_by_date([c.entry for c in chosen])
        chosen = [
            replace(case, entry=entry)
            for case, entry in zip(chosen, paired, strict=True)
        ]
    return CasePlan(tuple(chosen), tuple(unsuitable), root_key)
