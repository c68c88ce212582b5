"""Edges of bone in one scan, and where the other scan shows them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.registration.rigid_pose import RigidPose
from cemscope.registration.vertebra_patch import VertebraPatch
from cemscope.volume import BoolArray

PROFILE_MM = 3.0
"""A profile reaches this far to both sides of its edge."""

PROFILE_STEP_MM = 0.25

EDGE_CELL_MM = 3.0
"""One edge is kept of each cube of this size."""

BESIDE_BONE_MM = 2.0
"""Edges lie this near to a vertebra's outline."""


@dataclass(frozen=True, slots=True, eq=False)
class BoneEdges:
    """Points on the surface of bone.

    Attributes
    ----------
    points_lps_mm : ndarray, shape (n, 3)
        In the baseline scan.
    inward : ndarray, shape (n, 3)
        Unit vectors into the bone.
    profiles : ndarray, shape (n, k)
        HU across the edge, from outside to inside.
    """

    points_lps_mm: FloatArray
    inward: FloatArray
    profiles: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class EdgeShifts:
    """Where the edges of one scan lie in the other.

    Attributes
    ----------
    shift_mm : ndarray, shape (n,)
        Along the inward normal, beyond the pose.
    likeness : ndarray, shape (n,)
        Correlation of the profiles there; 0 where nothing alike is in reach.
    visible : ndarray of bool, shape (n,)
        Whether the other scan shows the place, away from implants.
    """

    shift_mm: FloatArray
    likeness: FloatArray
    visible: BoolArray


def find_bone_edges(patch: VertebraPatch, least_hu_per_mm: float) -> BoneEdges:
    """Find the steepest points of the surface of a vertebra, away from implants."""
    geometry = even_grid(patch.geometry, 1.0)
    grid = geometry.index_to_lps(np.moveaxis(np.indices(geometry.shape), 0, -1))
    hu = np.nan_to_num(patch.sample(grid), nan=0.0)
    along = [np.gradient(hu, axis=axis) for axis in range(3)]
    slopes = np.stack(along, axis=-1) @ geometry.directions_lps
    steep = np.linalg.norm(slopes, axis=-1)
    near = patch.near(patch.own, grid)
    near = ndimage.binary_dilation(near, iterations=round(BESIDE_BONE_MM))
    near &= ~patch.near(patch.hidden | patch.foreign, grid)
    found = np.argwhere(near & (steep >= least_hu_per_mm))
    where = tuple(found.T)
    inward = slopes[where] / steep[where][:, None]
    points = geometry.index_to_lps(found)
    steepness = steep[where]
    # The steepest place along its own normal is the edge.
    ahead, behind = (
        _steepness_at(steep, geometry, points + sign * inward) for sign in (1.0, -1.0)
    )
    top = (steepness >= ahead) & (steepness >= behind)
    points, inward = points[top], inward[top]
    steepness, ahead, behind = steepness[top], ahead[top], behind[top]
    bend = np.maximum(2.0 * steepness - ahead - behind, 1e-6)
    points = points + (0.5 * (ahead - behind) / bend)[:, None] * inward
    kept = _thinned(points, steepness)
    points, inward = points[kept], inward[kept]
    return edge_profiles(patch, points, inward)


def edge_profiles(
    patch: VertebraPatch, points_lps_mm: FloatArray, inward: FloatArray
) -> BoneEdges:
    """Read the profiles across given edges; those that leave the patch are dropped."""
    line = points_lps_mm[:, None] + _OFFSETS[:, None] * inward[:, None]
    profiles = patch.sample(line)
    whole = np.isfinite(profiles).all(axis=1)
    return BoneEdges(points_lps_mm[whole], inward[whole], profiles[whole])


_OFFSETS = np.arange(-PROFILE_MM, PROFILE_MM + 1e-6, PROFILE_STEP_MM)


def even_grid(geometry: VoxelGeometry, step_mm: float) -> VoxelGeometry:
    """Grid of equal steps over the same space and along the same axes."""
    extent = (np.array(geometry.shape) - 1) * np.array(geometry.spacing_mm)
    z, y, x = (max(1, int(length / step_mm) + 1) for length in extent)
    return VoxelGeometry.from_axes(
        (z, y, x),
        (step_mm,) * 3,
        tuple(geometry.origin_lps_mm),
        geometry.directions_lps,
    )


def _steepness_at(
    steep: FloatArray, geometry: VoxelGeometry, points: FloatArray
) -> FloatArray:
    index = np.moveaxis(geometry.lps_to_index(points), -1, 0)
    values: FloatArray = ndimage.map_coordinates(steep, index, order=1)
    return values


def _thinned(points: FloatArray, steepness: FloatArray) -> npt.NDArray[np.int_]:
    """Steepest point of each cell, in a stable order."""
    order = np.argsort(-steepness, kind="stable")
    cells = np.floor(points[order] / EDGE_CELL_MM).astype(np.int64)
    _, first = np.unique(cells, axis=0, return_index=True)
    return np.sort(order[first])


def follow_edges(
    edges: BoneEdges, followup: VertebraPatch, pose: RigidPose, reach_mm: float
) -> EdgeShifts:
    """Find the edges of the baseline in the other scan.

    The profile across each edge is compared with the other scan's along the same
    line; correlation does not ask for equal brightness.

    Parameters
    ----------
    edges
        Of the baseline.
    followup
        The other scan.
    pose
        Where they should lie.
    reach_mm
        How far along the normals they are searched.
    """
    steps = round(reach_mm / PROFILE_STEP_MM)
    reach = np.arange(-steps, steps + 1) * PROFILE_STEP_MM
    offsets = np.arange(-steps, steps + _OFFSETS.size) * PROFILE_STEP_MM - PROFILE_MM
    line = edges.points_lps_mm[:, None] + offsets[:, None] * edges.inward[:, None]
    there = pose.to_followup(line)
    values = followup.sample(there)
    middle = there[:, offsets.size // 2]
    visible = np.isfinite(values).all(axis=1)
    visible &= ~followup.near(followup.hidden, middle)
    values = np.where(visible[:, None], values, 0.0)
    windows = np.lib.stride_tricks.sliding_window_view(values, _OFFSETS.size, axis=1)
    likeness = _correlation(edges.profiles, windows)
    best = likeness.argmax(axis=1)
    rows = np.arange(best.size)
    left = likeness[rows, np.maximum(best - 1, 0)]
    right = likeness[rows, np.minimum(best + 1, reach.size - 1)]
    top = likeness[rows, best]
    bend = np.maximum(2.0 * top - left - right, 1e-9)
    inner = (best > 0) & (best < reach.size - 1)
    shift = reach[best] + np.where(inner, 0.5 * (right - left) / bend, 0.0) * (
        PROFILE_STEP_MM
    )
    return EdgeShifts(shift, np.where(visible & inner, top, 0.0), visible)


def _correlation(profiles: FloatArray, windows: FloatArray) -> FloatArray:
    """Correlation of each profile with each window, shape (n, shifts)."""
    mine = profiles - profiles.mean(axis=1, keepdims=True)
    mine /= np.maximum(np.linalg.norm(mine, axis=1, keepdims=True), 1e-6)
    mean = windows.mean(axis=2)
    spread = np.sqrt(
        np.maximum((windows**2).sum(axis=2) - mean**2 * windows.shape[2], 0)
    )
    product = np.einsum("nk,nsk->ns", mine, windows)
    likeness: FloatArray = product / np.maximum(spread, 1e-6)
    return likeness
