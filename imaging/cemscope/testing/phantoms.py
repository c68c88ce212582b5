"""Fast analytic phantoms: vertebrae, cement and metal with exact truth.

No scanner physics beyond a Gaussian point-spread function, noise, clipping and a simple
streak pattern: for that see the simulated scanner. These phantoms take a fraction of
a second, so that unit tests can vary anatomy, contrast, grid and implants.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.geometry import VoxelGeometry
from cemscope.materials import CLIP_CEILING_12_BIT_HU, SOFT_TISSUE_HU
from cemscope.spine import Spine, Vertebra, VertebraFrame, VertebraSource
from cemscope.testing.phantom_shapes import (
    Cylinder,
    Ellipsoid,
    EllipticDisc,
    Point,
    Solid,
)
from cemscope.volume import CTVolume, LabelMap, Mask

SUPERSAMPLING = 4
"""Sub-voxels per axis in the partial-volume fractions (64 per voxel)."""

_FWHM_PER_SIGMA = 2.3548


@dataclass(frozen=True, slots=True)
class Scanner:
    """Image formation of the phantom.

    Attributes
    ----------
    spacing_mm
        Voxel size along (slice, row, column).
    psf_fwhm_mm
        Gaussian blur in LPS z, y, x.
    noise_hu
        Standard deviation of independent voxel noise.
    clip_hu
        Ceiling of the scale; None for an extended scale.
    streak_hu
        Depth of the dark bands left and right of metal (0: none).
    directions_lps
        Axis directions of the grid; None for an axial scan.
    """

    spacing_mm: Point = (1.0, 0.7, 0.7)
    psf_fwhm_mm: Point = (1.2, 1.1, 1.1)
    noise_hu: float = 20.0
    clip_hu: int | None = CLIP_CEILING_12_BIT_HU
    streak_hu: float = 0.0
    directions_lps: npt.ArrayLike | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Contrast:
    """HU of the phantom's materials."""

    marrow_hu: float = 110.0
    cortex_hu: float = 750.0
    cement_hu: float = 2600.0
    metal_hu: float = 8000.0


