"""Writes label maps as DICOM Segmentations."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from cemscope.dicom.objects.source_images import SourceImages
from cemscope.dicom.objects.stamp import (
    DEVICE_SERIAL,
    MANUFACTURER,
    MODEL,
    ObjectStamp,
)
from cemscope.dicom.objects.terms import Term
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.errors import EvidenceError, ExportError
from cemscope.resampling import label_boxes, resample_labels_nearest
from cemscope.volume import LabelMap


class SegmentationEncoding(StrEnum):
    """How the segments are stored."""

    BINARY = "BINARY"
    """One bit per voxel and segment: read by every viewer."""
    LABELMAP = "LABELMAP"
    """One number per voxel (Supplement 243): small, and new."""


@dataclass(frozen=True, slots=True)
class SegmentMeaning:
    """What a label of a map stands for.

    Attributes
    ----------
    label : int
        Its number in the label map.
    name : str
        Shown to the user; at most 64 characters.
    category, kind : Term
        What sort of thing it is, and what thing.
    sites : tuple of Term
        Where in the body it lies.
    tracking_id, tracking_uid : str
        Name of the finding over all reports, and its UID.
    colour_rgb : tuple of float
        Recommended display colour, 0 to 1.
    drawn_by_machine : bool
        False where a reader corrected it.
    """

    label: int
    name: str
    category: Term
    kind: Term
    sites: tuple[Term, ...]
    tracking_id: str
    tracking_uid: str
    colour_rgb: tuple[float, float, float]
    drawn_by_machine: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationJob:
    """One segmentation object.

    Attributes
    ----------
    name : str
        Short word that sets it apart from others of the case, e.g. "vertebrae".
    labels : LabelMap
        On the grid that was measured.
    segments : tuple of SegmentMeaning
        Those without a voxel are left out: viewers hang on empty segments.
    encoding : SegmentationEncoding
        How it is stored.
    series_number : int
        Shown by archives.
    """

    name: str
    labels: LabelMap
    segments: tuple[SegmentMeaning, ...]
    encoding: SegmentationEncoding = SegmentationEncoding.BINARY
    series_number: int = 100


@dataclass(frozen=True, slots=True, eq=False)
class WrittenSegmentation:
    """A segmentation object and the numbers of its segments.

    Attributes
    ----------
    dataset : Dataset
        The object.
    segment_of : dict of str to int
        Tracking UID -> segment number.
    """

    dataset: Dataset
    segment_of: dict[str, int]


def segmentation_object(
    job: SegmentationJob, source: SourceImages, stamp: ObjectStamp
) -> WrittenSegmentation | None:
    """Make a segmentation that refers to the slices it was drawn on.

    Labels of a sheared series (tilted gantry) are moved back onto its slices.

    Returns
    -------
    WrittenSegmentation or None
        None where no segment has a voxel.

    Raises
    ------
    EvidenceError
        If the labels do not lie on the grid of the source images.
    """
    labels = _on_scanned_grid(job.labels, source)
    present = label_boxes(labels.labels)
    segments = [s for s in job.segments if s.label in present]
    if not segments:
        return None
    table = np.zeros(256, dtype=np.uint8)
    for number, segment in enumerate(segments, start=1):
        table[segment.label] = number
    numbered = table[labels.labels]
    with silenced_pydicom():
        dataset = _segmentation(job, numbered, segments, source, stamp)
        # The libraries pass the shape of the source on; a derived image is derived.
        dataset.ContentLabel = job.name.upper().replace(" ", "_")[:16]
        dataset.BodyPartExamined = source.first.BodyPartExamined
        _name_machine_as_creator(dataset)
        stamp.finish(dataset, source.first, f"cemscope {job.name}")
    return WrittenSegmentation(
        dataset,
        {s.tracking_uid: number for number, s in enumerate(segments, start=1)},
    )


def _on_scanned_grid(labels: LabelMap, source: SourceImages) -> LabelMap:
    differences = labels.geometry.describe_difference(source.measured_geometry)
    if differences:
        raise EvidenceError(
            "the label map does not lie on the grid of the CT series: "
            + "; ".join(differences)
        )
    if source.sheared:
        return resample_labels_nearest(labels, source.geometry)
    return labels


def _segmentation(
    job: SegmentationJob,
    numbered: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
    segments: Sequence[SegmentMeaning],
    source: SourceImages,
    stamp: ObjectStamp,
) -> Dataset:
    geometry = source.geometry
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | hd.Volume = numbered
    if not source.sheared:
        # A Volume is matched to the slices by position; a bare array by list order.
        pixels = hd.Volume(
            numbered,
            geometry.affine_lps,
            coordinate_system="PATIENT",
            frame_of_reference_uid=str(source.first.FrameOfReferenceUID),
        )
    try:
        return hd.seg.Segmentation(
            source_images=list(source.datasets),
            pixel_array=pixels,
            segmentation_type=job.encoding.value,
            segment_descriptions=[
                _description(number, segment, stamp)
                for number, segment in enumerate(segments, start=1)
            ],
            series_instance_uid=stamp.series_uid(job.name),
            series_number=job.series_number,
            sop_instance_uid=stamp.instance_uid(f"{job.name} {job.encoding}"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL,
            software_versions=stamp.software_version,
            device_serial_number=DEVICE_SERIAL,
            content_description=f"cemscope: {job.name}",
        )
    except (AttributeError, ValueError) as error:
        raise ExportError(
            f"the segmentation of the {job.name} cannot be encoded "
            f"({type(error).__name__}): the header of the CT series lacks what a "
            "segmentation needs"
        ) from error


def _description(
    number: int, segment: SegmentMeaning, stamp: ObjectStamp
) -> hd.seg.SegmentDescription:
    algorithm = hd.AlgorithmIdentificationSequence(
        name="cemscope",
        family=codes.cid7162.MorphologicalOperations,
        version=stamp.software_version,
        source="cemscope",
    )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name[:64],
        segmented_property_category=segment.category.code,
        segmented_property_type=segment.kind.code,
        algorithm_type="AUTOMATIC" if segment.drawn_by_machine else "SEMIAUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.tracking_id,
        anatomic_regions=[site.code for site in segment.sites] or None,
        display_color=hd.color.CIELabColor.from_rgb(
            *(round(255 * channel) for channel in segment.colour_rgb)
        ),
    )


def _name_machine_as_creator(dataset: Dataset) -> None:
    dataset.ContentCreatorName = "cemscope^"
