"""``cemscope inspect``: what series lie in a folder, and which one would be taken."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cemscope_pipelines.cli.console import (
    Console,
    HandledCommand,
    console_options,
    pass_console,
)

if TYPE_CHECKING:
    from cemscope.dicom import SeriesSummary

EXAMPLES = """\b
Examples:
  cemscope inspect ct_folder
  cemscope inspect scans.zip --json
"""


def _size(series: "SeriesSummary") -> str:
    text = f"{series.slices} x {series.rows} x {series.columns}"
    if series.spacing_mm is None:
        return f"{text}, spacing unknown"
    z, y, x = series.spacing_mm
    return f"{text} voxels of {z:.3f} x {y:.3f} x {x:.3f} mm"


def _scan_words(series: "SeriesSummary") -> str:
    scan = series.acquisition
    kvp = "kVp unknown" if scan.kvp is None else f"{scan.kvp:.0f} kVp"
    return (
        f"{series.modality} {series.plane}, {series.coverage_mm:.0f} mm covered, "
        f"{kvp}, kernel {scan.kernel or 'unknown'} ({series.sharpness.value}), "
        f"{series.transfer_syntax}"
    )


def _record(series: "SeriesSummary", role: str, reason: str) -> dict[str, Any]:
    scan = series.acquisition
    return {
        "name": series.name,
        "series_instance_uid": series.series_instance_uid,
        "study_instance_uid": series.study_instance_uid,
        "modality": series.modality,
        "plane": series.plane,
        "slices": series.slices,
        "rows": series.rows,
        "columns": series.columns,
        "spacing_mm": None if series.spacing_mm is None else list(series.spacing_mm),
        "coverage_mm": round(series.coverage_mm, 2),
        "kvp": scan.kvp,
        "kernel": scan.kernel,
        "acquisition_date": scan.acquisition_date,
        "transfer_syntax": series.transfer_syntax,
        "part_label": series.part_label,
        "measurable": series.measurable,
        "chosen": role == "chosen",
        "reason": reason,
        "findings": [
            {"code": f.code.value, "message": f.message} for f in series.findings
        ],
        "notices": [{"code": n.code, "message": n.message} for n in series.notices],
    }


def _block(series: "SeriesSummary", mark: str, reason: str) -> str:
    lines = [
        f"{mark} {series.name}",
        f"    {_size(series)}",
        f"    {_scan_words(series)}",
    ]
    if series.part_label:
        lines.append(f"    part: {series.part_label}")
    lines += [f"    finding ({f.code.value}): {f.message}" for f in series.findings]
    lines += [f"    notice ({n.code}): {n.message}" for n in series.notices]
    lines.append(f"    {reason}")
    return "\n".join(lines)


@click.command(name="inspect", cls=HandledCommand, epilog=EXAMPLES)
@click.argument(
    "folder", metavar="FOLDER", type=click.Path(exists=True, path_type=Path)
)
@console_options
@pass_console
def command(console: Console, /, folder: Path) -> None:
    """List the series of a folder, file or zip archive from their headers.

    Tells which series `cemscope analyze` would take and why not the others, with
    the findings on their geometry in mm and degrees. No pixel is read.
    """
    from cemscope.dicom import choose_series, scan_input
    from cemscope.errors import SeriesError

    scan = scan_input(folder)
    refusal = None
    roles: list[tuple[SeriesSummary, str, str]] = []
    try:
        choice = choose_series(scan.series)
    except SeriesError as error:
        refusal = str(error)
        for series in scan.series:
            reason = "can be measured" if series.measurable else "cannot be measured"
            roles.append((series, "rejected", reason))
    else:
        roles.append((choice.chosen, "chosen", f"taken: {choice.reason}"))
        roles.extend(
            (other.series, "rejected", f"not taken: {other.reason}")
            for other in choice.rejected
        )
    if console.as_json:
        result = {
            "chosen": None if refusal else roles[0][0].name,
            "refusal": refusal,
            "series": [_record(*role) for role in roles],
            "skipped_files": scan.skipped_files,
            "unreadable_files": scan.unreadable_files,
        }
        console.result(json.dumps(result, indent=2))
        return
    for series, role, reason in roles:
        console.result(_block(series, "*" if role == "chosen" else "-", reason))
    if refusal:
        console.result(f"analyze would take none: {refusal}")
    console.say(
        f"{len(scan.series)} series; {scan.skipped_files} other files, "
        f"{scan.unreadable_files} damaged files"
    )
