"""Lists the series of an input from headers alone."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cemscope.dicom.content import content_findings, content_notices
from cemscope.dicom.files import InputFiles, looks_like_dicom
from cemscope.dicom.header import SliceHeader, read_dataset, slice_headers
from cemscope.dicom.kernel import KernelSharpness, kernel_sharpness
from cemscope.dicom.parts import SeriesPart, series_parts
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.dicom.series_finding import (
    FindingCode,
    SeriesFinding,
    refusal,
)
from cemscope.dicom.stack import StackSettings, stack_geometry
from cemscope.errors import NoSeriesError, SeriesError
from cemscope.geometry import VoxelGeometry
from cemscope.volume import Acquisition, Notice

logger = logging.getLogger(__name__)

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
        Along (slice, row, column); None where the header lacks positions.
    coverage_mm : float
        Slices x spacing along their normal.
    plane : str
        "axial", "coronal", "sagittal", "oblique" or "unknown".
    acquisition : Acquisition
        How it was scanned.
    sharpness : KernelSharpness
        What the kernel's name says.
    transfer_syntax : str
        Name of the pixel encoding.
    image_type : tuple of str
        DICOM ImageType.
    findings : tuple of SeriesFinding
        Why it must not be measured; empty where it can be.
    notices : tuple of Notice
        What is worth knowing of it.
    geometry : VoxelGeometry or None
        Its grid; None where there are findings.
    headers : tuple of SliceHeader
        The slices, along their normal.
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
    coverage_mm: float
    plane: str
    acquisition: Acquisition
    sharpness: KernelSharpness
    transfer_syntax: str
    image_type: tuple[str, ...]
    findings: tuple[SeriesFinding, ...]
    notices: tuple[Notice, ...]
    geometry: VoxelGeometry | None = field(repr=False, compare=False)
    headers: tuple[SliceHeader, ...] = field(repr=False, compare=False)

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

    def refusal(self) -> SeriesError:
        """Error that names all findings; call it only where there are some."""
        return refusal(f"series {self.name} ({self.slices} slices)", self.findings)


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
    """

    series: tuple[SeriesSummary, ...]
    skipped_files: int
    unreadable_files: int


def list_series(
    path: Path, settings: StackSettings | None = None
) -> tuple[SeriesSummary, ...]:
    """List the series under a path without reading pixels.

    Parameters
    ----------
    path
        Folder (with subfolders), DICOM file or zip archive.
    settings
        Tolerances of the geometry checks.

    Returns
    -------
    tuple of SeriesSummary
        At least one; series that cannot be measured carry their findings.

    Raises
    ------
    NoSeriesError
        If there is no readable DICOM object at all.
    """
    return scan_input(path, settings).series


def scan_input(path: Path, settings: StackSettings | None = None) -> InputScan:
    """Read all headers under a path; like `list_series`, with the file counts.

    Raises
    ------
    NoSeriesError
        If there is no readable DICOM object at all.
    """
    with silenced_pydicom():
        return _scan(Path(path), settings or StackSettings())


def _scan(path: Path, settings: StackSettings) -> InputScan:
    headers: list[SliceHeader] = []
    skipped = unreadable = 0
    with InputFiles(path) as files:
        for entry in files.entries():
            try:
                if not looks_like_dicom(files.head(entry)):
                    skipped += 1
                    continue
                with files.open(entry) as stream:
                    dataset = read_dataset(stream, with_pixels=False)
                found = tuple(slice_headers(dataset, entry))
            except Exception:  # noqa: BLE001 - pydicom raises anything on damage
                unreadable += 1
                continue
            skipped += not found
            headers.extend(found)
    logger.debug(
        "%d slices, %d files skipped, %d unreadable", len(headers), skipped, unreadable
    )
    if not headers:
        raise NoSeriesError(
            f"expected a CT series, found no readable DICOM image: {skipped} files of "
            f"other kinds, {unreadable} damaged files. Give the folder, file or zip "
            "archive that holds the series."
        )
    parts = series_parts(headers, settings)
    common = _file_notices(unreadable)
    return InputScan(
        series=tuple(_summary(part, parts, common) for part in parts),
        skipped_files=skipped,
        unreadable_files=unreadable,
    )


def _file_notices(unreadable: int) -> tuple[Notice, ...]:
    if not unreadable:
        return ()
    message = f"{unreadable} damaged DICOM files in the input were left out"
    return (Notice("unreadable_files", message),)


def _summary(
    part: SeriesPart, parts: Iterable[SeriesPart], common: tuple[Notice, ...]
) -> SeriesSummary:
    findings = content_findings(part)
    report = part.report
    headers = part.headers
    kind_is_wrong = any(f.code is FindingCode.NOT_CT for f in findings)
    if report is not None:
        headers = tuple(headers[i] for i in report.order)
        if not kind_is_wrong:
            findings += tuple(_with_copies(f, headers) for f in report.findings)
    first = headers[0]
    geometry = None
    if part.stack is not None and report is not None and not findings:
        geometry = stack_geometry(
            part.stack, report, first.frame_of_reference_uid or None
        )
    spacing_mm = None
    if part.stack is not None and report is not None:
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
        coverage_mm=0.0 if report is None else report.spacing_mm * len(headers),
        plane=_plane(part),
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
        findings=findings,
        notices=(*common, *_part_notices(part, parts), *content_notices(part)),
        geometry=geometry,
        headers=headers,
    )


def _part_notices(part: SeriesPart, parts: Iterable[SeriesPart]) -> tuple[Notice, ...]:
    if part.count == 1:
        return ()
    others = [
        str(len(p.headers))
        for p in parts
        if p.series_uid == part.series_uid and p.number != part.number
    ]
    return (
        Notice(
            "series_in_parts",
            f"the series holds {part.count} stacks that share no grid; this one has "
            f"{len(part.headers)} slices, the others {', '.join(others)}",
        ),
    )


def _with_copies(
    finding: SeriesFinding, headers: tuple[SliceHeader, ...]
) -> SeriesFinding:
    """Tell copies of one file from different slices at one position."""
    if finding.code is not FindingCode.DUPLICATE_SLICES:
        return finding
    counts = Counter((h.sop_instance_uid, h.frame_index) for h in headers)
    copies = sum(n - 1 for n in counts.values())
    what = f"{copies} of them copies of a file" if copies else "by different images"
    return SeriesFinding(finding.code, f"{finding.message}, {what}")


def _plane(part: SeriesPart) -> str:
    if part.stack is None:
        return "unknown"
    cosines = np.abs(part.stack.normal)
    axis = int(np.argmax(cosines))
    if cosines[axis] < _AXIAL_COSINE:
        return "oblique"
    return ("sagittal", "coronal", "axial")[axis]
