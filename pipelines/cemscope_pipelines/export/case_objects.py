"""Builds the objects of one state of a case, each under its file name."""

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cemscope.dicom import read_series
from cemscope.dicom.objects.document_object import DocumentJob, document_object
from cemscope.dicom.objects.key_objects import key_object_selection
from cemscope.dicom.objects.picture_object import PictureJob, picture_object
from cemscope.dicom.objects.segmentation_object import (
    SegmentationEncoding,
    SegmentationJob,
    WrittenSegmentation,
    segmentation_object,
)
from cemscope.dicom.objects.source_images import SourceImages, read_source_images
from cemscope.dicom.objects.stamp import DicomObject, ObjectStamp, write_object
from cemscope.dicom.objects.structured_report import (
    ReportJob,
    Verification,
    structured_report,
)
from cemscope.errors import EvidenceError, NoSeriesError
from cemscope_pipelines.export.case_pictures import CasePictures, draw_case
from cemscope_pipelines.export.case_record import CaseContent, CaseRecord, ContentState
from cemscope_pipelines.export.finding_groups import finding_groups
from cemscope_pipelines.export.pdf_job import PatientLines, PdfJob, ReaderLines
from cemscope_pipelines.export.pdf_report import render_pdf
from cemscope_pipelines.export.segments import material_segments, vertebra_segments
from cemscope_pipelines.export.tracking import TrackingNames

VERTEBRAE_SEG_FILE = "seg_vertebrae.dcm"
MATERIALS_SEG_FILE = "seg_materials.dcm"
REPORT_SR_FILE = "report_sr.dcm"
REPORT_PDF_FILE = "report.pdf"
REPORT_PDF_OBJECT_FILE = "report_pdf.dcm"
KEY_OBJECTS_FILE = "leak_slices_ko.dcm"

_BANNER_PX = 34


@dataclass(frozen=True, slots=True)
class ObjectChoice:
    """Which objects are wanted beside segmentations and report.

    Attributes
    ----------
    encoding : SegmentationEncoding
        How segmentations are stored.
    pdf, pictures, key_objects : bool
        Whether each is made.
    """

    encoding: SegmentationEncoding = SegmentationEncoding.BINARY
    pdf: bool = False
    pictures: bool = False
    key_objects: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SignedBy:
    """Who answers for the objects, and what came before them.

    Attributes
    ----------
    verification : Verification
        Reader, organization and time.
    version : int
        From 1.
    predecessors : tuple of DicomObject
        The machine's report and earlier signed ones.
    amendment_reason : str
        Why there is another version.
    """

    verification: Verification
    version: int
    predecessors: tuple[DicomObject, ...]
    amendment_reason: str = ""

    @property
    def lines(self) -> ReaderLines:
        """The same for the document."""
        signed = self.verification
        return ReaderLines(
            signed.reader, signed.organization, signed.verified_at, self.version,
            self.amendment_reason,
        )  # fmt: skip


def open_source(case: CaseRecord, series: Path | None) -> SourceImages:
    """Read the headers of the CT series that a case was measured on.

    Parameters
    ----------
    series
        Where it lies; None takes the place that the analysis read it from.

    Raises
    ------
    EvidenceError
        If it is not there, or is another series.
    """
    path = series or Path(case.provenance.input.path)
    expected = case.expected_series
    if not path.exists():
        raise EvidenceError(
            "the CT series is not where the analysis read it from: give its folder "
            "with --series"
        )
    try:
        source = read_source_images(path, expected)
    except NoSeriesError as error:
        raise EvidenceError(f"no CT series there: {error}") from error
    _require_same_report(case, source)
    return source


def _require_same_report(case: CaseRecord, source: SourceImages) -> None:
    """Refuse a report that names another series than its provenance."""
    series, made_from = case.report.series, case.expected_series
    for what, told, known in (
        ("study", series.study_instance_uid, made_from.study_instance_uid),
        ("series", series.series_instance_uid, made_from.series_instance_uid),
    ):
        if told != known:
            raise EvidenceError(
                f"report.json and provenance.json name another {what}: they are not of "
                "one analysis. Analyse the series again"
            )


def machine_stamp(case: CaseRecord, content: CaseContent) -> ObjectStamp:
    """Stamp of the machine's objects: the same each time they are exported."""
    return ObjectStamp(
        content.key,
        datetime.fromisoformat(case.provenance.created_utc),
        case.report.software.version,
    )


def reviewed_stamp(case: CaseRecord, content: CaseContent) -> ObjectStamp:
    """Stamp of a reader's result that nobody has signed yet."""
    if case.review is None:
        return machine_stamp(case, content)
    return ObjectStamp(
        content.key, case.review.updated_at, case.report.software.version, "reviewed"
    )


