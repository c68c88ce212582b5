"""Correcting and viewing: brushes, pieces, leaks, levels; windows and the legend."""

from collections.abc import Collection

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from cemscope_pipelines.review.review_settings import ReviewSettings
from napari_cemscope.colours import MATERIALS, VERTEBRA_COLOURS
from napari_cemscope.windows import WINDOWS

TOOLS: tuple[tuple[str, str, str], ...] = (
    ("paint", "Paint  B", "Paint cement: outside the bone it becomes a leak"),
    ("erase", "Erase  E", "Erase cement with the brush"),
    (
        "body",
        "Body  O",
        "Redraw the outline of this body; with Shift: erase",
    ),
    ("erase_piece", "Erase piece  X", "Erase the piece of cement at the crosshair"),
    ("to_metal", "To metal  T", "The cement at the crosshair is metal"),
    ("to_cement", "To cement  Y", "The metal at the crosshair is cement"),
    ("give", "Other level  G", "The cement or leak at the crosshair: other vertebra"),
    ("split", "Split leak  S", "Cut this leak at the crosshair, across its length"),
    ("join", "Join leaks  J", "Join this leak with another one of its level"),
    ("levels", "Levels  L", "Rename all vertebrae: one up, one down, or by name"),
    ("head", "Screw head  H", "Put the head of this screw at the crosshair"),
    ("tip", "Screw tip  K", "Put the tip of this screw at the crosshair"),
)
"""Name, text with its key, and tooltip."""

BRUSHES = ("paint", "erase", "body")


class ToolsPanel(QWidget):
    """Buttons for corrections.

    Signals
    -------
    asked
        Name of the tool that was pressed, or "undo", "redo", "revert", "save".
    radius_changed
        Radius of the brush, mm.
    ball_changed
        Whether the brush goes through neighbouring slices.
    """

    asked = Signal(str)
    radius_changed = Signal(float)
    ball_changed = Signal(bool)

    def __init__(self, settings: ReviewSettings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.buttons: dict[str, QPushButton] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 2, 6, 2)
        layout.setSpacing(4)
        grid = QGridLayout()
        grid.setSpacing(4)
        for place, (name, text, tip) in enumerate(TOOLS):
            grid.addWidget(self._button(name, text, tip), place // 3, place % 3)
        layout.addLayout(grid)
        layout.addLayout(self._brush_row(settings))
        row = QHBoxLayout()
        row.setSpacing(4)
        for name, text, tip in (
            ("undo", "Undo  Ctrl+Z", "Take the last action back"),
            ("redo", "Redo", "Do it again (Ctrl+Shift+Z)"),
            ("revert", "Machine's result", "Go back to the machine's result"),
            ("save", "Save  Ctrl+S", "Write the corrected label maps"),
        ):
            row.addWidget(self._button(name, text, tip))
        layout.addLayout(row)

    def _button(self, name: str, text: str, tip: str) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(tip)
        button.setObjectName(f"cemscope {name}")
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        button.setCheckable(name in BRUSHES)
        button.clicked.connect(lambda _=False: self.asked.emit(name))
        self.buttons[name] = button
        return button

    def _brush_row(self, settings: ReviewSettings) -> QHBoxLayout:
        field = ReviewSettings.model_fields["brush_radius_mm"]
        row = QHBoxLayout()
        label = QLabel(str(field.title))
        self.radius = QDoubleSpinBox()
        self.radius.setRange(0.3, 20.0)
        self.radius.setSingleStep(0.5)
        self.radius.setDecimals(1)
        self.radius.setSuffix(" mm")
        self.radius.setValue(settings.brush_radius_mm)
        self.radius.setToolTip(str(field.description))
        self.radius.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.radius.valueChanged.connect(self.radius_changed.emit)
        ball_field = ReviewSettings.model_fields["brush_is_ball"]
        self.ball = QCheckBox(str(ball_field.title))
        self.ball.setToolTip(str(ball_field.description))
        self.ball.setChecked(settings.brush_is_ball)
        self.ball.toggled.connect(self.ball_changed.emit)
        row.addWidget(label)
        row.addWidget(self.radius)
        row.addWidget(self.ball)
        row.addStretch(1)
        return row

    def set_read_only(self) -> None:
        """Let the reader correct nothing more."""
        for button in self.buttons.values():
            button.setEnabled(False)

    def mark(self, tool: str | None) -> None:
        """Show which brush is in the hand."""
        for name in BRUSHES:
            self.buttons[name].setChecked(name == tool)


class LegendPanel(QWidget):
    """Colours and grey scales.

    Signals
    -------
    window_chosen
        Place of a grey scale in `WINDOWS`.
    toggled
        Name of a layer and whether it is shown.
    asked
        "keys" for the sheet of shortcuts.
    """

    window_chosen = Signal(int)
    toggled = Signal(str, bool)
    asked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 0, 6, 6)
        layout.setSpacing(4)
        row = QHBoxLayout()
        row.setSpacing(4)
        for place, window in enumerate(WINDOWS):
            button = QPushButton(f"{window.name}  {place + 1}")
            button.setToolTip(
                f"Level {window.level_hu:.0f} HU, width {window.width_hu:.0f} HU"
            )
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.clicked.connect(
                lambda _=False, place=place: self.window_chosen.emit(place)
            )
            row.addWidget(button)
        keys = QPushButton("Keys  F1")
        keys.setToolTip("All keys on one sheet")
        keys.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        keys.clicked.connect(lambda _=False: self.asked.emit("keys"))
        row.addWidget(keys)
        layout.addLayout(row)
        self.boxes: dict[str, QCheckBox] = {}
        legend = QHBoxLayout()
        legend.setSpacing(4)
        entries = [(m.name, m.hex_code, m.tooltip) for m in MATERIALS]
        entries.append(
            ("vertebrae", VERTEBRA_COLOURS[0], "Outlines of bodies and arches")
        )
        for name, colour, tip in entries:
            legend.addWidget(self._swatch(colour))
            box = QCheckBox(name)
            box.setChecked(True)
            box.setToolTip(f"{tip}: show or hide")
            box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            box.toggled.connect(lambda shown, name=name: self.toggled.emit(name, shown))
            self.boxes[name] = box
            legend.addWidget(box)
        legend.addStretch(1)
        layout.addLayout(legend)

    def offer(self, names: Collection[str]) -> None:
        """Let only layers that there are be shown or hidden."""
        for name, box in self.boxes.items():
            if name not in names:
                box.setChecked(False)
                box.setEnabled(False)
                box.setToolTip(f"No {name} is marked in this case")

    def _swatch(self, colour: str) -> QFrame:
        swatch = QFrame()
        swatch.setFixedSize(10, 14)
        swatch.setStyleSheet(f"background: {colour}; border-radius: 2px;")
        return swatch
