"""Splits the slices of an input into series, and a series into stacks.

One SeriesInstanceUID can hold a localizer, two reconstructions or two acquisitions.
Each becomes a part of its own; instance numbers, file names and exposure values play
no role, because valid series vary in them.
"""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cemscope.dicom.header import SliceHeader
from cemscope.dicom.stack import (
    SliceStack,
    StackReport,
    StackSettings,
    check_stack,
    orthonormal_axes,
)

LOCALIZER = "LOCALIZER"
"""Third value of ImageType of a scout (DICOM PS3.3 C.8.2.1.1.1)."""

_ACQUISITION_TIME = 3

_MOST_ORIENTATIONS = 500
"""More orientations in one series are no images of a body; the rest stays together."""


@dataclass(frozen=True, slots=True, eq=False)
class SeriesPart:
    """Slices that belong on one grid.

    Attributes
    ----------
    series_uid : str
        SeriesInstanceUID, or a made-up one where the header has none.
    uid_is_made_up : bool
        Whether that is the case.
    number, count : int
        This part's number in the series (from 1) and how many there are.
    acquisition_label : str
        What sets it apart from parts of the same form, e.g. "acquisition number 2";
        "" where its form already does.
    headers : tuple of SliceHeader
        In no order.
    copies : int
        Copies of slices that were left out.
    stack : SliceStack or None
        Positions; None where the headers lack them.
    report : StackReport or None
        What `check_stack` says.
    """

    series_uid: str
    uid_is_made_up: bool
    number: int
    count: int
    acquisition_label: str
    headers: tuple[SliceHeader, ...]
    copies: int
    stack: SliceStack | None
    report: StackReport | None


def slice_name(header: SliceHeader) -> str:
    """How messages call a slice: never by its path, which can hold a name."""
    if header.frame_count > 1:
        return f"frame {header.frame_index + 1}"
    if header.instance_number is None:
        return f"instance {header.sop_instance_uid or 'without number'}"
    return f"instance {header.instance_number}"


def series_parts(
    headers: Iterable[SliceHeader], settings: StackSettings
) -> tuple[SeriesPart, ...]:
    """Split slices by series, form and, where stacks overlap, by acquisition.

    Returns
    -------
    tuple of SeriesPart
        Series in the order of their UIDs, the largest part of a series first.
    """
    parts: list[SeriesPart] = []
    for uid, members in sorted(_grouped(headers, series_uid_of).items()):
        pieces = [
            piece
            for form in _by_form(members, settings)
            for piece in _by_acquisition(form, settings)
        ]
        pieces.sort(key=lambda piece: -len(piece[1]))
        for number, (label, piece) in enumerate(pieces, start=1):
            stack = stack_of(piece, settings)
            parts.append(
                SeriesPart(
                    series_uid=uid,
                    uid_is_made_up=not members[0].series_instance_uid,
                    number=number,
                    count=len(pieces),
                    acquisition_label=label,
                    headers=tuple(piece),
                    copies=0,
                    stack=stack,
                    report=None if stack is None else check_stack(stack, settings),
                )
            )
    return tuple(parts)


def series_uid_of(header: SliceHeader) -> str:
    """SeriesInstanceUID, or a UID made from what else tells series apart."""
    if header.series_instance_uid:
        return header.series_instance_uid
    return made_up_uid(
        header.study_instance_uid,
        header.frame_of_reference_uid,
        str(header.series_number),
        header.modality,
    )


