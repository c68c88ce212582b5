"""Lists the series of an input from headers alone."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cemscope.dicom.content import (
    content_findings,
    content_notices,
    volume_findings,
)
from cemscope.dicom.copies import without_copies
from cemscope.dicom.files import InputFiles
from cemscope.dicom.header import SliceHeader
from cemscope.dicom.input_headers import read_input_headers
from cemscope.dicom.input_notices import input_notices, nothing_found, part_notices
from cemscope.dicom.kernel import KernelSharpness, kernel_sharpness
from cemscope.dicom.limits import InputLimits
from cemscope.dicom.parts import SeriesPart, series_parts
from cemscope.dicom.patient_marks import UNKNOWN_PATIENT, PatientMarks
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.dicom.series_finding import (
    FindingCode,
    SeriesFinding,
    advice,
    has_grid_fault,
    refusal,
)
from cemscope.dicom.shear import ShearPlan, grid_plan
from cemscope.dicom.stack import StackReport, StackSettings
from cemscope.dicom.stack_steps import percent_words
from cemscope.errors import SeriesError
from cemscope.geometry import VoxelGeometry
from cemscope.volume import Acquisition, Notice

_AXIAL_COSINE = 0.8
"""Planes within 37 degrees of axial count as axial (discs are followed obliquely)."""


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """One series, or one part of a series that holds several stacks.

    Free texts of the header and everything about the patient are left out.

    Attributes
    ----------
    series_instance_uid, study_instance_uid, frame_of_reference_uid : str
        "" where missing, except that a missing series UID is made up.
    part, part_count : int
        This part's number in its series, from 1, and how many there are.
    part_label : str
        What sets the part apart, e.g. "acquisition number 2"; often "".
    modality : str
        DICOM modality.
    slices, rows, columns : int
        Size.
    spacing_mm : tuple of float or None
        Along (slice, row, column); None where the header lacks positions or the
        steps between slices differ.
    step_range_mm : tuple of float or None
        Smallest and largest step between slices along their normal.
    pixel_spacing_mm : tuple of float or None
        Distance between rows, between columns.
    coverage_mm : float
        From the first to the last slice along their normal, and one mean step more.
    plane : str
        "axial", "coronal", "sagittal", "oblique" or "unknown".
    tilt_degrees : float or None
        Shear of the slices against their normal, measured from their positions.
    acquisition : Acquisition
        How it was scanned.
    sharpness : KernelSharpness
        What the kernel's name says.
    transfer_syntax : str
        Name of the pixel encoding.
    image_type : tuple of str
        DICOM ImageType.
    avoided_error_percent : tuple of float or None
        Range of error of volumes, were the slices stacked evenly; None where they
        form a grid.
    findings : tuple of SeriesFinding
        Why it must not be measured; empty where it can be.
    notices : tuple of Notice
        What is worth knowing of it.
    geometry : VoxelGeometry or None
        Its grid; None where there are findings.
    shear : ShearPlan or None
        How its slices are moved onto that grid; None where they lie on it.
    headers : tuple of SliceHeader
        The slices, along their normal.
    patient : PatientMarks
        Tells the patients of one input apart; names nobody.
    """

    series_instance_uid: str
    study_instance_uid: str
    frame_of_reference_uid: str
    part: int
    part_count: int
    part_label: str
    modality: str
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float, float] | None
    step_range_mm: tuple[float, float] | None
    pixel_spacing_mm: tuple[float, float] | None
    coverage_mm: float
    plane: str
    tilt_degrees: float | None
    acquisition: Acquisition
    sharpness: KernelSharpness
    transfer_syntax: str
    image_type: tuple[str, ...]
    avoided_error_percent: tuple[float, float] | None
    findings: tuple[SeriesFinding, ...]
    notices: tuple[Notice, ...]
    geometry: VoxelGeometry | None = field(repr=False, compare=False)
    shear: ShearPlan | None = field(repr=False, compare=False)
    headers: tuple[SliceHeader, ...] = field(repr=False, compare=False)
    patient: PatientMarks = field(default=UNKNOWN_PATIENT, repr=False, compare=False)

    @property
    def measurable(self) -> bool:
        """Whether `read_series` accepts it, as far as headers tell."""
        return not self.findings

    @property
    def name(self) -> str:
        """The series UID, with ``#part`` where it holds several parts."""
        if self.part_count == 1:
            return self.series_instance_uid
        return f"{self.series_instance_uid}#{self.part}"

    @property
    def advice(self) -> str:
        """What to ask the scanner or the PACS for; "" where nothing is wrong."""
        return advice(self.findings)

    def refusal(self) -> SeriesError:
        """Error that names all findings; call it only where there are some."""
        error = self.avoided_error_percent
        return refusal(
            f"series {self.name} ({self.slices} slices)",
            self.findings,
            "" if error is None else percent_words(*error),
        )


@dataclass(frozen=True, slots=True)
class InputScan:
    """What lies in an input.

    Attributes
    ----------
    series : tuple of SeriesSummary
        All series and parts.
    skipped_files : int
        Files that are no DICOM image (texts, pictures, a DICOMDIR).
    unreadable_files : int
        Files that look like DICOM but are damaged.
    closed_archives : int
        Zip archives inside the input; they are not opened.
    """

    series: tuple[SeriesSummary, ...]
    skipped_files: int
    unreadable_files: int
    closed_archives: int = 0


