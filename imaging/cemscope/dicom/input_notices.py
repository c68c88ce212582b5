"""What a reader of one series should know of the input that it came in."""

from collections.abc import Iterable, Iterator

from cemscope.dicom.input_headers import InputHeaders
from cemscope.dicom.parts import SeriesPart
from cemscope.errors import NoSeriesError
from cemscope.volume import Notice


def nothing_found(found: InputHeaders) -> NoSeriesError:
    """Make the error of an input without any readable DICOM image."""
    reasons = "".join(f" ({reason})" for reason in sorted(found.problems)[:3])
    archives = f"{found.closed_archives} zip archives in it, "
    inside = " Unpack the zip archives in it." if found.closed_archives else ""
    return NoSeriesError(
        f"expected a CT series, found no readable DICOM image: "
        f"{archives if found.closed_archives else ''}{found.skipped_files} "
        f"files of other kinds, {found.unreadable_files} damaged files{reasons}. Give "
        "the folder, file or zip archive that holds the series, or ask the PACS to "
        f"export it again.{inside}"
    )


def input_notices(found: InputHeaders) -> tuple[Notice, ...]:
    """List what concerns all series of an input."""
    return tuple(_input_notices(found))


def _input_notices(found: InputHeaders) -> Iterator[Notice]:
    if found.problems:
        reasons = "; ".join(
            f"{count} x {reason}" for reason, count in found.problems.most_common(3)
        )
        yield Notice(
            "unreadable_files",
            f"{found.unreadable_files} damaged DICOM files in the input were left out: "
            f"{reasons}. Were they of this series, it would be shorter at one end; a "
            "gap inside would be refused",
        )
    if found.closed_archives:
        yield Notice(
            "archives_not_opened",
            f"{found.closed_archives} zip archives inside the input were not opened: "
            "unpack them, or give them one by one, if a series in them is meant",
        )
    series, images = found.media.absent_ct_series(
        h.series_instance_uid for h in found.slices
    )
    if series and found.media.lists_any(h.sop_instance_uid for h in found.slices):
        yield Notice(
            "series_missing_from_medium",
            f"the DICOMDIR lists {series} more CT series ({images} images) that are "
            "not on the medium: ask for a complete copy if one of them is meant",
        )
    elif series:
        yield Notice(
            "directory_of_other_medium",
            "the DICOMDIR lists none of the images beside it: it belongs to another "
            "medium, maybe of another patient; check where the images come from",
        )


def part_notices(
    part: SeriesPart, parts: Iterable[SeriesPart], absent: tuple[int, int] | None
) -> Iterator[Notice]:
    """List what concerns one part of a series.

    Parameters
    ----------
    part, parts
        One, and all of the input.
    absent
        Images of the series that a DICOMDIR lists: those missing, and all; None
        where none is missing.
    """
    if absent is not None:
        missing, listed = absent
        yield Notice(
            "images_missing_from_medium",
            f"the DICOMDIR lists {listed} images of this series, {missing} of them are "
            "not on the medium: ask for a complete copy",
        )
    if part.count > 1:
        others = [
            str(len(p.headers))
            for p in parts
            if p.series_uid == part.series_uid and p.number != part.number
        ]
        yield Notice(
            "series_in_parts",
            f"the series holds {part.count} stacks that share no grid; this one has "
            f"{len(part.headers)} slices, the others {', '.join(others)}",
        )
