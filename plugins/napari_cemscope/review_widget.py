"""The review of a case as a dock of napari's window."""

import logging
from pathlib import Path
from typing import Any

from napari.qt import QtViewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QCloseEvent, QShortcut
from qtpy.QtWidgets import (
    QDockWidget,
    QFileDialog,
    QLabel,
    QMainWindow,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from cemscope.anatomy import VertebraLevel
from cemscope.errors import CemscopeError
from cemscope_pipelines.review.case_series import read_case_series
from cemscope_pipelines.review.review_journal import OTHER_WINDOW
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.review_settings import ReviewSettings
from napari_cemscope.findings_panel import FindingsPanel
from napari_cemscope.layers import CASE_KEY, ct_layer, map_layers
from napari_cemscope.orthogonal_views import OrthogonalViews
from napari_cemscope.review_controller import ReviewController
from napari_cemscope.review_keys import KeySheet, bind_keys
from napari_cemscope.tools_panel import LegendPanel, ToolsPanel
from napari_cemscope.view_space import Point, ViewSpace

WARNING_STYLE = "color: #FFD54A;"
WATCH_MS = 2000
"""How often the review looks whether another window has changed the case."""

LOGGER = logging.getLogger(__name__)

QUIET_STYLE = "color: #B0B6BC;"


class ReviewWidget(QWidget):
    """Asks for a case, then shows its findings and tools.

    Parameters
    ----------
    napari_viewer
        napari's viewer; a case that was dropped on it is taken over.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        # napari's menu hands a proxy over, which is slow and equals nothing.
        self.viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.controller: ReviewController | None = None
        self.findings: FindingsPanel | None = None
        self.tools: ToolsPanel | None = None
        self.legend: LegendPanel | None = None
        self.views: OrthogonalViews | None = None
        self.sheet: KeySheet | None = None
        self.failure: CemscopeError | None = None
        self._opened: tuple[Path, Path | None, ReviewSettings | None] | None = None
        self._watch = QTimer(self)
        self._watch.setInterval(WATCH_MS)
        self._watch.timeout.connect(self.look_elsewhere)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._start = QPushButton("Open a case folder ...")
        self._start.setToolTip("A folder that `cemscope analyze` wrote")
        self._start.clicked.connect(self._ask)
        self.message = QLabel("")
        self.message.setWordWrap(True)
        self.message.setContentsMargins(8, 0, 8, 4)
        self.again = QPushButton("Changed in another window: open the case again")
        self.again.setToolTip(
            "Another window has changed this case. Nothing can be changed here until "
            "the case is opened again; nothing is lost."
        )
        self.again.setStyleSheet(f"{WARNING_STYLE} font-weight: 600;")
        self.again.clicked.connect(self._reopen)
        self.again.hide()
        self._shortcuts: tuple[QShortcut, ...] = ()
        self._layout.addWidget(self.again)
        self._layout.addWidget(self._start)
        self._layout.addWidget(self.message)
        dropped = self._dropped_case()
        if dropped is not None:
            QTimer.singleShot(0, lambda: self.open_or_tell(dropped))

    def _dropped_case(self) -> Path | None:
        for layer in self.viewer.layers:
            if CASE_KEY in layer.metadata:
                return Path(layer.metadata[CASE_KEY])
        return None

    def _ask(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Case folder")
        if folder:
            self.open_or_tell(Path(folder))

    def open_or_tell(
        self,
        case_folder: Path,
        series: Path | None = None,
        settings: ReviewSettings | None = None,
    ) -> None:
        """Open a case; what is wrong with it is told in the dock."""
        try:
            self.open_case(case_folder, series, settings)
        except CemscopeError as error:
            self._say(str(error), True)

    def open_case(
        self,
        case_folder: Path,
        series: Path | None = None,
        settings: ReviewSettings | None = None,
    ) -> ReviewController:
        """Open a case with its scan and show its findings.

        Parameters
        ----------
        case_folder
            A folder that `cemscope analyze` wrote.
        series
            Its scan; None takes it from where it was.
        settings
            How the case is shown; None for the defaults.

        Raises
        ------
        CemscopeError
            If the case or its scan cannot be opened.
        """
        session = ReviewSession(case_folder)
        session.ct = read_case_series(
            case_folder, session.report, session.maps.geometry, series
        )
        settings = settings or ReviewSettings()
        space = ViewSpace.of(session.maps.geometry)
        self.viewer.layers.clear()
        self.views = OrthogonalViews(self.viewer, space)
        numbers = [VertebraLevel(v.level).number for v in session.report.vertebrae]
        self.views.show([ct_layer(session.ct), *map_layers(session.maps, numbers)])
        self.controller = ReviewController(session, self.views, space, settings, self)
        self._build(self.controller, settings)
        self._dock()
        self.controller.carry_out("next_open")
        self._opened = (case_folder, series, settings)
        try:
            session.settle()  # what a crash left in the journal only
        except CemscopeError as error:
            self._say(str(error), True)
        self._watch.start()
        QTimer.singleShot(0, self.fit)
        return self.controller

    def _build(self, controller: ReviewController, settings: ReviewSettings) -> None:
        self._start.hide()
        findings, tools, legend = FindingsPanel(), ToolsPanel(settings), LegendPanel()
        self.findings, self.tools, self.legend = findings, tools, legend
        findings.chosen.connect(controller.choose)
        findings.asked.connect(controller.carry_out)
        tools.asked.connect(controller.carry_out)
        tools.radius_changed.connect(self._set_radius)
        tools.ball_changed.connect(self._set_ball)
        legend.window_chosen.connect(controller.set_window)
        legend.toggled.connect(controller.views.set_visible)
        legend.asked.connect(self.carry_out)
        legend.offer([layer.name for layer in self.viewer.layers])
        controller.changed.connect(self._refresh)
        controller.said.connect(self._say)
        controller.tool_changed.connect(lambda tool: tools.mark(tool or None))
        for place, panel in enumerate((findings, tools, legend)):
            self._layout.insertWidget(place, panel, 1 if panel is findings else 0)
        controller.views.on_move(self._show_position)
        self._refresh()

    def _dock(self) -> None:
        """Put the side views beside napari's canvas, and its own docks aside."""
        if self.views is None:
            return
        window = self.window()
        mine = self._own_dock(window) if isinstance(window, QMainWindow) else None
        if mine is not None and isinstance(window, QMainWindow):
            # napari's menu docks on the right, where the side views are to be.
            window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, mine)
        side = self.viewer.window.add_dock_widget(
            self.views.widget, name="sagittal and coronal", area="right",
            add_vertical_stretch=False,
        )  # fmt: skip
        side.show()
        self.views.label_edges(_canvas_of(window, self.viewer))
        self._shortcuts = bind_keys(window, self.carry_out)
        if not isinstance(window, QMainWindow):
            return
        for dock in window.findChildren(QDockWidget):
            if dock.objectName() in ("layer list", "layer controls"):
                if mine is not None:
                    window.tabifyDockWidget(mine, dock)
                else:
                    dock.hide()
        if mine is not None:
            mine.show()
            mine.raise_()

    def _own_dock(self, window: QMainWindow) -> QDockWidget | None:
        for dock in window.findChildren(QDockWidget):
            if dock.isAncestorOf(self):
                return dock
        return None

    def fit(self) -> None:
        """Share the width: list, axial view, side views."""
        window = self.window()
        if not isinstance(window, QMainWindow) or self.views is None:
            return
        mine = self._own_dock(window)
        side = next(
            (
                dock
                for dock in window.findChildren(QDockWidget)
                if dock.isAncestorOf(self.views.widget)
            ),
            None,
        )
        if mine is not None:
            mine.raise_()
        if mine is not None and side is not None:
            width = window.width()
            left = max(410, min(560, int(0.29 * width)))
            right = max(260, int(0.26 * width))
            window.resizeDocks([mine, side], [left, right], Qt.Orientation.Horizontal)
        if self.controller is not None:
            self.views.zoom_to(self.controller.settings.view_height_mm)
            self.controller.centre()

    def carry_out(self, action: str) -> None:
        """Do what a key or button is for."""
        if action == "keys":
            self.sheet = KeySheet(self.window())
            self.sheet.show()
        elif action in ("smaller", "larger") and self.tools is not None:
            step = 0.5 if action == "larger" else -0.5
            self.tools.radius.setValue(self.tools.radius.value() + step)
        elif self.controller is not None:
            self.controller.carry_out(action)

    def _set_radius(self, radius_mm: float) -> None:
        if self.controller is not None:
            self.controller.tools.brush.radius_mm = radius_mm

    def _set_ball(self, is_ball: bool) -> None:
        if self.controller is not None:
            self.controller.tools.brush.is_ball = is_ball

    def look_elsewhere(self) -> None:
        """Stop the reader where another window has gone on with the case."""
        if self.controller is None or not self.controller.session.changed_elsewhere:
            return
        self._watch.stop()
        self.again.show()
        for panel in (self.findings, self.tools):
            if panel is not None:
                panel.set_read_only()
        self._say(OTHER_WINDOW, True)

    def _reopen(self) -> None:
        """Open the case anew, with what the other window has made of it."""
        self.again.hide()
        self.controller = None
        self._let_go()
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        for panel in (self.findings, self.tools, self.legend):
            if panel is not None:
                self._layout.removeWidget(panel)
                panel.hide()
                panel.deleteLater()
        if self._opened is not None:
            self.open_or_tell(*self._opened)

    def _refresh(self) -> None:
        if self.controller is None or self.findings is None or self.tools is None:
            return
        session = self.controller.session
        self.findings.fill(session.rows, session.selected)
        self.tools.buttons["undo"].setEnabled(session.history.can_undo)
        self.tools.buttons["redo"].setEnabled(session.history.can_redo)

    def _say(self, text: str, warning: bool = False) -> None:
        self.message.setText(text)
        self.message.setStyleSheet(WARNING_STYLE if warning else QUIET_STYLE)

    def _show_position(self, point: Point) -> None:
        if self.views is None or len(self.views.letters) != len(self.views.views):
            return
        for view, letters in zip(self.views.views, self.views.letters, strict=True):
            letters.say(f"{view.plane.name} {point[view.plane.axis]:.1f} mm")

    def closeEvent(self, event: QCloseEvent) -> None:
        """Write the corrected maps before the window goes."""
        try:
            self.shut()
        except CemscopeError as error:
            self.failure = error  # told by who opened the window
            LOGGER.warning("the review could not be closed properly: %s", error)
        super().closeEvent(event)

    def shut(self) -> None:
        """Save and close the side views; these go even if the saving fails.

        Raises
        ------
        ReviewError
            If another window has changed the case meanwhile; its edits stay.
        ExportError
            If the disk refuses.
        """
        self._watch.stop()
        controller, self.controller = self.controller, None
        try:
            if controller is not None:
                _save(controller.session)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self.views is not None:
            views, self.views = self.views, None
            self.viewer.window.remove_dock_widget(views.widget)
            views.close()
            views.widget.deleteLater()


def _save(session: ReviewSession) -> None:
    if session.changed_elsewhere:
        # What was done here stands in the journal; the other window goes on from it.
        LOGGER.warning("another window has changed the case: nothing is written")
    elif session.routes_to_follow:
        session.save()
    else:
        session.settle()


def _canvas_of(window: QWidget, viewer: Any) -> Any:
    """Find napari's own canvas (its ``QtViewer``) in its window."""
    for shown in window.findChildren(QtViewer):
        if shown.viewer is viewer:
            return shown
    return None
