"""Analytic vertebrae with body, pedicles, lamina and processes, as label maps."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from cemscope.anatomy import ARCH_OFFSET, VertebraLevel
from cemscope.anatomy_schemes import LabelScheme
from cemscope.geometry import VoxelGeometry
from cemscope.volume import CTVolume, LabelMap

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

BODY_HALF_HEIGHT_MM = 12.5
CANAL_RADIUS_MM = 8.0
WALL_MM = 13.0
"""Posterior coordinate of the flat back wall of the body."""

SOFT_HU, BONE_HU = 40, 260


def in_body(local: FloatArray) -> BoolArray:
    """Points (left, posterior, superior) in mm inside the body."""
    x, p, s = np.moveaxis(local, -1, 0)
    round_front = (x / 22.0) ** 2 + (p / 17.0) ** 2 <= 1.0
    inside: BoolArray = (
        round_front & (p <= WALL_MM) & (np.abs(s) <= BODY_HALF_HEIGHT_MM)
    )
    return inside


def in_arch(local: FloatArray, *, open_ring: bool) -> BoolArray:
    """Points inside pedicles, lamina and processes; not in the canal."""
    x, p, s = np.moveaxis(local, -1, 0)
    across = np.abs(x)
    behind = p - (WALL_MM + CANAL_RADIUS_MM)
    radius = np.hypot(x, behind)
    pedicle = (across > 8) & (across < 15) & (p > 8) & (p < 27) & (np.abs(s - 6) < 6)
    lamina = (radius > 8) & (radius < 13) & (behind > -2) & (np.abs(s + 1) < 9)
    spinous = (across < 3.5) & (p > 31) & (p < 55) & (np.abs(s + 5) < 8)
    transverse = (across > 13) & (across < 38) & (p > 20) & (p < 27) & (abs(s - 5) < 4)
    if open_ring:
        lamina &= across > 6
        spinous &= False
    bone: BoolArray = pedicle | lamina | spinous | transverse
    bone &= (radius > CANAL_RADIUS_MM) & ~in_body(local)
    return bone


def _reach(centre: FloatArray, axes: FloatArray) -> FloatArray:
    """Corners of a box that holds a vertebra, LPS mm."""
    box = [[x, p, s] for x in (-40, 40) for p in (-20, 56) for s in (-16, 16)]
    corners: FloatArray = np.array(box, dtype=float) @ axes + centre
    return corners


@dataclass(frozen=True)
class Row:
    """A row of equal vertebrae, from the lowest to the highest."""

    names: tuple[str, ...] = ("L4", "L3", "L2")
    pitch_mm: float = 35.0
    lordosis_deg: float = 8.0
    turn: Rotation = field(default_factory=Rotation.identity)
    open_rings: tuple[str, ...] = ()
    centre_lps_mm: tuple[float, float, float] = (12.0, -40.0, 300.0)

    def poses(self) -> list[tuple[str, FloatArray, FloatArray]]:
        """Name, centre and axes (rows: left, posterior, superior) of each."""
        count = len(self.names)
        poses = []
        for rank, name in enumerate(self.names):
            offset = rank - (count - 1) / 2
            tilt = Rotation.from_euler("x", self.lordosis_deg * offset, degrees=True)
            axes = (self.turn * tilt).apply(np.eye(3))
            # An arc: each step goes along the mean axis of its two vertebrae.
            angle = np.radians(self.lordosis_deg) * offset / 2
            step = np.array([0.0, -np.sin(angle), np.cos(angle)]) * offset
            centre = np.array(self.centre_lps_mm) + self.turn.apply(
                step * self.pitch_mm
            )
            poses.append((name, centre, axes))
        return poses

    def grid(
        self,
        spacing_mm: tuple[float, float, float] = (1.8, 1.5, 1.5),
        directions: npt.ArrayLike = ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
        margin_mm: float = 12.0,
    ) -> VoxelGeometry:
        """Smallest grid of these directions that holds the whole row."""
        axes = np.asarray(directions, float)
        points = [_reach(centre, own) for _, centre, own in self.poses()]
        along = np.concatenate(points) @ axes.T
        low = along.min(axis=0) - margin_mm
        high = along.max(axis=0) + margin_mm
        shape = np.ceil((high - low) / spacing_mm).astype(int)
        return VoxelGeometry.from_axes(
            tuple(shape.tolist()), spacing_mm, low @ axes, axes
        )

    def parts(self, grid: VoxelGeometry) -> dict[str, tuple[BoolArray, BoolArray]]:
        """Body and arch of each level on a grid."""
        found = {}
        for name, centre, axes in self.poses():
            corners = grid.lps_to_index(_reach(centre, axes))
            low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, None)
            high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, grid.shape)
            ranges = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
            index = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1)
            local = (grid.index_to_lps(index) - centre) @ axes.T
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            body = np.zeros(grid.shape, dtype=bool)
            arch = np.zeros(grid.shape, dtype=bool)
            body[box] = in_body(local)
            arch[box] = in_arch(local, open_ring=name in self.open_rings)
            found[name] = (body, arch)
        return found

    def labels(
        self,
        grid: VoxelGeometry,
        scheme: LabelScheme = LabelScheme.VERSE,
        *,
        arches: bool = False,
    ) -> LabelMap:
        """Label map in a numbering; ``arches`` numbers them on their own."""
        numbers = {level.name: n for n, level in scheme.levels.items()}
        array = np.zeros(grid.shape, dtype=np.uint8)
        for name, (body, arch) in self.parts(grid).items():
            array[arch] = numbers[name] + (ARCH_OFFSET if arches else 0)
            array[body] = numbers[name]
        return LabelMap(array, grid)

    def ct(self, grid: VoxelGeometry) -> CTVolume:
        """A CT in which the vertebrae are bone."""
        hu = np.full(grid.shape, SOFT_HU, dtype=np.int16)
        for body, arch in self.parts(grid).values():
            hu[body | arch] = BONE_HU
        return CTVolume(hu, grid)


def dice(first: BoolArray, second: BoolArray) -> float:
    """Overlap of two masks."""
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def level_number(name: str) -> int:
    """cemscope's number of a level's body."""
    return VertebraLevel(name).number
