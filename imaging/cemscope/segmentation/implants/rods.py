"""Rods: one smooth tube per side through the heads of its screws.

A connected component is no rod: heads cut it into pieces, and streaks join it to what
lies beside it. The rod is traced from head to head by the centres of its
cross-sections and kept as a curve with one radius.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import ndimage

from cemscope.findings import PointLPS, Side
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.implants.implant_metals import TITANIUM_HU
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import (
    ScrewAxis,
    ShaftPrior,
    fit_shaft,
)
from cemscope.segmentation.scan_region import Box, FloatArray, ScanRegion, box_of

STATION_MM = 1.0
"""Cross-sections of a rod are this far apart."""

PATCH_MM, PATCH_STEP_MM = 8.0, 0.5
"""Half-width and step of a cross-section."""

HEAD_REACH_MM = 7.0
"""Nearer to a head's centre than this its metal hides the rod."""

STRAY_MM = 5.0
"""From one station to the next the centre moves less than this."""

NARROWEST_MM, WIDEST_MM = 1.5, 4.5
"""Radius of a rod's section at the search level: rods of 3.5 to 6.35 mm, and blur."""

SEEN_SHARE = 0.75
"""Share of the stations between two heads that must show a rod."""

LONGEST_OVERHANG_MM = 60.0
"""Rods are cut within this of the last head [ours]; beyond, the trace stops."""

TYPICAL_ROD_RADIUS_MM = 2.75
"""Rods of 5.5 mm, the usual ones; used where heads hide the whole rod."""


