"""A figure that is drawn in pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib.figure import Figure

from cemscope_pipelines.pictures.drawing import new_figure
from cemscope_pipelines.pictures.level_marks import Colour

TEXT_COLOUR: Colour = (0.92, 0.92, 0.92)
SOFT_COLOUR: Colour = (0.70, 0.70, 0.70)

TEXT_PT = 10.5
LINE_HEIGHT = 1.25
"""Height of a line of text against its font size."""

CHARACTER_SHARE = 0.56
"""Mean width of a character against its font size."""

DPI = 100
_STROKE = [patheffects.withStroke(linewidth=3.0, foreground="black")]


def px_of(points: float) -> float:
    """Pixels of a font size in points."""
    return points * DPI / 72.0


@dataclass(frozen=True, slots=True)
class Canvas:
    """A black figure with pixel coordinates, the origin in the left upper corner.

    Attributes
    ----------
    figure : Figure
        Of matplotlib.
    axes : Axes
        Fills the figure.
    """

    figure: Figure
    axes: Any

    @classmethod
    def of_size(cls, width_px: int, height_px: int) -> "Canvas":
        """Make an empty canvas."""
        figure = new_figure(width_px, height_px, DPI)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.set_xlim(0.0, width_px)
        axes.set_ylim(height_px, 0.0)
        return cls(figure, axes)

    def text(
        self,
        at_px: tuple[float, float],
        words: str,
        colour: Colour = TEXT_COLOUR,
        points: float = TEXT_PT,
        *,
        align: str = "left",
        bold: bool = False,
    ) -> float:
        """Write words, centred on a height; returns their width in pixels."""
        written = self.axes.text(
            *at_px, words, color=colour, fontsize=points, ha=align, va="center",
            fontweight="bold" if bold else "normal", linespacing=1.05,
            path_effects=_STROKE, zorder=5,
        )  # fmt: skip
        return float(written.get_window_extent().width)

    def width_px(self, words: str, points: float) -> float:
        """Measure bold words without leaving them on the canvas."""
        written = self.axes.text(0.0, 0.0, words, fontsize=points, fontweight="bold")
        width = float(written.get_window_extent().width)
        written.remove()
        return width

    def line(
        self, xs: tuple[float, ...], ys: tuple[float, ...], colour: Colour, width: float
    ) -> None:
        """Draw a line through points; the width is in pixels."""
        self.axes.plot(xs, ys, color=colour, lw=width * 72.0 / DPI, zorder=4,
                       solid_capstyle="butt")  # fmt: skip

    def dots(self, xs: tuple[float, float], y: float, colour: Colour) -> None:
        """Draw a dotted line on a height."""
        self.axes.plot(xs, (y, y), color=colour, lw=1.2, ls=(0, (1.5, 1.5)), zorder=4)

    def beads(
        self,
        xs: npt.NDArray[np.float64],
        ys: npt.NDArray[np.float64],
        colour: Colour,
    ) -> None:
        """Draw a line of thick round dots."""
        self.axes.plot(xs, ys, color=colour, lw=4.0, ls=(0, (0.01, 1.9)), zorder=4,
                       dash_capstyle="round")  # fmt: skip

    def bar(self, box_px: tuple[float, float, float, float], colour: Colour) -> None:
        """Fill a box: left, top, width, height."""
        left, top, wide, tall = box_px
        self.axes.fill_between(
            [left, left + wide], top, top + tall, color=colour, lw=0, zorder=3
        )
