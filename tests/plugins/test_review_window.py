"""A scripted reader at napari's window: keys, brush, save, open again."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from cases.review_case import LEAK_ID, TinyCase, write_case
from cemscope.errors import CemscopeError
from cemscope_pipelines.review.cement_corrections import paint_cement
from cemscope_pipelines.review.edit_places import point_to_look_at
from cemscope_pipelines.review.review_document import FindingId, read_review
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.review_settings import ReviewSettings
from napari_cemscope.findings_panel import FindingsPanel
from napari_cemscope.review_app import open_review
from napari_cemscope.review_keys import KEYS, KeySheet
from napari_cemscope.review_widget import ReviewWidget

pytestmark = [
    pytest.mark.gui,
    pytest.mark.skipif(
        sys.platform == "linux" and not os.environ.get("DISPLAY"),
        reason="needs a display: run scripts/with_display.sh, or install xvfb first",
    ),
]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> TinyCase:
    return write_case(tmp_path_factory.mktemp("window"))


@pytest.fixture
def folder(original: TinyCase, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original.folder, tmp_path / "case"))


def choose(widget: ReviewWidget, key: str) -> None:
    """Press a key in the menu that is open."""
    controller = widget.controller
    assert controller is not None
    assert controller.menu is not None
    found = [a for a in controller.menu.actions() if a.text().startswith(f"&{key}")]
    assert len(found) == 1, [a.text() for a in controller.menu.actions()]
    found[0].trigger()
    controller.menu.close()


class Drag:
    """A drag of the mouse, as napari tells it."""

    def __init__(self, positions: list[tuple[float, float, float]]) -> None:
        self.button = 1
        self.modifiers: tuple[str, ...] = ()
        self.pos = np.zeros(2)
        self.positions = positions
        self.type = "mouse_press"

    @property
    def position(self) -> tuple[float, float, float]:
        return self.positions[0]

    def over(self, model: Any, callback: Any) -> None:
        drag = callback(model, self)
        if next(drag, "done") == "done":
            return
        self.type = "mouse_move"
        while len(self.positions) > 1:
            self.positions.pop(0)
            self.pos = self.pos + 20
            next(drag)
        self.type = "mouse_release"
        next(drag, None)


def test_a_reader_reviews_a_case_and_finds_it_again(
    make_napari_viewer: Any, qtbot: Any, original: TinyCase, folder: Path
) -> None:
    viewer = make_napari_viewer(show=True)
    _, widget = open_review(
        folder, settings=ReviewSettings(idle_seconds=0.0), viewer=viewer
    )
    qtbot.wait(50)
    controller = widget.controller
    assert controller is not None
    session, views = controller.session, controller.views
    steps = []
    while len(steps) < 4:  # through all findings, each is in the middle of the views
        row = controller.row
        assert row is not None
        steps.append(row.finding)
        np.testing.assert_allclose(
            views.point,
            controller.space.to_screen(point_to_look_at(session, row)),
            atol=0.51,
        )
        widget.carry_out("next")
    assert len(set(steps)) == 4
    controller.choose(FindingId("leak", LEAK_ID))
    widget.carry_out("modify")
    choose(widget, "C")
    assert session.state.leak(LEAK_ID)[1].types == ("C",)
    # The false blob in L3 is erased with one stroke of a ball.
    widget.carry_out("erase")
    controller.tools.brush.is_ball = True
    controller.tools.brush.radius_mm = 4.0
    middle = controller.space.to_screen(original.blob_lps_mm)
    model = views.axial.model
    Drag([middle, middle]).over(model, model.mouse_drag_callbacks[-1])
    assert session.state.vertebra("L3").cement.volume_ml == 0.0
    widget.carry_out("pan")
    qtbot.waitUntil(lambda: not session.routes_to_follow, timeout=10_000)
    controller.choose(FindingId("vertebra", "L4"))
    widget.carry_out("accept")
    controller.choose(FindingId("screw", "L3-left"))
    widget.carry_out("reject")
    choose(widget, "2")
    assert session.open_count == 0
    widget.carry_out("save")
    widget.shut()

    document = read_review(folder)
    assert document is not None
    assert (document.status, document.maps_current) == ("reviewed", True)
    assert [edit.action for edit in document.edits] == [
        "set leak type", "erase cement", "decide", "decide",
    ]  # fmt: skip
    assert document.result.screws == ()
    assert document.result.vertebrae[1].cement.volume_ml == 0.0
    assert document.result.vertebrae[0].leaks[0].types == ("C",)

    again = ReviewSession(folder)
    assert again.document() == document
    panel = FindingsPanel()
    qtbot.addWidget(panel)
    panel.fill(again.rows, FindingId("leak", LEAK_ID))
    assert panel.progress.format() == "4 of 4 judged: complete"
    shown = [panel.table.item(k, 4).text() for k in range(4)]
    assert "0.00 (was 0.11)" in shown
    assert "C right paravertebral" in panel.table.item(1, 3).text()
    assert "Machine: B" in panel.detail.text()
    sheet = KeySheet(panel)
    assert sum(len(keys) for _, keys in KEYS) > 25
    sheet.close()
    qtbot.wait(50)  # Qt deletes what was closed


def test_what_is_wrong_is_told_and_the_window_stays(
    make_napari_viewer: Any, tmp_path: Path, folder: Path
) -> None:
    viewer = make_napari_viewer(show=False)
    widget = ReviewWidget(viewer)
    widget.open_or_tell(tmp_path / "nothing")
    assert "report.json" in widget.message.text()
    with pytest.raises(CemscopeError):
        widget.open_case(folder, tmp_path / "no_series")
    widget.shut()


def test_a_second_window_is_stopped_told_and_opened_again(
    make_napari_viewer: Any, qtbot: Any, folder: Path
) -> None:
    viewer = make_napari_viewer(show=True)
    _, widget = open_review(folder, viewer=viewer)
    other = ReviewSession(folder)
    other.accept(FindingId("vertebra", "L3"))
    edits = other.history.log
    widget.carry_out("accept")  # before it has looked: refused, nothing is lost
    assert "another window" in widget.message.text()
    widget.look_elsewhere()
    assert not widget.again.isHidden()
    assert not widget.tools.buttons["erase"].isEnabled()
    widget.again.click()
    qtbot.wait(50)
    assert widget.again.isHidden()
    controller = widget.controller
    assert controller is not None
    assert controller.session.history.log == edits
    controller.choose(FindingId("vertebra", "L4"))
    widget.carry_out("accept")
    assert len(ReviewSession(folder).history.log) == 2
    widget.shut()
    document = read_review(folder)
    assert document is not None
    assert len(document.edits) == 2
    qtbot.wait(50)


def test_a_stale_window_closes_without_writing(
    make_napari_viewer: Any, qtbot: Any, folder: Path
) -> None:
    viewer = make_napari_viewer(show=False)
    _, widget = open_review(folder, viewer=viewer)
    controller = widget.controller
    assert controller is not None
    controller.choose(FindingId("vertebra", "L4"))
    widget.carry_out("accept")
    other = ReviewSession(folder)
    other.accept(FindingId("vertebra", "L3"))
    written = read_review(folder)
    widget.shut()
    assert read_review(folder) == written == other.document()
    qtbot.wait(50)


def test_what_a_crash_left_in_the_journal_is_written_when_the_case_is_opened(
    make_napari_viewer: Any, qtbot: Any, folder: Path
) -> None:
    session = ReviewSession(folder)
    session.accept(FindingId("vertebra", "L4"))
    (folder / "review.json").unlink()
    viewer = make_napari_viewer(show=False)
    _, widget = open_review(folder, viewer=viewer)
    assert read_review(folder) == session.document()
    widget.shut()
    qtbot.wait(50)


@pytest.mark.parametrize("name", ["sagittal", "coronal"])
def test_a_stroke_in_a_plane_beside_erases_there(
    make_napari_viewer: Any, qtbot: Any, original: TinyCase, folder: Path, name: str
) -> None:
    viewer = make_napari_viewer(show=True)
    _, widget = open_review(
        folder, settings=ReviewSettings(idle_seconds=0.0), viewer=viewer
    )
    controller = widget.controller
    assert controller is not None
    qtbot.wait(30)  # the window settles, and shows the first finding
    controller.choose(FindingId("vertebra", "L3"))
    middle = controller.space.to_screen(original.blob_lps_mm)
    controller.views.go_to(middle, centre=True)
    widget.carry_out("erase")
    controller.tools.brush.is_ball = True
    controller.tools.brush.radius_mm = 4.5
    view = next(v for v in controller.views.views if v.plane.name == name)
    pixel = view.to_pixel(middle).toPoint()
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=pixel)
    assert controller.session.state.vertebra("L3").cement.volume_ml == 0.0
    widget.shut()
    qtbot.wait(50)


def test_a_dropped_case_is_taken_over_from_the_menu(
    make_napari_viewer: Any, qtbot: Any, folder: Path
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.open(str(folder), plugin="cemscope")
    vertebrae = viewer.layers["vertebrae"]
    assert vertebrae.opacity < 0.5  # filled: a reader cannot ask for outlines
    dock, widget = viewer.window.add_plugin_dock_widget("cemscope", "Review a case")
    qtbot.waitUntil(lambda: widget.controller is not None, timeout=20_000)
    qtbot.waitUntil(lambda: widget.views.widget.isVisible(), timeout=5_000)
    window = widget.window()
    assert window.dockWidgetArea(dock) == Qt.DockWidgetArea.LeftDockWidgetArea
    assert widget.views.axial.canvas is not None  # with crosshair and letters
    assert len(widget.views.letters) == 3
    assert viewer.layers["vertebrae"].contour == 1
    # What is not marked in this case cannot be shown or hidden.
    assert not widget.legend.boxes["lucency"].isEnabled()
    assert widget.legend.boxes["leaks"].isEnabled()
    widget.carry_out("accept")
    assert widget.controller.session.open_count == 3
    widget.shut()
    qtbot.wait(50)


def test_a_menu_is_answered_by_the_keyboard(
    make_napari_viewer: Any, qtbot: Any, folder: Path
) -> None:
    """Two keystrokes reject, and two modify; a third is not needed."""
    viewer = make_napari_viewer(show=True)
    _, widget = open_review(folder, viewer=viewer)
    controller = widget.controller
    assert controller is not None
    for finding, first, second in (
        (FindingId("screw", "L3-left"), "reject", Qt.Key.Key_1),
        (FindingId("leak", LEAK_ID), "modify", Qt.Key.Key_C),
    ):
        controller.choose(finding)
        widget.carry_out(first)
        menu = controller.menu
        assert menu is not None
        qtbot.waitUntil(menu.isVisible, timeout=2000)
        qtbot.keyClick(menu, second)
        qtbot.waitUntil(
            lambda finding=finding: (
                controller.session.state.decision(finding).decision != "open"
            ),
            timeout=2000,
        )
    state = controller.session.state
    assert state.decision(FindingId("screw", "L3-left")).decision == "rejected"
    assert state.leak(LEAK_ID)[1].types == ("C",)
    widget.shut()
    qtbot.wait(50)


def test_a_layer_is_drawn_only_where_the_slice_holds_a_mark(
    make_napari_viewer: Any, qtbot: Any, folder: Path
) -> None:
    viewer = make_napari_viewer(show=True)
    settings = ReviewSettings(idle_seconds=60.0)
    _, widget = open_review(folder, settings=settings, viewer=viewer)
    qtbot.wait(30)
    controller, leaks = widget.controller, viewer.layers["leaks"]
    assert controller is not None
    controller.choose(FindingId("leak", LEAK_ID))
    assert leaks.node.visible
    controller.choose(FindingId("vertebra", "L3"))
    assert not leaks.node.visible
    beside = controller.space.to_screen((-21.0, -8.0, -258.0))
    places = controller.space.places_near(beside, 2.0, 0)
    controller.correct(lambda: paint_cement(controller.session, places))
    assert leaks.node.visible
    controller.undo()
    assert not leaks.node.visible
    controller.toggle_overlays()
    controller.choose(FindingId("leak", LEAK_ID))
    assert not leaks.node.visible
    controller.toggle_overlays()
    assert leaks.node.visible
    widget.shut()
    qtbot.wait(50)
