"""The trunk round a simulated spine: skin, fat, bowel, pelvis, lungs, great vessels."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.testing.aligned_sampling import coverage_of, sample_aligned
from cemscope.testing.lumbar_anatomy import FAR_MM
from cemscope.testing.lumbar_atlas import (
    ATLAS_LEVELS,
    CLASS_BONE,
    CLASS_FAT,
    CLASS_GAS,
    CLASS_SACRAL_BODY,
    CLASS_SOFT,
    TONE_STEP_HU,
    TRUNK_MM,
)
from cemscope.testing.quick_scanner import TissueFractions
from cemscope.testing.scalar_field import (
    Lattice,
    PlaneGrid,
    Pose,
    ScalarField,
    signed_distance_mm,
)
from cemscope.testing.spine_atlas import trunk_arrays
from cemscope.testing.spine_posture import StandingSpine, trunk_origin_mm

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

TRUNK_GRID_MM, PELVIS_GRID_MM = 3.0, 1.5
"""Grids of soft tissue and of the pelvis."""

EDGE_MM = TRUNK_MM * 0.8 * np.sqrt(2 * np.pi)
"""Width of the blurred borders of the stored classes: their slope is 1 / width."""

LUNG_SEMI_AXES_MM = (138.0, 90.0)
"""Half width and depth of the lungs' common outline at T12, as in the trunk."""

LUNG_CENTRE_MM = -48.0
"""How far behind (negative: in front of) the vertebral centre that outline has its
middle."""

LUNG_TISSUE = 0.15
"""Share of tissue in aerated lung: about -850 HU."""

DOME_MM = 55.0
"""Height of the diaphragm above T12; its recess behind ends 10 mm below."""


@dataclass(frozen=True, slots=True, eq=False)
class TrunkFields:
    """Distances on the table in mm, negative inside; ``tone`` scales soft tissue."""

    skin: ScalarField
    fat: ScalarField
    gas: ScalarField
    lung: ScalarField
    tone: ScalarField
    pelvis: ScalarField

    def paint(self, parts: TissueFractions, grid: PlaneGrid) -> None:
        """Fill cells with everything but pelvis, spine and vessels."""
        inside = _share(self.skin, grid)
        inside *= 1.0 - _share(self.gas, grid)
        lung = _share(self.lung, grid)
        fat = _share(self.fat, grid)
        if lung.any():
            inside *= 1.0 - np.float32(1.0 - LUNG_TISSUE) * lung
            fat *= 1.0 - lung
        np.multiply(inside, fat, out=parts.fat)
        np.subtract(inside, parts.fat, out=parts.muscle)
        np.multiply(parts.muscle, sample_aligned(self.tone, grid), out=parts.muscle)


def _share(field: ScalarField, grid: PlaneGrid) -> Float32Array:
    return coverage_of(sample_aligned(field, grid), grid.cell_mm)


def trunk_fields(
    spine: StandingSpine, pose: Pose, box_mm: tuple[FloatArray, FloatArray]
) -> TrunkFields:
    """Lay the stored trunk round a spine.

    Parameters
    ----------
    spine
        The trunk follows it.
    pose
        How the patient lies.
    box_mm
        Part of the table that is wanted, LPS corners.
    """
    arrays = trunk_arrays()
    classes = arrays["trunk_class"]
    lattice = Lattice.around(box_mm[0] - 6.0, box_mm[1] + 6.0, TRUNK_GRID_MM)
    patient = pose.to_patient(lattice.points_mm())
    straight = patient.copy()
    straight[..., :2] -= _shift(spine, patient[..., 2])
    index = _index(straight, spine.size)

    def resample(values: Float32Array) -> Float32Array:
        return np.asarray(
            ndimage.map_coordinates(values, index, np.float32, order=1, mode="nearest")
        )

    def border(inside: npt.NDArray[np.bool_]) -> ScalarField:
        soft = ndimage.gaussian_filter(inside.astype(np.float32), 0.8)
        return ScalarField(
            resample((0.5 - soft) * np.float32(EDGE_MM)), lattice, FAR_MM
        )

    soft = classes == CLASS_SOFT
    tone = arrays["trunk_tone"].astype(np.float32) * np.float32(TONE_STEP_HU)
    spread = ndimage.gaussian_filter(soft.astype(np.float32), 1.0)
    tone = ndimage.gaussian_filter(np.where(soft, tone - 50.0, 0.0), 1.0)
    tone = 1.0 + resample(tone / np.maximum(spread, 0.05)) / 1000.0
    lung = _lung(spine, straight, patient[..., 2])
    return TrunkFields(
        border(classes > 0),
        border(classes == CLASS_FAT),
        border(classes == CLASS_GAS),
        ScalarField(lung, lattice, FAR_MM),
        ScalarField(tone.astype(np.float32), lattice, 1.0),
        _pelvis(classes, spine.size, pose, box_mm),
    )


def trunk_box_mm(spine: StandingSpine) -> tuple[FloatArray, FloatArray]:
    """Corners of the trunk in the patient's frame, up to the uppermost vertebra."""
    arrays = trunk_arrays()
    first = arrays["trunk_origin_mm"][::-1] - trunk_origin_mm()
    size = np.array(arrays["trunk_class"].shape)[::-1] * TRUNK_MM
    low, high = first * spine.size, (first + size) * spine.size
    centres = np.array([v.frame.origin_lps_mm for v in spine.vertebrae])
    shift = _shift(spine, centres[:, 2])
    low[:2] += np.minimum(shift.min(axis=0), 0.0) - 5.0
    high[:2] += np.maximum(shift.max(axis=0), 0.0) + 5.0
    high[2] = max(high[2], float(centres[:, 2].max()) + 60.0)
    return low, high


