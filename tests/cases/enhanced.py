"""CT series as enhanced multi-frame objects."""

from collections.abc import Sequence

import highdicom as hd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian


def _item(**values: object) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def _macro(**values: object) -> DicomSequence:
    return DicomSequence([_item(**values)])


def enhanced_ct(slices: Sequence[Dataset]) -> Dataset:
    """One Enhanced CT object; its frames keep the order of the slices."""
    first = slices[0]
    enhanced = Dataset()
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID",
                 "FrameOfReferenceUID", "Modality", "Manufacturer", "AcquisitionDate",
                 "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
                 "PixelRepresentation", "SamplesPerPixel",
                 "PhotometricInterpretation"):  # fmt: skip
        setattr(enhanced, name, getattr(first, name))
    enhanced.SOPClassUID = EnhancedCTImageStorage
    enhanced.SOPInstanceUID = "2.25.79"
    enhanced.InstanceNumber = 1
    enhanced.NumberOfFrames = len(slices)
    enhanced.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    enhanced.SharedFunctionalGroupsSequence = _macro(
        PixelMeasuresSequence=_macro(
            PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness
        ),
        PlaneOrientationSequence=_macro(
            ImageOrientationPatient=first.ImageOrientationPatient
        ),
        CTImageFrameTypeSequence=_macro(
            FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        ),
        CTXRayDetailsSequence=_macro(KVP=first.KVP),
        CTReconstructionSequence=_macro(ConvolutionKernel=first.ConvolutionKernel),
    )
    enhanced.PerFrameFunctionalGroupsSequence = [
        _item(
            FrameContentSequence=_macro(FrameAcquisitionNumber=1),
            PlanePositionSequence=_macro(ImagePositionPatient=s.ImagePositionPatient),
            PixelValueTransformationSequence=_macro(
                RescaleSlope=s.RescaleSlope,
                RescaleIntercept=s.RescaleIntercept,
                RescaleType="HU",
            ),
        )
        for s in slices
    ]
    enhanced.PixelData = b"".join(s.PixelData for s in slices)
    enhanced["PixelData"].VR = "OW"
    return enhanced


def legacy_enhanced_ct(slices: Sequence[Dataset]) -> Dataset:
    """The same as an archive converts it (Legacy Converted Enhanced CT)."""
    for dataset in slices:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return hd.legacy.LegacyConvertedEnhancedCTImage(
        list(slices),
        series_instance_uid="2.25.77",
        series_number=9,
        sop_instance_uid="2.25.78",
        instance_number=1,
    )
