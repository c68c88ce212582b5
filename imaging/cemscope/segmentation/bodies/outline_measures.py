"""What is measured of the outline of a vertebral body to judge it."""

from dataclasses import dataclass, replace

import numpy as np

from cemscope.geometry import FloatArray
from cemscope.segmentation.bodies.body_surface import (
    WALL_ANGLES_RAD,
    BodyScene,
    BodySurface,
    on_plate,
)
from cemscope.segmentation.bodies.endplates import plate_trust
from cemscope.segmentation.bodies.hidden_wall import mirrored


@dataclass(frozen=True, slots=True)
class OutlineMeasures:
    """What tells a good outline from a bad one.

    Attributes
    ----------
    lower_clear, upper_clear, wall_clear : float
        Share of the endplates and of the wall that lies on a clear cortex, of the
        places that can be seen; NaN where nothing can be seen.
    lower_edge, upper_edge, wall_edge : float
        Mean contrast in units of a full edge.
    weakest_level : float
        Clear share of that height of the wall where it is least.
    lower_hidden, upper_hidden, wall_hidden : float
        Shares of the surface that cement or metal hides.
    in_view : float
        Share of the body inside the field of view.
    width_mm, depth_mm, height_mm : float
        Extent in the middle of the body.
    wedge_deg : float
        Angle between the endplates, from front to back.
    asymmetry_mm : float
        Mean difference of the wall's radius between left and right.
    bite_mm : float
        Largest difference of the wall's radius between left and right in the part that
        no arch hides.
    canal_depth_mm : float
        How deep the front of the canal lies inside the body; negative behind it.
    overlap_share : float
        Share of the body that lies in a neighbour.
    lower_gap_mm, upper_gap_mm : float
        Distance from the endplates' middles to those of the neighbours; NaN without.
    gap_share : float
        The larger of them as a share of what it and the mean of the two bodies beside
        it take together; 0 without neighbours.
    gap_walled : float
        Share of the directions in which a wall stands in such a gap.
    wall_beyond : float
        Share of the directions in which the body's wall goes on beyond an endplate.
    tongue_mm : float
        How far the middle of the posterior wall lies behind the wall on both sides of
        it; negative where the canal hollows it.
    """

    lower_clear: float
    upper_clear: float
    wall_clear: float
    lower_edge: float
    upper_edge: float
    wall_edge: float
    weakest_level: float
    lower_hidden: float
    upper_hidden: float
    wall_hidden: float
    in_view: float
    width_mm: float
    depth_mm: float
    height_mm: float
    wedge_deg: float
    asymmetry_mm: float
    canal_depth_mm: float
    overlap_share: float
    lower_gap_mm: float
    upper_gap_mm: float
    gap_share: float = 0.0
    bite_mm: float = 0.0
    gap_walled: float = 0.0
    wall_beyond: float = 0.0
    tongue_mm: float = 0.0


CLEAR = 0.6
"""From this explained share of its contrast a profile is that of a cortex."""

FRONT_BELOW = 0.3
"""Sine of the direction below which no arch hides the wall."""

SAMPLES_MM = 3.0
"""Distance of the points that a body's inside is sampled at."""


