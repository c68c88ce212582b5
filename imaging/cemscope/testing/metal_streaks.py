"""What metal and dense cement do to the rays that cross them, as an error image.

The rays through a slice's metal are followed in parallel geometry; the difference
between what the scanner makes of them (beam hardening of a polychromatic beam, scatter,
quanta that do not arrive) and the ideal line integral is filtered and back-projected
(De Man 1999, doi:10.1109/23.775600, names these causes of streaks).
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cemscope.testing.aligned_sampling import linear_weights
from cemscope.testing.beam_table import Beam, Substance, mu_of
from cemscope.testing.projection import (
    ParallelDetector,
    back_project,
    ramp_response,
    strip_matrix,
)
from cemscope.testing.scalar_field import PlaneGrid

if TYPE_CHECKING:
    from cemscope.testing.quick_scanner import QuickScan

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

STREAK_CELL_MM = 1.0
"""Grid of the error image, and pitch of its rays."""

VIEWS = 300
"""Angles over 180 degrees."""

LEAST_FRACTION = 0.01
"""Less metal or cement in a cell is left out."""

LEAST_SLICE_ML = 0.004
"""Slices with less metal and cement than this stay as they are."""

ELECTRONIC_NOISE = 4.0
"""Standard deviation in quanta, as `ScannerSettings`."""

SCATTER_SIGMA_MM = 25.0
"""As `cemscope.testing.scanner`."""

SLICES_AT_ONCE = 40
"""Slices that share the work of a projection."""

LONGEST_WATER_CM = 80.0
"""End of the water correction's table."""


@dataclass(frozen=True, slots=True, eq=False)
class BodySection:
    """The whole body round the scan on a coarse grid: water and compact bone."""

    grid: PlaneGrid
    water: Float32Array
    compact: Float32Array


@dataclass(slots=True, eq=False)
class HardCells:
    """Collects the voxels that hold metal or cement, block by block of planes."""

    voxels: PlaneGrid
    cells: dict[str, list[tuple[npt.NDArray[np.intp], Float32Array]]] = field(
        default_factory=dict
    )

    @property
    def used(self) -> bool:
        """Whether anything was collected."""
        return any(self.cells.values())

    def add(self, kind: str, first_slice: int, fraction: Float32Array) -> None:
        """Note fractions in some slices; contributions to a voxel add up."""
        where = np.flatnonzero(fraction > LEAST_FRACTION)
        if len(where):
            offset = first_slice * fraction[0].size
            values = fraction.ravel()[where]
            self.cells.setdefault(kind, []).append((where + offset, values))

    def of(self, kind: str) -> tuple[npt.NDArray[np.intp], Float32Array]:
        """Slice and flat index within the slice, shape (n, 2), and fractions."""
        parts = self.cells.get(kind, [])
        if not parts:
            return np.zeros((0, 2), np.intp), np.zeros(0, np.float32)
        index, back = np.unique(
            np.concatenate([p[0] for p in parts]), return_inverse=True
        )
        total = np.bincount(back, np.concatenate([p[1] for p in parts]))
        section = self.voxels.shape[1] * self.voxels.shape[2]
        where = np.stack(np.divmod(index, section), axis=1)
        return where, total.astype(np.float32)


