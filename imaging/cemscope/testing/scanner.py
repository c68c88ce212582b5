"""A CT scanner: from materials on a grid to Hounsfield units.

Every slice is measured by parallel rays in its plane (no cone angle), with the whole
tube spectrum. The steps are those of a textbook scanner (Hsieh, Computed Tomography,
4th ed. 2022; Kak and Slaney 1988, ch. 3): line integrals, transmission per energy,
averaging over the slice profile in the intensity domain, blur of detector and focal
spot, scatter, noise, water correction, ramp filter with a kernel, back-projection.
What it leaves out: cone beam, helical interpolation, motion, metal artefact reduction.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from cemscope.testing.attenuation import (
    WATER,
    Material,
    MaterialBasis,
    Spectrum,
    material_basis,
    mu_per_cm,
    tube_spectrum,
)

_logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

AIR_HU = -1000.0
"""Attenuation zero."""

FWHM_PER_SIGMA = 2.354820045
"""Full width at half maximum of a Gaussian with standard deviation 1."""

SCATTER_SIGMA_MM = 25.0
"""Spread of scattered radiation over the detector, at the isocentre."""

LONGEST_WATER_PATH_CM = 60.0
"""The water correction is tabulated up to here; no body section is longer."""


class Kernel(StrEnum):
    """Reconstruction kernels; the value is written into ConvolutionKernel."""

    SOFT = "SIM-soft"
    STANDARD = "SIM-standard"
    BONE = "SIM-bone"

    @property
    def cutoff_per_mm(self) -> float:
        """Frequency at which the Hann window ends."""
        return {"SIM-soft": 0.62, "SIM-standard": 0.85, "SIM-bone": 1.25}[self.value]

    @property
    def enhancement(self) -> float:
        """Edge enhancement: the gain at the middle of the band is 1 + this."""
        return {"SIM-soft": 0.0, "SIM-standard": 0.05, "SIM-bone": 0.25}[self.value]

    def window(self, frequency_per_mm: FloatArray) -> FloatArray:
        """Apodisation of the ramp filter."""
        x = np.clip(frequency_per_mm / self.cutoff_per_mm, 0.0, 1.0)
        hann = 0.5 * (1.0 + np.cos(np.pi * x))
        shaped: FloatArray = hann * (1.0 + self.enhancement * np.sin(np.pi * x) ** 2)
        return shaped


@dataclass(frozen=True, slots=True)
class ScannerSettings:
    """How a scan is made.

    Attributes
    ----------
    kvp : float
        Tube voltage.
    kernel : Kernel
        Sharpness of the reconstruction.
    matrix : int
        Rows and columns.
    pixel_mm : float
        Pixel size.
    centre_xy_mm : tuple of float
        LPS position of the middle of the field of view.
    slice_increment_mm, slice_thickness_mm : float
        Distance of the slices, and width at half height of their Gaussian profile.
    subslice_mm : float
        Distance of the planes that make up a slice.
    views : int
        Projections over 180 degrees.
    bin_mm : float
        Detector pitch at the isocentre.
    blur_fwhm_mm : float
        Detector cross-talk and focal spot together, at the isocentre.
    photons : float
        Detected quanta per bin, view and 1 mm of slice thickness without a patient.
        0 leaves out all noise.
    electronic_noise : float
        Standard deviation in quanta.
    scatter_fraction : float
        Scatter that the scanner's own correction leaves: this share of the signal is
        spread over the neighbourhood. Soft tissue hardly changes, shadows of metal
        fill up and streaks grow darker.
    ceiling_hu, floor_hu : int
        The scale; values beyond are clipped.
    seed : int
        Of the noise.
    """

    kvp: float = 120.0
    kernel: Kernel = Kernel.STANDARD
    matrix: int = 288
    pixel_mm: float = 0.65
    centre_xy_mm: tuple[float, float] = (0.0, 0.0)
    slice_increment_mm: float = 1.0
    slice_thickness_mm: float = 1.0
    subslice_mm: float = 0.5
    views: int = 720
    bin_mm: float = 0.5
    blur_fwhm_mm: float = 0.7
    photons: float = 4.0e5
    electronic_noise: float = 4.0
    scatter_fraction: float = 0.0
    ceiling_hu: int = 3071
    floor_hu: int = -1024
    seed: int = 0

    @property
    def reconstruction_radius_mm(self) -> float:
        """Radius of the circle inside which pixels are measured."""
        return 0.5 * self.matrix * self.pixel_mm


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
    detector = _Detector.around(grids, settings)
    correction = _WaterCorrection.of(spectrum)
    pixels_xy, inside = _pixels(settings)
    image = np.zeros((len(pixels_xy), len(profile)), np.float32)
    noise = [
        np.random.default_rng([settings.seed, first_slice + k])
        for k in range(len(profile))
    ]
    response = _filter_response(detector, settings)
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
        _back_project(image, filtered.astype(np.float32), pixels_xy, detector, angle)
    image *= np.float32(np.pi / settings.views)
    hu = np.full((len(profile), settings.matrix**2), np.nan, np.float32)
    hu[:, inside] = 1000.0 * (image.T - 1.0)
    return hu.reshape(len(profile), settings.matrix, settings.matrix)


def to_scale(hu: Float32Array, settings: ScannerSettings) -> npt.NDArray[np.int16]:
    """Round and clip to the scanner's scale; outside the circle stands the floor."""
    filled = np.nan_to_num(hu, nan=float(settings.floor_hu))
    clipped = np.clip(np.rint(filled), settings.floor_hu, settings.ceiling_hu)
    return clipped.astype(np.int16)


