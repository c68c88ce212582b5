"""Crosshair on top of a canvas: it moves without the picture being drawn again."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QWidget

COLOUR = "rgba(190, 196, 202, 120)"
LINE_PX = 1


class Crosshair:
    """Two thin lines over a canvas.

    Parameters
    ----------
    canvas
        What they lie on.
    """

    def __init__(self, canvas: QWidget) -> None:
        self.canvas = canvas
        self.visible = True
        self.across = self._line()
        self.upright = self._line()

    def _line(self) -> QFrame:
        line = QFrame(self.canvas)
        line.setStyleSheet(f"background: {COLOUR};")
        line.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        line.setVisible(False)
        return line

    def place(self, x_px: float, y_px: float) -> None:
        """Cross at a place of the canvas; lines outside of it are hidden."""
        width, height = self.canvas.width(), self.canvas.height()
        self.across.setGeometry(0, round(y_px), width, LINE_PX)
        self.upright.setGeometry(round(x_px), 0, LINE_PX, height)
        self.across.setVisible(self.visible and 0 <= y_px < height)
        self.upright.setVisible(self.visible and 0 <= x_px < width)

    def close(self) -> None:
        """Take the lines off the canvas."""
        for line in (self.across, self.upright):
            line.hide()
            line.deleteLater()
