"""Letters at the edges of a view: which way the patient lies."""

from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtWidgets import QLabel, QWidget

STYLE = (
    "QLabel {{ color: {colour}; background: rgba(0, 0, 0, 110); border-radius: 3px;"
    " padding: 0px 4px; font-size: {size}pt; font-weight: 600; }}"
)
MARGIN_PX = 6

FOLLOW_MS = 150
"""Letters follow the size of their canvas at this pace."""

MEANING = {
    "A": "anterior (front)",
    "P": "posterior (back)",
    "L": "the patient's left",
    "R": "the patient's right",
    "H": "head",
    "F": "feet",
}


class EdgeLetters(QObject):
    """Four letters and the name of the plane on top of a canvas.

    Parameters
    ----------
    canvas
        What they lie on.
    letters
        At the left, right, upper and lower edge.
    name
        Of the plane, in the upper left corner.
    """

    def __init__(self, canvas: QWidget, letters: str, name: str) -> None:
        super().__init__(canvas)
        self.canvas = canvas
        self.labels = [self._label(letter, "#FFD54A", 12) for letter in letters]
        for label, letter in zip(self.labels, letters, strict=True):
            label.setToolTip(MEANING[letter])
        self.name = self._label(name, "#D0D4D8", 10)
        self._size = (0, 0)
        # An event filter written in Python would be called for every event of the
        # canvas, and PySide 6.12 miscounts its references.
        self._clock = QTimer(self)
        self._clock.setInterval(FOLLOW_MS)
        self._clock.timeout.connect(self.follow)
        self._clock.start()
        self.follow()

    def _label(self, text: str, colour: str, size: int) -> QLabel:
        label = QLabel(text, self.canvas)
        label.setStyleSheet(STYLE.format(colour=colour, size=size))
        label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        label.adjustSize()
        label.show()
        return label

    def say(self, text: str) -> None:
        """Write beside the plane's name, e.g. the position."""
        if text == self.name.text():
            return
        self.name.setText(text)
        self.name.adjustSize()

    def follow(self) -> None:
        """Move the letters if the canvas has another size."""
        size = (self.canvas.width(), self.canvas.height())
        if size != self._size:
            self._size = size
            self._place()

    def close(self) -> None:
        """Take the letters off the canvas."""
        self._clock.stop()
        for label in (*self.labels, self.name):
            label.hide()
            label.deleteLater()
        self.deleteLater()

    def _place(self) -> None:
        width, height = self.canvas.width(), self.canvas.height()
        left, right, top, bottom = self.labels
        for label in (*self.labels, self.name):
            label.adjustSize()
        left.move(MARGIN_PX, (height - left.height()) // 2)
        right.move(width - right.width() - MARGIN_PX, (height - right.height()) // 2)
        top.move((width - top.width()) // 2, MARGIN_PX)
        bottom.move((width - bottom.width()) // 2, height - bottom.height() - MARGIN_PX)
        self.name.move(MARGIN_PX, MARGIN_PX)
        for label in (*self.labels, self.name):
            label.raise_()
