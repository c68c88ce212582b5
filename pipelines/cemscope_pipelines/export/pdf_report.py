"""The report as a PDF that a referring surgeon reads: two pages, with pictures."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from fpdf import FPDF
from fpdf.enums import Align, TableBordersLayout, XPos, YPos
from fpdf.fonts import FontFace
from PIL import Image

from cemscope_pipelines.export import document_words as words
from cemscope_pipelines.export.comparison_words import comparison_sentences
from cemscope_pipelines.export.pdf_job import PdfJob, shown_name
from cemscope_pipelines.report import NotAssessedEntry
from cemscope_pipelines.review.review_document import FindingKind

FONT = "DejaVu"
MARGIN_MM = 12.0
TEXT_PT, SMALL_PT, HEAD_PT, TITLE_PT = 8.5, 7.0, 10.0, 14.0
LINE_MM = 4.1
GREY = (110, 110, 110)
DARK = (25, 45, 75)
RULE = (190, 198, 210)
WATERMARK_PT = 54.0
WATERMARK_OPACITY = 0.24
OVERVIEW_MM = 88.0
"""Tallest overview on the first page."""
FEWEST_PER_ROW, MOST_PER_ROW = 3, 5
"""Pictures of leaks beside each other; more of them are smaller."""
PICTURE_MM, PICTURE_GAP_MM = 58.0, 2.0


def render_pdf(job: PdfJob) -> bytes:
    """Write the report as PDF; the same job gives the same bytes."""
    document = _Document(job)
    document.first_page()
    document.second_page()
    return bytes(document.output())


class _Document(FPDF):
    """Two pages with a header line, a footer and, on drafts, a watermark."""

    def __init__(self, job: PdfJob) -> None:
        super().__init__(format="A4")
        self._job = job
        self.set_margins(MARGIN_MM, MARGIN_MM)
        self.set_auto_page_break(auto=True, margin=17)
        fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
        self.add_font(FONT, "", fonts / "DejaVuSans.ttf")
        self.add_font(FONT, "B", fonts / "DejaVuSans-Bold.ttf")
        self.set_creation_date(job.made_at)
        self.set_title("Bone cement on spine CT")
        self.set_creator(f"cemscope {job.machine.software.version}")
        self.alias_nb_pages("{n}")

    @property
    def _state(self) -> str:
        return self._job.content.state.words

    def header(self) -> None:
        """Patient on each page after the first."""
        if self.page_no() > 1:
            patient = self._job.patient
            self.set_font(FONT, "", SMALL_PT)
            self.set_text_color(*GREY)
            told = (shown_name(patient.name), patient.patient_id)
            line = "   ".join(part for part in told if part)
            self.cell(
                0, 4, f"{line}   CT of {_date(patient.study_date)}",
                new_x=XPos.LMARGIN, new_y=YPos.NEXT,
            )  # fmt: skip
        self.set_text_color(0)

    def footer(self) -> None:
        """Software, reader or state, and page, on each page; drafts are marked."""
        job = self._job
        if self._state:
            self._watermark()
        self.set_y(-14)
        self.set_draw_color(*RULE)
        self.line(MARGIN_MM, self.get_y(), self.w - MARGIN_MM, self.get_y())
        self.set_font(FONT, "", SMALL_PT)
        self.set_text_color(*GREY)
        signed = f"Read and signed by {job.reader.sentence}" if job.reader else ""
        self.cell(
            0, 4, signed or f"{self._state.capitalize()}: no reader answers for it",
            new_x=XPos.LMARGIN, new_y=YPos.NEXT,
        )  # fmt: skip
        made_by = (
            f"cemscope {job.machine.software.version}, content {job.content.key[:12]}. "
            "Research software, not a medical device."
        )
        self.cell(0, 3.6, made_by, new_x=XPos.LMARGIN, new_y=YPos.TOP)
        self.cell(0, 3.6, f"Page {self.page_no()} of {{n}}", align=Align.R)
        self.set_text_color(0)

    def _watermark(self) -> None:
        """Write the state across the page, over pictures too."""
        text = self._state.upper()
        self.set_font(
            FONT, "B", WATERMARK_PT if len(text) < 22 else WATERMARK_PT * 0.72
        )
        self.set_text_color(230, 50, 50)
        width = self.get_string_width(text)
        with (
            self.local_context(fill_opacity=WATERMARK_OPACITY),
            self.rotation(54, self.w / 2, self.h / 2),
        ):
            self.text((self.w - width) / 2, self.h / 2, text)
        self.set_text_color(0)

    def first_page(self) -> None:
        self.add_page()
        self._title()
        self._patient_block()
        self._heading("Result")
        self.set_font(FONT, "", TEXT_PT + 1)
        for sentence in words.summary_sentences(self._job.content, self._job.machine):
            self.multi_cell(
                0, LINE_MM + 0.6, sentence, align=Align.L,
                new_x=XPos.LMARGIN, new_y=YPos.NEXT,
            )  # fmt: skip
        self.ln(1)
        pictures = self._job.pictures
        if pictures is not None:
            self._picture(pictures.overview_png, OVERVIEW_MM)
        self._vertebra_table()

    def second_page(self) -> None:
        self.add_page()
        self._leaks()
        self._screws()
        self._comparison()
        self._rejected()
        self._notes()
        self._method()

    def _title(self) -> None:
        self.set_font(FONT, "B", TITLE_PT)
        self.set_text_color(*DARK)
        self.cell(0, 7, "Bone cement on postoperative spine CT")
        self.set_font(FONT, "B", HEAD_PT)
        if self._state:
            self.set_text_color(190, 20, 20)
            status = self._state.upper()
        else:
            self.set_text_color(20, 110, 50)
            status = (
                f"SIGNED, VERSION {self._job.reader.version}"
                if self._job.reader
                else ""
            )
        self.set_x(MARGIN_MM)
        self.cell(0, 7, status, align=Align.R, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_text_color(0)

    def _patient_block(self) -> None:
        patient, series = self._job.patient, self._job.machine.series
        scan = [f"{series.slices} slices, voxel "]
        scan[0] += " x ".join(f"{v:.2f}" for v in series.spacing_mm) + " mm"
        if not isinstance(series.kvp, NotAssessedEntry):
            scan.append(f"{series.kvp:.0f} kVp")
        rows = (
            ("Patient", shown_name(patient.name)),
            ("Patient ID", patient.patient_id),
            ("Born", f"{_date(patient.birth_date)}   Sex {patient.sex or '-'}"),
            ("CT of", _date(patient.study_date)),
            ("Accession", patient.accession_number or "-"),
            ("Scan", ", ".join(scan)),
        )
        self.set_draw_color(*RULE)
        top = self.get_y()
        for index, (name, value) in enumerate(rows):
            column, row = divmod(index, 3)
            self.set_xy(MARGIN_MM + 2 + column * 92, top + 1.5 + row * LINE_MM)
            self.set_font(FONT, "", TEXT_PT)
            self.set_text_color(*GREY)
            self.cell(19, LINE_MM, name)
            self.set_text_color(0)
            self.set_font(FONT, "B" if index == 0 else "", TEXT_PT)
            self._fitted(value, 71 if column == 0 else 73)
        height = 3 * LINE_MM + 3
        self.rect(MARGIN_MM, top, self.epw, height)
        self.set_xy(MARGIN_MM, top + height + 1)

    def _fitted(self, text: str, width_mm: float) -> None:
        """Write in one cell, smaller where it would not fit."""
        size = self.font_size_pt
        while self.get_string_width(text) > width_mm - 1 and self.font_size_pt > 5:
            self.set_font_size(self.font_size_pt - 0.25)
        self.cell(width_mm, LINE_MM, text)
        self.set_font_size(size)

    def _heading(self, text: str) -> None:
        self.ln(1.5)
        self.set_font(FONT, "B", HEAD_PT)
        self.set_text_color(*DARK)
        self.cell(0, 5.5, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_text_color(0)
        self.set_font(FONT, "", TEXT_PT)

    def _picture(self, png: bytes, tallest_mm: float) -> None:
        with Image.open(io.BytesIO(png)) as image:
            width, height = image.size
        wide = min(self.epw, tallest_mm * width / height)
        self.image(io.BytesIO(png), x=(self.w - wide) / 2, w=wide)
        self.ln(1)

    def _table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        widths: Sequence[float],
        left: Sequence[int],
    ) -> None:
        self.set_draw_color(*RULE)
        self.set_font(FONT, "", TEXT_PT)
        aligns = tuple("LEFT" if i in left else "RIGHT" for i in range(len(header)))
        with self.table(
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            col_widths=tuple(widths),
            line_height=LINE_MM,
            text_align=aligns,
            headings_style=FontFace(
                emphasis="BOLD", color=DARK, size_pt=SMALL_PT + 0.4
            ),
            padding=(0.4, 1.2),
        ) as table:
            for cells in (header, *rows):
                row = table.row()
                for cell in cells:
                    row.cell(cell)

    def _vertebra_table(self) -> None:
        job = self._job
        self._heading("Vertebrae, from the head downwards")
        self._table(
            words.VERTEBRA_HEADER,
            [
                words.vertebra_cells(one, job.content, job.machine)
                for one in reversed(job.content.findings.vertebrae)
            ],
            (20, 24, 34, 24, 24, 18, 42),
            (0, 6),
        )
        self._changes("vertebra")
        self._small(
            "Fill: cement in the vertebral body / volume of the body. Where no cement "
            "was found, the interval ends at the smallest volume that would have been "
            "seen. Cement in a pedicle or along a screw is neither in the body nor "
            "leaked."
        )
        absent = [
            f"{v.level}: {v.cement.reason}"
            for v in reversed(job.content.findings.vertebrae)
            if isinstance(v.cement, NotAssessedEntry)
        ]
        if absent:
            self._small("Not assessed: " + "; ".join(absent) + ".")

    def _leaks(self) -> None:
        content = self._job.content
        leaks = [leak for v in reversed(content.findings.vertebrae) for leak in v.leaks]
        self._heading("Leaks (Yeom types, extended)")
        rows = [words.leak_cells(leak, content, self._job.machine) for leak in leaks]
        rows += words.elsewhere_rows(content, self._job.machine)
        if not rows:
            self._small("None found where cement was assessed.")
            return
        self._table(
            words.LEAK_HEADER,
            rows,
            (21, 40, 38, 22, 21, 19, 25),
            (0, 1, 2, 6),
        )
        self._changes("leak")
        for leak in leaks:
            told = words.evidence_words(leak, content, self._job.machine)
            self._small(f"{leak.id}: {told}.")
        self._leak_pictures()

    def _leak_pictures(self) -> None:
        pictures = self._job.pictures
        if pictures is None:
            return
        many = min(max(len(pictures.leaks), FEWEST_PER_ROW), MOST_PER_ROW)
        free_mm = self.epw - (many - 1) * PICTURE_GAP_MM
        side = min(PICTURE_MM, free_mm / many)
        for start in range(0, len(pictures.leaks), many):
            if self.get_y() + side * 1.06 > self.h - 20:
                self.add_page()
            top = self.get_y() + 1
            row = pictures.leaks[start : start + many]
            for index, picture in enumerate(row):
                left = MARGIN_MM + index * (side + PICTURE_GAP_MM)
                self.image(io.BytesIO(picture.png), x=left, y=top, w=side)
            self.set_y(top + side * 1.06)

    def _screws(self) -> None:
        job = self._job
        screws = words.screws_from_head(job.content)
        self._heading("Pedicle screws")
        if not screws:
            self._small("None found.")
            return
        self._table(
            words.SCREW_HEADER,
            [words.screw_cells(one, job.content, job.machine) for one in screws],
            (17.0, 25.2, 21.7, 21.7, 61.8, 16.2, 22.4),
            (0, 4, 6),
        )
        self._changes("screw")
        for reason, names in words.reasons_of(screws).items():
            self._small(f"Lucency not assessed ({', '.join(names)}): {reason}.")
        if any(not isinstance(one.lucency, NotAssessedEntry) for one in screws):
            self._small(
                "A lucent rim is a suspicion, to be checked on the images: streaks "
                "imitate and hide it. Widths are measured at right angles to the "
                "shaft. Seen: share of the screw's surface that could be judged."
            )

    def _comparison(self) -> None:
        told = comparison_sentences(self._job.content, self._job.machine)
        if told:
            self._heading("Change since the baseline")
        for sentence in told:
            self._small(sentence)

    def _changes(self, kind: FindingKind) -> None:
        """Give the machine's word beside the reader's."""
        for line in words.changes(self._job.content, self._job.machine, kind):
            self._small(f"{line}.")

    def _rejected(self) -> None:
        rejected = words.rejected_words(self._job.content, self._job.machine)
        if not rejected:
            return
        self._heading("Machine findings that the reader rejected")
        for line in rejected:
            self._small(line)

    def _notes(self) -> None:
        warnings = self._job.machine.series.warnings
        if not warnings:
            return
        self._heading("To be known")
        for warning in warnings:
            self._small(f"- {warning.message}")

    def _method(self) -> None:
        job = self._job
        self._heading("How this was made")
        self._small(
            "Cement is summed with its partial volumes within an outline, beside metal "
            "and in clipped data with a wider interval. A leak counts its cement "
            "outside the surface of the body only. Coordinates and objects: DICOM SEG "
            "and SR of the same study."
        )
        software, kernel = job.machine.software, job.machine.series.kernel
        if not isinstance(kernel, NotAssessedEntry):
            self._small(f"Convolution kernel of the scan: {kernel}.")
        self._small(
            f"cemscope {software.version}, configuration {software.config_hash[:16]}, "
            f"content {job.content.key}"
        )
        if job.reader is None:
            self._small(f"{self._state.capitalize()}. Not for clinical use.")
            return
        self._small(f"Read and signed by {job.reader.sentence}.")
        if job.reader.amendment_reason:
            self._small(f"Reason of this version: {job.reader.amendment_reason}")

    def _small(self, text: str) -> None:
        self.set_font(FONT, "", SMALL_PT + 0.5)
        self.set_text_color(60, 60, 60)
        self.multi_cell(
            0, 3.7, text, align=Align.L, new_x=XPos.LMARGIN, new_y=YPos.NEXT
        )
        self.set_text_color(0)


def _date(text: str) -> str:
    """Write a DICOM date as ISO 8601; "-" where there is none."""
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 else "-"
