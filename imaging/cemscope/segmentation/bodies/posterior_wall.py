"""The back wall of a vertebral body, measured where the canal lies free behind it."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.errors import SegmentationError
from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.spine import VertebraFrame
from cemscope.volume import BoolArray

_GRID_MM = 1.0
"""Step of the vertebra's own grid, on which the wall is measured."""

_WALL_TRIM_MM = 3.0
"""Samples of the wall further than this from the fit are clefts (basivertebral vein)
or bone that crosses the canal."""


@dataclass(frozen=True, slots=True, eq=False)
class OwnGrid:
    """The vertebra on a grid (superior, posterior, left) of its own, 1 mm."""

    bone: BoolArray
    superior_mm: FloatArray
    posterior_mm: FloatArray
    left_mm: FloatArray


def own_grid(
    mask: BoolArray, geometry: VoxelGeometry, frame: VertebraFrame, local: FloatArray
) -> OwnGrid:
    """Sample a vertebra on its own grid; ``local`` are its points in the frame."""
    low = np.floor(local.min(axis=0)) - 2
    high = np.ceil(local.max(axis=0)) + 2
    left, posterior, superior = (
        np.arange(a, b + _GRID_MM / 2, _GRID_MM) for a, b in zip(low, high, strict=True)
    )
    s, p, x = np.meshgrid(superior, posterior, left, indexing="ij")
    index = geometry.lps_to_index(frame.to_lps_mm(np.stack([x, p, s], axis=-1)))
    sampled = ndimage.map_coordinates(
        mask.astype(np.float32), np.moveaxis(index, -1, 0), order=1, cval=0.0
    )
    return OwnGrid(sampled >= 0.5, superior, posterior, left)


@dataclass(frozen=True, slots=True, eq=False)
class PosteriorWall:
    """Posterior wall: a quadric over (sideways, superior), held at its ends."""

    coefficients: FloatArray
    superior_range_mm: tuple[float, float]

    def at(self, sideways_mm: FloatArray, superior_mm: FloatArray) -> FloatArray:
        """Posterior coordinate of the wall, mm."""
        s = np.clip(superior_mm, *self.superior_range_mm)
        return _terms(sideways_mm, s) @ self.coefficients


def _terms(sideways: FloatArray, superior: FloatArray) -> FloatArray:
    return np.stack(
        [np.ones_like(superior), superior, superior**2, sideways, sideways**2], axis=-1
    )


def fit_wall(grid: OwnGrid, middle_mm: float, half_width_mm: float) -> PosteriorWall:
    """Fit the wall to where bone ends behind the body's centre."""
    columns = np.abs(grid.left_mm - middle_mm) <= half_width_mm
    start = int(np.abs(grid.posterior_mm).argmin())
    behind = grid.bone[:, start:, :][:, :, columns]
    solid = behind[:, 0, :]
    ends = behind.shape[1] - (behind.all(axis=1) * 1)
    first_gap = np.where(behind.all(axis=1), ends, np.argmin(behind, axis=1))
    level, column = np.nonzero(solid & ~behind.all(axis=1))
    if len(level) < 12:
        raise SegmentationError("no free posterior wall behind the vertebral body")
    wall = grid.posterior_mm[start] + (first_gap[level, column] - 0.5) * _GRID_MM
    superior = grid.superior_mm[level]
    sideways = grid.left_mm[columns][column] - middle_mm
    design = _terms(sideways, superior)
    # Where the wall is crossed by bone the ray ends far behind it: start at the median.
    keep = np.abs(wall - np.median(wall)) < 3 * _WALL_TRIM_MM
    coefficients = np.zeros(5)
    for _ in range(4):
        coefficients = np.linalg.lstsq(design[keep], wall[keep], rcond=None)[0]
        residual = wall - design @ coefficients
        keep = np.abs(residual) < _WALL_TRIM_MM
        if keep.sum() < 12:
            break
    low, high = np.percentile(superior, [5, 95])
    return PosteriorWall(coefficients, (float(low), float(high)))


def side_limits(grid: OwnGrid, margin_mm: float) -> tuple[FloatArray, FloatArray]:
    """Left-right limits of the body per level, from its front half."""
    start = int(np.abs(grid.posterior_mm).argmin())
    centre = int(np.abs(grid.left_mm).argmin())
    front: BoolArray = np.any(grid.bone[:, : start + 1, :], axis=1)
    low = np.full(len(grid.superior_mm), np.nan)
    high = np.full(len(grid.superior_mm), np.nan)
    for level, row in enumerate(front):
        if not row[centre]:
            continue
        gaps = np.nonzero(~row)[0]
        left = gaps[gaps < centre]
        right = gaps[gaps > centre]
        low[level] = grid.left_mm[left[-1] + 1 if len(left) else 0]
        high[level] = grid.left_mm[right[0] - 1 if len(right) else -1]
    known = np.nonzero(np.isfinite(low))[0]
    if not len(known):
        raise SegmentationError("the vertebral body has no front half")
    rows = np.arange(len(low))
    low = np.interp(rows, known, low[known])
    high = np.interp(rows, known, high[known])
    return (
        ndimage.gaussian_filter1d(low, 1.5) - margin_mm,
        ndimage.gaussian_filter1d(high, 1.5) + margin_mm,
    )
