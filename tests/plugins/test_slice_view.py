"""The planes beside napari's canvas: where voxels are drawn, what the mouse does."""

import os
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.utils import DirectLabelColormap
from qtpy.QtCore import QPoint, QPointF, Qt

from cemscope.geometry import VoxelGeometry
from cemscope.volume import CTVolume
from napari_cemscope.layers import LayerData, ct_layer
from napari_cemscope.plane import AXIAL, CORONAL, SAGITTAL, BrushTip, Plane
from napari_cemscope.slice_image import grey_table, outline_of
from napari_cemscope.slice_view import SliceView
from napari_cemscope.view_space import ViewSpace

needs_display = pytest.mark.skipif(
    sys.platform == "linux" and not os.environ.get("DISPLAY"),
    reason="needs a display: run scripts/with_display.sh, or install xvfb first",
)

FEET_FIRST = ((0, 0, 1), (0, 1, 0), (1, 0, 0))
HEAD_FIRST = ((0, 0, -1), (0, -1, 0), (-1, 0, 0))


def space_of(directions: Any) -> ViewSpace:
    return ViewSpace.of(
        VoxelGeometry.from_axes(
            (20, 30, 40), (2.0, 1.0, 0.8), (5.0, -7.0, 90.0), directions
        )
    )


def layers_with(space: ViewSpace, point: tuple[float, float, float]) -> list[LayerData]:
    """A dark scan with one bright voxel, which is labelled 3, at a patient point."""
    hu = np.full(space.geometry.shape, -1000, np.int16)
    labels = np.zeros(space.geometry.shape, np.uint8)
    index = space.voxel(space.to_screen(point))
    assert index is not None
    hu[index], labels[index] = 3000, 3
    red = np.array([1.0, 0.0, 0.0, 1.0], np.float32)
    keywords = {
        "name": "cement",
        "colormap": DirectLabelColormap(color_dict={None: np.zeros(4), 3: red}),
        "opacity": 1.0,
    }
    return [
        ct_layer(CTVolume(hu, space.geometry)),
        (space.view(labels), keywords, "labels"),
    ]


@pytest.mark.gui
@needs_display
@pytest.mark.parametrize("plane", [SAGITTAL, CORONAL, AXIAL], ids=lambda p: p.name)
@pytest.mark.parametrize("directions", [FEET_FIRST, HEAD_FIRST], ids=["feet", "head"])
def test_a_voxel_is_drawn_where_it_lies_in_the_patient(
    qtbot: Any, plane: Plane, directions: Any
) -> None:
    space = space_of(directions)
    middle = space.geometry.index_to_lps((10, 15, 20))
    point = (float(middle[0]), float(middle[1]), float(middle[2]))
    view = SliceView(plane, space)
    qtbot.addWidget(view)
    view.resize(300, 280)
    view.show_layers(layers_with(space, point))
    view.zoom_to(40.0)
    screen = space.to_screen(point)
    aside = (screen[0] - 6.0, screen[1] + 5.0, screen[2] - 4.0)
    view.move_to(aside, centre=True)  # the middle of the view lies beside the voxel
    view.move_to(screen, centre=False)
    view.show_crosshair(False)
    image = view.grab().toImage()
    ratio = image.width() / view.width()
    at = view.to_pixel(screen)
    colour = image.pixelColor(round(at.x() * ratio), round(at.y() * ratio))
    assert (colour.red(), colour.green()) == (255, 0)
    red = [
        (x, y)
        for y in range(0, image.height(), 3)
        for x in range(0, image.width(), 3)
        if image.pixelColor(x, y).red() > 200 and image.pixelColor(x, y).green() < 50
    ]
    shown = np.mean(red, axis=0) / ratio
    np.testing.assert_allclose(shown, (at.x(), at.y()), atol=3.0)
    # Head up in the upright planes, front up in the axial one; patient's left right.
    _, vertical, horizontal = plane.order
    assert (at.y() < 140) == ((screen[vertical] > aside[vertical]) == plane.up)
    assert (at.x() > 150) == (screen[horizontal] > aside[horizontal])


