"""A CT scanner: from materials on a grid to Hounsfield units.

Every slice is measured by parallel rays in its plane (no cone angle), with the whole
tube spectrum. The steps are those of a textbook scanner (Hsieh, Computed Tomography,
4th ed. 2022; Kak and Slaney 1988, ch. 3): line integrals, transmission per energy,
averaging over the slice profile in the intensity domain, blur of detector and focal
spot, scatter, noise, water correction, ramp filter with a kernel, back-projection.
What it leaves out: cone beam, helical interpolation, motion, metal artefact reduction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.testing.attenuation import (
    WATER,
    Material,
    MaterialBasis,
    Spectrum,
    material_basis,
    mu_per_cm,
    tube_spectrum,
)
from cemscope.testing.projection import (
    ParallelDetector,
    back_project,
    ramp_response,
    strip_matrix,
)
from cemscope.testing.scanner_settings import ScannerSettings

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

FWHM_PER_SIGMA = 2.354820045
"""Full width at half maximum of a Gaussian with standard deviation 1."""

SCATTER_SIGMA_MM = 25.0
"""Spread of scattered radiation over the detector, at the isocentre."""

LONGEST_WATER_PATH_CM = 60.0
"""The water correction is tabulated up to here; no body section is longer."""


@dataclass(frozen=True, slots=True, eq=False)
class MaterialLayer:
    """Volume fraction of one material on consecutive planes of a grid.

    Attributes
    ----------
    fraction : ndarray of float32, shape (planes, rows, columns)
        0 to 1.
    first_plane : int
        Which plane of the scan the first one is; others hold none.
    """

    material: Material
    fraction: Float32Array
    first_plane: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class MaterialGrid:
    """Part of a body section on square pixels; several grids add up.

    Attributes
    ----------
    pixel_mm : float
        Pixel size.
    first_xy_mm : tuple of float
        LPS position of the centre of pixel (0, 0).
    layers : tuple of MaterialLayer
        All with the same rows and columns.
    """

    pixel_mm: float
    first_xy_mm: tuple[float, float]
    layers: tuple[MaterialLayer, ...]

    def corners_xy_mm(self) -> tuple[tuple[float, float], ...]:
        """Outer corners of the grid."""
        rows, columns = self.layers[0].fraction.shape[1:]
        x, y = (first - 0.5 * self.pixel_mm for first in self.first_xy_mm)
        far_x, far_y = x + columns * self.pixel_mm, y + rows * self.pixel_mm
        return (x, y), (far_x, y), (x, far_y), (far_x, far_y)


def slice_planes_mm(
    slice_z_mm: npt.ArrayLike, settings: ScannerSettings
) -> tuple[FloatArray, FloatArray]:
    """Planes that must be known to scan some slices.

    Returns
    -------
    plane_z_mm : ndarray, shape (planes,)
        Ascending.
    profile : ndarray, shape (slices, planes)
        Weight of each plane in each slice; rows sum to 1.
    """
    centres = np.atleast_1d(np.asarray(slice_z_mm, float))
    step = settings.subslice_mm
    sigma = settings.slice_thickness_mm / FWHM_PER_SIGMA
    reach = 1.5 * settings.slice_thickness_mm
    low, high = centres.min() - reach, centres.max() + reach
    planes = (np.arange(np.floor(low / step), np.ceil(high / step) + 1) + 0.5) * step
    distance = planes[None] - centres[:, None]
    profile = np.exp(-0.5 * (distance / sigma) ** 2) * (np.abs(distance) <= reach)
    return planes, profile / profile.sum(axis=1, keepdims=True)


def scan_slices(
    grids: Sequence[MaterialGrid],
    profile: FloatArray,
    settings: ScannerSettings,
    first_slice: int = 0,
) -> Float32Array:
    """Scan consecutive slices.

    Parameters
    ----------
    grids
        The whole body section on every plane of ``profile``; nothing is truncated.
    profile
        Weights from `slice_planes_mm`, shape (slices, planes).
    settings
        The scanner.
    first_slice
        Number of the first slice in the scan; it chooses the noise, so that a scan
        can be made in parts.

    Returns
    -------
    ndarray of float32, shape (slices, matrix, matrix)
        HU, neither rounded nor clipped; NaN outside the circle.

    Raises
    ------
    ConfigError
        If the extra ``simulation`` is missing.
    """
    spectrum = tube_spectrum(settings.kvp)
    basis = material_basis(
        [layer.material for grid in grids for layer in grid.layers], spectrum
    )
    columns = [_basis_columns(grid, basis, profile.shape[1]) for grid in grids]
    detector = ParallelDetector.covering(
        (corner for grid in grids for corner in grid.corners_xy_mm()),
        settings.centre_xy_mm,
        settings.bin_mm,
        settings.reconstruction_radius_mm,
    )
    correction = _WaterCorrection.of(spectrum)
    pixels_xy, inside = _pixels(settings)
    image = np.zeros((len(pixels_xy), len(profile)), np.float32)
    noise = [
        np.random.default_rng([settings.seed, first_slice + k])
        for k in range(len(profile))
    ]
    frequency = np.fft.rfftfreq(detector.padded, settings.bin_mm)
    response = ramp_response(detector) * settings.kernel.window(frequency)
    for view in range(settings.views):
        angle = np.pi * view / settings.views
        paths = _line_integrals(columns, detector, angle, len(basis.materials))
        signal = _detected(paths, basis, profile, settings)
        signal = _degrade(signal, settings, noise)
        path_cm = correction.water_cm(signal)
        filtered = np.fft.irfft(
            np.fft.rfft(path_cm, detector.padded, axis=0) * response[:, None],
            detector.padded,
            axis=0,
        )[: detector.bins]
        back_project(image, filtered.astype(np.float32), pixels_xy, detector, angle)
    image *= np.float32(np.pi / settings.views)
    hu = np.full((len(profile), settings.matrix**2), np.nan, np.float32)
    hu[:, inside] = 1000.0 * (image.T - 1.0)
    return hu.reshape(len(profile), settings.matrix, settings.matrix)


def to_scale(hu: Float32Array, settings: ScannerSettings) -> npt.NDArray[np.int16]:
    """Round and clip to the scanner's scale; outside the circle stands the floor."""
    filled = np.nan_to_num(hu, nan=float(settings.floor_hu))
    clipped = np.clip(np.rint(filled), settings.floor_hu, settings.ceiling_hu)
    return clipped.astype(np.int16)


