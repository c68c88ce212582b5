"""Draw views with matplotlib, without its global state."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import ndimage

from cemscope_pipelines.pictures.view import (
    CEMENT,
    LEAKED,
    OTHER_METAL,
    SCREW,
    PictureView,
)

MATERIAL_COLOURS: dict[int, tuple[float, float, float]] = {
    CEMENT: (1.00, 0.60, 0.05),
    LEAKED: (1.00, 0.10, 0.50),
    SCREW: (0.15, 0.75, 1.00),
    OTHER_METAL: (0.45, 0.45, 1.00),
}
"""Orange, magenta and blues stay apart for readers with colour vision deficiency."""

MATERIAL_NAMES: dict[int, str] = {
    CEMENT: "cement in the vertebra",
    LEAKED: "leaked cement",
    SCREW: "screw",
    OTHER_METAL: "other metal",
}

DRAWING_ORDER = (OTHER_METAL, SCREW, CEMENT, LEAKED)
"""Later ones lie on top: a leak must never hide behind a screw."""

OUTLINE_COLOUR = (0.55, 1.00, 0.60)
CANAL_COLOUR = (1.00, 0.95, 0.55)
BACKGROUND = "black"
FILL_OPACITY = 0.35
TINT = 0.6
"""How far the grey picture under a material takes its colour."""

FULL_OPACITY_MM = 1.5
"""Material thinner than this along the view is drawn fainter."""

TITLE_PX = 30.0
"""Height of the title above a view."""

_STROKE = [patheffects.withStroke(linewidth=2.5, foreground="black")]


def new_figure(width_px: int, height_px: int, dpi: int = 100) -> Figure:
    """Black figure of a given size, bound to the Agg canvas."""
    figure = Figure(figsize=(width_px / dpi, height_px / dpi), dpi=dpi)
    figure.patch.set_facecolor(BACKGROUND)
    FigureCanvasAgg(figure)
    return figure


def composite_rgb(
    view: PictureView, window_hu: tuple[float, float]
) -> npt.NDArray[np.float32]:
    """Lay the materials over the grey picture; (rows, columns, 3), values 0 to 1."""
    low, high = window_hu
    grey = np.clip((view.grey_hu - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return lay_materials(grey, view.material_mm)


def lay_materials(
    grey: npt.NDArray[np.float32], material_mm: dict[int, npt.NDArray[np.float32]]
) -> npt.NDArray[np.float32]:
    """Colour a grey picture (0 to 1) where cement or metal is.

    The grey under a material is tinted, too: implants are white in the grey scale,
    and a colour that is only mixed with white would look pale.
    """
    rgb = np.repeat(grey[..., None], 3, axis=2)
    for label in DRAWING_ORDER:
        thickness = material_mm.get(label)
        if thickness is None:
            continue
        shown = thickness > 0.0
        colour = np.array(MATERIAL_COLOURS[label], np.float32)
        strength = np.clip(thickness[shown] / FULL_OPACITY_MM, 0.0, 1.0)[:, None]
        opacity = FILL_OPACITY * (0.4 + 0.6 * strength)
        tint = 1.0 - TINT * (1.0 - colour)
        under = grey[shown][:, None]  # only the topmost material colours a pixel
        rgb[shown] = (1.0 - opacity) * under * tint + opacity * colour
    return rgb


def _contour(
    axes: Any,
    mask: npt.NDArray[np.bool_],
    colour: tuple[float, float, float],
    width: float,
    smoothing_px: float,
) -> None:
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), smoothing_px)
    if smooth.max() > 0.5:
        axes.contour(smooth, levels=[0.5], colors=[colour], linewidths=width)


def _scale_bar(axes: Any, view: PictureView, font_pt: float) -> None:
    length_mm = 50.0 if view.long else 20.0
    rows, columns = view.plane.shape
    length = length_mm / view.plane.pixel_mm
    right, bottom = columns * 0.97, rows - columns * 0.03
    axes.plot([right - length, right], [bottom, bottom], color="white", lw=2.5,
              path_effects=_STROKE)  # fmt: skip
    axes.text(right - length / 2, bottom - columns * 0.012, f"{length_mm:.0f} mm",
              color="white", ha="center", va="bottom", fontsize=font_pt,
              path_effects=_STROKE)  # fmt: skip


def _orientation_marks(axes: Any, view: PictureView, font_pt: float) -> None:
    plane = view.plane
    for x, y, mark, across, up in (
        (0.012, 0.5, plane.left_mark, "left", "center"),
        (0.988, 0.5, plane.right_mark, "right", "center"),
        (0.5, 0.99, plane.top_mark, "center", "top"),
        (0.5, 0.008, plane.bottom_mark, "center", "bottom"),
    ):
        axes.text(x, y, mark, transform=axes.transAxes, color="#ffe066", ha=across,
                  va=up, fontsize=font_pt * 1.15, fontweight="bold",
                  path_effects=_STROKE)  # fmt: skip


def draw_view(
    figure: Figure,
    box_px: tuple[float, float, float, float],
    view: PictureView,
    window_hu: tuple[float, float],
    font_pt: float = 13.0,
) -> None:
    """Draw a view into a part of a figure, its title above it.

    Parameters
    ----------
    box_px
        Left, top, width and height of the image in pixels, from the figure's left
        upper corner; its aspect should be that of the view. The title stands in the
        `TITLE_PX` pixels above.
    window_hu
        Black and white end of the grey scale.
    font_pt
        Font size in points.
    """
    width_px, height_px = figure.get_size_inches() * figure.dpi
    left, top, wide, tall = box_px
    axes = figure.add_axes(
        (
            left / width_px,
            1.0 - (top + tall) / height_px,
            wide / width_px,
            tall / height_px,
        )
    )
    axes.set_axis_off()
    axes.imshow(composite_rgb(view, window_hu), interpolation="bilinear")
    for mask in view.outlines.values():
        _contour(axes, mask, OUTLINE_COLOUR, 0.9, 1.0 / view.plane.pixel_mm)
    if view.canal is not None and view.canal.any():
        _contour(axes, view.canal, CANAL_COLOUR, 0.9, 0.7 / view.plane.pixel_mm)
    for label in DRAWING_ORDER:
        thickness = view.material_mm.get(label)
        if thickness is not None and thickness.any():
            _contour(axes, thickness > 0, MATERIAL_COLOURS[label], 1.3, 0.7)
    rows, columns = view.plane.shape
    for text in view.texts:
        row, _ = view.plane.pixel_of(text.point_lps_mm)
        axes.text(columns * 0.055, row, text.text, color="white", ha="left",
                  va="center", fontsize=font_pt * 1.15, fontweight="bold",
                  path_effects=_STROKE)  # fmt: skip
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    _orientation_marks(axes, view, font_pt)
    _scale_bar(axes, view, font_pt * 0.9)
    baseline = 1.0 - (top - TITLE_PX * 0.3) / height_px
    title = figure.text(left / width_px, baseline, view.title, color="white",
                        va="baseline", fontsize=font_pt * 1.1,
                        fontweight="bold")  # fmt: skip
    title_px = title.get_window_extent().width
    figure.text((left + title_px + 12) / width_px, baseline, view.caption,
                color="#d0d0d0", va="baseline", fontsize=font_pt * 0.85)  # fmt: skip


def draw_legend(
    figure: Figure,
    corner_px: tuple[float, float],
    shown: tuple[int, ...],
    font_pt: float = 12.0,
) -> None:
    """Write the colour key in a row from its left end and middle height."""
    width_px, height_px = figure.get_size_inches() * figure.dpi
    left, middle = corner_px
    entries = [(MATERIAL_COLOURS[m], MATERIAL_NAMES[m]) for m in shown]
    entries.append((OUTLINE_COLOUR, "vertebral body"))
    entries.append((CANAL_COLOUR, "spinal canal"))
    y = 1.0 - middle / height_px
    for colour, name in entries:
        figure.text(left / width_px, y, "\N{BLACK SQUARE}", color=colour,
                    fontsize=font_pt * 1.4, va="center")  # fmt: skip
        word = figure.text((left + 24.0) / width_px, y, name, color="white",
                           fontsize=font_pt, va="center")  # fmt: skip
        left += 24.0 + word.get_window_extent().width + 26.0


def draw_lines(
    figure: Figure,
    corner_px: tuple[float, float],
    lines: tuple[str, ...],
    font_pt: float = 12.0,
) -> None:
    """Write lines of fixed-width text from their left upper corner."""
    width_px, height_px = figure.get_size_inches() * figure.dpi
    figure.text(corner_px[0] / width_px, 1.0 - corner_px[1] / height_px,
                "\n".join(lines), color="white", family="monospace", va="top",
                fontsize=font_pt, linespacing=1.35)  # fmt: skip
