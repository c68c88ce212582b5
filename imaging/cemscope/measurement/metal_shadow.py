"""Streaks that known metal throws, predicted up to a few factors.

Rays through metal are attenuated less than their length asks for: the beam hardens,
scatter fills in, quanta run out. The error of a ray grows with the square of its way L
through metal, and with L times its way T through tissue (De Man 1999,
doi:10.1109/23.775600). Filtered back-projection of L^2, L^3 and L T gives the shape of
the streaks; how strong each is, is read from the scan. Where metal lies is known from
the fitted implants, so that no scanner data are needed (the idea of metal-only
beam-hardening correction).

Cement stands in the same rays and counts as metal diluted. Voxels at the surface of
metal hold a part of it, which a mask does not tell: it is smoothed by half a voxel.

The rotation is taken to be about the normal of the slices, with parallel rays.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.scan_region import Box, FloatArray, box_around
from cemscope.volume import BoolArray, HUArray

Float32Array = npt.NDArray[np.float32]

VIEWS = 180
BIN_MM = 0.6
"""Views over half a turn, and width of the detector's bins at the centre."""

METAL_UNIT_MM, TISSUE_UNIT_MM = 30.0, 300.0
"""Ways are counted in lengths of a screw and widths of a trunk, so that all terms are
of one order."""

TERMS = 3


@dataclass(frozen=True, slots=True, eq=False)
class MetalShadow:
    """Filtered errors of all rays of some planes, one set per term.

    Attributes
    ----------
    geometry : VoxelGeometry
        Grid whose planes these are.
    planes : ndarray of int
        Indices of the planes with metal, ascending.
    filtered : ndarray of float32, shape (TERMS, planes, VIEWS, bins)
        Filtered projections of the terms.
    centre_mm : tuple of float
        Row and column position of the rotation's centre, mm from the first voxel.
    """

    geometry: VoxelGeometry
    planes: npt.NDArray[np.int_]
    filtered: Float32Array
    centre_mm: tuple[float, float]

    def at(self, points_lps_mm: FloatArray) -> FloatArray:
        """Terms at points, shape (..., 3) to (..., TERMS); 0 far from metal's planes.

        Scaled so that the strongest values are about 1.
        """
        index = self.geometry.lps_to_index(points_lps_mm).reshape(-1, 3)
        spacing = self.geometry.spacing_mm
        row = (index[:, 1] * spacing[1] - self.centre_mm[0]).astype(np.float32)
        column = (index[:, 2] * spacing[2] - self.centre_mm[1]).astype(np.float32)
        plane = np.interp(
            index[:, 0], self.planes, np.arange(self.planes.size), left=-2, right=-2
        )
        bins, count = self.filtered.shape[-1], len(self.filtered)
        terms = np.zeros((count, len(index)))
        for view, angle in enumerate(np.pi * np.arange(VIEWS) / VIEWS):
            place = (column * np.cos(angle) + row * np.sin(angle)) / BIN_MM
            where = np.stack([plane, place + 0.5 * (bins - 1)])
            for k in range(count):
                terms[k] += ndimage.map_coordinates(
                    self.filtered[k, :, view], where, order=1, mode="constant"
                )
        found: FloatArray = np.moveaxis(terms, 0, -1) * (np.pi / VIEWS)
        return found.reshape(*points_lps_mm.shape[:-1], count)

    def of_strength(self, strengths: FloatArray) -> "MetalShadow":
        """Add up the terms with their strengths: one term, in HU."""
        total = np.tensordot(strengths, self.filtered, 1)[None]
        return replace(self, filtered=total.astype(np.float32))

    def on_voxels(self, box: Box) -> Float32Array:
        """First term on the voxels of a box of the grid; 0 off the metal's planes."""
        shape = tuple(part.stop - part.start for part in box)
        found = np.zeros(shape, np.float32)
        first, last = int(self.planes[0]), int(self.planes[-1])
        low, high = max(box[0].start, first), min(box[0].stop, last + 1)
        if high <= low:
            return found
        lines = self.filtered[0, low - first : high - first]
        _, dy, dx = self.geometry.spacing_mm
        row = np.arange(box[1].start, box[1].stop) * dy - self.centre_mm[0]
        column = np.arange(box[2].start, box[2].stop) * dx - self.centre_mm[1]
        bins = lines.shape[-1]
        part_planes = found[low - box[0].start : high - box[0].start]
        for view, angle in enumerate(np.pi * np.arange(VIEWS) / VIEWS):
            place = row[:, None] * np.sin(angle) + column * np.cos(angle)
            place = place / BIN_MM + 0.5 * (bins - 1)
            lower = np.clip(np.floor(place).astype(np.intp), 0, bins - 2)
            share = np.clip(place - lower, 0.0, 1.0).astype(np.float32)
            line = lines[:, view]
            part_planes += line[:, lower] * (1.0 - share) + line[:, lower + 1] * share
        found *= np.float32(np.pi / VIEWS)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class HardParts:
    """What makes streaks.

    Attributes
    ----------
    metal, cement : ndarray of bool
        On the scan's grid.
    metal_hu : float
        Brightness of the metal; cement counts as the share of it that it reaches.
    """

    metal: BoolArray
    cement: BoolArray
    metal_hu: float

    def box(self, geometry: VoxelGeometry) -> Box | None:
        """Planes with metal, rows and columns with metal or cement in them."""
        planes = box_around(self.metal, geometry, geometry.spacing_mm[0])
        if planes is None:
            return None
        near = self.metal[planes[0]] | self.cement[planes[0]]
        rows, columns = (
            np.flatnonzero(near.any(axis=others)) for others in ((0, 2), (0, 1))
        )
        margin = 2
        return (
            planes[0],
            slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
            slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
        )

    def density(self, hu: HUArray, box: Box) -> Float32Array:
        """Share of metal in the voxels of a box, cement as diluted metal."""
        share = self.metal[box].astype(np.float32)
        diluted = self.cement[box] & ~self.metal[box]
        bright = hu[box][diluted].astype(np.float32) / np.float32(self.metal_hu)
        share[diluted] = np.clip(bright, 0.0, 1.0)
        smooth: Float32Array = ndimage.gaussian_filter(
            share, PARTIAL_VOXELS, mode="nearest"
        )
        return smooth


