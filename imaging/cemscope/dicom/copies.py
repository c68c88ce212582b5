"""Leaves out copies of slices: files that lie twice in an input, byte for byte."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cemscope.dicom.decoding import read_pixel_bytes
from cemscope.dicom.files import READ_ERRORS, InputFiles
from cemscope.dicom.header import SliceHeader
from cemscope.dicom.parts import SeriesPart, stack_of
from cemscope.dicom.series_finding import FindingCode
from cemscope.dicom.stack import StackSettings, check_stack
from cemscope.errors import UnreadablePixelsError


def without_copies(
    part: SeriesPart, files: InputFiles, settings: StackSettings
) -> SeriesPart:
    """Keep one slice of those at one position, if all of them hold equal pixels.

    Only the pixels of slices at repeated positions are read. Where any of them
    differ, two images claim one place and the part is returned as it is.

    Parameters
    ----------
    part
        A part whose report names duplicate slices; others are returned as they are.
    files
        The open input.
    settings
        Tolerances.
    """
    report = part.report
    if report is None or part.stack is None:
        return part
    if FindingCode.DUPLICATE_SLICES not in {f.code for f in report.findings}:
        return part
    headers = [part.headers[i] for i in report.order]
    positions = part.stack.positions_mm[list(report.order)]
    along = positions @ part.stack.normal
    kept: list[SliceHeader] = []
    start = 0
    for stop in range(1, len(headers) + 1):
        if stop < len(headers) and along[stop] - along[stop - 1] < (
            settings.same_position_mm
        ):
            continue
        group = headers[start:stop]
        sideways = np.ptp(positions[start:stop], axis=0).max()
        if len(group) > 1 and (
            sideways > settings.same_position_mm or not _are_equal(group, files)
        ):
            return part
        # The lowest UID, so that the order of the files does not matter.
        kept.append(min(group, key=lambda h: (h.sop_instance_uid, h.entry)))
        start = stop
    stack = stack_of(kept, settings)
    return replace(
        part,
        headers=tuple(kept),
        copies=len(headers) - len(kept),
        stack=stack,
        report=None if stack is None else check_stack(stack, settings),
    )


def _are_equal(group: Sequence[SliceHeader], files: InputFiles) -> bool:
    if len({h.pixels for h in group}) > 1:
        return False
    try:
        digests = {_digest(header, files) for header in group}
    except (UnreadablePixelsError, *READ_ERRORS):
        return False
    return len(digests) == 1


def _digest(header: SliceHeader, files: InputFiles) -> bytes:
    with files.open(header.entry) as stream:
        return hashlib.sha256(read_pixel_bytes(stream, header, files.limits)).digest()