class ObjectBuilder:
    """Makes the objects of one content; pictures are drawn once, when first needed.

    Parameters
    ----------
    case, content
        What is told.
    source
        Headers of the CT series.
    stamp
        Times and UIDs.
    signed_by
        None for drafts.
    """

    def __init__(
        self,
        case: CaseRecord,
        content: CaseContent,
        source: SourceImages,
        stamp: ObjectStamp,
        signed_by: SignedBy | None = None,
    ) -> None:
        self._case = case
        self._content = content
        self._source = source
        self._stamp = stamp
        self._signed_by = signed_by
        self._pictures: CasePictures | None = None
        patient, study = source.patient_and_study
        issuer = str(source.first.get("IssuerOfPatientID", ""))
        self._names = TrackingNames.of(
            f"{issuer}\n{patient}" if patient else "", study, content.decisions
        )

    def write(self, folder: Path, choice: ObjectChoice) -> tuple[str, ...]:
        """Write all chosen objects into a folder; returns the file names."""
        written = []
        for name, made in self._objects(choice):
            if isinstance(made, bytes):
                (folder / name).write_bytes(made)
            else:
                write_object(made, folder / name)
            written.append(name)
        return tuple(written)

    def _objects(self, choice: ObjectChoice) -> list[tuple[str, DicomObject | bytes]]:
        segmentations = self.segmentations(choice.encoding)
        made: list[tuple[str, DicomObject | bytes]] = [
            (name, one.dataset) for name, one in segmentations.items()
        ]
        made.append((REPORT_SR_FILE, self.report(tuple(segmentations.values()))))
        if choice.pdf:
            pdf = self.pdf()
            made.append((REPORT_PDF_FILE, pdf))
            made.append((REPORT_PDF_OBJECT_FILE, self._document(pdf)))
        if choice.pictures:
            made += self._key_images()
        if choice.key_objects:
            selection = self._leak_slices()
            if selection is not None:
                made.append((KEY_OBJECTS_FILE, selection))
        return made

    def segmentations(
        self, encoding: SegmentationEncoding
    ) -> dict[str, WrittenSegmentation]:
        """Segmentations by file name; one without a voxel is left out."""
        found = {}
        for name, number, file, segments in (
            ("vertebrae", 100, VERTEBRAE_SEG_FILE, vertebra_segments),
            ("materials", 101, MATERIALS_SEG_FILE, material_segments),
        ):
            content = segments(self._content, self._names)
            job = SegmentationJob(
                name, content.labels, content.meanings, encoding, number
            )
            written = segmentation_object(job, self._source, self._stamp)
            if written is not None:
                found[file] = written
        return found

    def report(self, segmentations: tuple[WrittenSegmentation, ...]) -> DicomObject:
        """Structured report; verified where the case is signed."""
        signed = self._signed_by
        kind = {
            ContentState.DRAFT: "machine report",
            ContentState.REVIEWED: "unsigned report",
            ContentState.SIGNED: "signed report",
        }[self._content.state]
        if self._stamp.for_research:
            kind = "research report"
        job = ReportJob(
            kind,
            finding_groups(self._content, self._case.report, self._names),
            segmentations,
            signed.verification if signed else None,
            signed.predecessors if signed else (),
            series_number=200 if signed is None else 200 + signed.version,
        )
        return structured_report(job, self._source, self._stamp)

    def pdf(self) -> bytes:
        """Render the report for people."""
        return render_pdf(
            PdfJob(
                patient_lines(self._source),
                self._content,
                self._case.report,
                self._drawn(),
                self._signed_by.lines if self._signed_by else None,
                self._stamp.created_at,
            )
        )

    def _document(self, pdf: bytes) -> DicomObject:
        state = self._content.state.words
        title = "Bone cement report" + (f" ({state})" if state else "")
        return document_object(DocumentJob(pdf, title), self._source, self._stamp)

    def _drawn(self) -> CasePictures | None:
        if self._pictures is None:
            self._pictures = draw_case(self._content, read_series(self._source.series))
        return self._pictures

    def _key_images(self) -> list[tuple[str, DicomObject]]:
        pictures = self._drawn()
        if pictures is None:
            return []
        shown = [("Overview", pictures.overview_png)]
        shown += [(leak.title, leak.png) for leak in pictures.leaks]
        made = []
        for number, (title, png) in enumerate(shown, start=1):
            job = PictureJob(self._with_banner(png, title), title, number)
            image = picture_object(job, self._source, self._stamp)
            made.append((f"key_image_{number}.dcm", image))
        return made

    def _with_banner(
        self, png: bytes, title: str
    ) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        """Write version and state above a picture: it may be seen alone."""
        with Image.open(BytesIO(png)) as opened:
            picture = opened.convert("RGB")
        state = self._content.state.words
        if self._signed_by is not None:
            state = f"signed, version {self._signed_by.version}"
        version = self._case.report.software.version
        text = f"{title}  |  cemscope {version}  |  {state.upper()}"
        board = Image.new("RGB", (picture.width, picture.height + _BANNER_PX))
        board.paste(picture, (0, _BANNER_PX))
        path = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        size = 18
        font = ImageFont.truetype(str(path), size)
        while font.getlength(text) > picture.width - 20 and size > 8:
            size -= 1
            font = ImageFont.truetype(str(path), size)
        colour = (255, 90, 90) if self._signed_by is None else (150, 230, 150)
        ImageDraw.Draw(board).text(
            (10, _BANNER_PX / 2), text, fill=colour, font=font, anchor="lm"
        )
        return np.asarray(board, dtype=np.uint8)

    def _leak_slices(self) -> DicomObject | None:
        leaks = [leak for one in self._content.findings.vertebrae for leak in one.leaks]
        points = [leak.centroid_lps_mm for leak in leaks]
        points += [e.centroid_lps_mm for e in self._content.findings.cement_elsewhere]
        state = self._content.state.words
        description = "CT slices through the centres of cement leaks"
        return key_object_selection(
            points,
            description + (f" ({state})" if state else ""),
            self._source,
            self._stamp,
        )


def patient_lines(source: SourceImages) -> PatientLines:
    """Take what a document says about the patient from the header."""
    header = source.first
    return PatientLines(
        str(header.PatientName), str(header.PatientID), str(header.PatientBirthDate),
        str(header.PatientSex), str(header.StudyDate), str(header.AccessionNumber),
    )  # fmt: skip
