"""What a batch finds under its root, and what its ledger makes of it."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cases.batch_roots import FakeSeries, write_fake_series
from cases.reports import LevelCase, ReportCase, made_report
from cases.series import datasets, phantom_ct, save
from cemscope.dicom.patient_key import patient_key_of
from cemscope.errors import ConfigError, ExportError
from cemscope.testing.dicom_writer import SeriesIdentity
from cemscope_pipelines.batch.case_view import LucencyView, read_case
from cemscope_pipelines.batch.folders import walk_root
from cemscope_pipelines.batch.found_series import SearchJob
from cemscope_pipelines.batch.ledger import Ledger
from cemscope_pipelines.batch.ledger_case import (
    SEARCH,
    CaseStatus,
    CaseUpdate,
    LedgerCase,
    Unsuitable,
)
from cemscope_pipelines.batch.pairing import paired_by_date
from cemscope_pipelines.batch.planning import CasePlan, plan_cases
from cemscope_pipelines.batch.prepare import ConfigJob, ReadyConfig, ready_config
from cemscope_pipelines.batch.search import FoundInput, excluded_folder
from cemscope_pipelines.batch.series_search import find_series
from cemscope_pipelines.batch.table_files import csv_cell
from cemscope_pipelines.config import AnalysisConfig

SALT = b"salt"
READY = ReadyConfig(config="{}", config_hash="c", version="1")
NOWHERE = Path("/nowhere")


def search(root: Path) -> FoundInput:
    """Search in this process."""
    job = SearchJob(
        root=str(root), excluded=str(NOWHERE), config=ConfigJob(), salt=SALT.hex()
    )
    found = find_series(job, AnalysisConfig(), lambda message: None)
    return FoundInput(found.series, found.units, found.notes, READY)


def plan(found: FoundInput, *, one_per_study: bool = False) -> CasePlan:
    return plan_cases(found, READY, NOWHERE, SALT, one_per_study=one_per_study)


def test_kinds_of_series(tmp_path: Path) -> None:
    write_fake_series(FakeSeries("good"), tmp_path / "a" / "b")
    write_fake_series(FakeSeries("gap", broken="missing_slices"), tmp_path / "a")
    write_fake_series(FakeSeries("mr", broken="magnetic_resonance"), tmp_path / "c")
    write_fake_series(FakeSeries("scout", broken="localizer_only"), tmp_path / "c")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "1").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 300)
    (tmp_path / "empty").mkdir()
    (tmp_path / "readme.txt").write_text("words")
    found = search(tmp_path)
    cases = plan(found)
    by_status = {c.entry.status: c.entry for c in cases.cases}
    assert len(cases.cases) == 3
    assert by_status[CaseStatus.WAITING].name.startswith("20250301-")
    refused = {c.entry.reason_code for c in cases.cases if c.entry.reason}
    assert refused == {"missing_slices", "NoSeriesError"}
    assert {u.reason_code for u in cases.unsuitable} == {"not_ct", "localizer"}


def test_units_and_archives(tmp_path: Path) -> None:
    folder = write_fake_series(FakeSeries("one"), tmp_path / "disc" / "DICOM")
    with zipfile.ZipFile(tmp_path / "disc" / "two.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"CT/{path.name}")
    out = tmp_path / "disc" / "out"
    write_fake_series(FakeSeries("ours"), out)
    units = walk_root(tmp_path, out).units
    names = [u.relative_to(tmp_path).as_posix() for u in units]
    assert sorted(names) == ["disc/DICOM/one", "disc/two.zip"]
    (tmp_path / "flat").mkdir()
    for path in folder.iterdir():
        shutil.copy(path, tmp_path / "flat" / path.name)
    assert walk_root(tmp_path / "flat", out).units == {tmp_path / "flat"}
    shutil.rmtree(out)
    found = search(tmp_path / "disc")
    assert (len(found.series), found.notes.copies) == (1, 1)  # the archive holds a copy


def test_of_different_copies_in_archives_the_fullest_is_the_case(
    tmp_path: Path,
) -> None:
    folder = write_fake_series(FakeSeries("one"), tmp_path / "source")
    root = tmp_path / "discs"
    root.mkdir()
    for name, missing in (("a", 1), ("b", 0)):
        with zipfile.ZipFile(root / f"{name}.zip", "w") as archive:
            for path in sorted(folder.iterdir())[missing:]:
                archive.write(path, path.name)
    found = search(root)
    (series,) = found.series
    assert (series.slices, Path(series.path).name) == (6, "b.zip")
    assert found.notes.copies == 1


def test_a_series_in_several_folders_is_one_case(tmp_path: Path) -> None:
    folder = write_fake_series(FakeSeries("one"), tmp_path)
    (tmp_path / "two").mkdir()
    for name in ("0001", "0003", "0004"):
        (folder / name).rename(tmp_path / "two" / name)
    write_fake_series(FakeSeries("other"), tmp_path)
    found = search(tmp_path)
    assert sorted(s.slices for s in found.series) == [6, 6]
    assert all(s.measurable and s.preferred for s in found.series)
    paths = {Path(s.path) for s in found.series}
    assert paths == {tmp_path, tmp_path / "other"}


def test_the_input_hash_changes_with_a_file(tmp_path: Path) -> None:
    folder = write_fake_series(FakeSeries("one"), tmp_path)
    (before,) = search(tmp_path).series
    again = tmp_path / "again"
    folder.rename(again)
    (moved,) = search(tmp_path).series
    assert moved.input_hash == before.input_hash
    with (again / "0000").open("ab") as stream:
        stream.write(b"\0\0")
    (changed,) = search(tmp_path).series
    assert changed.input_hash != before.input_hash
    keys = {
        before.case_key("a", "1"),
        before.case_key("b", "1"),
        before.case_key("a", "2"),
        changed.case_key("a", "1"),
    }
    assert len(keys) == 4


def test_one_per_study_takes_what_analyze_would(tmp_path: Path) -> None:
    for count, thickness_mm, name in ((12, 4.0, "thick"), (24, 2.0, "thin")):
        ct = phantom_ct((count, 4, 5), (thickness_mm, 0.8, 0.7))
        save(datasets(ct, SeriesIdentity(series_key=name)), tmp_path / "p" / name)
    found = search(tmp_path)
    assert len(plan(found).cases) == 2
    (case,) = plan(found, one_per_study=True).cases
    assert case.path.endswith("thin")
    (other,) = plan(found, one_per_study=True).unsuitable
    assert "slices are thicker" in other.reason


def case(name: str, patient: str, date: str, *, preferred: bool = True) -> LedgerCase:
    return LedgerCase(name, name, f"1.{name}", "1", patient, date, 20, preferred, "")


def test_followups_are_paired_by_patient_and_date() -> None:
    found = paired_by_date(
        [
            case("c", "P-1", "20250301"),
            case("a", "P-1", "20250101"),
            case("b", "P-1", "20250101", preferred=False),
            case("d", "P-2", "20250101"),
            case("e", "", "20250101"),
            case("f", "P-3", ""),
            case("g", "P-3", "20240101"),
        ]
    )
    told = {c.name: (c.role, c.baseline, c.days_since_baseline) for c in found}
    assert told == {
        "a": ("baseline", "", None),
        "b": ("single", "", None),
        "c": ("followup", "a", 59),
        "d": ("single", "", None),
        "e": ("single", "", None),
        "f": ("single", "", None),
        "g": ("single", "", None),
    }


@contextmanager
def ledger(folder: Path) -> Iterator[Ledger]:
    with Ledger(folder / "ledger.sqlite") as opened:
        yield opened


def test_a_series_under_other_settings_supersedes_the_old_case(tmp_path: Path) -> None:
    old = case("k1", "P-1", "20250101")
    new = replace(old, key="k2", name="n2", config_hash="other")
    with ledger(tmp_path) as book:
        book.put([old])
        book.start("k1")
        book.end("k1", CaseUpdate(CaseStatus.DONE))
        book.put([old])  # found again: what is known of it stays
        assert [c.status for c in book.cases()] == [CaseStatus.DONE]
        book.put([new])
        assert [(c.key, c.status) for c in book.cases()] == [("k2", "waiting")]
        book.put([old])  # the first settings again: not repeated
        assert [(c.key, c.status, c.starts) for c in book.cases()] == [
            ("k1", "done", 1)
        ]
        salt = book.salt
    with Ledger(tmp_path / "ledger.sqlite", read_only=True) as book:
        assert book.salt == salt
        assert book.counts() == {CaseStatus.DONE: 1}


def test_failed_cases_wait_again_only_when_asked(tmp_path: Path) -> None:
    with ledger(tmp_path) as book:
        book.put([case("k1", "", ""), case("k2", "", "")])
        for key in ("k1", "k2"):
            book.start(key)
            book.end(key, CaseUpdate(CaseStatus.MEMORY, "memory", "too much"))
        book.wait_again([CaseStatus.RUNNING])
        assert book.counts() == {CaseStatus.MEMORY: 2}
        book.wait_again([CaseStatus.MEMORY], {"k2"})
        assert book.counts() == {CaseStatus.MEMORY: 1, CaseStatus.WAITING: 1}
        book.put_unsuitable([Unsuitable("1.2", "scout", "localizer")])
        assert [u.series for u in book.unsuitable()] == ["1.2"]


def test_a_refusal_by_the_search_holds_as_long_as_the_search_says_so(
    tmp_path: Path,
) -> None:
    sound = case("k1", "", "")
    refused = replace(
        sound, status=CaseStatus.REFUSED, reason="gap", reason_code="gap", stage=SEARCH
    )

    def told(book: Ledger) -> tuple[str, str]:
        (found,) = book.cases()
        return found.status.value, found.reason

    with ledger(tmp_path) as book:
        for entry in (sound, refused, refused, sound):
            book.put([entry])
            assert told(book) == (entry.status.value, entry.reason)
        # A refusal by the measuring process is not tried again by itself.
        book.start("k1")
        book.end("k1", CaseUpdate(CaseStatus.REFUSED, "pixels", "cut", "headers"))
        book.put([sound])
        assert told(book) == ("refused", "cut")
        book.end("k1", CaseUpdate(CaseStatus.DONE))
        book.put([refused])
        assert told(book) == ("done", "")


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_text("no database, but some words of length")
    with pytest.raises(ConfigError, match="cannot be opened"):
        Ledger(tmp_path / "ledger.sqlite")


def test_pseudonyms_tell_patients_apart_and_name_nobody() -> None:
    first = patient_key_of(" Ab 1", SALT)
    assert first == patient_key_of("AB  1 ", SALT)
    assert first != patient_key_of("AB 2", SALT)
    assert first != patient_key_of("AB 1", b"other")
    for nobody in ("  ", "Anonymous", "ANON-01", "unknown", "000-000", "None"):
        assert patient_key_of(nobody, SALT) == ""


def test_a_batch_takes_no_label_map_of_one_scan() -> None:
    with pytest.raises(ConfigError, match="belongs to one scan"):
        ready_config(ConfigJob(vertebra_source="labels.nii.gz"))
    with pytest.raises(ConfigError, match="unknown setting"):
        ready_config(ConfigJob(assignments=("nonsense=1",)))


def test_results_do_not_lie_above_the_scans(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for out in (tmp_path, tmp_path / "scans"):
        with pytest.raises(ConfigError, match="holds it"):
            excluded_folder(tmp_path / "scans", out)
    assert excluded_folder(tmp_path, tmp_path / "out") == (tmp_path / "out").resolve()


def write_report(folder: Path) -> dict[str, object]:
    levels = (LevelCase("L4", 2.0, screws=(("left", 2.0),)),)
    report = made_report(ReportCase("1.2", "1.3", levels))
    (folder / "report.json").write_text(report.to_json())
    found: dict[str, object] = json.loads(report.to_json())
    return found


def test_newer_reports_and_finished_reviews_are_read(tmp_path: Path) -> None:
    import hashlib

    report = write_report(tmp_path)
    report |= {"schema_version": "1.9", "something_new": [1]}
    report["screws"][0]["lucency"] = {  # type: ignore[index]
        "status": "assessed", "max_width_mm": 2.0, "mean_width_mm": 1.0,
        "arc_deg": 90.0, "length_fraction": 0.4, "grade": "loose", "growth_mm": 1.1,
    }  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(report))
    view = read_case(tmp_path)
    lucency = view.screws[0].lucency
    assert isinstance(lucency, LucencyView)
    assert (lucency.grade, lucency.growth_mm) == ("loose", 1.1)

    judged = hashlib.sha256((tmp_path / "report.json").read_bytes()).hexdigest()
    review = {
        "status": "reviewed",
        "report_sha256": judged,
        "result": {"screws": [], "vertebrae": [], "totals": report["totals"]},
    }
    (tmp_path / "review.json").write_text(json.dumps(review))
    assert read_case(tmp_path).values_from == "reader"
    assert read_case(tmp_path).screws == ()
    review["report_sha256"] = "0" * 64
    (tmp_path / "review.json").write_text(json.dumps(review))
    assert read_case(tmp_path).values_from == "machine"
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(ExportError, match="cannot be read"):
        read_case(tmp_path)


def test_cells_a_spreadsheet_would_run_are_quoted() -> None:
    assert csv_cell("=1+1") == "'=1+1"
    assert csv_cell(-1.5) == "-1.5"
    assert csv_cell(None) == ""
    assert csv_cell(True) == "yes"
