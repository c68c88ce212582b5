"""Figures of a study: volume by level, and leaks over a schematic spine."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cemscope_pipelines.batch.case_view import CementView
from cemscope_pipelines.cohort.groups import Grouping
from cemscope_pipelines.cohort.study import level_order

_GROUP_COLOURS = ("#0b6e99", "#d1495b", "#6a994e", "#7d5ba6", "#b5651d", "#4a4a4a")
_GROUP_MARKS = ("o", "s", "^", "D", "v", "P")

UNCERTAIN_MARK = "?"
"""Leaks whose type is not certain."""

TYPE_COLOURS = {
    "B": "#d1495b", "S": "#0b6e99", "C": "#e0a100", "D": "#6a994e", "I": "#7d5ba6",
    UNCERTAIN_MARK: "#8b949e",
}  # fmt: skip
"""Colours of the types of leaks, told apart also without red and green by place."""

_DPI = 110

_USUAL = ("T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1")


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure.

    Attributes
    ----------
    name : str
        Of its file, without ending.
    title : str
        Caption.
    png : bytes
        The picture.
    """

    name: str
    title: str
    png: bytes


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def _new_figure(width: float, height: float) -> Any:
    # The object interface: pyplot would want a display and keep the figure alive.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _augmented(grouping: Grouping) -> list[tuple[int, str, float]]:
    """List group number, level and volume of every vertebra with cement."""
    return [
        (number, v.level, v.cement.volume_ml)
        for number, group in enumerate(grouping.groups[1:])
        for member in group.members
        for v in member.patient.first.augmented
        if isinstance(v.cement, CementView)
    ]


def volume_figure(grouping: Grouping) -> Figure | None:
    """Draw the volume of every vertebra with cement over its level."""
    points = _augmented(grouping)
    if not points:
        return None
    levels = level_order([level for _, level, _ in points])
    figure = _new_figure(max(6.5, 0.75 * len(levels) + 2.5), 4.4)
    axes = figure.add_subplot()
    boxes = [[ml for _, lv, ml in points if lv == level] for level in levels]
    axes.boxplot(
        boxes,
        positions=range(len(levels)),
        widths=0.62,
        showfliers=False,
        medianprops={"color": "#1b1f24", "linewidth": 1.6},
        boxprops={"color": "#9aa4af"},
        whiskerprops={"color": "#9aa4af"},
        capprops={"color": "#9aa4af"},
        whis=(0, 100),
    )
    names = [g.name for g in grouping.groups[1:]]
    for number, name in enumerate(names):
        mine = [(levels.index(lv), ml) for n, lv, ml in points if n == number]
        seen: Counter[int] = Counter()
        xs = []
        for x, _ in mine:
            # Points of one group stand in a row of their own, side by side.
            step = seen[x] % 5 - 2
            seen[x] += 1
            xs.append(x + 0.5 * ((number + 0.5) / len(names) - 0.5) + 0.018 * step)
        axes.scatter(
            xs,
            [ml for _, ml in mine],
            s=22,
            marker=_GROUP_MARKS[number % len(_GROUP_MARKS)],
            color=_GROUP_COLOURS[number % len(_GROUP_COLOURS)],
            edgecolor="white",
            linewidth=0.4,
            label=name,
            zorder=3,
        )
    counts = Counter(level for _, level, _ in points)
    axes.set_xticks(range(len(levels)), [f"{lv}\nn = {counts[lv]}" for lv in levels])
    axes.set_ylabel("cement of the vertebra, mL")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    title = (
        "Cement of every vertebra with cement, by level. Box: quartiles and median; "
        "whiskers: range."
    )
    return Figure("cohort_volume_by_level", title, _png(figure))


_SIDE_PLACES = {
    "prevertebral": (-0.8, 0.5),
    "disc_superior": (0.0, 1.0),
    "disc_inferior": (0.0, 0.0),
    "epidural": (0.76, 0.5),
    "foraminal": (1.22, 0.72),
    "needle_track": (1.74, 0.5),
}
"""Place of a mark in the side view: across (front to back), and height in the level."""

_SIDE_HEADS = {
    "prevertebral": -0.8, "disc": 0.0, "canal": 0.76, "foramen": 1.22, "track": 1.74,
}  # fmt: skip

_FRONT_PLACES = {
    "paravertebral_right": (-0.85, 0.5),
    "paravertebral_left": (0.85, 0.5),
}
"""As seen from the front: the patient's right is on the left."""

_FRONT_HEADS = {"right": -0.85, "paravertebral": 0.0, "left": 0.85}

_BONE, _BONE_EDGE = "#f1ece2", "#b3a78f"


