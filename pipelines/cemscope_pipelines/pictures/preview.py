"""Draw the pictures of a case as PNG."""

from dataclasses import dataclass

from matplotlib.figure import Figure

from cemscope_pipelines.pictures.composition import (
    CaseImages,
    axial_view,
    leak_view,
    long_views,
    shown_ml,
    worst_axial_view,
)
from cemscope_pipelines.pictures.drawing import (
    TITLE_PX,
    draw_legend,
    draw_lines,
    draw_view,
    new_figure,
)
from cemscope_pipelines.pictures.picture_file import MAX_BYTES, figure_rgb, small_png
from cemscope_pipelines.pictures.view import MATERIALS, PictureView

MAX_HEIGHT_PX = 1000
MAX_WIDTH_PX = 1900
AXIAL_SHARE = 0.74
"""Side of the axial view against the height of the long ones; the table is below."""

AXIAL_PX, AXIAL_MAX_BYTES = 560, 120_000
FOOTER_PX = 40
GAP_PX = 10
DPI = 100


def _png(figure: Figure, max_bytes: int = MAX_BYTES) -> bytes:
    return small_png(figure_rgb(figure), max_bytes)


def table_lines(images: CaseImages) -> tuple[str, ...]:
    """Cement per augmented level, as written below the axial view."""
    by_level = {c.level: c for c in images.cement}
    confidence = {v.level.name: v.level_confidence for v in images.spine.vertebrae}
    lines = ["level  cement mL  95 % interval   leaked"]
    for level in images.augmented_levels:
        c = by_level[level]
        unsure = "  level unsure" if confidence[level] < UNSURE_LEVEL else ""
        lines.append(
            f"{level:<5}  {shown_ml(c.volume_ml):>9}  "
            f"{shown_ml(c.interval.low_ml):>5} - {shown_ml(c.interval.high_ml):>5}  "
            f"{shown_ml(c.leaked_ml):>7}{unsure}"
        )
    if len(lines) == 1:
        lines = ["no cement found"]
    vertebrae = reversed(images.spine.vertebrae)
    left_out = [v.level.name for v in vertebrae if v.level.name not in by_level]
    if left_out:
        lines.append(f"not assessed: {', '.join(left_out)}")
    return tuple(lines)


UNSURE_LEVEL = 0.5
"""Below this confidence a level's name carries a remark."""


def render_preview(images: CaseImages) -> bytes:
    """Coronal and sagittal slabs and the worst axial view, side by side.

    Returns
    -------
    bytes
        A PNG of at most 1000 x 1900 pixels, the numbers written in.
    """
    views = (*long_views(images), worst_axial_view(images))
    aspects = [v.plane.width_mm / v.plane.height_mm for v in views]
    lines = table_lines(images)
    per_height = aspects[0] + aspects[1] + aspects[2] * AXIAL_SHARE
    height = min(MAX_HEIGHT_PX, round((MAX_WIDTH_PX - 4 * GAP_PX) / per_height))
    tall = (height, height, round(height * AXIAL_SHARE))
    wide = [round(h * a) for h, a in zip(tall, aspects, strict=True)]
    figure = new_figure(
        sum(wide) + 4 * GAP_PX, height + round(TITLE_PX) + FOOTER_PX, DPI
    )
    left = GAP_PX
    for view, w, h in zip(views, wide, tall, strict=True):
        draw_view(figure, (left, TITLE_PX, w, h), view, images.settings.window_hu)
        left += w + GAP_PX
    below = height - tall[2] - 26
    font_pt = min(13.0, below / (len(lines) * 1.35) * 72 / DPI)
    draw_lines(
        figure, (left - wide[2] - GAP_PX + 6, TITLE_PX + tall[2] + 18), lines, font_pt
    )
    footer = TITLE_PX + height + FOOTER_PX / 2
    draw_legend(figure, (GAP_PX, footer), MATERIALS)
    width_px, height_px = figure.get_size_inches() * DPI
    figure.text(1.0 - GAP_PX / width_px, 1.0 - footer / height_px,
                "colours: projected through the whole depth (axial: slab only)  |  "
                "research software, not a medical device",
                color="#b0b0b0", ha="right", va="center", fontsize=10)  # fmt: skip
    return _png(figure)


def _render_square(view: PictureView, images: CaseImages) -> bytes:
    figure = new_figure(AXIAL_PX, AXIAL_PX + round(TITLE_PX), DPI)
    box = (0.0, TITLE_PX, AXIAL_PX, AXIAL_PX)
    draw_view(figure, box, view, images.settings.window_hu, font_pt=11.0)
    return _png(figure, AXIAL_MAX_BYTES)


def render_axial_views(images: CaseImages) -> tuple[tuple[str, bytes], ...]:
    """Axial PNGs: each augmented vertebra at most cement.

    Returns
    -------
    tuple of (str, bytes)
        Title and PNG, from the highest vertebra to the lowest.
    """
    levels = images.augmented_levels[: images.settings.max_axial_views]
    views = [axial_view(images, level) for level in levels]
    return tuple((view.title, _render_square(view, images)) for view in views)


@dataclass(frozen=True, slots=True)
class LeakPicture:
    """Axial picture of a leak.

    Attributes
    ----------
    leak_id : str
        Which.
    title : str
        Its type in short.
    png : bytes
        Centred on it.
    """

    leak_id: str
    title: str
    png: bytes


def render_leak_views(images: CaseImages) -> tuple[LeakPicture, ...]:
    """One axial picture per leak, from the highest vertebra to the lowest."""
    order = {v.level.name: k for k, v in enumerate(reversed(images.spine.vertebrae))}
    leaks = sorted(images.leaks, key=lambda leak: order.get(leak.level, len(order)))
    pictures = []
    for leak in leaks[: images.settings.max_leak_views]:
        view = leak_view(images, leak)
        if view is not None:
            png = _render_square(view, images)
            pictures.append(LeakPicture(leak.leak_id, view.title, png))
    return tuple(pictures)
