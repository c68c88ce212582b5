"""The bone of one simulated vertebra, as distance fields on the table."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.spine import VertebraFrame
from cemscope.testing.aligned_sampling import sample_aligned
from cemscope.testing.lumbar_anatomy import FAR_MM, VertebraShape
from cemscope.testing.scalar_field import (
    Lattice,
    PlaneGrid,
    Pose,
    ScalarField,
    coverage,
)
from cemscope.testing.spine_posture import Collapse, StandingVertebra

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

BONE_GRID_MM = 0.8
"""Grid of a vertebra's distance fields."""

NOISE_GRID_MM, NOISE_LENGTH_MM = 5.0, 9.0
"""Grid and correlation length of the individual deformation."""

NORMALISED_WITHIN_MM = 4.0
"""Distances up to here are corrected for the deformation."""

BASIVERTEBRAL_RADIUS_MM = 2.0
"""Radius of the basivertebral foramen at the posterior wall."""

BASIVERTEBRAL_EMPTINESS = 0.85
"""Share of the trabeculae missing in the vein's channel."""

SPUR_WIDTH_MM = 2.5
"""How far from the rim of an endplate an osteophyte reaches."""


@dataclass(frozen=True, slots=True)
class BoneQuality:
    """Cortex of a person, mm.

    Vertebral bodies have 0.3 to 0.6 mm in old age (Ritzel 1997,
    doi:10.1359/jbmr.1997.12.1.89).
    """

    wall_mm: float = 0.5
    endplate_mm: float = 0.8
    arch_mm: float = 1.1


@dataclass(frozen=True, slots=True, eq=False)
class BoneFields:
    """One vertebra on the table.

    Attributes
    ----------
    name : str
        True level.
    shape : VertebraShape
        Whole bone and closed body (outer surface of the cortex), for implants and
        truth.
    inner : ScalarField
        Signed distance to the inner surface of the cortex, mm.
    factor : ScalarField
        Density of the spongy bone, relative to the person's.
    """

    name: str
    shape: VertebraShape
    inner: ScalarField
    factor: ScalarField


def bone_fields(
    standing: StandingVertebra, pose: Pose, quality: BoneQuality
) -> BoneFields:
    """Deform a stored vertebra and lay it on the table."""
    frame = _on_table(standing.frame, pose)
    corners = frame.to_lps_mm(standing.stored.local_corners_mm() * standing.scale)
    lattice = Lattice.around(
        corners.min(axis=0) - 3.0, corners.max(axis=0) + 3.0, BONE_GRID_MM
    )
    rng = np.random.default_rng([standing.plan.seed, 3])
    own = np.asarray(_local(lattice, frame) / standing.scale, np.float32)
    own += _deformation(lattice, standing.plan.shape_noise_mm, rng)
    crushed = np.zeros(lattice.shape, np.float32)
    if standing.plan.collapse is not None:
        crushed = _collapse(own, standing, standing.plan.collapse)
    index = standing.stored.index_of(own)
    stretch = np.float32(np.cbrt(np.prod(standing.scale)))
    bone, body = (
        _normalised(
            ndimage.map_coordinates(f, index, np.float32, order=1, mode="nearest")
            * stretch
        )
        for f in (standing.stored.bone, standing.stored.body)
    )
    if standing.plan.osteophyte_mm > 0:
        spurs = _spurs(own, standing, rng)
        bone -= spurs
        body -= spurs
        np.maximum(body, bone, out=body)
    hole = coverage(_basivertebral(own, standing), 1.0)
    cortex = _cortex(own, body, standing, quality) * (1.0 - hole)
    factor = 1.0 - np.float32(BASIVERTEBRAL_EMPTINESS) * hole
    if standing.plan.collapse is not None:
        factor *= 1.0 + np.float32(standing.plan.collapse.sclerosis - 1.0) * crushed
    inside = coverage(body, BONE_GRID_MM)
    weights = inside / inside.sum()
    centre = [
        float((weights.sum(axis=axes) * line).sum())
        for axes, line in zip(((0, 1), (0, 2), (1, 2)), _lines(lattice), strict=True)
    ]
    shape = VertebraShape(
        VertebraLevel(standing.plan.name),
        ScalarField(bone, lattice, FAR_MM),
        ScalarField(body, lattice, FAR_MM),
        VertebraFrame(np.array(centre), frame.left, frame.posterior, frame.superior),
        float(inside.sum()) * lattice.voxel_ml,
    )
    return BoneFields(
        standing.plan.name,
        shape,
        ScalarField((bone + cortex).astype(np.float32), lattice, FAR_MM),
        ScalarField(factor.astype(np.float32), lattice, 1.0),
    )