@dataclass(frozen=True, slots=True)
class Implant:
    """A piece of cement or metal; later ones replace earlier ones.

    Attributes
    ----------
    level
        Vertebra that a piece of cement counts for; empty for metal.
    hu
        Own HU; None for that of the phantom's contrast.
    """

    solid: Solid
    is_metal: bool = False
    level: str = ""
    hu: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A scan, its vertebrae and the truth.

    Attributes
    ----------
    ct, spine
        What an algorithm is given.
    cement_fraction, metal_fraction : ndarray of float32
        Share of each voxel.
    cement_ml : dict of str to float
        True volume per level.
    """

    ct: CTVolume
    spine: Spine
    cement_fraction: npt.NDArray[np.float32]
    metal_fraction: npt.NDArray[np.float32]
    cement_ml: dict[str, float] = field(default_factory=dict)


BODY_SEMI_AXES_MM: Point = (23.0, 16.0, 13.0)
LEVEL_PITCH_MM = 36.0
PEDICLE_OFFSET_MM = 13.0


def body_centre_mm(index: int) -> Point:
    """Centre of the index-th body of a phantom, counted from the lowest."""
    return (0.0, 0.0, index * LEVEL_PITCH_MM)


def pedicle_screw(
    index: int,
    side: int,
    radius_mm: float = 3.0,
    tip_mm: float = 30.0,
    convergence_deg: float = 12.0,
) -> tuple[Implant, ...]:
    """Shaft and head of a screw; ``side`` is +1 for the patient's left.

    ``tip_mm`` is the length of the shaft in front of the pedicle's entrance.
    """
    shaft = screw_axis(index, side, tip_mm, convergence_deg)
    head = Ellipsoid(shaft[0], (6.5, 6.5, 6.5))
    return (
        Implant(Cylinder(shaft[0], shaft[1], radius_mm), is_metal=True),
        Implant(head, is_metal=True),
    )


def screw_axis(
    index: int, side: int, tip_mm: float = 30.0, convergence_deg: float = 12.0
) -> tuple[Point, Point]:
    """Head centre and tip of `pedicle_screw`."""
    x, y, z = body_centre_mm(index)
    angle = np.deg2rad(convergence_deg)
    direction = np.array([-side * np.sin(angle), -np.cos(angle), 0.0])
    pedicle = np.array([x + side * PEDICLE_OFFSET_MM, y + 22.0, z + 4.0])
    head, tip = pedicle - 20.0 * direction, pedicle + tip_mm * direction
    return tuple(map(float, head)), tuple(map(float, tip))  # type: ignore[return-value]  # map loses the length


def rod(side: int, first: int, last: int) -> Implant:
    """Place a rod behind the spine that joins the heads of one side."""
    lower, _ = screw_axis(first, side)
    upper, _ = screw_axis(last, side)
    return Implant(
        Cylinder(
            (lower[0], lower[1] + 4.0, lower[2] - 8.0),
            (upper[0], upper[1] + 4.0, upper[2] + 8.0),
            2.75,
        ),
        is_metal=True,
    )


def build_phantom(
    levels: tuple[str, ...],
    implants: tuple[Implant, ...] = (),
    scanner: Scanner = Scanner(),
    contrast: Contrast = Contrast(),
) -> Phantom:
    """Build vertebrae from the lowest level upwards, with implants.

    Parameters
    ----------
    levels
        Names from the lowest to the highest.
    implants
        Cement and metal; metal replaces cement where both claim a place.
    """
    geometry = _geometry(len(levels), scanner)
    hu = np.full(geometry.shape, SOFT_TISSUE_HU, np.float32)
    labels = np.zeros(geometry.shape, np.uint8)
    canal = np.zeros(geometry.shape, np.bool_)
    vertebrae = []
    for index, name in enumerate(levels):
        vertebrae.append(
            _paint_vertebra(hu, labels, canal, geometry, index, name, contrast)
        )
    cement = {name: np.zeros(geometry.shape, np.float32) for name in levels}
    cement[""] = np.zeros(geometry.shape, np.float32)
    metal = np.zeros(geometry.shape, np.float32)
    for implant in sorted(implants, key=lambda item: item.is_metal):
        box, part = _fractions(geometry, implant.solid)
        default = contrast.metal_hu if implant.is_metal else contrast.cement_hu
        value = default if implant.hu is None else implant.hu
        hu[box] = hu[box] * (1 - part) + value * part
        for fractions in (metal, *cement.values()):
            fractions[box] *= 1 - part
        (metal if implant.is_metal else cement[implant.level])[box] += part
    ct = CTVolume(
        _expose(hu, metal, geometry, scanner), geometry, clipped_at_hu=scanner.clip_hu
    )
    ml = geometry.voxel_volume_mm3 / 1000.0
    total = np.zeros(geometry.shape, np.float32)
    for fractions in cement.values():
        total += fractions
    spine = Spine(LabelMap(labels, geometry), tuple(vertebrae), Mask(canal, geometry))
    volumes = {name: float(part.sum(dtype=float)) * ml for name, part in cement.items()}
    return Phantom(ct, spine, total, metal, volumes)


def _geometry(levels: int, scanner: Scanner) -> VoxelGeometry:
    directions = np.array(
        scanner.directions_lps
        if scanner.directions_lps is not None
        else ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
        dtype=float,
    )
    lower = np.array([-48.0, -38.0, -26.0])
    upper = np.array([48.0, 62.0, (levels - 1) * LEVEL_PITCH_MM + 26.0])
    corners = np.array(np.meshgrid(*zip(lower, upper, strict=True))).reshape(3, -1).T
    projected = corners @ directions.T
    spacing = np.array(scanner.spacing_mm)
    extent = np.ceil(np.ptp(projected, axis=0) / spacing).astype(int) + 1
    origin = projected.min(axis=0) @ np.linalg.inv(directions).T
    shape = (int(extent[0]), int(extent[1]), int(extent[2]))
    return VoxelGeometry.from_axes(
        shape, scanner.spacing_mm, tuple(origin), directions, "1.2.3.4"
    )


def _paint_vertebra(
    hu: npt.NDArray[np.float32],
    labels: npt.NDArray[np.uint8],
    canal: npt.NDArray[np.bool_],
    geometry: VoxelGeometry,
    index: int,
    name: str,
    contrast: Contrast,
) -> Vertebra:
    level = VertebraLevel(name)
    x, y, z = body_centre_mm(index)
    a, b, c = BODY_SEMI_AXES_MM
    arch: list[tuple[Solid, Solid]] = []
    for side in (-1.0, 1.0):
        px = x + side * PEDICLE_OFFSET_MM
        back, front = (px + side * 3, y + 36.0, z + 4.0), (px, y + 8.0, z + 4.0)
        arch.append((Cylinder(back, front, 6.0), Cylinder(back, front, 4.6)))
        lamina = (x, y + 40.0, z + 2.0)
        arch.append((Cylinder(back, lamina, 6.0), Cylinder(back, lamina, 4.5)))
    body = EllipticDisc((x, y, z), (a, b, c))
    shell_mm = 1.2
    core = EllipticDisc((x, y, z), (a - shell_mm, b - shell_mm, c - shell_mm))
    for outer, _ in arch:
        _blend(hu, geometry, outer, contrast.cortex_hu)
        _write(labels, geometry, outer, level.arch_number)
    _blend(hu, geometry, body, contrast.cortex_hu)
    for _, inner in arch:
        _blend(hu, geometry, inner, contrast.marrow_hu)
    _blend(hu, geometry, core, contrast.marrow_hu)
    _write(labels, geometry, body, level.number)
    tube = Cylinder((x, y + 26.0, z - 18.0), (x, y + 26.0, z + 18.0), 7.5)
    _blend(hu, geometry, tube, 20.0)
    box, part = _fractions(geometry, tube)
    canal[box] |= part > 0.5
    labels[box][part > 0.5] = 0
    frame = VertebraFrame(
        np.array([x, y, z]),
        np.array([1.0, 0, 0]),
        np.array([0, 1.0, 0]),
        np.array([0, 0, 1.0]),
    )
    volume_ml = float((labels == level.number).sum()) * geometry.voxel_volume_mm3 / 1e3
    return Vertebra(level, 1.0, VertebraSource.IMPORTED, True, frame, volume_ml)


def _fractions(
    geometry: VoxelGeometry, solid: Solid
) -> tuple[tuple[slice, slice, slice], npt.NDArray[np.float32]]:
    """Share of each voxel inside a solid, on the solid's box of the grid."""
    lower, upper = solid.bounds_mm()
    corners = np.array(np.meshgrid(*zip(lower, upper, strict=True))).reshape(3, -1).T
    index = geometry.lps_to_index(corners)
    shape = np.array(geometry.shape)
    start = np.clip(np.floor(index.min(0)).astype(int), 0, shape)
    stop = np.clip(np.ceil(index.max(0)).astype(int) + 1, start, shape)
    box = (slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2]))
    if np.any(stop <= start):
        return box, np.zeros(tuple(stop - start), np.float32)
    grid = np.stack(np.meshgrid(*map(np.arange, start, stop), indexing="ij"), -1)
    centre_inside = solid.contains(geometry.index_to_lps(grid))
    part = centre_inside.astype(np.float32)
    # Only voxels with a neighbour on the other side need sub-voxels; the shapes are
    # convex and wider than a voxel, so no sub-voxel hides from all 27 centres.
    near = np.ones((3, 3, 3), np.bool_)
    border = ndimage.binary_dilation(centre_inside, near)
    border &= ~ndimage.binary_erosion(centre_inside, near, border_value=1)
    steps = (np.arange(SUPERSAMPLING) + 0.5) / SUPERSAMPLING - 0.5
    offsets = np.array(np.meshgrid(steps, steps, steps)).reshape(3, -1).T
    points = grid[border]
    part[border] = np.mean(
        [solid.contains(geometry.index_to_lps(points + shift)) for shift in offsets],
        axis=0,
        dtype=np.float32,
    )
    return box, part


