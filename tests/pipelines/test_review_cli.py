"""``cemscope review``: one clear line where something is missing."""

import shutil
import subprocess
from pathlib import Path

import pytest

from cases.review_case import TinyCase, write_case
from cemscope_pipelines.cli import main, review
from cemscope_pipelines.review.review_document import finding_ids
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.review_settings import settings_from_words


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> TinyCase:
    return write_case(tmp_path_factory.mktemp("cli"))


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Words that the viewer was started with; no window is opened."""
    started: list[list[str]] = []

    def run(words: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        assert not check
        started.append(words)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(review.subprocess, "run", run)
    monkeypatch.setattr(review, "has_display", lambda: True)
    return started


def test_a_case_is_opened_in_a_process_of_its_own(
    case: TinyCase, viewer: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["review", str(case.folder), "--set", "brush_radius_mm=1.5"]
    assert main([*words, "--series", str(case.series)]) == 0
    assert viewer[0][1:4] == ["-m", "napari_cemscope", str(case.folder)]
    assert viewer[0][4:] == [
        "--series", str(case.series), "--set", "brush_radius_mm=1.5",
    ]  # fmt: skip
    assert capsys.readouterr().out == "0 of 4 findings judged\n"


def test_the_result_is_the_review(
    case: TinyCase,
    viewer: list[list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(case.folder, tmp_path / "case"))
    session = ReviewSession(folder)
    session.accept(finding_ids(session.report)[0])
    assert main(["review", str(folder)]) == 0
    assert capsys.readouterr().out == "1 of 4 findings judged: open\n"
    assert main(["review", str(folder), "--json"]) == 0
    assert capsys.readouterr().out == (folder / "review.json").read_text()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("review.toml", "brush_radius_mm = 1.5\ngo_on = false\n"),
        ("review.json", '{"brush_radius_mm": 1.5, "go_on": false}'),
    ],
)
def test_settings_of_a_file_stand_under_those_of_the_command_line(
    case: TinyCase, viewer: list[list[str]], tmp_path: Path, name: str, text: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    given = ["--config", str(file), "--set", "brush_radius_mm=3"]
    assert main(["review", str(case.folder), *given]) == 0
    told = viewer[0][4:]
    settings = settings_from_words(tuple(w for w in told if w != "--set"))
    assert (settings.brush_radius_mm, settings.go_on) == (3.0, False)
    file.write_text(text.replace("go_on", "go_off"))
    assert main(["review", str(case.folder), "--config", str(file)]) == 2
    assert len(viewer) == 1


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--set", "brush=1"], 2, "unknown key"),
        (["--set", "brush_radius_mm=900"], 2, "brush_radius_mm"),
        (["--set", "brush_radius_mm"], 2, "key=value"),
    ],
)
def test_wrong_settings_are_refused(
    case: TinyCase,
    viewer: list[list[str]],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    said: str,
) -> None:
    assert main(["review", str(case.folder), *words]) == status
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert viewer == []


def test_a_folder_that_is_no_case_is_refused(
    tmp_path: Path, viewer: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", str(tmp_path)]) == 2
    assert "report.json" in capsys.readouterr().err


def test_a_series_that_moved_is_asked_for(
    case: TinyCase,
    viewer: list[list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(case.folder, tmp_path / "case"))
    (folder / "provenance.json").write_text("{}")
    assert main(["review", str(folder)]) == 2
    assert "--series PATH" in capsys.readouterr().err


def test_a_missing_extra_and_a_missing_display_are_told(
    case: TinyCase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(review, "has_viewer", lambda: False)
    assert main(["review", str(case.folder)]) == 2
    assert "cemscope[napari]" in capsys.readouterr().err
    monkeypatch.setattr(review, "has_viewer", lambda: True)
    monkeypatch.setattr(review, "has_display", lambda: False)
    assert main(["review", str(case.folder)]) == 4
    told = capsys.readouterr().err
    assert "no display" in told
    assert told.count("\n") == 1


def test_a_viewer_that_dies_names_the_libraries(
    case: TinyCase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(review, "has_display", lambda: True)
    died = subprocess.CompletedProcess([], -6)
    monkeypatch.setattr(review.subprocess, "run", lambda *_a, **_k: died)
    assert main(["review", str(case.folder), "--quiet"]) == 4
    assert "libxcb-cursor0" in capsys.readouterr().err
