"""A quick CT scanner: material fractions become HU in the image, not by projection.

What a projection would do is added to the image: slice profile, in-plane sharpness
and correlated noise of the kernel, and the errors that metal and dense cement make in
the sinogram (beam hardening, scatter, photon starvation; see `metal_streaks`).
`cemscope.testing.scanner` is the full simulation; this one is some hundred times as
fast and needs no library beyond numpy and scipy.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.testing.beam_table import Beam, Substance, cement_mu, mu_of
from cemscope.testing.hard_scene import HardCells, HardScene, body_section
from cemscope.testing.metal_streaks import effective_hu, streak_hu
from cemscope.testing.scalar_field import Box, PlaneGrid, Pose
from cemscope.testing.scanner_settings import Kernel
from cemscope.volume import Acquisition, CTVolume

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

FWHM_PER_SIGMA = 2.354820045
"""Full width at half maximum of a Gaussian with standard deviation 1."""

BORDER_PIXELS = 12
"""Mirrored pixels round a slice, so that the filter does not wrap around."""

FINEST_PLANE_MM, FINEST_CELL_MM = 0.65, 0.6
"""Slices, and pixels near the spine, above these sizes are split to be filled."""

BLOCK_CELLS = 2_500_000
"""Voxels that are filled at once; about 150 MiB."""

HARD_KINDS = ("cement", "metal")
"""What makes streaks."""


@dataclass(frozen=True, slots=True, eq=False)
class TissueFractions:
    """Volume fractions per cell, float32 (z, y, x); the rest is air.

    ``muscle`` may exceed 1 for denser soft tissue or contrast medium.
    """

    fat: Float32Array
    muscle: Float32Array
    compact: Float32Array
    marrow: Float32Array
    cement: Float32Array
    metal: Float32Array


class TissueSource(Protocol):
    """A patient that can be cut into cells."""

    @property
    def barium_sulfate_fraction(self) -> float:
        """Weight fraction in the cement."""
        ...

    @property
    def zirconia_fraction(self) -> float:
        """Weight fraction in the cement."""
        ...

    @property
    def metal(self) -> Substance:
        """Of the implants."""
        ...

    def fractions(self, grid: PlaneGrid) -> TissueFractions:
        """Materials in the cells of a grid."""
        ...

    def fine_box(self, grid: PlaneGrid) -> Box | None:
        """Cells of a grid that need small cells; None for none."""
        ...

    def body_box_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper corner of the patient, in the patient's frame."""
        ...


