"""The report for people: every number is that of the report, on pages that say so."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cases.export_cases import CasePlan, draw_nothing, make_case
from cases.lucent_screws import with_followup, with_lucency
from cases.sr_groups import groups_of, texts_of
from cemscope_pipelines.export.case_objects import (
    ObjectBuilder,
    ObjectChoice,
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
from cemscope_pipelines.export.export_case import ExportJob, export_case
from cemscope_pipelines.export.pdf_job import PdfJob, ReaderLines
from cemscope_pipelines.export.pdf_report import render_pdf
from cemscope_pipelines.report import (
    CementElsewhereEntry,
    CementEntry,
    NotAssessedEntry,
    Report,
)
from cemscope_pipelines.review.anatomy_corrections import shift_levels
from cemscope_pipelines.review.review_document import FindingId
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.reviewed_result import totals_of

DRAWN = "cemscope_pipelines.export.case_objects.draw_case"


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
            assert found[-5:] == [
                f"{leak.volume_ml:.2f}", f"{leak.max_distance_mm:.1f}",
                f"{leak.canal_encroachment_percent:.1f}", "not", "reviewed",
            ]  # fmt: skip
    for screw in findings.screws:
        name = f"{screw.level} {screw.side}"
        cells = [
            name, f"{screw.diameter_mm:.1f}", f"{screw.length_mm:.1f}",
            f"{screw.cement_volume_ml:.2f}", "not assessed", "-", "not reviewed",
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


def refused(levels: tuple[str, ...]) -> Callable[[Report], Report]:
    """A report in which the cement of some levels was not assessed."""
    why = NotAssessedEntry(reason="streaks of the rods cross it")
    gone = {"cement": why, "leaks": ()}

    def change(report: Report) -> Report:
        vertebrae = tuple(
            v.model_copy(update=gone) if v.level in levels else v
            for v in report.vertebrae
        )
        changed = {"vertebrae": vertebrae, "totals": totals_of(vertebrae)}
        return report.model_copy(update=changed)

    return change


def draft_of(root: Path, change: Callable[[Report], Report]) -> Path:
    case = read_case(make_case(root, CasePlan(change=change)))
    content = current_content(case)
    source = open_source(case, None)
    path = root / "report.pdf"
    path.write_bytes(
        ObjectBuilder(case, content, source, machine_stamp(case, content)).pdf()
    )
    return path


def test_a_level_that_was_refused_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DRAWN, draw_nothing)
    first, _ = pages_of(draft_of(tmp_path, refused(("L2",))))
    cells = row(first, "L2").split()
    assert cells == ["L2", "not", "assessed", "-", "-", "-", "-", "not", "reviewed"]
    words = " ".join(first.split())
    assert "Not assessed: L2: streaks of the rods cross it." in words
    # the total says what it leaves out, and no 'in all'
    assert (
        "Bone cement in one vertebra (L3): 0.87 mL in those that were assessed (95 % "
        "interval 0.70 to 1.04 mL), of which 0.06 mL lie outside the vertebral bodies. "
        "Not assessed: L2." in words
    )
    assert "in all" not in words
    assert "0.00" not in row(first, "L2")


def away(report: Report) -> Report:
    """No leak at a vertebra, and cement at two places further away."""
    vertebrae = tuple(v.model_copy(update={"leaks": ()}) for v in report.vertebrae)
    entries = tuple(
        CementElsewhereEntry(
            location=place, volume_ml=volume, centroid_lps_mm=(0.0, 0.0, 500.0)
        )
        for place, volume in (("great_vein", 0.37), ("lung", 0.29))
    )
    changed = {"vertebrae": vertebrae, "cement_elsewhere": entries}
    return report.model_copy(update=changed)


def test_cement_away_from_vertebrae_is_told_with_the_readers_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DRAWN, draw_nothing)
    decisions = {"elsewhere-1": ("rejected", "a port catheter")}
    plan = CasePlan(change=away, reviewed=True, decisions=decisions)
    folder = make_case(tmp_path, plan)
    export_case(ExportJob(folder, tmp_path / "out", choice=ObjectChoice(pdf=True)))
    first, second = pages_of(tmp_path / "out" / "report.pdf")
    assert "One leak: lung, 0.29 mL." in " ".join(first.split())
    cells = ["elsewhere-2", "not", "at", "a", "vertebra", "lung", "0.29", "-", "-"]
    assert row(second, "elsewhere-2").split() == [*cells, "accepted"]
    assert "None found" not in second
    assert "cement elsewhere-1: a port catheter" in second


def test_a_scan_that_was_refused_has_no_total(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DRAWN, draw_nothing)
    first, second = pages_of(draft_of(tmp_path, refused(("L2", "L3"))))
    words = " ".join(first.split())
    assert "Cement of the whole scan was not assessed: no vertebra could be" in words
    assert "No leak was found at the vertebrae that were assessed." in words
    assert not re.search(r"No (bone cement|leak of cement) was found", words)
    assert "None found where cement was assessed." in second
    for level in ("L2", "L3"):
        assert row(first, level).split()[1:3] == ["not", "assessed"]


def test_every_number_is_the_reviews(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DRAWN, draw_nothing)
    decisions = {"L3": ("modified", "edge moved"), "L3-1": ("modified", "route")}
    folder = make_case(tmp_path, CasePlan(reviewed=True, decisions=decisions))
    export_case(ExportJob(folder, tmp_path / "out", choice=ObjectChoice(pdf=True)))
    result = json.loads((folder / "review.json").read_text())["result"]
    first, second = pages_of(tmp_path / "out" / "report.pdf")
    for vertebra in result["vertebrae"]:
        cement = vertebra["cement"]
        low, high = cement["interval_ml"]
        assert row(first, vertebra["level"]).split()[:8] == [
            vertebra["level"], f"{cement['volume_ml']:.2f}", f"{low:.2f}", "to",
            f"{high:.2f}", f"{cement['intrabody_ml']:.2f}",
            f"{cement['leaked_ml']:.2f}", f"{100 * cement['fill_ratio']:.1f}",
        ]  # fmt: skip
    assert "modified (was 0.87 mL)" in row(first, "L3")
    assert "accepted" in row(first, "L2")
    (leak,) = result["vertebrae"][0]["leaks"]
    told = row(second, "L3-1")
    for number in (leak["volume_ml"], leak["canal_encroachment_percent"]):
        assert f"{number:.2f}" in told or f"{number:.1f}" in told
    totals = result["totals"]
    assert f"{totals['cement_ml']:.2f} mL in all" in " ".join(first.split())
    for page in (first, second):
        assert "Draft, reviewed, not signed: no reader answers for it" in page


def test_renamed_levels_are_told_once_beside_the_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DRAWN, draw_nothing)
    folder = make_case(tmp_path)
    session = ReviewSession(folder)
    shift_levels(session, -1)
    session.reject(FindingId("leak", "L3-1"), "no cement")
    while (finding := session.next_open()) is not None:
        session.accept(finding)
    session.save()
    export_case(ExportJob(folder, tmp_path / "out", choice=ObjectChoice(pdf=True)))
    first, second = (" ".join(p.split()) for p in pages_of(tmp_path / "out/report.pdf"))
    assert (
        "Levels named by the reader, in brackets the machine's name: L3 (L2), L4 (L3)."
    ) in first
    assert "L4 left 5.5 30.0 0.31 not assessed - accepted" in second
    assert "machine: L" not in first + second
    # that id may be another leak's now
    assert "leak L3-1 of the machine's report (at L4 here): no cement" in second


def test_screws_of_each_form_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DRAWN, draw_nothing)
    _, second = pages_of(draft_of(tmp_path, with_lucency))
    assert "loose, max 2.1 mm, double halo" in row(second, "L3 left")
    assert "suspicious, max 2.1 mm, grew 0.5 mm" in row(second, "L2 right")
    for name, seen in (("L3 left", "80"), ("L3 right", "-")):
        assert row(second, name).split()[-3:] == [seen, "not", "reviewed"]
    assert "not assessed" in row(second, "L3 right")
    words = " ".join(second.split())
    assert "Lucency not assessed (L3 right): slices of 3 mm." in words
    assert "A lucent rim is a suspicion" in words


def test_the_change_since_the_baseline_is_the_machines_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DRAWN, draw_nothing)
    first, second = pages_of(draft_of(tmp_path / "draft", with_followup))
    compared = "Compared with the baseline CT of 2025-03-11 (183 days before)"
    assert f"{compared}: look at L3-left, L2-right" in " ".join(first.split())
    words = " ".join(second.split())
    loose = "L3 left is suspected to be loose: rim of 2.1 mm."
    for sentence in (
        f"{compared}.", loose, "The rim of L2 right grew by 0.5 mm.",
        "Not assessed: movement of screws (3 of 3), growth of lucent rims (2 of 3).",
    ):  # fmt: skip
        assert sentence in words
    assert "did not judge" not in words
    decisions = {"L3-left": ("rejected", "no screw")}
    plan = CasePlan(change=with_followup, reviewed=True, decisions=decisions)
    folder = make_case(tmp_path / "reviewed", plan)
    export_case(ExportJob(folder, tmp_path / "out", choice=ObjectChoice(pdf=True)))
    words = " ".join(pages_of(tmp_path / "out" / "report.pdf")[1].split())
    assert "The comparison is the machine's; the reader did not judge it." in words
    assert f"{loose} (The reader rejected this finding.)" in words
    groups = groups_of(tmp_path / "out" / "report_sr.dcm")
    told = texts_of(groups["whole scan cement"])
    assert f"{loose} (The reader rejected this finding.)" in told


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
    assert "0.91" in row(text, "L3")
    assert "modified (was 0.87 mL)" in text
    assert "leak L3-1: a vessel" in text
    assert "No leak of cement was found." in text
    assert "leak seen again" in text