def streak_hu(
    hard: HardCells,
    body: BodySection,
    beam: Beam,
    mu: FloatArray,
    scan: "QuickScan",
) -> Float32Array:
    """Error image on the scan's voxels, HU.

    Parameters
    ----------
    hard
        Metal and cement.
    body
        What else the rays cross.
    beam
        The tube voltage.
    mu
        Attenuation of fat, muscle, bone, marrow, cement, metal; 1/cm per energy bin.
    scan
        The scan.
    """
    grid = hard.voxels
    total = np.zeros(grid.shape, np.float32)
    volume = np.zeros(grid.shape[0])
    for kind in ("metal", "cement"):
        where, values = hard.of(kind)
        np.add.at(volume, where[:, 0], values)
    volume *= grid.cell_mm**2 * grid.plane_mm / 1000.0
    slices = np.flatnonzero(volume > LEAST_SLICE_ML * grid.plane_mm)
    x, y, _ = grid.first_mm
    size = np.array(grid.shape[:0:-1]) * grid.cell_mm
    middle = np.array([x, y]) + 0.5 * (size - grid.cell_mm)
    n = np.ceil(size / STREAK_CELL_MM).astype(int) + 3
    xs = middle[0] + (np.arange(n[0]) - 0.5 * (n[0] - 1)) * STREAK_CELL_MM
    ys = middle[1] + (np.arange(n[1]) - 0.5 * (n[1] - 1)) * STREAK_CELL_MM
    up_x = _between(x + grid.cell_mm * np.arange(grid.shape[2]), xs)
    up_y = _between(y + grid.cell_mm * np.arange(grid.shape[1]), ys)
    for first in range(0, len(slices), SLICES_AT_ONCE):
        chosen = slices[first : first + SLICES_AT_ONCE]
        error = _error_image(hard, body, beam, mu, scan, chosen, (xs, ys))
        for k, plane in zip(chosen, error, strict=True):
            total[k] = up_y @ plane @ up_x.T
    return total


def _error_image(
    hard: HardCells,
    body: BodySection,
    beam: Beam,
    mu: FloatArray,
    scan: "QuickScan",
    slices: npt.NDArray[np.intp],
    nodes: tuple[FloatArray, FloatArray],
) -> Float32Array:
    """HU on the coarse nodes, shape (slices, rows, columns)."""
    xs, ys = nodes
    grid = hard.voxels
    parts = [_columns(hard, kind, slices) for kind in ("metal", "cement")]
    section = _section(body, grid, slices)
    corners = [(xs[i], ys[j]) for i in (0, -1) for j in (0, -1)]
    bx, by, _ = body.grid.first_mm
    far = np.array(body.grid.shape[:0:-1]) * body.grid.cell_mm
    corners += [(bx, by), (bx + far[0], by + far[1]), (bx, by + far[1])]
    corners += [(bx + far[0], by)]
    centre = (0.5 * (xs[0] + xs[-1]), 0.5 * (ys[0] + ys[-1]))
    detector = ParallelDetector.covering(corners, centre, STREAK_CELL_MM, 10.0)
    frequency = np.fft.rfftfreq(detector.padded, detector.bin_mm)
    response = ramp_response(detector) * scan.kernel.window(frequency)
    column, row = np.meshgrid(xs, ys)
    pixels = np.stack([column.ravel(), row.ravel()], axis=1)
    image = np.zeros((len(pixels), len(slices)), np.float32)
    rays = _Rays(beam, mu, scan)
    rng = np.random.default_rng([scan.seed, 13, int(slices[0])])
    for view in range(VIEWS):
        angle = np.pi * view / VIEWS
        paths = [
            strip_matrix(detector, grid.cell_mm, xy, angle) @ density
            for xy, density in parts
        ]
        across = strip_matrix(detector, body.grid.cell_mm, section[0], angle)
        # A coarse cell is wider than a bin: its shadow is smooth.
        water, bone = across @ section[1], across @ section[2]
        error = rays.error_cm(water, bone, paths[1], paths[0], rng)
        filtered = np.fft.irfft(
            np.fft.rfft(error, detector.padded, axis=0) * response[:, None],
            detector.padded,
            axis=0,
        )[: detector.bins]
        back_project(image, filtered.astype(np.float32), pixels, detector, angle)
    image *= np.float32(1000.0 * np.pi / VIEWS)
    return np.ascontiguousarray(image.T).reshape(len(slices), len(ys), len(xs))


def _between(
    positions: npt.NDArray[np.floating[Any]], nodes: npt.NDArray[np.floating[Any]]
) -> Float32Array:
    """Matrix of linear interpolation from evenly spaced nodes."""
    return linear_weights((positions - nodes[0]) / (nodes[1] - nodes[0]), len(nodes))


def _columns(
    hard: HardCells, kind: str, slices: npt.NDArray[np.intp]
) -> tuple[FloatArray, Float32Array]:
    """Pixels that hold a kind in some slice, and their fractions (pixels, slices)."""
    grid = hard.voxels
    where, values = hard.of(kind)
    wanted = np.isin(where[:, 0], slices)
    where, values = where[wanted], values[wanted]
    used, pixel = np.unique(where[:, 1], return_inverse=True)
    density = np.zeros((len(used), len(slices)), np.float32)
    density[pixel, np.searchsorted(slices, where[:, 0])] = values
    row, column = np.divmod(used, grid.shape[2])
    xy = np.stack([column, row], axis=1) * grid.cell_mm + np.array(grid.first_mm[:2])
    return xy, density


