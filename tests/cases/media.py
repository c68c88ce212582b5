"""Exchange media: DICOMDIR, nested folders, and zip archives of them."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from cemscope.testing.dicom_writer import WriteOptions, write_dataset


def _record(kind: str, **values: object) -> Dataset:
    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord = 0
    record.RecordInUseFlag = 0xFFFF
    record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
    record.DirectoryRecordType = kind
    for name, value in values.items():
        setattr(record, name, value)
    return record


def dicomdir(slices: Sequence[Dataset], file_ids: Sequence[list[str]]) -> Dataset:
    """A DICOMDIR that lists one series."""
    first = slices[0]
    records = [
        _record("PATIENT", PatientID=first.PatientID, PatientName=first.PatientName),
        _record("STUDY", StudyInstanceUID=first.StudyInstanceUID, StudyID="1"),
        _record("SERIES", SeriesInstanceUID=first.SeriesInstanceUID, Modality="CT"),
    ]
    records += [
        _record(
            "IMAGE",
            ReferencedFileID=file_id,
            ReferencedSOPClassUIDInFile=dataset.SOPClassUID,
            ReferencedSOPInstanceUIDInFile=dataset.SOPInstanceUID,
            ReferencedTransferSyntaxUIDInFile=ExplicitVRLittleEndian,
        )
        for dataset, file_id in zip(slices, file_ids, strict=True)
    ]
    directory = Dataset()
    directory.FileSetID = "DISC"
    directory.DirectoryRecordSequence = records
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "2.25.3"
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return directory


def write_medium(
    slices: Sequence[Dataset], folder: Path, missing: Sequence[int] = ()
) -> Path:
    """A CD as hospitals burn it: DICOMDIR, nested folders, a viewer beside them."""
    images = folder / "DICOM" / "PA000001" / "ST000001"
    file_ids = []
    for number, dataset in enumerate(slices):
        series = images / f"SE{number % 2:06d}"
        series.mkdir(parents=True, exist_ok=True)
        path = series / f"IM{number:06d}"
        file_ids.append(list(path.relative_to(folder).parts))
        if number not in missing:
            write_dataset(dataset, path, WriteOptions())
    dicomdir(slices, file_ids).save_as(folder / "DICOMDIR", enforce_file_format=True)
    (folder / "AUTORUN.INF").write_text("[autorun]\nopen=viewer.exe\n")
    (folder / "viewer.exe").write_bytes(b"MZ" + bytes(500))
    return folder


def zipped(folder: Path, archive: Path) -> Path:
    """Everything in a folder as a zip archive, with its folders."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path in sorted(folder.rglob("*")):
            target.write(path, path.relative_to(folder))
    return archive
