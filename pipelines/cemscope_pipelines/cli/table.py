"""Tables for a terminal."""

from collections.abc import Sequence

from cemscope_pipelines.report import (
    CementEntry,
    LeakEntry,
    NotAssessedEntry,
    Report,
    ScrewEntry,
    TotalsEntry,
    VertebraEntry,
)


def format_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], left_columns: Sequence[int]
) -> str:
    """Align columns; those in ``left_columns`` to the left, the others to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]

    def aligned(line: Sequence[str]) -> str:
        cells = (
            cell.ljust(width) if i in left_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([aligned(lines[0]), rule, *(aligned(line) for line in lines[1:])])


def leak_words(leaks: Sequence[LeakEntry]) -> str:
    """Leaks of a vertebra in a few words."""
    if not leaks:
        return "-"
    parts = []
    for leak in leaks:
        kinds = "".join(leak.types) or "?"
        places = "+".join(leak.locations) or "place not told"
        parts.append(f"{kinds} {places} {leak.volume_ml:.2f}")
    return "; ".join(parts)


def screw_words(screws: Sequence[ScrewEntry]) -> str:
    """Screws of a vertebra in a few words."""
    if not screws:
        return "-"
    parts = []
    for screw in screws:
        if not screw.cemented:
            parts.append(f"{screw.side} without cement")
        elif isinstance(screw.cement_volume_ml, NotAssessedEntry):
            parts.append(f"{screw.side} cemented")
        else:
            parts.append(f"{screw.side} {screw.cement_volume_ml:.2f} mL")
    return "; ".join(parts)


VERTEBRA_HEADER = (
    "level", "conf.", "cement mL", "95 % interval", "in body", "leaked", "fill %",
    "leaks (type place mL)", "screws",
)  # fmt: skip

VERTEBRA_LEFT_COLUMNS = (0, 7, 8)


def vertebra_row(vertebra: VertebraEntry, report: Report) -> tuple[str, ...]:
    """Cells of one vertebra under `VERTEBRA_HEADER`."""
    screws = [s for s in report.screws if s.level == vertebra.level]
    level = vertebra.level if vertebra.complete else f"{vertebra.level} (part)"
    start = (level, f"{vertebra.level_confidence:.2f}")
    end = (leak_words(vertebra.leaks), screw_words(screws))
    cement = vertebra.cement
    if not isinstance(cement, CementEntry):
        return (*start, "not assessed", "-", "-", "-", "-", *end)
    low, high = cement.interval_ml
    return (
        *start,
        f"{cement.volume_ml:.2f}",
        f"{low:.2f} - {high:.2f}",
        f"{cement.intrabody_ml:.2f}",
        f"{cement.leaked_ml:.2f}",
        f"{100 * cement.fill_ratio:.1f}",
        *end,
    )


def total_words(totals: TotalsEntry) -> str:
    """Cement of the whole scan in a few words."""
    cement, interval = totals.cement_ml, totals.interval_ml
    if isinstance(cement, NotAssessedEntry):
        return f"not assessed ({cement.reason})"
    if isinstance(interval, NotAssessedEntry):
        return f"{cement:.2f} mL, interval not assessed ({interval.reason})"
    low, high = interval
    return (
        f"{cement:.2f} mL [{low:.2f} - {high:.2f}], "
        f"{totals.leaked_ml:.2f} mL leaked, "
        f"{totals.vertebrae_augmented} vertebrae with cement"
    )


def report_table(report: Report) -> str:
    """Table of all vertebrae in view, from the highest to the lowest."""
    rows = [vertebra_row(v, report) for v in reversed(report.vertebrae)]
    total = f"total: {total_words(report.totals)}, {len(report.screws)} screws"
    lines = [format_table(VERTEBRA_HEADER, rows, VERTEBRA_LEFT_COLUMNS), total]
    lines += [
        f"cement elsewhere: {e.location}, {e.volume_ml:.2f} mL"
        for e in report.cement_elsewhere
    ]
    return "\n".join(lines)
