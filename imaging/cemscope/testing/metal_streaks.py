"""What metal and dense cement do to the rays that cross them, as an error image.

The rays through a slice's metal are followed in parallel geometry; the difference
between what the scanner makes of them (beam hardening of a polychromatic beam, scatter,
quanta that do not arrive) and the ideal line integral is filtered and back-projected
(De Man 1999, doi:10.1109/23.775600, names these causes of streaks).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cemscope.testing.aligned_sampling import linear_weights
from cemscope.testing.beam_table import Substance, mu_of
from cemscope.testing.hard_scene import (
    STREAK_CELL_MM,
    BodySection,
    HardCells,
    HardScene,
)
from cemscope.testing.projection import (
    ParallelDetector,
    back_project,
    ramp_response,
    strip_matrix,
)
from cemscope.testing.scalar_field import PlaneGrid

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

VIEWS = 300
"""Angles over 180 degrees."""

FEW_VIEWS = 24
"""Angles that are enough for a mean over all rays."""

ELECTRONIC_NOISE = 4.0
"""Standard deviation in quanta, as `ScannerSettings`."""

SCATTER_SIGMA_MM = 25.0
"""As `cemscope.testing.scanner`."""

SLICES_AT_ONCE = 40
"""Slices that share the work of a projection."""

LONGEST_WATER_CM = 80.0
"""End of the water correction's table."""


