"""Where an outline lies on no edge of bone.

The lines of a picture are laid over bright bone, and a line beside its edge is easily
overlooked. Its stretches without an edge under it are therefore found and drawn apart.
This looks at the picture only, not at how the outline was found.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure

from cemscope_pipelines.pictures.sampling import OUTSIDE_HU
from cemscope_pipelines.pictures.spine_views import SpineView

FloatArray = npt.NDArray[np.float64]

RIM_MM = (-2.5, 1.5)
"""The brightest value from inside to outside of the line is taken for the cortex: an
outline may be off by so much."""

OUTSIDE_MM = (1.0, 4.0)
"""The darkest value so far outside is taken for disc or soft tissue."""

OFFSET_STEP_MM = 0.5
BEYOND_SCAN_HU = -600.0
"""Less is the end of the scan or air; no vertebra borders on either."""

ALONG_SIGMA_MM = 2.5
"""Values are averaged along the line, against noise and texture."""

EDGE_SHARE, EDGE_LEAST_HU = 0.35, 50.0
"""An edge is at least this share of the usual one of all outlines, and so much."""

SHORTEST_RUN_MM = 6.0
"""Shorter stretches are veins, osteophytes or chance."""

SHORTEST_LINE_MM = 20.0
"""Outlines that are shorter are specks."""


@dataclass(frozen=True, slots=True, eq=False)
class EdgeSupport:
    """How well the outline of a level lies on bone in one picture.

    Attributes
    ----------
    runs : tuple of ndarray
        Stretches without an edge; (row, column) of their points, shape (n, 2).
    share_without : float
        Their share of the whole line.
    """

    runs: tuple[FloatArray, ...]
    share_without: float


def _profiles(
    view: SpineView, line: FloatArray, inside: FloatArray, others: FloatArray
) -> FloatArray:
    """Edge along a line: brightest rim minus darkest outside, HU, per point.

    Infinite where nothing can be told: at the end of the scan, and towards another
    body so near that no disc is seen between them.
    """
    pixel_mm = view.plane.pixel_mm
    down, across = (
        ndimage.gaussian_filter(inside, 1.0 / pixel_mm, order=order)
        for order in ((1, 0), (0, 1))
    )
    slope = np.stack(
        [ndimage.map_coordinates(part, line.T, order=1) for part in (down, across)],
        axis=1,
    )
    outward = -slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)
    offsets = np.arange(RIM_MM[0], OUTSIDE_MM[1] + 1e-6, OFFSET_STEP_MM)
    points = line[None] + offsets[:, None, None] / pixel_mm * outward[None]
    values = ndimage.map_coordinates(
        view.grey_hu, points.reshape(-1, 2).T, order=1, cval=OUTSIDE_HU
    ).reshape(len(offsets), -1)
    at_the_end = (values < BEYOND_SCAN_HU).any(axis=0)
    values = ndimage.gaussian_filter1d(
        values, ALONG_SIGMA_MM / pixel_mm, axis=1, mode="wrap"
    )
    rim = values[offsets <= RIM_MM[1] + 1e-6].max(axis=0)
    beyond = values[offsets >= OUTSIDE_MM[0] - 1e-6].min(axis=0)
    neighbour = ndimage.map_coordinates(
        others, points[offsets > 0.0].reshape(-1, 2).T, order=1
    ).reshape(-1, len(line))
    unknown = at_the_end | (neighbour > 0.5).any(axis=0)
    edge: FloatArray = np.where(unknown, np.inf, rim - beyond)
    return edge


def _runs(without: npt.NDArray[np.bool_], least: int) -> list[npt.NDArray[np.intp]]:
    """Find the long runs of True on a closed line."""
    if without.all():
        return [np.arange(len(without))]
    start = int(np.flatnonzero(~without)[0])
    turned = np.roll(without, -start)
    labels, count = ndimage.label(turned)
    found = [np.flatnonzero(labels == k + 1) for k in range(count)]
    return [(run + start) % len(without) for run in found if len(run) >= least]


def edge_supports(view: SpineView) -> dict[str, EdgeSupport]:
    """Judge all bodies of a picture.

    Returns
    -------
    dict of str to EdgeSupport
        By level; levels whose section is a speck are left out.
    """
    pixel_mm = view.plane.pixel_mm
    lines: dict[str, list[tuple[FloatArray, FloatArray]]] = {}
    for level, share in view.bodies.items():
        others = np.zeros(share.shape)
        for other, section in view.bodies.items():
            if other != level:
                np.maximum(others, section, out=others)
        inside = np.pad(share.astype(np.float64), 1)
        # scikit-image gives this function no annotations
        for line in measure.find_contours(inside, 0.5):  # type: ignore[no-untyped-call]
            points = line - 1.0
            if len(points) * pixel_mm >= SHORTEST_LINE_MM:
                edge = _profiles(view, points, share.astype(np.float64), others)
                lines.setdefault(level, []).append((points, edge))
    every = [edge for found in lines.values() for _, edge in found]
    told = np.concatenate([edge[np.isfinite(edge)] for edge in every] or [np.empty(0)])
    if told.size == 0:
        return {}
    least_hu = max(EDGE_LEAST_HU, EDGE_SHARE * float(np.median(told)))
    supports = {}
    for level, found in lines.items():
        runs = [
            points[run]
            for points, edge in found
            for run in _runs(edge < least_hu, round(SHORTEST_RUN_MM / pixel_mm))
        ]
        total = sum(len(points) for points, _ in found)
        supports[level] = EdgeSupport(
            tuple(runs), sum(len(run) for run in runs) / max(1, total)
        )
    return supports