def _blend(
    hu: npt.NDArray[np.float32], geometry: VoxelGeometry, solid: Solid, value: float
) -> None:
    box, part = _fractions(geometry, solid)
    hu[box] = hu[box] * (1 - part) + value * part


def _write(
    labels: npt.NDArray[np.uint8], geometry: VoxelGeometry, solid: Solid, number: int
) -> None:
    box, part = _fractions(geometry, solid)
    labels[box][part > 0.5] = number


def _expose(
    hu: npt.NDArray[np.float32],
    metal: npt.NDArray[np.float32],
    geometry: VoxelGeometry,
    scanner: Scanner,
) -> npt.NDArray[np.int16]:
    # The blur is given in LPS; on an oblique grid its mean width serves every axis.
    if scanner.directions_lps is None:
        fwhm = np.array(scanner.psf_fwhm_mm)
    else:
        fwhm = np.full(3, float(np.mean(scanner.psf_fwhm_mm)))
    sigma = fwhm / _FWHM_PER_SIGMA / np.array(geometry.spacing_mm)
    image = ndimage.gaussian_filter(hu, sigma)
    if scanner.streak_hu > 0 and metal.any():
        # Dark along the rows, bright along the columns, as beam hardening and photon
        # starvation leave it around an elongated cross-section.
        rows = ndimage.gaussian_filter(metal, (0.5, 2.0, 12.0))
        columns = ndimage.gaussian_filter(metal, (0.5, 12.0, 2.0))
        scale = scanner.streak_hu / max(float(rows.max()), 1e-6)
        image += scale * (0.5 * columns - rows) * (1 - np.clip(metal * 2, 0, 1))
    rng = np.random.default_rng(scanner.seed)
    image += rng.normal(0.0, scanner.noise_hu, image.shape).astype(np.float32)
    ceiling = 32767 if scanner.clip_hu is None else scanner.clip_hu
    exposed: npt.NDArray[np.int16] = np.clip(np.round(image), -1024, ceiling).astype(
        np.int16
    )
    return exposed
