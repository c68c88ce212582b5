"""The stored vertebrae T6-L5 of one person, each in its own axes, and a trunk.

See ``data/README.md`` for their origin.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.testing.lumbar_atlas import (
    ATLAS_LEVELS,
    SHAPE_MM,
    SURFACE_LIMIT_MM,
    SURFACE_STEP_MM,
    load_atlas,
)
from cemscope.testing.scalar_field import signed_distance_mm

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

ATLAS_FILE = "spine_atlas.npz"
"""Package data, made by ``scripts/build_spine_atlas.py``."""

STORED_LEVELS: tuple[str, ...] = (
    *(f"T{i}" for i in range(6, 13)),
    *(f"L{i}" for i in range(1, 6)),
)
"""From the head to the feet."""

BODY_SLACK_MM = 1.0
"""The stored body mask is widened by this much before it is cut out of the bone: its
voxels must not round off the rims, only keep ribs and pedicles away."""

WALL_REACH_MM = (14.0, 12.0)
"""The fitted posterior wall is not continued beyond, up or sideways."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredVertebra:
    """A vertebra of the atlas.

    Attributes
    ----------
    level : str
        Its name in the atlas.
    bone, body : ndarray of float32, shape (z, y, x)
        Signed distances on 1 mm, negative inside.
    origin_mm : ndarray, shape (3,)
        Position (x, y, z) of voxel (0, 0, 0).
    centre_mm : ndarray, shape (3,)
        Centre of the body (x, y, z).
    axes : ndarray, shape (3, 3)
        Rows left, posterior, superior, as (x, y, z).
    low_mm, high_mm : ndarray, shape (3,)
        Extent of the body in its own axes.
    """

    level: str
    bone: Float32Array
    body: Float32Array
    origin_mm: FloatArray
    centre_mm: FloatArray
    axes: FloatArray
    low_mm: FloatArray
    high_mm: FloatArray

    def index_of(self, local_mm: Float32Array) -> Float32Array:
        """Voxel indices (3, ...) of points (..., 3) in the body's own axes."""
        points = local_mm @ self.axes.astype(np.float32)
        points += (self.centre_mm - self.origin_mm).astype(np.float32)
        return np.moveaxis(points[..., ::-1] / np.float32(SHAPE_MM), -1, 0)

    def local_corners_mm(self) -> FloatArray:
        """Corners of the stored box in the body's own axes, shape (8, 3)."""
        unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
        size = (np.array(self.bone.shape)[::-1] - 1) * SHAPE_MM
        points = self.origin_mm + unit * size - self.centre_mm
        return np.asarray(points @ self.axes.T)


@dataclass(frozen=True, slots=True, eq=False)
class SacralBase:
    """Where L5 sits on the sacrum of the stored trunk.

    Attributes
    ----------
    l5_centre_mm, l5_axes : ndarray
        Body of L5 in the trunk's frame: (x, y, z) and rows left, posterior, superior.
    size : ndarray, shape (3,)
        Size of the trunk's vertebrae relative to the stored ones (left, posterior,
        superior).
    """

    l5_centre_mm: FloatArray
    l5_axes: FloatArray
    size: FloatArray


@lru_cache(maxsize=1)
def stored_vertebrae() -> Mapping[str, StoredVertebra]:
    """Read the vertebrae."""
    path = files("cemscope.testing").joinpath("data", ATLAS_FILE)
    with path.open("rb") as stream, np.load(stream) as arrays:
        return {name: _stored(name, arrays) for name in STORED_LEVELS}


@lru_cache(maxsize=1)
def trunk_arrays() -> Mapping[str, npt.NDArray[Any]]:
    """Read the trunk of `lumbar_atlas`."""
    return load_atlas()


@lru_cache(maxsize=1)
def sacral_base() -> SacralBase:
    """Take the rigid part of the fit of L5, and the mean size of all fits."""
    arrays = trunk_arrays()
    sizes = []
    for name in ATLAS_LEVELS:
        axes = arrays[f"{name}_source_axes"]
        linear = np.linalg.inv(arrays[f"{name}_to_source"])
        sizes.append(np.linalg.norm(axes @ linear, axis=1)[::-1])
    to_source = arrays["L5_to_source"]
    u, _, vt = np.linalg.svd(to_source)
    axes = (arrays["L5_source_axes"] @ (u @ vt).T)[::-1, ::-1]
    # That person leans a little to one side; a person of the simulation need not.
    posterior = np.array([0.0, axes[1, 1], axes[1, 2]])
    posterior /= np.linalg.norm(posterior)
    left = np.array([1.0, 0.0, 0.0])
    axes = np.stack([left, posterior, np.cross(left, posterior)])
    offset = arrays["L5_source_body_centre_mm"] - arrays["L5_source_centre_mm"]
    centre = arrays["L5_centre_mm"] + offset @ np.linalg.inv(to_source)
    return SacralBase(centre[::-1], axes, np.mean(sizes, axis=0))


def _stored(name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> StoredVertebra:
    surface = np.cumsum(arrays[f"{name}_surface"], axis=2, dtype=np.int8)
    bone = _beyond(surface.astype(np.float32) * np.float32(SURFACE_STEP_MM))
    bits = np.unpackbits(arrays[f"{name}_body"], count=bone.size)
    mask = bits.reshape(bone.shape).astype(bool)
    axes = arrays[f"{name}_source_axes"]
    origin = arrays[f"{name}_origin_mm"].astype(float)
    centre = arrays[f"{name}_source_body_centre_mm"]
    near = signed_distance_mm(np.pad(mask, 6), SHAPE_MM)[6:-6, 6:-6, 6:-6]
    near = ndimage.gaussian_filter(near, 0.7) - np.float32(BODY_SLACK_MM)
    points = np.indices(bone.shape).reshape(3, -1).T * SHAPE_MM + origin
    local = ((points - arrays[f"{name}_wall_centre_mm"]) @ axes.T).astype(np.float32)
    s, p, q = (part.reshape(bone.shape) for part in local.T)
    wall = arrays[f"{name}_wall"]
    up, side = WALL_REACH_MM
    surface_at = wall[0] + wall[1] * s + wall[2] * np.clip(s, -up, up) ** 2
    surface_at += wall[3] * np.minimum(np.abs(q), side) ** 2
    body = np.maximum(np.maximum(bone, near), p - surface_at).astype(np.float32)
    inside = ((points - centre) @ axes.T)[(body < 0).ravel()][:, ::-1]
    return StoredVertebra(
        name,
        bone,
        body,
        origin[::-1].copy(),
        centre[::-1].copy(),
        axes[::-1, ::-1].copy(),
        np.percentile(inside, 0.5, axis=0),
        np.percentile(inside, 99.5, axis=0),
    )


def _beyond(stored: Float32Array) -> Float32Array:
    """Continue distances that were cut off at the limit."""
    limit = SURFACE_LIMIT_MM - SURFACE_STEP_MM
    padded = np.pad(stored, 4, constant_values=SURFACE_LIMIT_MM)
    full = signed_distance_mm(padded < 0, SHAPE_MM)[4:-4, 4:-4, 4:-4]
    far = np.sign(stored) * np.maximum(np.abs(full), np.float32(limit))
    return np.where(np.abs(stored) < limit, stored, far).astype(np.float32)