def list_series(
    path: Path,
    settings: StackSettings | None = None,
    limits: InputLimits | None = None,
    decode_soon: bool = False,
) -> tuple[SeriesSummary, ...]:
    """List the series under a path without reading pixels.

    Parameters
    ----------
    path
        Folder (with subfolders), DICOM file or zip archive.
    settings
        Tolerances of the geometry checks.
    limits
        What is too large to be read.
    decode_soon
        Whether a series will be read at once: decoders for compressed pixels then
        start while the headers are read.

    Returns
    -------
    tuple of SeriesSummary
        At least one; series that cannot be measured carry their findings.

    Raises
    ------
    NoSeriesError
        If there is no readable DICOM object at all.
    """
    return scan_input(path, settings, limits, decode_soon).series


def scan_input(
    path: Path,
    settings: StackSettings | None = None,
    limits: InputLimits | None = None,
    decode_soon: bool = False,
) -> InputScan:
    """Read all headers under a path; like `list_series`, with the file counts.

    Raises
    ------
    NoSeriesError
        If there is no readable DICOM object at all.
    """
    settings = settings or StackSettings()
    with silenced_pydicom(), InputFiles(Path(path), limits) as files:
        found = read_input_headers(files, decode_soon)
        if not found.slices:
            raise nothing_found(found)
        parts = tuple(
            without_copies(part, files, settings)
            for part in series_parts(found.slices, settings)
        )
        common = input_notices(found)
        absent = found.media.missing(found.slices)
        return InputScan(
            series=tuple(
                _summary(
                    part,
                    files.limits,
                    (
                        *common,
                        *part_notices(part, parts, absent.get(part.series_uid)),
                    ),
                )
                for part in parts
            ),
            skipped_files=found.skipped_files,
            unreadable_files=found.unreadable_files,
            closed_archives=found.closed_archives,
        )


def _summary(
    part: SeriesPart,
    limits: InputLimits,
    common: tuple[Notice, ...],
) -> SeriesSummary:
    report = part.report
    headers = part.headers
    plan = None
    if report is not None:
        headers = tuple(headers[i] for i in report.order)
    findings = content_findings(part, headers, limits)
    not_ct = any(f.code is FindingCode.NOT_CT for f in findings)
    if report is not None and not not_ct:
        findings += tuple(_with_copies(f, headers) for f in report.findings)
    first = headers[0]
    if part.stack is not None and report is not None and not findings:
        plan = grid_plan(part.stack, report, first.frame_of_reference_uid or None)
        findings += volume_findings(plan.geometry.shape, limits)
    if findings:
        plan = None
    spacing_mm = None
    if part.stack is not None and report is not None and report.is_even:
        spacing_mm = (report.spacing_mm, *part.stack.pixel_spacing_mm)
    return SeriesSummary(
        series_instance_uid=part.series_uid,
        study_instance_uid=first.study_instance_uid,
        frame_of_reference_uid=first.frame_of_reference_uid,
        part=part.number,
        part_count=part.count,
        part_label=part.acquisition_label,
        modality=first.modality,
        slices=len(headers),
        rows=first.rows,
        columns=first.columns,
        spacing_mm=spacing_mm,
        step_range_mm=None if report is None else report.step_range_mm,
        pixel_spacing_mm=first.pixel_spacing_mm,
        coverage_mm=0.0 if report is None else report.spacing_mm * len(headers),
        plane=_plane(part),
        tilt_degrees=None if report is None else report.tilt_degrees,
        acquisition=Acquisition(
            kvp=first.kvp,
            kernel=first.kernel,
            slice_thickness_mm=first.slice_thickness_mm,
            manufacturer=first.manufacturer,
            acquisition_date=first.acquisition_date,
            metal_artifact_reduction=first.metal_artifact_reduction,
        ),
        sharpness=kernel_sharpness(first.kernel),
        transfer_syntax=first.pixels.transfer_syntax_name,
        image_type=first.image_type,
        avoided_error_percent=_avoided_error(report, findings),
        findings=findings,
        notices=(*common, *content_notices(part)),
        geometry=None if plan is None else plan.geometry,
        shear=plan if isinstance(plan, ShearPlan) else None,
        headers=headers,
        patient=first.patient,
    )


def _avoided_error(
    report: StackReport | None, findings: tuple[SeriesFinding, ...]
) -> tuple[float, float] | None:
    if report is None or not (has_grid_fault(findings) or report.is_sheared):
        return None
    return report.avoided_error_percent


def _with_copies(
    finding: SeriesFinding, headers: tuple[SliceHeader, ...]
) -> SeriesFinding:
    """Tell copies of one file from different slices at one position."""
    if finding.code is not FindingCode.DUPLICATE_SLICES:
        return finding
    counts = Counter((h.sop_instance_uid, h.frame_index) for h in headers)
    copies = sum(n - 1 for n in counts.values())
    what = "by different images"
    if copies:
        what = f"{copies} of them by two versions of one image"
    return SeriesFinding(finding.code, f"{finding.message}, {what}")


def _plane(part: SeriesPart) -> str:
    if part.stack is None:
        return "unknown"
    cosines = np.abs(part.stack.normal)
    axis = int(np.argmax(cosines))
    if cosines[axis] < _AXIAL_COSINE:
        return "oblique"
    return ("sagittal", "coronal", "axial")[axis]
