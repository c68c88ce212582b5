"""Scans of a spine along any curve, of known places, on any grid.

Bodies are boxes of 40 x 30 x 26 mm with a dense rim, canals are tubes behind them. The
curve is given by its points and the axial rotation of each body.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cemscope.anatomy import VertebraLevel
from cemscope.geometry import VoxelGeometry
from cemscope.spine import Spine, Vertebra, VertebraFrame, VertebraSource
from cemscope.volume import CTVolume, LabelMap, Mask, Notice
from cemscope_pipelines.pictures.composition import CaseImages
from cemscope_pipelines.pictures.settings import PictureSettings

FloatArray = npt.NDArray[np.float64]

BODY_MM = (40.0, 30.0, 26.0)
"""Left-right, front-back, height."""

RIM_MM = 2.0
MARROW_HU, RIM_HU, TISSUE_HU, CANAL_HU = 160, 600, 40, 20
CANAL_BEHIND_MM, CANAL_RADIUS_MM = 24.0, 8.0
ARCH_SIDE_MM, ARCH_RADIUS_MM = 14.0, 5.0


@dataclass(frozen=True)
class Body:
    """A vertebra of the phantom."""

    level: str
    centre: tuple[float, float, float]
    left: tuple[float, float, float] = (1.0, 0.0, 0.0)
    superior: tuple[float, float, float] = (0.0, 0.0, 1.0)
    height_mm: float = BODY_MM[2]
    confidence: float = 0.95
    complete: bool = True

    def frame(self) -> VertebraFrame:
        up = np.array(self.superior) / np.linalg.norm(self.superior)
        left = np.array(self.left) - np.dot(self.left, up) * up
        left /= np.linalg.norm(left)
        return VertebraFrame(np.array(self.centre), left, np.cross(up, left), up)


@dataclass(frozen=True)
class Scan:
    """Where the phantom is scanned."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 2.0)
    directions: FloatArray = field(default_factory=lambda: np.eye(3)[::-1])

    def geometry(self) -> VoxelGeometry:
        """Grid along its directions that covers the box around the same centre."""
        middle = (np.array(self.low) + np.array(self.high)) / 2.0
        half = (np.array(self.high) - np.array(self.low)) / 2.0
        reach = np.abs(self.directions) @ half
        shape = np.maximum(1, np.rint(2.0 * reach / self.spacing_mm)).astype(int)
        steps = self.directions * np.array(self.spacing_mm)[:, None]
        origin = middle - ((shape - 1) / 2.0) @ steps
        return VoxelGeometry.from_axes(
            (int(shape[0]), int(shape[1]), int(shape[2])),
            self.spacing_mm,
            origin,
            self.directions,
        )


def _box_around(
    geometry: VoxelGeometry, centre: tuple[float, float, float]
) -> tuple[slice, slice, slice]:
    index, reach = geometry.lps_to_index(centre), 50.0 / np.array(geometry.spacing_mm)
    low = np.clip(np.floor(index - reach), 0, np.array(geometry.shape) - 1).astype(int)
    high = np.clip(np.ceil(index + reach), low + 1, geometry.shape).astype(int)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return z, y, x


def scanned(
    bodies: tuple[Body, ...],
    scan: Scan,
    *,
    canal: bool = True,
    notices: tuple[Notice, ...] = (),
    settings: PictureSettings | None = None,
) -> CaseImages:
    """Draw the bodies (from the lowest to the highest) on the grid of a scan."""
    geometry = scan.geometry()
    hu = np.full(geometry.shape, TISSUE_HU, np.int16)
    labels = np.zeros(geometry.shape, np.uint8)
    in_canal = np.zeros(geometry.shape, np.bool_)
    vertebrae = []
    for body in bodies:
        frame, level = body.frame(), VertebraLevel(body.level)
        box = _box_around(geometry, body.centre)
        index = np.stack(np.indices(geometry.crop(box).shape), axis=-1)
        local = frame.to_local_mm(geometry.crop(box).index_to_lps(index))
        half = np.array([BODY_MM[0], BODY_MM[1], body.height_mm]) / 2.0
        inside = (np.abs(local) < half).all(axis=-1)
        marrow = (np.abs(local) < half - RIM_MM).all(axis=-1)
        side = np.hypot(np.abs(local[..., 0]) - ARCH_SIDE_MM, local[..., 2])
        arch = (side < ARCH_RADIUS_MM) & (np.abs(local[..., 1] - 28.0) < 13.0)
        near = np.abs(local[..., 2]) < 20.0
        tube = np.hypot(local[..., 0], local[..., 1] - CANAL_BEHIND_MM)
        in_canal[box] |= near & (tube < CANAL_RADIUS_MM)
        labels[box][arch] = level.arch_number
        labels[box][inside] = level.number
        hu[box][arch | inside] = RIM_HU
        hu[box][marrow] = MARROW_HU
        vertebrae.append(
            Vertebra(
                level, body.confidence, VertebraSource.EMBEDDED, body.complete, frame,
                float(inside.sum()) * geometry.voxel_volume_mm3 / 1000.0,
            )
        )  # fmt: skip
    spine = Spine(
        LabelMap(labels, geometry),
        tuple(vertebrae),
        Mask(in_canal, geometry) if canal else None,
        notices,
    )
    empty = LabelMap(np.zeros(geometry.shape, np.uint8), geometry)
    return CaseImages(
        CTVolume(hu, geometry), spine, empty, (), (), (), settings or PictureSettings()
    )


STRAIGHT = tuple(
    Body(level, (0.0, 0.0, 36.0 * i))
    for i, level in enumerate(("L5", "L4", "L3", "L2", "L1"))
)
"""Five bodies above each other."""

STRAIGHT_SCAN = Scan((-60.0, -60.0, -30.0), (60.0, 80.0, 174.0))


def oblique(degrees: float, about: int) -> FloatArray:
    """Directions of a scan that is turned about a patient axis."""
    turn = np.radians(degrees)
    matrix = np.eye(3)
    i, j = [k for k in range(3) if k != about]
    matrix[i, i] = matrix[j, j] = np.cos(turn)
    matrix[i, j], matrix[j, i] = -np.sin(turn), np.sin(turn)
    return np.eye(3)[::-1] @ matrix