@dataclass(frozen=True, slots=True)
class QuickScan:
    """One scan.

    Attributes
    ----------
    pixel_mm, rows, columns : float, int, int
        In-plane grid.
    slice_increment_mm, slice_thickness_mm, slices : float, float, int
        Distance of the slices, width at half height of their Gaussian profile, number.
    first_mm : tuple of float
        Table position (x, y, z) of the first voxel; slices go upwards.
    pose : Pose
        How the patient lies.
    patient_axes : bool
        Write the grid in the patient's own frame, so that the acquisition is oblique,
        instead of the table's.
    head_first : bool
        Store the slices from the head to the feet.
    kvp : int
        80, 100, 120 or 140.
    kernel : Kernel
        Sharpness.
    blur_fwhm_mm : float
        Detector and focal spot.
    aperture_mm : float
        Pitch of the detector at the isocentre: its bins and the interpolation
        between them blur like three boxes of this width.
    noise_hu : float
        Standard deviation in the middle of the patient.
    photons : float
        Quanta per ray without a patient, where metal swallows them; 0 for no noise.
    scatter_fraction : float
        Scatter left by the scanner's correction.
    ceiling_hu, floor_hu : int
        Scale.
    seed : int
        Of the noise.
    """

    pixel_mm: float = 0.65
    rows: int = 288
    columns: int = 288
    slice_increment_mm: float = 1.0
    slice_thickness_mm: float = 1.0
    slices: int = 200
    first_mm: tuple[float, float, float] = (-93.0, -73.0, -124.0)
    pose: Pose = field(default_factory=Pose)
    patient_axes: bool = False
    head_first: bool = False
    kvp: int = 120
    kernel: Kernel = Kernel.STANDARD
    blur_fwhm_mm: float = 0.7
    aperture_mm: float = 0.0
    noise_hu: float = 20.0
    photons: float = 5.0e5
    scatter_fraction: float = 0.015
    ceiling_hu: int = 3071
    floor_hu: int = -1024
    seed: int = 0

    @property
    def voxels(self) -> PlaneGrid:
        """The voxels on the table, feet first."""
        shape = (self.slices, self.rows, self.columns)
        return PlaneGrid(
            self.first_mm, self.pixel_mm, self.slice_increment_mm, shape, self.pose
        )

    @property
    def geometry(self) -> VoxelGeometry:
        """Where the stored voxels lie."""
        x, y, z = self.first_mm
        step = self.slice_increment_mm
        if self.head_first:
            z, step = z + (self.slices - 1) * step, -step
        axes = np.array([[0, 0, step], [0, self.pixel_mm, 0], [self.pixel_mm, 0, 0]])
        origin = np.array([x, y, z])
        if self.patient_axes:
            origin = self.pose.to_patient(origin)
            axes = axes @ self.pose.matrix
        affine = np.eye(4)
        affine[:3, :3] = axes.T
        affine[:3, 3] = origin
        return VoxelGeometry((self.slices, self.rows, self.columns), affine)

    def stored(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Bring an array on `voxels` into the stored order of slices."""
        return np.ascontiguousarray(array[::-1]) if self.head_first else array


def quick_scan(source: TissueSource, scan: QuickScan) -> CTVolume:
    """Scan a patient.

    Returns
    -------
    CTVolume
        On ``scan.geometry``.
    """
    beam = Beam(scan.kvp)
    mu = _mu(source)
    table = np.array([beam.hu(m) + 1000.0 for m in mu], np.float32)
    image = np.zeros(scan.voxels.shape, np.float32)
    hard = HardCells(scan.voxels)
    for weights, first, grid in _blocks(scan):
        part = slice(first, first + len(weights))
        filled = _filled(source, grid, table, scan)
        image[part] += _through(weights, filled[0])
        for kind, fraction in zip(HARD_KINDS, filled[1:], strict=True):
            if fraction.any():
                hard.add(kind, first, _through(weights, fraction))
    if hard.used:
        scene = HardScene(hard, body_section(source, scan), beam, mu, scan)
        hard_hu = effective_hu(scene)
        flat = image.reshape(len(image), -1)
        for kind, level, thin in zip(
            HARD_KINDS, hard_hu + 1000.0, table[4:6], strict=True
        ):
            where, fraction = hard.of(kind)
            flat[where[:, 0], where[:, 1]] += fraction * np.float32(level - thin)
        image = _blurred(image, scan)
        image += streak_hu(scene, hard_hu)
    else:
        image = _blurred(image, scan)
    low, high = scan.floor_hu, scan.ceiling_hu
    np.rint(image, out=image)
    np.clip(image, low, high, out=image)
    hu16 = np.asarray(scan.stored(image.astype(np.int16)), np.int16)
    return as_ct(hu16, scan)


def as_ct(stored: npt.NDArray[np.int16], scan: QuickScan) -> CTVolume:
    """Slices in their stored order, with what a header would tell of the scan."""
    ceiling = scan.ceiling_hu
    return CTVolume(
        stored,
        scan.geometry,
        acquisition=Acquisition(
            kvp=float(scan.kvp),
            kernel=scan.kernel.value,
            slice_thickness_mm=scan.slice_thickness_mm,
            manufacturer="cemscope simulation",
        ),
        clipped_at_hu=ceiling if (stored >= ceiling).any() else None,
    )


def _mu(source: TissueSource) -> FloatArray:
    """Attenuation of the six layers, shape (6, energy bins)."""
    return np.array(
        [
            mu_of(Substance.ADIPOSE),
            mu_of(Substance.MUSCLE),
            mu_of(Substance.CORTICAL_BONE),
            mu_of(Substance.MARROW),
            cement_mu(source.barium_sulfate_fraction, source.zirconia_fraction),
            mu_of(source.metal),
        ]
    )


def _layers(fractions: TissueFractions) -> tuple[Float32Array, ...]:
    f = fractions
    return f.fat, f.muscle, f.compact, f.marrow, f.cement, f.metal


def _blocks(scan: QuickScan) -> Iterator[tuple[Float32Array, int, PlaneGrid]]:
    """Planes that make up the slices: weights (slices, planes), first slice, cells."""
    finest = max(FINEST_PLANE_MM, 0.4 * scan.slice_thickness_mm)
    n = _split(scan.slice_increment_mm, finest)
    step = scan.slice_increment_mm / n
    sigma = scan.slice_thickness_mm / FWHM_PER_SIGMA
    reach = int(np.ceil(1.3 * scan.slice_thickness_mm / step))
    planes = np.arange(-reach, (scan.slices - 1) * n + reach + 1)
    distance = (planes - n * np.arange(scan.slices)[:, None]) * step
    profile = np.exp(-0.5 * (distance / sigma) ** 2)
    profile[np.abs(distance) > (reach + 0.5) * step] = 0.0
    profile /= profile.sum(axis=1, keepdims=True)
    count = max(4, BLOCK_CELLS // (scan.rows * scan.columns))
    x, y, z = scan.first_mm
    for first in range(0, len(planes), count):
        part = planes[first : first + count]
        weights = profile[:, first : first + count]
        used = np.flatnonzero(weights.any(axis=1))
        grid = PlaneGrid(
            (x, y, float(z + part[0] * step)),
            scan.pixel_mm,
            step,
            (len(part), scan.rows, scan.columns),
            scan.pose,
        )
        lowest, highest = int(used[0]), int(used[-1]) + 1
        yield weights[lowest:highest].astype(np.float32), lowest, grid


def _filled(
    source: TissueSource, grid: PlaneGrid, table: Float32Array, scan: QuickScan
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """HU, cement and metal of cells; large pixels are split near the spine."""
    whole = source.fractions(grid)
    filled = (_hu(whole, table), whole.cement, whole.metal)
    n = _split(scan.pixel_mm, FINEST_CELL_MM)
    box = source.fine_box(grid)
    if n == 1 or box is None:
        return filled
    part = grid.crop(box)
    fine = _in_plane(part, n)
    parts = source.fractions(fine)
    shape = (part.shape[0], part.shape[1], n, part.shape[2], n)
    values = (_hu(parts, table), parts.cement, parts.metal)
    for target, value in zip(filled, values, strict=True):
        target[box] = value.reshape(shape).mean(axis=(2, 4))
    return filled


def _in_plane(grid: PlaneGrid, n: int) -> PlaneGrid:
    """Split cells within their planes."""
    back = 0.5 * (1.0 / n - 1.0) * grid.cell_mm
    x, y, z = grid.first_mm
    planes, rows, columns = grid.shape
    shape = (planes, rows * n, columns * n)
    first = (x + back, y + back, z)
    return PlaneGrid(first, grid.cell_mm / n, grid.plane_mm, shape, grid.pose)


def _hu(fractions: TissueFractions, table: Float32Array) -> Float32Array:
    hu = np.full(fractions.fat.shape, -1000.0, np.float32)
    for value, fraction in zip(table, _layers(fractions), strict=True):
        hu += value * fraction
    return hu


def _through(weights: Float32Array, planes: Float32Array) -> Float32Array:
    """Average planes over the slice profile."""
    flat = weights @ planes.reshape(len(planes), -1)
    return flat.reshape(len(weights), *planes.shape[1:])


def _split(size_mm: float, finest_mm: float) -> int:
    return max(1, int(np.ceil(size_mm / finest_mm - 1e-9)))


def _blurred(image: Float32Array, scan: QuickScan) -> Float32Array:
    """Apply the kernel's sharpness and add its noise."""
    rng = np.random.default_rng([scan.seed, 11])
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    overlap = scan.slice_thickness_mm / FWHM_PER_SIGMA / scan.slice_increment_mm
    noise = ndimage.gaussian_filter1d(noise, overlap, axis=0, mode="reflect")
    noise /= max(float(noise.std()), 1e-9)
    pad = ((BORDER_PIXELS, BORDER_PIXELS),) * 2
    shape = tuple(
        fft.next_fast_len(n + 2 * BORDER_PIXELS, real=True)
        for n in (scan.rows, scan.columns)
    )
    response, spectrum = _responses(shape, scan)
    inner = (
        slice(BORDER_PIXELS, BORDER_PIXELS + scan.rows),
        slice(BORDER_PIXELS, BORDER_PIXELS + scan.columns),
    )
    for k, plane in enumerate(image):
        grown = np.pad(
            np.pad(plane, pad, mode="symmetric"), _rest(plane, shape), "edge"
        )
        white = np.zeros(shape, np.float32)
        white[: scan.rows, : scan.columns] = noise[k]
        whole = fft.rfft2(grown) * response
        random = fft.rfft2(white) * spectrum
        image[k] = fft.irfft2(whole, shape)[inner]
        image[k] += fft.irfft2(random, shape)[: scan.rows, : scan.columns]
    return image


def _rest(plane: Float32Array, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple(
        (0, n - m - 2 * BORDER_PIXELS) for n, m in zip(shape, plane.shape, strict=True)
    )


def _responses(
    shape: tuple[int, ...], scan: QuickScan
) -> tuple[Float32Array, Float32Array]:
    """Transfer function, and amplitude of the noise (ramp times window)."""
    v = fft.fftfreq(shape[0], scan.pixel_mm)
    u = fft.rfftfreq(shape[1], scan.pixel_mm)
    frequency = np.hypot(v[:, None], u[None])
    window = scan.kernel.window(frequency)
    blur = scan.blur_fwhm_mm / FWHM_PER_SIGMA
    transfer = window * np.exp(-2.0 * (np.pi * blur * frequency) ** 2)
    transfer *= np.sinc(scan.aperture_mm * frequency) ** 3
    amplitude = np.sqrt(frequency) * window
    # Power per pixel over the whole plane: Parseval, with half the plane stored.
    twice = np.where((u == 0) | (2 * u * scan.pixel_mm == 1.0), 1.0, 2.0)
    power = float((amplitude**2 * twice).sum()) / (shape[0] * shape[1])
    amplitude *= scan.noise_hu / np.sqrt(power)
    return transfer.astype(np.float32), amplitude.astype(np.float32)
