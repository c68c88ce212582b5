"""The axial plane in napari's own canvas."""

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Points
from qtpy.QtWidgets import QWidget

from napari_cemscope.crosshair import Crosshair
from napari_cemscope.layers import LayerData
from napari_cemscope.plane import STILL_PX, ZOOM_STEP, BrushTip, Plane
from napari_cemscope.view_space import Point

TRACE = "stroke"


class _Quiet:
    """What a layer need not do at every slice.

    napari tells its layers twice of every new slice, and each time draws the thumbnail
    in the layer list and measures the layer anew.
    """

    _sliced: tuple[object, ...] = ()
    _stepping = False

    def _update_thumbnail(self) -> None:
        return

    def _clear_extent(self) -> None:
        # No slice changes how large a layer is.
        if not self._stepping:
            super()._clear_extent()  # type: ignore[misc]  # of the layer

    def _slice_dims(self, dims: Any, force: bool = False) -> None:
        place = (tuple(dims.point), tuple(dims.order), dims.ndisplay)
        if not force and place == self._sliced:
            return
        self._sliced = place
        self._stepping = not force
        try:
            self._show_slice(dims, force)
        finally:
            self._stepping = False

    def _show_slice(self, dims: Any, force: bool) -> None:
        super()._slice_dims(dims, force)  # type: ignore[misc]  # of the layer


class QuietImage(_Quiet, Image):  # type: ignore[misc]  # napari is not annotated
    """An image as the review shows it."""


class QuietLabels(_Quiet, Labels):  # type: ignore[misc]  # napari is not annotated
    """Labels as the review shows them: not drawn where a slice has none of them.

    Attributes
    ----------
    node : object or None
        What vispy draws; None before `NapariView.attach`.
    """

    node: Any = None
    _blank = False

    def look(self, dims: Any) -> bool:
        """Tell whether the slice holds nothing to show, and draw nothing then."""
        blank = False
        if dims.ndisplay == 2:
            axis = dims.not_displayed[0]
            index = round((dims.point[axis] - self.translate[axis]) / self.scale[axis])
            if 0 <= index < self.data.shape[axis]:
                # The array may be turned: numpy takes a view of one slice.
                found = self._shown_codes()[self.data.swapaxes(0, axis)[index]]
                blank = not found.any()
        self._blank = blank
        self._hide_if_blank()
        return blank

    def _hide_if_blank(self) -> None:
        if self.node is not None:
            self.node.visible = self.visible and not self._blank

    def _calculate_contour(self, labels: np.ndarray, data_slice: Any) -> Any:
        """As napari's for thin contours, by comparing neighbours: in a tenth."""
        whole = tuple((0, length, 1) for length in labels.shape)
        asked = tuple(
            part.indices(n) for part, n in zip(data_slice, labels.shape, strict=True)
        )
        if self.contour != 1 or labels.ndim != 2 or asked != whole:
            return super()._calculate_contour(labels, data_slice)
        border = np.zeros(labels.shape, np.bool_)
        for axis in (0, 1):
            first, second = labels.swapaxes(0, axis), border.swapaxes(0, axis)
            apart = first[1:] != first[:-1]
            second[1:] |= apart
            second[:-1] |= apart
        return np.where(border, labels, self.colormap.background_value)

    def _shown_codes(self) -> np.ndarray:
        shown = np.zeros(256, np.bool_)
        for code, colour in self.colormap.color_dict.items():
            shown[code or 0] |= code is not None and float(colour[3]) > 0.0
        return shown

    def _show_slice(self, dims: Any, force: bool) -> None:
        was = self._blank
        if self.look(dims) and was and not force:
            # Nothing was shown and nothing is: only the place is kept.
            self._slicing_state.set_slice_input_from_dims(dims, False)
            return
        super()._show_slice(dims, force)
        self._hide_if_blank()  # vispy shows what is sliced


