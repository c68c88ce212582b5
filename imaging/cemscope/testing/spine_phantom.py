"""Light analytic spines from the sacrum to the ribs, for tests of the vertebra finder.

Bodies with a waist and bright endplates, discs, pedicles, arches, processes, ribs, a
sacrum with alae, muscle and fat: no scanner physics but blur and noise. Every shape
is a signed distance in a vertebra's own axes, so that any pose, grid or field of view
of one patient can be made. It takes a second.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import CRANIOCAUDAL_ORDER, VertebraLevel
from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.segmentation.ct_grid import Box, box_corners, voxel_box
from cemscope.spine import VertebraFrame
from cemscope.volume import CTVolume, LabelArray, LabelMap

HUField = npt.NDArray[np.float32]
Point = tuple[float, float, float]

_AIR, _FAT, _MUSCLE, _DISC, _CANAL, _CORTEX = -1000.0, -100.0, 55.0, 85.0, 25.0, 650.0
_SHELL_MM = 1.6


@dataclass(frozen=True, slots=True)
class PatientShape:
    """A patient's spine.

    Attributes
    ----------
    levels : tuple of str
        From the lowest to the highest, e.g. ("S1", "L5", ..., "T11").
    scoliosis_mm : float
        Sideways bow of the spine over 200 mm.
    lordosis_mm : float
        Forward bow over 200 mm.
    collapsed : str or None
        Level whose body has lost height in front.
    collapse : float
        Share of the front height that it lost.
    marrow_hu : float
        Spongy bone; about 60 in osteoporosis.
    ribs_on : tuple of str
        Levels that carry ribs.
    sacral_tilt_deg : float
        Tilt of the sacral endplate against the spine's lower end.
    screws_on : tuple of str
        Levels with metal screws through both pedicles.
    size : float
        Scale of everything against a middle-sized adult.
    """

    levels: tuple[str, ...] = ("S1", "L5", "L4", "L3", "L2", "L1", "T12", "T11")
    scoliosis_mm: float = 0.0
    lordosis_mm: float = 12.0
    collapsed: str | None = None
    collapse: float = 0.4
    marrow_hu: float = 130.0
    ribs_on: tuple[str, ...] = tuple(f"T{k}" for k in range(1, 13))
    sacral_tilt_deg: float = 30.0
    screws_on: tuple[str, ...] = ()
    size: float = 1.0


@dataclass(frozen=True, slots=True)
class PhantomScan:
    """How the patient is scanned.

    Attributes
    ----------
    spacing_mm : tuple of float
        Along (slice, row, column).
    directions_lps : tuple or None
        Axis directions of the array; None for an axial scan from feet to head.
    low_lps_mm, high_lps_mm : tuple of float
        Field of view; the origin is the middle of the lowest body.
    noise_hu : float
        Standard deviation of the noise.
    seed : int
        Of the noise.
    """

    spacing_mm: Point = (1.5, 1.0, 1.0)
    directions_lps: tuple[Point, Point, Point] | None = None
    low_lps_mm: Point = (-90.0, -75.0, -22.0)
    high_lps_mm: Point = (90.0, 85.0, 230.0)
    noise_hu: float = 15.0
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class SpinePhantom:
    """A scan with its truth.

    Attributes
    ----------
    ct : CTVolume
        What the finder is given.
    truth : LabelMap
        Bodies under their level's number.
    frames : tuple of VertebraFrame
        True axes, as ``levels``.
    levels : tuple of VertebraLevel
        From the lowest to the highest.
    """

    ct: CTVolume
    truth: LabelMap
    frames: tuple[VertebraFrame, ...]
    levels: tuple[VertebraLevel, ...]


def spine_phantom(
    shape: PatientShape | None = None, scan: PhantomScan | None = None
) -> SpinePhantom:
    """Paint a patient and scan it."""
    shape, scan = shape or PatientShape(), scan or PhantomScan()
    geometry = _geometry(scan)
    levels = tuple(VertebraLevel(name) for name in shape.levels)
    sizes = [_body_size(level.name, shape) for level in levels]
    frames = _frames(shape, sizes)
    canvas = _Canvas(
        _trunk(geometry), np.zeros(geometry.shape, np.uint8), geometry, shape
    )
    for paint in (_paint_disc, _paint_vertebra):
        for level, size, frame in zip(levels, sizes, frames, strict=True):
            paint(canvas, _Bone(level, size, frame))
    hu, labels = canvas.hu, canvas.labels
    hu = ndimage.gaussian_filter(hu, 0.6 / np.asarray(scan.spacing_mm))
    noise = np.random.default_rng(scan.seed).standard_normal(hu.shape, np.float32)
    hu += scan.noise_hu * ndimage.gaussian_filter(noise, 0.6) * 3.0
    ct = CTVolume(np.clip(np.rint(hu), -1024, 3071).astype(np.int16), geometry)
    names = {level.number: level.name for level in levels}
    return SpinePhantom(ct, LabelMap(labels, geometry, names), frames, levels)


@dataclass(frozen=True, slots=True, eq=False)
class _Canvas:
    hu: HUField
    labels: LabelArray
    geometry: VoxelGeometry
    shape: PatientShape


@dataclass(frozen=True, slots=True, eq=False)
class _Bone:
    level: VertebraLevel
    size: Point
    frame: VertebraFrame


def _geometry(scan: PhantomScan) -> VoxelGeometry:
    directions = np.array(scan.directions_lps or ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    low, high = np.array(scan.low_lps_mm), np.array(scan.high_lps_mm)
    centre, extent = (low + high) / 2, high - low
    along = np.abs(directions) @ extent
    count = np.maximum(np.floor(along / scan.spacing_mm), 1).astype(int)
    steps = directions * np.asarray(scan.spacing_mm)[:, None]
    origin = centre - (count - 1) / 2 @ steps
    return VoxelGeometry.from_axes(
        (int(count[0]), int(count[1]), int(count[2])),
        scan.spacing_mm,
        tuple(origin),
        directions,
    )


def _body_size(name: str, shape: PatientShape) -> Point:
    """Half width, half depth and half height of a body, mm."""
    from_l5 = CRANIOCAUDAL_ORDER.index("L5") - CRANIOCAUDAL_ORDER.index(name)
    thin = max(from_l5, 0)
    scale = shape.size
    return (
        scale * max(25.0 - 0.9 * thin, 14.0),
        scale * max(17.5 - 0.35 * thin, 11.0),
        scale * max(13.8 - 0.25 * thin, 9.0),
    )


def _frames(shape: PatientShape, sizes: list[Point]) -> tuple[VertebraFrame, ...]:
    """Stack the bodies along a curve with discs of 9 mm."""
    height, heights = 0.0, []
    for k, size in enumerate(sizes):
        if k:
            height += sizes[k - 1][2] + size[2] + 9.0 * shape.size
        heights.append(height)
    z = np.array(heights)
    span = 200.0 * shape.size

    def curve(at: FloatArray) -> FloatArray:
        side = shape.scoliosis_mm * np.sin(np.pi * at / span)
        front = -shape.lordosis_mm * np.sin(np.pi * at / span)
        points: FloatArray = np.stack([side, front, at], axis=-1)
        return points

    frames = []
    for k, at in enumerate(z):
        superior = curve(np.array(at + 1.0)) - curve(np.array(at - 1.0))
        origin = curve(np.array(at))
        if shape.levels[k] == "S1":
            tilt = np.radians(shape.sacral_tilt_deg)
            superior = superior / np.linalg.norm(superior)
            superior = superior * np.cos(tilt) + np.array([0, -np.sin(tilt), 0])
            origin = origin + np.array([0.0, 7.0 * shape.size, -2.0])
        superior = superior / np.linalg.norm(superior)
        back = np.array([0.0, 1.0, 0.0])
        posterior = back - (back @ superior) * superior
        posterior /= np.linalg.norm(posterior)
        left = np.cross(posterior, superior)
        frames.append(VertebraFrame(origin, left, posterior, superior))
    return tuple(frames)


def _points(geometry: VoxelGeometry) -> FloatArray:
    axes = [np.arange(n) for n in geometry.shape]
    return geometry.index_to_lps(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))


def _trunk(geometry: VoxelGeometry) -> HUField:
    points = _points(geometry)
    x, y = points[..., 0] / 160.0, (points[..., 1] + 10.0) / 105.0
    radius = np.hypot(x, y)
    hu = np.full(geometry.shape, _MUSCLE, np.float32)
    hu[radius > 0.86] = _FAT
    # Fat between the organs in front of the psoas.
    hu[(points[..., 1] < -28.0) & (np.sin(points[..., 0] / 9.0) > 0.3)] = _FAT
    hu[radius > 1.0] = _AIR
    return hu


def _mix(hu: HUField, distance: FloatArray, value: float | FloatArray) -> None:
    """Put a material where a signed distance is negative, with soft borders (1 mm)."""
    share = np.clip(0.5 - distance, 0.0, 1.0)
    hu += (share * (value - hu)).astype(np.float32)


def _bone(hu: HUField, distance: FloatArray, marrow_hu: float) -> None:
    _mix(hu, distance, _CORTEX)
    _mix(hu, distance + _SHELL_MM, marrow_hu)


def _part(
    canvas: _Canvas, frame: VertebraFrame, low: Point, high: Point
) -> tuple[Box, FloatArray] | None:
    """Box of voxels round a part of a vertebra's own space, and local coordinates."""
    centre, half = (np.add(low, high)) / 2, (np.subtract(high, low)) / 2 + 2.0
    axes = np.array([frame.left, frame.posterior, frame.superior])
    box = voxel_box(canvas.geometry, box_corners(frame.to_lps_mm(centre), axes, half))
    if box is None:
        return None
    return box, frame.to_local_mm(_points(canvas.geometry.crop(box)))


