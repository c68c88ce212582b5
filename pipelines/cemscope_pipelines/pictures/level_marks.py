"""How each level is named, coloured and marked in the curved pictures."""

import re
from dataclasses import dataclass

import numpy as np

from cemscope.anatomy import VertebraLevel
from cemscope.spine import Spine, Vertebra
from cemscope.volume import Notice
from cemscope_pipelines.pictures.level_measures import Box, LevelMeasure

Colour = tuple[float, float, float]

YELLOW: Colour = (0.94, 0.89, 0.26)
PINK: Colour = (0.98, 0.66, 0.84)
GREEN: Colour = (0.13, 0.85, 0.60)
LAVENDER: Colour = (0.68, 0.62, 1.00)
WHITE: Colour = (0.96, 0.96, 0.96)
"""Lighter shades of Okabe and Ito's colours (Color Universal Design, 2008), which
readers with colour vision deficiency tell apart. Orange, blue and vermilion are left to
cement, screws and doubts."""

REGION_COLOURS: dict[str, tuple[Colour, ...]] = {
    "C": (YELLOW, PINK),
    "T": (LAVENDER, GREEN),
    "L": (YELLOW, PINK),
    "S": (WHITE,),
    "V": (YELLOW, LAVENDER),
}
"""Neighbours never share a colour, and each region has its own: a name that is shifted
makes a sacrum yellow, or a vertebra with ribs."""

UNSURE_COLOUR: Colour = (1.00, 0.72, 0.20)
DOUBT_COLOUR: Colour = (1.00, 0.36, 0.22)
"""Amber for names that are not sure, vermilion for outlines that are doubtful."""

WITHOUT_EDGE_RANGE, WITHOUT_EDGE_FACTOR, WITHOUT_EDGE_MORE = (0.2, 0.45), 2.0, 0.1
"""Shares of an outline without an edge of bone that make it doubtful: more than the
median of the scan by factor and summand, within this range. True outlines had 0 to 0.1
in 18 of 19 scans (0.27 in a noisy one with thin bone, where all had 0.2), outlines that
were shifted by 5 mm 0.3 to 0.65."""

OUTLINE_DOUBTFUL = "outline_doubtful"
"""Code of the notices that doubt an outline."""


@dataclass(frozen=True, slots=True)
class LevelMark:
    """How a level is shown.

    Attributes
    ----------
    level : str
        Level name.
    text : str
        What is written: "L3", "V3 ?", "L4 !"; a second line says "cut" or "part".
    colour : Colour
        Of its outline.
    unsure : bool
        Whether the name is relative or has little confidence.
    complete : bool
        Whether the whole body is outlined; else the outline is dashed.
    doubts : tuple of str
        Why its outline is doubtful; empty where it is not.
    """

    level: str
    text: str
    colour: Colour
    unsure: bool
    complete: bool
    doubts: tuple[str, ...] = ()

    @property
    def text_colour(self) -> Colour:
        """Colour of the name."""
        if self.doubts:
            return DOUBT_COLOUR
        return UNSURE_COLOUR if self.unsure else self.colour


def doubts_of_levels(
    notices: tuple[Notice, ...], levels: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Find the notices that doubt the outline of a level.

    These are all with the code `OUTLINE_DOUBTFUL` that name the level anywhere (or in
    an attribute ``level``), and all whose text begins with its name.

    Returns
    -------
    dict of str to tuple of str
        Messages by level; an `OUTLINE_DOUBTFUL` notice that names no level in view
        counts for none.
    """
    doubts: dict[str, list[str]] = {}
    for notice in notices:
        words = re.findall(r"\b(?:[CTLSV]\d{1,2})\b", notice.message)
        stated = getattr(notice, "level", None)
        named = {w for w in words if w in levels} if _doubtful(notice) else set()
        named |= {stated} if stated in levels else set()
        first = re.match(r"\W*([CTLSV]\d{1,2})\b", notice.message)
        if first and first.group(1) in levels:
            # Later names in the sentence are neighbours that it is compared with.
            named = {first.group(1)}
        for level in named:
            doubts.setdefault(str(level), []).append(notice.message)
    return {level: tuple(messages) for level, messages in doubts.items()}


def _doubtful(notice: Notice) -> bool:
    return notice.code == OUTLINE_DOUBTFUL


def larger_remark(measure: LevelMeasure) -> str:
    """Say in a sentence that an outline is too large."""
    what = ", ".join(measure.larger)
    return (
        f"{measure.level}: much larger than its neighbours ({what}): two bodies in one "
        "outline?"
    )


def edge_remark(level: str, share: float) -> str:
    """Say in a sentence that an outline lies beside the bone."""
    return f"{level}: {share:.0%} of its line in one picture lies on no edge of bone"


def _allowed_without_edge(shares: tuple[float, ...]) -> float:
    """Share of an outline that may have no edge of bone in this scan."""
    usual = float(np.median(shares)) if shares else 0.0
    allowed = WITHOUT_EDGE_FACTOR * usual + WITHOUT_EDGE_MORE
    return float(np.clip(allowed, *WITHOUT_EDGE_RANGE))


def _touches_edge(box: Box, shape: tuple[int, int, int]) -> bool:
    return any(
        part.start <= 1 or part.stop >= n - 1
        for part, n in zip(box, shape, strict=True)
    )


def _text(vertebra: Vertebra, unsure: bool, doubtful: bool, cut: bool) -> str:
    text = vertebra.level.name
    if unsure or doubtful:
        text += " " + "?" * unsure + "!" * doubtful
    if not vertebra.complete:
        text += "\ncut" if cut else "\npart"
    return text


def level_colour(level: VertebraLevel) -> Colour:
    """Colour of a level, the same in every picture; neighbours differ."""
    colours = REGION_COLOURS[level.name[0]]
    return colours[int(level.name[1:]) % len(colours)]


def mark_levels(
    spine: Spine,
    boxes: dict[int, Box],
    measures: tuple[LevelMeasure, ...],
    without_edge: dict[str, float],
    unsure_below: float,
) -> tuple[LevelMark, ...]:
    """Decide how each level is shown.

    Parameters
    ----------
    boxes
        Around each label, from `label_boxes`.
    measures
        One per vertebra; an outline that is larger than its neighbours is doubtful.
    without_edge
        Share of each outline that lies on no edge of bone, in its worst picture.
    unsure_below
        Names with less confidence, and all relative ones, are unsure.

    Returns
    -------
    tuple of LevelMark
        As `Spine.vertebrae`, from the lowest to the highest.
    """
    doubts = doubts_of_levels(
        spine.notices, tuple(v.level.name for v in spine.vertebrae)
    )
    allowed = _allowed_without_edge(tuple(without_edge.values()))
    marks = []
    for vertebra, measure in zip(spine.vertebrae, measures, strict=True):
        level = vertebra.level
        reasons = doubts.get(level.name, ())
        if measure.larger:
            reasons = (*reasons, larger_remark(measure))
        share = without_edge.get(level.name, 0.0)
        if vertebra.complete and share > allowed:
            reasons = (*reasons, edge_remark(level.name, share))
        unsure = not level.is_named or vertebra.level_confidence < unsure_below
        box = boxes.get(level.number)
        cut = box is not None and _touches_edge(box, spine.labels.geometry.shape)
        marks.append(
            LevelMark(
                level.name,
                _text(vertebra, unsure, bool(reasons), cut),
                level_colour(level),
                unsure,
                vertebra.complete,
                reasons,
            )
        )
    return tuple(marks)
