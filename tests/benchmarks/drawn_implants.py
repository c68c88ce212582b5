"""Implants drawn into a real scan: scenes that share nothing with `cemscope.testing`.

The scan's own bone, fat, vessels and noise stay. Cement and metal are sampled as shapes
(27 points per voxel), blurred by a Gaussian, and streaks are added per slice from the
sinogram of the metal. Real anatomy and another simulator, so that a method that learnt
the product's own phantoms by heart is found out. The reference outlines of the scan
tell where bodies and pedicles lie; the measurement does not see them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage
from skimage.transform import iradon, radon

from cemscope.geometry import VoxelGeometry
from cemscope.volume import Acquisition, CTVolume

FloatArray = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Inside = Callable[[FloatArray], npt.NDArray[np.bool_]]

LEVELS = ((27, "L5"), (28, "L4"), (29, "L3"), (30, "L2"), (31, "L1"))
"""Numbers of the reference labels (TotalSegmentator)."""

ROW_MM = 0.7
SAMPLES = 3
CEILING_HU = 3071
MM3_PER_ML = 1000.0


@dataclass(frozen=True, slots=True)
class DrawnScrew:
    """A screw: the centre of its head, its tip, its outer diameter."""

    level: str
    left: bool
    head_mm: FloatArray
    tip_mm: FloatArray
    diameter_mm: float


@dataclass(frozen=True, slots=True)
class DrawnCement:
    """Cement of one vertebra; ``leak`` is B, S or empty."""

    level: str
    volume_ml: float
    centre_mm: FloatArray
    screwed: bool
    leak: str
    leaked_ml: float


@dataclass(frozen=True, slots=True, eq=False)
class DrawnScene:
    """A scan with implants, and the truth."""

    ct: CTVolume
    cement: tuple[DrawnCement, ...]
    screws: tuple[DrawnScrew, ...]
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """A grid along the table's axes with the real scan and its reference labels."""

    origin_mm: FloatArray
    spacing_mm: FloatArray
    """x, y, z."""
    hu: Image
    vertebrae: npt.NDArray[np.uint8]
    bodies: npt.NDArray[np.uint8]

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_mm)) / MM3_PER_ML

    def points(self, index: npt.ArrayLike) -> FloatArray:
        found: FloatArray = (
            self.origin_mm + np.asarray(index, float)[..., ::-1] * self.spacing_mm
        )
        return found

    def paint(self, target: Image, inside: Inside, ends: FloatArray) -> None:
        """Add a shape's share of each voxel; ``ends`` are two corners of its box."""
        low = np.floor((ends.min(0) - self.origin_mm) / self.spacing_mm)[::-1] - 2
        high = np.ceil((ends.max(0) - self.origin_mm) / self.spacing_mm)[::-1] + 3
        shape = np.array(target.shape)
        low, high = np.clip(low, 0, shape), np.clip(high, 0, shape)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        grid = np.stack(np.mgrid[box], axis=-1).astype(float)
        share = np.zeros(grid.shape[:3], np.float32)
        offsets = (np.arange(SAMPLES) - (SAMPLES - 1) / 2) / SAMPLES
        for shift in np.stack(np.meshgrid(*[offsets] * 3), -1).reshape(-1, 3):
            share += inside(self.points(grid + shift))
        target[box] = np.maximum(target[box], share / SAMPLES**3)


def rod_shape(
    first: FloatArray, last: FloatArray, radius_mm: float, cone_mm: float = 0.0
) -> tuple[Inside, FloatArray]:
    """Make a cylinder; with a cone at its end it has a thread of 2 mm pitch."""
    axis = last - first
    length = float(np.linalg.norm(axis))
    axis = axis / length

    def inside(points: FloatArray) -> npt.NDArray[np.bool_]:
        along = (points - first) @ axis
        off = np.linalg.norm(points - first - along[..., None] * axis, axis=-1)
        radius = np.full_like(along, radius_mm)
        if cone_mm > 0.0:
            radius = np.minimum(radius, radius_mm * (length - along) / cone_mm + 0.3)
            radius -= 0.35 * (np.mod(along / 2.0, 1.0) < 0.5)
        found: npt.NDArray[np.bool_] = (
            (along >= 0) & (along <= length) & (off <= radius)
        )
        return found

    margin = radius_mm + 1.0
    corners = np.array([np.minimum(first, last) - margin])
    return inside, np.vstack([corners, np.maximum(first, last) + margin])


