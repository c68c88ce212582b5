"""The page of a study: tables and figures in one file that needs nothing else."""

import base64
from collections.abc import Sequence

import jinja2

from cemscope_pipelines.batch.installed import installed_version
from cemscope_pipelines.cohort.figures import Figure
from cemscope_pipelines.cohort.study_table import StudyTable


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def render_cohort(tables: Sequence[StudyTable], figures: Sequence[Figure]) -> str:
    """Render ``cohort.html``.

    Every cell with a number names the row of ``cohort.csv`` that it comes from, in
    ``data-row`` and in what is shown when the pointer rests on it.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cemscope_pipelines"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("cohort.html.j2").render(
        tables=tables,
        figures=[(f.title, _data_uri(f.png)) for f in figures],
        version=installed_version(),
    )
