"""The review without a screen: decisions, undo, the journal, what a crash leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cases.review_case import LEAK_ID, TinyCase, write_case
from cemscope_pipelines.label_files import read_label_map
from cemscope_pipelines.report import CementElsewhereEntry, Report
from cemscope_pipelines.review import (
    anatomy_corrections,
    cement_corrections,
    leak_corrections,
)
from cemscope_pipelines.review.review_document import (
    FindingId,
    ReviewError,
    finding_ids,
    read_review,
)
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.reviewed_result import NO_CEMENT, WITHIN_BONE
from cemscope_pipelines.review.settled_review import is_settled, settle_review

LEAK = FindingId("leak", LEAK_ID)
L4, L3 = FindingId("vertebra", "L4"), FindingId("vertebra", "L3")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> TinyCase:
    return write_case(tmp_path_factory.mktemp("session"))


@pytest.fixture
def folder(original: TinyCase, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original.folder, tmp_path / "case"))


@pytest.fixture
def session(folder: Path) -> ReviewSession:
    return ReviewSession(folder)


def test_every_finding_is_open_at_first_and_judged_in_the_end(
    session: ReviewSession,
) -> None:
    assert session.open_count == 4
    seen = []
    while (finding := session.next_open()) is not None:
        seen.append(finding)
        session.accept(finding)
    assert tuple(seen) == finding_ids(session.report)
    document = read_review(session.case_folder)
    assert document is not None
    assert document.status == "reviewed"
    assert document.result.totals == session.report.totals


def test_steps_go_round(session: ReviewSession) -> None:
    forwards = [session.step(1) for _ in range(5)]
    assert forwards[0] == forwards[4] == L4
    assert session.step(-1) == FindingId("screw", "L3-left")


def test_a_rejected_leak_takes_its_volume_along(session: ReviewSession) -> None:
    before = session.report.vertebrae[0].cement
    leak_ml = session.report.vertebrae[0].leaks[0].volume_ml
    session.reject(LEAK, NO_CEMENT)
    after = session.document().result.vertebrae[0]
    assert after.leaks == ()
    assert after.cement.volume_ml == pytest.approx(before.volume_ml - leak_ml, abs=2e-3)
    assert after.cement.leaked_ml == pytest.approx(0.0, abs=1e-9)
    session.reject(LEAK, f"{WITHIN_BONE}: in the pedicle")
    kept = session.document().result.vertebrae[0]
    assert kept.leaks == ()
    assert kept.cement.volume_ml == before.volume_ml
    assert kept.cement.intrabody_ml == pytest.approx(
        before.intrabody_ml + leak_ml, abs=2e-3
    )


def test_a_rejected_vertebra_is_not_assessed(session: ReviewSession) -> None:
    session.reject(L3, NO_CEMENT)
    result = session.document().result
    assert result.vertebrae[1].cement.status == "not_assessed"
    assert NO_CEMENT in result.vertebrae[1].cement.reason
    assert result.screws[0].cement_volume_ml.status == "not_assessed"
    assert result.totals.vertebrae_augmented == 1


def test_a_reason_must_be_one_of_the_list(session: ReviewSession) -> None:
    with pytest.raises(ReviewError, match="begins with"):
        session.reject(LEAK, "I do not like it")
    assert session.open_count == 4


def test_the_readers_type_is_definite_and_the_machines_stays(
    session: ReviewSession,
) -> None:
    leak_corrections.set_leak_types(session, LEAK_ID, ("C", "D"))
    leak = session.document().result.vertebrae[0].leaks[0]
    assert (leak.types, leak.certainty) == (("C", "D"), "definite")
    assert session.report.vertebrae[0].leaks[0].types == ("B",)
    decision = session.document().decision_on(LEAK)
    assert decision is not None
    assert decision.decision == "modified"
    with pytest.raises(ReviewError, match="types"):
        leak_corrections.set_leak_types(session, LEAK_ID, ("Q",))


def test_a_shift_renames_everything_and_judges_nothing(session: ReviewSession) -> None:
    anatomy_corrections.shift_levels(session, 1)
    document = session.save()
    assert [v.level for v in document.result.vertebrae] == ["L3", "L2"]
    assert document.result.vertebrae[0].leaks[0].id == "L3-1"
    assert document.result.screws[0].id == "L2-left"
    assert session.open_count == 4
    assert document.corrected_maps == ("vertebrae",)
    renamed = read_label_map(session.case_folder / "review_vertebrae.nii.gz").labels
    machine = read_label_map(session.case_folder / "vertebrae.nii.gz").labels
    np.testing.assert_array_equal(renamed == 22, machine == 23)  # L3 was L4
    np.testing.assert_array_equal(renamed == 122, machine == 123)
    session.undo()
    session.save()
    assert not (session.case_folder / "review_vertebrae.nii.gz").exists()


@pytest.mark.parametrize(("level", "name"), [("L4", "S3"), ("L4", "V2"), ("T1", "L3")])
def test_names_that_do_not_exist_are_refused(
    session: ReviewSession, level: str, name: str
) -> None:
    with pytest.raises(ReviewError):
        anatomy_corrections.name_levels(session, level, name)
    assert session.history.log == ()


def test_a_journal_of_another_report_is_refused(folder: Path) -> None:
    ReviewSession(folder).accept(LEAK)
    report = folder / "report.json"
    report.write_text(report.read_text() + "\n")
    with pytest.raises(ReviewError, match="another report"):
        ReviewSession(folder)


def test_a_torn_last_line_is_lost_and_nothing_else(folder: Path) -> None:
    session = ReviewSession(folder)
    session.accept(L4)
    session.accept(LEAK)
    journal = folder / "review.edits.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-40])
    again = ReviewSession(folder)
    assert again.state.decision(L4).decision == "accepted"
    assert again.state.decision(LEAK).decision == "open"
    again.accept(L3)  # and it goes on
    assert ReviewSession(folder).state.decision(L3).decision == "accepted"


def test_a_damaged_line_in_the_middle_is_told(folder: Path) -> None:
    session = ReviewSession(folder)
    session.accept(L4)
    session.accept(LEAK)
    journal = folder / "review.edits.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + b"{broken}\n" + lines[2])
    with pytest.raises(ReviewError, match="line 2"):
        ReviewSession(folder)


def test_two_windows_on_one_case_do_not_mix(folder: Path) -> None:
    first, second = ReviewSession(folder), ReviewSession(folder)
    first.accept(L4)
    with pytest.raises(ReviewError, match="another window"):
        second.accept(L3)
    assert second.state.decision(L3).decision == "open"


def test_undone_actions_stay_in_the_log(folder: Path) -> None:
    session = ReviewSession(folder)
    session.accept(L4)
    session.accept(L3)
    session.undo()
    session.accept(LEAK)
    assert not session.history.can_redo
    again = ReviewSession(folder)
    assert [(e.number, e.undone) for e in again.document().edits] == [
        (1, False), (2, True), (3, False),
    ]  # fmt: skip
    assert again.state == session.state


def _kill_after(folder: Path, words: str) -> None:
    """Run a reader who is killed while the next action is on its way."""
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from cemscope_pipelines.review.review_session import ReviewSession\n"
        "from cemscope_pipelines.review.review_document import FindingId\n"
        "from cemscope_pipelines.review import cement_corrections as c\n"
        "from cemscope_pipelines.review.case_series import read_case_series\n"
        "import numpy as np\n"
        f"s = ReviewSession(Path({str(folder)!r}))\n"
        "s.ct = read_case_series(s.case_folder, s.report, s.maps.geometry)\n"
        "s.follow_at_once = False\n"
        f"{words}\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline().strip() == "ready"
        os.kill(reader.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def test_a_killed_reader_loses_nothing_that_was_done(folder: Path) -> None:
    _kill_after(
        folder,
        "s.accept(FindingId('vertebra', 'L4'))\n"
        "c.erase_cement(s, c.piece_at(s, (42, 20, 40)))",
    )
    before = read_review(folder)
    assert before is not None
    assert not before.maps_current
    settled = settle_review(folder)
    assert settled is not None
    assert settled.maps_current
    assert [e.action for e in settled.edits] == ["decide", "erase cement"]
    assert settled.result.vertebrae[1].cement.volume_ml == 0.0
    maps = read_label_map(folder / "review_materials.nii.gz").labels
    assert (maps == 1).sum() < (
        read_label_map(folder / "materials.nii.gz").labels == 1
    ).sum()


def test_settling_a_case_that_nobody_reviewed_does_nothing(folder: Path) -> None:
    assert settle_review(folder) is None
    assert not (folder / "review.json").exists()


def test_corrections_without_the_scan_say_what_is_missing(
    session: ReviewSession,
) -> None:
    piece = cement_corrections.piece_at(session, (42, 20, 40))
    with pytest.raises(ReviewError, match="--series"):
        cement_corrections.erase_cement(session, piece)
    assert session.history.log == ()
    assert (session.maps.materials.reshape(-1)[piece] == 1).all()


def test_a_full_disk_takes_the_action_back(
    session: ReviewSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(Exception, match="No space left"):
        session.accept(L4)
    monkeypatch.undo()
    assert session.state.decision(L4).decision == "open"
    session.accept(L4)
    assert ReviewSession(session.case_folder).state == session.state


def test_a_stale_window_cannot_save_over_the_other_ones_edits(folder: Path) -> None:
    first, second = ReviewSession(folder), ReviewSession(folder)
    assert not second.changed_elsewhere
    first.accept(L4)
    assert second.changed_elsewhere
    with pytest.raises(ReviewError, match="another window"):
        second.save()
    with pytest.raises(ReviewError, match="another window"):
        second.undo() if second.history.can_undo else second.revert()
    written = read_review(folder)
    assert written == first.document()
    assert written is not None
    assert written.decision_on(L4).decision == "accepted"  # type: ignore[union-attr]


def _before_schema_1_1(content: bytes) -> bytes:
    document = json.loads(content)
    del document["journal_bytes"]
    return json.dumps({**document, "schema_version": "1.0"}).encode()


def test_a_review_behind_its_journal_is_rebuilt(folder: Path) -> None:
    session = ReviewSession(folder)
    session.accept(L4)
    path = folder / "review.json"
    older = path.read_bytes()
    session.accept(LEAK)
    newest = read_review(folder)
    for stale in (older, _before_schema_1_1(older), None):
        path.unlink()
        if stale is not None:
            path.write_bytes(stale)
        assert not is_settled(folder)
        again = ReviewSession(folder)
        assert not again.is_settled
        again.settle()
        assert again.is_settled
        assert is_settled(folder)
        assert read_review(folder) == newest == settle_review(folder)


def test_a_settled_review_is_not_written_again(folder: Path) -> None:
    ReviewSession(folder).accept(L4)
    before = (folder / "review.json").stat().st_mtime_ns
    settle_review(folder)
    assert (folder / "review.json").stat().st_mtime_ns == before


def test_cement_elsewhere_keeps_its_id_when_the_one_before_it_is_rejected(
    folder: Path,
) -> None:
    path = folder / "report.json"
    report = Report.model_validate_json(path.read_text())
    away = tuple(
        CementElsewhereEntry(location=place, volume_ml=0.1, centroid_lps_mm=(0, 0, z))
        for place, z in (("lung", 1.0), ("vena cava", 2.0), ("azygos", 3.0))
    )
    report = report.model_copy(update={"cement_elsewhere": away})
    path.write_text(report.to_json())
    session = ReviewSession(folder)
    session.reject(FindingId("elsewhere", "elsewhere-1"), NO_CEMENT)
    result = session.document().result
    told = {
        result.elsewhere_id_at(k): one.location
        for k, one in enumerate(result.cement_elsewhere)
    }
    assert told == {"elsewhere-2": "vena cava", "elsewhere-3": "azygos"}
    decided = {d.finding_id: d.result_id for d in session.document().decisions}
    assert decided["elsewhere-2"] == "elsewhere-2"
    assert [row.finding.finding_id for row in session.rows][-3:] == [
        "elsewhere-1", "elsewhere-2", "elsewhere-3",
    ]  # fmt: skip


def test_the_list_shows_what_stands_in_the_result(session: ReviewSession) -> None:
    """A rejected leak takes its volume off its vertebra in the list, too."""
    session.reject(LEAK, NO_CEMENT)
    rows = {row.finding: row for row in session.rows}
    result = session.document().result.vertebrae[0].cement
    assert rows[L4].volume_ml == result.volume_ml < rows[L4].machine_ml
    assert rows[L4].changed
    assert f"Cement {result.volume_ml:.2f} mL" in rows[L4].detail
    assert rows[LEAK].volume_ml == 0.0
    session.reject(L3, NO_CEMENT)
    rows = {row.finding: row for row in session.rows}
    assert rows[L3].volume_ml is None
    assert rows[FindingId("screw", "L3-left")].volume_ml is None
    session.undo()
    session.undo()
    assert not any(row.changed for row in session.rows)