def _body(local: FloatArray, bone: _Bone, shape: PatientShape) -> FloatArray:
    """Signed distance (about) to the closed body."""
    x, y, z = np.moveaxis(local, -1, 0)
    half_x, half_y, half_z = bone.size
    top = np.full_like(z, half_z)
    if bone.level.name == shape.collapsed:
        front = np.clip((half_y - y) / (2 * half_y), 0.0, 1.0)
        top = half_z * (1.0 - 2.0 * shape.collapse * front)
    waist = 1.0 - 0.1 * (1.0 - np.clip(np.abs(z) / half_z, 0, 1) ** 2)
    # Rounded in front, flat at the canal.
    flat = np.where(y > 0, 4.0, 2.2)
    across = np.abs(x / (half_x * waist)) ** flat
    radius = (across + np.abs(y / (half_y * waist)) ** flat) ** (1.0 / flat)
    wall: FloatArray = (radius - 1.0) * half_y
    depth: FloatArray = np.maximum(wall, np.maximum(z - top, -half_z - z))
    return depth


def _paint_disc(canvas: _Canvas, bone: _Bone) -> None:
    half_x, half_y, half_z = bone.size
    gap = 9.0 * canvas.shape.size
    if bone.level.name == canvas.shape.levels[-1]:
        return
    low, high = (-half_x, -half_y, half_z - gap), (half_x, half_y, half_z + gap)
    part = _part(canvas, bone.frame, low, high)
    if part is None:
        return
    box, local = part
    x, y, z = np.moveaxis(local, -1, 0)
    wall = (np.hypot(x / half_x, y / half_y) - 1.0) * half_y
    _mix(canvas.hu[box], np.maximum(wall, np.abs(z - half_z) - gap), _DISC)


