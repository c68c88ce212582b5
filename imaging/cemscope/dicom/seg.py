"""Reads vertebra labels from a DICOM Segmentation (BINARY, FRACTIONAL, LABELMAP).

The stored frames are placed one by one from their own positions: writers leave empty
frames out and store them in any order. ITK reads such files without an error and
with a wrong geometry, and must not be used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID

from cemscope.anatomy import CRANIOCAUDAL_ORDER, VertebraLevel
from cemscope.anatomy_schemes import is_arch_text, level_from_text
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.errors import LabelMapError
from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.volume import LabelArray, LabelMap

SEGMENTATION_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.4")
"""SOP class of BINARY and FRACTIONAL segmentations."""

LABELMAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
"""SOP class of LABELMAP segmentations (Supplement 243)."""

_ARCH_CODE = "40265002"
"""SNOMED CT: vertebral arch."""

_SNOMED_LEVELS: Mapping[str, VertebraLevel] = {
    code: level
    for level in map(VertebraLevel, CRANIOCAUDAL_ORDER)
    if (code := level.snomed_code) is not None
}

_POSITION_TOLERANCE_MM = 0.05
"""Frames whose place differs from the grid by more lie on no regular grid."""

_MAX_OVERLAP = 0.02
"""Share of a segment that may be claimed by another one as well."""


@dataclass(frozen=True, slots=True)
class SegmentName:
    """What a segment says about itself.

    Attributes
    ----------
    label : str
        SegmentLabel.
    level : VertebraLevel or None
        From the anatomic code, else from the label; None if it is no vertebra.
    is_arch : bool
        Whether only the arch is meant.
    """

    label: str
    level: VertebraLevel | None
    is_arch: bool

    @property
    def number(self) -> int | None:
        """Cemscope's number for it; None if it is no vertebra."""
        if self.level is None:
            return None
        return self.level.arch_number if self.is_arch else self.level.number


def is_segmentation(path: Path) -> bool:
    """Tell whether a file is a DICOM Segmentation, by its content."""
    try:
        with silenced_pydicom():
            dataset = dcmread(path, specific_tags=["SOPClassUID"], force=False)
    except (InvalidDicomError, OSError):
        return False
    return dataset.get("SOPClassUID") in (SEGMENTATION_STORAGE, LABELMAP_STORAGE)


def read_segmentation(path: Path) -> LabelMap:
    """Read the vertebrae of a DICOM Segmentation.

    Segments that are named by SNOMED CT code or by label text as vertebrae are kept
    under cemscope's numbers and named; if none is named, all segments are kept under
    their own numbers, for the detection of their numbering.

    Parameters
    ----------
    path
        One DICOM file.

    Returns
    -------
    LabelMap
        On the smallest regular grid that holds all stored frames, with the file's
        frame of reference.

    Raises
    ------
    LabelMapError
        If the file is no segmentation, its frames lie on no regular grid, segments
        overlap, or two segments name one vertebra.
    """
    with silenced_pydicom():
        try:
            dataset = dcmread(path)
        except (InvalidDicomError, OSError) as error:
            raise LabelMapError("the label map is no readable DICOM file") from error
        if dataset.get("SOPClassUID") not in (SEGMENTATION_STORAGE, LABELMAP_STORAGE):
            raise LabelMapError(
                "expected a DICOM Segmentation, found another DICOM object "
                f"(modality {dataset.get('Modality', 'unknown')})"
            )
        try:
            return _label_map(dataset)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise LabelMapError(
                f"the DICOM Segmentation is incomplete: {type(error).__name__} while "
                "reading its segments or frames"
            ) from error


def segment_names(dataset: Dataset) -> dict[int, SegmentName]:
    """Read what each segment of a segmentation says it is."""
    return {int(item.SegmentNumber): _name_of(item) for item in dataset.SegmentSequence}


