"""Between the session and the window: what each key and button does.

All rules are the session's; here is only what to show and where.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QMenu, QPushButton, QWidget

from cemscope.errors import CemscopeError
from cemscope_pipelines.review import cement_corrections
from cemscope_pipelines.review.edit_places import point_to_look_at
from cemscope_pipelines.review.finding_list import FindingRow
from cemscope_pipelines.review.review_document import FindingId, ReviewError
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.review_settings import ReviewSettings
from napari_cemscope.colours import MATERIALS
from napari_cemscope.correction_tools import CorrectionTools
from napari_cemscope.orthogonal_views import OrthogonalViews
from napari_cemscope.review_menus import menu_of, reject_choices
from napari_cemscope.view_space import ViewSpace
from napari_cemscope.windows import WINDOWS

Places = npt.NDArray[np.int64]


class ReviewController(QObject):
    """Carries out the reader's actions.

    Signals
    -------
    changed
        The session's findings or the selection changed.
    said
        A message for the reader; the flag tells whether it is a warning.
    tool_changed
        Name of the brush in the hand, or "".
    """

    changed = Signal()
    said = Signal(str, bool)
    tool_changed = Signal(str)

    def __init__(
        self,
        session: ReviewSession,
        views: OrthogonalViews,
        space: ViewSpace,
        settings: ReviewSettings,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.session = session
        self.views = views
        self.space = space
        self.settings = settings
        self.menu: QMenu | None = None
        self.window = parent
        self.tools = CorrectionTools(self, settings)
        self._shown = True
        session.follow_at_once = False
        self._idle = QTimer(self)
        self._idle.setSingleShot(True)
        self._idle.timeout.connect(self._follow)

    # --- what keys and buttons call ---

    def carry_out(self, action: str) -> None:
        """Do what a key or button is for; errors are told, not raised."""
        acts: dict[str, Callable[[], None]] = {
            "next_open": self.next_open,
            "next": lambda: self._step(1),
            "previous": lambda: self._step(-1),
            "accept": self.accept,
            "reject": self.ask_reason,
            "modify": self.ask_change,
            "reopen": lambda: self._judge(self.session.reopen),
            "centre": self.centre,
            "paint": lambda: self.tools.take_brush("paint"),
            "erase": lambda: self.tools.take_brush("erase"),
            "body": lambda: self.tools.take_brush("body"),
            "pan": lambda: self.tools.take_brush(""),
            "erase_piece": lambda: self.tools.piece(cement_corrections.erase_cement),
            "to_metal": lambda: self.tools.piece(cement_corrections.to_metal),
            "to_cement": lambda: self.tools.piece(cement_corrections.to_cement),
            "give": self.tools.ask_level,
            "split": self.tools.split,
            "join": self.tools.ask_partner,
            "levels": self.tools.ask_names,
            "head": lambda: self.tools.screw_end("head"),
            "tip": lambda: self.tools.screw_end("tip"),
            "window_1": lambda: self.set_window(0),
            "window_2": lambda: self.set_window(1),
            "window_3": lambda: self.set_window(2),
            "overlays": self.toggle_overlays,
            "crosshair": self.views.toggle_crosshair,
            "undo": self.undo,
            "redo": self.redo,
            "revert": self.session_revert,
            "save": self.save,
        }
        if action in acts:
            self._try(acts[action])

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except CemscopeError as error:
            self.said.emit(str(error), True)

    # --- findings ---

    @property
    def row(self) -> FindingRow | None:
        """The finding that is looked at."""
        selected = self.session.selected
        return next((r for r in self.session.rows if r.finding == selected), None)

    def choose(self, finding: FindingId | None) -> None:
        """Look at a finding."""
        self.session.select(finding)
        self.centre()
        self.changed.emit()

    def centre(self) -> None:
        """Bring the views to the finding that is looked at."""
        row = self.row
        if row is not None:
            point = point_to_look_at(self.session, row)
            self.views.go_to(self.space.to_screen(point), centre=True)

    def next_open(self) -> None:
        """Go to the next finding that is not judged."""
        if self.session.next_open() is None:
            self.said.emit("Every finding is judged.", False)
        self.centre()
        self.changed.emit()

    def _step(self, places: int) -> None:
        self.session.step(places)
        self.centre()
        self.changed.emit()

    def accept(self) -> None:
        """Accept the finding and go on."""
        self._judge(self.session.accept)
        if self.settings.go_on:
            self.next_open()

    def reject(self, reason: str) -> None:
        """Reject the finding and go on."""
        self._judge(lambda finding: self.session.reject(finding, reason))
        if self.settings.go_on:
            self.next_open()

    def _judge(self, act: Callable[[FindingId], None]) -> None:
        if self.session.selected is None:
            raise ReviewError("choose a finding first (N goes to the first open one)")
        act(self.session.selected)
        self.views.refresh()
        self.changed.emit()

    def ask_reason(self) -> None:
        """Open the menu of reasons."""
        row = self.chosen()
        self.pop(
            menu_of(
                self.window,
                f"Reject {row.level} {row.title.lower()}:",
                reject_choices(
                    row.finding.kind,
                    lambda reason: self._try(lambda: self.reject(reason)),
                ),
            )
        )

    def ask_change(self) -> None:
        """Open the menu that fits the finding."""
        row = self.chosen()
        if row.finding.kind == "leak":
            self.pop(self.tools.leak_menu(row.finding.finding_id))
        elif row.finding.kind == "screw":
            self.pop(
                menu_of(
                    self.window,
                    "Screw ends",
                    [
                        ("&Head to the crosshair", lambda: self.carry_out("head")),
                        ("&Tip to the crosshair", lambda: self.carry_out("tip")),
                    ],
                )
            )
        else:
            self.tools.ask_names()

    def chosen(self) -> FindingRow:
        """Give the finding that is looked at.

        Raises
        ------
        ReviewError
            If none is.
        """
        row = self.row
        if row is None:
            raise ReviewError("choose a finding first (N goes to the first open one)")
        return row

    def pop(self, menu: QMenu) -> None:
        """Open a menu below the buttons that judge: findings and views stay seen."""
        self.menu = menu
        anchor = self.window.findChild(QPushButton, "cemscope accept")
        if anchor is None:
            menu.popup(self.window.mapToGlobal(self.window.rect().center()))
        else:
            menu.popup(anchor.mapToGlobal(anchor.rect().bottomLeft()))

    def correct(self, act: Callable[[], None]) -> None:
        """Carry out a correction and show what became of it."""

        def carry_out() -> None:
            act()
            self._show_change()

        self._try(carry_out)

    def _show_change(self) -> None:
        self.views.refresh()
        self.changed.emit()
        if self.session.routes_to_follow:
            self.said.emit("Following the leak's route ...", False)
            self._idle.start(int(1000 * self.settings.idle_seconds))
        else:
            self._tell_last()

    def _follow(self) -> None:
        self._try(self.session.follow_routes)
        self.changed.emit()
        self._tell_last()

    def _tell_last(self) -> None:
        log = [one for one in self.session.history.log if not one.undone]
        text = (
            f"{log[-1].number}. {log[-1].action}" if log else "As the machine left it"
        )
        self.said.emit(text, False)

    # --- back, forth, kept ---

    def undo(self) -> None:
        """Take the last action back."""
        self._go_back(self.session.undo(), "Undone", "Nothing to undo.")

    def redo(self) -> None:
        """Do the last undone action again."""
        self._go_back(self.session.redo(), "Done again", "Nothing to redo.")

    def _go_back(self, record: Any, done: str, nothing: str) -> None:
        self.views.refresh()
        self.changed.emit()
        text = nothing if record is None else f"{done}: {record.action}"
        self.said.emit(text, False)

    def session_revert(self) -> None:
        """Go back to the machine's result."""
        self.session.revert()
        self.views.refresh()
        self.changed.emit()
        self.said.emit("Back to the machine's result; undo takes this back", False)

    def save(self) -> None:
        """Write everything."""
        document = self.session.save()
        self.changed.emit()
        self.said.emit(f"Saved; the review is {document.status}", False)

    # --- view ---

    def set_window(self, place: int) -> None:
        """Choose a grey scale."""
        self.views.set_window(WINDOWS[place].limits_hu)

    def toggle_overlays(self) -> None:
        """Show or hide everything that is marked."""
        self._shown = not self._shown
        for name in ("vertebrae", *(material.name for material in MATERIALS)):
            self.views.set_visible(name, self._shown)