def _paint_rod(
    canvas: _Canvas,
    bone: _Bone,
    ends: tuple[Point, Point],
    radius: float,
    metal_hu: float | None = None,
) -> None:
    """Round bar of bone (or metal) between two local points."""
    low = tuple(np.minimum(*ends) - radius)
    high = tuple(np.maximum(*ends) + radius)
    part = _part(canvas, bone.frame, low, high)
    if part is None:
        return
    box, local = part
    start, line = np.array(ends[0]), np.subtract(ends[1], ends[0])
    along = np.clip((local - start) @ line / (line @ line), 0.0, 1.0)
    distance = np.linalg.norm(local - start - along[..., None] * line, axis=-1) - radius
    if metal_hu is None:
        _bone(canvas.hu[box], distance, 300.0)
    else:
        _mix(canvas.hu[box], distance, metal_hu)


def _paint_vertebra(canvas: _Canvas, bone: _Bone) -> None:
    half_x, half_y, half_z = bone.size
    s, name = canvas.shape.size, bone.level.name
    ring, canal_y, lift = 15.0 * s, half_y + 9.0 * s, 0.45 * half_z
    for side in (-1.0, 1.0):
        x, y = side * ring, canal_y + 8 * s
        bars = [
            ((x, half_y - 4.0 * s, lift), (x, y, lift), 5.0 * s),
            (
                (x, y, half_z + 4.0 * s),
                (x - side * 3 * s, y + 3 * s, -half_z - 2.0 * s),
                5.0 * s,
            ),
            ((x, y, -4.0 * s), (0.0, canal_y + 15 * s, -4.0 * s), 4.5 * s),
        ]
        if name in canvas.shape.ribs_on:
            neck = (side * (half_x - 1.0), half_y - 2.0 * s, lift)
            angle = (side * 46.0 * s, canal_y + 22 * s, lift - 12 * s)
            end = (side * 84.0 * s, canal_y + 14 * s, lift - 36 * s)
            bars += [(neck, angle, 4.5 * s), (angle, end, 4.5 * s)]
        elif name != "S1":
            tip = (side * (half_x + 18.0 * s), canal_y + 10 * s, lift)
            bars.append(((x, y, lift), tip, 4.0 * s))
        for start, end, radius in bars:
            _paint_rod(canvas, bone, (start, end), radius)
        if name == "S1":
            _paint_ala(canvas, bone, side)
    root = (0.0, canal_y + 14 * s, -4.0 * s)
    _paint_rod(canvas, bone, (root, (0.0, canal_y + 38 * s, -9.0 * s)), 4.0 * s)
    _paint_canal_and_body(canvas, bone, canal_y)
    if name in canvas.shape.screws_on:
        for side in (-1.0, 1.0):
            tip = (side * 9.0 * s, -0.4 * half_y, 0.5 * lift)
            head = (side * (ring + 5 * s), canal_y + 22 * s, lift)
            _paint_rod(canvas, bone, (tip, head), 3.0, metal_hu=9000.0)