def effective_hu(scene: HardScene) -> FloatArray:
    """HU of cement and metal as the scanner reads them on average in this patient.

    Dense things harden the beam for themselves, so that they read less than a thin
    piece would. With these values in the image, only the rest is left to the error
    image, which is coarser and would blur the difference into the surroundings.
    """
    chosen = scene.slices()
    chosen = chosen[:: max(1, len(chosen) // SLICES_AT_ONCE)]
    thin = np.array([scene.beam.hu(m) for m in scene.mu[4:6]])
    if not chosen.size:
        return thin
    rays = _Rays(scene, thin)
    lines = _Lines.of(scene, chosen, scene.nodes())
    paths, read = [], []
    for view in range(FEW_VIEWS):
        water, bone, cement, metal = lines.paths(np.pi * (view + 0.5) / FEW_VIEWS)
        hit = (metal > 1e-2) | (cement > 1e-2)
        part = np.stack([water[hit], bone[hit], cement[hit], metal[hit]], axis=-1)
        paths.append(part[:, 2:])
        read.append(rays.added_cm(part))
    path = np.concatenate(paths).astype(float)
    weight = 1.0 / np.sqrt(path.sum(axis=1))
    used = (path > 0).any(axis=0)
    fit = np.linalg.lstsq(
        path[:, used] * weight[:, None], np.concatenate(read) * weight, rcond=None
    )[0]
    thin[used] = 1000.0 * (fit - 1.0)
    return thin


def streak_hu(scene: HardScene, hard_hu: FloatArray) -> Float32Array:
    """Error image on the scan's voxels, HU.

    Parameters
    ----------
    scene
        What the rays cross.
    hard_hu
        HU of cement and metal that the image holds already.
    """
    grid = scene.hard.voxels
    total = np.zeros(grid.shape, np.float32)
    slices = scene.slices()
    x, y, _ = grid.first_mm
    xs, ys = scene.nodes()
    up_x = _between(x + grid.cell_mm * np.arange(grid.shape[2]), xs)
    up_y = _between(y + grid.cell_mm * np.arange(grid.shape[1]), ys)
    for first in range(0, len(slices), SLICES_AT_ONCE):
        chosen = slices[first : first + SLICES_AT_ONCE]
        error = _error_image(scene, hard_hu, chosen)
        for k, plane in zip(chosen, error, strict=True):
            total[k] = up_y @ plane @ up_x.T
    return total


def _error_image(
    scene: HardScene, hard_hu: FloatArray, slices: npt.NDArray[np.intp]
) -> Float32Array:
    """HU on the coarse nodes, shape (slices, rows, columns)."""
    nodes = scene.nodes()
    xs, ys = nodes
    scan = scene.scan
    lines = _Lines.of(scene, slices, nodes)
    detector = lines.detector
    frequency = np.fft.rfftfreq(detector.padded, detector.bin_mm)
    response = ramp_response(detector) * scan.kernel.window(frequency)
    column, row = np.meshgrid(xs, ys)
    pixels = np.stack([column.ravel(), row.ravel()], axis=1)
    image = np.zeros((len(pixels), len(slices)), np.float32)
    rays = _Rays(scene, hard_hu)
    rng = np.random.default_rng([scan.seed, 13, int(slices[0])])
    for view in range(VIEWS):
        angle = np.pi * view / VIEWS
        error = rays.error_cm(lines.paths(angle), rng)
        filtered = np.fft.irfft(
            np.fft.rfft(error, detector.padded, axis=0) * response[:, None],
            detector.padded,
            axis=0,
        )[: detector.bins]
        back_project(image, filtered.astype(np.float32), pixels, detector, angle)
    image *= np.float32(1000.0 * np.pi / VIEWS)
    return np.ascontiguousarray(image.T).reshape(len(slices), len(ys), len(xs))


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """What rays cross in some slices."""

    detector: ParallelDetector
    cell_mm: tuple[float, float]
    hard: tuple[tuple[FloatArray, Float32Array], ...]
    section: tuple[FloatArray, Float32Array, Float32Array]

    @classmethod
    def of(
        cls,
        scene: HardScene,
        slices: npt.NDArray[np.intp],
        nodes: tuple[FloatArray, FloatArray],
    ) -> "_Lines":
        xs, ys = nodes
        body, grid = scene.body, scene.hard.voxels
        corners = [(xs[i], ys[j]) for i in (0, -1) for j in (0, -1)]
        bx, by, _ = body.grid.first_mm
        far = np.array(body.grid.shape[:0:-1]) * body.grid.cell_mm
        corners += [(bx, by), (bx + far[0], by + far[1]), (bx, by + far[1])]
        corners += [(bx + far[0], by)]
        centre = (0.5 * (xs[0] + xs[-1]), 0.5 * (ys[0] + ys[-1]))
        return cls(
            ParallelDetector.covering(corners, centre, STREAK_CELL_MM, 10.0),
            (grid.cell_mm, body.grid.cell_mm),
            tuple(_columns(scene.hard, kind, slices) for kind in ("cement", "metal")),
            _section(body, grid, slices),
        )

    def paths(
        self, angle: float
    ) -> tuple[Float32Array, Float32Array, Float32Array, Float32Array]:
        """Water, bone, cement and metal in cm, each of shape (bins, slices)."""
        hard_cell, body_cell = self.cell_mm
        cement, metal = (
            strip_matrix(self.detector, hard_cell, xy, angle) @ density
            for xy, density in self.hard
        )
        across = strip_matrix(self.detector, body_cell, self.section[0], angle)
        # A coarse cell is wider than a bin: its shadow is smooth.
        return across @ self.section[1], across @ self.section[2], cement, metal


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

    def __init__(self, scene: HardScene, hard_hu: FloatArray) -> None:
        mu, beam, scan = scene.mu, scene.beam, scene.scan
        self.beam, self.scan = beam, scan
        self.mu = np.stack([mu_of(Substance.WATER), mu[2], mu[4], mu[5]])
        self.ideal = 1.0 + hard_hu / 1000.0
        self.water_cm = np.linspace(0.0, LONGEST_WATER_CM, 801)
        self.lost = beam.attenuation(self.mu[:1], self.water_cm[:, None])
        self.quanta = scan.photons * scan.slice_thickness_mm

    def error_cm(
        self,
        lines_cm: tuple[Float32Array, Float32Array, Float32Array, Float32Array],
        rng: np.random.Generator,
    ) -> FloatArray:
        """Error of the water-equivalent path of each ray, shape (bins, slices)."""
        water, bone, cement, metal = lines_cm
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
        error[hit] -= paths[:, 2:] @ self.ideal
        return error

    def added_cm(self, paths: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Water that cement and metal seem to add to rays, without noise, cm."""
        soft = paths.copy()
        soft[:, 2:] = 0.0
        return self._corrected(self._read(paths)) - self._corrected(self._read(soft))

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
