"""Draw the curved pictures along the spine, in pixels of the whole figure."""

from typing import Any

import numpy as np
import numpy.typing as npt

from cemscope_pipelines.pictures.canvas import (
    DPI,
    LINE_HEIGHT,
    SOFT_COLOUR,
    TEXT_COLOUR,
    Canvas,
    px_of,
)
from cemscope_pipelines.pictures.drawing import (
    DRAWING_ORDER,
    MATERIAL_COLOURS,
    lay_materials,
)
from cemscope_pipelines.pictures.level_marks import (
    DOUBT_COLOUR,
    Colour,
    LevelMark,
)
from cemscope_pipelines.pictures.level_measures import DiscGap
from cemscope_pipelines.pictures.spine_views import SpineView
from cemscope_pipelines.pictures.text_placing import spread

RgbImage = npt.NDArray[np.float32]

GREY_HU = (-200.0, 0.0, 100.0, 300.0, 700.0, 3000.0)
GREY_LEVEL = (0.0, 0.14, 0.26, 0.54, 0.80, 1.0)
"""Marrow and cortex fill most of the grey scale; cement and metal share a flat end of
it, so that metal stays brighter than cement: nothing below 3000 HU is cut off."""

BODY_TINT, HATCH_STRENGTH = 0.10, 0.75
"""How far a body, and the stripes of a doubtful one, take their colour."""

HATCH_PERIOD_PX, HATCH_PX = 9, 3
BODY_LINE_PX, ARCH_LINE_PX, THIN_LINE_PX = 1.8, 0.8, 0.9
CANAL_COLOUR: Colour = (0.85, 0.95, 1.00)
BAR_COLOUR: Colour = (0.55, 0.60, 0.66)
MARK_COLOUR: Colour = (1.00, 0.88, 0.40)

NAME_PT_RANGE = (10.0, 15.0)
NAME_GAP_PX, NAME_EDGE_PX, NAME_REACH_PX = 7.0, 4.0, 36
"""Between name and body; from the picture's edge; how far a name may move away."""


def spine_rgb(view: SpineView, marks: dict[str, LevelMark]) -> RgbImage:
    """Tint the bodies of a grey picture lightly and stripe the doubtful ones."""
    grey = np.interp(view.grey_hu, GREY_HU, GREY_LEVEL).astype(np.float32)
    rgb = lay_materials(grey, view.material_mm)
    rows, columns = np.indices(grey.shape)
    stripes = (rows + columns) % HATCH_PERIOD_PX < HATCH_PX
    for level, share in view.bodies.items():
        mark = marks[level]
        inside = share > 0.5
        _tint(rgb, inside, mark.colour, BODY_TINT)
        if mark.doubts:
            _tint(rgb, inside & stripes, DOUBT_COLOUR, HATCH_STRENGTH)
    return rgb


def _tint(
    rgb: RgbImage, where: npt.NDArray[np.bool_], colour: Colour, strength: float
) -> None:
    rgb[where] = (1.0 - strength) * rgb[where] + strength * np.array(colour, np.float32)


def _outline(
    canvas: Canvas,
    corner_px: tuple[float, float],
    share: npt.NDArray[np.float32],
    colour: Colour,
    width_px: float,
    style: Any = "solid",
) -> None:
    inside = share > 0.5
    if not inside.any():
        return
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    top, left = max(0, rows[0] - 2), max(0, columns[0] - 2)
    part = share[top : rows[-1] + 3, left : columns[-1] + 3]
    canvas.axes.contour(
        corner_px[0] + left + np.arange(part.shape[1]) + 0.5,
        corner_px[1] + top + np.arange(part.shape[0]) + 0.5,
        part, levels=[0.5], colors=[colour], zorder=3,
        linewidths=width_px * 72.0 / DPI, linestyles=[style],
    )  # fmt: skip