def ball_shape(
    centre: FloatArray, radii_mm: FloatArray | float
) -> tuple[Inside, FloatArray]:
    """Make an ellipsoid."""
    radii = np.broadcast_to(np.asarray(radii_mm, float), (3,))

    def inside(points: FloatArray) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = (((points - centre) / radii) ** 2).sum(-1) <= 1.0
        return found

    return inside, np.array([centre - radii - 1.0, centre + radii + 1.0])


def load_canvas(folder: Path, slice_mm: float) -> Canvas:
    """Resample the lumbar part of the real scan and its reference labels."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder / "dicom")))
    scan = reader.Execute()
    names = ("vertebrae.nii.gz", "vertebral_bodies.nii.gz")
    labels, bodies = (sitk.ReadImage(str(folder / name)) for name in names)
    held = np.argwhere(np.isin(sitk.GetArrayFromImage(labels), range(26, 32)))[::50]
    at = np.array(
        [labels.TransformIndexToPhysicalPoint([int(v) for v in k[::-1]]) for k in held]
    )
    low, high = at.min(axis=0), at.max(axis=0)
    half = np.array([85.0, 85.0, (high[2] - low[2]) / 2.0 + 4.0])
    spacing = np.array([ROW_MM, ROW_MM, slice_mm])
    grid = sitk.Image([int(n) for n in 2.0 * half / spacing], sitk.sitkFloat32)
    grid.SetSpacing([float(v) for v in spacing])
    grid.SetOrigin([float(v) for v in (low + high) / 2.0 + [0.0, 0.0, 10.0] - half])

    def on_grid(image: sitk.Image, how: int, default: float) -> npt.NDArray[np.float32]:
        moved = sitk.Resample(
            image, grid, sitk.Transform(), how, default, sitk.sitkFloat32
        )
        found: npt.NDArray[np.float32] = sitk.GetArrayFromImage(moved)
        return found

    return Canvas(
        np.array(grid.GetOrigin()),
        spacing,
        on_grid(scan, sitk.sitkBSpline, -1024.0),
        on_grid(labels, sitk.sitkNearestNeighbor, 0.0).astype(np.uint8),
        on_grid(bodies, sitk.sitkNearestNeighbor, 0.0).astype(np.uint8),
    )


def draw_screws(
    canvas: Canvas, level: tuple[int, str], metal: Image, rng: np.random.Generator
) -> tuple[DrawnScrew, ...]:
    """Place two screws through the pedicles of a vertebra."""
    number, name = level
    bone = canvas.vertebrae == number
    body = canvas.points(np.argwhere(bone & (canvas.bodies == 1)))
    arch = canvas.points(np.argwhere(bone & (canvas.bodies != 1)))
    centre = body.mean(axis=0)
    back, front = np.percentile(body[:, 1], (97, 3))
    screws = []
    for side in (-1.0, 1.0):
        near = (np.sign(arch[:, 0] - centre[0]) == side) & (arch[:, 1] < back + 7.0)
        near &= (np.abs(arch[:, 0] - centre[0]) > 9.0) & (arch[:, 1] > back - 3.0)
        pedicle = arch[near & (arch[:, 2] > centre[2] - 4.0)].mean(axis=0)
        turn = np.deg2rad(rng.uniform(8.0, 20.0))
        axis = np.array([-side * np.sin(turn), -np.cos(turn), rng.uniform(-0.08, 0.08)])
        axis /= np.linalg.norm(axis)
        depth = (pedicle[1] - front - rng.uniform(3.0, 10.0)) / -axis[1]
        tip = pedicle + depth * axis
        start = tip - axis * rng.choice([40.0, 45.0, 50.0])
        radius = float(rng.choice([2.75, 3.0, 3.25, 3.5]))
        head = start - 5.0 * axis
        canvas.paint(metal, *rod_shape(start, tip, radius, 6.0))
        canvas.paint(metal, *ball_shape(head, 6.3))
        screws.append(DrawnScrew(name, side > 0.0, head, tip, 2.0 * radius))
    return tuple(screws)


def draw_cement(
    canvas: Canvas,
    level: tuple[int, str],
    metal: Image,
    screws: tuple[DrawnScrew, ...],
    rng: np.random.Generator,
) -> tuple[DrawnCement, Image]:
    """Fill a body with balls around the tips (or its centre), and perhaps a leak."""
    number, name = level
    body = (canvas.vertebrae == number) & (canvas.bodies == 1)
    points = canvas.points(np.argwhere(body))
    centre = points.mean(axis=0)
    depth_mm = ndimage.distance_transform_edt(body, sampling=canvas.spacing_mm[::-1])
    room = ndimage.gaussian_filter((depth_mm > 1.5).astype(np.float32), 0.5)
    goal_ml = rng.uniform(1.5, 4.0)
    seeds = [screw.tip_mm for screw in screws] or [centre]
    drawn, balls = np.zeros(canvas.hu.shape, np.float32), []
    while len(balls) < 12 and drawn.sum() * canvas.voxel_ml < goal_ml:
        at = seeds[len(balls) % len(seeds)] + rng.normal(0.0, 3.5, 3)
        index = np.rint((at - canvas.origin_mm) / canvas.spacing_mm)[::-1].astype(int)
        if depth_mm[tuple(index)] > 4.0:
            balls.append(at)
            shape = ball_shape(at, rng.uniform(4.0, 7.5, 3))
            canvas.paint(drawn, *shape)
            drawn = np.minimum(drawn * room, 1.0 - metal)
    leak = str(rng.choice(["", "B", "S"]))
    if leak:
        pipe = np.zeros(canvas.hu.shape, np.float32)
        for first, last, radius in _leak_course(points, centre, balls[0], leak, rng):
            canvas.paint(pipe, *rod_shape(first, last, radius))
        drawn = np.maximum(drawn, np.minimum(pipe, 1.0 - metal))
    outside = drawn * ~ndimage.binary_closing(body, iterations=3)
    truth = DrawnCement(
        name,
        float(drawn.sum()) * canvas.voxel_ml,
        centre,
        bool(screws),
        leak,
        float(outside.sum()) * canvas.voxel_ml if leak else 0.0,
    )
    return truth, drawn


def _leak_course(
    body: FloatArray,
    centre: FloatArray,
    start: FloatArray,
    leak: str,
    rng: np.random.Generator,
) -> tuple[tuple[FloatArray, FloatArray, float], ...]:
    """Pipes of a leak: through the foramen into the canal, or along the side wall."""
    rows = body[np.abs(body[:, 2] - centre[2]) < 4.0]
    if leak == "B":
        middle = rows[np.abs(rows[:, 0] - centre[0]) < 5.0]
        wall = float(np.percentile(middle[:, 1], 98))
        foramen = np.array([centre[0], wall - 2.0, centre[2]])
        canal = _moved(foramen, 0.0, 5.5, 0.0)
        return (
            (start, foramen, 1.3),
            (foramen, canal, 1.3),
            (_moved(canal, -3.5, 0.0, -5.0), _moved(canal, -3.0, 0.0, 5.0), 1.8),
            (canal, _moved(canal, -3.5, 0.0, 0.0), 1.3),
        )
    side = float(rng.choice([-1.0, 1.0]))
    half = rows[np.sign(rows[:, 0] - centre[0]) == side]
    reach = float(np.percentile(np.abs(half[:, 0] - centre[0]), 98))
    depth = float(half[np.abs(half[:, 0] - centre[0]) > reach - 2.0][:, 1].mean())
    wall_point = np.array([centre[0] + side * (reach - 1.5), depth, centre[2]])
    vein = _moved(wall_point, side * 5.0, -1.0, 0.0)
    return (
        (start, wall_point, 1.2),
        (wall_point, vein, 1.3),
        (vein, _moved(vein, side * -3.0, -11.0, 0.0), 1.7),
    )


def _moved(point: FloatArray, x: float, y: float, z: float) -> FloatArray:
    return point + np.array([x, y, z])


def add_streaks(
    hu: Image, metal: Image, trunk: npt.NDArray[np.bool_], rng: np.random.Generator
) -> None:
    """Add beam hardening (L^2 and L T of each ray) and starved rays, slice by slice."""
    angles = np.linspace(0.0, 180.0, 180, endpoint=False)
    strength = rng.uniform(0.5, 1.2)
    step_cm = 2.0 * ROW_MM / 10.0
    for k in np.flatnonzero(metal.sum(axis=(1, 2)) > 3.0):
        small = ndimage.zoom(metal[k], 0.5, order=1)
        through = ndimage.zoom(trunk[k].astype(np.float32), 0.5, order=0)
        metal_mm = radon(small, angles, circle=False) * 10.0 * step_cm
        trunk_mm = radon(through, angles, circle=False) * 10.0 * step_cm
        error = -(0.004 * metal_mm**2 + 0.0006 * metal_mm * trunk_mm) * strength
        starved = np.sqrt(np.exp(0.12 * metal_mm + 0.014 * trunk_mm))
        error += 0.005 * rng.normal(size=metal_mm.shape) * starved
        size = small.shape[0]
        streaks = iradon(error, angles, size, circle=False, filter_name="hann")
        scale = np.array(hu.shape[1:]) / np.array(streaks.shape)
        spread = ndimage.zoom(streaks, scale, order=1) * 2000.0 / 1.4
        hu[k] += spread * (1.0 - 0.5 * np.minimum(metal[k], 1.0))


def draw_scene(folder: Path, seed: int) -> DrawnScene:
    """Draw implants into the scan of a folder with ``dicom`` and reference labels."""
    rng = np.random.default_rng(seed)
    canvas = load_canvas(folder, float(rng.choice([0.8, 1.0, 1.25, 2.5])))
    chosen = [LEVELS[k] for k in rng.choice(4, size=2, replace=False)]
    screwed = chosen[: int(rng.integers(0, 3))]
    metal_hu, cement_hu = rng.uniform(7000.0, 14000.0), rng.uniform(1100.0, 2600.0)
    blur_mm, noise_hu = rng.uniform(0.45, 0.75), rng.uniform(15.0, 30.0)
    clipped = bool(rng.random() < 0.6)
    metal, cement = (np.zeros(canvas.hu.shape, np.float32) for _ in range(2))
    screws = {one[1]: draw_screws(canvas, one, metal, rng) for one in screwed}
    if len(screws) == 2:
        for first, last in zip(*screws.values(), strict=True):
            axis = last.head_mm - first.head_mm
            axis = 8.0 * axis / np.linalg.norm(axis)
            ends = first.head_mm - axis, last.head_mm + axis
            canvas.paint(metal, *rod_shape(*ends, 2.75))
    truths = []
    for one in chosen:
        truth, drawn = draw_cement(canvas, one, metal, screws.get(one[1], ()), rng)
        truths.append(truth)
        cement = np.maximum(cement, drawn)
    cement = np.minimum(cement, 1.0 - metal)
    mottle = ndimage.gaussian_filter(rng.normal(size=canvas.hu.shape), 1.2)
    trabeculae = ndimage.gaussian_filter(rng.normal(size=canvas.hu.shape), 0.8)
    bone = canvas.hu + 40.0 * trabeculae * (canvas.hu > 50.0)
    ideal = bone * (1.0 - cement - metal) + metal * metal_hu
    ideal += cement * cement_hu * (1.0 + 0.36 * mottle)
    sigmas = blur_mm / canvas.spacing_mm[::-1]
    hu = (bone + ndimage.gaussian_filter(ideal - bone, sigmas)).astype(np.float32)
    add_streaks(hu, metal, canvas.hu > -300.0, rng)
    noise = ndimage.gaussian_filter(rng.normal(size=hu.shape), (0.3, 0.7, 0.7))
    hu += noise * noise_hu / noise.std()
    ceiling = CEILING_HU if clipped else 20000
    affine = np.zeros((4, 4))
    affine[(2, 1, 0), (0, 1, 2)] = canvas.spacing_mm[::-1]
    affine[:3, 3], affine[3, 3] = canvas.origin_mm, 1.0
    found = np.clip(np.rint(hu), -1024, ceiling).astype(np.int16)
    ct = CTVolume(
        found,
        VoxelGeometry(found.shape, affine),
        acquisition=Acquisition(
            kvp=120.0, slice_thickness_mm=float(canvas.spacing_mm[2])
        ),
        clipped_at_hu=CEILING_HU if clipped and found.max() >= CEILING_HU else None,
    )
    words = (
        f"slices {canvas.spacing_mm[2]:g} mm, blur {blur_mm:.2f} mm, cement "
        f"{cement_hu:.0f} HU, {'clipped' if clipped else 'extended'} scale"
    )
    return DrawnScene(
        ct, tuple(truths), tuple(s for pair in screws.values() for s in pair), words
    )
