"""Search for straight bright lines through the pedicles: the first guess of a screw.

The scan around a vertebra is sampled in the vertebra's own frame, so that 'backwards'
and 'sideways' are the same for a scoliotic spine or a tilted patient.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.findings import Side
from cemscope.segmentation.implants.screw_profile import ScrewAxis
from cemscope.segmentation.scan_region import Box, FloatArray, ScanRegion, box_around
from cemscope.spine import Spine, Vertebra, VertebraFrame
from cemscope.volume import BoolArray, CTVolume

_CUBE_STEP_MM = 1.25
_CUBE_LOWER_MM = np.array([-45.0, -32.0, -34.0])
_CUBE_UPPER_MM = np.array([45.0, 72.0, 34.0])

_NOTHING_HU = -1024.0

_LINE_BLUR_MM = 1.0
"""Shafts are at least 3 mm wide; wires and the tracks of needles are seen, too."""

_BESIDE_BODY_MM = 7.0
"""A screw that left the pedicle sideways may run this far beside the body."""

_SAME_LINE_MM, _SAME_LINE_COSINE = 4.0, 0.97
"""Lines nearer to each other than this follow one object."""


def search_box(ct: CTVolume, spine: Spine, vertebra: Vertebra) -> Box | None:
    """Box of the scan that holds a vertebra and the screws behind it."""
    corners = (
        np.array(np.meshgrid(*zip(_CUBE_LOWER_MM - 4, _CUBE_UPPER_MM + 4, strict=True)))
        .reshape(3, -1)
        .T
    )
    index = ct.geometry.lps_to_index(vertebra.frame.to_lps_mm(corners))
    start = np.maximum(np.floor(index.min(0)).astype(int), 0)
    stop = np.minimum(np.ceil(index.max(0)).astype(int) + 1, ct.geometry.shape)
    if np.any(stop - start < 4):
        return None
    return slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2])


def _posterior_wall_mm(region: ScanRegion, vertebra: Vertebra) -> float | None:
    inside = region.labels == vertebra.level.number
    box = box_around(inside, region.geometry, 0.0)
    if box is None:
        return None
    body = np.argwhere(inside[box]) + [part.start for part in box]
    if len(body) < 50:
        return None
    local = vertebra.frame.to_local_mm(
        region.geometry.index_to_lps(body[:: max(len(body) // 5000, 1)])
    )
    middle = local[np.abs(local[:, 0]) < 12.0]
    return float(np.percentile(middle[:, 1], 97.0)) if len(middle) > 20 else None


@dataclass(frozen=True, slots=True, eq=False)
class PedicleCube:
    """The surroundings of a vertebra in its own frame, on an isotropic grid.

    Attributes
    ----------
    frame : VertebraFrame
        The vertebra's axes; array axes are (left, posterior, superior).
    wall_mm : float
        Posterior wall of the body.
    hu : ndarray of float32
        The scan; `_NOTHING_HU` outside of it.
    own : ndarray of bool
        The body with a margin.
    """

    frame: VertebraFrame
    wall_mm: float
    hu: npt.NDArray[np.float32]
    own: BoolArray

    @classmethod
    def sample(cls, region: ScanRegion, vertebra: Vertebra) -> "PedicleCube | None":
        """Sample the scan; None where the body is missing."""
        wall = _posterior_wall_mm(region, vertebra)
        if wall is None:
            return None
        points = vertebra.frame.to_lps_mm(
            np.stack(np.meshgrid(*_cube_axes(), indexing="ij"), -1)
        )
        hu = region.sample_hu(points)
        # Outside the scan there is nothing, not the repeated border.
        index = region.geometry.lps_to_index(points)
        shape = np.array(region.hu.shape)
        hu[~np.all((index > -0.5) & (index < shape - 0.5), axis=-1)] = _NOTHING_HU
        own = ndimage.map_coordinates(
            (region.labels == vertebra.level.number).view(np.uint8),
            np.moveaxis(index, -1, 0),
            order=0,
            mode="constant",
        )
        margin = round(_BESIDE_BODY_MM / _CUBE_STEP_MM)
        return cls(
            vertebra.frame,
            wall,
            hu,
            ndimage.binary_dilation(own > 0, iterations=margin),
        )

    def bright_share(self, level_hu: float) -> npt.NDArray[np.float32]:
        """Smoothed share of voxels that reach a level.

        Voxels between 60 % of the level and the level count in part, so that a wire
        thinner than the grid is not lost between its nodes.
        """
        low = np.float32(0.6 * level_hu)
        bright = np.clip((self.hu - low) / np.float32(level_hu - low), 0.0, 1.0)
        share: npt.NDArray[np.float32] = ndimage.gaussian_filter(
            bright, _LINE_BLUR_MM / _CUBE_STEP_MM
        )
        return share


def _cube_axes() -> list[FloatArray]:
    return [
        np.arange(lower, upper + 1e-6, _CUBE_STEP_MM)
        for lower, upper in zip(_CUBE_LOWER_MM, _CUBE_UPPER_MM, strict=True)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class BrightLine:
    """A straight bright run through a pedicle region.

    Attributes
    ----------
    score : float
        Brightness summed along the run.
    axis : ScrewAxis
        The line; its point lies behind the posterior wall.
    """

    score: float
    axis: ScrewAxis

    def resembles(self, other: "BrightLine") -> bool:
        """Tell whether two lines follow the same object."""
        cosine = float(self.axis.forward @ other.axis.forward)
        gap = other.axis.point - self.axis.point
        across = gap - (gap @ self.axis.forward) * self.axis.forward
        return cosine > _SAME_LINE_COSINE and bool(
            np.linalg.norm(across) < _SAME_LINE_MM
        )


def search_lines(
    cube: PedicleCube, side: Side, level_hu: float, search_angle_deg: float, count: int
) -> tuple[BrightLine, ...]:
    """Find the best bright straight lines through one pedicle region.

    Parameters
    ----------
    level_hu
        What counts as bright.
    count
        At most so many different lines are returned, the best first.
    """
    smooth = cube.bright_share(level_hu)
    axes = _cube_axes()
    sign = 1.0 if side is Side.LEFT else -1.0
    limit = np.tan(np.deg2rad(search_angle_deg))
    slopes = np.arange(-limit, limit + 1e-6, 0.1)
    slope_l, slope_s = (a.ravel() for a in np.meshgrid(slopes, slopes, indexing="ij"))
    # Converging or straight: a screw that diverges by more than 20 degrees is none.
    towards_middle = slope_l * sign > -0.36
    slope_l, slope_s = slope_l[towards_middle], slope_s[towards_middle]
    lines: list[BrightLine] = []
    for pivot_mm in (cube.wall_mm + 5.0, cube.wall_mm + 11.0):
        plane = round((pivot_mm - _CUBE_LOWER_MM[1]) / _CUBE_STEP_MM)
        if not 0 <= plane < smooth.shape[1]:
            continue
        section = smooth[:, plane, :]
        ridge = (section >= 0.3) & (section >= ndimage.maximum_filter(section, 5) * 0.8)
        for i, k in np.argwhere(ridge):
            start = np.array([axes[0][i], pivot_mm, axes[2][k]])
            if not 3.0 <= start[0] * sign <= 35.0:
                continue
            score = _line_scores(cube, smooth, start, slope_l, slope_s)
            j = int(np.argmax(score))
            if score[j] > 0:
                local = -np.array([slope_l[j], 1.0, slope_s[j]])
                forward = cube.frame.to_lps_mm(local) - cube.frame.origin_lps_mm
                axis = ScrewAxis(
                    cube.frame.to_lps_mm(start), forward / np.linalg.norm(forward)
                )
                lines.append(BrightLine(float(score[j]), axis))
    kept: list[BrightLine] = []
    for line in sorted(lines, key=lambda line: -line.score):
        if len(kept) < count and not any(line.resembles(other) for other in kept):
            kept.append(line)
    return tuple(kept)


def _line_scores(
    cube: PedicleCube,
    smooth: npt.NDArray[np.float32],
    start: FloatArray,
    slope_l: FloatArray,
    slope_s: FloatArray,
) -> FloatArray:
    """Score of every direction through one place; 0 where it cannot be a screw."""
    pivot_mm, wall = float(start[1]), cube.wall_mm
    # depth > 0 is posterior; the screw moves to the middle as it goes forwards.
    depth = np.arange(-34.0, 40.0, _CUBE_STEP_MM)
    local = np.stack(
        [
            start[0] + depth[:, None] * slope_l,
            np.broadcast_to(pivot_mm + depth[:, None], (len(depth), len(slope_l))),
            start[2] + depth[:, None] * slope_s,
        ]
    )
    lower = _CUBE_LOWER_MM[:, None, None]
    cell = np.round((local - lower) / _CUBE_STEP_MM).astype(int)
    shape = np.array(smooth.shape)[:, None, None]
    valid = np.all((cell >= 0) & (cell < shape), axis=0)
    cell = np.clip(cell, 0, shape - 1)
    value = np.where(valid, smooth[cell[0], cell[1], cell[2]], 0.0)
    front = int(np.argmin(np.abs(depth + pivot_mm - wall + 6.0)))
    holds = cube.own[cell[0, front], cell[1, front], cell[2, front]]
    stretch = np.sqrt(1 + slope_l**2 + slope_s**2)
    scores: FloatArray = holds * _run_scores(value, depth, stretch, wall - pivot_mm)
    return scores


def _run_scores(
    value: FloatArray, depth: FloatArray, stretch: FloatArray, wall_depth: float
) -> FloatArray:
    """Brightness of the unbroken run through the pivot; 0 where it is too short."""
    pivot = int(np.argmin(np.abs(depth)))
    bright = value > 0.28
    ahead = np.cumprod(bright[pivot::-1], axis=0)
    behind = np.cumprod(bright[pivot:], axis=0)
    reach_ahead = (ahead.sum(axis=0) - 1.0) * _CUBE_STEP_MM
    reach_behind = (behind.sum(axis=0) - 1.0) * _CUBE_STEP_MM
    weight = (value[pivot::-1] * ahead).sum(axis=0) + (value[pivot:] * behind).sum(
        axis=0
    )
    # Into the body by 5 mm, and behind the pivot by as much as a needle track is not.
    enough = (reach_ahead >= -wall_depth + 5.0) & (reach_behind >= 8.0)
    enough &= (reach_ahead + reach_behind) * stretch >= 20.0
    scores: FloatArray = np.where(enough, weight, 0.0)
    return scores
