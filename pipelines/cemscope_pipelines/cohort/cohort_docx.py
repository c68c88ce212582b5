"""The tables and figures of a study as a Word document."""

import io
from collections.abc import Sequence
from pathlib import Path

from cemscope_pipelines.cohort.figures import Figure
from cemscope_pipelines.cohort.study_table import StudyTable

_FIGURE_CM = 24.0

_BANNER = (
    "Research software, not a medical device. What was not assessed is counted beside "
    "each number and is never taken as zero. The numbers are those of cohort.csv."
)


def write_docx(
    path: Path, tables: Sequence[StudyTable], figures: Sequence[Figure]
) -> None:
    """Write ``cohort.docx``, landscape A4."""
    import docx
    from docx.enum.section import WD_ORIENT
    from docx.shared import Cm, Pt

    document = docx.Document()
    section = document.sections[0]
    section.orientation = WD_ORIENT.LANDSCAPE
    section.page_width, section.page_height = Cm(29.7), Cm(21.0)
    section.left_margin = section.right_margin = Cm(2.0)
    document.styles["Normal"].font.size = Pt(9)
    document.core_properties.author = "cemscope"
    document.core_properties.title = "Bone cement on postoperative spine CT"
    document.add_heading("Bone cement on postoperative spine CT", level=1)
    document.add_paragraph(_BANNER)
    for table in tables:
        document.add_heading(table.title, level=2)
        grid = document.add_table(rows=1, cols=len(table.header))
        grid.style = "Light List"
        for cell, text in zip(grid.rows[0].cells, table.header, strict=True):
            cell.text = text
        for line in table.lines:
            for cell, shown in zip(grid.add_row().cells, line, strict=True):
                cell.text = shown.text
        for note in table.notes:
            document.add_paragraph(note)
    for figure in figures:
        document.add_picture(io.BytesIO(figure.png), width=Cm(_FIGURE_CM))
        document.add_paragraph(figure.title)
    part = path.with_name(f".{path.name}.part")
    document.save(str(part))
    part.replace(path)
