"""A slice of a trunk with two vertebrae, and dense things put where they may lie.

Analytic: blur is Gaussian, truth is the solids' own volume.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.measurement.distant_cement import (
    DistantCement,
    SpinalCement,
    find_distant_cement,
)
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.scan_region import ScanRegion, box_around, box_of
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.spine import Spine
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid, Point, Solid
from cemscope.testing.phantoms import Contrast, Implant, Scanner, build_phantom
from cemscope.volume import CTVolume, LabelMap, Mask

CEMENT_HU = 2600.0
SPACING_MM = (1.5, 1.0, 1.0)
LOWER_MM, UPPER_MM = np.array([-150.0, -125.0, -26.0]), np.array([150.0, 85.0, 62.0])
SUBVOXELS = 3
BLUR_MM = 0.5
NOISE_HU = 15.0

LUNG_HU, MUSCLE_HU, FAT_HU, AIR_HU = -860.0, 50.0, -100.0, -1000.0


@dataclass(frozen=True)
class Thing:
    """A solid of some brightness; later ones replace earlier ones."""

    solid: Solid
    hu: float = CEMENT_HU


@dataclass(frozen=True, eq=False)
class Trunk:
    """A scan and its vertebrae, before noise, with the cement of the upper one."""

    hu: npt.NDArray[np.float32]
    geometry: VoxelGeometry
    spine: Spine
    owned: npt.NDArray[np.bool_]


@cache
def trunk(
    levels: tuple[str, str] = ("T9", "T8"), cement_hu: float = CEMENT_HU
) -> Trunk:
    """Build skin, fat, muscle, ribs and, for thoracic levels, lungs round a spine."""
    clean = Scanner(
        SPACING_MM, (0.0, 0.0, 0.0), noise_hu=0.0, clip_hu=None,
        directions_lps=((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    )  # fmt: skip
    ball = Implant(Ellipsoid((4.0, -2.0, 36.0), (10.0, 9.0, 8.0)), level=levels[1])
    part = build_phantom(levels, (ball,), clean, Contrast(cement_hu=cement_hu))
    inner = part.ct.geometry
    shift = np.rint((inner.origin_lps_mm - LOWER_MM) / np.array(SPACING_MM)[::-1])
    before = shift[::-1].astype(int)
    shape = np.ceil((UPPER_MM - LOWER_MM)[::-1] / SPACING_MM).astype(int)
    shape = np.maximum(shape, before + inner.shape)
    box = tuple(slice(b, b + n) for b, n in zip(before, inner.shape, strict=True))
    origin = inner.origin_lps_mm - before[::-1] * np.array(SPACING_MM)[::-1]
    geometry = VoxelGeometry.from_axes(
        tuple(int(n) for n in shape), SPACING_MM, tuple(origin)
    )
    x, y = _plane(geometry)
    skin = (x / 145.0) ** 2 + ((y + 18.0) / 98.0) ** 2
    plane = np.where(skin <= 1.0, FAT_HU, AIR_HU)
    plane[(x / 130.0) ** 2 + ((y + 18.0) / 84.0) ** 2 <= 1.0] = MUSCLE_HU
    hu = np.repeat(plane[None].astype(np.float32), shape[0], axis=0)
    if levels[0].startswith("T"):
        lung = (x / 118.0) ** 2 + ((y + 30.0) / 70.0) ** 2 <= 1.0
        lung &= (np.abs(x) > 30.0) & (y < 24.0 - 0.2 * np.abs(x))
        hu[:, lung] = LUNG_HU
    held = hu[box]
    inside = part.spine.labels.labels > 0
    inside |= part.cement_fraction > 0
    near = ndimage.binary_dilation(inside, iterations=2)
    held[near] = part.ct.hu[near]
    labels, canal = np.zeros(hu.shape, np.uint8), np.zeros(hu.shape, np.bool_)
    labels[box] = part.spine.labels.labels
    assert part.spine.canal is not None
    canal[box] = part.spine.canal.voxels
    owned = np.zeros(hu.shape, np.bool_)
    owned[box] = ndimage.binary_dilation(part.cement_fraction > 0, iterations=2)
    spine = Spine(
        LabelMap(labels, geometry), part.spine.vertebrae, Mask(canal, geometry)
    )
    if levels[0].startswith("T"):
        for side in (-1.0, 1.0):
            for up in (0.0, 36.0):
                for thing in _rib(side, up):
                    paint(hu, geometry, thing)
    return Trunk(hu, geometry, spine, owned)


def _plane(geometry: VoxelGeometry) -> tuple[npt.NDArray, npt.NDArray]:
    rows, columns = np.arange(geometry.shape[1]), np.arange(geometry.shape[2])
    x = geometry.origin_lps_mm[0] + columns[None, :] * geometry.spacing_mm[2]
    y = geometry.origin_lps_mm[1] + rows[:, None] * geometry.spacing_mm[1]
    return np.broadcast_arrays(x, y)


def _rib(side: float, up: float) -> tuple[Thing, ...]:
    """Cortex of 1,400 HU round marrow, along the chest wall."""
    ways: list[Point] = [
        (side * 26.0, 18.0, up), (side * 60.0, 34.0, up - 4.0),
        (side * 100.0, 22.0, up - 10.0), (side * 122.0, -15.0, up - 16.0),
    ]  # fmt: skip
    pairs = list(pairwise(ways))
    return (
        *(Thing(Cylinder(a, b, 5.5), 1400.0) for a, b in pairs),
        *(Thing(Cylinder(a, b, 3.5), 150.0) for a, b in pairs),
    )


def paint(hu: npt.NDArray[np.float32], geometry: VoxelGeometry, thing: Thing) -> None:
    """Mix a solid into an unblurred image by partial volume."""
    low, high = (geometry.lps_to_index(p) for p in thing.solid.bounds_mm())
    start = np.maximum(np.floor(np.minimum(low, high)).astype(int) - 1, 0)
    stop = np.minimum(np.ceil(np.maximum(low, high)).astype(int) + 2, geometry.shape)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    grid = np.stack(np.meshgrid(*map(np.arange, start, stop), indexing="ij"), -1)
    steps = (np.arange(SUBVOXELS) + 0.5) / SUBVOXELS - 0.5
    share = np.zeros(grid.shape[:3], np.float32)
    for offset in np.array(np.meshgrid(steps, steps, steps)).reshape(3, -1).T:
        share += thing.solid.contains(geometry.index_to_lps(grid + offset))
    share /= SUBVOXELS**3
    hu[box] = hu[box] * (1 - share) + thing.hu * share


@cache
def _blank(base: Trunk) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The trunk with its blur, and noise."""
    sigma = BLUR_MM / np.array(base.geometry.spacing_mm)
    noise = np.random.default_rng(0).normal(0.0, NOISE_HU, base.hu.shape)
    return ndimage.gaussian_filter(base.hu, sigma), noise.astype(np.float32)


