"""The three planes of the review, and what every view of one can do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from qtpy.QtWidgets import QWidget

from napari_cemscope.layers import LayerData
from napari_cemscope.view_space import Point

STILL_PX = 3
"""A press that moves less than this is a click."""

ZOOM_STEP = 1.15
"""One notch of the wheel with Shift."""


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
        Order of the axes; the last two are shown (vertical, horizontal).
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

Stroke = Callable[[list[np.ndarray]], None]
"""Takes the screen positions (z, y, x) that the brush went through."""


@dataclass(frozen=True, slots=True)
class BrushTip:
    """The brush in the hand.

    Attributes
    ----------
    colour : str
        Of its trace.
    radius_mm : callable
        Tells its radius; it may change while the brush is held.
    done : callable
        Takes the way of each stroke.
    """

    colour: str
    radius_mm: Callable[[], float]
    done: Stroke


class PlaneView(Protocol):
    """What the linked views need of each other."""

    plane: Plane

    @property
    def canvas(self) -> QWidget | None:
        """What the picture is drawn on."""

    def show_layers(self, layers: list[LayerData]) -> None:
        """Show layers; their arrays are shared, never copied."""

    def move_to(self, point: Point, centre: bool) -> None:
        """Show the slice through a point; also in the middle, if asked."""

    def draw_crosshair(self) -> None:
        """Draw the crosshair at the point."""

    def show_crosshair(self, visible: bool) -> None:
        """Show or hide the crosshair."""

    def zoom_to(self, height_mm: float) -> None:
        """Show so many millimetres from the top to the bottom."""

    def set_window(self, limits_hu: tuple[float, float]) -> None:
        """Choose the grey scale."""

    def set_visible(self, name: str, visible: bool) -> None:
        """Show or hide a layer."""

    def refresh(self) -> None:
        """Draw the label maps anew after they have changed."""

    def hold(self, tip: BrushTip | None) -> None:
        """Take a brush into the hand; None puts it down."""

    def close(self) -> object:
        """Let go of everything."""
