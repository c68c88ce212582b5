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


def _spacing(series: "SeriesSummary") -> str:
    """Distances between voxel centres; a mean of uneven steps would be no spacing."""
    if series.spacing_mm is not None:
        z, y, x = series.spacing_mm
        return f"{z:.3f} x {y:.3f} x {x:.3f}"
    if series.step_range_mm is None or series.pixel_spacing_mm is None:
        return "unknown"
    low, high = series.step_range_mm
    y, x = series.pixel_spacing_mm
    return f"irregular ({low:.2f} to {high:.2f}) x {y:.3f} x {x:.3f}"


def _size(series: "SeriesSummary") -> str:
    text = f"{series.slices} x {series.rows} x {series.columns}"
    if series.step_range_mm is None or series.pixel_spacing_mm is None:
        return f"{text}, spacing unknown"
    return f"{text} voxels of {_spacing(series)} mm"


def _scan_words(series: "SeriesSummary") -> str:
    scan = series.acquisition
    kvp = "kVp unknown" if scan.kvp is None else f"{scan.kvp:.0f} kVp"
    reduced = ", metal artefact reduction" if scan.metal_artifact_reduction else ""
    day = f"scanned {scan.acquisition_date}, " if scan.acquisition_date else ""
    return (
        f"{series.modality} {series.plane}, {day}{series.coverage_mm:.0f} mm covered, "
        f"{kvp}, kernel {scan.kernel or 'unknown'} ({series.sharpness.value})"
        f"{reduced}, {series.transfer_syntax}"
    )


TABLE_HEADER = (
    "", "#", "modality", "plane", "slices", "spacing mm", "covered mm", "kernel",
    "MAR", "fit",
)  # fmt: skip
TABLE_LEFT_COLUMNS = (0, 2, 3, 5, 7, 8, 9)


def _row(number: int, series: "SeriesSummary", role: str) -> tuple[str, ...]:
    scan = series.acquisition
    verdicts = ", ".join(dict.fromkeys(f.code.value for f in series.findings))
    return (
        "*" if role == "chosen" else "",
        str(number),
        series.modality or "-",
        series.plane,
        f"{series.slices} x {series.rows} x {series.columns}",
        _spacing(series),
        f"{series.coverage_mm:.0f}",
        f"{scan.kernel or '-'} ({series.sharpness.value})",
        "yes" if scan.metal_artifact_reduction else "-",
        "yes" if series.measurable else f"no: {verdicts}",
    )


def _record(
    series: "SeriesSummary", role: str, reason: str, patient: int
) -> dict[str, Any]:
    scan = series.acquisition
    return {
        "name": series.name,
        "patient": patient,
        "series_instance_uid": series.series_instance_uid,
        "study_instance_uid": series.study_instance_uid,
        "modality": series.modality,
        "plane": series.plane,
        "slices": series.slices,
        "rows": series.rows,
        "columns": series.columns,
        "spacing_mm": None if series.spacing_mm is None else list(series.spacing_mm),
        "step_range_mm": None
        if series.step_range_mm is None
        else [round(v, 4) for v in series.step_range_mm],
        "pixel_spacing_mm": None
        if series.pixel_spacing_mm is None
        else list(series.pixel_spacing_mm),
        "coverage_mm": round(series.coverage_mm, 2),
        "tilt_degrees": None
        if series.tilt_degrees is None
        else round(series.tilt_degrees, 3),
        "avoided_error_percent": None
        if series.avoided_error_percent is None
        else [round(v, 2) for v in series.avoided_error_percent],
        "kvp": scan.kvp,
        "kernel": scan.kernel,
        "kernel_sharpness": series.sharpness.value,
        "metal_artifact_reduction": scan.metal_artifact_reduction,
        "slice_thickness_mm": scan.slice_thickness_mm,
        "acquisition_date": scan.acquisition_date,
        "transfer_syntax": series.transfer_syntax,
        "part_label": series.part_label,
        "measurable": series.measurable,
        "chosen": role == "chosen",
        "reason": reason,
        "advice": series.advice,
        "findings": [
            {"code": f.code.value, "message": f.message} for f in series.findings
        ],
        "notices": [{"code": n.code, "message": n.message} for n in series.notices],
    }


def _block(series: "SeriesSummary", label: str, reason: str) -> str:
    lines = [
        f"{label} {series.name}",
        f"    {_size(series)}",
        f"    {_scan_words(series)}",
    ]
    if series.part_label:
        lines.append(f"    part: {series.part_label}")
    lines += [f"    finding ({f.code.value}): {f.message}" for f in series.findings]
    lines += [f"    notice ({n.code}): {n.message}" for n in series.notices]
    if series.avoided_error_percent is not None and not series.measurable:
        low, high = series.avoided_error_percent
        lines.append(
            f"    stacked evenly, volumes would be off by {low:+.0f} % to {high:+.0f} %"
        )
    if series.advice:
        lines.append(f"    {series.advice}")
    lines.append(f"    {reason if series.measurable else 'not taken: see above'}")
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
    from cemscope.dicom import choose_series, patient_numbers, scan_input
    from cemscope.errors import SeriesError
    from cemscope_pipelines.cli.table import format_table

    scan = scan_input(folder)
    refusal = None
    roles: list[tuple[SeriesSummary, str, str]] = []
    try:
        choice = choose_series(scan.series)
    except SeriesError as error:
        refusal = str(error)
        for series in scan.series:
            reason = (
                "can be measured if it is named"
                if series.measurable
                else "cannot be measured"
            )
            roles.append((series, "rejected", reason))
    else:
        roles.append((choice.chosen, "chosen", f"taken: {choice.reason}"))
        roles.extend(
            (other.series, "rejected", f"not taken: {other.reason}")
            for other in choice.rejected
        )
    # Headers keep their order, so that numbers do not depend on what was chosen.
    numbers = patient_numbers(s.patient for s in scan.series)
    patients = {s.name: number for s, number in zip(scan.series, numbers, strict=True)}
    if console.as_json:
        result = {
            "chosen": None if refusal else roles[0][0].name,
            "refusal": refusal,
            "series": [_record(*role, patients[role[0].name]) for role in roles],
            "skipped_files": scan.skipped_files,
            "unreadable_files": scan.unreadable_files,
            "closed_archives": scan.closed_archives,
        }
        console.result(json.dumps(result, indent=2))
        return
    rows = [_row(n, series, role) for n, (series, role, _) in enumerate(roles, 1)]
    console.result(format_table(TABLE_HEADER, rows, TABLE_LEFT_COLUMNS))
    for number, (series, role, reason) in enumerate(roles, start=1):
        mark = "*" if role == "chosen" else "-"
        console.result(_block(series, f"\n{number} {mark}", reason))
        if max(numbers) > 1:
            console.result(f"    patient {patients[series.name]} of this input")
    if refusal:
        console.result(f"analyze would take none: {refusal}")
    archives = f", {scan.closed_archives} zip archives unopened"
    console.say(
        f"{len(scan.series)} series; {scan.skipped_files} other files, "
        f"{scan.unreadable_files} damaged files"
        + (archives if scan.closed_archives else "")
    )
