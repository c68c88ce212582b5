"""How much each point of a scan looks like the centre of the spinal canal."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.canal.canal_settings import CanalSettings
from cemscope.segmentation.canal.mirror_symmetry import axial_symmetry
from cemscope.segmentation.spine_working_volume import WorkingVolume
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


def canal_likeness(
    volume: WorkingVolume, settings: CanalSettings, *, far_wall: bool = False
) -> ScoreArray:
    """Score every voxel of a coarse grid as centre of the canal (0 ... 1).

    Parameters
    ----------
    volume
        The scan on the search grid, tamed.
    settings
        Tunables.
    far_wall
        Let the front wall of a body count as a body in front: for marrow as dark as
        muscle, at the price of a path that runs further into the sacrum.
    """
    spacing = volume.geometry.spacing_mm[0]
    bone = volume.hu > settings.bone_above_hu
    score = _surrounded(bone, spacing, settings)
    clear_mm = ndimage.distance_transform_edt(~bone) * spacing
    score *= np.clip(clear_mm / settings.clear_radius_mm, 0.0, 1.0)
    score *= np.interp(volume.hu, CONTENT_HU, CONTENT_SHARE).astype(np.float32)
    score *= volume.inside
    front = _body_in_front(volume.hu, spacing, settings)
    if far_wall:
        front = np.maximum(front, FAR_WALL_SHARE * _far_wall(bone, spacing, settings))
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
    met = np.zeros(bone.shape, np.float32)
    window = 2 * round(settings.level_mm / spacing) + 1
    for angle in angles_rad:
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
        met += ndimage.maximum_filter1d(hit.view(np.uint8), window, axis=0)
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
