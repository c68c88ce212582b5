"""``python -m napari_cemscope``: which error is told, and how it ends."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import napari
import pytest

from cemscope.errors import CemscopeError, ExportError
from cemscope_pipelines.review.review_document import ReviewError
from cemscope_pipelines.review.review_settings import ReviewSettings
from napari_cemscope import __main__ as viewer_process
from napari_cemscope import review_app


class Widget:
    """A review that says how it was shut."""

    def __init__(self, on_shut: CemscopeError | None = None) -> None:
        self.failure: CemscopeError | None = None
        self.on_shut = on_shut
        self.times_shut = 0

    def shut(self) -> None:
        self.times_shut += 1
        if self.on_shut is not None:
            raise self.on_shut


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the widget that is opened; no window is."""
    held = SimpleNamespace(widget=Widget())
    monkeypatch.setattr(review_app, "open_review", lambda *_a: (None, held.widget))
    monkeypatch.setattr(napari, "run", lambda: None)
    monkeypatch.setattr(sys, "argv", ["napari_cemscope", "case"])
    return held


def test_a_closed_window_is_shut_once_and_all_is_well(opened: Any) -> None:
    assert viewer_process.main() == 0
    assert opened.widget.times_shut == 1


def test_the_first_error_is_not_masked_by_one_of_closing(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash() -> None:
        raise RuntimeError("the first")

    monkeypatch.setattr(napari, "run", crash)
    opened.widget = Widget(ExportError("the second"))
    with pytest.raises(RuntimeError, match="the first"):
        viewer_process.show(Path("case"), None, ReviewSettings())
    assert opened.widget.times_shut == 1


def test_a_review_that_cannot_be_opened_is_told_in_one_line(
    opened: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_given: object) -> None:
        raise ReviewError("no report.json in the folder")

    monkeypatch.setattr(review_app, "open_review", refuse)
    assert viewer_process.main() == 3
    assert capsys.readouterr().err == "cemscope: error: no report.json in the folder\n"
    assert opened.widget.times_shut == 0


@pytest.mark.parametrize("from_window", [True, False])
def test_what_could_not_be_saved_at_the_end_is_told(
    opened: Any, capsys: pytest.CaptureFixture[str], from_window: bool
) -> None:
    error = ExportError("review.json cannot be written: No space left on device")
    if from_window:  # the window was closed by its own button
        opened.widget.failure = error
    else:
        opened.widget = Widget(error)
    assert viewer_process.main() == 3
    told = capsys.readouterr().err
    assert "No space left" in told
    assert told.count("\n") == 1
