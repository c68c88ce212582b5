"""The spine's own coordinates: along the canal, to the back and to the left.

A scan straightened along these axes looks the same for an oblique acquisition, a
kyphosis or a scoliosis: discs lie across, the canal runs upwards.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.canal.smooth_line import smooth_line
from cemscope.segmentation.canal.spinal_canal import CanalPath
from cemscope.segmentation.spine_working_volume import WorkingArray, WorkingVolume

AXIS_STEP_MM = 1.0
"""Distance between two positions along the straightened spine."""


@dataclass(frozen=True, slots=True)
class AxisSettings:
    """Tunables of the straightening.

    Attributes
    ----------
    smooth_mm : float
        Gaussian sigma that smooths the canal's path.
    extend_mm : float
        How far the axis is continued straight beyond both ends of the canal.
    largest_turn_deg : float
        Largest axial rotation of a vertebra that is looked for.
    turn_step_deg : float
        Step of that search.
    turn_smooth_mm : float
        Gaussian sigma along the axis of the rotation.
    wall_nearest_mm, wall_furthest_mm : float
        Where the posterior wall of the bodies is looked for in front of the canal's
        centre.
    """

    smooth_mm: float = 7.0
    extend_mm: float = 30.0
    largest_turn_deg: float = 24.0
    turn_step_deg: float = 3.0
    turn_smooth_mm: float = 15.0
    wall_nearest_mm: float = 3.0
    wall_furthest_mm: float = 17.0


@dataclass(frozen=True, slots=True, eq=False)
class SpineAxis:
    """Centre line of the canal with a frame at each step.

    Attributes
    ----------
    points_lps_mm : ndarray, shape (n, 3)
        Every `AXIS_STEP_MM` from the feet to the head.
    superior, posterior, left : ndarray, shape (n, 3)
        Orthogonal unit vectors.
    wall_mm : ndarray, shape (n,)
        Position of the bodies' posterior wall along ``posterior``, from the canal's
        centre; negative, since the wall is in front of it.
    canal_start, canal_stop : int
        Steps between which the canal was seen, not extrapolated.
    """

    points_lps_mm: FloatArray
    superior: FloatArray
    posterior: FloatArray
    left: FloatArray
    wall_mm: FloatArray
    canal_start: int
    canal_stop: int

    def __len__(self) -> int:
        return len(self.points_lps_mm)

    def is_same(self, other: "SpineAxis") -> bool:
        """Tell whether both have the same steps and frames."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("points_lps_mm", "superior", "posterior", "left", "wall_mm")
        )

    def to_lps_mm(
        self, step: FloatArray, posterior_mm: FloatArray, left_mm: FloatArray
    ) -> FloatArray:
        """Patient points of spine coordinates (all of one shape, broadcast)."""
        step = np.clip(step, 0, len(self) - 1)
        low = np.minimum(step.astype(int), len(self) - 2)
        part = (step - low)[..., None]

        def along(values: FloatArray) -> FloatArray:
            mixed: FloatArray = values[low] * (1 - part) + values[low + 1] * part
            return mixed

        return (
            along(self.points_lps_mm)
            + along(self.posterior) * np.asarray(posterior_mm)[..., None]
            + along(self.left) * np.asarray(left_mm)[..., None]
        )

    def straighten(
        self, volume: WorkingVolume, posterior_mm: FloatArray, left_mm: FloatArray
    ) -> WorkingArray:
        """Resample a volume to shape (steps, len(posterior_mm), len(left_mm))."""
        points = (
            self.points_lps_mm[:, None, None, :]
            + self.posterior[:, None, None, :] * posterior_mm[None, :, None, None]
            + self.left[:, None, None, :] * left_mm[None, None, :, None]
        )
        return volume.sample(points)


def spine_axis(
    path: CanalPath, volume: WorkingVolume, settings: AxisSettings
) -> SpineAxis:
    """Lay axes along the canal, turned so that left and right match.

    Parameters
    ----------
    path
        Canal found on a coarse grid.
    volume
        Working volume round the spine.
    settings
        Tunables.
    """
    points, start, stop = _smooth_line(path, settings)
    superior = np.gradient(points, axis=0)
    superior /= np.linalg.norm(superior, axis=1, keepdims=True)
    back = np.array([0.0, 1.0, 0.0])
    posterior = back - (superior @ back)[:, None] * superior
    posterior /= np.linalg.norm(posterior, axis=1, keepdims=True)
    left = np.cross(posterior, superior)
    axis = SpineAxis(
        points, superior, posterior, left, np.full(len(points), -10.0), start, stop
    )
    axis = _turned(axis, volume, settings)
    wall = _posterior_wall(axis, volume, settings)
    return SpineAxis(points, superior, axis.posterior, axis.left, wall, start, stop)