def outline_measures(scene: BodyScene, surface: BodySurface) -> OutlineMeasures:
    """Measure an outline on its own."""
    wall = surface.wall_mm
    outline = wall.mean(axis=1)
    apart = np.abs(wall - mirrored(wall))
    within = plate_trust(outline) > 0.5
    evidence = surface.evidence
    shares, hidden = [np.nan] * 4, [0.0] * 3
    if evidence is not None:
        front = evidence.wall[np.sin(WALL_ANGLES_RAD) < FRONT_BELOW]
        parts = (evidence.lower[within], evidence.upper[within], front)
        shares = [_clear_share(part) for part in (*parts[:2], evidence.wall)]
        levels = [_clear_share(level) for level in front.T]
        seen = [level for level in levels if np.isfinite(level)]
        shares.append(min(seen) if seen else float("nan"))
        hidden = [1.0 - float(np.isfinite(part).mean()) for part in parts]
    x, y = outline * np.cos(WALL_ANGLES_RAD), outline * np.sin(WALL_ANGLES_RAD)
    heights = surface.upper_mm - surface.lower_mm
    grid = np.array([[0.0, 0.0], [0.0, 0.7 * y.min()], [0.0, 0.7 * y.max()]])
    at = on_plate(heights, grid[:, 0], grid[:, 1])
    length = 0.7 * float(y.max() - y.min())
    points = _inner_points(surface)
    in_view = 0.0
    if len(points):
        in_view = float((scene.volume.sample_inside(points) > 0.5).mean())
    front_mm = surface.frame.to_local_mm(scene.canal_front_lps_mm)
    canal = surface.depth_mm(front_mm)
    return OutlineMeasures(
        lower_clear=shares[0],
        upper_clear=shares[1],
        wall_clear=shares[2],
        lower_edge=surface.lower_edge,
        upper_edge=surface.upper_edge,
        wall_edge=surface.wall_edge,
        weakest_level=shares[3],
        lower_hidden=hidden[0],
        upper_hidden=hidden[1],
        wall_hidden=hidden[2],
        in_view=in_view,
        width_mm=float(x.max() - x.min()),
        depth_mm=float(y.max() - y.min()),
        height_mm=_height_mm(surface),
        wedge_deg=float(np.degrees(np.arctan2(at[1] - at[2], length))),
        asymmetry_mm=float(apart.mean()),
        bite_mm=float(apart[np.sin(WALL_ANGLES_RAD) < FRONT_BELOW].max()),
        tongue_mm=_tongue_mm(x, y),
        canal_depth_mm=float(canal.max()),
        overlap_share=0.0,
        lower_gap_mm=np.nan,
        upper_gap_mm=np.nan,
    )


def beside_neighbours(
    own: OutlineMeasures,
    surface: BodySurface,
    below: BodySurface | None,
    above: BodySurface | None,
) -> OutlineMeasures:
    """Add to an outline's own measures its relation to the neighbours."""
    points = _inner_points(surface)
    overlap = 0.0
    for other in (below, above):
        if other is not None and len(points):
            inside = other.depth_mm(other.frame.to_local_mm(points)) > 0.5
            overlap += float(inside.mean())
    gaps = (
        np.nan if below is None else _gap_mm(surface, below),
        np.nan if above is None else _gap_mm(above, surface),
    )
    shares = [
        gap / max(gap + (own.height_mm + _height_mm(other)) / 2.0, 1.0)
        for gap, other in zip(gaps, (below, above), strict=True)
        if other is not None
    ]
    return replace(
        own,
        overlap_share=overlap,
        lower_gap_mm=gaps[0],
        upper_gap_mm=gaps[1],
        gap_share=max(shares, default=0.0),
    )


MIDLINE_MM, SIDES_MM = 3.0, (5.0, 11.0)
"""Distances from the midline of the middle of the posterior wall and of its sides."""


def _tongue_mm(left: FloatArray, posterior: FloatArray) -> float:
    """How far an outline sticks out behind in its midline; NaN where it is narrow."""
    behind = posterior > 0.0
    middle = behind & (np.abs(left) <= MIDLINE_MM)
    near, far = SIDES_MM
    sides = [behind & (s * left >= near) & (s * left <= far) for s in (-1.0, 1.0)]
    if not middle.any() or not all(side.any() for side in sides):
        return float("nan")
    furthest = max(float(posterior[side].mean()) for side in sides)
    return float(posterior[middle].max()) - furthest


def _height_mm(surface: BodySurface) -> float:
    """Median height between the endplates."""
    within = plate_trust(surface.wall_mm.mean(axis=1)) > 0.5
    return float(np.median((surface.upper_mm - surface.lower_mm)[within]))


def _inner_points(surface: BodySurface) -> FloatArray:
    """LPS points that fill an outline, shape (n, 3)."""
    half = surface.reach_mm()
    axes = [np.arange(-reach, reach + SAMPLES_MM, SAMPLES_MM) for reach in half]
    local = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return surface.frame.to_lps_mm(local[surface.depth_mm(local) > 0])


def _clear_share(clearness: FloatArray) -> float:
    seen = clearness[np.isfinite(clearness)]
    return float((seen >= CLEAR).mean()) if len(seen) else float("nan")


def _gap_mm(upper: BodySurface, lower: BodySurface) -> float:
    """Distance between the middles of two endplates, along the mean axis."""
    middle = np.zeros(1)
    low = upper.frame.to_lps_mm(
        np.array([0.0, 0.0, on_plate(upper.lower_mm, middle, middle)[0]])
    )
    high = lower.frame.to_lps_mm(
        np.array([0.0, 0.0, on_plate(lower.upper_mm, middle, middle)[0]])
    )
    axis = upper.frame.superior + lower.frame.superior
    return float((low - high) @ axis / np.linalg.norm(axis))
