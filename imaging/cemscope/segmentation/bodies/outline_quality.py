"""How far the outline of a vertebral body can be trusted, from evidence alone.

Every measure gets a mark between 0 and 1; the score is their product, so that one clear
fault is enough. The limits were set on outlines from discs that were shifted, joined or
halved on purpose.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from cemscope.segmentation.bodies.body_surface import BodyScene, BodySurface
from cemscope.segmentation.bodies.outline_measures import (
    OutlineMeasures,
    beside_neighbours,
    outline_measures,
)
from cemscope.segmentation.bodies.walled_gap import (
    with_walled_gaps,
    with_walls_beyond,
)
from cemscope.segmentation.worker_threads import side_by_side


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """Where a measure of an outline turns from trustworthy (1) to wrong (0).

    Every pair holds the value that counts 0 and the value that counts 1; values
    between are interpolated.

    Attributes
    ----------
    plate_edge, wall_edge : tuple of float
        Mean contrast in units of a full edge.
    plate_clear, wall_clear : tuple of float
        Clear share of what can be seen.
    weakest_level : tuple of float
        Clear share at the height where it is least: a disc has none.
    hidden_share : tuple of float
        Share of an endplate or of the wall that cement or metal hides.
    asymmetry_mm : tuple of float
        Mean difference between left and right.
    bite_mm : tuple of float
        Largest difference between left and right in one place.
    tongue_mm : tuple of float
        How far the posterior wall sticks out in its midline: -5 to 2 mm in 58 good
        outlines, 9.6 mm where the wall was drawn into the canal.
    canal_depth_mm, canal_gap_mm : tuple of float
        How deep the canal's front lies inside, and how far behind.
    width_by_depth : tuple of float
        Shape: bodies are wider than deep, but for the middle of the thoracic spine.
    overlap_share : tuple of float
        Share in a neighbour.
    narrow_gap_mm, wide_gap_mm : tuple of float
        Distance to the neighbours' endplates.
    gap_share : tuple of float
        Share of a gap in the height of a body and a disc. A lumbar disc takes a
        quarter to a third, beside one collapsed body up to a half; more is marrow
        between two discs that were taken for bodies.
    gap_walled : tuple of float
        Share of a gap round which a wall stands: at discs up to 0.4, at bodies that
        were taken for a disc 0.95 and more.
    wall_beyond : tuple of float
        Share of the rim beyond which the body's own wall goes on: up to 0.6 (thin
        slices) or 0.8 (thick ones) at good outlines, 0.88 and more where an endplate
        lies 2 mm and more from its place.
    size_ratio : tuple of float
        Factor by which width or depth differs from the neighbours'.
    tall_ratio, low_ratio : tuple of float
        Height as a share of the neighbours'.
    plate_hidden : tuple of float
        Share of an endplate that cement or metal hides, where a low body is judged: a
        collapsed one shows both of its endplates.
    end_low_ratio, end_plate_hidden : tuple of float
        The same where no neighbour bears out the hidden endplate: stricter.
    wedge_deg : tuple of float
        Angle between the endplates.
    reason_below : float
        A measure that counts less than this is given as a reason.
    """

    plate_edge: tuple[float, float] = (0.02, 0.25)
    wall_edge: tuple[float, float] = (0.25, 0.5)
    plate_clear: tuple[float, float] = (-0.6, 0.4)
    wall_clear: tuple[float, float] = (0.6, 0.85)
    weakest_level: tuple[float, float] = (0.2, 0.55)
    hidden_share: tuple[float, float] = (1.0, 0.35)
    asymmetry_mm: tuple[float, float] = (6.0, 2.5)
    bite_mm: tuple[float, float] = (10.0, 6.5)
    tongue_mm: tuple[float, float] = (7.0, 4.0)
    canal_depth_mm: tuple[float, float] = (5.0, 2.0)
    canal_gap_mm: tuple[float, float] = (10.0, 5.0)
    width_by_depth: tuple[float, float] = (0.7, 0.95)
    overlap_share: tuple[float, float] = (0.15, 0.03)
    narrow_gap_mm: tuple[float, float] = (-5.0, 0.0)
    wide_gap_mm: tuple[float, float] = (24.0, 16.0)
    gap_share: tuple[float, float] = (0.65, 0.48)
    gap_walled: tuple[float, float] = (0.9, 0.7)
    wall_beyond: tuple[float, float] = (0.95, 0.8)
    size_ratio: tuple[float, float] = (1.4, 1.17)
    tall_ratio: tuple[float, float] = (1.6, 1.25)
    low_ratio: tuple[float, float] = (0.3, 0.75)
    plate_hidden: tuple[float, float] = (0.5, 0.2)
    end_low_ratio: tuple[float, float] = (0.65, 0.9)
    end_plate_hidden: tuple[float, float] = (0.25, 0.1)
    wedge_deg: tuple[float, float] = (35.0, 22.0)
    reason_below: float = 0.7


LARGEST_WIDTH_MM, LARGEST_DEPTH_MM, LARGEST_HEIGHT_MM = 65.0, 46.0, 36.0
SMALLEST_WIDTH_MM, SMALLEST_DEPTH_MM, SMALLEST_HEIGHT_MM = 18.0, 14.0, 4.0
"""Anatomical limits of thoracic and lumbar bodies: means of T1 to L5 run from 25 to 50
mm (width), 17 to 36 mm (depth) and 16 to 29 mm (height), standard deviations up to 4 mm
(Panjabi 1991, 1992, doi:10.1097/00007632-199203000-00010; Kunkel 2010,
doi:10.1111/j.1469-7580.2009.01187.x); osteophytes and collapse go beyond."""


HEIGHT_BY_WIDTH = 0.55
"""Height of a body as a share of its width: L5 about 0.5, L1 0.6, T8 0.65
(Panjabi 1991, 1992)."""


@dataclass(frozen=True, slots=True)
class OutlineQuality:
    """How far an outline can be trusted.

    Attributes
    ----------
    score : float
        0 (certainly wrong) to 1 (nothing speaks against it).
    reasons : tuple of str
        What speaks against it, the worst first.
    measures : OutlineMeasures
        What the score comes from.
    """

    score: float
    reasons: tuple[str, ...]
    measures: OutlineMeasures


@dataclass(frozen=True, slots=True)
class UsualSize:
    """Size that the neighbours lead to expect, mm."""

    width_mm: float
    depth_mm: float
    height_mm: float


def outline_qualities(
    scene: BodyScene,
    surfaces: Sequence[BodySurface],
    settings: QualitySettings | None = None,
    *,
    beyond_plates: bool = False,
) -> tuple[OutlineQuality, ...]:
    """Judge the outlines of a spine, from the lowest to the highest.

    The sacrum's outline is not meant: it has no lower endplate. Whether walls go on
    beyond endplates is read in the end only: it doubts what another fit seldom mends,
    and a worse one would be taken for better.
    """
    settings = settings or QualitySettings()

    alone = side_by_side(partial(outline_measures, scene), surfaces)
    own = [judged(measure, None, settings).score for measure in alone]

    def neighbour(index: int, other: int) -> BodySurface | None:
        # Where two outlines cross or leave a gap, the better one is not to blame.
        if not 0 <= other < len(surfaces) or own[other] < own[index] - BLAME:
            return None
        return surfaces[other]

    def among_others(k: int) -> OutlineMeasures:
        below, above = neighbour(k, k - 1), neighbour(k, k + 1)
        beside = beside_neighbours(alone[k], surfaces[k], below, above)
        # Bone in a gap speaks against both: either may be the one that lacks it.
        first = surfaces[k - 1] if k > 0 else None
        last = surfaces[k + 1] if k + 1 < len(surfaces) else None
        walled = with_walled_gaps(beside, scene, surfaces[k], first, last)
        if not beyond_plates:
            return walled
        return with_walls_beyond(walled, scene, surfaces[k], first, last)

    measures = side_by_side(among_others, range(len(surfaces)))
    return tuple(
        judged(measure, usual_size(measures, k, own), settings)
        for k, measure in enumerate(measures)
    )


BLAME = 0.2
"""A neighbour whose own score is lower by this is the one that is wrong."""


def usual_size(
    measures: Sequence[OutlineMeasures],
    index: int,
    scores: Sequence[float] | None = None,
) -> UsualSize | None:
    """Median size of up to four neighbours that lie in view; None without them.

    Where scores are given, neighbours that are clearly worse than the body itself say
    nothing about it.
    """
    near = [
        measures[k]
        for k in range(max(index - 2, 0), min(index + 3, len(measures)))
        if k != index
        and measures[k].in_view >= WHOLE
        and (scores is None or scores[k] >= scores[index] - BLAME)
    ]
    if not near:
        return None
    return UsualSize(
        float(np.median([m.width_mm for m in near])),
        float(np.median([m.depth_mm for m in near])),
        float(np.median([m.height_mm for m in near])),
    )


WHOLE = 0.97
"""Share in view from which a body is whole."""


def judged(
    m: OutlineMeasures, usual: UsualSize | None, settings: QualitySettings
) -> OutlineQuality:
    """Turn measures into a score with reasons."""
    s = settings
    marks = [
        (_mark(m.lower_edge, s.plate_edge), "the lower endplate has no clear edge"),
        (_mark(m.upper_edge, s.plate_edge), "the upper endplate has no clear edge"),
        (
            _mark(m.lower_clear, s.plate_clear),
            "hardly any of the lower endplate can be seen",
        ),
        (
            _mark(m.upper_clear, s.plate_clear),
            "hardly any of the upper endplate can be seen",
        ),
        (
            min(
                _mark(m.wall_edge, s.wall_edge),
                _mark(m.wall_clear, s.wall_clear),
                _mark(m.weakest_level, s.weakest_level),
            ),
            "the side wall has no clear edge",
        ),
        (
            _mark(m.lower_hidden, s.hidden_share),
            f"cement or metal hides {100 * m.lower_hidden:.0f} % of its lower endplate",
        ),
        (
            _mark(m.upper_hidden, s.hidden_share),
            f"cement or metal hides {100 * m.upper_hidden:.0f} % of its upper endplate",
        ),
        (
            _mark(m.wall_hidden, s.hidden_share),
            f"cement or metal hides {100 * m.wall_hidden:.0f} % of its wall",
        ),
        (_mark(m.asymmetry_mm, s.asymmetry_mm), "left and right differ in shape"),
        (
            _mark(m.bite_mm, s.bite_mm),
            f"one side of it lies {m.bite_mm:.0f} mm further in than the other",
        ),
        (
            _mark(m.tongue_mm, s.tongue_mm),
            f"its posterior wall sticks out by {m.tongue_mm:.0f} mm in the midline",
        ),
        (_mark(m.canal_depth_mm, s.canal_depth_mm), "it reaches into the canal"),
        (
            _mark(-m.canal_depth_mm, s.canal_gap_mm),
            f"the canal lies {-m.canal_depth_mm:.0f} mm behind it",
        ),
        (
            _mark(m.width_mm / max(m.depth_mm, 1.0), s.width_by_depth),
            f"it is only {m.width_mm:.0f} mm wide, but {m.depth_mm:.0f} mm deep",
        ),
        (_mark(m.overlap_share, s.overlap_share), "it overlaps its neighbours"),
        (
            _mark(m.gap_share, s.gap_share),
            "the disc beside it would be as high as the bodies",
        ),
        (
            _mark(m.gap_walled, s.gap_walled),
            "the disc beside it has a wall of bone like a body",
        ),
        (
            _mark(m.wall_beyond, s.wall_beyond),
            "its wall goes on beyond an endplate",
        ),
        (
            _mark(abs(m.wedge_deg), s.wedge_deg),
            f"its endplates enclose {abs(m.wedge_deg):.0f} degrees",
        ),
        (
            _within(m.width_mm, SMALLEST_WIDTH_MM, LARGEST_WIDTH_MM),
            f"no vertebral body is {m.width_mm:.0f} mm wide",
        ),
        (
            _within(m.depth_mm, SMALLEST_DEPTH_MM, LARGEST_DEPTH_MM),
            f"no vertebral body is {m.depth_mm:.0f} mm deep",
        ),
        (
            _within(m.height_mm, SMALLEST_HEIGHT_MM, LARGEST_HEIGHT_MM),
            f"no vertebral body is {m.height_mm:.0f} mm high",
        ),
    ]
    for gap, where in ((m.lower_gap_mm, "below"), (m.upper_gap_mm, "above")):
        marks.append(
            (
                _mark(gap, s.wide_gap_mm),
                f"{gap:.0f} mm lie between it and the body {where}",
            )
        )
        marks.append((_mark(gap, s.narrow_gap_mm), f"it crosses the body {where}"))
    if usual is not None:
        for value, other, word in (
            (m.width_mm, usual.width_mm, "wide"),
            (m.depth_mm, usual.depth_mm, "deep"),
        ):
            ratio = value / max(other, 1.0)
            marks.append(
                (
                    _mark(max(ratio, 1.0 / max(ratio, 0.01)), s.size_ratio),
                    f"{ratio:.1f} times as {word} as its neighbours",
                )
            )
        marks.append(_height_mark(m, usual, s))
    # Measures that are halfway in doubt add up, one that is wrong decides.
    score = float(np.prod([value for value, _ in marks]))
    doubts = sorted((mark for mark in marks if mark[0] < s.reason_below), key=_value)
    return OutlineQuality(score, tuple(reason for _, reason in doubts), m)


def _height_mark(
    m: OutlineMeasures, usual: UsualSize, s: QualitySettings
) -> tuple[float, str]:
    """Mark of a height beside those of the neighbours.

    A collapsed body is low but both of its endplates show. What passes for one beside
    cement or metal may be the implant's own edge, most where no neighbour bears it out;
    two bodies in a row may both have been cut off there, which their width tells.
    """
    ratio = m.height_mm / max(usual.height_mm, 1.0)
    edges = min(_mark(m.lower_edge, s.plate_edge), _mark(m.upper_edge, s.plate_edge))
    own = m.height_mm / max(HEIGHT_BY_WIDTH * m.width_mm, 1.0)
    marks = [_mark(ratio, s.tall_ratio)]
    for hidden, gap_mm in (
        (m.lower_hidden, m.lower_gap_mm),
        (m.upper_hidden, m.upper_gap_mm),
    ):
        shown = _mark(hidden, s.plate_hidden)
        low = _mark(min(ratio, own) if shown < 1.0 else ratio, s.low_ratio)
        if not np.isfinite(gap_mm):
            shown = _mark(hidden, s.end_plate_hidden)
            low = min(low, _mark(ratio, s.end_low_ratio)) if shown < 1.0 else low
        marks.append(max(low, 0.9 * min(edges, shown)))
    return min(marks), f"{ratio:.1f} times as high as its neighbours"


def _value(mark: tuple[float, str]) -> float:
    return mark[0]


def _mark(value: float, limits: tuple[float, float]) -> float:
    """0 at the first limit, 1 at the second; what is not known speaks not against."""
    if not np.isfinite(value):
        return 1.0
    wrong, right = limits
    return float(np.clip((value - wrong) / (right - wrong), 0.0, 1.0))


def _within(value: float, least: float, most: float) -> float:
    """1 within limits, falling to 0 at a tenth of the most beyond them."""
    beyond = max(least - value, value - most, 0.0)
    return float(np.clip(1.0 - beyond / (0.1 * most), 0.0, 1.0))