def _name_of(item: Dataset) -> SegmentName:
    label = str(item.get("SegmentLabel", ""))
    codes = [
        str(code.get("CodeValue", ""))
        for keyword in (
            "SegmentedPropertyTypeCodeSequence",
            "AnatomicRegionSequence",
            "PrimaryAnatomicStructureSequence",
        )
        for code in item.get(keyword, [])
    ]
    levels = [_SNOMED_LEVELS[code] for code in codes if code in _SNOMED_LEVELS]
    # A screw or a leak is *in* L3; only what is itself a vertebra may take the code.
    named = level_from_text(label)
    coded_type = [
        str(code.get("CodeValue", ""))
        for code in item.get("SegmentedPropertyTypeCodeSequence", [])
    ]
    is_arch = _ARCH_CODE in coded_type or is_arch_text(label)
    type_is_vertebra = any(code in _SNOMED_LEVELS for code in coded_type)
    if levels and (type_is_vertebra or is_arch or named is not None):
        return SegmentName(label, levels[0], is_arch)
    return SegmentName(label, named, is_arch)


@dataclass(frozen=True, slots=True, eq=False)
class _Frames:
    """Where each stored frame goes."""

    geometry: VoxelGeometry
    slice_index: tuple[int, ...]
    segment: tuple[int | None, ...]


def _label_map(dataset: FileDataset) -> LabelMap:
    names = segment_names(dataset)
    numbers = _numbers_to_keep(names)
    frames = _placed_frames(dataset)
    labels = np.zeros(frames.geometry.shape, dtype=np.uint8)
    claimed = dict.fromkeys(numbers, 0)
    lost = dict.fromkeys(numbers, 0)
    pixels = _frame_pixels(dataset)
    for place, segment, frame in zip(
        frames.slice_index, frames.segment, pixels, strict=True
    ):
        if segment is None:
            _add_label_frame(labels[place], frame, numbers)
        elif segment in numbers:
            set_here = _is_set(frame, dataset)
            free = labels[place] == 0
            claimed[segment] += int(set_here.sum())
            lost[segment] += int((set_here & ~free).sum())
            labels[place][set_here & free] = numbers[segment]
    _require_little_overlap(names, claimed, lost)
    kept = {number: _kept_name(names[segment]) for segment, number in numbers.items()}
    return LabelMap(labels, frames.geometry, kept)


def _kept_name(name: SegmentName) -> str:
    if name.level is None:
        return name.label
    return f"{name.level.name} arch" if name.is_arch else name.level.name


def _numbers_to_keep(names: Mapping[int, SegmentName]) -> dict[int, int]:
    """Segment number -> label number."""
    kept: dict[int, int] = {}
    for segment, name in names.items():
        number = name.number
        if number is None:
            continue
        if number in kept.values():
            raise LabelMapError(
                f"two segments of the DICOM Segmentation are {_kept_name(name)}: each "
                "vertebra may occur once"
            )
        kept[segment] = number
    if kept:
        return kept
    if max(names, default=0) > 255:
        raise LabelMapError(
            f"no segment names a vertebra, and there are more than 255 of them "
            f"({len(names)})"
        )
    return {segment: segment for segment in names if segment > 0}


def _placed_frames(dataset: Dataset) -> _Frames:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    per_frame = dataset.PerFrameFunctionalGroupsSequence
    orientation = np.array(
        _group(
            shared, per_frame[0], "PlaneOrientationSequence"
        ).ImageOrientationPatient,
        dtype=np.float64,
    )
    for groups in per_frame:
        other = _group(shared, groups, "PlaneOrientationSequence")
        if (
            np.abs(orientation - np.array(other.ImageOrientationPatient, float)).max()
            > 1e-4
        ):
            raise LabelMapError(
                "the frames of the DICOM Segmentation differ in direction"
            )
    measures = _group(shared, per_frame[0], "PixelMeasuresSequence")
    rows_mm, columns_mm = (float(value) for value in measures.PixelSpacing)
    right, down = orientation[:3], orientation[3:]
    normal = np.cross(right, down)
    origins = np.array(
        [
            _group(shared, groups, "PlanePositionSequence").ImagePositionPatient
            for groups in per_frame
        ],
        dtype=np.float64,
    )
    heights = origins @ normal
    spacing_mm = _slice_spacing(heights, measures)
    steps = (heights - heights.min()) / spacing_mm
    index = np.rint(steps).astype(int)
    first = origins[int(heights.argmin())]
    expected = first + np.outer(index * spacing_mm, normal)
    deviation_mm = float(np.linalg.norm(origins - expected, axis=1).max())
    if deviation_mm > _POSITION_TOLERANCE_MM:
        raise LabelMapError(
            "the frames of the DICOM Segmentation lie on no regular grid: up to "
            f"{deviation_mm:.2f} mm off a spacing of {spacing_mm:.3f} mm (uneven "
            "slices or gantry tilt)"
        )
    geometry = VoxelGeometry.from_axes(
        (int(index.max()) + 1, int(dataset.Rows), int(dataset.Columns)),
        (spacing_mm, rows_mm, columns_mm),
        first,
        (normal, down, right),
        _frame_of_reference(dataset),
    )
    segments = tuple(_segment_of(shared, groups) for groups in per_frame)
    return _Frames(geometry, tuple(index.tolist()), segments)


