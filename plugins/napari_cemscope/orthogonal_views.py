"""Three linked views: axial in napari's own canvas, sagittal and coronal beside it."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.qt import QtViewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QSplitter, QWidget

from napari_cemscope.crosshair import Crosshair
from napari_cemscope.edge_letters import EdgeLetters
from napari_cemscope.layers import LayerData
from napari_cemscope.view_space import Point

FOLLOW_MS = 80
"""The crosshair in the other views follows so long after the last step."""

STILL_PX = 3
"""A press that moves less than this is a click."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One of the three views.

    Attributes
    ----------
    name : str
        Of the view.
    axis : int
        Screen axis (0 z, 1 y, 2 x) across the plane.
    order : tuple of int
        napari's order of the axes; the last two are shown.
    up : bool
        Whether the vertical axis grows upwards.
    letters : str
        At the left, right, upper and lower edge.
    """

    name: str
    axis: int
    order: tuple[int, int, int]
    up: bool
    letters: str


AXIAL = Plane("axial", 0, (0, 1, 2), False, "RLAP")
SAGITTAL = Plane("sagittal", 2, (2, 0, 1), True, "APHF")
CORONAL = Plane("coronal", 1, (1, 0, 2), True, "RLHF")


@dataclass(slots=True, eq=False)
class LinkedView:
    """A plane, its napari model and its crosshair."""

    plane: Plane
    model: Any
    crosshair: Crosshair | None = None
    stepped: Callable[[object], None] | None = None
    panned: Callable[[object], None] | None = None


class OrthogonalViews:
    """Keeps three views at one patient point.

    Parameters
    ----------
    viewer
        napari's viewer; it becomes the axial view.

    Attributes
    ----------
    widget : QWidget
        Sagittal above coronal view, to be docked beside napari's canvas.
    point : tuple of float
        Screen position (z, y, x) that all views go through, mm.
    """

    def __init__(self, viewer: Any) -> None:
        self.point: Point = (0.0, 0.0, 0.0)
        self._listeners: list[Callable[[Point], None]] = []
        self._moving = False
        self.views = [
            LinkedView(AXIAL, viewer),
            LinkedView(SAGITTAL, ViewerModel(title="sagittal")),
            LinkedView(CORONAL, ViewerModel(title="coronal")),
        ]
        # The tips of a welcome screen that is never shown take a second to make.
        self._side = [QtViewer(view.model, tips=("",)) for view in self.views[1:]]
        splitter = QSplitter(Qt.Orientation.Vertical)
        for view, canvas in zip(self.views[1:], self._side, strict=True):
            canvas.setObjectName(f"cemscope {view.plane.name}")
            canvas.setMinimumSize(200, 160)
            splitter.addWidget(canvas)
        self.widget: QWidget = splitter
        self._late = QTimer(splitter)
        self._late.setSingleShot(True)
        self._late.setInterval(FOLLOW_MS)
        self._late.timeout.connect(self._draw_crosshairs)
        self.letters: list[EdgeLetters] = []

    @property
    def axial(self) -> Any:
        """Napari's own viewer."""
        return self.views[0].model

    def on_move(self, listener: Callable[[Point], None]) -> None:
        """Tell a function whenever the point moves."""
        self._listeners.append(listener)

    def label_edges(self, main_canvas: QWidget | None) -> None:
        """Write A, P, L, R, H and F at the edges of the views."""
        canvases = [main_canvas, *(side.canvas.native for side in self._side)]
        for view, canvas in zip(self.views, canvases, strict=True):
            if canvas is not None:
                plane = view.plane
                view.crosshair = Crosshair(canvas)
                self.letters.append(EdgeLetters(canvas, plane.letters, plane.name))
                camera = view.model.scene.camera
                view.panned = lambda _=None, view=view: self._draw_crosshair(view)
                camera.events.center.connect(view.panned)
                camera.events.zoom.connect(view.panned)

    def show(self, layers: list[LayerData]) -> None:
        """Put layers into all views; they share the arrays."""
        for view in self.views:
            for data, keywords, kind in layers:
                maker = Image if kind == "image" else Labels
                layer = maker(data, **keywords)
                if kind == "labels":
                    layer.editable = False  # corrections go through the session
                    if layer.name == "vertebrae":
                        layer.contour = 1
                view.model.add_layer(layer)
        for view in self.views:
            self._prepare(view)

    def _prepare(self, view: LinkedView) -> None:
        model, plane = view.model, view.plane
        model.dims.order = plane.order
        model.scene.camera.orientation2d = ("up" if plane.up else "down", "right")
        model.scene.camera.mouse_zoom = False  # the wheel goes through the slices
        model.mouse_wheel_callbacks.append(self._wheel)
        model.mouse_drag_callbacks.append(self._click)
        model.reset_view()
        view.stepped = lambda _=None: self._stepped(view)
        model.dims.events.current_step.connect(view.stepped)
        if "CT" in model.layers:
            model.layers.selection.active = model.layers["CT"]

    def _wheel(self, model: Any, event: Any) -> None:
        view = self._view_of(model)
        if view is None:
            return
        up = bool(event.delta[1] > 0)
        if "Control" in event.modifiers or "Shift" in event.modifiers:
            if "Shift" in event.modifiers:
                model.scene.camera.zoom *= 1.15 if up else 1.0 / 1.15
            return
        self.step(view.plane, 1 if up else -1)

    def step(self, plane: Plane, slices: int) -> None:
        """Go some slices along the axis of a plane."""
        view = next(v for v in self.views if v.plane is plane)
        dims = view.model.dims
        step = dims.range[plane.axis].step
        point = list(self.point)
        point[plane.axis] += slices * step
        self.go_to((point[0], point[1], point[2]))

    def _click(self, model: Any, event: Any) -> Generator[None, None, None]:
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        still = float(np.abs(np.array(event.pos) - start).max()) <= STILL_PX
        if still and model.scene.camera.mouse_pan and event.button == 1:
            position = event.position
            if len(position) == 3:
                self.go_to(position)

    def _view_of(self, model: Any) -> LinkedView | None:
        return next((view for view in self.views if view.model is model), None)

    def _stepped(self, view: LinkedView) -> None:
        if self._moving or view.model.dims.ndim != 3:  # 2 while the layers go
            return
        point = list(self.point)
        point[view.plane.axis] = float(view.model.dims.point[view.plane.axis])
        self.go_to((point[0], point[1], point[2]))

    def go_to(self, point: Point, centre: bool = False) -> None:
        """Bring all views to a screen position (z, y, x).

        Parameters
        ----------
        point
            Where to.
        centre
            Also move the cameras, so that the point is in the middle.
        """
        self._moving = True
        try:
            low, high = self._extent()
            clipped = np.clip(np.asarray(point, float), low, high)
            z, y, x = (float(value) for value in clipped)
            self.point = (z, y, x)
            for view in self.views:
                axis = view.plane.axis
                moved = view.model.dims.point[axis] != self.point[axis]
                view.model.dims.set_point(axis, self.point[axis])
                if centre:
                    view.model.scene.camera.center = self._camera_centre(view)
                if moved or centre:
                    self._draw_crosshair(view)
        finally:
            self._moving = False
        # A line over a canvas makes Qt draw it anew: the other views follow when the
        # wheel rests.
        self._late.start()
        for listener in self._listeners:
            listener(self.point)

    def _camera_centre(self, view: LinkedView) -> tuple[float, float, float]:
        _, vertical, horizontal = view.plane.order
        return 0.0, self.point[vertical], self.point[horizontal]

    def zoom_to(self, height_mm: float) -> None:
        """Show so many millimetres from the top to the bottom of every view."""
        for view, canvas in zip(self.views, self._heights(), strict=True):
            view.model.scene.camera.zoom = max(canvas, 100) / height_mm

    def _heights(self) -> list[int]:
        sides = [side.canvas.native.height() for side in self._side]
        axial = self.letters[0].canvas.height() if len(self.letters) == 3 else sides[0]
        return [axial, *sides]

    def _extent(self) -> tuple[np.ndarray, np.ndarray]:
        ranges = self.axial.dims.range
        return (
            np.array([axis.start for axis in ranges]),
            np.array([axis.stop for axis in ranges]),
        )

    def _draw_crosshairs(self) -> None:
        for view in self.views:
            self._draw_crosshair(view)

    def _draw_crosshair(self, view: LinkedView) -> None:
        cross = view.crosshair
        if cross is None:
            return
        camera = view.model.scene.camera
        _, vertical, horizontal = view.plane.order
        right = (self.point[horizontal] - camera.center[-1]) * camera.zoom
        down = (self.point[vertical] - camera.center[-2]) * camera.zoom
        cross.place(
            0.5 * cross.canvas.width() + right,
            0.5 * cross.canvas.height() + (-down if view.plane.up else down),
        )

    def toggle_crosshair(self) -> None:
        """Show or hide the crosshair."""
        for view in self.views:
            if view.crosshair is not None:
                view.crosshair.visible = not view.crosshair.visible
                self._draw_crosshair(view)

    def set_window(self, limits_hu: tuple[float, float]) -> None:
        """Choose the grey scale of all views."""
        for view in self.views:
            view.model.layers["CT"].contrast_limits = limits_hu

    def set_visible(self, name: str, visible: bool) -> None:
        """Show or hide a layer in all views."""
        for view in self.views:
            if name in view.model.layers:
                view.model.layers[name].visible = visible

    def refresh(self, names: tuple[str, ...] | None = None) -> None:
        """Draw layers anew after their arrays have changed."""
        for view in self.views:
            for layer in view.model.layers:
                if isinstance(layer, Labels) and (names is None or layer.name in names):
                    layer.refresh(thumbnail=False, highlight=False, extent=False)

    def close(self) -> None:
        """Close the views beside napari's own and let go of everything."""
        self._late.stop()
        for letters in self.letters:
            letters.close()
        self.letters.clear()
        self._listeners.clear()
        for view in self.views:
            for callbacks, mine in (
                (view.model.mouse_wheel_callbacks, self._wheel),
                (view.model.mouse_drag_callbacks, self._click),
            ):
                if mine in callbacks:
                    callbacks.remove(mine)
            view.model.dims.events.current_step.disconnect(view.stepped)
            if view.crosshair is not None:
                view.crosshair.close()
                view.crosshair = None
            if view.panned is not None:
                view.model.scene.camera.events.center.disconnect(view.panned)
                view.model.scene.camera.events.zoom.disconnect(view.panned)
        for side in self._side:
            side.close()
            side.setParent(None)
            side.deleteLater()
        self._side.clear()
