"""Source headers without identity, for objects that leave for research.

Research objects are not cleaned but built anew from measurements and from these
headers, so that nothing of the clinical objects can be left in them (PS3.15 Basic
Application Level Confidentiality Profile).
"""

import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from cemscope.dicom.objects.source_images import SourceImages
from cemscope.dicom.patient_key import patient_key_of
from cemscope.errors import ConfigError

SHORTEST_KEY = 16
"""Bytes: a shorter secret could be tried out."""

_STANDARD_ROOT = "1.2.840.10008."
"""UIDs registered by the standard name no patient and stay."""

_KEPT = (
    "Rows", "Columns", "PixelSpacing", "SliceThickness", "ImagePositionPatient",
    "ImageOrientationPatient", "SamplesPerPixel", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames",
    "ImageType", "BodyPartExamined", "PatientPosition", "Modality", "SOPClassUID",
    "Manufacturer", "InstanceNumber", "SpecificCharacterSet",
)  # fmt: skip
_KEPT_GROUPS = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence",
)  # fmt: skip
_EMPTY = (
    "PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName",
    "StudyID", "StudyDate", "StudyTime",
)  # fmt: skip
_LONGEST_SHIFT_DAYS = 3650
_NO_DATE = datetime(2000, 1, 1, tzinfo=UTC)
"""Stands where an object must carry a date and none is told."""


@dataclass(frozen=True, slots=True)
class ResearchKey:
    """Secret of a project: the same key gives the same pseudonyms and UIDs.

    Raises
    ------
    ConfigError
        If it is too short to be a secret.
    """

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) < SHORTEST_KEY:
            raise ConfigError(
                f"the research key has {len(self.secret)} bytes, expected at least "
                f"{SHORTEST_KEY}: make one with `openssl rand -hex 32`"
            )

    def uid(self, old: str) -> str:
        """UID that stands for another one in this project."""
        if old.startswith(_STANDARD_ROOT):
            return old
        digest = bytearray(self._digest(old)[:16])
        digest[6] = (digest[6] & 0x0F) | 0x80
        digest[8] = (digest[8] & 0x3F) | 0x80
        return f"2.25.{int.from_bytes(digest, 'big')}"

    def pseudonym(self, patient_id: str, study_uid: str) -> str:
        """Name of a patient; of the study where the scanner stored no patient id."""
        return patient_key_of(patient_id or study_uid, self.secret)

    def shift_days(self, patient_id: str) -> int:
        """Days by which the dates of a patient are moved back."""
        number = int.from_bytes(self._digest(f"shift {patient_id}")[:4], "big")
        return -(1 + number % _LONGEST_SHIFT_DAYS)

    def hash(self, text: str) -> str:
        """Hash that only who knows the key can link to a text."""
        return self._digest(text).hex()

    def _digest(self, text: str) -> bytes:
        return hmac.new(self.secret, text.encode(), hashlib.sha256).digest()


@dataclass(frozen=True, slots=True, eq=False)
class ResearchSource:
    """Source headers of a research export.

    Attributes
    ----------
    source : SourceImages
        Without identity.
    pseudonym : str
        Stands for the patient.
    content_date : datetime
        For objects that must carry a date.
    dates_shifted : bool
        Whether dates are told, all moved by the same number of days.
    """

    source: SourceImages
    pseudonym: str
    content_date: datetime
    dates_shifted: bool


def research_source(
    source: SourceImages, key: ResearchKey, *, shift_dates: bool
) -> ResearchSource:
    """Rebuild the headers of a series without identity.

    Parameters
    ----------
    shift_dates
        Tell the date of the study moved by a number of days that is the same for all
        studies of the patient; else no date is told.
    """
    patient, study = source.patient_and_study
    pseudonym = key.pseudonym(patient, study)
    study_date = str(source.first.get("StudyDate", ""))
    shifted = _shifted(study_date, key.shift_days(patient)) if shift_dates else None
    datasets = tuple(_header(d, key, pseudonym, shifted) for d in source.datasets)
    when = _NO_DATE
    if shifted is not None:
        when = datetime.combine(shifted, datetime.min.time(), UTC)
    clean = replace(source, datasets=datasets)
    return ResearchSource(clean, pseudonym, when, shifted is not None)


def _shifted(text: str, days: int) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date() + timedelta(days=days)  # noqa: DTZ007 - a date has no zone
    except ValueError:
        return None


def _header(
    old: Dataset, key: ResearchKey, pseudonym: str, study_date: date | None
) -> Dataset:
    new = Dataset()
    for name in _KEPT:
        if name in old:
            new[name] = old[name]
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        if name in old:
            setattr(new, name, [_place_only(item) for item in old[name].value])
    new.PatientName = f"{pseudonym}^"
    new.PatientID = pseudonym
    for name in _EMPTY:
        setattr(new, name, "")
    if study_date is not None:
        new.StudyDate = study_date.strftime("%Y%m%d")
    for name in (
        "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
        "FrameOfReferenceUID",
    ):  # fmt: skip
        setattr(new, name, UID(key.uid(str(old[name].value))))
    new.file_meta = FileMetaDataset()
    new.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return new


def _place_only(groups: Dataset) -> Dataset:
    """Keep of a functional group where the frame lies, and nothing else."""
    kept = Dataset()
    for name in _KEPT_GROUPS:
        if name in groups:
            kept[name] = groups[name]
    return kept