def _on_table(frame: VertebraFrame, pose: Pose) -> VertebraFrame:
    return VertebraFrame(
        pose.to_table(frame.origin_lps_mm),
        pose.turn(frame.left),
        pose.turn(frame.posterior),
        pose.turn(frame.superior),
    )


def _lines(lattice: Lattice) -> tuple[npt.NDArray[np.floating[Any]], ...]:
    """Coordinates x, y, z of the lattice's nodes."""
    return tuple(
        lattice.origin_mm[i] + lattice.spacing_mm * np.arange(lattice.shape[2 - i])
        for i in range(3)
    )


def _local(lattice: Lattice, frame: VertebraFrame) -> Float32Array:
    """Points of a lattice in a frame, shape (z, y, x, 3)."""
    axes = np.stack([frame.left, frame.posterior, frame.superior])
    x, y, z = (
        ((line - origin)[:, None] * axis).astype(np.float32)
        for line, origin, axis in zip(
            _lines(lattice), frame.origin_lps_mm, axes.T, strict=True
        )
    )
    return np.asarray(z[:, None, None] + y[:, None] + x, np.float32)


def _deformation(
    lattice: Lattice, spread_mm: float, rng: np.random.Generator
) -> Float32Array:
    """Smooth random displacement, shape (z, y, x, 3)."""
    size = (np.array(lattice.shape)[::-1] - 1) * lattice.spacing_mm
    low = np.asarray(lattice.origin_mm)
    coarse = Lattice.around(low, low + size, NOISE_GRID_MM)
    grid = plane_grid(lattice)
    parts = []
    for _ in range(3):
        white = rng.standard_normal(tuple(n + 12 for n in coarse.shape))
        smooth = ndimage.gaussian_filter(white, NOISE_LENGTH_MM / NOISE_GRID_MM)
        smooth = smooth[6:-6, 6:-6, 6:-6] * (spread_mm / smooth.std())
        field = ScalarField(smooth.astype(np.float32), coarse, 0.0)
        parts.append(sample_aligned(field, grid))
    return np.stack(parts, axis=-1)


def plane_grid(lattice: Lattice) -> PlaneGrid:
    """Return the nodes of a lattice as a grid."""
    step = lattice.spacing_mm
    return PlaneGrid(lattice.origin_mm, step, step, lattice.shape, Pose())


def _collapse(
    own: Float32Array, standing: StandingVertebra, collapse: Collapse
) -> Float32Array:
    """Map points to the unbroken shape, in place; where it is crushed, 0 to 1."""
    low, high = standing.stored.low_mm, standing.stored.high_mm
    height = np.float32(high[2] - low[2])
    x, y, z = own[..., 0], own[..., 1], own[..., 2]
    t = (z - np.float32(low[2])) / height
    ahead = np.clip((high[1] - 2.0 - y) / (high[1] - low[1] - 2.0), 0.0, 1.0)
    if collapse.kind == "wedge":
        weight = ahead
    elif collapse.kind == "biconcave":
        middle = 0.5 * (high + low)
        half = 0.5 * (high - low)
        r2 = ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2
        weight = np.clip(1.15 * (1.0 - r2), 0.0, 1.0)
        weight = weight * weight * (3.0 - 2.0 * weight)
    elif collapse.kind == "crush":
        behind = np.clip((y - high[1] + 2.0) / 8.0, 0.0, 1.0)
        weight = 1.0 - behind * behind * (3.0 - 2.0 * behind)
    else:
        raise ValueError(f"expected wedge, biconcave or crush, found {collapse.kind}")
    left = (1.0 - collapse.loss * weight).astype(np.float32)
    pivot = np.float32(0.5 if collapse.kind == "biconcave" else 0.0)
    # Inside, heights are stretched back; beyond the endplates, shifted.
    offset = t - pivot
    edge = np.where(offset > 0, (1.0 - pivot) * left, pivot * left)
    whole = np.where(offset > 0, 1.0 - pivot, pivot)
    size = np.abs(offset)
    back = np.where(size < edge, size / left, whole + size - edge)
    inside = (size < edge) & (t > -0.05)
    if collapse.kind != "biconcave":
        back = np.where(offset > 0, back, size)
    own[..., 2] = (pivot + np.sign(offset) * back) * height + np.float32(low[2])
    return np.asarray(weight * inside, np.float32)


