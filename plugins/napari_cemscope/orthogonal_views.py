"""Three linked views: axial in napari's own canvas, sagittal and coronal beside it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QSplitter, QWidget

from napari_cemscope.edge_letters import EdgeLetters
from napari_cemscope.layers import LayerData
from napari_cemscope.napari_view import NapariView
from napari_cemscope.plane import AXIAL, CORONAL, SAGITTAL, BrushTip, Plane, PlaneView
from napari_cemscope.slice_view import SliceView
from napari_cemscope.view_space import Point, ViewSpace

FOLLOW_MS = 150
"""The crosshair in the other views follows so long after the last step."""


class OrthogonalViews:
    """Keeps three views at one patient point.

    Parameters
    ----------
    viewer
        napari's viewer; it becomes the axial view.
    space
        Axes of the screen.

    Attributes
    ----------
    widget : QWidget
        Sagittal above coronal view, to be docked beside napari's canvas.
    point : tuple of float
        Screen position (z, y, x) that all views go through, mm.
    """

    def __init__(self, viewer: Any, space: ViewSpace) -> None:
        self.point: Point = (0.0, 0.0, 0.0)
        self._space = space
        self._listeners: list[Callable[[Point], None]] = []
        self.axial = NapariView(
            viewer, AXIAL, lambda at: self._along(AXIAL, at), self.go_to
        )
        self._side = [SliceView(plane, space) for plane in (SAGITTAL, CORONAL)]
        self.views: tuple[PlaneView, ...] = (self.axial, *self._side)
        splitter = QSplitter(Qt.Orientation.Vertical)
        for view in self._side:
            splitter.addWidget(view)
            view.clicked.connect(self.go_to)
            view.stepped.connect(lambda n, plane=view.plane: self.step(plane, n))
        self.widget: QWidget = splitter
        self._late = QTimer(splitter)
        self._late.setSingleShot(True)
        self._late.setInterval(FOLLOW_MS)
        self._late.timeout.connect(self._draw_crosshairs)
        self.letters: list[EdgeLetters] = []
        self._crosshair = True

    def on_move(self, listener: Callable[[Point], None]) -> None:
        """Tell a function whenever the point moves."""
        self._listeners.append(listener)

    def label_edges(self, main: Any) -> None:
        """Write A, P, L, R, H and F at the edges of the views.

        Parameters
        ----------
        main
            napari's ``QtViewer``; None if it is not found.
        """
        if main is not None:
            self.axial.attach(main)
        for view in self.views:
            if view.canvas is not None:
                plane = view.plane
                self.letters.append(EdgeLetters(view.canvas, plane.letters, plane.name))

    def show(self, layers: list[LayerData]) -> None:
        """Put layers into all views; they share the arrays."""
        for view in self.views:
            view.show_layers(layers)

    def step(self, plane: Plane, slices: int) -> None:
        """Go some slices along the axis of a plane."""
        here = self.point[plane.axis]
        self._along(plane, here + slices * self._space.scale[plane.axis])

    def _along(self, plane: Plane, at: float) -> None:
        point = list(self.point)
        point[plane.axis] = at
        self.go_to((point[0], point[1], point[2]))

    def go_to(self, point: Point, centre: bool = False) -> None:
        """Bring all views to a screen position (z, y, x).

        Parameters
        ----------
        point
            Where to.
        centre
            Also move the views, so that the point is in the middle.
        """
        low = np.array(self._space.translate)
        last = (np.array(self._space.shape) - 1) * np.array(self._space.scale)
        z, y, x = (float(v) for v in np.clip(np.asarray(point, float), low, low + last))
        self.point = (z, y, x)
        for view in self.views:
            view.move_to(self.point, centre)
        # Drawing over a canvas makes Qt compose the window anew: the other views'
        # crosshairs follow when the wheel rests.
        self._late.start()
        for listener in self._listeners:
            listener(self.point)

    def zoom_to(self, height_mm: float) -> None:
        """Show so many millimetres from the top to the bottom of every view."""
        for view in self.views:
            view.zoom_to(height_mm)

    def _draw_crosshairs(self) -> None:
        for view in self.views:
            view.draw_crosshair()

    def toggle_crosshair(self) -> None:
        """Show or hide the crosshair."""
        self._crosshair = not self._crosshair
        for view in self.views:
            view.show_crosshair(self._crosshair)

    def set_window(self, limits_hu: tuple[float, float]) -> None:
        """Choose the grey scale of all views."""
        for view in self.views:
            view.set_window(limits_hu)

    def set_visible(self, name: str, visible: bool) -> None:
        """Show or hide a layer in all views."""
        for view in self.views:
            view.set_visible(name, visible)

    def refresh(self) -> None:
        """Draw the label maps anew after they have changed."""
        for view in self.views:
            view.refresh()

    def hold(self, tips: dict[str, BrushTip] | None) -> None:
        """Take brushes into the hand, by the plane's name; None puts them down."""
        for view in self.views:
            view.hold(None if tips is None else tips[view.plane.name])

    def close(self) -> None:
        """Close the views beside napari's own and let go of everything."""
        self._late.stop()
        for letters in self.letters:
            letters.close()
        self.letters.clear()
        self._listeners.clear()
        self.axial.close()
        for side in self._side:
            side.close()
            side.setParent(None)
            side.deleteLater()
        self._side.clear()