@dataclass(frozen=True, slots=True)
class _Detector:
    """A row of bins, centred on the isocentre."""

    bins: int
    bin_mm: float
    centre_xy_mm: tuple[float, float]

    @classmethod
    def around(
        cls, grids: Sequence[MaterialGrid], settings: ScannerSettings
    ) -> "_Detector":
        centre = settings.centre_xy_mm
        reach = settings.reconstruction_radius_mm
        for grid in grids:
            rows, columns = grid.layers[0].fraction.shape[1:]
            for column in (-0.5, columns - 0.5):
                for row in (-0.5, rows - 0.5):
                    x = grid.first_xy_mm[0] + column * grid.pixel_mm - centre[0]
                    y = grid.first_xy_mm[1] + row * grid.pixel_mm - centre[1]
                    reach = max(reach, float(np.hypot(x, y)))
        half = int(np.ceil(reach / settings.bin_mm)) + 2
        return cls(2 * half + 1, settings.bin_mm, centre)

    @property
    def padded(self) -> int:
        return 2 ** int(np.ceil(np.log2(2 * self.bins)))

    def position(self, xy: FloatArray, angle: float) -> FloatArray:
        """Fractional bin that points project to."""
        offset = xy - np.asarray(self.centre_xy_mm)
        along = offset[:, 0] * np.cos(angle) + offset[:, 1] * np.sin(angle)
        bins: FloatArray = along / self.bin_mm + (self.bins - 1) / 2
        return bins


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

    def water_cm(self, signal: npt.NDArray[np.floating]) -> FloatArray:
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