def draw_spine_view(
    canvas: Canvas,
    corner_px: tuple[float, float],
    view: SpineView,
    marks: tuple[LevelMark, ...],
    without_edge: tuple[npt.NDArray[np.float64], ...],
) -> None:
    """Draw picture and outlines with its left upper corner at a pixel.

    Parameters
    ----------
    without_edge
        Stretches of outlines without an edge of bone, (row, column) of their points.
    """
    by_level = {mark.level: mark for mark in marks}
    left, top = corner_px
    rows, columns = view.plane.shape
    canvas.axes.imshow(
        np.clip(spine_rgb(view, by_level), 0.0, 1.0), interpolation="nearest",
        extent=(left, left + columns, top + rows, top), aspect="auto", zorder=1,
    )  # fmt: skip
    width, height = (round(n) for n in canvas.figure.get_size_inches() * DPI)
    canvas.axes.set_xlim(0.0, width)
    canvas.axes.set_ylim(height, 0.0)
    if view.canal is not None:
        _outline(canvas, corner_px, view.canal, CANAL_COLOUR, THIN_LINE_PX,
                 (0, (1.5, 1.5)))  # fmt: skip
    for level, share in view.arches.items():
        _outline(canvas, corner_px, share, by_level[level].colour, ARCH_LINE_PX)
    for level, share in view.bodies.items():
        mark = by_level[level]
        colour = DOUBT_COLOUR if mark.doubts else mark.colour
        style = "solid" if mark.complete else (0, (4.0, 2.5))
        _outline(canvas, corner_px, share, colour, BODY_LINE_PX, style)
    for run in without_edge:
        canvas.beads(left + run[:, 1] + 0.5, top + run[:, 0] + 0.5, DOUBT_COLOUR)
    for label in DRAWING_ORDER:
        thickness = view.material_mm.get(label)
        if thickness is not None and thickness.any():
            inside = (thickness > 0).astype(np.float32)
            _outline(canvas, corner_px, inside, MATERIAL_COLOURS[label], THIN_LINE_PX)


def draw_orientation(
    canvas: Canvas, corner_px: tuple[float, float], view: SpineView, above_px: float
) -> None:
    """Write R, L, A, P, H and F around a picture, outside of it."""
    left, top = corner_px
    rows, columns = view.plane.shape
    y = top - above_px
    plane = view.plane
    for x, height, mark, align in (
        (left + 2.0, y, plane.left_mark, "left"),
        (left + columns - 2.0, y, plane.right_mark, "right"),
        (left + columns / 2.0, y, plane.top_mark, "center"),
        (left + columns / 2.0, top + rows + above_px, plane.bottom_mark, "center"),
    ):
        canvas.text((x, height), mark, MARK_COLOUR, 12.0, align=align, bold=True)


def draw_ruler(canvas: Canvas, corner_px: tuple[float, float], view: SpineView) -> None:
    """Ruler left of a picture, counted in mm from its top."""
    left, top = corner_px
    rows, pixel_mm = view.plane.shape[0], view.plane.pixel_mm
    x = left - 4.0
    canvas.line((x, x), (top, top + rows), SOFT_COLOUR, 1.0)
    for mark_mm in range(0, int(rows * pixel_mm) + 1, 10):
        y = top + mark_mm / pixel_mm
        long = mark_mm % 50 == 0
        canvas.line((x - (9.0 if long else 4.0), x), (y, y), SOFT_COLOUR, 1.0)
        if (long and y + 8.0 < top + rows) or mark_mm == 0:
            words = f"{mark_mm}" if mark_mm else "mm"
            canvas.text((x - 11.0, y), words, SOFT_COLOUR, 9.5, align="right")


def level_rows_px(
    view: SpineView, centres_lps_mm: dict[str, npt.NDArray[np.float64]]
) -> dict[str, float]:
    """Row of each level in a picture: its outline's centre, or its centre projected."""
    rows = {}
    for level, centre in centres_lps_mm.items():
        share = view.bodies.get(level)
        if share is None:
            rows[level] = view.plane.pixel_of(centre)[0] + 0.5
        else:
            rows[level] = float(np.argwhere(share > 0.5)[:, 0].mean()) + 0.5
    return rows


