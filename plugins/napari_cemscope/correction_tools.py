"""What the buttons and keys for corrections do.

All rules are the session's; here is which finding, which place and which brush.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QInputDialog, QMenu, QWidget

from cemscope_pipelines.review import anatomy_corrections as anatomy
from cemscope_pipelines.review import cement_corrections as cement
from cemscope_pipelines.review import leak_corrections as leaks
from cemscope_pipelines.review.finding_list import FindingRow
from cemscope_pipelines.review.review_document import ReviewError
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.review_settings import ReviewSettings
from napari_cemscope.brush import Brush
from napari_cemscope.colours import MATERIALS, VERTEBRA_COLOURS
from napari_cemscope.orthogonal_views import OrthogonalViews
from napari_cemscope.review_menus import leak_menu, menu_of
from napari_cemscope.view_space import ViewSpace

Places = npt.NDArray[np.int64]


class Desk(Protocol):
    """What the tools need of the controller."""

    session: ReviewSession
    views: OrthogonalViews
    space: ViewSpace
    window: QWidget
    tool_changed: Any

    def chosen(self) -> FindingRow:
        """Give the finding that is looked at."""

    def pop(self, menu: QMenu) -> None:
        """Open a menu."""

    def correct(self, act: Callable[[], None]) -> None:
        """Carry out a correction and show what became of it."""


class CorrectionTools:
    """Brushes, pieces, leaks, levels and screw ends."""

    def __init__(self, desk: Desk, settings: ReviewSettings) -> None:
        self._desk = desk
        self._tool = ""
        self.brush = Brush(desk.views, desk.space, settings.brush_radius_mm)
        self.brush.is_ball = settings.brush_is_ball
        self._session = desk.session
        self._correct = desk.correct

    def leak_menu(self, leak_id: str) -> QMenu:
        """Make the menu that modifies a leak."""
        session = self._session
        _, leak = session.state.leak(leak_id)

        def types(chosen: tuple[str, ...]) -> None:
            self._correct(lambda: leaks.set_leak_types(session, leak_id, chosen))

        def place(chosen: str) -> None:
            self._correct(lambda: leaks.set_leak_places(session, leak_id, (chosen,)))

        def level(chosen: str) -> None:
            self._correct(lambda: leaks.move_leak(session, leak_id, chosen))

        return leak_menu(
            self._desk.window, leak.types, self._level_names(), types, place, level
        )

    def _level_names(self) -> list[tuple[str, str]]:
        state = self._session.state
        return [
            (state.level_names.get(v.level, v.level), v.level) for v in state.vertebrae
        ]

    def ask_names(self) -> None:
        """Open the menu that renames all levels."""
        session, shift = self._session, anatomy.shift_levels
        choices = [
            (
                "&Up: all one higher",
                lambda: self._correct(lambda: shift(session, 1)),
            ),
            (
                "&Down: all one lower",
                lambda: self._correct(lambda: shift(session, -1)),
            ),
            ("&Name this vertebra ...", self._ask_name),
        ]
        self._desk.pop(menu_of(self._desk.window, "Rename all vertebrae", choices))

    def _ask_name(self) -> None:
        row = self._desk.chosen()
        if row.finding.kind != "vertebra":
            raise ReviewError("choose a vertebra in the list first")
        name, given = QInputDialog.getText(
            self._desk.window,
            "Name of this vertebra",
            "Level, e.g. L3:",
            text=row.level,
        )
        if given and name.strip():
            level = row.finding.finding_id
            self._correct(
                lambda: anatomy.name_levels(self._session, level, name.strip().upper())
            )

    def ask_level(self) -> None:
        """Open the menu of levels for the cement or leak at the crosshair."""
        piece = self._piece_here()
        leak_id = self._leak_of(piece)

        def give(level: str) -> None:
            if leak_id is not None:
                self._correct(lambda: leaks.move_leak(self._session, leak_id, level))
            else:
                self._correct(lambda: cement.give_cement(self._session, piece, level))

        choices = [
            (shown, lambda name=name: give(name)) for shown, name in self._level_names()
        ]
        self._desk.pop(menu_of(self._desk.window, "This cement belongs to", choices))

    def split(self) -> None:
        """Cut the leak that is looked at, at the crosshair."""
        row = self._desk.chosen()
        if row.finding.kind != "leak":
            raise ReviewError("choose the leak to split in the list first")
        point = self._desk.space.to_lps(self._desk.views.point)
        self._correct(
            lambda: leaks.split_leak(self._session, row.finding.finding_id, point)
        )

    def ask_partner(self) -> None:
        """Open the menu of leaks to join with the one that is looked at."""
        row = self._desk.chosen()
        if row.finding.kind != "leak":
            raise ReviewError("choose one of the two leaks in the list first")
        kept = row.finding.finding_id
        level, _ = self._session.state.leak(kept)
        others = [
            leak.id
            for leak in self._session.state.vertebra(level).leaks
            if leak.id != kept
        ]
        if not others:
            raise ReviewError("this level has no other leak")
        choices = [
            (
                other,
                lambda other=other: self._correct(
                    lambda: leaks.join_leaks(self._session, kept, other)
                ),
            )
            for other in others
        ]
        self._desk.pop(menu_of(self._desk.window, f"Join {kept} with", choices))

    # --- voxels ---

    def take_brush(self, tool: str) -> None:
        """Take a brush into the hand; the same again, or "", puts it down."""
        strokes: dict[str, tuple[Callable[[Places], None], str]] = {
            "paint": (self._paint, MATERIALS[1].hex_code),
            "erase": (self._erase, "#FFFFFF"),
            "body": (self._redraw, VERTEBRA_COLOURS[0]),
        }
        if tool in strokes and tool != self._tool:
            self.brush.pick_up(*strokes[tool])
            self._tool = tool
        else:
            self.brush.put_down()
            self._tool = ""
        self._desk.tool_changed.emit(self._tool)

    def _paint(self, places: Places) -> None:
        self._correct(lambda: cement.paint_cement(self._session, places))

    def _erase(self, places: Places) -> None:
        self._correct(lambda: cement.erase_cement(self._session, places))

    def _redraw(self, places: Places) -> None:
        def act() -> None:
            row = self._desk.chosen()
            if row.finding.kind != "vertebra":
                raise ReviewError("choose the vertebra to redraw in the list first")
            none = np.zeros(0, np.int64)
            added, removed = (none, places) if self._shift() else (places, none)
            anatomy.redraw_body(self._session, row.finding.finding_id, added, removed)

        self._correct(act)

    @staticmethod
    def _shift() -> bool:
        held = QApplication.keyboardModifiers()
        return bool(held & Qt.KeyboardModifier.ShiftModifier)

    def piece(self, act: Callable[[ReviewSession, Places], None]) -> None:
        """Correct the piece at the crosshair."""
        piece = self._piece_here()
        self._correct(lambda: act(self._session, piece))

    def _piece_here(self) -> Places:
        seed = self._desk.space.voxel(self._desk.views.point)
        if seed is None:
            raise ReviewError("the crosshair lies outside the scan")
        return cement.piece_at(self._session, seed)

    def _leak_of(self, piece: Places) -> str | None:
        code = int(self._session.maps.materials.reshape(-1)[piece[0]])
        codes = self._session.state.leak_codes
        return next((leak_id for leak_id, n in codes.items() if n == code), None)

    def screw_end(self, end: str) -> None:
        """Put the "head" or the "tip" of the screw that is looked at here."""
        row = self._desk.chosen()
        if row.finding.kind != "screw":
            raise ReviewError("choose the screw in the list first")
        screw_id = row.finding.finding_id
        screw = next(s for s in self._session.state.screws if s.id == screw_id)
        here = self._desk.space.to_lps(self._desk.views.point)
        head = here if end == "head" else screw.head_lps_mm
        tip = here if end == "tip" else screw.tip_lps_mm
        self._correct(lambda: anatomy.move_screw(self._session, screw_id, head, tip))