def _strip_matrix(
    part: _BasisColumns, detector: _Detector, angle: float
) -> sparse.csc_matrix:
    """Mean path in cm through each pixel, per detector strip: exact for squares."""
    size = part.pixel_mm
    centre = detector.position(part.xy_mm, angle)
    # The shadow of a square is a trapezoid; its running integral is a spline.
    wide = size * max(abs(np.cos(angle)), abs(np.sin(angle))) / detector.bin_mm
    narrow = size * min(abs(np.cos(angle)), abs(np.sin(angle))) / detector.bin_mm
    half = 0.5 * (wide + narrow)
    count = int(np.ceil(2 * half)) + 1
    first = np.floor(centre - half + 0.5)
    nearest = (first - 0.5 - centre).astype(np.float32)
    edges = nearest[:, None] + np.arange(count + 1, dtype=np.float32)
    share = np.diff(_trapezoid_integral(edges, wide, narrow), axis=1)
    bins = first.astype(np.int32)[:, None] + np.arange(count, dtype=np.int32)
    # One column per pixel, as they come: no sorting, and the product walks through
    # the pixels in memory order.
    return sparse.csc_matrix(
        (
            (share * np.float32(size * size / detector.bin_mm / 10.0)).ravel(),
            bins.ravel(),
            np.arange(0, share.size + 1, count, dtype=np.int32),
        ),
        shape=(detector.bins, len(centre)),
    )


def _trapezoid_integral(t: Float32Array, wide: float, narrow: float) -> Float32Array:
    """Integral from minus infinity of box(wide) convolved with box(narrow), area 1."""
    if narrow < 1e-4 * wide:
        return np.clip(t / np.float32(wide) + np.float32(0.5), 0.0, 1.0)
    # Integrated from the middle outwards, where nothing cancels.
    outer, inner = np.float32(0.5 * (wide + narrow)), np.float32(0.5 * (wide - narrow))
    away = np.minimum(np.abs(t), outer)
    tail = np.maximum(away - inner, 0.0)
    half = (away - tail**2 / np.float32(2.0 * narrow)) / np.float32(wide)
    return np.float32(0.5) + np.copysign(half, t)


def _line_integrals(
    columns: Sequence[_BasisColumns],
    detector: _Detector,
    angle: float,
    materials: int,
) -> list[tuple[int, npt.NDArray[np.intp], Float32Array]]:
    """Paths in cm per basis material: (material, its planes, bins x planes)."""
    results = []
    projected = [
        (part, _strip_matrix(part, detector, angle) @ part.density) for part in columns
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


def _filter_response(detector: _Detector, settings: ScannerSettings) -> FloatArray:
    """Band-limited ramp (Kak and Slaney, eq. 3.61) times the kernel; per cm."""
    n = detector.padded
    index = np.fft.fftfreq(n, 1.0 / n)
    bin_cm = detector.bin_mm / 10.0
    impulse = np.zeros(n)
    impulse[0] = 0.25 / bin_cm**2
    odd = np.abs(index) % 2 == 1
    impulse[odd] = -1.0 / (np.pi * index[odd] * bin_cm) ** 2
    ramp = np.fft.rfft(impulse).real * bin_cm
    frequency = np.fft.rfftfreq(n, detector.bin_mm)
    response: FloatArray = ramp * settings.kernel.window(frequency)
    return response


def _pixels(settings: ScannerSettings) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    n = settings.matrix
    offset = (np.arange(n) - (n - 1) / 2) * settings.pixel_mm
    y, x = np.meshgrid(offset, offset, indexing="ij")
    inside = np.flatnonzero(np.hypot(x, y) <= settings.reconstruction_radius_mm)
    xy = np.stack([x.ravel()[inside], y.ravel()[inside]], axis=1)
    return xy + np.asarray(settings.centre_xy_mm), inside


def _back_project(
    image: Float32Array,
    filtered: Float32Array,
    pixels_xy: FloatArray,
    detector: _Detector,
    angle: float,
) -> None:
    position = detector.position(pixels_xy, angle)
    low = np.floor(position).astype(np.int32)
    part = (position - low).astype(np.float32)
    n = len(pixels_xy)
    matrix = sparse.csr_matrix(
        (
            np.stack([1 - part, part], axis=1).ravel(),
            np.stack([low, low + 1], axis=1).ravel(),
            np.arange(0, 2 * n + 1, 2, dtype=np.int32),
        ),
        shape=(n, detector.bins),
    )
    image += matrix @ filtered


def chunks(count: int, size: int) -> Iterator[slice]:
    """Split a scan of ``count`` slices into parts of at most ``size``."""
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))
