"""A brush for cement: it collects voxels in any of the views, the session decides."""

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Points

from napari_cemscope.orthogonal_views import LinkedView, OrthogonalViews
from napari_cemscope.view_space import ViewSpace

TRACE = "stroke"
Stroke = Callable[[npt.NDArray[np.int64]], None]


class Brush:
    """Turns drags of the mouse into sets of voxels.

    Attributes
    ----------
    radius_mm : float
        Of the brush.
    is_ball : bool
        Whether it paints through neighbouring slices, too.
    """

    def __init__(
        self, views: OrthogonalViews, space: ViewSpace, radius_mm: float
    ) -> None:
        self._views = views
        self._space = space
        self.radius_mm = radius_mm
        self.is_ball = False
        self._stroke: Stroke | None = None
        self._colour = "white"
        for view in views.views:
            view.model.mouse_drag_callbacks.append(self._drag)

    @property
    def active(self) -> bool:
        """Whether drags paint."""
        return self._stroke is not None

    def pick_up(self, stroke: Stroke, colour: str) -> None:
        """Begin to paint; ``stroke`` gets the voxels of each drag."""
        self._stroke, self._colour = stroke, colour
        for view in self._views.views:
            view.model.scene.camera.mouse_pan = False
            view.model.cursor.style = "crosshair"

    def put_down(self) -> None:
        """Drags move the picture again."""
        self._stroke = None
        for view in self._views.views:
            view.model.scene.camera.mouse_pan = True
            view.model.cursor.style = "standard"

    def _drag(self, model: Any, event: Any) -> Generator[None, None, None]:
        stroke = self._stroke
        view = next(v for v in self._views.views if v.model is model)
        if stroke is None or event.button != 1 or len(event.position) != 3:
            return
        positions = [np.array(event.position, float)]
        trace = self._trace(view, positions)
        yield
        while event.type == "mouse_move":
            positions.append(np.array(event.position, float))
            trace.data = np.array(positions)
            yield
        view.model.layers.remove(trace)
        stroke(self.places(view, positions))

    def _trace(self, view: LinkedView, positions: list[np.ndarray]) -> Points:
        trace = Points(
            np.array(positions),
            name=TRACE,
            size=2.0 * self.radius_mm,
            face_color=self._colour,
            border_width=0.0,
            opacity=0.5,
            units=("mm",) * 3,
            axis_labels=("z", "y", "x"),
        )
        active = view.model.layers.selection.active
        view.model.add_layer(trace)
        view.model.layers.selection.active = active
        return trace

    def places(
        self, view: LinkedView, positions: list[np.ndarray]
    ) -> npt.NDArray[np.int64]:
        """Voxels along a way, by their places in the flattened arrays."""
        flat = None if self.is_ball else view.plane.axis
        found = []
        for start, stop in zip(positions, [*positions[1:], positions[-1]], strict=True):
            way = float(np.linalg.norm(stop - start))
            count = max(1, int(np.ceil(way / (0.5 * self.radius_mm))))
            found += [
                self._space.places_near(
                    start + (stop - start) * k / count, self.radius_mm, flat
                )
                for k in range(count)
            ]
        return np.unique(np.concatenate(found))
