"""The path of the spinal canal: the landmark that survives implants best.

In an axial plane the canal is soft tissue from which most rays meet bone within two
centimetres, with the vertebral body in front. The best chain of such points from the
lowest to the highest slice is found by dynamic programming.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.errors import NoVertebraFoundError
from cemscope.geometry import FloatArray
from cemscope.segmentation.spine_working_volume import WorkingVolume

ScoreArray = npt.NDArray[np.float32]


SYMMETRY_HALF_WIDTH_MM = 30.0
"""Half the width of the part of an axial slice that is compared with its mirror."""

SYMMETRY_IN_FRONT_MM = 40.0
"""How far that part reaches to the front: over the vertebral body."""

SYMMETRY_BEHIND_MM = 30.0
"""How far it reaches to the back: over the spinous process."""


@dataclass(frozen=True, slots=True)
class CanalSettings:
    """Tunables of the search for the canal.

    Attributes
    ----------
    bone_above_hu : float
        A ray meets bone at this value (after taming; cortex of the canal's wall).
    ray_mm : float
        Furthest distance of that bone.
    ray_count : int
        Rays per point, evenly round the circle.
    clear_radius_mm : float
        The canal's centre is at least this far from bone.
    tube_mm : float
        Scores are averaged (Gaussian sigma) over this length of the canal.
    body_in_front_mm : float
        Distance from the canal's centre to the middle of the vertebral body.
    body_contrast_hu : float
        A body this much denser than its soft surroundings gives full marks.
    symmetry_from_score : float
        Points below this score are not looked at closer.
    largest_step_mm : float
        How far the path may move sideways from one slice of 2 mm to the next.
    step_price : float
        Score lost per mm of such a step.
    off_midline_price : float
        Score lost per mm away from the middle of the spine.
    shortest_mm : float
        A shorter stretch of canal is not a spine.
    good_score : float
        Smoothed score (0 ... 1) that the path must reach to count as canal.
    """

    bone_above_hu: float = 170.0
    ray_mm: float = 18.0
    ray_count: int = 16
    clear_radius_mm: float = 6.0
    tube_mm: float = 5.0
    body_in_front_mm: float = 24.0
    body_contrast_hu: float = 100.0
    symmetry_from_score: float = 0.2
    largest_step_mm: float = 4.0
    step_price: float = 0.03
    off_midline_price: float = 0.004
    shortest_mm: float = 24.0
    good_score: float = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class CanalPath:
    """Centre of the spinal canal from the feet to the head.

    Attributes
    ----------
    points_lps_mm : ndarray, shape (n, 3)
        One point per slice of the working grid, ascending in z.
    scores : ndarray, shape (n,)
        How much each point looks like a canal (0 ... 1).
    """

    points_lps_mm: FloatArray
    scores: FloatArray


def find_canal(coarse: WorkingVolume, settings: CanalSettings) -> CanalPath:
    """Find the canal on a coarse working grid (about 2 mm).

    Raises
    ------
    NoVertebraFoundError
        If no stretch of the best path looks like a canal.
    """
    score = canal_likeness(coarse, settings)
    path = _best_path(score, coarse, settings, centre_column=None)
    on_path = score[np.arange(len(path)), path[:, 0], path[:, 1]]
    # The clearest part of a first path tells where the spine's midline is.
    weight = np.maximum(on_path - settings.good_score, 0.0) + 1e-6
    middle = float((path[:, 1] * weight).sum() / weight.sum())
    path = _best_path(score, coarse, settings, centre_column=middle)
    on_path = score[np.arange(len(path)), path[:, 0], path[:, 1]].astype(float)
    spacing = coarse.geometry.spacing_mm[0]
    smooth = ndimage.gaussian_filter1d(on_path, 10.0 / spacing, mode="nearest")
    first, last = _longest_run(smooth >= settings.good_score)
    if (last - first) * spacing < settings.shortest_mm:
        raise NoVertebraFoundError(
            f"expected a spine with at least {settings.shortest_mm:.0f} mm of spinal "
            f"canal, found {max(last - first, 0) * spacing:.0f} mm that looks like it. "
            "Is this a CT of the spine?"
        )
    index = np.column_stack([np.arange(first, last), path[first:last]])
    return CanalPath(coarse.geometry.index_to_lps(index), smooth[first:last])


def canal_likeness(coarse: WorkingVolume, settings: CanalSettings) -> ScoreArray:
    """Score every voxel of a coarse grid as centre of the canal (0 ... 1)."""
    spacing = coarse.geometry.spacing_mm[0]
    bone = coarse.hu > settings.bone_above_hu
    met = np.zeros(bone.shape, np.float32)
    for k in range(settings.ray_count):
        angle = 2 * np.pi * (k + 0.5) / settings.ray_count
        hit = np.zeros_like(bone)
        seen: set[tuple[int, int]] = set()
        for distance in np.arange(spacing, settings.ray_mm + 1e-6, spacing):
            row = round(float(distance * np.sin(angle) / spacing))
            column = round(float(distance * np.cos(angle) / spacing))
            if (row, column) not in seen:
                seen.add((row, column))
                _or_shifted(hit, bone, row, column)
        met += hit
    met /= settings.ray_count
    body = ndimage.gaussian_filter(
        coarse.hu, [14.0 / spacing, 5.0 / spacing, 5.0 / spacing], mode="nearest"
    )
    around = ndimage.gaussian_filter(
        coarse.hu, [14.0 / spacing, 24.0 / spacing, 24.0 / spacing], mode="nearest"
    )
    contrast = np.clip((body - around) / settings.body_contrast_hu, 0.0, 1.0)
    front = np.zeros_like(contrast)
    steps = round(settings.body_in_front_mm / spacing)
    if steps < contrast.shape[1]:
        front[:, steps:] = contrast[:, : contrast.shape[1] - steps]
    clear_mm = ndimage.distance_transform_edt(~bone) * spacing
    clear = np.clip(clear_mm / settings.clear_radius_mm, 0.0, 1.0)
    clear *= np.clip((coarse.hu + 50.0) / 40.0, 0.0, 1.0)
    score: ScoreArray = ((0.6 * met + 0.4 * front) * clear).astype(np.float32)
    score *= coarse.inside
    likely = np.argwhere(score > settings.symmetry_from_score)
    symmetry = _left_right_symmetry(coarse.hu, likely, spacing)
    score[tuple(likely.T)] *= symmetry
    smooth: ScoreArray = ndimage.gaussian_filter1d(
        score, settings.tube_mm / spacing, axis=0, mode="nearest"
    )
    return smooth


def _left_right_symmetry(
    hu: ScoreArray, index: npt.NDArray[np.int64], spacing: float
) -> ScoreArray:
    """Correlation (0 ... 1) of the axial surroundings of voxels with their mirror."""
    reach = round(SYMMETRY_HALF_WIDTH_MM / spacing)
    rows = np.arange(
        -round(SYMMETRY_IN_FRONT_MM / spacing),
        round(SYMMETRY_BEHIND_MM / spacing) + 1,
        2,
    )
    result = np.zeros(len(index), np.float32)
    if not len(index):
        return result
    offsets = np.arange(1, reach + 1)
    for part in np.array_split(np.arange(len(index)), len(index) // 20_000 + 1):
        z, y, x = index[part].T
        row = np.clip(y[:, None] + rows, 0, hu.shape[1] - 1)[:, :, None]
        left = np.clip(x[:, None] + offsets, 0, hu.shape[2] - 1)[:, None, :]
        right = np.clip(x[:, None] - offsets, 0, hu.shape[2] - 1)[:, None, :]
        one = hu[z[:, None, None], row, left].reshape(len(part), -1)
        other = hu[z[:, None, None], row, right].reshape(len(part), -1)
        both = np.concatenate([one, other], axis=1)
        middle = both.mean(axis=1, keepdims=True)
        spread = ((both - middle) ** 2).mean(axis=1) + 1.0
        shared = ((one - middle) * (other - middle)).mean(axis=1)
        result[part] = np.clip(shared / spread, 0.0, 1.0)
    return result


def _or_shifted(
    target: npt.NDArray[np.bool_], source: npt.NDArray[np.bool_], row: int, column: int
) -> None:
    """``target[z, y, x] |= source[z, y + row, x + column]`` inside the array."""
    rows, columns = source.shape[1:]
    if abs(row) >= rows or abs(column) >= columns:
        return
    target[
        :, max(-row, 0) : rows - max(row, 0), max(-column, 0) : columns - max(column, 0)
    ] |= source[
        :, max(row, 0) : rows + min(row, 0), max(column, 0) : columns + min(column, 0)
    ]


def _best_path(
    score: ScoreArray,
    coarse: WorkingVolume,
    settings: CanalSettings,
    centre_column: float | None,
) -> npt.NDArray[np.int64]:
    """Row and column per slice of the chain with the highest total score."""
    spacing = coarse.geometry.spacing_mm[0]
    reach = max(1, round(settings.largest_step_mm / spacing))
    offsets = [
        (dy, dx)
        for dy in range(-reach, reach + 1)
        for dx in range(-reach, reach + 1)
        if dy * dy + dx * dx <= reach * reach
    ]
    off_midline = np.zeros(score.shape[2], np.float32)
    if centre_column is not None:
        distance_mm = np.abs(np.arange(score.shape[2]) - centre_column) * spacing
        off_midline = (settings.off_midline_price * distance_mm).astype(np.float32)
    total = score[0] - off_midline
    choices = np.zeros(score.shape, np.int8)
    for z in range(1, len(score)):
        padded = np.pad(total, reach, constant_values=-np.inf)
        best = np.full(total.shape, -np.inf, np.float32)
        for number, (dy, dx) in enumerate(offsets):
            price = settings.step_price * spacing * float(np.hypot(dy, dx))
            moved = (
                padded[
                    reach + dy : reach + dy + total.shape[0],
                    reach + dx : reach + dx + total.shape[1],
                ]
                - price
            )
            better = moved > best
            best[better] = moved[better]
            choices[z][better] = number
        total = best + score[z] - off_midline
    path = np.zeros((len(score), 2), np.int64)
    path[-1] = np.unravel_index(int(total.argmax()), total.shape)
    for z in range(len(score) - 1, 0, -1):
        path[z - 1] = path[z] + offsets[choices[z][tuple(path[z])]]
    return path


def _longest_run(good: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Start and stop of the longest stretch of True (0, 0 if there is none)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(np.int8), [0]])))
    if not len(edges):
        return 0, 0
    starts, stops = edges[::2], edges[1::2]
    longest = int((stops - starts).argmax())
    return int(starts[longest]), int(stops[longest])