def sacrum_centre_mm(size: FloatArray) -> FloatArray:
    """Centre of the body of S1 in the patient's frame."""
    arrays = trunk_arrays()
    inside = np.argwhere(arrays["trunk_class"] == CLASS_SACRAL_BODY).mean(axis=0)
    atlas = arrays["trunk_origin_mm"] + inside * TRUNK_MM
    return np.asarray((atlas[::-1] - trunk_origin_mm()) * size)


def _index(patient: FloatArray, size: FloatArray) -> FloatArray:
    atlas = patient / size + trunk_origin_mm()
    offset = atlas[..., ::-1] - trunk_arrays()["trunk_origin_mm"]
    return np.moveaxis(offset / TRUNK_MM, -1, 0)


def _shift(spine: StandingSpine, z_mm: FloatArray) -> FloatArray:
    """How far the person's spine lies beside that of the atlas, (x, y)."""
    arrays = trunk_arrays()
    atlas = np.array([arrays[f"{n}_centre_mm"][::-1] for n in ATLAS_LEVELS])
    atlas = (atlas - trunk_origin_mm()) * spine.size
    own = np.array([v.frame.origin_lps_mm for v in spine.vertebrae])
    own = own[own[:, 2].argsort()]
    atlas = atlas[atlas[:, 2].argsort()]
    bottom = float(own[0, 2]) - 40.0 * float(spine.size[2])
    nodes = np.concatenate([[bottom], own[:, 2]])
    shifts = []
    for axis in (0, 1):
        beside = own[:, axis] - np.interp(own[:, 2], atlas[:, 2], atlas[:, axis])
        line = np.concatenate([[0.0], beside])
        fine = np.arange(nodes[0] - 60.0, nodes[-1] + 60.0, 2.0)
        smooth = ndimage.gaussian_filter1d(np.interp(fine, nodes, line), 6.0)
        shifts.append(np.interp(z_mm, fine, smooth))
    return np.stack(shifts, axis=-1)


def _pelvis(
    classes: npt.NDArray[np.uint8],
    size: FloatArray,
    pose: Pose,
    box_mm: tuple[FloatArray, FloatArray],
) -> ScalarField:
    """Sacrum and pelvis, which do not follow the spine; only in the wanted box."""
    bone = (classes == CLASS_BONE) | (classes == CLASS_SACRAL_BODY)
    used = np.argwhere(bone)
    low, high = used.min(axis=0) - 3, used.max(axis=0) + 4
    low = np.maximum(low, 0)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part = np.pad(bone[box], 4)
    distance = ndimage.gaussian_filter(signed_distance_mm(part, TRUNK_MM), 0.6)
    unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    atlas = (low + unit * (np.array(bone[box].shape) - 1)) * TRUNK_MM
    atlas = (atlas + trunk_arrays()["trunk_origin_mm"])[:, ::-1]
    corners = pose.to_table((atlas - trunk_origin_mm()) * size)
    first = np.maximum(corners.min(axis=0) - 4.0, box_mm[0])
    last = np.minimum(corners.max(axis=0) + 4.0, box_mm[1])
    if (last <= first).any():
        nowhere = np.full((2, 2, 2), FAR_MM, np.float32)
        origin = (float(first[0]), float(first[1]), float(first[2]))
        return ScalarField(nowhere, Lattice(origin, 1.0, (2, 2, 2)), FAR_MM)
    lattice = Lattice.around(first, last, PELVIS_GRID_MM)
    index = _index(pose.to_patient(lattice.points_mm()), size)
    index += (4.0 - low)[:, None, None, None]
    values = ndimage.map_coordinates(
        distance, index, np.float32, order=1, mode="nearest"
    )
    return ScalarField(values, lattice, FAR_MM)


def _lung(spine: StandingSpine, straight: FloatArray, z_mm: FloatArray) -> Float32Array:
    """Aerated lung above the diaphragm: distance in mm, roughly."""
    size = spine.size
    arrays = trunk_arrays()
    atlas = (arrays["T12_centre_mm"][::-1] - trunk_origin_mm()) * size
    x = (straight[..., 0] - atlas[0]) / size[0]
    y = (straight[..., 1] - atlas[1]) / size[1]
    thoracic = [v for v in spine.vertebrae if v.plan.ribs_mm > 0]
    last = thoracic[-1] if thoracic else spine.vertebrae[0]
    above = (z_mm - last.frame.origin_lps_mm[2]) / size[2]
    narrowing = 1.0 - 0.0012 * np.clip(above, 0.0, 300.0)
    a, b = (axis * narrowing for axis in LUNG_SEMI_AXES_MM)
    radius = np.hypot(x / a, (y - LUNG_CENTRE_MM) / b)
    outline = (radius - 1.0) * np.minimum(a, b)
    diaphragm = DOME_MM - (DOME_MM + 10.0) * np.clip(radius, 0.0, 1.0) ** 4 - above
    half = np.interp(
        y, [-120, -90, -40, -15, 10, 40], [30.0, 45.0, 40.0, 25.0, 22.0, 24.0]
    )
    mediastinum = half - np.abs(x)
    gutter = y - 12.0 - 0.62 * (np.abs(x) - 20.0)
    distance = np.maximum.reduce([outline, diaphragm, mediastinum, gutter])
    return np.asarray(distance, np.float32)
