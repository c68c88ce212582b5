"""Two scans of one analytic vertebra: a drum with endplates, pedicles and a process."""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.geometry import VoxelGeometry
from cemscope.registration.rigid_pose import RigidPose
from cemscope.registration.vertebra_patch import ScannedSpine
from cemscope.spine import Spine, Vertebra, VertebraFrame, VertebraSource
from cemscope.volume import CTVolume, LabelMap

FloatArray = npt.NDArray[np.float64]

HALF_HEIGHT_MM = 13.0
DEPTH_MM, WIDTH_MM = 15.0, 20.0
MARROW_HU, CORTEX_HU, SOFT_HU = 130.0, 700.0, 40.0
CORTEX_MM = 1.0

IDENTITY = RigidPose(np.eye(3), np.zeros(3), np.zeros(3))


@dataclass(frozen=True)
class Bone:
    """The vertebra at one time, in its own axes (left, posterior, superior).

    ``front_loss_mm`` and ``middle_loss_mm`` lower the upper endplate; ``cement_mm`` is
    the centre of a ball of cement or None; ``metal_mm`` that of a ball of metal.
    """

    front_loss_mm: float = 0.0
    middle_loss_mm: float = 0.0
    cement_mm: tuple[float, float, float] | None = None
    metal_mm: tuple[float, float, float] | None = None
    waist: float = 0.12
    process_tilt: float = 0.5
    size: float = 1.0

    def top_mm(self, y: FloatArray) -> FloatArray:
        ahead = np.clip((DEPTH_MM - y) / (2.0 * DEPTH_MM), 0.0, 1.0)
        middle = np.exp(-0.5 * (y / 5.0) ** 2)
        return (
            HALF_HEIGHT_MM - self.front_loss_mm * ahead - self.middle_loss_mm * middle
        )

    def body_distance(self, local: FloatArray) -> FloatArray:
        x, y, z = np.moveaxis(local, -1, 0)
        narrow = 1.0 - self.waist * (1.0 - (z / HALF_HEIGHT_MM) ** 2)
        # Flat behind and not the same on both sides: its turn can be told.
        flat = np.where(y > 0.0, 0.75, 1.0 + 0.06 * np.sign(x))
        radius = np.hypot(x / WIDTH_MM, y / (DEPTH_MM * flat))
        wall = (radius - narrow) * DEPTH_MM
        plates = np.maximum(z - self.top_mm(y), -HALF_HEIGHT_MM - z)
        return np.maximum(wall, plates)

    def arch_distance(self, local: FloatArray) -> FloatArray:
        parts = []
        for side in (-1.0, 1.0):
            start = np.array([side * 11.0, 8.0, 5.0])
            parts.append(
                _capsule(local, start, start + np.array([side * 2.0, 20.0, 0.0]), 4.5)
            )
            out = start + np.array([0.0, 18.0, 0.0])
            parts.append(
                _capsule(local, out, out + np.array([side * 18.0, 6.0, 2.0]), 3.5)
            )
            parts.append(_capsule(local, out, np.array([0.0, 38.0, 2.0]), 3.5))
        end = np.array([1.0, 58.0, 2.0 - 20.0 * self.process_tilt])
        parts.append(_capsule(local, np.array([0.0, 38.0, 2.0]), end, 4.0))
        return np.min(parts, axis=0)


def _capsule(
    points: FloatArray, start: FloatArray, end: FloatArray, radius: float
) -> FloatArray:
    way = end - start
    t = np.clip((points - start) @ way / (way @ way), 0.0, 1.0)
    return np.linalg.norm(points - start - t[..., None] * way, axis=-1) - radius


@dataclass(frozen=True)
class Scan:
    """How a vertebra is scanned."""

    pose: RigidPose = IDENTITY
    spacing_mm: tuple[float, float, float] = (1.0, 0.9, 0.9)
    blur_mm: float = 0.5
    noise_hu: float = 15.0
    level: str = "L3"
    seed: int = 1
    shape: tuple[int, int, int] = (64, 96, 84)
    middle_mm: tuple[float, float, float] = field(default=(0.0, 18.0, 0.0))


@cache
def scanned(bone: Bone, scan: Scan) -> ScannedSpine:
    """Scan a vertebra and outline it truly."""
    spacing = np.array(scan.spacing_mm)
    shape = tuple(int(n / s) for n, s in zip(scan.shape, scan.spacing_mm, strict=True))
    middle = scan.pose.to_followup(np.array(scan.middle_mm))
    half = 0.5 * (np.array(shape) - 1) * spacing
    geometry = VoxelGeometry.from_axes(shape, spacing, middle - half[::-1])
    grid = geometry.index_to_lps(np.moveaxis(np.indices(shape), 0, -1))
    local = scan.pose.to_baseline(grid) / bone.size
    body, arch = bone.body_distance(local), bone.arch_distance(local)
    whole = np.minimum(body, arch)
    width = float(spacing.mean())
    inside = np.clip(0.5 - whole / width, 0.0, 1.0)
    core = np.clip(0.5 - (whole + CORTEX_MM) / width, 0.0, 1.0)
    hu = SOFT_HU + (CORTEX_HU - SOFT_HU) * inside - (CORTEX_HU - MARROW_HU) * core
    materials = np.zeros(shape, np.uint8)
    for centre, number, value, radius in (
        (bone.cement_mm, 1, 1900.0, 6.0),
        (bone.metal_mm, 4, 3071.0, 4.0),
    ):
        if centre is not None:
            x, y, z = np.moveaxis(local - np.array(centre), -1, 0)
            away = np.sqrt(x**2 + (y / 0.8) ** 2 + (z / 1.2) ** 2) - radius
            share = np.clip(0.5 - away / width, 0.0, 1.0)
            hu = hu + (value - hu) * share
            materials[share >= 0.5] = number
    rng = np.random.default_rng(scan.seed)
    hu = ndimage.gaussian_filter(hu, scan.blur_mm / spacing)
    hu = hu + rng.normal(0.0, scan.noise_hu, shape)
    level = VertebraLevel(scan.level)
    labels = np.zeros(shape, np.uint8)
    labels[arch < 0.0] = level.arch_number
    labels[body < 0.0] = level.number
    frame = VertebraFrame(
        scan.pose.to_followup(np.zeros(3)), *scan.pose.turned(np.eye(3))
    )
    vertebra = Vertebra(level, 1.0, VertebraSource.EMBEDDED, True, frame, 30.0)
    return ScannedSpine(
        CTVolume(np.clip(hu, -1024, 3071).astype(np.int16), geometry),
        Spine(LabelMap(labels, geometry), (vertebra,)),
        LabelMap(materials, geometry),
    )
