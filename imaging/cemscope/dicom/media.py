"""Reads the DICOMDIR of an exchange medium: what should lie on it.

Nothing is opened by the names in it, so they cannot lead anywhere; it only tells how
many images of each series the medium was written with.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydicom.dataset import FileDataset
from pydicom.uid import MediaStorageDirectoryStorage

from cemscope.dicom.attributes import AttributeReader
from cemscope.dicom.header import SliceHeader, sop_class_uid


@dataclass(slots=True)
class MediaDirectory:
    """Images that a medium lists, by series.

    Attributes
    ----------
    listed : dict of str to set of str
        SOP instance UIDs by series UID.
    """

    listed: dict[str, set[str]] = field(default_factory=dict)

    def add(self, directory: FileDataset) -> None:
        """Take over the records of a DICOMDIR.

        Records follow the series they belong to, as every known writer stores them.

        Raises
        ------
        Exception
            Of any kind, if the file is damaged.
        """
        series_uid = ""
        for record in directory.get("DirectoryRecordSequence") or ():
            source = AttributeReader((record,))
            kind = source.text("DirectoryRecordType")
            if kind in ("PATIENT", "STUDY"):
                series_uid = ""
            elif kind == "SERIES":
                series_uid = source.uid("SeriesInstanceUID")
            elif kind == "IMAGE" and series_uid:
                uid = source.uid("ReferencedSOPInstanceUIDInFile")
                self.listed.setdefault(series_uid, set()).add(uid)

    def missing(self, headers: Iterable[SliceHeader]) -> Mapping[str, tuple[int, int]]:
        """Count the images of each series that are listed but not there.

        Returns
        -------
        mapping of str to tuple of int
            Missing and listed images, by series UID; complete series are left out.
        """
        found: dict[str, set[str]] = {}
        for header in headers:
            found.setdefault(header.series_instance_uid, set()).add(
                header.sop_instance_uid
            )
        absent = {
            uid: (len(listed - found.get(uid, set())), len(listed))
            for uid, listed in self.listed.items()
        }
        return {uid: counts for uid, counts in absent.items() if counts[0]}


def is_media_directory(dataset: FileDataset) -> bool:
    """Tell a DICOMDIR from an image."""
    return sop_class_uid(dataset) == MediaStorageDirectoryStorage