def scan(
    base: Trunk, things: tuple[Thing, ...], ceiling_hu: int | None = 3071
) -> CTVolume:
    """Put things into a trunk and scan it."""
    blank, noise = _blank(base)
    image = blank + noise
    if things:
        bounds = np.array([thing.solid.bounds_mm() for thing in things])
        ends = np.array([bounds[:, 0].min(axis=0), bounds[:, 1].max(axis=0)])
        index = base.geometry.lps_to_index(ends)
        low = np.maximum(np.floor(index[0]).astype(int) - 5, 0)
        high = np.minimum(np.ceil(index[1]).astype(int) + 6, base.geometry.shape)
        box = box_of(low, high)
        hu, geometry = base.hu[box].copy(), base.geometry.crop(box)
        for thing in things:
            paint(hu, geometry, thing)
        sigma = BLUR_MM / np.array(base.geometry.spacing_mm)
        image[box] += ndimage.gaussian_filter(hu, sigma)
        image[box] -= ndimage.gaussian_filter(base.hu[box], sigma)
    top = 30000 if ceiling_hu is None else ceiling_hu
    stored = np.clip(np.rint(image), -1024, top).astype(np.int16)
    clipped = ceiling_hu if (stored >= top).any() else None
    return CTVolume(stored, base.geometry, clipped_at_hu=clipped)


def spinal_cement(
    ct: CTVolume, base: Trunk, level_hu: float | None = CEMENT_HU
) -> SpinalCement:
    """What the search around the vertebrae would hand over."""
    box = box_around(base.spine.labels.labels > 0, base.geometry, 40.0)
    assert box is not None
    region = ScanRegion.of_box(ct, base.spine.labels, box)
    own = box_around(base.owned, base.geometry, 3.0)
    assert own is not None
    levels = TissueLevels(
        110.0, 700.0, 400.0, 900.0, NOISE_HU, ct.clipped_at_hu, 1, 120.0
    )
    level = None
    if level_hu is not None:
        level = CementLevel(level_hu, 0.03 * level_hu, level_hu > 3071)
    return SpinalCement(
        region,
        np.zeros(region.hu.shape, np.bool_),
        np.zeros(region.hu.shape, np.bool_),
        ((own, base.owned[own]),),
        level,
        levels,
    )


def search(
    things: tuple[Thing, ...],
    levels: tuple[str, str] = ("T9", "T8"),
    ceiling_hu: int | None = 3071,
    level_hu: float | None = CEMENT_HU,
) -> DistantCement:
    """Scan a trunk with things in it and search it."""
    base = trunk(levels, level_hu or CEMENT_HU)
    ct = scan(base, things, ceiling_hu)
    return find_distant_cement(ct, base.spine, spinal_cement(ct, base, level_hu))
