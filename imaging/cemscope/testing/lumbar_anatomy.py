"""Shapes of a lumbar spine with its trunk, for simulated scans.

The shapes come from two real persons (package data, see ``data/README.md``): the
vertebrae T12-L5 of one are fitted, level by level, to the pose of the spine in the
trunk of the other. Between the levels the fits are blended, so that facets and
spinous processes move together (a poly-affine transformation, Arsigny 2009,
doi:10.1007/s10851-008-0135-9, without its logarithms). `AnatomySettings` then scales
and bends the whole, so that a scene is neither of the two.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.spine import VertebraFrame
from cemscope.testing.lumbar_atlas import (
    ATLAS_LEVELS,
    CLASS_BONE,
    CLASS_FAT,
    CLASS_GAS,
    CLASS_SACRAL_BODY,
    CLASS_SOFT,
    SHAPE_MM,
    SURFACE_LIMIT_MM,
    SURFACE_STEP_MM,
    TONE_STEP_HU,
    TRUNK_MM,
    AnatomySettings,
    AtlasWarp,
    load_atlas,
)
from cemscope.testing.scalar_field import Lattice, ScalarField, signed_distance_mm

_logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

FAR_MM = 30.0
"""Distance that stands for 'nowhere near'."""

TRUNK_SMOOTHING_VOXELS = 0.8
"""Gaussian that turns the classes of the trunk into smooth borders."""

DISC_GRID_MM = 1.5
"""Grid of the discs."""

DISC_BULGE_MM = 1.0
"""How far a disc stands out over the rims of its bodies."""

LONGEST_GAP_MM = 17.0
"""Height of the highest disc space that is filled."""


@dataclass(frozen=True, slots=True, eq=False)
class VertebraShape:
    """One vertebra in the patient's frame.

    Attributes
    ----------
    level : VertebraLevel
        Its name.
    bone : ScalarField
        Signed distance to the whole vertebra, mm.
    body : ScalarField
        Signed distance to the closed surface of the body, mm.
    frame : VertebraFrame
        Axes and centre of the body.
    body_volume_ml : float
        Volume inside the closed surface.
    """

    level: VertebraLevel
    bone: ScalarField
    body: ScalarField
    frame: VertebraFrame
    body_volume_ml: float


@dataclass(frozen=True, slots=True, eq=False)
class TrunkShape:
    """Everything around the mobile spine: distances in mm, negative inside.

    ``tone_hu`` is the smooth deviation of soft tissue from muscle.
    """

    skin: ScalarField
    fat: ScalarField
    gas: ScalarField
    pelvis: ScalarField
    sacral_body: ScalarField
    tone_hu: ScalarField


@dataclass(frozen=True, slots=True, eq=False)
class LumbarAnatomy:
    """A person.

    Attributes
    ----------
    vertebrae : tuple of VertebraShape
        From the head to the feet.
    discs : tuple of ScalarField
        Signed distances, from T12/L1 to L5/S1.
    trunk : TrunkShape
        The rest.
    """

    vertebrae: tuple[VertebraShape, ...]
    discs: tuple[ScalarField, ...]
    trunk: TrunkShape

    def vertebra(self, level_name: str) -> VertebraShape:
        """Find a vertebra.

        Raises
        ------
        KeyError
            If the atlas has no such level.
        """
        for shape in self.vertebrae:
            if shape.level.name == level_name:
                return shape
        raise KeyError(level_name)


def build_anatomy(settings: AnatomySettings | None = None) -> LumbarAnatomy:
    """Make a person from the atlas.

    The patient's frame is LPS in mm with its origin at the centre of the body of L3.
    """
    settings = settings or AnatomySettings()
    atlas = load_atlas()
    warp = AtlasWarp.of(atlas, settings)
    vertebrae = tuple(_vertebra(name, atlas, warp, settings) for name in ATLAS_LEVELS)
    trunk = _trunk(atlas, warp, settings.trunk_grid_mm)
    bodies = [*(v.body for v in vertebrae), trunk.sacral_body]
    frames = [v.frame for v in vertebrae]
    discs = tuple(
        _disc(upper, lower, frame)
        for upper, lower, frame in zip(bodies[:-1], bodies[1:], frames, strict=True)
    )
    return LumbarAnatomy(vertebrae, discs, trunk)


def _vertebra(
    name: str, atlas: Mapping[str, Any], warp: AtlasWarp, settings: AnatomySettings
) -> VertebraShape:
    surface = np.cumsum(atlas[f"{name}_surface"], axis=2, dtype=np.int8)
    stored = surface.astype(np.float32) * np.float32(SURFACE_STEP_MM)
    whole = _beyond(stored, SHAPE_MM)
    count = stored.size
    body_mask = np.unpackbits(atlas[f"{name}_body"], count=count).reshape(stored.shape)
    body = ndimage.gaussian_filter(
        signed_distance_mm(np.pad(body_mask.astype(bool), 6), SHAPE_MM), 0.7
    )[6:-6, 6:-6, 6:-6]
    body = np.maximum(body, whole)
    level = ATLAS_LEVELS.index(name)
    low, high = _bounds(stored.shape, atlas[f"{name}_origin_mm"], warp, level)
    lattice = Lattice.around(low - 4.0, high + 4.0, settings.grid_mm)
    source = warp.source_mm(lattice.points_mm())
    index = np.moveaxis((source - atlas[f"{name}_origin_mm"]) / SHAPE_MM, -1, 0)
    # Distances shrink with the patient: correct by the mean scale.
    stretch = float(
        np.cbrt(np.prod(warp.scale) / abs(np.linalg.det(warp.linear[level])))
    )
    fields = [
        ScalarField(
            (
                ndimage.map_coordinates(
                    f, index, order=3, mode="nearest", output=np.float32
                )
                * np.float32(stretch)
            ),
            lattice,
            FAR_MM,
        )
        for f in (whole, body)
    ]
    inside = fields[1].values < 0
    frame = _frame(fields[1], inside, warp, level, atlas[f"{name}_source_axes"])
    soft = np.clip(0.5 - fields[1].values / settings.grid_mm, 0.0, 1.0)
    volume = float(soft.sum()) * lattice.voxel_ml
    return VertebraShape(VertebraLevel(name), fields[0], fields[1], frame, volume)


def _beyond(stored: Float32Array, spacing_mm: float) -> Float32Array:
    """Continue distances that were cut off at the limit."""
    limit = SURFACE_LIMIT_MM - SURFACE_STEP_MM
    padded = np.pad(stored, 4, constant_values=SURFACE_LIMIT_MM)
    full = signed_distance_mm(padded < 0, spacing_mm)[4:-4, 4:-4, 4:-4]
    far = np.sign(stored) * np.maximum(np.abs(full), limit)
    joined: Float32Array = np.where(np.abs(stored) < limit, stored, far)
    return joined.astype(np.float32)


def _bounds(
    shape: tuple[int, ...], origin_zyx: FloatArray, warp: AtlasWarp, level: int
) -> tuple[FloatArray, FloatArray]:
    unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    corners = origin_zyx + unit * (np.array(shape) - 1) * SHAPE_MM
    inverse = np.linalg.inv(warp.linear[level])
    atlas = (corners - warp.source_centres[level]) @ inverse + warp.centres[level]
    points = warp.patient_mm(atlas)
    return points.min(axis=0), points.max(axis=0)


def _frame(
    body: ScalarField,
    inside: npt.NDArray[np.bool_],
    warp: AtlasWarp,
    level: int,
    source_axes: FloatArray,
) -> VertebraFrame:
    centre = body.lattice.points_mm()[inside].mean(axis=0)
    # The endplates' normal, carried over by the warp (covariantly), then made
    # orthogonal: superior first, left next.
    step = 0.5
    jacobian = np.array(
        [
            (warp.source_mm(centre + e) - warp.source_mm(centre - e)) / (2 * step)
            for e in np.eye(3) * step
        ]
    )
    superior = jacobian @ source_axes[0]
    superior /= np.linalg.norm(superior)
    left = jacobian @ source_axes[2]
    left -= superior * (left @ superior)
    left /= np.linalg.norm(left)
    posterior = np.cross(superior, left)
    return VertebraFrame(centre, left, posterior, superior)


def _trunk(atlas: Mapping[str, Any], warp: AtlasWarp, grid_mm: float) -> TrunkShape:
    classes = atlas["trunk_class"]
    origin = atlas["trunk_origin_mm"]
    shape = np.array(classes.shape)
    unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    corners = warp.patient_mm(origin + unit * (shape - 1) * TRUNK_MM)
    lattice = Lattice.around(corners.min(axis=0) - 6, corners.max(axis=0) + 6, grid_mm)
    index = np.moveaxis((warp.trunk_mm(lattice.points_mm()) - origin) / TRUNK_MM, -1, 0)

    def resample(values: Float32Array) -> ScalarField:
        sampled = ndimage.map_coordinates(
            values, index, order=3, mode="nearest", output=np.float32
        )
        return ScalarField(sampled, lattice, float(sampled.max()))

    width = TRUNK_SMOOTHING_VOXELS * TRUNK_MM * np.sqrt(2 * np.pi)

    def border(inside: npt.NDArray[np.bool_]) -> ScalarField:
        # A blurred edge has the slope 1 / width: the indicator becomes a distance.
        soft = ndimage.gaussian_filter(
            inside.astype(np.float32), TRUNK_SMOOTHING_VOXELS
        )
        return resample(((0.5 - soft) * width).astype(np.float32))

    def solid(inside: npt.NDArray[np.bool_]) -> ScalarField:
        distance = signed_distance_mm(np.pad(inside, 6), TRUNK_MM)[6:-6, 6:-6, 6:-6]
        return resample(ndimage.gaussian_filter(distance, 0.6))

    soft = classes == CLASS_SOFT
    tone = atlas["trunk_tone"].astype(np.float32) * np.float32(TONE_STEP_HU)
    tone = np.where(soft, tone - 50.0, 0.0)
    spread = ndimage.gaussian_filter(soft.astype(np.float32), 1.0)
    tone = ndimage.gaussian_filter(tone, 1.0) / np.maximum(spread, 0.05)
    return TrunkShape(
        skin=border(classes > 0),
        fat=border(classes == CLASS_FAT),
        gas=border(classes == CLASS_GAS),
        pelvis=solid((classes == CLASS_BONE) | (classes == CLASS_SACRAL_BODY)),
        sacral_body=solid(classes == CLASS_SACRAL_BODY),
        tone_hu=resample(tone.astype(np.float32)),
    )


def _disc(upper: ScalarField, lower: ScalarField, frame: VertebraFrame) -> ScalarField:
    """Fill the gap between two bodies along the spine's axis, slightly bulging.

    Where the disc's border meets a body, the body has precedence.
    """
    downwards = _towards(lower, frame)
    centre = frame.origin_lps_mm + 22.0 * downwards
    lattice = Lattice.around(centre - 36.0, centre + 36.0, DISC_GRID_MM)
    points = lattice.points_mm()
    way = [np.full(lattice.shape, np.inf), np.full(lattice.shape, np.inf)]
    for step in np.arange(0.0, LONGEST_GAP_MM, DISC_GRID_MM):
        hit = upper.at(points - step * downwards) < 0
        way[0] = np.where(hit, np.minimum(way[0], step), way[0])
        hit = lower.at(points + step * downwards) < 0
        way[1] = np.where(hit, np.minimum(way[1], step), way[1])
    filled = way[0] + way[1] < LONGEST_GAP_MM
    distance = ndimage.gaussian_filter(signed_distance_mm(filled, DISC_GRID_MM), 0.7)
    return ScalarField(distance - np.float32(DISC_BULGE_MM), lattice, FAR_MM)


def _towards(lower: ScalarField, frame: VertebraFrame) -> FloatArray:
    inside = lower.values < 0
    centre = lower.lattice.points_mm()[inside].mean(axis=0)
    direction: FloatArray = centre - frame.origin_lps_mm
    return direction / np.linalg.norm(direction)
