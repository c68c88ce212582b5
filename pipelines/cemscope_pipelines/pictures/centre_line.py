"""The line that a curved picture follows: through the bodies, on to the scan's ends.

Where the bodies end the line goes on beside the spinal canal, which is seen beyond
the last outline; where there is no canal it goes straight on.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.spine import Spine, Vertebra
from cemscope.volume import Mask

FloatArray = npt.NDArray[np.float64]

STEP_MM = 1.0
"""Distance between the points of a line."""

SMOOTHING_MM = 8.0
"""Sigma of the smoothing along the line. On an arc of radius R it pulls the line in by
sigma^2 / 2R, 0.3 mm on a lumbar lordosis of 100 mm."""

ROTATION_SMOOTHING_MM = 15.0
"""Sigma of the smoothing of the axial rotation."""

MAX_ROTATION_DEG = 45.0
"""Frames turned further against the patient's axes are taken for wrong; the most
severe scolioses reach about 40 degrees (Lam 2008, doi:10.1186/1748-7161-3-16)."""

SAME_HEIGHT_MM = 6.0
"""Bodies whose centres are nearer in height are joined to one point of the line."""

CANAL_BIN_MM = 3.0
"""Thickness of the layers in which the canal's centre is taken."""

BELOW_SACRUM_MM = 60.0
"""How far the line goes on below the centre of S1: no vertebra can be missed there."""

END_TANGENT_MM = 20.0
"""Length at an end of the line over which its direction is taken."""

CANAL_HALF_HEIGHT_MM, CANAL_HALF_WIDTH_MM = 5.0, 20.0
"""Part of the canal behind a body in which its distance from the body is taken."""

PEDICLE_BEHIND_BODY_MM = 24.0
"""Pedicles behind the centre of a lumbar body, where no canal tells: half a body of 34
mm and half a pedicle (Zhou 2000, Eur Spine J 9:242-8)."""

PEDICLE_BEFORE_CANAL_MM = 4.0
"""Pedicles before the centre of the canal: they spring from the back of the body."""


def _unit(vectors: FloatArray) -> FloatArray:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    units: FloatArray = vectors / np.maximum(norms, 1e-12)
    return units


def _even_steps(points: FloatArray, step_mm: float) -> FloatArray:
    """Points at even distances along a polyline."""
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    count = max(2, round(along[-1] / step_mm) + 1)
    wanted = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(wanted, along, points[:, i]) for i in range(3)], axis=1)


def _smooth(values: FloatArray, sigma: float) -> FloatArray:
    """Gaussian along axis 0 that leaves straight lines and both ends where they are."""
    if len(values) < 3:
        return values
    pad = min(len(values) - 1, round(4.0 * sigma))
    width = [(pad, pad)] + [(0, 0)] * (values.ndim - 1)
    padded = np.pad(values, width, mode="reflect", reflect_type="odd")
    smooth: FloatArray = ndimage.gaussian_filter1d(padded, sigma, axis=0)
    return smooth[pad : pad + len(values)]


