"""How well the outlines of labels lie on the edges of bone in a CT.

A vertebra is denser than what surrounds it nearly everywhere along its outline,
because its shell is compact bone. The share of an outline along which that holds is
0.9 and more for labels in their place, and falls to 0.7 when they are 5 mm off,
whatever the density of the patient's bone: a better witness than mean values inside
the labels, which disc, marrow and muscle of an old patient share.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.resampling import grow_box, label_boxes, signed_distance_mm
from cemscope.volume import CTVolume, LabelMap

IntArray = npt.NDArray[np.int_]
ShareByLabel = Mapping[int, float]

CELL_MM = 1.5
"""Cell on which density is averaged; finer edges are blurred by the scanner anyway."""

WINDOW_HU = (-100, 500)
"""Values are clipped to this range, so that metal and air do not decide."""

_EDGE_HU = 40.0
"""Step from outside to inside that counts as an edge: twice the noise that is left
after averaging over a cell."""

_IMPLANT_HU = 450.0
"""Density that, averaged over a cell of clipped values, only metal, cement and thick
compact bone reach."""

_INSIDE_MM = (0.0, 1.5)
_OUTSIDE_MM = (-3.0, -4.5)
"""Depths at which density is read along the normal. The denser of the two inside and
the less dense of the two outside count: outlines of other programs run anywhere
within the shell."""

_POINTS_PER_LABEL = 700
"""More points of an outline than this add nothing."""

_COARSE_POINTS, _FINE_POINTS = 500, 1500
"""Points of the whole row for the search over a lattice of shifts, and to refine it."""

_MIN_POINTS = 40
"""A label with fewer points inside the CT is not judged."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelSurface:
    """Points on the outlines of labels.

    Attributes
    ----------
    points_lps_mm : ndarray, shape (n, 3)
        Just inside the outline.
    inward : ndarray, shape (n, 3)
        Unit normals that point into the label.
    numbers : ndarray of int, shape (n,)
        Label of each point.
    """

    points_lps_mm: FloatArray
    inward: FloatArray
    numbers: IntArray

    def moved(self, matrix: FloatArray, shift_mm: FloatArray) -> "LabelSurface":
        """Apply ``matrix @ point + shift``; the matrix is orthogonal."""
        return LabelSurface(
            self.points_lps_mm @ matrix.T + shift_mm,
            self.inward @ matrix.T,
            self.numbers,
        )

    def thinned(self, count: int) -> "LabelSurface":
        """Take every n-th point, so that at most ``count`` are left."""
        step = max(1, -(-len(self.numbers) // count))
        return LabelSurface(
            self.points_lps_mm[::step], self.inward[::step], self.numbers[::step]
        )


def surface_of_labels(labels: LabelMap) -> LabelSurface:
    """Sample the outer surface of every label; contacts between labels are left out."""
    points, normals, numbers = [], [], []
    for number, box in label_boxes(labels.labels).items():
        found = _surface_of_one(labels, number, box)
        if found is None:
            continue
        points.append(found[0])
        normals.append(found[1])
        numbers.append(np.full(len(found[0]), number))
    if not points:
        return LabelSurface(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, int))
    return LabelSurface(
        np.concatenate(points), np.concatenate(normals), np.concatenate(numbers)
    )


def _surface_of_one(
    labels: LabelMap, number: int, box: tuple[slice, slice, slice]
) -> tuple[FloatArray, FloatArray] | None:
    geometry = labels.geometry
    spacing = np.array(geometry.spacing_mm)
    margin = tuple(int(n) for n in np.ceil(6.0 / spacing))
    crop = grow_box(box, geometry.shape, margin)
    # Thin voxels are skipped, not averaged: an outline needs no more than cells.
    steps = np.maximum(1, np.rint(CELL_MM / spacing)).astype(int)
    thin = labels.labels[crop][:: steps[0], :: steps[1], :: steps[2]]
    mask = thin == number
    if mask.sum() < _MIN_POINTS:
        return None
    cell = spacing * steps
    distance = signed_distance_mm(
        mask, (float(cell[0]), float(cell[1]), float(cell[2]))
    )
    smooth = ndimage.gaussian_filter(distance, 1.0)
    index = np.argwhere(mask & ndimage.binary_dilation(~mask))
    # At the edge of the image the label is cut, not ended.
    last = np.array(geometry.shape) - 1
    place = index * steps + [part.start for part in crop]
    index = index[((place > 0) & (place < last)).all(axis=1)]
    index = index[:: max(1, -(-len(index) // _POINTS_PER_LABEL))]
    if len(index) < _MIN_POINTS:
        return None
    slopes = [np.gradient(smooth, axis=k)[tuple(index.T)] / cell[k] for k in range(3)]
    inward = np.stack(slopes, axis=1)
    inward /= np.linalg.norm(inward, axis=1)[:, None] + 1e-9
    outside = np.rint(index + inward * _OUTSIDE_MM[0] / cell).astype(int)
    outside = np.clip(outside, 0, np.array(mask.shape) - 1)
    neighbour = thin[tuple(outside.T)]
    free = (neighbour == 0) | (neighbour == number)
    start = np.array([part.start for part in crop])
    points = geometry.index_to_lps((index * steps + start)[free])
    return points, inward[free] @ geometry.directions_lps


@dataclass(frozen=True, slots=True, eq=False)
class EdgeImage:
    """A CT averaged over cells, in the window of soft tissue and bone."""

    density_hu: npt.NDArray[np.float32]
    geometry: VoxelGeometry

    @classmethod
    def of(
        cls, ct: CTVolume, points_lps_mm: FloatArray, reach_mm: float
    ) -> "EdgeImage":
        """Average the part of a CT that lies within reach of some points."""
        spacing = np.array(ct.spacing_mm)
        index = ct.geometry.lps_to_index(points_lps_mm)
        reach = reach_mm / spacing
        low = np.clip(np.floor(index.min(axis=0) - reach), 0, None).astype(int)
        high = np.ceil(index.max(axis=0) + reach).astype(int) + 1
        low = np.minimum(low, np.array(ct.geometry.shape) - 1)
        high = np.maximum(np.minimum(high, ct.geometry.shape), low + 1)
        box = (
            slice(int(low[0]), int(high[0])),
            slice(int(low[1]), int(high[1])),
            slice(int(low[2]), int(high[2])),
        )
        factors = np.maximum(1, np.rint(CELL_MM / spacing)).astype(int)
        factors = np.minimum(factors, high - low)
        density = _block_mean(ct.hu[box], factors)
        affine = ct.geometry.affine_lps.copy()
        affine[:3, :3] *= factors
        affine[:3, 3] = ct.geometry.index_to_lps(low + (factors - 1) / 2)
        return cls(density, VoxelGeometry(density.shape, affine))

    def at(self, points_lps_mm: FloatArray) -> npt.NDArray[np.float32]:
        """Density at points, HU; NaN outside the CT."""
        index = self.geometry.lps_to_index(points_lps_mm)
        sampled: npt.NDArray[np.float32] = ndimage.map_coordinates(
            self.density_hu, index.T, order=1, mode="nearest", output=np.float32
        )
        last = np.array(self.density_hu.shape) - 0.5
        outside = (index < -0.5).any(axis=1) | (index > last).any(axis=1)
        sampled[outside] = np.nan
        return sampled


def _block_mean(
    hu: npt.NDArray[np.int16], factors: IntArray
) -> npt.NDArray[np.float32]:
    """Mean of blocks of clipped values; incomplete blocks at the far end are lost."""
    counts = [n // int(f) for n, f in zip(hu.shape, factors, strict=True)]
    rows, columns = counts[1] * int(factors[1]), counts[2] * int(factors[2])
    result = np.empty(counts, dtype=np.float32)
    for index in range(counts[0]):
        slab = hu[index * factors[0] : (index + 1) * factors[0], :rows, :columns]
        blocks = np.clip(slab, *WINDOW_HU).reshape(
            int(factors[0]), counts[1], int(factors[1]), counts[2], int(factors[2])
        )
        result[index] = blocks.mean(axis=(0, 2, 4), dtype=np.float32)
    return result


def edge_steps_hu(image: EdgeImage, surface: LabelSurface) -> npt.NDArray[np.float32]:
    """Step of density from outside to inside at each point.

    NaN outside the CT and beside implants.
    """
    inside = [image.at(surface.points_lps_mm + d * surface.inward) for d in _INSIDE_MM]
    outside = [
        image.at(surface.points_lps_mm + d * surface.inward) for d in _OUTSIDE_MM
    ]
    beyond = np.minimum(*outside)
    steps: npt.NDArray[np.float32] = np.maximum(*inside) - beyond
    # Where an implant lies beside the outline, it hides the edge of the bone.
    steps[beyond > _IMPLANT_HU] = np.nan
    return steps


def edge_shares(image: EdgeImage, surface: LabelSurface) -> ShareByLabel:
    """Share of each label's outline that lies on an edge of bone."""
    steps = edge_steps_hu(image, surface)
    known = np.isfinite(steps)
    shares = {}
    for number in np.unique(surface.numbers):
        own = known & (surface.numbers == number)
        if int(own.sum()) >= _MIN_POINTS:
            shares[int(number)] = float((steps[own] > _EDGE_HU).mean())
    return MappingProxyType(shares)


def best_shift_mm(
    image: EdgeImage, surface: LabelSurface, reach_mm: float
) -> FloatArray:
    """Shift of the outlines, at most ``reach_mm`` along x, y and z, that fits best.

    All shifts on a lattice are tried on few points, then the best one is refined.
    """
    few = surface.thinned(_COARSE_POINTS)
    lattice_mm = 6.0
    count = max(1, round(reach_mm / lattice_mm))
    line = np.arange(-count, count + 1) * lattice_mm
    shifts = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    coarse = ndimage.uniform_filter(image.density_hu, 3)
    inner = image.geometry.lps_to_index(few.points_lps_mm + 2.0 * few.inward)
    outer = image.geometry.lps_to_index(few.points_lps_mm - 4.0 * few.inward)
    turn = np.linalg.inv(image.geometry.affine_lps[:3, :3])
    scores = np.full(len(shifts), -np.inf)
    for rank, shift in enumerate(shifts):
        move = turn @ shift
        first, seen_first = _nearest(coarse, inner + move)
        second, seen_second = _nearest(coarse, outer + move)
        seen = seen_first & seen_second
        if seen.mean() > 0.5:
            scores[rank] = float(np.clip((first - second)[seen], -150, 150).mean())
    best: FloatArray = shifts[int(scores.argmax())]
    many = surface.thinned(_FINE_POINTS)
    for step_mm in (3.0, 1.5, 0.75):
        best = _climbed(image, many, best, step_mm)
    return best


def _nearest(
    density: npt.NDArray[np.float32], index: FloatArray
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    near = np.rint(index).astype(np.intp)
    last = np.array(density.shape) - 1
    seen: npt.NDArray[np.bool_] = np.all((near >= 0) & (near <= last), axis=1)
    np.clip(near, 0, last, out=near)
    return density[near[:, 0], near[:, 1], near[:, 2]], seen


def _climbed(
    image: EdgeImage, surface: LabelSurface, start: FloatArray, step_mm: float
) -> FloatArray:
    """Follow the mean step of density uphill along x, y and z."""

    def score(shift: FloatArray) -> float:
        steps = edge_steps_hu(image, surface.moved(np.eye(3), shift))
        seen = np.isfinite(steps)
        if seen.mean() < 0.5:
            return -np.inf
        return float(np.clip(steps[seen], -150, 150).mean())

    best, height = start, score(start)
    for _ in range(6):
        trials = [
            best + sign * step_mm * axis for axis in np.eye(3) for sign in (-1, 1)
        ]
        heights = [score(trial) for trial in trials]
        rank = int(np.argmax(heights))
        if heights[rank] <= height:
            break
        best, height = trials[rank], heights[rank]
    return best