def _normalised(distance: Float32Array) -> Float32Array:
    """Give a deformed distance the slope 1 again near the surface."""
    slope = np.zeros(distance.shape, np.float32)
    for axis in range(3):
        slope += np.gradient(distance, np.float32(BONE_GRID_MM), axis=axis) ** 2
    np.sqrt(slope, out=slope)
    near = np.abs(distance) < NORMALISED_WITHIN_MM
    scale = np.clip(slope, 0.6, 2.5)
    return np.asarray(np.where(near, distance / scale, distance), np.float32)


def _spurs(
    own: Float32Array, standing: StandingVertebra, rng: np.random.Generator
) -> Float32Array:
    """How far osteophytes push the surface out, mm."""
    low, high = standing.stored.low_mm, standing.stored.high_mm
    middle = 0.5 * (low + high)
    angle = np.arctan2(own[..., 1] - middle[1], own[..., 0] - middle[0])
    total = np.zeros(own.shape[:-1], np.float32)
    front = np.clip((high[1] - 5.0 - own[..., 1]) / 4.0, 0.0, 1.0)
    for plate in (low[2], high[2]):
        centre = rng.uniform(-np.pi, 0.0)  # in front and at the sides
        width = rng.uniform(0.5, 1.1)
        turn = np.angle(np.exp(1j * (angle - centre)))
        round_rim = np.exp(-0.5 * (turn / width) ** 2)
        across = np.exp(-0.5 * ((own[..., 2] - plate) / SPUR_WIDTH_MM) ** 2)
        total += (round_rim * across).astype(np.float32)
    radius = np.hypot(
        (own[..., 0] - middle[0]) / (high[0] - middle[0]),
        (own[..., 1] - middle[1]) / (high[1] - middle[1]),
    )
    rim = np.clip((radius - 0.65) / 0.25, 0.0, 1.0)
    spurs: Float32Array = total * (rim * front * standing.plan.osteophyte_mm)
    return spurs.astype(np.float32)


def _basivertebral(own: Float32Array, standing: StandingVertebra) -> Float32Array:
    """Distance to the basivertebral foramen: a cone from the posterior wall inwards."""
    back = float(standing.stored.high_mm[1])
    mouth, apex = np.array([0.0, back + 2.0, 1.0]), np.array([0.0, 1.0, 1.0])
    along = mouth - apex
    offset = own - apex.astype(np.float32)
    t = np.clip((offset @ along.astype(np.float32)) / float(along @ along), 0.0, 1.0)
    gap = np.sqrt(
        sum((offset[..., i] - t * np.float32(along[i])) ** 2 for i in range(3))
    )
    return np.asarray(gap - BASIVERTEBRAL_RADIUS_MM * np.sqrt(t), np.float32)


def _cortex(
    own: Float32Array,
    body: Float32Array,
    standing: StandingVertebra,
    quality: BoneQuality,
) -> Float32Array:
    """Thickness of the cortex, mm."""
    low, high = standing.stored.low_mm, standing.stored.high_mm
    middle, half = 0.5 * (low[2] + high[2]), 0.5 * (high[2] - low[2])
    t = np.abs(own[..., 2] - middle) / half
    plate = np.clip((t - 0.6) / 0.2, 0.0, 1.0)
    on_body = quality.wall_mm + (quality.endplate_mm - quality.wall_mm) * plate
    return np.where(body < 0.5, on_body, quality.arch_mm).astype(np.float32)
