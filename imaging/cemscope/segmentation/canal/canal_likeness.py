"""How much each point of a scan looks like the centre of the spinal canal."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.canal.canal_settings import CanalSettings
from cemscope.segmentation.canal.mirror_symmetry import axial_symmetry
from cemscope.segmentation.spine_working_volume import WorkingVolume
from cemscope.segmentation.worker_threads import side_by_side
from cemscope.volume import BoolArray

ScoreArray = npt.NDArray[np.float32]

CONTENT_HU = (-55.0, -20.0, 80.0, 140.0)
CONTENT_SHARE = (0.7, 1.0, 1.0, 0.4)
"""What a point keeps of its score by its own value: the canal holds fat (most in the
sacrum; working volumes cut off below it), cord and fluid; marrow is denser."""

BODY_IN_FRONT_MM = (18.0, 25.0)
"""From the canal's centre into the body, in the neck and in the lumbar spine. The
body's middle is half the sum of both depths away (lumbar: 18 and 35 mm, Panjabi 1992,
doi:10.1097/00007632-199203000-00010)."""


@dataclass(frozen=True, slots=True, eq=False)
class CanalLikeness:
    """How much every voxel of a coarse grid looks like the centre of the canal.

    Attributes
    ----------
    score : ndarray of float32
        The likeness (0 ... 1).
    walled : ndarray of float32
        Share of it that the bone around and a voxel's own value give.
    front : ndarray of float32
        Contrast of what lies in front (0 ... 1).
    symmetry : ndarray of float32
        Likeness of the halves; negative where it was not looked at.
    """

    score: ScoreArray
    walled: ScoreArray
    front: ScoreArray
    symmetry: ScoreArray


def canal_likeness(volume: WorkingVolume, settings: CanalSettings) -> CanalLikeness:
    """Score every voxel of a coarse grid as centre of the canal.

    Parameters
    ----------
    volume
        The scan on the search grid, tamed.
    settings
        Tunables.
    """
    spacing = volume.geometry.spacing_mm[0]
    bone = volume.hu > settings.bone_above_hu

    def clear() -> FloatArray:
        clear_mm: FloatArray = ndimage.distance_transform_edt(~bone) * spacing
        return np.clip(clear_mm / settings.clear_radius_mm, 0.0, 1.0)

    with ThreadPoolExecutor(2) as others:
        clearance = others.submit(clear)
        in_front = others.submit(_body_in_front, volume.hu, spacing, settings)
        walled = _surrounded(bone, spacing, settings)
        content = np.interp(volume.hu, CONTENT_HU, CONTENT_SHARE).astype(np.float32)
        walled *= clearance.result()
        walled *= content
        front = in_front.result()
    walled *= volume.inside
    return _scored(walled, front, np.full_like(walled, -1.0), volume, settings)


def with_far_wall(
    likeness: CanalLikeness, volume: WorkingVolume, settings: CanalSettings
) -> CanalLikeness:
    """Let the front wall of a body count as a body in front as well.

    It helps where marrow is as dark as muscle, at the price of a path that runs further
    into the sacrum.
    """
    spacing = volume.geometry.spacing_mm[0]
    far = _far_wall(volume.hu > settings.bone_above_hu, spacing, settings)
    front = np.maximum(likeness.front, FAR_WALL_SHARE * far)
    return _scored(likeness.walled, front, likeness.symmetry, volume, settings)


def _scored(
    walled: ScoreArray,
    front: ScoreArray,
    symmetry: ScoreArray,
    volume: WorkingVolume,
    settings: CanalSettings,
) -> CanalLikeness:
    """Put the signs together; symmetry is looked at only where the others speak."""
    spacing = volume.geometry.spacing_mm[0]
    score = walled * (settings.least_front + (1.0 - settings.least_front) * front)
    likely = score > settings.symmetry_from_score
    new = np.argwhere(likely & (symmetry < 0.0))
    symmetry = symmetry.copy()
    symmetry[tuple(new.T)] = axial_symmetry(volume.hu, new, spacing)
    kept = settings.least_symmetry + (1.0 - settings.least_symmetry) * symmetry[likely]
    score[likely] *= kept
    smooth: ScoreArray = ndimage.gaussian_filter1d(
        score, settings.tube_mm / spacing, axis=0, mode="nearest"
    )
    return CanalLikeness(smooth, walled, front, symmetry)


def _surrounded(bone: BoolArray, spacing: float, settings: CanalSettings) -> ScoreArray:
    """Share of axial rays that meet bone, here or a little above or below."""
    angles = 2 * np.pi * (np.arange(settings.ray_count) + 0.5) / settings.ray_count
    distances = np.arange(spacing, settings.ray_mm + 1e-6, spacing / 2)
    return _share_of_rays(bone, angles, distances, spacing, settings)


def _share_of_rays(
    bone: BoolArray,
    angles_rad: FloatArray,
    distances_mm: FloatArray,
    spacing: float,
    settings: CanalSettings,
) -> ScoreArray:
    """Share of rays (0 is left, pi/2 to the back) that meet bone at these distances."""
    window = 2 * round(settings.level_mm / spacing) + 1

    def rays(angle: float) -> npt.NDArray[np.uint8]:
        hit = np.zeros_like(bone)
        places = {
            (
                round(float(distance * np.sin(angle) / spacing)),
                round(float(distance * np.cos(angle) / spacing)),
            )
            for distance in distances_mm
        }
        for row, column in places:
            _or_shifted(hit, bone, row, column)
        # A little above or below counts as here.
        near: npt.NDArray[np.uint8] = ndimage.maximum_filter1d(
            hit.view(np.uint8), window, axis=0
        )
        return near

    met = np.zeros(bone.shape, np.float32)
    for hits in side_by_side(rays, angles_rad):
        met += hits
    met /= len(angles_rad)
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


FAR_WALL_MM, FAR_WALL_FAN_DEG, FAR_WALL_RAYS = (26.0, 50.0), 25.0, 5
"""Where the front of a body's cortex lies from the middle of the canal: the canal is 15
to 25 mm deep, a body 25 to 40 mm (Panjabi 1992,
doi:10.1097/00007632-199203000-00010)."""

FAR_WALL_SHARE = 0.6
"""What that wall counts against a body that is denser than all around it [ours]."""


def _far_wall(bone: BoolArray, spacing: float, settings: CanalSettings) -> ScoreArray:
    """Share of rays to the front that meet the far wall of a body.

    Marrow of old patients is no denser than muscle, but a body still has a front wall;
    in front of a point within the body there is none.
    """
    fan = np.linspace(-FAR_WALL_FAN_DEG, FAR_WALL_FAN_DEG, FAR_WALL_RAYS)
    distances = np.arange(FAR_WALL_MM[0], FAR_WALL_MM[1], spacing / 2)
    return _share_of_rays(bone, np.radians(fan - 90.0), distances, spacing, settings)


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