def _section(
    body: BodySection, grid: PlaneGrid, slices: npt.NDArray[np.intp]
) -> tuple[FloatArray, Float32Array, Float32Array]:
    z = grid.first_mm[2] + grid.plane_mm * slices
    nodes = body.grid.first_mm[2] + body.grid.plane_mm * np.arange(body.grid.shape[0])
    mix = _between(z, nodes)
    flat = [a.reshape(len(a), -1) for a in (body.water, body.compact)]
    used = np.flatnonzero((flat[0] > 0).any(axis=0) | (flat[1] > 0).any(axis=0))
    row, column = np.divmod(used, body.grid.shape[2])
    xy = np.stack([column, row], axis=1) * body.grid.cell_mm
    xy = xy + np.array(body.grid.first_mm[:2])
    return xy, (mix @ flat[0][:, used]).T.copy(), (mix @ flat[1][:, used]).T.copy()


class _Rays:
    """What a scanner reads off rays, against the ideal."""

    def __init__(self, beam: Beam, mu: FloatArray, scan: "QuickScan") -> None:
        self.beam, self.scan = beam, scan
        self.mu = np.stack([mu_of(Substance.WATER), mu[2], mu[4], mu[5]])
        self.ideal = np.array([1.0 + beam.hu(m) / 1000.0 for m in self.mu])
        self.water_cm = np.linspace(0.0, LONGEST_WATER_CM, 801)
        self.lost = beam.attenuation(self.mu[:1], self.water_cm[:, None])
        self.quanta = scan.photons * scan.slice_thickness_mm

    def error_cm(
        self,
        water: Float32Array,
        bone: Float32Array,
        cement: Float32Array,
        metal: Float32Array,
        rng: np.random.Generator,
    ) -> FloatArray:
        """Error of the water-equivalent path of each ray, shape (bins, slices)."""
        error = np.zeros(water.shape)
        hit = (metal > 1e-4) | (cement > 1e-3)
        # Scatter reaches rays beside the metal, but there it is the patient's own.
        paths = np.stack([water[hit], bone[hit], cement[hit], metal[hit]], axis=-1)
        soft = paths.copy()
        soft[:, 2:] = 0.0
        with_metal = self._read(paths)
        without = self._read(soft)
        random = np.zeros(len(paths))
        if self.quanta > 0:
            spread = np.sqrt(
                np.maximum(self._variance(with_metal) - self._variance(without), 0.0)
            )
            random = spread * rng.standard_normal(len(paths))
        # The scanner never takes the logarithm of nothing: it smooths starved rays.
        read = self._corrected(with_metal + np.clip(random, -1.2, 1.2))
        error[hit] = read - self._corrected(without)
        error[hit] -= paths[:, 2:] @ self.ideal[2:]
        return error

    def _read(self, paths: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Attenuation with scatter: a share of the patient's signal fills shadows."""
        lost = self.beam.attenuation(self.mu, paths)
        if self.scan.scatter_fraction <= 0:
            return lost
        around = self.beam.attenuation(self.mu[:2], paths[:, :2])
        share = self.scan.scatter_fraction
        filled = (1.0 - share) * np.exp(-lost) + share * np.exp(-around)
        return np.asarray(-np.log(filled))

    def _variance(self, lost: FloatArray) -> FloatArray:
        quanta = self.quanta * np.exp(-lost)
        variance: FloatArray = (quanta + ELECTRONIC_NOISE**2) / np.maximum(
            quanta, 1
        ) ** 2
        return variance

    def _corrected(self, lost: FloatArray) -> FloatArray:
        beyond = np.maximum(lost - self.lost[-1], 0.0)
        slope = (self.water_cm[-1] - self.water_cm[-2]) / (
            self.lost[-1] - self.lost[-2]
        )
        inner = np.interp(lost, self.lost, self.water_cm)
        return np.asarray(inner + beyond * slope)
