"""Untidy roots: mixed and split series, links, closed folders, shared numbers."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from cases.batch_roots import FakeSeries, write_fake_series
from cases.fake_cases import RUNNER
from cases.series import datasets, phantom_ct, save
from cemscope.dicom.patient_pseudonym import pseudonym_of
from cemscope.errors import NoSeriesError
from cemscope.testing.dicom_writer import SeriesIdentity
from cemscope_pipelines.analysis import AnalysisJob, read_job_series
from cemscope_pipelines.batch import case_job
from cemscope_pipelines.batch.batch_run import listed_cases, nothing_found
from cemscope_pipelines.batch.folders import RootWalk, walk_root
from cemscope_pipelines.batch.found_series import SearchJob
from cemscope_pipelines.batch.ledger_case import CaseStatus, LedgerCase
from cemscope_pipelines.batch.pairing import paired_by_date
from cemscope_pipelines.batch.patients import told_apart
from cemscope_pipelines.batch.planning import CasePlan, plan_cases
from cemscope_pipelines.batch.prepare import ConfigJob, ReadyConfig
from cemscope_pipelines.batch.search import FoundInput
from cemscope_pipelines.batch.series_search import find_series
from cemscope_pipelines.cli import main
from cemscope_pipelines.config import AnalysisConfig
from cemscope_pipelines.stages import StageClock, ignore_progress

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


def acquisitions(*starts_mm: float, count: int = 20) -> list[Dataset]:
    """Build one series of several acquisitions that begin at these heights."""
    slices = []
    for number, start_mm in enumerate(starts_mm, start=1):
        ct = phantom_ct((count, 4, 5), (1.0, 0.8, 0.7), (-40.0, -60.0, start_mm))
        more = datasets(ct, SeriesIdentity(acquisition_number=number))
        for index, dataset in enumerate(more):
            dataset.SOPInstanceUID = f"2.25.{1000 * number + index}"
        slices += more
    return slices


def thick_series() -> list[Dataset]:
    """Another series of the same study, which comes second to a thin one."""
    ct = phantom_ct((8, 4, 5), (2.5, 0.8, 0.7))
    return datasets(ct, SeriesIdentity(series_key="thick"))


def test_a_series_that_mixes_acquisitions_costs_only_itself(tmp_path: Path) -> None:
    save(acquisitions(-310.0, -310.0), tmp_path / "p" / "mixed")
    save(thick_series(), tmp_path / "p" / "thick")
    found = search(tmp_path)
    mixed = SeriesIdentity().series_instance_uid
    told = {s.name: s for s in found.series}
    assert set(told) == {f"{mixed}#1", f"{mixed}#2", *told}
    assert len(told) == 3
    (thick,) = [s for s in found.series if not s.mixed]
    assert thick.preferred
    assert f"left aside: series {mixed}" in thick.reason
    for part in (told[f"{mixed}#1"], told[f"{mixed}#2"]):
        assert not part.preferred
        assert part.reason.startswith(f"series {mixed} holds 2 acquisitions")
    # All are measured; with one per study, the sound one is, and the list says why.
    assert [c.entry.status for c in plan(found).cases] == [CaseStatus.WAITING] * 3
    few = plan(found, one_per_study=True)
    assert [c.entry.series for c in few.cases] == [thick.name]
    assert {u.reason_code for u in few.unsuitable} == {"mixed_series"}
    assert all(f"series {mixed} holds 2" in u.reason for u in few.unsuitable)


def test_a_study_of_nothing_but_mixed_acquisitions_is_not_lost(tmp_path: Path) -> None:
    save(acquisitions(-310.0, -310.0), tmp_path / "mixed")
    few = plan(search(tmp_path), one_per_study=True)
    assert not few.unsuitable
    assert [c.entry.status for c in few.cases] == [CaseStatus.REFUSED] * 2
    assert all("holds 2 acquisitions" in c.entry.reason for c in few.cases)


def test_parts_in_several_folders_are_found_again_by_the_case(tmp_path: Path) -> None:
    slices = acquisitions(-310.0, -250.0)
    save(slices[:20], tmp_path / "p" / "one")
    save(slices[20:], tmp_path / "p" / "two")
    save(thick_series(), tmp_path / "other")
    found = search(tmp_path)
    uid = SeriesIdentity().series_instance_uid
    parts = {s.name: s for s in found.series if s.name.startswith(uid)}
    assert set(parts) == {f"{uid}#1", f"{uid}#2"}
    for number, start_mm in ((1, -310.0), (2, -250.0)):
        part = parts[f"{uid}#{number}"]
        assert Path(part.path) == tmp_path / "p"
        job = AnalysisJob(
            Path(part.path), tmp_path / "case", AnalysisConfig(), part.name
        )
        ct = read_job_series(job, StageClock(ignore_progress))
        assert ct.geometry.shape[0] == 20
        lowest = ct.geometry.corners_lps_mm()[:, 2].min()
        assert lowest == pytest.approx(start_mm, abs=1.0)


def test_parts_and_a_whole_of_one_series_are_put_together(tmp_path: Path) -> None:
    slices = acquisitions(-310.0, -250.0)
    save([*slices[:10], *slices[20:]], tmp_path / "one")  # UID#1 and UID#2
    save(slices[10:20], tmp_path / "two")  # UID
    found = search(tmp_path)
    assert sorted(s.slices for s in found.series) == [20, 20]
    assert {Path(s.path) for s in found.series} == {tmp_path}


def test_a_series_split_by_a_link_is_refused(tmp_path: Path) -> None:
    slices = acquisitions(-310.0)
    save(slices[:10], tmp_path / "root" / "one")
    save(slices[10:], tmp_path / "elsewhere")
    (tmp_path / "root" / "two").symlink_to(tmp_path / "elsewhere")
    (case,) = plan(search(tmp_path / "root")).cases
    assert (case.entry.status, case.entry.reason_code) == (
        CaseStatus.REFUSED,
        "split_series",
    )
    assert "behind a link" in case.entry.reason


def test_links_are_followed_once_and_never_round(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_fake_series(FakeSeries("here"), root)
    for name in ("there", "further"):
        write_fake_series(FakeSeries(name), tmp_path / "archive" / name)
    (root / "link").symlink_to(tmp_path / "archive" / "there")
    (root / "again").symlink_to(tmp_path / "archive" / "there")
    (tmp_path / "archive" / "there" / "more").symlink_to(
        tmp_path / "archive" / "further"
    )
    (root / "here" / "up").symlink_to(root)
    (root / "above").symlink_to(tmp_path)
    (root / "dead").symlink_to(tmp_path / "nothing")
    walk = walk_root(root, NOWHERE)
    assert (walk.links_followed, walk.links_back, walk.links_dead) == (2, 3, 1)
    found = search(root)
    assert len(found.series) == 3
    assert all(s.measurable for s in found.series)
    assert found.notes.links_dead == 1


def test_a_folder_that_cannot_be_read_is_a_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fake_series(FakeSeries("open"), tmp_path)
    closed = tmp_path / "open" / "closed"
    closed.mkdir()
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)  # the tests may run as root
    cases = [c.entry for c in plan(search(tmp_path)).cases]
    assert sorted(c.status for c in cases) == ["refused", "waiting"]
    (refused,) = [c for c in cases if c.status is CaseStatus.REFUSED]
    assert refused.reason_code == "unreadable_folder"
    assert "Permission denied" in refused.reason


def test_a_walk_over_a_file_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"")
    walk = walk_root(tmp_path / "one", NOWHERE)
    assert walk == RootWalk(units={tmp_path / "one"})


def test_a_root_without_cases_is_refused_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    write_fake_series(FakeSeries("scout", broken="localizer_only"), root)
    assert main(["batch", str(root), "--out", str(out)]) == 3
    assert "1 x localizer" in capsys.readouterr().err
    assert not out.exists()
    (root / "empty").mkdir()
    assert "no DICOM image" in nothing_found(plan(search(root / "empty")))


def test_what_is_gone_or_changed_is_settled_at_the_next_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(case_job, "CASE_RUNNER", RUNNER)
    root, out = tmp_path / "root", tmp_path / "out"
    good = write_fake_series(FakeSeries("good"), root)
    write_fake_series(FakeSeries("lost"), root)
    gone = write_fake_series(FakeSeries("gone", "raise"), root)
    gap = write_fake_series(FakeSeries("gap", broken="missing_slices"), root)
    mended = write_fake_series(FakeSeries("mended"), root)
    kept = (mended / "0003").read_bytes()
    (mended / "0003").unlink()  # with a gap: refused
    command = ["batch", str(root), "--out", str(out), "--workers", "2"]
    assert main(command) == 5
    counts = Counter(c.status.value for c in listed_cases(out))
    assert counts == {"done": 2, "failed": 1, "refused": 2}
    for folder in (gone, gap, root / "lost"):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    (mended / "0003").write_bytes(kept)
    capsys.readouterr()
    assert main(command) == 0
    assert "2 without a result dropped" in capsys.readouterr().err
    cases = listed_cases(out)
    # The result whose scan is gone stays; nothing was measured twice.
    assert [(c.status.value, c.starts) for c in cases] == [("done", 1)] * 3
    assert good.exists()


def case(
    name: str, number: str, issuer: str = "", born: str = "", date: str = "20250101"
) -> LedgerCase:
    told = pseudonym_of(number, issuer, born, SALT)
    return LedgerCase(
        *(name, name, f"1.{name}", "1", told.number, date, 20, True, ""),
        number_key=told.number,
        issuer_key=told.issuer,
        birth_key=told.birth_date,
    )


def keys(*cases: LedgerCase) -> dict[str, str]:
    return {c.name: c.patient_key for c in told_apart(cases, SALT)}


def test_one_number_of_two_hospitals_is_two_patients() -> None:
    found = keys(
        case("a", "17", "North"),
        case("b", "17", "South"),
        case("c", "17", "north ", date="20250601"),
        case("d", "18", "North"),
    )
    assert found["a"] == found["c"]
    assert len(set(found.values())) == 3
    told = told_apart([case("a", "17", "North"), case("b", "17", "South")], SALT)
    assert all("of 2 patients" in c.patient_note for c in told)
    assert [c.role for c in paired_by_date(told)] == ["single", "single"]


def test_one_number_with_two_birth_dates_is_two_patients() -> None:
    found = keys(case("a", "17", born="19400101"), case("b", "17", born="19500101"))
    assert found["a"] != found["b"]


def test_what_a_header_leaves_out_does_not_part_a_patient() -> None:
    scans = (
        case("a", "17", "North", "19400101"),
        case("b", "17"),
        case("c", "17", "", "19400101"),
        case("d", "17", "North", "19000101"),  # a placeholder
    )
    told = told_apart(scans, SALT)
    # The key is that of the number alone: clinical files can name it.
    assert {c.patient_key for c in told} == {scans[0].number_key}
    assert {c.patient_note for c in told} == {""}


def test_a_header_that_tells_too_little_belongs_to_nobody() -> None:
    told = told_apart(
        [case("a", "17", "North"), case("b", "17", "South"), case("c", "17")], SALT
    )
    assert len({c.patient_key for c in told}) == 3
    assert "too little" in told[2].patient_note
    (nameless,) = told_apart([case("e", "", "North", "19400101")], SALT)
    assert (nameless.patient_key, nameless.patient_note) == ("", "")


def test_headers_of_two_hospitals(tmp_path: Path) -> None:
    for name in ("north", "south"):
        slices = datasets(
            phantom_ct((6, 4, 5), (4.0, 0.8, 0.7)),
            replace(SeriesIdentity(), study_key=name, patient_id="17"),
        )
        for dataset in slices:
            dataset.IssuerOfPatientID = name
        save(slices, tmp_path / name)
    entries = [c.entry for c in plan(search(tmp_path)).cases]
    assert len({c.number_key for c in entries}) == 1
    assert len({c.issuer_key for c in entries} - {""}) == 2
    assert all(c.birth_key for c in entries)
    assert len({c.patient_key for c in told_apart(entries, SALT)}) == 2


def test_a_root_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSeriesError, match="cannot be read"):
        search(tmp_path / "nothing")
