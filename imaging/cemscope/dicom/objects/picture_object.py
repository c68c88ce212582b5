"""Writes pictures as Secondary Capture objects."""

from dataclasses import dataclass

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from cemscope.dicom.objects.source_images import SourceImages
from cemscope.dicom.objects.stamp import MANUFACTURER, MODEL, ObjectStamp
from cemscope.dicom.privacy import silenced_pydicom


@dataclass(frozen=True, slots=True, eq=False)
class PictureJob:
    """A picture and its place in the series of pictures.

    Attributes
    ----------
    rgb : ndarray of uint8, shape (rows, columns, 3)
        The picture.
    title : str
        Shown by archives.
    number : int
        From 1.
    """

    rgb: npt.NDArray[np.uint8]
    title: str
    number: int


def picture_object(
    job: PictureJob, source: SourceImages, stamp: ObjectStamp
) -> Dataset:
    """Make a Secondary Capture object in the study of the source images."""
    with silenced_pydicom():
        dataset = hd.sc.SCImage.from_ref_dataset(
            source.first,
            pixel_array=np.ascontiguousarray(job.rgb),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            series_instance_uid=stamp.series_uid("key images"),
            series_number=300,
            sop_instance_uid=stamp.instance_uid(f"key image {job.number}"),
            instance_number=job.number,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL,
            patient_orientation=("L", "F"),
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
        dataset.PatientOrientation = []  # several views on one picture
        dataset.BodyPartExamined = source.first.BodyPartExamined
        dataset.SoftwareVersions = stamp.software_version
        dataset.ImageComments = job.title
        dataset.BurnedInAnnotation = "NO"
        dataset.ImageType = ["DERIVED", "SECONDARY"]
        stamp.finish(dataset, source.first, "cemscope key images")
    return dataset
