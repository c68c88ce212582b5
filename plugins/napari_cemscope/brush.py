"""A brush for cement: it collects voxels in any of the views, the session decides."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from napari_cemscope.orthogonal_views import OrthogonalViews
from napari_cemscope.plane import BrushTip, Plane
from napari_cemscope.view_space import ViewSpace

VoxelStroke = Callable[[npt.NDArray[np.int64]], None]


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

    def pick_up(self, stroke: VoxelStroke, colour: str) -> None:
        """Begin to paint; ``stroke`` gets the voxels of each drag."""

        def done(plane: Plane, way: list[np.ndarray]) -> None:
            stroke(self.places(plane, way))

        self._views.hold(
            {
                view.plane.name: BrushTip(
                    colour, lambda: self.radius_mm, partial(done, view.plane)
                )
                for view in self._views.views
            }
        )

    def put_down(self) -> None:
        """Drags move the picture again."""
        self._views.hold(None)

    def places(
        self, plane: Plane, positions: list[np.ndarray]
    ) -> npt.NDArray[np.int64]:
        """Voxels along a way, by their places in the flattened arrays."""
        flat = None if self.is_ball else plane.axis
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
