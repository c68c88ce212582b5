"""The unrolled surface of a screw as a picture: angle across, depth downwards."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cemscope.geometry import FloatArray
from cemscope.measurement.lucency_profiles import ANGLES, CellState
from cemscope.measurement.lucency_surface import LucencyMap
from cemscope.segmentation.implants.screw_profile import ScrewAxis

WIDEST_MM = 3.0
"""Upper end of the colour scale."""

COLOUR_MAP = "viridis"

HIDDEN_COLOUR = (0.45, 0.45, 0.45)
CEMENT_COLOUR = (0.55, 0.36, 0.14)
OUTSIDE_COLOUR = (0.16, 0.19, 0.24)
NO_RIM_COLOUR = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class MapDirections:
    """How a surface is unrolled: from above the shaft, by one side, round below.

    Attributes
    ----------
    column : int
        Angle that looks up.
    forwards : int
        1 or -1: direction in which the angles go to the patient's left.
    """

    column: int
    forwards: int

    @classmethod
    def of(
        cls, axis: ScrewAxis, superior: FloatArray, left: FloatArray
    ) -> "MapDirections":
        """Directions for a shaft, from those of its vertebra in the same scan."""
        first, second = axis.cross_vectors()
        up = np.arctan2(superior @ second, superior @ first)
        across = -np.sin(up) * first + np.cos(up) * second
        column = int(np.rint(up * ANGLES / (2.0 * np.pi))) % ANGLES
        return cls(column, 1 if across @ left >= 0.0 else -1)

    def columns(self) -> npt.NDArray[np.int_]:
        """Angles in the order of the picture: down, left, up, right, down."""
        steps = np.arange(-ANGLES // 2, ANGLES // 2)
        return np.asarray((self.column - self.forwards * steps) % ANGLES)


WORDS = ("down", "left", "up", "right", "down")
"""What the edges, quarters and the middle of a map look at."""


def map_rgb(surface: LucencyMap, directions: MapDirections) -> npt.NDArray[np.float64]:
    """Colours of a surface, shape (planes, angles, 3)."""
    from matplotlib import colormaps

    order = directions.columns()
    state, width = surface.state[:, order], surface.width_mm[:, order]
    rgb = np.zeros((*state.shape, 3))
    rgb[state == CellState.OUTSIDE] = OUTSIDE_COLOUR
    rgb[state == CellState.HIDDEN] = HIDDEN_COLOUR
    rgb[state == CellState.CEMENT] = CEMENT_COLOUR
    seen = state == CellState.SEEN
    rgb[seen] = NO_RIM_COLOUR
    rim = seen & (width > 0.0)
    colours = colormaps[COLOUR_MAP](0.25 + 0.75 * np.clip(width / WIDEST_MM, 0.0, 1.0))
    rgb[rim] = colours[rim][:, :3]
    return rgb


def draw_map(axes: Any, surface: LucencyMap, directions: MapDirections) -> None:
    """Draw a surface on axes of matplotlib."""
    t = surface.t_mm
    axes.imshow(
        map_rgb(surface, directions),
        extent=(-180.0, 180.0, float(t[-1]) + 0.25, float(t[0]) - 0.25),
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_xticks([-180, -90, 0, 90, 180], WORDS)
    body = np.flatnonzero(surface.in_body)
    if body.size and body[0] > 0:
        axes.axhline(float(t[body[0]]), color="white", lw=0.8, ls=":")
