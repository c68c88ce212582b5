"""A plane of the scan drawn by Qt's own painter: light beside napari's canvas.

A second and a third canvas of OpenGL would be drawn anew, by software, at every step
through the slices; a picture of one slice takes a few milliseconds.
"""

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QWheelEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_cemscope.layers import LayerData
from napari_cemscope.plane import STILL_PX, ZOOM_STEP, BrushTip, Plane
from napari_cemscope.slice_image import SliceImage
from napari_cemscope.view_space import Point, ViewSpace

CROSS_COLOUR = QColor(190, 196, 202, 130)
TRACE_ALPHA = 120


class SliceView(QWidget):
    """One of the two planes beside napari's canvas.

    Signals
    -------
    stepped
        The wheel went so many slices.
    clicked
        A screen position (z, y, x) was clicked.
    """

    stepped = Signal(int)
    clicked = Signal(object)

    def __init__(self, plane: Plane, space: ViewSpace) -> None:
        super().__init__()
        self.plane = plane
        self._space = space
        self._image = SliceImage(plane)
        self._point: Point = (0.0, 0.0, 0.0)
        self._crosshair: Point | None = None
        self._cross_visible = True
        self._centre = (0.0, 0.0)
        self._zoom = 2.0
        self._tip: BrushTip | None = None
        self._way: list[np.ndarray] = []
        self._pressed: QPointF | None = None
        self._last = QPointF()
        self._moved = False
        self.setObjectName(f"cemscope {plane.name}")
        self.setMinimumSize(200, 160)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    # --- what every view can do ---

    @property
    def canvas(self) -> QWidget:
        """The picture is the widget."""
        return self

    def show_layers(self, layers: list[LayerData]) -> None:
        """Show layers; their arrays are shared, never copied."""
        self._image.take(layers)
        self.update()

    def move_to(self, point: Point, centre: bool) -> None:
        """Show the slice through a point; also in the middle, if asked."""
        if point[self.plane.axis] != self._point[self.plane.axis] or centre:
            self._crosshair = point
            self.update()
        self._point = point
        if centre:
            _, vertical, horizontal = self.plane.order
            self._centre = (point[vertical], point[horizontal])

    def draw_crosshair(self) -> None:
        """Draw the crosshair at the point."""
        if self._crosshair != self._point:
            self._crosshair = self._point
            self.update()

    def show_crosshair(self, visible: bool) -> None:
        """Show or hide the crosshair."""
        self._cross_visible = visible
        self.update()

    def zoom_to(self, height_mm: float) -> None:
        """Show so many millimetres from the top to the bottom."""
        self._zoom = max(self.height(), 100) / height_mm
        self.update()

    def set_window(self, limits_hu: tuple[float, float]) -> None:
        """Choose the grey scale."""
        self._image.set_window(limits_hu)
        self.update()

    def set_visible(self, name: str, visible: bool) -> None:
        """Show or hide a layer."""
        self._image.set_visible(name, visible)
        self.update()

    def refresh(self) -> None:
        """Draw the label maps anew after they have changed."""
        self._image.forget()
        self.update()

    def hold(self, tip: BrushTip | None) -> None:
        """Take a brush into the hand; None puts it down."""
        self._tip = tip
        if tip is None:
            self.unsetCursor()
        else:
            self.setCursor(Qt.CursorShape.CrossCursor)

    # --- between pixels and millimetres ---

    def to_screen(self, pixel: QPointF) -> Point:
        """Screen position (z, y, x) of a pixel in the slice that is shown."""
        _, vertical, horizontal = self.plane.order
        sign = -1.0 if self.plane.up else 1.0
        down = (pixel.y() - 0.5 * self.height()) / self._zoom
        right = (pixel.x() - 0.5 * self.width()) / self._zoom
        point = list(self._point)
        point[vertical] = self._centre[0] + sign * down
        point[horizontal] = self._centre[1] + right
        return point[0], point[1], point[2]

    def to_pixel(self, point: Point) -> QPointF:
        """Pixel of a screen position, projected onto the plane."""
        _, vertical, horizontal = self.plane.order
        sign = -1.0 if self.plane.up else 1.0
        return QPointF(
            0.5 * self.width() + (point[horizontal] - self._centre[1]) * self._zoom,
            0.5 * self.height()
            + sign * (point[vertical] - self._centre[0]) * self._zoom,
        )

    def _shown(self) -> tuple[slice, slice]:
        """Rows and columns of the slice that lie in the widget."""
        corners = [
            self.to_screen(QPointF(0, 0)),
            self.to_screen(QPointF(self.width(), self.height())),
        ]
        parts = []
        for axis, count in zip(self.plane.order[1:], self._image.shape, strict=True):
            at = [
                (corner[axis] - self._space.translate[axis]) / self._space.scale[axis]
                for corner in corners
            ]
            first = int(np.clip(np.floor(min(at)) - 1, 0, count))
            last = int(np.clip(np.ceil(max(at)) + 2, 0, count))
            parts.append(slice(first, max(first, last)))
        return parts[0], parts[1]

    def _frame(self, window: tuple[slice, slice]) -> QRectF:
        """Pixels that a part of the slice covers."""
        ends = []
        for edge in ("start", "stop"):
            point = [0.0, 0.0, 0.0]
            for axis, part in zip(self.plane.order[1:], window, strict=True):
                voxel = float(getattr(part, edge)) - 0.5
                point[axis] = (
                    self._space.translate[axis] + voxel * self._space.scale[axis]
                )
            ends.append(self.to_pixel((point[0], point[1], point[2])))
        return QRectF(ends[0], ends[1]).normalized()

    # --- Qt ---

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the slice, its marks, the stroke and the crosshair."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), Qt.GlobalColor.black)
        axis = self.plane.axis
        step = (self._point[axis] - self._space.translate[axis]) / self._space.scale[
            axis
        ]
        index = round(step)
        window = self._shown()
        inside = 0 <= index < self._space.shape[axis]
        if inside and all(part.stop > part.start for part in window):
            images = self._image.pictures(index, window)
            if images is not None:
                frame = self._frame(window)
                smooth = QPainter.RenderHint.SmoothPixmapTransform
                painter.setRenderHint(smooth, True)
                painter.drawImage(frame, images[0])
                painter.setRenderHint(smooth, False)
                painter.drawImage(frame, images[1])
        self._draw_trace(painter)
        self._draw_cross(painter)
        painter.end()

    def _draw_trace(self, painter: QPainter) -> None:
        if not self._way or self._tip is None:
            return
        colour = QColor(self._tip.colour)
        colour.setAlpha(TRACE_ALPHA)
        pen = QPen(colour, 2.0 * self._tip.radius_mm() * self._zoom)
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setPen(pen)
        pixels = [self.to_pixel((p[0], p[1], p[2])) for p in self._way]
        painter.drawPolyline([*pixels, pixels[-1] + QPointF(0.01, 0.0)])
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def _draw_cross(self, painter: QPainter) -> None:
        if not self._cross_visible or self._crosshair is None:
            return
        at = self.to_pixel(self._crosshair)
        painter.setPen(QPen(CROSS_COLOUR, 0))
        painter.drawLine(QPointF(0, at.y()), QPointF(self.width(), at.y()))
        painter.drawLine(QPointF(at.x(), 0), QPointF(at.x(), self.height()))

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Go through the slices; with Shift zoom."""
        notches = event.angleDelta().y() or event.angleDelta().x()
        if not notches:
            return
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self._zoom *= ZOOM_STEP if notches > 0 else 1.0 / ZOOM_STEP
            self.update()
        else:
            self.stepped.emit(1 if notches > 0 else -1)
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begin a stroke, a click or a pan."""
        if event.button() != Qt.MouseButton.LeftButton:
            return
        self._pressed = self._last = event.position()
        self._moved = False
        if self._tip is not None:
            self._way = [np.array(self.to_screen(event.position()))]
            self.update()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Paint, or move the picture."""
        if self._pressed is None:
            return
        here = event.position()
        if self._tip is not None and self._way:
            self._way.append(np.array(self.to_screen(here)))
            self.update()
            return
        apart = here - self._pressed
        self._moved |= max(abs(apart.x()), abs(apart.y())) > STILL_PX
        if self._moved:
            step, self._last = here - self._last, here
            sign = -1.0 if self.plane.up else 1.0
            self._centre = (
                self._centre[0] - sign * step.y() / self._zoom,
                self._centre[1] - step.x() / self._zoom,
            )
            self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Hand the stroke over, or move the crosshair to a click."""
        if event.button() != Qt.MouseButton.LeftButton or self._pressed is None:
            return
        self._pressed = None
        if self._way:
            way, self._way = self._way, []
            self.update()
            if self._tip is not None:
                self._tip.done(way)
        elif not self._moved:
            self.clicked.emit(self.to_screen(event.position()))
