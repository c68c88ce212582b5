"""The picture to check first: levels, names and outlines along the whole spine."""

import textwrap
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope_pipelines.pictures.canvas import (
    CHARACTER_SHARE,
    SOFT_COLOUR,
    TEXT_PT,
    Canvas,
    px_of,
)
from cemscope_pipelines.pictures.composition import CaseImages
from cemscope_pipelines.pictures.edge_support import EdgeSupport, edge_supports
from cemscope_pipelines.pictures.level_marks import (
    DOUBT_COLOUR,
    UNSURE_COLOUR,
    Colour,
    LevelMark,
    mark_levels,
)
from cemscope_pipelines.pictures.level_measures import (
    DiscGap,
    LevelMeasure,
    measure_gaps,
    measure_levels,
)
from cemscope_pipelines.pictures.level_strip import STRIP_PX, draw_strip
from cemscope_pipelines.pictures.picture_file import figure_rgb, small_png
from cemscope_pipelines.pictures.spine_drawing import (
    MARK_COLOUR,
    draw_gaps,
    draw_names,
    draw_orientation,
    draw_ruler,
    draw_spine_view,
    level_rows_px,
)
from cemscope_pipelines.pictures.spine_legend import draw_legend_line, spine_legend
from cemscope_pipelines.pictures.spine_views import SpineBoxes, SpineView, spine_views

MARGIN_PX, RULER_PX, GAP_PX = 10, 40, 14
TITLE_PX, LETTERS_PX = 24, 20
LINE_PX = 20
MAX_REMARK_LINES = 6
MIN_BODY_PX = 120
"""Height of the pictures' row at least, so that legend and strip have room."""

HINT = "Check the levels first: every line on the bone's edge, one name per vertebra"
NAMED_HINT = ", T12 with the lowest ribs, S1 (white) on the sacrum"
"""Stands above the pictures."""


@dataclass(frozen=True, slots=True)
class SpinePicture:
    """The picture and what to write around it.

    Attributes
    ----------
    png : bytes
        At most about 400 kB.
    width_px, height_px : int
        Its size.
    alternative_text : str
        What it shows, for readers who cannot see it.
    remarks : tuple of str
        What to look at: doubtful outlines, bodies unlike their neighbours, gaps.
    """

    png: bytes
    width_px: int
    height_px: int
    alternative_text: str
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SpineContent:
    """Everything that the picture shows.

    Attributes
    ----------
    views : tuple of SpineView
        Pictures from left to right.
    edges : tuple of dict of str to EdgeSupport
        How the outlines of each picture lie on bone.
    marks, measures
        One per vertebra, from the lowest to the highest.
    gaps : tuple of DiscGap
        Between neighbours.
    centres_lps_mm : dict of str to ndarray
        Centre of each body.
    materials : tuple of int
        Which materials occur in the pictures.
    """

    views: tuple[SpineView, ...]
    edges: tuple[dict[str, EdgeSupport], ...]
    marks: tuple[LevelMark, ...]
    measures: tuple[LevelMeasure, ...]
    gaps: tuple[DiscGap, ...]
    centres_lps_mm: dict[str, npt.NDArray[np.float64]]
    materials: tuple[int, ...]

    @classmethod
    def of(cls, images: CaseImages) -> "SpineContent":
        """Measure and sample a case.

        Raises
        ------
        ValueError
            If the spine holds no vertebra.
        """
        spine, settings = images.spine, images.settings
        boxes = SpineBoxes.of(spine)
        measures = measure_levels(spine, boxes.labels, settings.unlike_share)
        views = spine_views(images, boxes)
        edges = tuple(edge_supports(view) for view in views)
        without: dict[str, float] = {}
        for found in edges:
            for level, support in found.items():
                without[level] = max(without.get(level, 0.0), support.share_without)
        met = {m for v in views for m, mm in v.material_mm.items() if bool(mm.any())}
        return cls(
            views,
            edges,
            mark_levels(spine, boxes.labels, measures, without, settings.unsure_below),
            measures,
            measure_gaps(spine),
            {v.level.name: v.centroid_lps_mm for v in spine.vertebrae},
            tuple(sorted(met)),
        )

    def runs_without_edge(
        self, edges: dict[str, EdgeSupport]
    ) -> tuple[npt.NDArray[np.float64], ...]:
        """Stretches of outlines to be drawn apart; the sacrum has no lower edge."""
        return tuple(
            run for level, found in edges.items() if level != "S1" for run in found.runs
        )

    def remarks(self) -> tuple[tuple[str, Colour], ...]:
        """Sentences about what should be looked at, each with its colour."""
        found: list[tuple[str, Colour]] = []
        for mark, measure in zip(self.marks, self.measures, strict=True):
            found += [(reason, DOUBT_COLOUR) for reason in mark.doubts]
            if measure.smaller:
                what = ", ".join(measure.smaller)
                found.append((
                    f"{mark.level}: smaller than its neighbours ({what}): collapsed, "
                    "or only part of it outlined?", UNSURE_COLOUR,
                ))  # fmt: skip
        for gap in self.gaps:
            if gap.unlike:
                why = "a vertebra missed?" if gap.gap_mm > 3.0 else "the outlines touch"
                found.append((
                    f"{gap.upper}-{gap.lower}: gap of {gap.gap_mm:.0f} mm: {why}",
                    DOUBT_COLOUR,
                ))  # fmt: skip
        unsure = [mark.level for mark in self.marks if mark.unsure]
        if unsure:
            found.append((
                f"{', '.join(reversed(unsure))}: the names are not sure; name one "
                "vertebra with --anchor", UNSURE_COLOUR,
            ))  # fmt: skip
        return tuple(found)