def _draw_spine(axes: Any, levels: Sequence[str], *, side: bool) -> None:
    from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

    for row, level in enumerate(reversed(levels)):
        axes.add_patch(
            FancyBboxPatch(
                (-0.5, row + 0.14),
                1.0,
                0.72,
                boxstyle="round,pad=0,rounding_size=0.1",
                facecolor=_BONE,
                edgecolor=_BONE_EDGE,
            )
        )
        axes.text(0, row + 0.5, level, ha="center", va="center", color="#57606a")
        if side:
            arch = [(1.0, row + 0.62), (1.78, row + 0.3), (1.72, row + 0.1),
                    (1.0, row + 0.3)]  # fmt: skip
            axes.add_patch(Polygon(arch, facecolor=_BONE, edgecolor=_BONE_EDGE))
    if side:
        axes.add_patch(
            Rectangle(
                (0.58, 0), 0.36, len(levels), facecolor="#e2ebf2", edgecolor="none"
            )
        )
    for name, x in (_SIDE_HEADS if side else _FRONT_HEADS).items():
        axes.text(x, len(levels) + 0.05, name, ha="center", va="bottom", fontsize=8,
                  color="#57606a")  # fmt: skip


def _bubble(axes: Any, x: float, y: float, count: int, most: int) -> None:
    axes.scatter(
        [x], [y], s=70 + 330 * count / most, color="#c2185b", alpha=0.85, zorder=4,
        edgecolor="white", linewidth=0.6,
    )  # fmt: skip
    axes.text(x, y, str(count), color="white", ha="center", va="center", zorder=5,
              fontsize=8, fontweight="bold")  # fmt: skip


def leak_figure(grouping: Grouping) -> Figure | None:
    """Draw the number of leaks by level and place over a schematic spine."""
    places: Counter[tuple[str, str]] = Counter()
    types: Counter[tuple[str, str]] = Counter()
    seen = [v.level for m in grouping.whole.members for v in m.patient.first.augmented]
    for member in grouping.whole.members:
        for v in member.patient.first.augmented:
            for leak in v.leaks:
                where = {
                    "foraminal" if at.startswith("foraminal") else at
                    for at in leak.locations
                }
                places.update((v.level, place) for place in where)
                for kind in leak.types if leak.type_is_certain else (UNCERTAIN_MARK,):
                    types[v.level, kind] += 1
    if not places and not types:
        return None
    named = [level for level in seen if not level.startswith("V")]
    levels = level_order([*seen, *(_USUAL if named else ())])
    figure = _new_figure(9.0, max(3.6, 0.62 * len(levels) + 1.4))
    front, side_view, bars = figure.subplots(
        1, 3, width_ratios=(1.0, 1.25, 1.2), sharey=True
    )
    most = max(places.values(), default=1)
    for axes, spots, is_side in (
        (front, _FRONT_PLACES, False),
        (side_view, _SIDE_PLACES, True),
    ):
        _draw_spine(axes, levels, side=is_side)
        for (level, place), count in places.items():
            if place in spots:
                x, height = spots[place]
                row = len(levels) - 1 - levels.index(level)
                _bubble(axes, x, row + height, count, most)
        axes.set_ylim(-0.15, len(levels) + 0.35)
        axes.set_axis_off()
    front.set_xlim(-1.25, 1.25)
    side_view.set_xlim(-1.2, 2.05)
    front.set_title("seen from the front", fontsize=10)
    side_view.set_title("seen from the left, face to the left", fontsize=10)
    for row, level in enumerate(reversed(levels)):
        start = 0
        for kind, colour in TYPE_COLOURS.items():
            count = types[level, kind]
            bars.barh(row + 0.5, count, left=start, height=0.6, color=colour,
                      label=kind if row == 0 else None)  # fmt: skip
            if count:
                bars.text(start + count / 2, row + 0.5, str(count), color="white",
                          ha="center", va="center", fontsize=8)  # fmt: skip
            start += count
    bars.set_yticks([r + 0.5 for r in range(len(levels))], list(reversed(levels)))
    bars.tick_params(labelleft=True, left=False)
    bars.set_xlabel("leaks by type (a leak can have several)")
    bars.xaxis.get_major_locator().set_params(integer=True)
    bars.spines[["top", "right", "left"]].set_visible(False)
    bars.legend(frameon=False, ncols=6, loc="lower center", bbox_to_anchor=(0.5, 1.0),
                handlelength=1.0, columnspacing=0.9)  # fmt: skip
    title = (
        "Leaks by level, place and type over a schematic spine. A circle holds the "
        "number of leaks at the place; a leak in several places is in each. ?: the "
        "type is not certain."
    )
    return Figure("cohort_leak_map", title, _png(figure))
