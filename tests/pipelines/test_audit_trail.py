"""Every export, push, signature and amendment is a line of the trail."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from cases.export_cases import CasePlan, draw_nothing, make_case, review_case
from cemscope.dicom.pacs.archive import ArchivedSeries, StoredObject
from cemscope.errors import AuditError, EvidenceError, ExportError, PacsError
from cemscope_pipelines.cli.main import main
from cemscope_pipelines.export.export_case import ExportJob, export_case
from cemscope_pipelines.pacs.push_case import push_case
from cemscope_pipelines.signing.audit_check import audit_case
from cemscope_pipelines.signing.audit_trail import EVENTS, AuditEntry, read_trail
from cemscope_pipelines.signing.sign_case import SigningJob, sign_case


@pytest.fixture(scope="module", autouse=True)
def quick_pictures() -> Iterator[None]:
    """Pictures are looked at in test_export_pdf; here they would only take time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cemscope_pipelines.export.case_objects.draw_case", draw_nothing)
        yield


@pytest.fixture
def case(tmp_path: Path) -> Path:
    return make_case(tmp_path, CasePlan(reviewed=True))


class ArchiveInMemory:
    """Takes some objects, then does what it is told."""

    def __init__(self, takes: int, then: Callable[[], None]) -> None:
        self.place = "https://pacs.example/dicom-web"
        self._held: list[str] = []
        self._takes = takes
        self._then = then

    def instances_of(
        self, study_uid: str, series_uids: Sequence[str]
    ) -> frozenset[str]:
        return frozenset(self._held)

    def series_of(self, study_uid: str) -> tuple[ArchivedSeries, ...]:
        return ()

    def store(
        self,
        objects: Sequence[StoredObject],
        stored: Callable[[StoredObject], None] = lambda one: None,
    ) -> None:
        for one in objects:
            if len(self._held) == self._takes:
                self._then()
            self._held.append(one.instance_uid)
            stored(one)

    def fetch(self, study_uid: str, series_uid: str, folder: Path) -> int:
        return 0


def events(case: Path) -> list[str]:
    return [one.event for one in read_trail(case)]


def refuse() -> None:
    raise PacsError("the archive is full.")


def interrupt() -> None:
    raise KeyboardInterrupt


def test_every_export_is_a_line_of_a_case_that_nobody_signed(
    case: Path, tmp_path: Path
) -> None:
    export_case(ExportJob(case, tmp_path / "one"))
    export_case(ExportJob(case, tmp_path / "two", dicom=False, csv=True))
    key = tmp_path / "project.key"
    key.write_bytes(b"0123456789abcdef")
    words = ["export", str(case), "--to", str(tmp_path / "three"), "--research"]
    assert main([*words, "--research-key", str(key), "--quiet"]) == 0
    trail = read_trail(case)
    assert [one.event for one in trail] == ["exported"] * 3
    assert [one.details["for_research"] for one in trail] == [False, False, True]
    assert "report_sr.dcm" in trail[0].details["files"]
    assert trail[1].details["files"] == ["leaks.csv", "screws.csv", "vertebrae.csv"]
    # the line about a research export does not lead to its pseudonym
    pseudonym = json.loads((tmp_path / "three" / "export.json").read_text())["case"]
    assert pseudonym not in (case / "audit.jsonl").read_text()
    assert audit_case(case).broken == ()


def test_all_that_happens_to_a_case_stands_there_in_order(
    case: Path, tmp_path: Path
) -> None:
    export_case(ExportJob(case, tmp_path / "draft"))
    sign_case(SigningJob(case, "Doe^Jane", "Hospital"))
    with pytest.raises(PacsError, match="2 of 9 objects"):
        push_case(case, ArchiveInMemory(2, refuse))
    push_case(case, ArchiveInMemory(99, refuse))
    review_case(case, {"L3": ("modified", "edge moved")})
    sign_case(SigningJob(case, "Doe^Jane", "Hospital", True, "edge moved"))
    export_case(ExportJob(case, tmp_path / "signed"))
    assert events(case) == [
        "exported", "signed", "push_started", "push_failed", "push_started", "pushed",
        "amended", "exported",
    ]  # fmt: skip
    assert set(events(case)) == set(EVENTS)
    assert audit_case(case).broken == ()
    failed = read_trail(case)[3]
    assert len(failed.details["sent"]) == 2
    assert failed.details["archive"] == "https://pacs.example/dicom-web"
    assert "the archive is full" in failed.details["error"]


def test_a_push_that_is_interrupted_is_a_line(case: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        push_case(case, ArchiveInMemory(1, interrupt))
    started, failed = read_trail(case)
    assert started.event == "push_started"
    assert len(started.details["objects"]) > 1
    assert (failed.event, failed.details["error"]) == (
        "push_failed",
        "KeyboardInterrupt",
    )
    assert len(failed.details["sent"]) == 1


def test_what_was_refused_is_no_line(case: Path, tmp_path: Path) -> None:
    (case / "review.json").write_text(
        (case / "review.json").read_text().replace("0.871", "0.171")
    )
    with pytest.raises(EvidenceError):
        export_case(ExportJob(case, tmp_path / "out"))
    assert events(case) == []
    assert not (tmp_path / "out").exists()


def test_nothing_leaves_a_case_whose_trail_is_broken(
    case: Path, tmp_path: Path
) -> None:
    (case / "audit.jsonl").write_text("{}\n")
    with pytest.raises(AuditError, match="line 1"):
        export_case(ExportJob(case, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    archive = ArchiveInMemory(99, refuse)
    with pytest.raises(AuditError, match="line 1"):
        push_case(case, archive)
    assert archive.instances_of("", ()) == frozenset()


def test_an_export_without_a_line_is_none(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_line(*_: object) -> AuditEntry:
        raise ExportError("audit.jsonl cannot be written: Read-only file system")

    monkeypatch.setattr(
        "cemscope_pipelines.export.export_case.append_entry", refuse_line
    )
    with pytest.raises(ExportError, match="Read-only"):
        export_case(ExportJob(case, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--no-dicom"], "leaves nothing to write"),
        (["--no-dicom", "--pdf", "--csv"], "--no-dicom goes with"),
        (["--shift-dates"], "go with --research"),
    ],
)
def test_an_export_of_nothing_is_wrong_usage(
    case: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    assert main(["export", str(case), "--to", str(tmp_path / "out"), *words]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert events(case) == []
