"""Strip beside the curved pictures: heights, volume and disc gap of each level."""

import numpy as np

from cemscope_pipelines.pictures.canvas import SOFT_COLOUR, TEXT_COLOUR, TEXT_PT, Canvas
from cemscope_pipelines.pictures.level_marks import (
    DOUBT_COLOUR,
    UNSURE_COLOUR,
    Colour,
    LevelMark,
)
from cemscope_pipelines.pictures.level_measures import (
    MEASURES,
    DiscGap,
    LevelMeasure,
)
from cemscope_pipelines.pictures.spine_drawing import BAR_COLOUR
from cemscope_pipelines.pictures.text_placing import spread

STRIP_PX = 344
ROW_PX = 36.0
"""Least distance between two levels."""

NAME_X, HEIGHT_X, HEIGHT_PX, HEIGHT_TEXT_X = 0.0, 60.0, 66.0, 130.0
VOLUME_X, VOLUME_PX, VOLUME_TEXT_X, GAP_X = 206.0, 50.0, 260.0, 316.0
"""Columns, from the left end of the strip; widths of the bars."""

BAR_TALL_PX, BAR_STEP_PX, VOLUME_BAR_PX = 7.0, 10.0, 14.0
FULL_HEIGHT_MM, FULL_VOLUME_ML = 35.0, 50.0
"""Ends of the bars, unless something is larger."""

EXPECTED_COLOUR: Colour = (1.0, 1.0, 1.0)


def _colour(measure: LevelMeasure, what: str, usual: Colour) -> Colour:
    if what in measure.larger:
        return DOUBT_COLOUR
    return UNSURE_COLOUR if what in measure.smaller else usual


def _scale(values: list[float], full: float, wide_px: float) -> float:
    """Pixels per unit, so that the longest bar fits."""
    return wide_px / max([full, *values])


def draw_strip(
    canvas: Canvas,
    left_px: float,
    limits_px: tuple[float, float],
    levels: tuple[tuple[LevelMark, LevelMeasure, float], ...],
    gaps: tuple[DiscGap, ...],
) -> None:
    """Draw one row per level.

    Parameters
    ----------
    left_px
        Left end of the strip.
    limits_px
        Top and bottom that its rows should keep to; the headings stand above.
    levels
        Mark, measure and wanted height (px) of each.
    gaps
        Disc gaps; their numbers stand between the rows.
    """
    head = limits_px[0] - 16.0
    for x, words in (
        (HEIGHT_X, "body height mm"),
        (VOLUME_X, "volume mL"),
        (GAP_X, "disc"),
    ):
        canvas.text((left_px + x, head - 14.0), words, TEXT_COLOUR, TEXT_PT)
    canvas.text(
        (left_px + HEIGHT_X, head + 2.0), "front / middle / back", SOFT_COLOUR, 9.5
    )
    canvas.text((left_px + GAP_X, head + 2.0), "mm", SOFT_COLOUR, 9.5)
    heights = [h for _, m, _ in levels if m.heights_mm for h in m.heights_mm]
    per_mm = _scale(heights, FULL_HEIGHT_MM, HEIGHT_PX)
    per_ml = _scale([m.volume_ml for _, m, _ in levels], FULL_VOLUME_ML, VOLUME_PX)
    placed = spread([y for *_, y in levels], np.full(len(levels), ROW_PX), limits_px)
    rows = {}
    for (mark, measure, _), y in zip(levels, placed, strict=True):
        rows[mark.level] = float(y)
        _draw_row(canvas, left_px, float(y), mark, measure, (per_mm, per_ml))
    for gap in gaps:
        y = (rows[gap.lower] + rows[gap.upper]) / 2.0
        words = f"{gap.gap_mm:.0f}" + (" !" if gap.unlike else "")
        colour = DOUBT_COLOUR if gap.unlike else TEXT_COLOUR
        canvas.text((left_px + GAP_X, y), words, colour, bold=gap.unlike)


def _draw_row(
    canvas: Canvas,
    left: float,
    y: float,
    mark: LevelMark,
    measure: LevelMeasure,
    scales: tuple[float, float],
) -> None:
    per_mm, per_ml = scales
    name = mark.text.split("\n")[0]
    canvas.text((left + NAME_X, y), name, mark.text_colour, 12.0, bold=True)
    usual = BAR_COLOUR
    found, expected = measure.heights_mm, measure.expected_heights_mm
    unlike = set(measure.smaller) | set(measure.larger)
    if unlike:
        sign = DOUBT_COLOUR if measure.larger else UNSURE_COLOUR
        canvas.text((left + HEIGHT_X - 8.0, y), "!", sign, 13.0, align="center",
                    bold=True)  # fmt: skip
    if found is None:
        canvas.text((left + HEIGHT_X, y), "not measured", SOFT_COLOUR)
    else:
        for k, (what, height) in enumerate(zip(MEASURES[:3], found, strict=True)):
            top = y + (k - 1) * BAR_STEP_PX - BAR_TALL_PX / 2.0
            x = left + HEIGHT_X
            colour = _colour(measure, what, usual)
            canvas.bar((x, top, height * per_mm, BAR_TALL_PX), colour)
            if expected is not None:
                _tick(canvas, x + expected[k] * per_mm, top, BAR_TALL_PX)
        words = "/".join(f"{h:.0f}" for h in found)
        wrong = [w for w in MEASURES[:3] if w in unlike]
        colour = _colour(measure, wrong[0], usual) if wrong else TEXT_COLOUR
        canvas.text((left + HEIGHT_TEXT_X, y), words, colour, bold=bool(wrong))
    x, top = left + VOLUME_X, y - VOLUME_BAR_PX / 2.0
    canvas.bar(
        (x, top, measure.volume_ml * per_ml, VOLUME_BAR_PX),
        _colour(measure, "volume", usual),
    )
    if measure.expected_volume_ml is not None:
        _tick(canvas, x + measure.expected_volume_ml * per_ml, top, VOLUME_BAR_PX)
    wrong_volume = "volume" in unlike
    canvas.text(
        (left + VOLUME_TEXT_X, y),
        f"{measure.volume_ml:.1f}",
        _colour(measure, "volume", TEXT_COLOUR), bold=wrong_volume,
    )  # fmt: skip


def _tick(canvas: Canvas, x: float, top: float, tall: float) -> None:
    """Mark on a bar what the neighbours let expect."""
    canvas.line((x, x), (top - 1.0, top + tall + 1.0), EXPECTED_COLOUR, 1.5)
