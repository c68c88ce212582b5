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
    ct_series : set of str
        UIDs of the series that are CT.
    """

    listed: dict[str, set[str]] = field(default_factory=dict)
    ct_series: set[str] = field(default_factory=set)

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
                if source.text("Modality") == "CT":
                    self.ct_series.add(series_uid)
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

    def absent_ct_series(self, found: Iterable[str]) -> tuple[int, int]:
        """Count the CT series, and their images, of which nothing is there.

        Parameters
        ----------
        found
            Series UIDs of the images at hand.
        """
        absent = (self.ct_series & self.listed.keys()) - set(found)
        return len(absent), sum(len(self.listed[uid]) for uid in absent)

    def lists_any(self, found: Iterable[str]) -> bool:
        """Whether any of these SOP instances is listed."""
        instances = set(found)
        return any(instances & listed for listed in self.listed.values())


def is_media_directory(dataset: FileDataset) -> bool:
    """Tell a DICOMDIR from an image."""
    return sop_class_uid(dataset) == MediaStorageDirectoryStorage