def _group(shared: Dataset, own: Dataset, keyword: str) -> Any:
    """Take a functional group of a frame, or else the one that all frames share."""
    sequence = own.get(keyword) or shared.get(keyword)
    if not sequence:
        raise LabelMapError(
            f"the DICOM Segmentation lacks {keyword}: its frames have no place in the "
            "patient"
        )
    return sequence[0]


def _slice_spacing(heights: FloatArray, measures: Dataset) -> float:
    """Distance between slices: the smallest step, as empty slices may be missing."""
    distinct = np.unique(np.round(heights, 3))
    told = measures.get("SpacingBetweenSlices")
    if len(distinct) > 1:
        smallest = float(np.diff(distinct).min())
        # Where every second slice is empty the smallest step spans several slices.
        if told and abs(round(smallest / float(told)) * float(told) - smallest) < 0.01:
            return float(told)
        span = float(distinct[-1] - distinct[0])
        return span / max(1, round(span / smallest))
    if told:
        return float(told)
    thickness = measures.get("SliceThickness")
    if not thickness:
        raise LabelMapError(
            "a DICOM Segmentation of one slice tells no slice thickness"
        )
    return float(thickness)


def _frame_of_reference(dataset: Dataset) -> str | None:
    uid = dataset.get("FrameOfReferenceUID")
    return str(uid) if uid else None


def _segment_of(shared: Dataset, groups: Dataset) -> int | None:
    """Segment of a frame; None in a LABELMAP, whose pixels are the numbers."""
    for source in (groups, shared):
        sequence = source.get("SegmentIdentificationSequence")
        if sequence:
            return int(sequence[0].ReferencedSegmentNumber)
    return None


def _frame_pixels(dataset: FileDataset) -> Iterator[npt.NDArray[Any]]:
    """Frames one at a time: all of a long spine at once would fill the memory."""
    if int(dataset.get("NumberOfFrames", 1)) == 1:
        return iter([dataset.pixel_array.reshape(dataset.Rows, dataset.Columns)])
    return iter_pixels(dataset)


def _is_set(frame: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[np.bool_]:
    if dataset.get("SegmentationType") == "FRACTIONAL":
        half = float(dataset.get("MaximumFractionalValue", 255)) / 2
        above: npt.NDArray[np.bool_] = frame >= half
        return above
    present: npt.NDArray[np.bool_] = frame > 0
    return present


def _add_label_frame(
    target: npt.NDArray[np.uint8], frame: npt.NDArray[Any], numbers: Mapping[int, int]
) -> None:
    table: LabelArray = np.zeros(65536, dtype=np.uint8)
    for segment, number in numbers.items():
        table[segment] = number
    np.copyto(target, table[frame])


def _require_little_overlap(
    names: Mapping[int, SegmentName],
    claimed: Mapping[int, int],
    lost: Mapping[int, int],
) -> None:
    for segment, count in lost.items():
        if count > _MAX_OVERLAP * max(claimed[segment], 1):
            share = count / claimed[segment]
            raise LabelMapError(
                f"the segment of {_kept_name(names[segment])} shares {share:.0%} of "
                "its voxels with another segment: a voxel can belong to one vertebra "
                "only"
            )
