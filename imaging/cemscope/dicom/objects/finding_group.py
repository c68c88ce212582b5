"""One finding of a report, in the terms of a structured report (TID 1411, TID 1501)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from highdicom import sr
from pydicom.dataset import Dataset

from cemscope.dicom.objects.terms import PHYSICAL_OBJECT, Term


@dataclass(frozen=True, slots=True)
class NumberItem:
    """A measurement.

    Attributes
    ----------
    name, unit : Term
        What was measured, in which UCUM unit.
    value : float
        The number, as the report has it.
    method : Term or None
        How it was measured.
    """

    name: Term
    value: float
    unit: Term
    method: Term | None = None


@dataclass(frozen=True, slots=True)
class CodeItem:
    """A qualitative evaluation."""

    name: Term
    value: Term


@dataclass(frozen=True, slots=True)
class TextItem:
    """A remark in words."""

    name: Term
    text: str


@dataclass(frozen=True, slots=True)
class SegmentReference:
    """Which segments of which segmentation show a finding."""

    segmentation: Dataset
    segment_numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """A measurement group of a structured report.

    Attributes
    ----------
    tracking_id, tracking_uid : str
        Name of the finding over all reports, and its UID.
    finding : Term
        What it is.
    site : Term
        The vertebra.
    laterality : Term or None
        Side, of screws.
    numbers, codes, texts : tuple
        What is told about it.
    shown_by : tuple of tuple of str
        Tracking UIDs of the segments that show it, or where it was looked for; the
        first of these sets of which any segment was drawn is referred to.
    category : Term
        What sort of thing it is.
    """

    tracking_id: str
    tracking_uid: str
    finding: Term
    site: Term | None
    laterality: Term | None = None
    numbers: tuple[NumberItem, ...] = ()
    codes: tuple[CodeItem, ...] = ()
    texts: tuple[TextItem, ...] = ()
    shown_by: tuple[tuple[str, ...], ...] = ()
    category: Term = field(default=PHYSICAL_OBJECT)


MeasurementGroup = (
    sr.VolumetricROIMeasurementsAndQualitativeEvaluations
    | sr.MeasurementsAndQualitativeEvaluations
)


def encode_group(
    group: FindingGroup, segment: SegmentReference | None, series_uid: str
) -> MeasurementGroup:
    """Encode a finding: TID 1411 where a segment shows it, else TID 1501.

    Parameters
    ----------
    segment
        None where no segment shows it.
    series_uid
        CT series of the segmentation.
    """
    tracking = sr.TrackingIdentifier(
        uid=group.tracking_uid, identifier=group.tracking_id
    )
    measurements = [
        sr.Measurement(
            name=item.name.code,
            value=item.value,
            unit=item.unit.code,
            method=item.method.code if item.method else None,
        )
        for item in group.numbers
    ]
    evaluations = [
        sr.QualitativeEvaluation(name=item.name.code, value=item.value.code)
        for item in group.codes
    ]
    sites = []
    if group.site is not None:
        side = group.laterality.code if group.laterality else None
        sites.append(sr.FindingSite(anatomic_location=group.site.code, laterality=side))
    encoded: MeasurementGroup
    if segment is None:
        encoded = sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking,
            finding_type=group.finding.code,
            finding_category=group.category.code,
            finding_sites=sites or None,
            measurements=measurements or None,
            qualitative_evaluations=evaluations or None,
        )
    else:
        encoded = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking,
            referenced_segment=_referenced(segment, series_uid),
            finding_type=group.finding.code,
            finding_category=group.category.code,
            finding_sites=sites or None,
            measurements=measurements or None,
            qualitative_evaluations=evaluations or None,
        )
    _add_texts(encoded, group.texts)
    return encoded


def _referenced(segment: SegmentReference, series_uid: str) -> sr.ReferencedSegment:
    reference = sr.ReferencedSegment(
        segment.segmentation.SOPClassUID,
        segment.segmentation.SOPInstanceUID,
        segment.segment_numbers[0],
        source_series=sr.SourceSeriesForSegmentation(series_uid),
    )
    if len(segment.segment_numbers) > 1:  # the attribute takes several, highdicom one
        item = reference[0].ReferencedSOPSequence[0]
        item.ReferencedSegmentNumber = list(segment.segment_numbers)
    return reference


def _add_texts(encoded: MeasurementGroup, texts: Sequence[TextItem]) -> None:
    for item in texts:
        encoded[0].ContentSequence.append(
            sr.TextContentItem(
                name=item.name.code,
                value=item.text,
                relationship_type=sr.RelationshipTypeValues.CONTAINS,
            )
        )
