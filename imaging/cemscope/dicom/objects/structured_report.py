"""Writes findings as a Comprehensive 3D SR (TID 1500), and signs it.

The rules that the libraries do not enforce stand here: VERIFIED goes with COMPLETE and
FINAL only, all evidence belongs to one patient and one study, and a new version names
the versions before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import highdicom as hd
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from cemscope.dicom.objects.finding_group import (
    FindingGroup,
    SegmentReference,
    encode_group,
)
from cemscope.dicom.objects.segmentation_object import WrittenSegmentation
from cemscope.dicom.objects.source_images import SourceImages
from cemscope.dicom.objects.stamp import (
    MANUFACTURER,
    MODEL,
    ObjectStamp,
    dicom_datetime,
)
from cemscope.dicom.objects.terms import CT_REPORTED
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.errors import EvidenceError


@dataclass(frozen=True, slots=True)
class Verification:
    """Who answers for a report.

    Attributes
    ----------
    reader : str
        DICOM person name, "Family^Given".
    organization : str
        Whom the reader signs for.
    verified_at : datetime
        When, with its time zone.
    """

    reader: str
    organization: str
    verified_at: datetime

    def __post_init__(self) -> None:
        if self.verified_at.tzinfo is None:
            raise ValueError("expected a time with its time zone")


@dataclass(frozen=True, slots=True, eq=False)
class ReportJob:
    """One structured report.

    Attributes
    ----------
    name : str
        Short word for the series, e.g. "report".
    groups : tuple of FindingGroup
        The findings.
    segmentations : tuple of WrittenSegmentation
        Where they are drawn.
    verification : Verification or None
        None for the machine's report, which nobody has verified.
    predecessors : tuple of Dataset
        Earlier versions: the machine's report and signed ones.
    series_number : int
        Shown by archives.
    """

    name: str
    groups: tuple[FindingGroup, ...]
    segmentations: tuple[WrittenSegmentation, ...]
    verification: Verification | None = None
    predecessors: tuple[Dataset, ...] = ()
    series_number: int = 200


def require_one_patient(source: SourceImages, others: Sequence[Dataset]) -> None:
    """Refuse evidence of more than one patient, study or frame of reference.

    Raises
    ------
    EvidenceError
        Naming what differs; no patient id is told.
    """
    patient, study = source.patient_and_study
    frame = str(source.first.FrameOfReferenceUID)
    for other in others:
        if str(other.get("PatientID", "")) != patient:
            raise EvidenceError(
                "evidence from more than one patient: the objects at hand carry "
                "different patient ids. Nothing was written"
            )
        if str(other.get("StudyInstanceUID", "")) != study:
            raise EvidenceError(
                f"evidence from more than one study: expected {study}, found "
                f"{other.get('StudyInstanceUID', 'none')}. Nothing was written"
            )
        other_frame = str(other.get("FrameOfReferenceUID", frame))
        if other_frame != frame:
            raise EvidenceError(
                "evidence from more than one frame of reference: expected "
                f"{frame}, found {other_frame}. Nothing was written"
            )


def structured_report(
    job: ReportJob, source: SourceImages, stamp: ObjectStamp
) -> Dataset:
    """Make a structured report of all findings.

    Without a verification it is COMPLETE, UNVERIFIED and PRELIMINARY; with one it is
    COMPLETE, VERIFIED and FINAL, and names the reader as observer and verifier.

    Raises
    ------
    EvidenceError
        If the evidence belongs to more than one patient, study or frame of reference.
    """
    drawn = [one.dataset for one in job.segmentations]
    require_one_patient(source, [*source.datasets, *drawn, *job.predecessors])
    signed = job.verification
    with silenced_pydicom():
        dataset = sr.Comprehensive3DSR(
            evidence=[*source.datasets, *drawn],
            content=_content(job, source, stamp),
            series_instance_uid=stamp.series_uid(job.name),
            series_number=job.series_number,
            sop_instance_uid=stamp.instance_uid(job.name),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL,
            is_complete=True,
            is_final=signed is not None,
            is_verified=signed is not None,
            verifying_observer_name=signed.reader if signed else None,
            verifying_organization=signed.organization if signed else None,
            previous_versions=list(job.predecessors) or None,
            specific_character_set="ISO_IR 192",
        )
        if signed is not None:
            verifier = dataset.VerifyingObserverSequence[0]
            verifier.VerificationDateTime = dicom_datetime(signed.verified_at)
        dataset.AuthorObserverSequence = [_device_author(stamp)]
        dataset.SoftwareVersions = stamp.software_version
        stamp.finish(dataset, source.first, f"cemscope {job.name}")
    return dataset


def _content(
    job: ReportJob, source: SourceImages, stamp: ObjectStamp
) -> sr.MeasurementReport:
    device = sr.ObserverContext(
        codes.DCM.Device,
        sr.DeviceObserverIdentifyingAttributes(
            uid=stamp.device_uid, name="cemscope", manufacturer_name=MANUFACTURER,
            model_name=f"{MODEL} {stamp.software_version}",
        ),
    )  # fmt: skip
    person = None
    if job.verification is not None:
        person = sr.ObserverContext(
            codes.DCM.Person,
            sr.PersonObserverIdentifyingAttributes(
                name=job.verification.reader,
                organization_name=job.verification.organization,
            ),
        )
    series_uid = str(source.first.SeriesInstanceUID)
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_person_context=person, observer_device_context=device
        ),
        procedure_reported=CT_REPORTED.code,
        imaging_measurements=[
            encode_group(group, _segment_of(group, job.segmentations), series_uid)
            for group in job.groups
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )


def _segment_of(
    group: FindingGroup, segmentations: Sequence[WrittenSegmentation]
) -> SegmentReference | None:
    for uids in group.shown_by:
        for one in segmentations:
            numbers = tuple(one.segment_of[u] for u in uids if u in one.segment_of)
            if numbers:
                return SegmentReference(one.dataset, numbers)
    return None


def _device_author(stamp: ObjectStamp) -> Dataset:
    author = Dataset()
    author.ObserverType = "DEV"
    author.DeviceUID = hd.UID(stamp.device_uid)
    author.Manufacturer = MANUFACTURER
    author.ManufacturerModelName = f"{MODEL} {stamp.software_version}"
    author.StationName = "cemscope"
    author.InstitutionName = ""
    author.InstitutionCodeSequence = []
    return author
