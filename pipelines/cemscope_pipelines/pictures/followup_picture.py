"""One picture per screw: rim and two planes along the axis, baseline over follow-up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize

from cemscope.findings import NotAssessed
from cemscope.geometry import FloatArray
from cemscope.measurement.followup import FollowedPair, FollowupComparison
from cemscope.measurement.followup_scan import FollowedScan, FollowedScrew
from cemscope.measurement.lucency_surface import LucencyMap
from cemscope.segmentation.implants.screw_profile import ScrewAxis
from cemscope.segmentation.scan_region import ScanRegion, box_of
from cemscope.volume import CTVolume
from cemscope_pipelines.pictures.drawing import new_figure
from cemscope_pipelines.pictures.picture_file import figure_rgb, small_png
from cemscope_pipelines.pictures.rim_map import (
    COLOUR_MAP,
    WIDEST_MM,
    MapDirections,
    draw_map,
)
from cemscope_pipelines.report import GrownLucencyEntry, Report
from cemscope_pipelines.report_base import NotAssessedEntry

WIDTH_PX, HEIGHT_PX = 1240, 590

BEHIND_MM, AHEAD_MM, BESIDE_MM = 13.0, 9.0, 22.0
"""A plane shows so much behind the head, in front of the tip and to both sides."""

PIXEL_MM = 0.35
WINDOW_HU = (-300.0, 1300.0)
TEXT = (0.92, 0.92, 0.92)
AXIS_COLOUR = (0.35, 0.85, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class _ScrewView:
    """A screw in one scan, in the planes that are shown.

    ``axis``, ``up`` and ``left`` are those of the follow-up's screw, brought to the
    scan that is drawn; ``own`` is the screw as it lies in this scan.
    """

    ct: CTVolume
    axis: ScrewAxis
    up: FloatArray
    left: FloatArray
    own: ScrewAxis
    ends_mm: tuple[float, float]
    radius_mm: float
    surface: LucencyMap | None
    missing: str


def followup_pictures(
    baseline: FollowedScan,
    comparison: FollowupComparison,
    followup: FollowedScan,
    report: Report,
) -> tuple[tuple[str, str, bytes], ...]:
    """Draw every screw that both scans show.

    Returns
    -------
    tuple of (str, str, bytes)
        Id, title and PNG.
    """
    return tuple(
        (
            pair.after.screw_id,
            _title(pair, report),
            _picture(baseline.scanned.ct, followup.scanned.ct, pair, followup),
        )
        for pair in comparison.pairs
    )


def _title(pair: FollowedPair, report: Report) -> str:
    screw = next(s for s in report.screws if s.id == pair.after.screw_id)
    name, lucency = f"{screw.level} {screw.side}", screw.lucency
    if isinstance(lucency, NotAssessedEntry):
        return f"{name}: rim not assessed ({lucency.reason})"
    words = f"{name}: {lucency.grade}"
    if lucency.mean_width_mm > 0.0:
        words += f", rim {lucency.mean_width_mm:.1f} mm"
    if isinstance(lucency, GrownLucencyEntry) and isinstance(lucency.growth_mm, float):
        words += f", grew {lucency.growth_mm:+z.1f} mm"
    return words


def _views(
    first: CTVolume, second: CTVolume, pair: FollowedPair, followup: FollowedScan
) -> tuple[_ScrewView, _ScrewView]:
    before, after = pair.before, pair.after
    frame = followup.scanned.spine.vertebra(after.model.level).frame
    axis = after.model.axis
    up, left = _across(axis, frame.superior, frame.left)
    now = _ScrewView(
        second,
        axis,
        up,
        left,
        axis,
        (after.model.neck_mm, after.model.tip_mm),
        after.model.shaft.radius_mm,
        _shown(after, after.surface, pair),
        after.lucency_refused,
    )
    old = before.model
    if isinstance(pair.bone, NotAssessed):
        # Without a registration the baseline is cut along its own screw.
        up, left = _across(old.axis, frame.superior, frame.left)
        then = old.axis
    else:
        pose = pair.bone.found.pose
        then = ScrewAxis(pose.to_baseline(axis.point), pose.turned_back(axis.forward))
        up, left = pose.turned_back(up), pose.turned_back(left)
    return (
        _ScrewView(
            first,
            then,
            up,
            left,
            old.axis,
            (old.neck_mm, old.tip_mm),
            old.shaft.radius_mm,
            _shown(before, pair.baseline_surface, pair),
            before.lucency_refused or "not on the follow-up's places",
        ),
        now,
    )


def _shown(
    screw: FollowedScrew, surface: LucencyMap | None, pair: FollowedPair
) -> LucencyMap | None:
    """Show a rim that is assessed, or of which the growth is."""
    return None if screw.lucency_refused and not pair.growth_told else surface


def _across(
    axis: ScrewAxis, superior: FloatArray, left: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Directions at right angles to an axis: upwards, and to the patient's left."""
    up = superior - (superior @ axis.forward) * axis.forward
    up = up / np.linalg.norm(up)
    side = np.cross(axis.forward, up)
    return up, side if side @ left >= 0.0 else -side