def _paint_canal_and_body(canvas: _Canvas, bone: _Bone, canal_y: float) -> None:
    half_x, half_y, half_z = bone.size
    s = canvas.shape.size
    low, high = (-half_x, -half_y, -half_z - 6), (half_x, canal_y + 12, half_z + 6)
    part = _part(canvas, bone.frame, low, high)
    if part is None:
        return
    box, local = part
    x, y, z = np.moveaxis(local, -1, 0)
    tube = np.hypot(x / 1.35, y - canal_y) - 8.0 * s
    _mix(canvas.hu[box], np.maximum(tube, np.abs(z) - half_z - 5.0 * s), _CANAL)
    body = _body(local, bone, canvas.shape)
    _bone(canvas.hu[box], body, canvas.shape.marrow_hu)
    labels = canvas.labels[box]
    labels[(body < 0.0) & (labels == 0)] = bone.level.number


def _paint_ala(canvas: _Canvas, bone: _Bone, side: float) -> None:
    """Lateral mass of the sacrum, as deep as the body, with old marrow."""
    half_x, half_y, half_z = bone.size
    reach = (half_x + 30.0, half_y + 5.0, half_z + 10.0)
    part = _part(canvas, bone.frame, tuple(np.negative(reach)), reach)
    if part is None:
        return
    box, local = part
    x, y, z = np.moveaxis(local, -1, 0)
    beside = np.maximum(side * x - (half_x + 30.0), half_x - 6.0 - side * x)
    mass = np.maximum(
        beside, np.maximum(np.abs(y - 4.0) - half_y, np.abs(z + 4.0) - half_z - 4.0)
    )
    _bone(canvas.hu[box], mass, 0.3 * canvas.shape.marrow_hu)
