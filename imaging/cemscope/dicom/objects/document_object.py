"""Wraps a PDF document as a DICOM object."""

from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from cemscope.dicom.objects.source_images import SourceImages
from cemscope.dicom.objects.stamp import MANUFACTURER, MODEL, ObjectStamp
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.errors import ExportError

_COPIED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DocumentJob:
    """A PDF and what an archive shows of it."""

    pdf: bytes
    title: str
    name: str = "report PDF"
    series_number: int = 500


def document_object(
    job: DocumentJob, source: SourceImages, stamp: ObjectStamp
) -> Dataset:
    """Make an Encapsulated PDF object in the study of the source images."""
    with silenced_pydicom():
        dataset = Dataset()
        for keyword in _COPIED:
            setattr(dataset, keyword, source.first[keyword].value)
        dataset.SOPClassUID = EncapsulatedPDFStorage
        dataset.SOPInstanceUID = stamp.instance_uid(job.name)
        dataset.SeriesInstanceUID = stamp.series_uid(job.name)
        dataset.SeriesNumber = job.series_number
        dataset.InstanceNumber = 1
        dataset.Modality = "DOC"
        dataset.ConversionType = "WSD"
        dataset.Manufacturer = MANUFACTURER
        dataset.ManufacturerModelName = MODEL
        dataset.SoftwareVersions = stamp.software_version
        dataset.DocumentTitle = job.title
        dataset.ConceptNameCodeSequence = []
        dataset.AcquisitionDateTime = ""
        # The reader's and often the patient's names stand on the pages.
        dataset.BurnedInAnnotation = "YES"
        dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
        dataset.EncapsulatedDocument = job.pdf + b"\0" * (len(job.pdf) % 2)
        dataset.EncapsulatedDocumentLength = len(job.pdf)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        stamp.finish(dataset, source.first, f"cemscope {job.name}")
    return dataset


def document_pdf(path: Path) -> bytes:
    """Take the PDF out of an Encapsulated PDF object.

    Raises
    ------
    ExportError
        If the file is no such object.
    """
    try:
        with silenced_pydicom():
            dataset = dcmread(path)
            length = int(dataset.EncapsulatedDocumentLength)
            return bytes(dataset.EncapsulatedDocument[:length])
    except (InvalidDicomError, OSError, AttributeError, ValueError) as error:
        raise ExportError(f"{path.name} holds no readable PDF") from error