@dataclass(frozen=True, slots=True, eq=False)
class RodModel:
    """A rod.

    Attributes
    ----------
    side : Side
        The patient's side.
    points_lps_mm : ndarray, shape (n, 3)
        Its centre line, from one end to the other.
    radius_mm : float
        Corrected for blooming.
    """

    side: Side
    points_lps_mm: FloatArray
    radius_mm: float

    @property
    def length_mm(self) -> float:
        """Length of the centre line."""
        steps = np.diff(self.points_lps_mm, axis=0)
        return float(np.linalg.norm(steps, axis=1).sum())

    @property
    def volume_ml(self) -> float:
        """Volume of the tube."""
        return float(np.pi * self.radius_mm**2 * self.length_mm / 1000.0)

    def nearest_on_axis(self, axis: ScrewAxis) -> float:
        """Position on a line where it passes the centre line most closely."""
        offset = self.points_lps_mm - axis.point
        t = offset @ axis.forward
        across = (offset**2).sum(axis=1) - t**2
        return float(t[int(np.argmin(across))])

    @property
    def middle_lps_mm(self) -> PointLPS:
        """Middle of the centre line."""
        x, y, z = self.points_lps_mm[len(self.points_lps_mm) // 2]
        return float(x), float(y), float(z)

    def distances_on(
        self, geometry: VoxelGeometry, reach_mm: float
    ) -> tuple[Box, FloatArray]:
        """Box of a grid around the rod, and its voxels' distance from the surface."""
        margin = self.radius_mm + reach_mm
        lower = self.points_lps_mm.min(axis=0) - margin
        upper = self.points_lps_mm.max(axis=0) + margin
        corners = np.array(np.meshgrid(*zip(lower, upper, strict=True)))
        index = geometry.lps_to_index(corners.reshape(3, -1).T)
        shape = np.array(geometry.shape)
        start = np.clip(np.floor(index.min(0)).astype(int), 0, shape)
        stop = np.clip(np.ceil(index.max(0)).astype(int) + 1, start, shape)
        grid = np.stack(np.meshgrid(*map(np.arange, start, stop), indexing="ij"), -1)
        points = geometry.index_to_lps(grid.reshape(-1, 3))
        distance = self.distances_mm(points).reshape(grid.shape[:3])
        return box_of(start, stop), distance - self.radius_mm

    def distances_mm(self, points_lps_mm: FloatArray) -> FloatArray:
        """Distance of points, shape (n, 3), from the centre line."""
        nearest = np.full(len(points_lps_mm), np.inf)
        for start, end in pairwise(self.points_lps_mm):
            along = end - start
            share = ((points_lps_mm - start) @ along) / max(float(along @ along), 1e-9)
            foot = start + np.clip(share, 0.0, 1.0)[:, None] * along
            np.minimum(
                nearest, np.linalg.norm(points_lps_mm - foot, axis=1), out=nearest
            )
        return nearest


def find_rods(
    region: ScanRegion,
    screws: tuple[ScrewModel, ...],
    level_hu: float,
    ceiling_hu: float | None,
) -> tuple[RodModel, ...]:
    """Trace the rods that join screw heads of one side.

    Parameters
    ----------
    region
        The scan around the spine.
    screws
        Fitted screws of the region.
    level_hu
        Brightness that the inside of a rod exceeds.
    ceiling_hu
        Value at which the scan is clipped.
    """
    rods = []
    for side in Side:
        row = [screw for screw in screws if screw.side is side]
        for chain in _chains(region, row, level_hu):
            rod = _rod(region, chain, level_hu, ceiling_hu, side)
            if rod is not None:
                rods.append(rod)
    return tuple(rods)


@dataclass(frozen=True, slots=True, eq=False)
class _Chain:
    """Heads of one rod, in order, and the centres seen in each gap between them."""

    heads: FloatArray
    gaps: tuple[FloatArray, ...]


def _chains(
    region: ScanRegion, row: list[ScrewModel], level_hu: float
) -> Iterator[_Chain]:
    """Join neighbouring heads between which a tube is seen."""
    if len(row) < 2:
        return
    heads = np.array([screw.head_lps_mm for screw in row])
    direction = np.linalg.svd(heads - heads.mean(axis=0))[2][0]
    heads = heads[np.argsort(heads @ direction)]
    members: list[FloatArray] = [heads[0]]
    gaps: list[FloatArray] = []
    for first, second in pairwise(heads):
        seen = _trace_gap(region, first, second, level_hu)
        if seen is None:
            if gaps:
                yield _Chain(np.array(members), tuple(gaps))
            members, gaps = [second], []
        else:
            members.append(second)
            gaps.append(seen)
    if gaps:
        yield _Chain(np.array(members), tuple(gaps))


def _trace_gap(
    region: ScanRegion, first: FloatArray, second: FloatArray, level_hu: float
) -> FloatArray | None:
    """Centres of the tube between two heads; None where there is none.

    Starts in the middle, where no head is near, and follows the tube to both sides.
    """
    length = float(np.linalg.norm(second - first))
    along = (second - first) / length
    reach = 0.5 * length - HEAD_REACH_MM
    if reach < 2.0 * STATION_MM:
        line = first + np.linspace(0.2, 0.8, 9)[:, None] * (second - first)
        hidden = region.sample_hu(line) >= level_hu
        return np.empty((0, 3)) if hidden.all() else None
    middle = 0.5 * (first + second)
    start = _section(region, middle, along, level_hu)
    if start is None:
        return None
    centres = [start]
    stations = 1
    for sign in (-1.0, 1.0):
        at = start
        steps = int(reach / STATION_MM)
        stations += steps
        for _ in range(steps):
            expected = at + sign * STATION_MM * along
            found = _section(region, expected, along, level_hu)
            at = expected if found is None else found
            if found is not None:
                centres.append(found)
    if len(centres) < SEEN_SHARE * stations:
        return None
    return np.array(centres)


def _section(
    region: ScanRegion, centre: FloatArray, along: FloatArray, level_hu: float
) -> FloatArray | None:
    """Centre of the round bright section nearest to a place; None where none is."""
    first, second = ScrewAxis(centre, along).cross_vectors()
    steps = np.arange(-PATCH_MM, PATCH_MM + 1e-6, PATCH_STEP_MM)
    points = centre + steps[:, None, None] * first + steps[:, None] * second
    index = region.geometry.lps_to_index(centre)
    if np.any(index < -0.5) or np.any(index > np.array(region.hu.shape) - 0.5):
        return None
    parts, count = ndimage.label(region.sample_hu(points) >= level_hu)
    best: FloatArray | None = None
    nearest = STRAY_MM
    for number in range(1, count + 1):
        cells = np.argwhere(parts == number)
        radius = np.sqrt(len(cells) / np.pi) * PATCH_STEP_MM
        spread = cells.std(axis=0) * PATCH_STEP_MM
        # A disc's standard deviation along each axis is half of its radius.
        if not NARROWEST_MM <= radius <= WIDEST_MM or spread.max() > 0.8 * radius:
            continue
        offset = cells.mean(axis=0) * PATCH_STEP_MM - PATCH_MM
        if float(np.hypot(*offset)) < nearest:
            nearest = float(np.hypot(*offset))
            best = centre + offset[0] * first + offset[1] * second
    return best


def _rod(
    region: ScanRegion,
    chain: _Chain,
    level_hu: float,
    ceiling_hu: float | None,
    side: Side,
) -> RodModel | None:
    """Fit a smooth curve through the centres and follow both ends."""
    heads = chain.heads
    direction = np.linalg.svd(heads - heads.mean(axis=0))[2][0]
    direction = direction if direction @ (heads[-1] - heads[0]) > 0 else -direction
    seen = np.concatenate(chain.gaps)
    # Heads are less exact than sections: they guide where no section is seen.
    anchors = np.concatenate([seen, heads])
    weight = np.concatenate([np.full(len(seen), 1.0), np.full(len(heads), 0.1)])
    origin = heads.mean(axis=0)
    u = (anchors - origin) @ direction
    degree = int(min(len(heads) - 1, 5)) if len(seen) >= 8 else 1
    fit = np.polynomial.Polynomial.fit
    curves = [fit(u, anchors[:, k] - origin[k], degree, w=weight) for k in range(3)]
    ends = []
    for head, sign in ((heads[0], -1.0), (heads[-1], 1.0)):
        ends.append(
            _overhang_mm(region, curves, origin, head, sign, direction, level_hu)
        )
    stations = np.arange(ends[0], ends[1] + STATION_MM, STATION_MM)
    points = origin + np.stack([curve(stations) for curve in curves], axis=1)
    if len(points) < 2:
        return None
    return RodModel(side, points, _radius_mm(region, chain, level_hu, ceiling_hu))


def _overhang_mm(
    region: ScanRegion,
    curves: list[Any],
    origin: FloatArray,
    head: FloatArray,
    sign: float,
    direction: FloatArray,
    level_hu: float,
) -> float:
    """Coordinate at which the rod ends beyond its last head.

    Beyond the head the curve goes straight on, corrected by the sections seen.
    """
    u = float((head - origin) @ direction)
    at = origin + np.array([float(curve(u)) for curve in curves])
    slope = np.array([float(curve.deriv()(u)) for curve in curves])
    step = sign * STATION_MM * slope / np.linalg.norm(slope)
    last = u
    for number in range(1, int(LONGEST_OVERHANG_MM / STATION_MM)):
        at = at + step
        if number * STATION_MM > HEAD_REACH_MM:
            found = _section(region, at, step / STATION_MM, level_hu)
            if found is None:
                break
            at = found
        elif float(region.sample_hu(at[None])[0]) < level_hu:
            break
        last = float((at - origin) @ direction)
    return last


def _radius_mm(
    region: ScanRegion, chain: _Chain, level_hu: float, ceiling_hu: float | None
) -> float:
    """Radius from the longest gap, corrected for blur."""
    longest = max(chain.gaps, key=len)
    if len(longest) < 5:
        return TYPICAL_ROD_RADIUS_MM
    middle = longest.mean(axis=0)
    along = np.linalg.svd(longest - middle)[2][0]
    t = (longest - middle) @ along
    inner = np.sort(t[np.abs(t) < 5.0])
    prior = ShaftPrior(TYPICAL_ROD_RADIUS_MM, 0.0, TITANIUM_HU, ceiling_hu)
    profile = fit_shaft(region, ScrewAxis(middle, along), inner, prior)
    return float(np.clip(profile.radius_mm, 0.5 * NARROWEST_MM, WIDEST_MM))