def draw_names(
    canvas: Canvas,
    corner_px: tuple[float, float],
    view: SpineView,
    marks: tuple[LevelMark, ...],
    rows_px: dict[str, float],
) -> None:
    """Write the names left of the bodies, or at the left edge where none is met."""
    wanted = np.array([rows_px[mark.level] for mark in marks])
    points = _name_points(wanted)
    taken = np.zeros(view.plane.shape, bool)
    for share in view.bodies.values():
        taken |= share > 0.5
    names = [_broken(canvas, mark, view, points) for mark in marks]
    sizes = [(_height_px(n, points), canvas.width_px(n, points)) for n in names]
    free = [
        _free_place(taken, view.bodies.get(mark.level), row, size)
        for mark, row, size in zip(marks, wanted, sizes, strict=True)
    ]
    limits = (0.0, float(len(taken)))
    rows = spread([row for row, _ in free], [tall for tall, _ in sizes], limits)
    left, top = corner_px
    for mark, name, row, (_, column) in zip(marks, names, rows, free, strict=True):
        canvas.text((left + column, top + row), name, mark.text_colour, points,
                    align="right" if column > NAME_EDGE_PX else "left",
                    bold=True)  # fmt: skip


def _broken(canvas: Canvas, mark: LevelMark, view: SpineView, points: float) -> str:
    """Write the name on one line where that fits left of the body."""
    single = mark.text.replace("\n", " ")
    own = view.bodies.get(mark.level)
    if own is None:
        return single
    first = float(np.flatnonzero((own > 0.5).any(axis=0))[0])
    room = first - NAME_GAP_PX - NAME_EDGE_PX
    return single if canvas.width_px(single, points) < room else mark.text


def _free_place(
    taken: npt.NDArray[np.bool_],
    own: npt.NDArray[np.float32] | None,
    row: float,
    size_px: tuple[float, float],
) -> tuple[float, float]:
    """Row near to a body's where its name covers no body; column of the name's end.

    The column is `NAME_EDGE_PX` where the name begins at the picture's left edge.
    """
    if own is None:
        return row, NAME_EDGE_PX
    tall, wide = size_px
    first = float(np.flatnonzero((own > 0.5).any(axis=0))[0])
    end = first - NAME_GAP_PX
    if end - wide < NAME_EDGE_PX:
        return row, NAME_EDGE_PX
    for moved in sorted(range(-NAME_REACH_PX, NAME_REACH_PX + 1, 3), key=abs):
        low, high = int(row + moved - tall / 2.0), int(row + moved + tall / 2.0)
        if low < 0 or high >= len(taken):
            continue
        bodies = np.flatnonzero(taken[low:high].any(axis=0))
        free_end = min(end, float(bodies[0]) - NAME_GAP_PX) if len(bodies) else end
        if free_end - wide > NAME_EDGE_PX and end - free_end < NAME_REACH_PX:
            return row + moved, free_end
    return row, end


def _name_points(rows: npt.NDArray[np.float64]) -> float:
    """Font size that fits the distance between the levels."""
    if len(rows) < 2:
        return NAME_PT_RANGE[1]
    distance_px = float(np.median(np.diff(np.sort(rows))))
    return float(np.clip(distance_px * 0.42 * 72.0 / DPI, *NAME_PT_RANGE))


def _height_px(words: str, points: float) -> float:
    return (words.count("\n") + 1) * px_of(points) * LINE_HEIGHT


def draw_gaps(
    canvas: Canvas,
    corner_px: tuple[float, float],
    view: SpineView,
    gaps: tuple[DiscGap, ...],
) -> None:
    """Draw a line from endplate to endplate, thick and red if it can be no disc."""
    left, top = corner_px
    for gap in gaps:
        low = view.plane.pixel_of(gap.from_lps_mm)
        high = view.plane.pixel_of(gap.to_lps_mm)
        xs = (left + low[1] + 0.5, left + high[1] + 0.5)
        ys = (top + low[0] + 0.5, top + high[0] + 0.5)
        colour, width = (DOUBT_COLOUR, 5.0) if gap.unlike else (TEXT_COLOUR, 1.2)
        canvas.line(xs, ys, colour, width)
