"""The HTML report: one file that needs nothing else."""

import base64
from dataclasses import dataclass

import jinja2

from cemscope_pipelines.pictures.preview import LeakPicture
from cemscope_pipelines.pictures.spine_picture import SpinePicture
from cemscope_pipelines.report import NotAssessedEntry, Report

LOCATION_NAMES = {"epidural": "spinal canal (epidural)"}
"""Plain words where the code alone would not be understood."""


def _shown(value: float | NotAssessedEntry, decimals: int = 2) -> str:
    if isinstance(value, NotAssessedEntry):
        return "not assessed"
    return f"{value:z.{decimals}f}"


def _change(value: float, uncertainty: float, decimals: int = 1) -> str:
    """Write a change with its sign and the half-width of its interval."""
    return f"{value:+z.{decimals}f} \N{PLUS-MINUS SIGN} {uncertainty:.{decimals}f}"


def _text(value: object) -> str:
    return "not known" if isinstance(value, NotAssessedEntry) else str(value)


def _place(location: str) -> str:
    return LOCATION_NAMES.get(location, location.replace("_", " "))


def _metal_sums(report: Report) -> list[tuple[str, int, float]]:
    """Kind, number of parts and volume of all metal of that kind."""
    kinds = dict.fromkeys(part.kind for part in report.metal)
    volumes = {k: [m.volume_ml for m in report.metal if m.kind == k] for k in kinds}
    return [(kind, len(parts), sum(parts)) for kind, parts in volumes.items()]


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


@dataclass(frozen=True, slots=True)
class ReportPictures:
    """Pictures of a report.

    Attributes
    ----------
    spine : SpinePicture
        Levels and outlines, to be checked first.
    preview_png : bytes
        Slabs and the worst axial view.
    axial_pngs : tuple of (str, bytes)
        Title and picture of each axial view.
    leaks : tuple of LeakPicture
        One of each leak.
    followup : tuple of (str, str, bytes)
        Id, title and picture of each screw that a follow-up compares.
    """

    spine: SpinePicture
    preview_png: bytes
    axial_pngs: tuple[tuple[str, bytes], ...]
    leaks: tuple[LeakPicture, ...] = ()
    followup: tuple[tuple[str, str, bytes], ...] = ()


def render_html(report: Report, pictures: ReportPictures) -> str:
    """Render the report of a case.

    Parameters
    ----------
    report
        The measurements.
    pictures
        All of them; they are written into the text.

    Returns
    -------
    str
        HTML with all pictures embedded; it holds no patient identity.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cemscope_pipelines"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": _shown, "text": _text, "place": _place}
    environment.filters |= {"change": _change}
    environment.tests["not_assessed"] = lambda v: isinstance(v, NotAssessedEntry)
    return environment.get_template("report.html.j2").render(
        report=report,
        metal=_metal_sums(report),
        names_told=any(not v.level.startswith("V") for v in report.vertebrae),
        spine=pictures.spine,
        spine_picture=_data_uri(pictures.spine.png),
        preview=_data_uri(pictures.preview_png),
        leak_pictures={p.leak_id: (p.title, _data_uri(p.png)) for p in pictures.leaks},
        followup_pictures=[
            (title, _data_uri(png)) for _, title, png in pictures.followup
        ],
        axials=[(title, _data_uri(png)) for title, png in pictures.axial_pngs],
    )
