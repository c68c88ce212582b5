"""The path of the spinal canal: the landmark that survives implants best.

In an axial plane the canal is soft tissue from which most rays meet bone within two
centimetres, with a vertebral body in front and two like halves on either side. The
best chain of such points from the lowest to the highest slice is found by dynamic
programming.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.errors import NoVertebraFoundError
from cemscope.geometry import FloatArray
from cemscope.segmentation.canal.canal_part import canal_part
from cemscope.segmentation.canal.mirror_symmetry import axial_symmetry
from cemscope.segmentation.canal.smooth_line import smooth_line
from cemscope.segmentation.canal.streak_planes import StreakPlanes
from cemscope.segmentation.spine_working_volume import WorkingVolume, coarser

ScoreArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

CONTENT_HU = (-55.0, -20.0, 80.0, 140.0)
CONTENT_SHARE = (0.7, 1.0, 1.0, 0.4)
"""What a point keeps of its score by its own value: the canal holds fat (most in the
sacrum; working volumes cut off below it), cord and fluid; marrow is denser."""

SOFT_TISSUE_HU = -20.0
"""Denser voxels are the patient."""

BEYOND_MM = 45.0
"""How far beyond a first path the canal is looked for once more."""

BODY_IN_FRONT_MM = (18.0, 25.0)
"""From the canal's centre into the body, in the neck and in the lumbar spine. The
body's middle is half the sum of both depths away (lumbar: 18 and 35 mm, Panjabi 1992,
doi:10.1097/00007632-199203000-00010)."""


@dataclass(frozen=True, slots=True)
class CanalSettings:
    """Tunables of the search for the canal.

    Attributes
    ----------
    grid_mm : float
        Cubes on which the canal is looked for.
    bone_above_hu : float
        A ray meets bone at this value (after taming; cortex of the canal's wall).
    ray_mm : float
        Furthest distance of that bone.
    ray_count : int
        Rays per point, evenly round the circle.
    level_mm : float
        Bone that a ray meets this far above or below counts too: pedicles and laminae
        leave gaps between them.
    clear_radius_mm : float
        The canal's centre is at least this far from bone.
    tube_mm : float
        Scores are averaged (Gaussian sigma) over this length of the canal.
    body_contrast_hu : float
        A body this much denser than its soft surroundings gives full marks.
    least_front : float
        What a point keeps of its score without any body in front.
    least_symmetry : float
        What a point keeps of its score where its halves are not alike.
    symmetry_from_score : float
        Points below this score are not looked at closer.
    steepest : float
        How far the path may move sideways, as a multiple of its rise.
    step_price : float
        Score lost per mm of such a step.
    off_midline_price : float
        Score lost per mm away from the middle of the spine.
    shortest_mm : float
        A shorter stretch of canal is not a spine.
    steady_mm : float
        Gaussian sigma of the smooth line that the path follows.
    detour_mm, detour_price : float
        Distance from that line that is free, and score lost per mm beyond it.
    good_share : float
        Share of the path's best scores (80th percentile) that is as likely canal as
        not: the stretch of path is taken that most exceeds it in sum, so that a weak
        part between clear ones is bridged.
    good_score : tuple of float
        Limits of that score.
    """

    grid_mm: float = 3.0
    bone_above_hu: float = 170.0
    ray_mm: float = 18.0
    ray_count: int = 16
    level_mm: float = 6.0
    clear_radius_mm: float = 6.0
    tube_mm: float = 5.0
    body_contrast_hu: float = 100.0
    least_front: float = 0.4
    least_symmetry: float = 0.1
    symmetry_from_score: float = 0.2
    steepest: float = 1.5
    step_price: float = 0.03
    off_midline_price: float = 0.004
    shortest_mm: float = 24.0
    steady_mm: float = 15.0
    detour_mm: float = 4.0
    detour_price: float = 0.04
    good_share: float = 0.45
    good_score: tuple[float, float] = (0.18, 0.3)


@dataclass(frozen=True, slots=True, eq=False)
class CanalPath:
    """Centre of the spinal canal from the feet to the head.

    Attributes
    ----------
    points_lps_mm : ndarray, shape (n, 3)
        One point per slice of the search grid, ascending in z.
    scores : ndarray, shape (n,)
        How much each point looks like a canal (0 ... 1).
    """

    points_lps_mm: FloatArray
    scores: FloatArray


def find_canal(
    coarse: WorkingVolume, settings: CanalSettings, streaks: StreakPlanes | None = None
) -> CanalPath:
    """Find the canal in a working volume of the whole scan.

    Parameters
    ----------
    coarse
        The scan, tamed.
    settings
        Tunables.
    streaks
        Planes in which streaks may hide the canal: it is not taken to end there.

    Raises
    ------
    NoVertebraFoundError
        If no stretch of the best path looks like a canal.
    """
    volume = coarser(coarse, settings.grid_mm)
    spacing = volume.geometry.spacing_mm[0]
    score = canal_likeness(volume, settings) * _trust(volume, streaks)
    tissue = (volume.hu > SOFT_TISSUE_HU).sum(axis=(0, 1)) + 1.0
    path = _path_in_midline(score, tissue, spacing, settings)
    hidden = _hidden(volume, path, streaks)
    limits = (settings.good_share, settings.good_score)
    first, last = canal_part(_on_path(score, path), hidden, spacing, *limits)
    # Once more without what lies far beyond: it drew the ends of the path aside.
    more = round(BEYOND_MM / spacing)
    low, high = max(first - more, 0), min(last + more, len(score))
    if last > first:
        path = _path_in_midline(score[low:high], tissue, spacing, settings)
        on_path, unseen = _on_path(score[low:high], path), hidden[low:high]
        first, last = canal_part(on_path, unseen, spacing, *limits)
        first, last = first + low, last + low
    if (last - first) * spacing < settings.shortest_mm:
        raise NoVertebraFoundError(
            f"expected a spine with at least {settings.shortest_mm:.0f} mm of spinal "
            f"canal, found {max(last - first, 0) * spacing:.0f} mm that looks like it. "
            "Is this a CT of the spine?"
        )
    chosen = path[first - low : last - low]
    index = np.column_stack([np.arange(first, last), chosen]).astype(float)
    index[:, 1:] += _between_voxels(score, index.astype(int))
    scores = _on_path(score[first:last], chosen)
    return CanalPath(volume.geometry.index_to_lps(index), scores)


def _path_in_midline(
    score: ScoreArray,
    tissue: npt.NDArray[np.float64],
    spacing: float,
    settings: CanalSettings,
) -> npt.NDArray[np.int64]:
    """Row and column per slice of the path that is taken for the canal.

    The spine lies in the middle of the trunk, or of the part that was scanned; the
    clearest part of a first path tells where its own midline is.
    """
    columns = np.arange(score.shape[2])
    middle = float((columns * tissue).sum() / tissue.sum())
    path = np.zeros((len(score), 2), np.int64)
    for _ in range(2):
        price = settings.off_midline_price * spacing * np.abs(columns - middle)
        path = _best_path(score - price.astype(np.float32), spacing, settings)
        weight = _on_path(score, path) ** 2 + 1e-6
        middle = float((path[:, 1] * weight).sum() / weight.sum())
    return _best_path(_near_line(score, path, spacing, settings), spacing, settings)


BLINDED_SHARE = 0.1
"""What a score counts for in a plane that streaks fill: between two rods a dark band
is as symmetrical, and as walled in, as the canal. The planes between lead the path."""


def _trust(volume: WorkingVolume, streaks: StreakPlanes | None) -> ScoreArray:
    """Weight of the score in each slice, from the plane through its middle."""
    count, rows, columns = volume.hu.shape
    trust = np.ones((count, 1, 1), np.float32)
    if streaks is not None:
        index = np.zeros((count, 3))
        index[:, 0] = np.arange(count)
        index[:, 1:] = rows / 2, columns / 2
        blinded = streaks.blinded_at(volume.geometry.index_to_lps(index))
        trust[blinded] = BLINDED_SHARE
    return trust


def _hidden(
    volume: WorkingVolume, path: npt.NDArray[np.int64], streaks: StreakPlanes | None
) -> BoolArray:
    """Slices in which the path lies in a plane with streaks."""
    if streaks is None:
        return np.zeros(len(path), np.bool_)
    index = np.column_stack([np.arange(len(path)), path]).astype(float)
    return streaks.at(volume.geometry.index_to_lps(index))


def _on_path(score: ScoreArray, path: npt.NDArray[np.int64]) -> FloatArray:
    found: FloatArray = score[np.arange(len(path)), path[:, 0], path[:, 1]].astype(
        float
    )
    return found


def _near_line(
    score: ScoreArray,
    path: npt.NDArray[np.int64],
    spacing: float,
    settings: CanalSettings,
) -> ScoreArray:
    """Lower the score away from the smooth line through a path without its detours.

    A canal bends with a radius of 60 mm or more; a path that leaves and returns within
    a vertebra's height has left the canal, for a dark streak through a body, say.
    """
    z_mm = spacing * np.arange(len(path), dtype=np.float64)
    weight = _on_path(score, path) ** 2
    line = path.astype(float)
    for _ in range(4):
        line = smooth_line(z_mm, path.astype(float), weight, settings.steady_mm)
        away_mm = np.hypot(*(path - line).T) * spacing
        weight = _on_path(score, path) ** 2 * (away_mm <= settings.detour_mm)
    row = np.arange(score.shape[1])[None, :, None] - line[:, 0, None, None]
    column = np.arange(score.shape[2])[None, None, :] - line[:, 1, None, None]
    away = np.hypot(row, column).astype(np.float32) * spacing - settings.detour_mm
    lowered: ScoreArray = score - settings.detour_price * np.clip(away, 0.0, 25.0)
    return lowered


def canal_likeness(volume: WorkingVolume, settings: CanalSettings) -> ScoreArray:
    """Score every voxel of a coarse grid as centre of the canal (0 ... 1)."""
    spacing = volume.geometry.spacing_mm[0]
    bone = volume.hu > settings.bone_above_hu
    score = _surrounded(bone, spacing, settings)
    clear_mm = ndimage.distance_transform_edt(~bone) * spacing
    score *= np.clip(clear_mm / settings.clear_radius_mm, 0.0, 1.0)
    score *= np.interp(volume.hu, CONTENT_HU, CONTENT_SHARE).astype(np.float32)
    score *= volume.inside
    front = _body_in_front(volume.hu, spacing, settings)
    score *= settings.least_front + (1.0 - settings.least_front) * front
    likely = np.argwhere(score > settings.symmetry_from_score)
    symmetry = axial_symmetry(volume.hu, likely, spacing)
    kept = settings.least_symmetry + (1.0 - settings.least_symmetry) * symmetry
    score[tuple(likely.T)] *= kept
    smooth: ScoreArray = ndimage.gaussian_filter1d(
        score, settings.tube_mm / spacing, axis=0, mode="nearest"
    )
    return smooth


def _surrounded(bone: BoolArray, spacing: float, settings: CanalSettings) -> ScoreArray:
    """Share of axial rays that meet bone, here or a little above or below."""
    met = np.zeros(bone.shape, np.float32)
    window = 2 * round(settings.level_mm / spacing) + 1
    for k in range(settings.ray_count):
        angle = 2 * np.pi * (k + 0.5) / settings.ray_count
        hit = np.zeros_like(bone)
        seen: set[tuple[int, int]] = set()
        for distance in np.arange(spacing, settings.ray_mm + 1e-6, spacing / 2):
            row = round(float(distance * np.sin(angle) / spacing))
            column = round(float(distance * np.cos(angle) / spacing))
            if (row, column) not in seen:
                seen.add((row, column))
                _or_shifted(hit, bone, row, column)
        near = ndimage.maximum_filter1d(hit.view(np.uint8), window, axis=0)
        met += near
    met /= settings.ray_count
    return met


def _body_in_front(
    hu: ScoreArray, spacing: float, settings: CanalSettings
) -> ScoreArray:
    """Contrast (0 ... 1) of what lies in front with its surroundings and the canal.

    Spongy bone of a body is surrounded by bone as well, but not darker than it.
    """
    along = 14.0 / spacing
    body = ndimage.gaussian_filter(
        hu, [along, 5.0 / spacing, 5.0 / spacing], mode="nearest", truncate=2.5
    )
    around = ndimage.gaussian_filter(
        body, [0.0, 23.0 / spacing, 23.0 / spacing], mode="nearest", truncate=2.5
    )
    own = ndimage.gaussian_filter(
        hu, [6.0 / spacing, 2.0 / spacing, 2.0 / spacing], mode="nearest", truncate=2.5
    )
    front = np.zeros_like(hu)
    for distance in BODY_IN_FRONT_MM:
        steps = round(distance / spacing)
        rows = hu.shape[1] - steps
        if rows > 0:
            darker = np.maximum(around[:, :rows], own[:, steps:])
            there = front[:, steps:]
            np.maximum(there, body[:, :rows] - darker, out=there)
    contrast: ScoreArray = np.clip(front / settings.body_contrast_hu, 0.0, 1.0)
    return contrast


def _or_shifted(target: BoolArray, source: BoolArray, row: int, column: int) -> None:
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
    spacing: float,
    settings: CanalSettings,
) -> npt.NDArray[np.int64]:
    """Row and column per slice of the chain with the highest total score."""
    reach = max(1, round(settings.steepest))
    offsets = [
        (dy, dx)
        for dy in range(-reach, reach + 1)
        for dx in range(-reach, reach + 1)
        if dy * dy + dx * dx <= reach * reach
    ]
    total = score[0]
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
        total = best + score[z]
    path = np.zeros((len(score), 2), np.int64)
    path[-1] = np.unravel_index(int(total.argmax()), total.shape)
    for z in range(len(score) - 1, 0, -1):
        path[z - 1] = path[z] + offsets[choices[z][tuple(path[z])]]
    return path


def _between_voxels(score: ScoreArray, index: npt.NDArray[np.int64]) -> FloatArray:
    """Centre of the score over the neighbours of voxels, less the voxel itself."""
    moved = np.zeros((len(index), 2))
    total = np.full(len(index), 1e-6)
    z, row, column = index.T
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            y = np.clip(row + dy, 0, score.shape[1] - 1)
            x = np.clip(column + dx, 0, score.shape[2] - 1)
            weight = score[z, y, x].astype(float) ** 2
            total += weight
            moved += weight[:, None] * [dy, dx]
    result: FloatArray = moved / total[:, None]
    return result