@dataclass(frozen=True, slots=True, eq=False)
class CentreLine:
    """A smooth line along the spine, from the feet to the head.

    Attributes
    ----------
    points_lps_mm : ndarray, shape (n, 3)
        Points at even distances of about `STEP_MM`.
    rotation_rad : ndarray, shape (n,)
        Axial rotation there: positive where the patient's left turns to the back.
    body_span : tuple of int
        First and last point between the centres of the outermost bodies.
    """

    points_lps_mm: FloatArray
    rotation_rad: FloatArray
    body_span: tuple[int, int]

    @classmethod
    def of(cls, spine: Spine, geometry: VoxelGeometry) -> "CentreLine":
        """Lay a line through the bodies of a spine, to the ends of its scan.

        Raises
        ------
        ValueError
            If the spine holds no vertebra.
        """
        if not spine.vertebrae:
            raise ValueError("expected at least one vertebra, found none")
        centres = _joined_centres(spine)
        canal = canal_centres(spine.canal) if spine.canal is not None else None
        by_height = sorted(spine.vertebrae, key=lambda v: float(v.centroid_lps_mm[2]))
        low, high = by_height[0], by_height[-1]
        below_mm = BELOW_SACRUM_MM if low.level.name == "S1" else np.inf
        ends = (
            _beyond(_LineEnd(centres, low, -1.0, below_mm), canal, geometry),
            _beyond(_LineEnd(centres[::-1], high, 1.0, np.inf), canal, geometry),
        )
        points = np.concatenate([ends[0][::-1], centres, ends[1]])
        points = _smooth(_even_steps(points, STEP_MM), SMOOTHING_MM / STEP_MM)
        points = _even_steps(points, STEP_MM)
        span = (_nearest(points, centres[0]), _nearest(points, centres[-1]))
        return cls(points, _rotation(spine, points), span)

    @property
    def along_mm(self) -> FloatArray:
        """Distance of each point from the first, along the line."""
        return _along(self.points_lps_mm)

    @property
    def tangents(self) -> FloatArray:
        """Unit vectors along the line, to the head; shape (n, 3)."""
        return _unit(np.gradient(self.points_lps_mm, axis=0))

    @property
    def left(self) -> FloatArray:
        """The patient's left, level with the floor, turned with the vertebrae."""
        turn = self.rotation_rad
        return np.stack([np.cos(turn), np.sin(turn), np.zeros_like(turn)], axis=1)

    @property
    def posterior(self) -> FloatArray:
        """The patient's back, level with the floor, turned with the vertebrae."""
        turn = self.rotation_rad
        return np.stack([-np.sin(turn), np.cos(turn), np.zeros_like(turn)], axis=1)

    def through_pedicles(self, spine: Spine) -> "CentreLine":
        """Line behind this one, where the pedicles are."""
        canal = _mask_points(spine.canal) if spine.canal is not None else None
        behind = np.array([_pedicle_distance_mm(v, canal) for v in spine.vertebrae])
        nearest = [
            _nearest(self.points_lps_mm, v.centroid_lps_mm) for v in spine.vertebrae
        ]
        order = np.argsort(nearest)
        distance = np.interp(
            np.arange(len(self.points_lps_mm)), np.array(nearest)[order], behind[order]
        )
        distance = _smooth(distance, ROTATION_SMOOTHING_MM / STEP_MM)
        back = _unit(np.cross(self.tangents, self.left))
        moved = self.points_lps_mm + distance[:, None] * back
        return CentreLine(moved, self.rotation_rad, self.body_span)


def _along(points: FloatArray) -> FloatArray:
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def _nearest(points: FloatArray, point: FloatArray) -> int:
    """Index of the point nearest to another."""
    return int(np.argmin(np.linalg.norm(points - point, axis=1)))


def _joined_centres(spine: Spine) -> FloatArray:
    """Centres of the bodies by height; those at the same height become one."""
    centres = np.array([v.centroid_lps_mm for v in spine.vertebrae], float)
    centres = centres[np.argsort(centres[:, 2], kind="stable")]
    groups: list[list[FloatArray]] = []
    for centre in centres:
        if groups and centre[2] - groups[-1][-1][2] < SAME_HEIGHT_MM:
            groups[-1].append(centre)
        else:
            groups.append([centre])
    return np.array([np.mean(group, axis=0) for group in groups])


def _mask_points(mask: Mask) -> FloatArray:
    """Centres of the voxels of a mask, LPS mm, shape (n, 3)."""
    inside = np.unravel_index(np.flatnonzero(mask.voxels), mask.voxels.shape)
    return mask.geometry.index_to_lps(np.stack(inside, axis=1))


def canal_centres(canal: Mask) -> FloatArray:
    """Centre of the canal in layers of `CANAL_BIN_MM`, from the feet to the head.

    Returns
    -------
    ndarray, shape (n, 3)
        LPS mm; empty where the canal is.
    """
    points = _mask_points(canal)
    if len(points) == 0:
        return points.reshape(0, 3)
    layer = np.floor(points[:, 2] / CANAL_BIN_MM).astype(int)
    layer -= layer.min()
    counts = np.bincount(layer)
    sums = np.stack([np.bincount(layer, points[:, i]) for i in range(3)], axis=1)
    filled = counts > 0
    centres: FloatArray = sums[filled] / counts[filled, None]
    return centres