def _picture(
    first: CTVolume, second: CTVolume, pair: FollowedPair, followup: FollowedScan
) -> bytes:
    figure = new_figure(WIDTH_PX, HEIGHT_PX)
    views = _views(first, second, pair, followup)
    directions = MapDirections.of(views[1].axis, views[1].up, views[1].left)
    reach = (-BEHIND_MM, views[1].ends_mm[1] + AHEAD_MM)
    for row, (view, name) in enumerate(
        zip(views, ("baseline", "follow-up"), strict=True)
    ):
        bottom = 0.53 if row == 0 else 0.07
        axes = figure.add_axes((0.045, bottom, 0.235, 0.40))
        _style(axes, f"{name}: rim around the shaft")
        axes.set_ylabel("mm from the head", color=TEXT, fontsize=9)
        if view.surface is None:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.text(
                0.5, 0.5, _wrapped(view.missing), color=TEXT, fontsize=9, ha="center",
                va="center", transform=axes.transAxes,
            )  # fmt: skip
        else:
            draw_map(axes, view.surface, directions)
        for column, (side, words) in enumerate(
            ((view.up, ("up", "down")), (view.left, ("left", "right")))
        ):
            axes = figure.add_axes((0.335 + 0.335 * column, bottom, 0.315, 0.40))
            _style(axes, f"{name}: along the axis, {words[1]} to {words[0]}")
            _draw_plane(axes, view, side, reach)
    _colour_bar(figure)
    return small_png(figure_rgb(figure))


def _wrapped(text: str, width: int = 34) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(f"not assessed: {text}", width))


def _style(axes: Any, title: str) -> None:
    axes.set_facecolor("black")
    axes.set_title(title, color=TEXT, fontsize=10, pad=4)
    axes.tick_params(colors=TEXT, labelsize=8, length=2, pad=2)
    for spine in axes.spines.values():
        spine.set_color((0.4, 0.4, 0.4))


def _draw_plane(
    axes: Any, view: _ScrewView, side: FloatArray, reach_mm: Sequence[float]
) -> None:
    along = np.arange(reach_mm[0], reach_mm[1], PIXEL_MM)
    across = np.arange(-BESIDE_MM, BESIDE_MM, PIXEL_MM)
    points = view.axis.at(along)[None] + across[:, None, None] * side
    grey = _sampled(view.ct, points)
    extent = (along[0], along[-1], across[0], across[-1])
    axes.imshow(
        grey, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], extent=extent,
        origin="lower", aspect="equal", interpolation="bilinear",
    )  # fmt: skip
    # The screw's own axis in this scan: apart from the middle where it moved.
    ends = view.own.at(np.array(view.ends_mm))
    x = (ends - view.axis.point) @ view.axis.forward
    y = (ends - view.axis.point) @ side
    axes.plot(x, y, color=AXIS_COLOUR, lw=0.9, ls=(0, (4, 3)))
    axes.set_xlim(along[0], along[-1])
    axes.set_ylim(across[0], across[-1])


def _sampled(ct: CTVolume, points: FloatArray) -> np.ndarray:
    index = ct.geometry.lps_to_index(points.reshape(-1, 3))
    low = np.maximum(np.floor(index.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 2, ct.hu.shape)
    high = np.maximum(high, low + 1)
    box = box_of(low, high)
    region = ScanRegion(
        box, ct.hu[box], np.zeros((0,), np.uint8), ct.geometry.crop(box)
    )
    return region.sample_hu(points)


def _colour_bar(figure: Any) -> None:
    from matplotlib import colormaps

    shown = ListedColormap(colormaps[COLOUR_MAP](np.linspace(0.25, 1.0, 64)))
    axes = figure.add_axes((0.292, 0.30, 0.008, 0.38))
    bar = figure.colorbar(
        ScalarMappable(Normalize(0.0, WIDEST_MM), shown), cax=axes, ticks=[0, 1, 2, 3]
    )
    bar.ax.tick_params(colors=TEXT, labelsize=8, length=2, pad=2)
    bar.ax.set_title("mm", color=TEXT, fontsize=8, pad=4)
