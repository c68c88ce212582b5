"""Streaks that known metal throws, predicted up to a few factors.

Rays through metal are attenuated less than their length asks for: the beam hardens,
scatter fills in, quanta run out. The error of a ray grows with the square of its way L
through metal, and with L times its way T through tissue (De Man 1999,
doi:10.1109/23.775600). Filtered back-projection of L^2, L^3 and L T gives the shape of
the streaks; how strong each is, is read from the scan. Where metal lies is known from
the fitted implants, so that no scanner data are needed (the idea of metal-only
beam-hardening correction).

The rotation is taken to be about the normal of the slices, with parallel rays.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.scan_region import FloatArray, box_around
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
        bins = self.filtered.shape[-1]
        terms = np.zeros((TERMS, len(index)))
        for view, angle in enumerate(np.pi * np.arange(VIEWS) / VIEWS):
            place = (column * np.cos(angle) + row * np.sin(angle)) / BIN_MM
            where = np.stack([plane, place + 0.5 * (bins - 1)])
            for k in range(TERMS):
                terms[k] += ndimage.map_coordinates(
                    self.filtered[k, :, view], where, order=1, mode="constant"
                )
        found: FloatArray = np.moveaxis(terms, 0, -1) * (np.pi / VIEWS)
        return found.reshape(*points_lps_mm.shape[:-1], TERMS)


def cast_shadow(
    hu: HUArray, metal: BoolArray, geometry: VoxelGeometry, blur_mm: float
) -> MetalShadow | None:
    """Project metal and trunk, and filter the terms.

    Parameters
    ----------
    hu, metal
        Scan and its metal on one grid.
    blur_mm
        Blur of the scan in the plane (standard deviation).

    Returns
    -------
    MetalShadow or None
        None without metal.
    """
    box = box_around(metal, geometry, 0.0)
    if box is None:
        return None
    planes = np.arange(box[0].start, box[0].stop)
    _, dy, dx = geometry.spacing_mm
    # The detector need not be wider than the metal's shadow: the rest has no error.
    first = np.array([box[1].start * dy, box[2].start * dx])
    last = np.array([(box[1].stop - 1) * dy, (box[2].stop - 1) * dx])
    centre, size_mm = 0.5 * (first + last), last - first
    width_mm = float(np.hypot(*size_mm)) + 2.0 * REACH_MM
    bins = int(np.ceil(width_mm / BIN_MM)) + 2
    kernel = _ramp(bins, blur_mm)
    filtered = np.zeros((TERMS, planes.size, VIEWS, bins), np.float32)
    tissue = np.zeros((VIEWS, bins))
    for k, plane in enumerate(planes):
        if k % TISSUE_STEP == 0:
            tissue = _trunk(hu[plane], dy, dx, centre, bins) / TISSUE_UNIT_MM
        rows, columns = np.nonzero(metal[plane])
        if rows.size == 0:
            continue
        way = _project(rows * dy - centre[0], columns * dx - centre[1], bins)
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


def _project(row_mm: FloatArray, column_mm: FloatArray, bins: int) -> FloatArray:
    """Count points per view and bin, split between the two nearest bins."""
    total = np.zeros((VIEWS, bins))
    for view, angle in enumerate(np.pi * np.arange(VIEWS) / VIEWS):
        place = (column_mm * np.cos(angle) + row_mm * np.sin(angle)) / BIN_MM
        place += 0.5 * (bins - 1)
        low = np.floor(place).astype(np.int_)
        part = place - low
        inside = (low >= 0) & (low < bins - 1)
        low, part = low[inside], part[inside]
        total[view] += np.bincount(low, 1.0 - part, bins)
        total[view] += np.bincount(low + 1, part, bins)
    return total


def _ramp(bins: int, blur_mm: float) -> FloatArray:
    """Ramp filter with the scan's blur, on a doubled detector."""
    frequency = np.fft.rfftfreq(2 * bins, BIN_MM)
    blur = np.exp(-2.0 * (np.pi * blur_mm * frequency) ** 2)
    kernel: FloatArray = 2.0 * frequency * blur * METAL_UNIT_MM
    return kernel
