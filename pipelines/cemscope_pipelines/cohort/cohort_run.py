"""Make the tables of a study and write them."""

from dataclasses import dataclass
from pathlib import Path

from cemscope.errors import ExportError
from cemscope_pipelines.batch.batch_provenance import write_atomically
from cemscope_pipelines.batch.table_files import (
    DescribedTable,
    TableWriter,
    write_dictionary,
)
from cemscope_pipelines.cohort.change_table import change_table
from cemscope_pipelines.cohort.clinical_file import read_clinical
from cemscope_pipelines.cohort.clinical_tables import clinical_tables
from cemscope_pipelines.cohort.cohort_docx import write_docx
from cemscope_pipelines.cohort.cohort_html import render_cohort
from cemscope_pipelines.cohort.ct_tables import (
    damaged_table,
    flow_table,
    level_table,
    screw_table,
    volume_table,
)
from cemscope_pipelines.cohort.figures import leak_figure, volume_figure
from cemscope_pipelines.cohort.groups import group_patients
from cemscope_pipelines.cohort.leak_tables import leak_map_table, leak_table
from cemscope_pipelines.cohort.patient_rows import PatientRow, patient_rows
from cemscope_pipelines.cohort.published import (
    published_table,
    read_published,
)
from cemscope_pipelines.cohort.statistic_row import StatisticRow
from cemscope_pipelines.cohort.study import Study, read_study
from cemscope_pipelines.cohort.study_case import LeftOut
from cemscope_pipelines.cohort.study_table import StudyTable

TABLES = (
    DescribedTable("cohort", StatisticRow),
    DescribedTable("cohort_patients", PatientRow),
    DescribedTable("cohort_left_out", LeftOut),
)

DICTIONARY = "cohort_dictionary.csv"


@dataclass(frozen=True, slots=True)
class CohortRequest:
    """What a study is made from.

    Attributes
    ----------
    out : Path
        Output of a batch, or a folder with cases; the tables go there.
    clinical, published : Path or None
        Files, see `clinical_file` and `published`.
    """

    out: Path
    clinical: Path | None = None
    published: Path | None = None


@dataclass(frozen=True, slots=True)
class Cohort:
    """A study and its tables."""

    study: Study
    tables: tuple[StudyTable, ...]


def make_cohort(request: CohortRequest) -> Cohort:
    """Read a study, make its tables and figures, and write them.

    Raises
    ------
    ConfigError
        If there is no case, or a file of the user's cannot be right.
    ExportError
        If the disk refuses.
    """
    study = read_study(request.out)
    clinical = (
        None
        if request.clinical is None
        else read_clinical(request.clinical, study.salt, study.shared_numbers)
    )
    published = () if request.published is None else read_published(request.published)
    grouping = group_patients(study, clinical)
    tables = [
        flow_table(study, grouping),
        volume_table(grouping),
        leak_table(grouping),
        screw_table(grouping),
        level_table(grouping),
        leak_map_table(grouping),
    ]
    changes = change_table(grouping)
    if changes is not None:
        tables.append(changes)
    if clinical is not None:
        tables += clinical_tables(grouping)
    if published:
        tables.append(published_table(published))
    damaged = damaged_table(study)
    if damaged is not None:
        tables.append(damaged)
    figures = [f for f in (volume_figure(grouping), leak_figure(grouping)) if f]
    try:
        with (
            TableWriter(request.out, "cohort", StatisticRow) as statistics,
            TableWriter(request.out, "cohort_patients", PatientRow) as patients,
            TableWriter(request.out, "cohort_left_out", LeftOut) as left_out,
        ):
            statistics.add(row for table in tables for row in table.rows)
            patients.add(patient_rows(grouping))
            left_out.add(study.left_out)
        write_dictionary(request.out / DICTIONARY, TABLES)
        for figure in figures:
            (request.out / f"{figure.name}.png").write_bytes(figure.png)
        html = render_cohort(tables, figures)
        write_atomically(request.out / "cohort.html", html)
        write_docx(request.out / "cohort.docx", tables, figures)
    except OSError as error:
        raise ExportError(f"the tables cannot be written: {error.strerror}") from None
    return Cohort(study, tuple(tables))
