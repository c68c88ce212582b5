"""The path of the spinal canal: the landmark that survives implants best.

In an axial plane the canal is soft tissue from which most rays meet bone within two
centimetres, with a vertebral body in front and two like halves on either side. The
best chain of such points from the lowest to the highest slice is found by dynamic
programming.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.errors import NoVertebraFoundError
from cemscope.geometry import FloatArray
from cemscope.segmentation.canal.canal_likeness import (
    ScoreArray,
    canal_likeness,
    with_far_wall,
)
from cemscope.segmentation.canal.canal_part import canal_part
from cemscope.segmentation.canal.canal_settings import CanalSettings
from cemscope.segmentation.canal.smooth_line import smooth_line
from cemscope.segmentation.canal.streak_planes import StreakPlanes
from cemscope.segmentation.spine_working_volume import WorkingVolume, coarser
from cemscope.volume import BoolArray

SOFT_TISSUE_HU = -20.0
"""Denser voxels are the patient."""

BEYOND_MM = 45.0
"""How far beyond a first path the canal is looked for once more."""

LOST_MM = 45.0
"""A path that ends a lumbar body and its disc earlier than another has lost the spine
(Panjabi 1992, doi:10.1097/00007632-199203000-00010: bodies of 24 to 29 mm)."""


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
    likeness = canal_likeness(volume, settings)
    found = _clearest_part(volume, likeness.score, streaks, settings)
    if (len(volume.hu) - found.slices) * spacing > LOST_MM:
        far = with_far_wall(likeness, volume, settings)
        further = _clearest_part(volume, far.score, streaks, settings)
        if (further.slices - found.slices) * spacing > LOST_MM:
            found = further
    if found.slices * spacing < settings.shortest_mm:
        raise NoVertebraFoundError(
            f"expected a spine with at least {settings.shortest_mm:.0f} mm of spinal "
            f"canal, found {max(found.slices, 0) * spacing:.0f} mm that looks like it. "
            "Is this a CT of the spine?"
        )
    index = np.column_stack(
        [np.arange(found.first, found.first + found.slices), found.path]
    ).astype(float)
    index[:, 1:] += _between_voxels(found.score, index.astype(int))
    return CanalPath(volume.geometry.index_to_lps(index), found.scores(found.score))


def _clearest_part(
    volume: WorkingVolume,
    likeness: ScoreArray,
    streaks: StreakPlanes | None,
    settings: CanalSettings,
) -> "_FoundPart":
    """Part of the best path in the canal, led by the planes without streaks if need be.

    Between two rods a dark band is as symmetrical, and as walled in, as the canal; the
    planes without streaks tell whether it led the path astray.
    """
    blinded = _blinded(volume, streaks)
    found = _found_part(volume, likeness, streaks, settings)
    if blinded.any():
        weight = np.where(blinded, np.float32(BLINDED_SHARE), np.float32(1.0))
        led = _found_part(volume, likeness * weight[:, None, None], streaks, settings)
        if led.seen(likeness, ~blinded) > CLEARER * found.seen(likeness, ~blinded):
            found = led
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _FoundPart:
    """The part of a path that lies in the canal: row and column from a first slice."""

    score: ScoreArray
    path: npt.NDArray[np.int64]
    first: int

    @property
    def slices(self) -> int:
        return len(self.path)

    def scores(self, score: ScoreArray) -> FloatArray:
        return _on_path(score[self.first : self.first + self.slices], self.path)

    def seen(self, score: ScoreArray, counted: BoolArray) -> float:
        """Sum of a score on the path, in the slices that count."""
        part = counted[self.first : self.first + self.slices]
        return float((self.scores(score) * part).sum())


def _found_part(
    volume: WorkingVolume,
    score: ScoreArray,
    streaks: StreakPlanes | None,
    settings: CanalSettings,
) -> _FoundPart:
    spacing = volume.geometry.spacing_mm[0]
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
    return _FoundPart(score, path[first - low : max(last, first) - low], first)


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


BLINDED_SHARE, CLEARER = 0.1, 1.03
"""What a score counts for in a plane that streaks fill, where the other planes lead the
path; and how much more of the canal they must see on that path than on the usual one
[ours: 1.08 and 1.8 where the usual path was lost, 0.98 and 1.0 where it was not].
"""


def _blinded(volume: WorkingVolume, streaks: StreakPlanes | None) -> BoolArray:
    """Slices that streaks fill, from the plane through the middle of each."""
    count, rows, columns = volume.hu.shape
    if streaks is None:
        return np.zeros(count, np.bool_)
    index = np.zeros((count, 3))
    index[:, 0] = np.arange(count)
    index[:, 1:] = rows / 2, columns / 2
    return streaks.blinded_at(volume.geometry.index_to_lps(index))


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
    rows, columns = score.shape[1:]
    total = score[0]
    choices = np.zeros(score.shape, np.int8)
    padded = np.full((rows + 2 * reach, columns + 2 * reach), -np.inf, np.float32)
    inner = padded[reach : reach + rows, reach : reach + columns]
    moved, better = np.empty_like(total), np.empty(total.shape, np.bool_)
    for z in range(1, len(score)):
        inner[:] = total
        best = np.full(total.shape, -np.inf, np.float32)
        for number, (dy, dx) in enumerate(offsets):
            price = settings.step_price * spacing * float(np.hypot(dy, dx))
            row, column = reach + dy, reach + dx
            there = padded[row : row + rows, column : column + columns]
            np.subtract(there, price, out=moved)
            np.greater(moved, best, out=better)
            np.copyto(best, moved, where=better)
            np.copyto(choices[z], number, where=better)
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