def alternative_text(content: SpineContent) -> str:
    """Describe the picture in words."""
    levels = []
    for mark in reversed(content.marks):
        notes = mark.text.split("\n")[1:]
        notes += ["name not sure"] if mark.unsure else []
        notes += ["outline doubtful"] if mark.doubts else []
        levels.append(mark.level + (f" ({', '.join(notes)})" if notes else ""))
    titles = "; ".join(view.title for view in content.views)
    return (
        f"Curved pictures along the spine ({titles}), the head on top, with outlines "
        f"and names. From the head: {', '.join(levels)}."
    )


def _remark_lines(
    remarks: tuple[tuple[str, Colour], ...], width_px: float
) -> list[tuple[str, Colour]]:
    """Wrap the remarks; too many are counted."""
    fit = int(width_px / (px_of(TEXT_PT) * CHARACTER_SHARE))
    lines: list[tuple[str, Colour]] = []
    for words, colour in remarks:
        wrapped = textwrap.wrap(words, fit, max_lines=2, placeholder=" ...")
        lines += [(line, colour) for line in wrapped]
    if len(lines) > MAX_REMARK_LINES:
        more = f"... and {len(lines) - MAX_REMARK_LINES + 1} more lines in the report"
        lines = [*lines[: MAX_REMARK_LINES - 1], (more, SOFT_COLOUR)]
    return lines


def draw_spine(content: SpineContent) -> Canvas:
    """Lay out and draw the whole picture."""
    rows = [level_rows_px(view, content.centres_lps_mm) for view in content.views]
    middles = [float(np.mean(list(r.values()))) for r in rows]
    # The levels of all pictures stand at about the same height.
    tops = [max(middles) - middle for middle in middles]
    ends = [
        top + view.plane.shape[0] for top, view in zip(tops, content.views, strict=True)
    ]
    tall = max(*ends, MIN_BODY_PX)
    wide = sum(view.plane.shape[1] + GAP_PX for view in content.views)
    width = MARGIN_PX + RULER_PX + wide + STRIP_PX + MARGIN_PX
    remarks = _remark_lines(content.remarks(), width - 2 * MARGIN_PX)
    legend = spine_legend(content.materials, width - 2 * MARGIN_PX)
    above = MARGIN_PX + 2 * TITLE_PX + LETTERS_PX
    below = LETTERS_PX + MARGIN_PX + (len(remarks) + len(legend)) * LINE_PX + MARGIN_PX
    canvas = Canvas.of_size(int(width), int(np.ceil(above + tall + below)))
    left = float(MARGIN_PX + RULER_PX)
    named = any(not mark.level.startswith("V") for mark in content.marks)
    hint = HINT + NAMED_HINT * named
    canvas.text((MARGIN_PX, MARGIN_PX + TITLE_PX / 2.0), hint, MARK_COLOUR)
    last_rows: dict[str, float] = {}
    for view, edges, top, in_view in zip(
        content.views, content.edges, tops, rows, strict=True
    ):
        corner = (left, float(above + round(top)))
        draw_spine_view(
            canvas, corner, view, content.marks, content.runs_without_edge(edges)
        )
        draw_names(canvas, corner, view, content.marks, in_view)
        draw_orientation(canvas, corner, view, LETTERS_PX / 2.0)
        canvas.text((left, MARGIN_PX + 1.5 * TITLE_PX), view.title,
                    points=11.5, bold=True)  # fmt: skip
        if view is content.views[0]:
            draw_ruler(canvas, corner, view)
            draw_gaps(canvas, corner, view, content.gaps)
        last_rows = {level: corner[1] + row for level, row in in_view.items()}
        left += view.plane.shape[1] + GAP_PX
    draw_strip(
        canvas, left, (above, above + tall),
        tuple(
            (mark, measure, last_rows[mark.level])
            for mark, measure in zip(content.marks, content.measures, strict=True)
        ),
        content.gaps,
    )  # fmt: skip
    y = above + tall + LETTERS_PX + MARGIN_PX + LINE_PX / 2.0
    for words, colour in remarks:
        canvas.text((MARGIN_PX, y), words, colour, bold=False)
        y += LINE_PX
    for line in legend:
        draw_legend_line(canvas, (MARGIN_PX, y), line)
        y += LINE_PX
    return canvas


def render_spine_picture(images: CaseImages) -> SpinePicture:
    """Make the picture of a case that is to be checked before any number.

    Raises
    ------
    ValueError
        If the spine holds no vertebra.
    """
    content = SpineContent.of(images)
    canvas = draw_spine(content)
    rgb = figure_rgb(canvas.figure)
    return SpinePicture(
        small_png(rgb),
        rgb.shape[1],
        rgb.shape[0],
        alternative_text(content),
        tuple(words for words, _ in content.remarks()),
    )