@dataclass(frozen=True, slots=True, eq=False)
class _WaterCorrection:
    """Thickness of water behind which a signal is left."""

    water: FloatArray
    attenuation: FloatArray

    @classmethod
    def of(cls, spectrum: Spectrum) -> "_WaterCorrection":
        water = np.linspace(0.0, LONGEST_WATER_PATH_CM, 2401)
        mu = mu_per_cm(WATER, spectrum.energy_kev)[None]
        return cls(water, -np.log(spectrum.transmission(mu, water[:, None])))

    def water_cm(self, signal: FloatArray) -> FloatArray:
        attenuation = -np.log(signal)
        inner = np.interp(attenuation, self.attenuation, self.water)
        # A straight line beyond the table and below zero (noise in air).
        first = (self.water[1] - self.water[0]) / self.attenuation[1]
        last = (self.water[-1] - self.water[-2]) / (
            self.attenuation[-1] - self.attenuation[-2]
        )
        below = np.minimum(attenuation, 0.0) * first
        above = np.maximum(attenuation - self.attenuation[-1], 0.0) * last
        total: FloatArray = inner + below + above
        return total


@dataclass(frozen=True, slots=True, eq=False)
class _BasisColumns:
    """Path-ready maps of one grid: one column per (basis material, plane)."""

    pixel_mm: float
    xy_mm: FloatArray
    density: Float32Array
    basis_of_column: npt.NDArray[np.intp]
    plane_of_column: npt.NDArray[np.intp]


def _basis_columns(
    grid: MaterialGrid, basis: MaterialBasis, planes: int
) -> _BasisColumns:
    maps: dict[tuple[int, int], Float32Array] = {}
    for layer in grid.layers:
        weights = basis.coefficients(layer.material)
        flat = layer.fraction.reshape(len(layer.fraction), -1)
        for material in np.flatnonzero(weights):
            for offset, plane in enumerate(flat):
                if layer.first_plane + offset >= planes or not plane.any():
                    continue
                key = (int(material), layer.first_plane + offset)
                part = plane * np.float32(weights[material])
                maps[key] = maps[key] + part if key in maps else part
    keys = sorted(maps)
    rows, columns = grid.layers[0].fraction.shape[1:]
    filled = np.zeros(rows * columns, bool)
    for part in maps.values():
        filled |= part != 0
    used = np.flatnonzero(filled)
    density = np.empty((len(used), len(keys)), np.float32)
    for column, key in enumerate(keys):
        density[:, column] = maps.pop(key)[used]
    y, x = np.divmod(used, columns)
    xy = np.stack([x, y], axis=1) * grid.pixel_mm + np.asarray(grid.first_xy_mm)
    return _BasisColumns(
        grid.pixel_mm,
        xy,
        density,
        np.array([k[0] for k in keys], dtype=np.intp),
        np.array([k[1] for k in keys], dtype=np.intp),
    )