def _smooth_line(
    path: CanalPath, settings: AxisSettings
) -> tuple[FloatArray, int, int]:
    """Smooth, extend and resample the path; also the steps where the canal was seen."""
    points = path.points_lps_mm
    step = float(np.median(np.diff(points[:, 2])))
    trust = np.maximum(path.scores, 0.02) ** 2
    smooth = smooth_line(points[:, 2], points, trust, settings.smooth_mm)
    slope_over = min(len(smooth) - 1, max(1, round(15.0 / step)))
    down = smooth[0] - smooth[slope_over]
    up = smooth[-1] - smooth[-1 - slope_over]
    reach = np.arange(1, round(settings.extend_mm / AXIS_STEP_MM) + 1)[:, None]
    line = np.concatenate(
        [
            (smooth[0] + reach * AXIS_STEP_MM * down / np.linalg.norm(down))[::-1],
            smooth,
            smooth[-1] + reach * AXIS_STEP_MM * up / np.linalg.norm(up),
        ]
    )
    length = np.concatenate(
        [[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    )
    at = np.arange(0.0, length[-1], AXIS_STEP_MM)
    even = np.stack([np.interp(at, length, line[:, k]) for k in range(3)], axis=1)
    start = int(np.searchsorted(at, length[len(reach)]))
    stop = int(np.searchsorted(at, length[len(reach) + len(points) - 1])) + 1
    return even, start, min(stop, len(even))


def _turned(
    axis: SpineAxis, volume: WorkingVolume, settings: AxisSettings
) -> SpineAxis:
    """Turn posterior and left about the axis so that the halves match best."""
    angles = np.radians(
        np.arange(
            -settings.largest_turn_deg,
            settings.largest_turn_deg + 1e-6,
            settings.turn_step_deg,
        )
    )
    posterior_mm = np.arange(-40.0, 26.0, 3.0)
    left_mm = np.arange(2.0, 30.0, 3.0)
    steps = np.arange(0, len(axis), 4)
    likeness = np.zeros((len(angles), len(steps)))
    for k, angle in enumerate(angles):
        posterior, left = _rotate(axis, float(angle))
        base = (
            axis.points_lps_mm[steps, None, None, :]
            + posterior[steps, None, None, :] * posterior_mm[None, :, None, None]
        )
        side = left[steps, None, None, :] * left_mm[None, None, :, None]
        difference = volume.sample(base + side) - volume.sample(base - side)
        likeness[k] = -np.abs(difference).mean(axis=(1, 2))
    likeness = ndimage.gaussian_filter1d(
        likeness, settings.turn_smooth_mm / (4 * AXIS_STEP_MM), axis=1, mode="nearest"
    )
    # A vertebra faces the back unless its symmetry says otherwise.
    likeness -= 0.3 * np.degrees(np.abs(angles))[:, None] / 3.0
    best = angles[likeness.argmax(axis=0)]
    turn = ndimage.gaussian_filter1d(
        np.interp(np.arange(len(axis)), steps, best),
        settings.turn_smooth_mm / AXIS_STEP_MM,
        mode="nearest",
    )
    posterior, left = _rotate(axis, turn)
    return SpineAxis(
        axis.points_lps_mm,
        axis.superior,
        posterior,
        left,
        axis.wall_mm,
        axis.canal_start,
        axis.canal_stop,
    )


def _rotate(
    axis: SpineAxis, angle_rad: float | FloatArray
) -> tuple[FloatArray, FloatArray]:
    cosine = np.broadcast_to(np.cos(angle_rad), len(axis))[:, None]
    sine = np.broadcast_to(np.sin(angle_rad), len(axis))[:, None]
    return (
        cosine * axis.posterior + sine * axis.left,
        cosine * axis.left - sine * axis.posterior,
    )


def _posterior_wall(
    axis: SpineAxis, volume: WorkingVolume, settings: AxisSettings
) -> FloatArray:
    """Position of the posterior wall per step: the best smooth chain of edges."""
    posterior_mm = np.arange(
        -settings.wall_furthest_mm - 3.0, -settings.wall_nearest_mm + 3.01, 1.0
    )
    middle = axis.straighten(volume, posterior_mm, np.arange(-6.0, 7.0, 3.0))
    profile = ndimage.gaussian_filter(middle.mean(axis=2), [2.0, 1.0])
    edge = profile[:, :-6] - profile[:, 6:]
    edge = np.maximum(edge, 0.0) / 100.0
    candidates = posterior_mm[3:-3]
    total = edge[0].astype(float)
    back = np.zeros(edge.shape, int)
    jump = np.abs(candidates[:, None] - candidates[None, :])
    price = 0.5 * jump + 100.0 * (jump > 1.5)
    for k in range(1, len(edge)):
        scores = total[None, :] - price
        back[k] = scores.argmax(axis=1)
        total = scores.max(axis=1) + edge[k]
    chosen = np.zeros(len(edge), int)
    chosen[-1] = int(total.argmax())
    for k in range(len(edge) - 1, 0, -1):
        chosen[k - 1] = back[k, chosen[k]]
    smooth: FloatArray = ndimage.gaussian_filter1d(
        candidates[chosen], 3.0, mode="nearest"
    )
    return smooth
