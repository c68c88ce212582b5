"""How a case came about: inputs, versions, configuration, cost.

Paths and names may identify the patient: they stand in ``provenance.json`` and
nowhere else.
"""

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cemscope_pipelines.case import CaseResult
from cemscope_pipelines.memory import peak_memory_mib
from cemscope_pipelines.report_builder import software_version
from cemscope_pipelines.stages import StageRecord
from cemscope_pipelines.totalsegmentator import totalsegmentator_versions
from cemscope_pipelines.vertebra_source import TOTALSEGMENTATOR

RECORDED_PACKAGES = (
    "highdicom",
    "matplotlib",
    "numpy",
    "pydantic",
    "pydicom",
    "scikit-image",
    "scipy",
    "SimpleITK",
)
"""Libraries whose version can change a number or a picture."""


class ProvenanceModel(BaseModel):
    """Base of all parts: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRecord(ProvenanceModel):
    """What was read. UIDs are null where the scan does not come from DICOM."""

    path: str
    study_instance_uid: str | None
    series_instance_uid: str | None
    frame_of_reference_uid: str | None
    sop_class_uid: str | None
    sop_instance_uids: tuple[str, ...]
    patient_digest: str | None = Field(
        default=None,
        description="HMAC-SHA256 of issuer and patient id, keyed with the series: "
        "exports and signatures refuse the objects of another patient.",
    )


class BaselineRecord(ProvenanceModel):
    """The case that a follow-up was compared with."""

    path: str
    report_sha256: str
    series_instance_uid: str
    same_patient_reason: str | None = Field(
        default=None, description="Why scans under different patients were compared."
    )


class TimingRecord(ProvenanceModel):
    """Cost of one stage."""

    stage: str
    seconds: float
    peak_memory_mib: float


class Provenance(ProvenanceModel):
    """Content of ``provenance.json``."""

    created_utc: str
    command: tuple[str, ...]
    software_version: str
    python_version: str
    platform: str
    package_versions: dict[str, str]
    input: InputRecord
    baseline: BaselineRecord | None = Field(
        default=None, description="Null where the case is no follow-up."
    )
    config: dict[str, Any]
    config_hash: str
    timings: tuple[TimingRecord, ...]
    peak_memory_mib: float
    outputs_sha256: dict[str, str] = Field(
        default_factory=dict,
        description="Of report.json and the label maps, to tell later changes.",
    )

    def to_json(self) -> str:
        """Text of ``provenance.json``, ending in a line break."""
        return self.model_dump_json(indent=2) + "\n"


def _package_versions(vertebra_source: str) -> dict[str, str]:
    versions: dict[str, str] = {}
    if vertebra_source == TOTALSEGMENTATOR:
        versions.update(totalsegmentator_versions())
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def record_provenance(
    result: CaseResult,
    input_path: Path,
    command: tuple[str, ...],
    stages: tuple[StageRecord, ...],
) -> Provenance:
    """Write down how a result came about.

    Parameters
    ----------
    input_path
        What the user pointed at.
    command
        Words of the command line, empty where there was none.
    stages
        Cost of the stages so far.
    """
    source = result.ct.source
    return Provenance(
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        software_version=software_version(),
        python_version=platform.python_version(),
        platform=platform.platform(),
        package_versions=_package_versions(result.config.vertebra_source),
        input=InputRecord(
            path=str(input_path.absolute()),
            study_instance_uid=source.study_instance_uid if source else None,
            series_instance_uid=source.series_instance_uid if source else None,
            frame_of_reference_uid=result.ct.geometry.frame_of_reference_uid,
            sop_class_uid=source.sop_class_uid if source else None,
            sop_instance_uids=source.sop_instance_uids if source else (),
            patient_digest=source.patient_digest if source else None,
        ),
        config=result.config.model_dump(mode="json"),
        config_hash=result.config.config_hash,
        timings=tuple(
            TimingRecord(
                stage=s.name,
                seconds=round(s.seconds, 3),
                peak_memory_mib=round(s.peak_memory_mib, 1),
            )
            for s in stages
        ),
        peak_memory_mib=round(peak_memory_mib(), 1),
    )