def made_up_uid(*words: str) -> str:
    """Make a stable UID from words that do not identify anybody."""
    digest = hashlib.sha256("\n".join(words).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def stack_of(
    headers: Sequence[SliceHeader], settings: StackSettings
) -> SliceStack | None:
    """Positions of slices of one form; None where a header lacks them."""
    rows_axes, columns_axes, positions = [], [], []
    for header in headers:
        axes = header.orientation and orthonormal_axes(*header.orientation)
        if not axes or header.position is None:
            return None
        rows_axes.append(axes[0])
        columns_axes.append(axes[1])
        positions.append(header.position)
    spacing = headers[0].pixel_spacing_mm
    axes = orthonormal_axes(
        np.mean(rows_axes, axis=0).tolist(), np.mean(columns_axes, axis=0).tolist()
    )
    if spacing is None or min(spacing) <= 0 or axes is None:
        return None
    if min(headers[0].rows, headers[0].columns) < 1:
        return None
    return SliceStack(
        positions_mm=np.array(positions, dtype=np.float64),
        along_row=axes[0],
        along_column=axes[1],
        pixel_spacing_mm=spacing,
        shape=(headers[0].rows, headers[0].columns),
        names=tuple(slice_name(h) for h in headers),
    )


def _grouped(
    headers: Iterable[SliceHeader], key: Callable[[SliceHeader], str]
) -> dict[str, list[SliceHeader]]:
    groups: dict[str, list[SliceHeader]] = {}
    for header in headers:
        groups.setdefault(key(header), []).append(header)
    return groups


def _by_form(
    headers: Sequence[SliceHeader], settings: StackSettings
) -> list[list[SliceHeader]]:
    """Split by what one grid must share: size, kernel, tube voltage, orientation."""
    forms: dict[Hashable, _Orientations] = {}
    for header in headers:
        spacing = header.pixel_spacing_mm
        key = (
            header.modality,
            header.sop_class_uid,
            header.frame_of_reference_uid,
            header.rows,
            header.columns,
            spacing and (round(spacing[0], 4), round(spacing[1], 4)),
            LOCALIZER in header.image_type,
            header.kernel,
            header.kvp,
            header.pixels.rescale_type,
            header.metal_artifact_reduction,
            header.orientation is None,
            header.position is None,
        )
        form = forms.setdefault(key, _Orientations(settings.orientation_tolerance))
        form.add(header)
    return [cluster for form in forms.values() for cluster in form.clusters]


class _Orientations:
    """Slices of one form, sorted by orientation; the first slice stands for each."""

    def __init__(self, tolerance: float) -> None:
        self.clusters: list[list[SliceHeader]] = []
        self._tolerance = tolerance
        self._known = np.empty((0, 6))

    def add(self, header: SliceHeader) -> None:
        cosines = np.array(header.orientation or np.zeros((2, 3))).ravel()
        same = np.abs(self._known - cosines) <= self._tolerance
        fits = np.flatnonzero(same.all(axis=1))
        if fits.size:
            self.clusters[int(fits[0])].append(header)
        elif len(self.clusters) == _MOST_ORIENTATIONS:
            self.clusters[-1].append(header)
        else:
            self._known = np.vstack([self._known, cosines])
            self.clusters.append([header])


def _by_acquisition(
    headers: list[SliceHeader], settings: StackSettings
) -> list[tuple[str, list[SliceHeader]]]:
    """Split acquisitions that overlap in space, or that are regular only apart.

    A step-and-shoot scan numbers every rotation as an acquisition; as long as those
    lie one behind the other on one grid they stay together.
    """
    stack = stack_of(headers, settings)
    if stack is None:
        return [("", headers)]
    faulty = bool(check_stack(stack, settings).findings)
    along = stack.positions_mm @ stack.normal
    names = (
        "acquisition number",
        "temporal position",
        "cardiac phase",
        "acquisition time",
        "stack",
    )
    for field, name in enumerate(names):
        values = sorted({h.timing[field] for h in headers})
        if not 1 < len(values) <= len(headers) / 2:
            continue
        indices: dict[str, list[int]] = {value: [] for value in values}
        for index, header in enumerate(headers):
            indices[header.timing[field]].append(index)
        members = [[headers[i] for i in indices[value]] for value in values]
        ranges = [
            (float(along[indices[v]].min()), float(along[indices[v]].max()))
            for v in values
        ]
        overlap = _overlap(ranges, settings.same_position_mm)
        if field == _ACQUISITION_TIME and not faulty:
            overlap = False
        if overlap or (faulty and all(_is_regular(m, settings) for m in members)):
            return [
                (_label(field, name, value, number, len(values)), piece)
                for number, (value, piece) in enumerate(
                    zip(values, members, strict=True), start=1
                )
            ]
    return [("", headers)]


def _label(field: int, name: str, value: str, number: int, count: int) -> str:
    """Say what sets a part off; a time of day is told by its rank alone."""
    if field == _ACQUISITION_TIME:
        return f"{name} {number} of {count}"
    return f"{name} {value or 'none'}"


def _overlap(ranges: list[tuple[float, float]], tolerance_mm: float) -> bool:
    ordered = sorted(ranges)
    return any(
        after[0] < before[1] - tolerance_mm for before, after in pairwise(ordered)
    )


def _is_regular(headers: Sequence[SliceHeader], settings: StackSettings) -> bool:
    stack = stack_of(headers, settings)
    return stack is not None and not check_stack(stack, settings).findings
