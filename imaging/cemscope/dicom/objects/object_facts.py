"""What an object on the disk says about itself, as far as sign-off depends on it."""

from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from cemscope.dicom.privacy import silenced_pydicom
from cemscope.errors import EvidenceError


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """Identity and status of a DICOM object; flags are "" where it has none.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid, study_instance_uid : str
        Its identity.
    patient_id : str
        Compared only, never told.
    completion, verification, preliminary : str
        COMPLETE, VERIFIED, FINAL, or their contraries.
    verifying_observer, verifying_organization, verified_at : str
        Who verified it.
    predecessor_uids : tuple of str
        Earlier versions.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    patient_id: str
    completion: str
    verification: str
    preliminary: str
    verifying_observer: str
    verifying_organization: str
    verified_at: str
    predecessor_uids: tuple[str, ...]


def read_object(path: Path) -> Dataset:
    """Read an object, e.g. to name it as predecessor.

    Raises
    ------
    EvidenceError
        If the file is no readable DICOM object.
    """
    try:
        with silenced_pydicom():
            return dcmread(path)
    except (InvalidDicomError, OSError, ValueError) as error:
        raise EvidenceError(f"{path.name} is no readable DICOM object") from error


def object_facts(path: Path) -> ObjectFacts:
    """Read what an object says about itself.

    Raises
    ------
    EvidenceError
        If the file is no readable DICOM object.
    """
    dataset = read_object(path)
    with silenced_pydicom():
        try:
            verifiers = dataset.get("VerifyingObserverSequence") or [Dataset()]
            return ObjectFacts(
                str(dataset.SOPClassUID),
                str(dataset.SOPInstanceUID),
                str(dataset.StudyInstanceUID),
                str(dataset.get("PatientID", "")),
                str(dataset.get("CompletionFlag", "")),
                str(dataset.get("VerificationFlag", "")),
                str(dataset.get("PreliminaryFlag", "")),
                str(verifiers[0].get("VerifyingObserverName", "")),
                str(verifiers[0].get("VerifyingOrganization", "")),
                str(verifiers[0].get("VerificationDateTime", "")),
                tuple(
                    str(item.ReferencedSOPInstanceUID)
                    for study in dataset.get("PredecessorDocumentsSequence") or []
                    for series in study.ReferencedSeriesSequence
                    for item in series.ReferencedSOPSequence
                ),
            )
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            raise EvidenceError(
                f"{path.name} is a damaged DICOM object ({type(error).__name__})"
            ) from error