@dataclass(frozen=True, slots=True, eq=False)
class _LineEnd:
    """Where a line leaves the outermost body.

    Attributes
    ----------
    outwards : ndarray, shape (n, 3)
        Centres of the bodies, the outermost first.
    vertebra : Vertebra
        The outermost one.
    sign : float
        1 to the head, -1 to the feet.
    reach_mm : float
        At most so far beyond the outermost centre.
    """

    outwards: FloatArray
    vertebra: Vertebra
    sign: float
    reach_mm: float

    def direction(self) -> FloatArray:
        """Tell the unit vector out of the outermost body."""
        if len(self.outwards) > 1:
            direction = _unit(self.outwards[0] - self.outwards[1])
        else:
            direction = self.sign * self.vertebra.frame.superior
        if direction[2] * self.sign < 0.5:  # a wrong frame must not lead it aside
            direction = np.array([0.0, 0.0, self.sign])
        return direction

    def beside_canal(self, canal: FloatArray) -> FloatArray:
        """Points beyond the outermost body, as far as the canal is outlined."""
        centre = self.outwards[0]
        heights = canal[:, 2] * self.sign
        order = np.argsort(heights)
        canal, heights = canal[order], heights[order]
        at_body = np.array([np.interp(centre[2] * self.sign, heights, canal[:, i])
                            for i in range(3)])  # fmt: skip
        at_body[2] = centre[2]
        beyond = canal[heights > centre[2] * self.sign + 2.0 * CANAL_BIN_MM]
        beside: FloatArray = beyond + (centre - at_body)
        return beside


def _beyond(
    end: _LineEnd, canal: FloatArray | None, geometry: VoxelGeometry
) -> FloatArray:
    """Points from the outermost body outwards to the scan's end, without the body's."""
    centre, direction = end.outwards[0], end.direction()
    path = centre[None, :]
    if canal is not None and len(canal):
        path = np.concatenate([path, end.beside_canal(canal)])
    if len(path) > 3:
        path = _smooth(_even_steps(path, STEP_MM), SMOOTHING_MM / STEP_MM)
        before = path[max(0, len(path) - 1 - round(END_TANGENT_MM / STEP_MM))]
        direction = _unit(path[-1] - before)
    corners = geometry.corners_lps_mm()
    steps = np.arange(STEP_MM, float(np.linalg.norm(np.ptp(corners, axis=0))), STEP_MM)
    path = np.concatenate([path, path[-1] + steps[:, None] * direction])
    index = geometry.lps_to_index(path)
    inside = ((index >= -0.5) & (index <= np.array(geometry.shape) - 0.5)).all(axis=1)
    inside &= _along(path) <= end.reach_mm
    leaves = np.flatnonzero(~inside)
    return path[1 : leaves[0] if len(leaves) else len(path)]


def _rotation(spine: Spine, points: FloatArray) -> FloatArray:
    """Axial rotation along a line, from the frames of the vertebrae."""
    at, turns = [], []
    for vertebra in sorted(spine.vertebrae, key=lambda v: float(v.centroid_lps_mm[2])):
        left = vertebra.frame.left
        turn = float(np.arctan2(left[1], left[0]))
        if abs(turn) <= np.radians(MAX_ROTATION_DEG):
            at.append(_nearest(points, vertebra.centroid_lps_mm))
            turns.append(turn)
    if not turns:
        return np.zeros(len(points))
    # One frame that is off must not twist the picture.
    steady = ndimage.median_filter(np.array(turns), size=3, mode="nearest")
    turn = np.interp(np.arange(len(points)), at, steady)
    return _smooth(turn, ROTATION_SMOOTHING_MM / STEP_MM)


def _pedicle_distance_mm(vertebra: Vertebra, canal_points: FloatArray | None) -> float:
    """Distance from the centre of a body back to its pedicles."""
    if canal_points is None:
        return PEDICLE_BEHIND_BODY_MM
    local = vertebra.frame.to_local_mm(canal_points)
    near = np.abs(local[:, 2]) < CANAL_HALF_HEIGHT_MM
    near &= np.abs(local[:, 0]) < CANAL_HALF_WIDTH_MM
    near &= local[:, 1] > 0.0
    if not near.any():
        return PEDICLE_BEHIND_BODY_MM
    return float(np.median(local[near, 1])) - PEDICLE_BEFORE_CANAL_MM
