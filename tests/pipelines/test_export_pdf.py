"""The report for people: every number is that of the report, on pages that say so."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cases.export_cases import CasePlan, make_case
from cemscope_pipelines.export.case_objects import (
    ObjectBuilder,
    machine_stamp,
    open_source,
    patient_lines,
    reviewed_stamp,
)
from cemscope_pipelines.export.case_record import (
    CaseContent,
    current_content,
    read_case,
)
from cemscope_pipelines.export.document_words import lucency_words
from cemscope_pipelines.export.pdf_job import PdfJob, ReaderLines
from cemscope_pipelines.export.pdf_report import render_pdf
from cemscope_pipelines.report import CementEntry, NotAssessedEntry


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PDF of a case that nobody reviewed."""
    root = tmp_path_factory.mktemp("pdf")
    case = read_case(make_case(root))
    content = current_content(case)
    builder = ObjectBuilder(
        case, content, open_source(case, None), machine_stamp(case, content)
    )
    path = root / "report.pdf"
    path.write_bytes(builder.pdf())
    return path


def pages_of(path: Path) -> list[str]:
    tool = shutil.which("pdftotext")
    if tool is None:
        pytest.skip("pdftotext is missing: run scripts/install_dicom_validators.sh")
    text = subprocess.run(  # noqa: S603 - poppler
        [tool, "-layout", str(path), "-"], capture_output=True, text=True, check=True
    ).stdout
    return text.split("\f")[:-1]


def content_of(path: Path) -> CaseContent:
    return current_content(read_case(path.parent / "case"))


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(name))


def test_a_draft_has_two_pages_that_say_so(draft: Path) -> None:
    pages = pages_of(draft)
    assert len(pages) == 2
    assert "DRAFT, NOT REVIEWED" in pages[0]
    for number, page in enumerate(pages, start=1):
        assert "Draft, not reviewed: no reader answers for it" in page
        assert re.search(r"cemscope \S+, content [0-9a-f]{12}", page)
        assert f"Page {number} of 2" in page
        assert "Müller, Jörg" in page
        assert "2026-01-02" in page


def test_every_number_is_the_reports(draft: Path) -> None:
    findings = content_of(draft).findings
    first, second = pages_of(draft)
    for vertebra in findings.vertebrae:
        cement = vertebra.cement
        assert isinstance(cement, CementEntry)
        low, high = cement.interval_ml
        cells = [
            f"{cement.volume_ml:.2f}", f"{low:.2f} to {high:.2f}",
            f"{cement.intrabody_ml:.2f}", f"{cement.leaked_ml:.2f}",
            f"{100 * cement.fill_ratio:.1f}", "not reviewed",
        ]  # fmt: skip
        found = " ".join(row(first, vertebra.level).split())
        assert found == " ".join([vertebra.level, *cells])
        for leak in vertebra.leaks:
            found = row(second, leak.id).split()
            assert found[-3:] == [
                f"{leak.volume_ml:.2f}", f"{leak.max_distance_mm:.1f}",
                f"{leak.canal_encroachment_percent:.1f}",
            ]  # fmt: skip
    for screw in findings.screws:
        name = f"{screw.level} {screw.side}"
        cells = [
            name, f"{screw.diameter_mm:.1f}", f"{screw.length_mm:.1f}",
            f"{screw.cement_volume_ml:.2f}", "not assessed", "not reviewed",
        ]  # fmt: skip
        assert " ".join(row(second, name).split()) == " ".join(cells)
    words = " ".join(first.split())
    assert (
        "Bone cement in two vertebrae (L2, L3): 1.35 mL in all (95 % interval 1.10 to "
        "1.61 mL), of which 0.06 mL lie outside the vertebral bodies." in words
    )
    assert "One leak: L3-1 (type B) spinal canal (epidural), 0.06 mL." in words


def test_every_column_has_its_unit(draft: Path) -> None:
    first, second = pages_of(draft)
    for head in ("Cement (mL)", "95 % interval (mL)", "Leaked (mL)", "Fill (%)"):
        assert head in first
    for head in ("Diameter (mm)", "Length (mm)", "Canal (%)"):
        assert head in second


def test_the_pages_are_not_empty_and_the_watermark_crosses_them(
    draft: Path, tmp_path: Path
) -> None:
    tool = shutil.which("pdftoppm")
    if tool is None:
        pytest.skip("pdftoppm is missing: run scripts/install_dicom_validators.sh")
    subprocess.run(  # noqa: S603 - poppler
        [tool, "-r", "40", "-png", str(draft), str(tmp_path / "p")], check=True
    )
    for path in sorted(tmp_path.glob("p-*.png")):
        page = np.asarray(Image.open(path).convert("RGB")).astype(int)
        red = (page[..., 0] - page[..., 1] > 15) & (page[..., 0] > 200)
        rows = np.flatnonzero(red.any(axis=1))
        assert np.ptp(rows) > 0.5 * page.shape[0]
        assert 0.02 < float((page.min(axis=2) < 128).mean()) < 0.6


@dataclass(frozen=True)
class Lucency:
    grade: str = "suspicious"
    max_width_mm: float = 1.24
    growth_mm: float = 0.5


def test_lucency_is_told_in_both_forms() -> None:
    assert lucency_words(NotAssessedEntry(reason="x")) == "not assessed"
    assert lucency_words(Lucency()) == "suspicious, up to 1.2 mm, growth 0.5 mm"


def test_a_signed_page_names_the_reader_and_the_version(tmp_path: Path) -> None:
    decisions = {"L3": ("modified", "edge moved"), "L3-1": ("rejected", "a vessel")}
    folder = make_case(tmp_path, CasePlan(reviewed=True, decisions=decisions))
    case = read_case(folder)
    content = current_content(case)
    from dataclasses import replace

    from cemscope_pipelines.export.case_record import ContentState

    signed_at = datetime(2026, 1, 3, 9, 15, tzinfo=UTC)
    job = PdfJob(
        patient_lines(open_source(case, None)),
        replace(content, state=ContentState.SIGNED), case.report, None,
        ReaderLines("Weiß^Anna", "Klinik", signed_at, 2, "leak seen again"),
        reviewed_stamp(case, content).created_at,
    )  # fmt: skip
    path = tmp_path / "signed.pdf"
    path.write_bytes(render_pdf(job))
    assert path.read_bytes() == render_pdf(job)
    pages = pages_of(path)
    for page in pages:
        assert "Weiß, Anna, Klinik, 2026-01-03 09:15:00+00:00, version 2" in page
        assert "raft" not in page.replace("Draft:", "")
    text = "\n".join(pages)
    assert "SIGNED, VERSION 2" in text
    assert "0.97" in row(text, "L3")
    assert "modified (was 0.87 mL)" in text
    assert "leak L3-1: a vessel" in text
    assert "No leak of cement was found." in text
    assert "leak seen again" in text