def _place_once(visual: Any) -> None:
    """Place a layer anew only when other axes are shown, not at every slice.

    Changes of its scale and position still come through napari's own events.
    """
    place = visual._on_matrix_change  # noqa: SLF001 - napari has no public way
    placed: list[tuple[int, ...]] = []

    def once() -> None:
        axes = tuple(visual.layer._slice_input.displayed)  # noqa: SLF001 - as above
        if placed != [axes]:
            placed[:] = [axes]
            place()

    visual._on_matrix_change = once  # noqa: SLF001 - as above


class NapariView:
    """napari's viewer as one of the linked views.

    Parameters
    ----------
    viewer
        napari's viewer.
    plane
        What it shows.
    moved
        Told the new position along the plane's axis, e.g. from napari's slider.
    clicked
        Told the screen position of a click.
    """

    def __init__(
        self,
        viewer: Any,
        plane: Plane,
        moved: Callable[[float], None],
        clicked: Callable[[Point], None],
    ) -> None:
        self.model = viewer
        self.plane = plane
        self._moved, self._clicked = moved, clicked
        self._canvas: QWidget | None = None
        self._cross: Crosshair | None = None
        self._point: Point = (0.0, 0.0, 0.0)
        self._moving = False
        self._tip: BrushTip | None = None

    @property
    def canvas(self) -> QWidget | None:
        """Napari's canvas; None before `attach`."""
        return self._canvas

    def attach(self, shown: Any) -> None:
        """Draw the crosshair over napari's canvas (of its ``QtViewer``) from now on."""
        self._canvas = shown.canvas.native
        self._cross = Crosshair(shown.canvas.native)
        for layer, visual in shown.canvas.layer_to_visual.items():
            _place_once(visual)
            if isinstance(layer, QuietLabels):
                layer.node = visual.node
                layer.look(self.model.dims)
        camera = self.model.scene.camera
        camera.events.center.connect(self._panned)
        camera.events.zoom.connect(self._panned)

    def show_layers(self, layers: list[LayerData]) -> None:
        """Show layers; their arrays are shared, never copied."""
        model, plane = self.model, self.plane
        for data, keywords, kind in layers:
            layer = (QuietImage if kind == "image" else QuietLabels)(data, **keywords)
            if kind == "labels":
                layer.editable = False  # corrections go through the session
                if layer.name == "vertebrae":
                    layer.contour = 1
            model.add_layer(layer)
        model.dims.order = plane.order
        model.scene.camera.orientation2d = ("up" if plane.up else "down", "right")
        model.scene.camera.mouse_zoom = False  # the wheel goes through the slices
        model.mouse_wheel_callbacks.append(self._wheel)
        model.mouse_drag_callbacks.append(self._click)
        model.mouse_drag_callbacks.append(self._drag)
        model.reset_view()
        model.dims.events.current_step.connect(self._stepped)
        if "CT" in model.layers:
            model.layers.selection.active = model.layers["CT"]

    def move_to(self, point: Point, centre: bool) -> None:
        """Show the slice through a point; also in the middle, if asked."""
        axis = self.plane.axis
        # On the slice: napari would go there by a second step, and draw twice.
        span = self.model.dims.range[axis]
        at = span.start + round((point[axis] - span.start) / span.step) * span.step
        changed = self.model.dims.point[axis] != at
        self._point = point
        self._moving = True
        try:
            if changed:
                self.model.dims.set_point(axis, at)
            if centre:
                _, vertical, horizontal = self.plane.order
                self.model.scene.camera.center = (
                    0.0,
                    point[vertical],
                    point[horizontal],
                )
        finally:
            self._moving = False
        if changed or centre:
            self.draw_crosshair()

    def draw_crosshair(self) -> None:
        """Draw the crosshair at the point."""
        if self._cross is None:
            return
        camera = self.model.scene.camera
        _, vertical, horizontal = self.plane.order
        right = (self._point[horizontal] - camera.center[-1]) * camera.zoom
        down = (self._point[vertical] - camera.center[-2]) * camera.zoom
        canvas = self._cross.canvas
        self._cross.place(
            0.5 * canvas.width() + right,
            0.5 * canvas.height() + (-down if self.plane.up else down),
        )

    def show_crosshair(self, visible: bool) -> None:
        """Show or hide the crosshair."""
        if self._cross is not None:
            self._cross.visible = visible
            self.draw_crosshair()

    def zoom_to(self, height_mm: float) -> None:
        """Show so many millimetres from the top to the bottom."""
        height = self._canvas.height() if self._canvas is not None else 400
        self.model.scene.camera.zoom = max(height, 100) / height_mm

    def set_window(self, limits_hu: tuple[float, float]) -> None:
        """Choose the grey scale."""
        self.model.layers["CT"].contrast_limits = limits_hu

    def set_visible(self, name: str, visible: bool) -> None:
        """Show or hide a layer."""
        if name in self.model.layers:
            self.model.layers[name].visible = visible

    def refresh(self) -> None:
        """Draw the label maps anew after they have changed."""
        for layer in self.model.layers:
            if isinstance(layer, QuietLabels):
                layer.refresh(thumbnail=False, highlight=False, extent=False)
                layer.look(self.model.dims)  # vispy shows what is refreshed

    def hold(self, tip: BrushTip | None) -> None:
        """Take a brush into the hand; None puts it down."""
        self._tip = tip
        self.model.scene.camera.mouse_pan = tip is None
        self.model.cursor.style = "standard" if tip is None else "crosshair"

    def close(self) -> None:
        """Let go of everything."""
        for callbacks, mine in (
            (self.model.mouse_wheel_callbacks, self._wheel),
            (self.model.mouse_drag_callbacks, self._click),
            (self.model.mouse_drag_callbacks, self._drag),
        ):
            if mine in callbacks:
                callbacks.remove(mine)
        self.model.dims.events.current_step.disconnect(self._stepped)
        if self._cross is not None:
            self._cross.close()
            self._cross = None
            camera = self.model.scene.camera
            camera.events.center.disconnect(self._panned)
            camera.events.zoom.disconnect(self._panned)

    # --- what napari tells ---

    def _panned(self, _event: Any = None) -> None:
        self.draw_crosshair()

    def _stepped(self, _event: Any = None) -> None:
        if self._moving or self.model.dims.ndim != 3:  # 2 while the layers go
            return
        self._moved(float(self.model.dims.point[self.plane.axis]))

    def _wheel(self, model: Any, event: Any) -> None:
        up = bool(event.delta[1] > 0)
        if "Shift" in event.modifiers:
            model.scene.camera.zoom *= ZOOM_STEP if up else 1.0 / ZOOM_STEP
        elif "Control" not in event.modifiers:
            axis = self.plane.axis
            step = model.dims.range[axis].step
            self._moved(self._point[axis] + (step if up else -step))

    def _click(self, model: Any, event: Any) -> Generator[None, None, None]:
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        still = float(np.abs(np.array(event.pos) - start).max()) <= STILL_PX
        if still and self._tip is None and event.button == 1:
            position = event.position
            if len(position) == 3:
                self._clicked(position)

    def _drag(self, model: Any, event: Any) -> Generator[None, None, None]:
        tip = self._tip
        if tip is None or event.button != 1 or len(event.position) != 3:
            return
        way = [np.array(event.position, float)]
        trace = self._trace(tip, way)
        yield
        while event.type == "mouse_move":
            way.append(np.array(event.position, float))
            trace.data = np.array(way)
            yield
        model.layers.remove(trace)
        tip.done(way)

    def _trace(self, tip: BrushTip, way: list[np.ndarray]) -> Points:
        trace = Points(
            np.array(way),
            name=TRACE,
            size=2.0 * tip.radius_mm(),
            face_color=tip.colour,
            border_width=0.0,
            opacity=0.5,
            units=("mm",) * 3,
            axis_labels=("z", "y", "x"),
        )
        active = self.model.layers.selection.active
        self.model.add_layer(trace)
        self.model.layers.selection.active = active
        return trace
