"""Key to the curved pictures along the spine."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from cemscope_pipelines.pictures.canvas import (
    CHARACTER_SHARE,
    SOFT_COLOUR,
    TEXT_COLOUR,
    TEXT_PT,
    Canvas,
    px_of,
)
from cemscope_pipelines.pictures.drawing import MATERIAL_COLOURS, MATERIAL_NAMES
from cemscope_pipelines.pictures.level_marks import (
    DOUBT_COLOUR,
    PINK,
    UNSURE_COLOUR,
    YELLOW,
    Colour,
)
from cemscope_pipelines.pictures.spine_drawing import BAR_COLOUR, CANAL_COLOUR

SIGN_PX, SIGN_GAP_PX, ENTRY_GAP_PX = 18.0, 7.0, 20.0


class Sign(Enum):
    """What stands before an entry."""

    LINE = "line"
    DASHES = "dashes"
    DOTS = "dots"
    FILL = "fill"
    STRIPES = "stripes"
    BEADS = "beads"
    TICK = "tick"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One sign and what it means."""

    sign: Sign
    colour: Colour
    words: str


def spine_legend(
    materials: tuple[int, ...], width_px: float
) -> tuple[tuple[LegendEntry, ...], ...]:
    """List what the signs mean, broken into lines of a width.

    Parameters
    ----------
    materials
        Labels of the materials that occur.
    """
    entries = [
        LegendEntry(Sign.LINE, YELLOW, "body (thin: arch)"),
        LegendEntry(Sign.DASHES, PINK, "not whole"),
        LegendEntry(Sign.DOTS, CANAL_COLOUR, "canal"),
        *(LegendEntry(Sign.FILL, MATERIAL_COLOURS[m], MATERIAL_NAMES[m])
          for m in materials),
        LegendEntry(Sign.STRIPES, DOUBT_COLOUR, "outline doubtful (!)"),
        LegendEntry(Sign.BEADS, DOUBT_COLOUR, "line without bone edge"),
        LegendEntry(Sign.NAME, UNSURE_COLOUR, "name not sure"),
        LegendEntry(Sign.TICK, TEXT_COLOUR, "expected by neighbours"),
    ]  # fmt: skip
    lines: list[list[LegendEntry]] = [[]]
    used = 0.0
    for entry in entries:
        wide = len(entry.words) * px_of(TEXT_PT) * CHARACTER_SHARE
        wide += SIGN_PX + SIGN_GAP_PX + ENTRY_GAP_PX
        if lines[-1] and used + wide > width_px:
            lines.append([])
            used = 0.0
        lines[-1].append(entry)
        used += wide
    return tuple(tuple(line) for line in lines)


def draw_legend_line(
    canvas: Canvas, at_px: tuple[float, float], entries: tuple[LegendEntry, ...]
) -> None:
    """Draw one line of the legend from its left end."""
    x, y = at_px
    for entry in entries:
        _draw_sign(canvas, (x, y), entry)
        x += SIGN_PX + SIGN_GAP_PX
        x += canvas.text((x, y), entry.words, SOFT_COLOUR) + ENTRY_GAP_PX


def _draw_sign(canvas: Canvas, at_px: tuple[float, float], entry: LegendEntry) -> None:
    x, y = at_px
    end, colour = x + SIGN_PX, entry.colour
    match entry.sign:
        case Sign.LINE:
            canvas.line((x, end), (y, y), colour, 2.5)
        case Sign.DASHES:
            canvas.line((x, x + 7.0), (y, y), colour, 2.5)
            canvas.line((end - 7.0, end), (y, y), colour, 2.5)
        case Sign.DOTS:
            canvas.dots((x, end), y, colour)
        case Sign.FILL:
            canvas.bar((x, y - 5.0, SIGN_PX, 10.0), colour)
        case Sign.STRIPES:
            for shift in (0.0, 7.0, 14.0):
                canvas.line((x + shift - 2.0, x + shift + 6.0), (y + 6.0, y - 6.0),
                            colour, 2.5)  # fmt: skip
        case Sign.BEADS:
            canvas.beads(np.linspace(x, end, 10), np.full(10, y), colour)
        case Sign.TICK:
            canvas.bar((x, y - 4.0, SIGN_PX - 5.0, 8.0), BAR_COLOUR)
            canvas.line((end - 2.0, end - 2.0), (y - 5.0, y + 5.0), colour, 1.5)
        case Sign.NAME:
            canvas.text((x + SIGN_PX / 2.0, y), "?", colour, 12.0, align="center",
                        bold=True)  # fmt: skip
