"""Posterior elements: which bone behind the bodies belongs to which vertebra.

Each arch grows from its own pedicles, which the bodies' outlines leave behind; where
two arches meet, at a facet joint, the darkest way between them divides them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.segmentation import watershed

from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.segmentation.body_surface import BodySurface
from cemscope.segmentation.ct_grid import box_corners, voxel_box, voxel_slabs
from cemscope.segmentation.spine_axis import SpineAxis
from cemscope.segmentation.spine_working_volume import WorkingVolume
from cemscope.volume import BoolArray

PEDICLE_FLAG = 128
"""Added to an arch's number where it lies beside the canal: a screw there stands for
the pedicle that it replaces."""


PEDICLES_END_MM = 6.0
"""Pedicles end about here behind the canal's centre, in the articular pillar."""


@dataclass(frozen=True, slots=True)
class ArchSettings:
    """Tunables of the arches.

    Attributes
    ----------
    bone_above_hu : float
        Bone of the arch (after taming).
    marrow_gap_mm : float
        Marrow between two cortices up to twice as far apart belongs to the arch.
    half_width_mm : float
        Furthest distance from the midline (transverse processes).
    behind_mm : float
        Furthest distance behind the canal's centre (spinous processes).
    pedicle_width_mm : float
        Pedicles are looked for up to this distance from the midline.
    pedicle_depth_mm : float
        From the posterior wall backwards, the part that is certainly pedicle.
    """

    bone_above_hu: float = 180.0
    marrow_gap_mm: float = 3.0
    half_width_mm: float = 46.0
    behind_mm: float = 62.0
    pedicle_width_mm: float = 24.0
    pedicle_depth_mm: float = 12.0


def arch_labels(
    volume: WorkingVolume,
    axis: SpineAxis,
    bodies: tuple[BodySurface, ...],
    settings: ArchSettings,
) -> npt.NDArray[np.uint8]:
    """Divide the bone behind the bodies among the vertebrae.

    Parameters
    ----------
    volume
        Working volume round the spine.
    axis
        The spine's own coordinates.
    bodies
        Outlines from the lowest to the highest.
    settings
        Tunables.

    Returns
    -------
    ndarray of uint8, on the working grid
        1 for the lowest vertebra's arch, 2 for the next, ...; 0 elsewhere. With
        `PEDICLE_FLAG` in the part beside the canal.
    """
    bone = (volume.hu > settings.bone_above_hu) & (volume.inside > 0.5)
    index = np.argwhere(bone)
    step, posterior, left = _spine_coordinates(volume, axis, index)
    wall = axis.wall_mm[step]
    near = (
        (np.abs(left) <= settings.half_width_mm)
        & (posterior <= settings.behind_mm)
        & (posterior >= wall - 6.0)
    )
    index, posterior, left = index[near], posterior[near], left[near]
    wall, step = wall[near], step[near]
    points = volume.geometry.index_to_lps(index)
    markers = np.zeros(volume.geometry.shape, np.uint8)
    mask = np.zeros(volume.geometry.shape, np.bool_)
    mask[tuple(index.T)] = True
    beside = (
        (np.abs(left) <= settings.pedicle_width_mm)
        & (np.abs(left) >= 5.0)
        & (posterior <= wall + settings.pedicle_depth_mm)
    )
    low = np.full(3, np.inf)
    high = -low
    for number, body in enumerate(bodies, start=1):
        local = body.frame.to_local_mm(points)
        close = (np.abs(local[:, :2]) <= 45.0).all(axis=1) & (
            np.abs(local[:, 2]) <= 30.0
        )
        inside = np.zeros(len(points), bool)
        inside[close] = body.depth_mm(local[close]) > 0.0
        mask[tuple(index[inside].T)] = False
        bottom = float(np.median(body.lower_mm))
        top = float(np.median(body.upper_mm))
        height = top - bottom
        own = (local[:, 2] >= bottom + 0.4 * height) & (local[:, 2] <= top - 1.0)
        pedicle = own & beside & ~inside & close
        markers[tuple(index[pedicle].T)] = number
        centre = volume.geometry.lps_to_index(body.frame.origin_lps_mm)
        low, high = np.minimum(low, centre), np.maximum(high, centre)
    mask = _with_marrow(mask, settings.marrow_gap_mm / volume.geometry.spacing_mm[0])
    for body in bodies:
        _exclude_body(mask, volume.geometry, body)
    markers[~mask] = 0
    # Only the part of the spine that has bodies is divided.
    spacing = volume.geometry.spacing_mm[0]
    first = max(int(low[0] - 40.0 / spacing), 0)
    last = int(high[0] + 40.0 / spacing)
    mask[:first] = False
    mask[last:] = False
    box = ndimage.find_objects(mask.astype(np.uint8))
    labels = np.zeros(volume.geometry.shape, np.uint8)
    if not box or box[0] is None or not markers.any():
        return labels
    part = box[0]
    labels[part] = watershed(  # type: ignore[no-untyped-call]
        -volume.hu[part], markers[part].astype(np.int32), mask=mask[part]
    ).astype(np.uint8)
    pedicles = index[posterior <= PEDICLES_END_MM]
    flagged = np.zeros(labels.shape, np.bool_)
    flagged[tuple(pedicles.T)] = True
    labels[flagged & (labels > 0)] |= PEDICLE_FLAG
    return labels


def _with_marrow(mask: BoolArray, gap_voxels: float) -> BoolArray:
    """Close a mask over gaps by a ball."""
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box or box[0] is None:
        return mask
    part = mask[box[0]]
    pad = int(np.ceil(gap_voxels)) + 1
    grown = ndimage.distance_transform_edt(~np.pad(part, pad)) <= gap_voxels
    closed = ndimage.distance_transform_edt(grown) > gap_voxels
    inner = (slice(pad, -pad),) * 3
    filled = mask.copy()
    filled[box[0]] |= closed[inner]
    return filled


def _exclude_body(mask: BoolArray, geometry: VoxelGeometry, body: BodySurface) -> None:
    """Take a body out of a mask."""
    frame = body.frame
    axes = np.array([frame.left, frame.posterior, frame.superior])
    corners = box_corners(frame.origin_lps_mm, axes, body.reach_mm())
    box = voxel_box(geometry, corners)
    if box is None:
        return
    for part, points in voxel_slabs(geometry, box):
        mask[part] &= body.depth_mm(frame.to_local_mm(points)) <= 0.0


def _spine_coordinates(
    volume: WorkingVolume, axis: SpineAxis, index: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], FloatArray, FloatArray]:
    """Step, posterior and left coordinate (mm) of voxels in the spine's own axes."""
    points = volume.geometry.index_to_lps(index)
    _, step = cKDTree(axis.points_lps_mm).query(points)
    away = points - axis.points_lps_mm[step]
    posterior = np.einsum("ij,ij->i", away, axis.posterior[step])
    left = np.einsum("ij,ij->i", away, axis.left[step])
    return step.astype(np.int64), posterior, left
