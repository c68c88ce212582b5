"""The way that leaked cement took: where it left the bone, and how it runs on.

Paths follow the densest cement (a shortest path whose cost grows where there is less
cement; Dijkstra 1959), from cement deep in the bone to the ends of the leak.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.graph import MCP_Geometric

from cemscope.measurement.cell_distance import cells_within
from cemscope.measurement.leak_pieces import LeakPiece
from cemscope.measurement.leak_regions import VertebraRegions
from cemscope.measurement.vertebra_grid import Float32Array
from cemscope.segmentation.scan_region import FloatArray
from cemscope.volume import BoolArray

DEEP_MM = 2.5
"""Cement this deep in the bone is what leaked; outlines are wrong by less."""

STRAIGHT_MM = (-2.2, -1.4, -0.7, 0.0, 0.7)
"""Depths at which an opening is filled; a vein along the wall is only outside."""

CROSSING_SHARE = 0.5
"""Cement passes the surface where it fills half of a cell."""

SOLID_SHARE = 0.35
"""As for the pieces of a leak."""

LEAST_OPENING_MM2 = 1.5
"""Smaller than the opening of a vein of 1.4 mm: a brush of two blurs."""

JOINED_SHARE = 0.15
"""Less cement than this is blur."""

SECTION_MM = 2.0
"""Thickness of the sections across a leak in which its width is measured."""

OTHER_EXIT_MM = 7.0
"""Openings nearer to each other are one."""

OTHER_EXIT_SHARE = 0.7
"""A second opening has at least this share of the area of the main one."""

GAP_MM = 3.0
"""Cement that is torn off is followed over a gap up to about this wide."""

AROUND_MM = 12.0
"""Cement within this distance of a leak may be where it comes from."""


@dataclass(frozen=True, slots=True, eq=False)
class LeakExit:
    """An opening in the surface of the bone.

    Attributes
    ----------
    local_mm : ndarray, shape (3,)
        Its middle in the vertebra's frame.
    area_mm2 : float
        Cement in the surface.
    through_arch : bool
        Out of a pedicle or an arch, not out of the body.
    """

    local_mm: FloatArray
    area_mm2: float
    through_arch: bool

    @property
    def width_mm(self) -> float:
        """Diameter of a disc of the same area."""
        return float(np.sqrt(4.0 * self.area_mm2 / np.pi))


@dataclass(frozen=True, slots=True, eq=False)
class LeakCourse:
    """How a leak runs outside the bone.

    Attributes
    ----------
    exits : tuple of LeakExit
        The main one first; empty where no way out is seen.
    path_mm : ndarray, shape (n, 3)
        From the first exit to the far end, in the vertebra's frame.
    length_mm : float
        Longest way within the leak.
    width_mm : float
        Mean width across that way.
    off_surface_mm : float
        Median distance of the leak from the body.
    """

    exits: tuple[LeakExit, ...]
    path_mm: FloatArray
    length_mm: float
    width_mm: float
    off_surface_mm: float

    @property
    def elongation(self) -> float:
        """Length over width; a tube has 3 and more."""
        return self.length_mm / max(self.width_mm, 1e-3)

    @property
    def slope_deg(self) -> float:
        """Angle between the course and the planes of the endplates."""
        if len(self.path_mm) < 2:
            return 0.0
        way = self.path_mm[-1] - self.path_mm[0]
        steps = np.diff(self.path_mm[:, :2], axis=0)
        level = float(np.linalg.norm(steps, axis=1).sum())
        return float(np.degrees(np.arctan2(abs(way[2]), max(level, 1e-6))))


def leak_course(piece: LeakPiece, regions: VertebraRegions) -> LeakCourse:
    """Follow a piece of leaked cement from the bone to its far end."""
    part = _LeakPart.of(piece, regions)
    exits = part.exits()
    path, length_mm, width_mm = part.longest_way(exits)
    points = part.grid_mm(path)
    if exits:
        points = np.concatenate([exits[0].local_mm[None], points])
    solid = part.cells & (part.cement >= SOLID_SHARE)
    off = part.body_mm[solid if solid.any() else part.cells]
    return LeakCourse(
        exits,
        points,
        length_mm,
        width_mm,
        max(float(np.median(off)), 0.0),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _LeakPart:
    """A piece and the cement near it, cut out of the vertebra's grid."""

    start: npt.NDArray[np.int64]
    cells: BoolArray
    cement: Float32Array
    bone_mm: Float32Array
    body_mm: Float32Array
    regions: VertebraRegions

    @classmethod
    def of(cls, piece: LeakPiece, regions: VertebraRegions) -> "_LeakPart":
        margin = round(AROUND_MM / regions.grid.cell_mm)
        found = ndimage.find_objects(piece.cells.view(np.uint8))[0]
        box = tuple(slice(max(p.start - margin, 0), p.stop + margin) for p in found)
        return cls(
            np.array([p.start for p in box]),
            piece.cells[box],
            regions.cement[box],
            regions.bone_mm[box],
            regions.shell.distance_mm[box],
            regions,
        )

    @property
    def cell_mm(self) -> float:
        return self.regions.grid.cell_mm

    def grid_mm(self, index: npt.ArrayLike) -> FloatArray:
        """Positions of cells of the part in the vertebra's frame."""
        return self.regions.grid.local_mm(np.asarray(index) + self.start)

    def exits(self) -> tuple[LeakExit, ...]:
        """Find the openings from the bone to the piece, the main one first."""
        main = self._main_exit()
        if main is None:
            return ()
        exits = [main]
        patches, count = ndimage.label(self._openings(), np.ones((3, 3, 3)))
        # The layer in which openings are looked for is two cells thick.
        area = np.bincount(patches.ravel(), minlength=count + 1) * self.cell_mm**2 / 2
        area[0] = 0.0
        least = max(LEAST_OPENING_MM2, OTHER_EXIT_SHARE * main.area_mm2)
        for number in np.argsort(-area, kind="stable"):
            if area[number] < least:
                break
            index = np.argwhere(patches == number)
            weights = self.cement[tuple(index.T)]
            middle = self.grid_mm(np.average(index, axis=0, weights=weights))
            apart = min(float(np.linalg.norm(middle - e.local_mm)) for e in exits)
            if apart >= OTHER_EXIT_MM:
                exits.append(
                    LeakExit(
                        middle, float(area[number]), _of_arch(middle, self.regions)
                    )
                )
        return tuple(exits)

    def _openings(self) -> BoolArray:
        """Cells of the surface that cement passes straight, from deep inside."""
        near = cells_within(self.cells, 2.0 / self.cell_mm)
        layer: BoolArray = (np.abs(self.bone_mm) < self.cell_mm) & near
        layer &= self.cement >= CROSSING_SHARE
        index = np.argwhere(layer)
        if len(index):
            smooth = ndimage.gaussian_filter(self.bone_mm, 1.5)
            at = tuple(index.T)
            normal = np.stack([slope[at] for slope in np.gradient(smooth)], axis=1)
            normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
            least = np.full(len(index), np.inf)
            for depth in STRAIGHT_MM:
                steps = (depth - self.bone_mm[at]) / self.cell_mm
                place = (index + normal * steps[:, None]).T
                share = ndimage.map_coordinates(self.cement, place, order=1)
                least = np.minimum(least, share)
            layer[tuple(index[least < CROSSING_SHARE].T)] = False
        return layer

    def _main_exit(self) -> LeakExit | None:
        """Where the densest way from the bone to the piece leaves it."""
        sources = np.empty((0, 3), int)
        for deep, least in ((DEEP_MM, 0.5), (1.0, 0.35), (0.0, 0.35)):
            sources = np.argwhere((self.cement >= least) & (self.bone_mm <= -deep))
            if len(sources):
                break
        if not len(sources):
            return None
        share = np.clip(self.cement, 0.0, 1.0).astype(float)
        search = MCP_Geometric(1.0 / (share + 0.1) ** 2)
        lengths, _ = search.find_costs(sources)
        beyond = self.cells & (self.bone_mm >= 1.0)
        to_piece = np.where(beyond if beyond.any() else self.cells, lengths, np.inf)
        end = np.unravel_index(int(np.argmin(to_piece)), to_piece.shape)
        way = np.array(search.traceback(end))
        empty = self.cement[tuple(way.T)] < 0.1
        if empty.sum() * self.cell_mm > GAP_MM:
            return None
        within = np.flatnonzero(self.bone_mm[tuple(way.T)] <= 0.0)
        at = way[within[-1]] if len(within) else way[0]
        middle = self.grid_mm(at)
        return LeakExit(middle, self._area_at(at), _of_arch(middle, self.regions))

    def _area_at(self, at: npt.NDArray[np.int64]) -> float:
        """Cement in the surface around a crossing."""
        layer = (np.abs(self.bone_mm) < self.cell_mm) & (self.cement >= CROSSING_SHARE)
        straight = self._openings()
        chosen = straight if straight.any() else layer
        index = np.argwhere(chosen)
        if not len(index):
            return LEAST_OPENING_MM2
        near = np.linalg.norm((index - at) * self.cell_mm, axis=1) <= OTHER_EXIT_MM
        area = float(near.sum()) * self.cell_mm**2 / 2.0
        return max(area, LEAST_OPENING_MM2)

    def longest_way(
        self, exits: tuple[LeakExit, ...]
    ) -> tuple[npt.NDArray[np.int64], float, float]:
        """Way from the exit to the far end, length of the longest, and its width."""
        index = np.argwhere(self.cells)
        if exits:
            away = self.grid_mm(index) - exits[0].local_mm
            first = index[int(np.argmin((away**2).sum(axis=1)))]
        else:
            first = index[int(np.argmin(self.bone_mm[tuple(index.T)]))]
        lengths, search = self._within(first)
        end = np.unravel_index(int(np.argmax(lengths)), lengths.shape)
        path = np.array(search.traceback(end))
        along = self._within(np.array(end))[0]
        width_mm = self._width_mm(along)
        return path, float(along.max()) * self.cell_mm, width_mm

    def _width_mm(self, along: npt.NDArray[np.float64]) -> float:
        """Mean width across the longest way: that of a disc with the same spread.

        A sheet is as wide as it is long, however thin it is.
        """
        chosen = (along >= 0) & (self.cement >= JOINED_SHARE)
        index = np.argwhere(chosen).astype(float)
        if not len(index):
            return self.cell_mm
        weights = np.clip(self.cement[chosen], 0.0, 1.0).astype(float)
        step = (along[chosen] * self.cell_mm / SECTION_MM).astype(int)
        total = np.bincount(step, weights)
        total[total <= 0] = np.inf
        spread = np.zeros(len(total))
        for axis in range(3):
            mean = np.bincount(step, weights * index[:, axis]) / total
            off = (index[:, axis] - mean[step]) ** 2
            spread += np.bincount(step, weights * off) / total
        held = np.where(np.isfinite(total), total, 0.0)
        # The section's own thickness spreads it along the way.
        own = (SECTION_MM / self.cell_mm) ** 2 / 12.0
        mean_spread = float((held * np.maximum(spread - own, 0.1)).sum() / held.sum())
        return 2.0 * float(np.sqrt(2.0 * mean_spread)) * self.cell_mm

    def _within(
        self, start: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float64], MCP_Geometric]:
        """Length of the shortest way within the piece, in cells; -1 elsewhere."""
        search = MCP_Geometric(np.where(self.cells, 1.0, np.inf))
        lengths, _ = search.find_costs([tuple(int(k) for k in start)])
        return np.where(np.isfinite(lengths), lengths, -1.0), search


def _of_arch(middle_mm: FloatArray, regions: VertebraRegions) -> bool:
    """Whether an opening lies in an arch's surface rather than in the body's."""
    return float(regions.grid.at(regions.shell.distance_mm, middle_mm[None])[0]) > 1.5