@pytest.mark.gui
@needs_display
def test_pixels_and_positions_lead_there_and_back(qtbot: Any) -> None:
    view = SliceView(SAGITTAL, space_of(FEET_FIRST))
    qtbot.addWidget(view)
    view.resize(320, 200)
    view.move_to((100.0, 3.0, 11.0), centre=True)
    for x, y in ((0, 0), (17, 93), (320, 200)):
        again = view.to_pixel(view.to_screen(QPointF(x, y)))
        np.testing.assert_allclose((again.x(), again.y()), (x, y), atol=1e-6)
    assert view.to_screen(QPointF(4, 5))[SAGITTAL.axis] == 11.0


@pytest.mark.gui
@needs_display
def test_the_mouse_clicks_pans_and_paints(qtbot: Any) -> None:
    space = space_of(FEET_FIRST)
    view = SliceView(CORONAL, space)
    qtbot.addWidget(view)
    view.resize(300, 300)
    view.show_layers(layers_with(space, (10.0, 0.0, 100.0)))
    view.move_to((110.0, 4.0, 20.0), centre=True)
    view.zoom_to(100.0)
    view.show()
    clicked: list[Any] = []
    view.clicked.connect(clicked.append)
    left = Qt.MouseButton.LeftButton
    qtbot.mouseClick(view, left, pos=QPoint(180, 120))
    np.testing.assert_allclose(clicked, [(120.0, 4.0, 30.0)], atol=0.2)
    # A drag moves the picture and is no click.
    qtbot.mousePress(view, left, pos=QPoint(100, 100))
    qtbot.mouseMove(view, QPoint(130, 100))
    qtbot.mouseMove(view, QPoint(160, 100))
    qtbot.mouseRelease(view, left, pos=QPoint(160, 100))
    assert len(clicked) == 1
    np.testing.assert_allclose(
        view.to_screen(QPointF(210, 150)), (110.0, 4.0, 20.0), atol=0.5
    )
    # With a brush it paints.
    strokes: list[list[np.ndarray]] = []
    view.hold(BrushTip("#FF990D", lambda: 2.0, strokes.append))
    start = view.to_screen(QPointF(100, 100))
    qtbot.mousePress(view, left, pos=QPoint(100, 100))
    qtbot.mouseMove(view, QPoint(120, 110))
    qtbot.mouseRelease(view, left, pos=QPoint(120, 110))
    view.hold(None)
    (way,) = strokes
    np.testing.assert_allclose(way[0], start, atol=1e-6)
    assert len(way) >= 2
    assert len(clicked) == 1
    qtbot.mouseClick(view, left, pos=QPoint(50, 60))
    assert len(clicked) == 2


@pytest.mark.gui
@needs_display
def test_painting_a_thousand_times_costs_python_nothing(qtbot: Any) -> None:
    """PySide 6.12.0 loses a reference of None at each event: a window would abort."""
    view = SliceView(CORONAL, space_of(FEET_FIRST))
    qtbot.addWidget(view)
    view.show()
    before = sys.getrefcount(None)
    for _ in range(1000):
        view.repaint()
    assert sys.getrefcount(None) - before > -500


@given(st.integers(-32768, 32767), st.floats(-500, 500), st.floats(1, 4000))
def test_grey_values_follow_the_window(hu: int, low: float, width: float) -> None:
    table = grey_table((low, low + width))
    grey = int(table[np.array([hu], np.int16).view(np.uint16)][0])
    expected = np.clip((hu - low) / width * 255.0, 0.0, 255.0)
    assert abs(grey - expected) <= 1.0


def test_an_outline_is_one_pixel_wide_within_the_label() -> None:
    labels = np.zeros((9, 9), np.uint8)
    labels[2:7, 2:7] = 22
    labels[2:7, 5:7] = 23
    edge = outline_of(labels)
    inner = np.zeros((9, 9), bool)
    inner[3:6, 3] = True
    np.testing.assert_array_equal(edge, (labels > 0) & ~inner)
    assert not outline_of(np.zeros((3, 3), np.uint8)).any()