PARTIAL_VOXELS = 0.6
"""Smoothing, in voxels, that turns a mask into shares of voxels [ours]: steps of whole
voxels in the ways of rays would be seen as streaks of their own."""

LEAST_SHARE = 0.02


def cast_shadow(
    hu: HUArray, parts: HardParts, geometry: VoxelGeometry, blur_mm: float
) -> MetalShadow | None:
    """Project metal and trunk, and filter the terms.

    Parameters
    ----------
    hu
        The scan.
    parts
        Its metal and cement on the same grid.
    blur_mm
        Blur of the scan in the plane (standard deviation).

    Returns
    -------
    MetalShadow or None
        None without metal.
    """
    box = parts.box(geometry)
    if box is None:
        return None
    density = parts.density(hu, box)
    planes = np.arange(box[0].start, box[0].stop)
    _, dy, dx = geometry.spacing_mm
    # The detector need not be wider than the metal's shadow: the rest has no error.
    first = np.array([box[1].start * dy, box[2].start * dx])
    size_mm = np.array(
        [(density.shape[1] - 1) * dy, (density.shape[2] - 1) * dx], dtype=float
    )
    centre = first + 0.5 * size_mm
    width_mm = float(np.hypot(*size_mm)) + 2.0 * REACH_MM
    bins = int(np.ceil(width_mm / BIN_MM)) + 2
    kernel = _ramp(bins, blur_mm)
    filtered = np.zeros((TERMS, planes.size, VIEWS, bins), np.float32)
    tissue = np.zeros((VIEWS, bins))
    for k, plane in enumerate(planes):
        if k % TISSUE_STEP == 0:
            tissue = _trunk(hu[plane], dy, dx, centre, bins) / TISSUE_UNIT_MM
        rows, columns = np.nonzero(density[k] > LEAST_SHARE)
        if rows.size == 0:
            continue
        way = _project(
            rows * dy - 0.5 * size_mm[0],
            columns * dx - 0.5 * size_mm[1],
            bins,
            density[k][rows, columns],
        )
        way *= dy * dx / BIN_MM / METAL_UNIT_MM
        for term, error in enumerate((way**2, way**3, way * tissue)):
            spectrum = np.fft.rfft(error, 2 * bins, axis=1) * kernel
            filtered[term, k] = np.fft.irfft(spectrum, 2 * bins, axis=1)[:, :bins]
    return MetalShadow(geometry, planes, filtered, (float(centre[0]), float(centre[1])))


REACH_MM = 15.0
"""Streaks are asked for no farther than this from metal."""

TISSUE_STEP = 6
"""The trunk changes little from plane to plane."""

TRUNK_HU, COARSE_MM = -400, 3.0


def _trunk(
    hu: HUArray, dy: float, dx: float, centre: FloatArray, bins: int
) -> FloatArray:
    """Way of every ray through the trunk, mm."""
    step = max(1, round(COARSE_MM / dx))
    rows, columns = np.nonzero(hu[::step, ::step] > TRUNK_HU)
    way = _project(rows * step * dy - centre[0], columns * step * dx - centre[1], bins)
    way *= step**2 * dy * dx / BIN_MM
    smooth: FloatArray = ndimage.gaussian_filter1d(way, COARSE_MM / BIN_MM, axis=1)
    return smooth


def _project(
    row_mm: FloatArray,
    column_mm: FloatArray,
    bins: int,
    share: Float32Array | None = None,
) -> FloatArray:
    """Add up points per view and bin, split between the two nearest bins.

    ``share`` is what a point counts; 1 if None.
    """
    total = np.zeros((VIEWS, bins))
    weight = np.ones(row_mm.size) if share is None else share.astype(float)
    for view, angle in enumerate(np.pi * np.arange(VIEWS) / VIEWS):
        place = (column_mm * np.cos(angle) + row_mm * np.sin(angle)) / BIN_MM
        place += 0.5 * (bins - 1)
        low = np.floor(place).astype(np.int_)
        inside = (low >= 0) & (low < bins - 1)
        low, part, counts = low[inside], (place - low)[inside], weight[inside]
        total[view] += np.bincount(low, (1.0 - part) * counts, bins)
        total[view] += np.bincount(low + 1, part * counts, bins)
    return total


def _ramp(bins: int, blur_mm: float) -> FloatArray:
    """Ramp filter with the scan's blur, on a doubled detector."""
    frequency = np.fft.rfftfreq(2 * bins, BIN_MM)
    blur = np.exp(-2.0 * (np.pi * blur_mm * frequency) ** 2)
    kernel: FloatArray = 2.0 * frequency * blur * METAL_UNIT_MM
    return kernel
