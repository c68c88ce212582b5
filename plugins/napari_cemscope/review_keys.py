"""Keys of the review, and the sheet that lists them."""

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

KEYS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Judge",
        (
            ("N", "next_open", "next open finding"),
            (".", "next", "next finding (full stop)"),
            (",", "previous", "previous finding (comma)"),
            ("A", "accept", "accept"),
            ("R", "reject", "reject, then 1 or 2 for the reason"),
            ("M", "modify", "modify, then a letter (leaks: B S C D I)"),
            ("U", "reopen", "take the judgement back"),
            ("F", "centre", "centre the views on the finding"),
        ),
    ),
    (
        "Correct",
        (
            ("B", "paint", "brush: cement"),
            ("E", "erase", "brush: erase cement"),
            ("O", "body", "brush: outline of the body (Shift: erase)"),
            ("Esc", "pan", "put the brush down"),
            ("[", "smaller", "smaller brush"),
            ("]", "larger", "larger brush"),
            ("X", "erase_piece", "erase the piece at the crosshair"),
            ("T", "to_metal", "cement at the crosshair to metal"),
            ("Y", "to_cement", "metal at the crosshair to cement"),
            ("G", "give", "cement at the crosshair to another level"),
            ("S", "split", "split the leak at the crosshair"),
            ("J", "join", "join two leaks"),
            ("L", "levels", "rename all levels"),
            ("H", "head", "screw head at the crosshair"),
            ("K", "tip", "screw tip at the crosshair"),
        ),
    ),
    (
        "View",
        (
            ("1", "window_1", "bone window"),
            ("2", "window_2", "soft tissue window"),
            ("3", "window_3", "metal window"),
            ("V", "overlays", "show or hide what is marked"),
            ("C", "crosshair", "show or hide the crosshair"),
        ),
    ),
    (
        "Keep",
        (
            ("Ctrl+Z", "undo", "undo"),
            ("Ctrl+Shift+Z", "redo", "redo"),
            ("Ctrl+S", "save", "save the corrected maps"),
            ("F1", "keys", "this sheet"),
        ),
    ),
)
"""Groups of key, action and meaning."""

MOUSE = (
    ("wheel", "next or previous slice"),
    ("Shift + wheel", "zoom"),
    ("click", "crosshair to this place"),
    ("drag", "move the picture; with a brush: paint"),
)


def bind_keys(
    window: QWidget, carry_out: Callable[[str], None]
) -> tuple[QShortcut, ...]:
    """Bind all keys in a window; they work wherever its focus is."""
    shortcuts = []
    for _, keys in KEYS:
        for key, action, _ in keys:
            shortcut = QShortcut(QKeySequence(key), window)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            for signal in (shortcut.activated, shortcut.activatedAmbiguously):
                signal.connect(lambda action=action: carry_out(action))
            shortcuts.append(shortcut)
    return tuple(shortcuts)


class KeySheet(QDialog):
    """All keys on one sheet."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys of the review")
        layout = QVBoxLayout(self)
        columns = QGridLayout()
        columns.setHorizontalSpacing(28)
        groups = [(name, [(key, text) for key, _, text in keys]) for name, keys in KEYS]
        groups.append(("Mouse", list(MOUSE)))
        for place, (name, lines) in enumerate(groups):
            rows = "".join(
                f"<tr><td style='padding-right:10px'><b>{key}</b></td>"
                f"<td>{text}</td></tr>"
                for key, text in lines
            )
            label = QLabel(f"<h3>{name}</h3><table>{rows}</table>")
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            column = 0 if place in (0, 2) else 1 if place == 1 else 2
            row = 1 if place in (2, 4) else 0
            columns.addWidget(label, row, column, 2 if place == 1 else 1, 1)
        layout.addLayout(columns)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        layout.addWidget(buttons)
