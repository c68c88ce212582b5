"""What all objects of one export share: software, times, and UIDs.

UIDs are derived, not drawn: exporting the same result twice gives the same objects,
byte for byte, so that an archive stores them once. The UID of an object follows from
all that it says: what differs has another UID.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.uid import UID

from cemscope.dicom.file_meta import name_implementation
from cemscope.dicom.objects.terms import PRIVATE_SCHEME, scheme_identification
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.errors import ExportError

MANUFACTURER = "cemscope"
MODEL = "cemscope"
DEVICE_SERIAL = "0"

DicomObject = Dataset
"""A DICOM object in memory, for callers that hand it on without looking inside."""


def derived_uid(*words: str) -> str:
    """UID that follows from words (2.25 and 128 bits of SHA-256; PS3.5 B.2)."""
    digest = hashlib.sha256("\n".join(words).encode()).digest()
    number = bytearray(digest[:16])
    number[6] = (number[6] & 0x0F) | 0x80  # version 8 of RFC 9562: derived from a hash
    number[8] = (number[8] & 0x3F) | 0x80
    return f"2.25.{int.from_bytes(number, 'big')}"


@dataclass(frozen=True, slots=True)
class ObjectStamp:
    """Who made the objects of an export, from what, and when.

    Attributes
    ----------
    content_key : str
        Stands for all contents, e.g. a hash of report and label maps; UIDs follow
        from it.
    created_at : datetime
        When the content was made, with its time zone.
    software_version : str
        Version of cemscope.
    series_key : str
        Stands for the version of the content ("machine", "signed 1"); objects of
        another version go to other series.
    for_research : bool
        Whether objects say that they carry no identity.
    dates_shifted : bool
        Of research objects: whether their dates are moved instead of left out.
    """

    content_key: str
    created_at: datetime
    software_version: str
    series_key: str = "machine"
    for_research: bool = False
    dates_shifted: bool = False

    def __post_init__(self) -> None:
        if self.created_at.tzinfo is None:
            raise ValueError("expected a time with its time zone")

    def series_uid(self, kind: str) -> str:
        """UID of the series of one kind of object."""
        return derived_uid("series", self.series_key, self.content_key, kind)

    def instance_uid(self, kind: str) -> str:
        """Place holder for the UID of an object, until `finish` knows its content."""
        return derived_uid("instance", self.series_key, self.content_key, kind)

    @property
    def device_uid(self) -> str:
        """UID of this version of the software as an observer."""
        return derived_uid("device", MANUFACTURER, self.software_version)

    def local_time(self, source: Dataset) -> datetime:
        """Time of creation in the zone that the source's header names, if it does."""
        offset = str(source.get("TimezoneOffsetFromUTC", ""))
        if not offset:
            return self.created_at
        minutes = int(offset[1:3]) * 60 + int(offset[3:5])
        if offset[0] == "-":
            minutes = -minutes
        return self.created_at.astimezone(timezone(timedelta(minutes=minutes)))

    def finish(self, dataset: Dataset, source: Dataset, description: str) -> None:
        """Set times, description, scheme and zone of an object; in place.

        Times that the libraries took from the clock are replaced, and their random
        UIDs of dimensions too, so that the same content gives the same bytes.
        """
        when = self.local_time(source)
        date, time = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
        for event in ("Content", "Series", "InstanceCreation"):
            setattr(dataset, f"{event}Date", date)
            setattr(dataset, f"{event}Time", time)
        if "DateOfSecondaryCapture" in dataset:
            dataset.DateOfSecondaryCapture = date
            dataset.TimeOfSecondaryCapture = time
        dataset.SeriesDescription = description
        dataset.SpecificCharacterSet = "ISO_IR 192"
        if "TimezoneOffsetFromUTC" in source:
            dataset.TimezoneOffsetFromUTC = source.TimezoneOffsetFromUTC
        for name in ("StudyDescription", "IssuerOfPatientID"):
            if source.get(name):
                setattr(dataset, name, source[name].value)
        if self.for_research:
            _mark_deidentified(dataset, self.dates_shifted)
        if _uses_private_scheme(dataset):
            dataset.CodingSchemeIdentificationSequence = [scheme_identification()]
        for item in dataset.get("ContributingEquipmentSequence", []):
            if "ContributionDateTime" in item:
                item.ContributionDateTime = dicom_datetime(when)
        dataset.SOPInstanceUID = UID(
            derived_uid("instance", self.series_key, _content_digest(dataset))
        )
        organization = dataset.get("DimensionOrganizationSequence")
        if organization:
            uid = derived_uid("dimensions", str(dataset.SOPInstanceUID))
            organization[0].DimensionOrganizationUID = uid
            for index in dataset.DimensionIndexSequence:
                index.DimensionOrganizationUID = uid


_NO_CONTENT = frozenset({0x00080018, 0x00209221, 0x00209222})
"""SOPInstanceUID, and the sequences of dimensions, whose UIDs follow from it."""


def _content_digest(dataset: Dataset) -> str:
    """SHA-256 of all that an object says, but for UIDs that follow from it."""
    bare = Dataset()
    for element in dataset:
        if element.tag not in _NO_CONTENT:
            bare.add(element)
    stream = DicomBytesIO()
    stream.is_little_endian = True
    stream.is_implicit_VR = False
    with silenced_pydicom():
        write_dataset(stream, bare, parent_encoding="utf-8")
    return hashlib.sha256(stream.getvalue()).hexdigest()


def dicom_datetime(when: datetime) -> str:
    """DICOM DT with its offset from UTC."""
    return when.strftime("%Y%m%d%H%M%S%z")


def _mark_deidentified(dataset: Dataset, dates_shifted: bool) -> None:
    """Say in an object how it was freed of identity (PS3.15 E.1.1), in place."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = (
        "Built anew by cemscope; UIDs replaced with a project key"
    )
    profile = [
        ("113100", "Basic Application Confidentiality Profile"),
        ("113104", "Clean Structured Content Option"),
    ]
    if dates_shifted:
        profile.append(
            (
                "113107",
                "Retain Longitudinal Temporal Information Modified Dates Option",
            )
        )
    dataset.LongitudinalTemporalInformationModified = (
        "MODIFIED" if dates_shifted else "REMOVED"
    )
    items = []
    for value, meaning in profile:
        item = Dataset()
        item.CodeValue = value
        item.CodingSchemeDesignator = "DCM"
        item.CodeMeaning = meaning
        items.append(item)
    dataset.DeidentificationMethodCodeSequence = items


def _uses_private_scheme(dataset: Dataset) -> bool:
    return any(
        element.value == PRIVATE_SCHEME
        for element in dataset.iterall()
        if element.keyword == "CodingSchemeDesignator"
    )


def write_object(dataset: Dataset, path: Path) -> None:
    """Write an object as a DICOM file.

    Raises
    ------
    ExportError
        If the disk refuses.
    """
    meta = dataset.file_meta
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    name_implementation(meta)
    try:
        with silenced_pydicom():
            dcmwrite(path, dataset, enforce_file_format=True)
    except OSError as error:
        raise ExportError(f"{path.name} cannot be written: {error.strerror}") from error