def _line_integrals(
    columns: Sequence[_BasisColumns],
    detector: ParallelDetector,
    angle: float,
    materials: int,
) -> list[tuple[int, npt.NDArray[np.intp], Float32Array]]:
    """Paths in cm per basis material: (material, its planes, bins x planes)."""
    results = []
    projected = [
        (part, strip_matrix(detector, part.pixel_mm, part.xy_mm, angle) @ part.density)
        for part in columns
    ]
    for material in range(materials):
        planes = np.unique(
            np.concatenate(
                [p.plane_of_column[p.basis_of_column == material] for p, _ in projected]
            )
        )
        if not planes.size:
            continue
        path = np.zeros((detector.bins, len(planes)), np.float32)
        for part, lines in projected:
            mine = part.basis_of_column == material
            where = np.searchsorted(planes, part.plane_of_column[mine])
            path[:, where] += lines[:, mine]
        results.append((material, planes, path))
    return results


def _detected(
    paths: list[tuple[int, npt.NDArray[np.intp], Float32Array]],
    basis: MaterialBasis,
    profile: FloatArray,
    settings: ScannerSettings,
) -> FloatArray:
    """Signal per bin and slice, 1 in air."""
    bins = paths[0][2].shape[0]
    planes = profile.shape[1]
    signal = np.zeros((bins, planes), np.float32)
    for mu, weight in zip(basis.mu_per_cm.T, basis.spectrum.weight, strict=True):
        exponent = np.zeros((bins, planes), np.float32)
        for material, where, path in paths:
            if len(where) == planes:
                exponent -= path * np.float32(mu[material])
            else:
                exponent[:, where] -= path * np.float32(mu[material])
        np.exp(exponent, out=exponent)
        signal += np.float32(weight) * exponent
    mean: FloatArray = signal.astype(float) @ profile.T
    if settings.blur_fwhm_mm > 0:
        sigma = settings.blur_fwhm_mm / FWHM_PER_SIGMA / settings.bin_mm
        mean = ndimage.gaussian_filter1d(mean, sigma, axis=0, mode="nearest")
    return mean


def _degrade(
    signal: FloatArray,
    settings: ScannerSettings,
    noise: Sequence[np.random.Generator],
) -> FloatArray:
    """Scatter and noise; the result stays above a thousandth of a quantum."""
    if settings.scatter_fraction > 0:
        width = SCATTER_SIGMA_MM / settings.bin_mm
        smooth = np.exp(
            ndimage.gaussian_filter1d(
                np.log(np.maximum(signal, 1e-9)), width, axis=0, truncate=2.5
            )
        )
        share = settings.scatter_fraction
        signal = (1.0 - share) * signal + share * smooth
    if settings.photons <= 0:
        return np.maximum(signal, 1e-12)
    quanta = signal * settings.photons * settings.slice_thickness_mm
    random = np.stack([g.standard_normal(len(signal)) for g in noise], axis=1)
    noisy = quanta + random * np.sqrt(quanta + settings.electronic_noise**2)
    # The scanner never takes the logarithm of nothing: it smooths starved rays.
    floor = np.maximum(0.3 * quanta, 2.0)
    return np.maximum(noisy, floor) / (settings.photons * settings.slice_thickness_mm)


def _pixels(settings: ScannerSettings) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    n = settings.matrix
    offset = (np.arange(n) - (n - 1) / 2) * settings.pixel_mm
    y, x = np.meshgrid(offset, offset, indexing="ij")
    inside = np.flatnonzero(np.hypot(x, y) <= settings.reconstruction_radius_mm)
    xy = np.stack([x.ravel()[inside], y.ravel()[inside]], axis=1)
    return xy + np.asarray(settings.centre_xy_mm), inside


def chunks(count: int, size: int) -> Iterator[slice]:
    """Split a scan of ``count`` slices into parts of at most ``size``."""
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))
