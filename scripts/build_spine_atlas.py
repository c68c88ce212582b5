"""Build the vertebra shapes of the simulated spine from a mask of a real one.

    python scripts/build_spine_atlas.py MASK.nii.gz OUT.npz [--levels T6 T7 ...]

MASK is ``full_spine_mask.nii.gz`` of the project bone-cement-injection-planning (MIT):
vertebrae C1 to L5 under 1 to 24. OUT holds, per level, the arrays that
`cemscope.testing.spine_atlas` reads (axes z, y, x along LPS, mm): signed distance to
the vertebra, packed bits of its closed body, its posterior wall, origin, body centre
and axes.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from cemscope.anatomy import VERSE_NUMBERS
from cemscope.testing.lumbar_atlas import SHAPE_MM, SURFACE_LIMIT_MM, SURFACE_STEP_MM

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

USUAL_LEVELS = (*(f"T{i}" for i in range(6, 13)), *(f"L{i}" for i in range(1, 6)))

CORE_RADIUS_MM = {"T": 7.0, "L": 9.5}
"""Ball that fits into the body, but into no pedicle."""


@dataclass(frozen=True, slots=True, eq=False)
class SpineMask:
    """Labels on an LPS-oriented grid, axes (z, y, x)."""

    labels: npt.NDArray[np.uint8]
    spacing_mm: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class MaskedVertebra:
    """One vertebra on 1 mm; ``axes`` has rows superior, posterior, left (z, y, x).

    The posterior wall lies at ``w0 + w1 s + w2 s**2 + w3 q**2`` behind its centre, s
    upwards and q to the left.
    """

    distance_mm: npt.NDArray[np.float32]
    origin_mm: FloatArray
    body: BoolArray
    body_centre_mm: FloatArray
    axes: FloatArray
    wall: FloatArray
    wall_centre_mm: FloatArray


def read_mask(path: str) -> SpineMask:
    """Read the mask and bring it to LPS axes, feet first."""
    image = sitk.DICOMOrient(sitk.ReadImage(path), "LPS")
    spacing = np.array(image.GetSpacing()[::-1])
    return SpineMask(sitk.GetArrayFromImage(image).astype(np.uint8), spacing)


def signed_distance(mask: BoolArray, spacing: FloatArray | float) -> FloatArray:
    """Distance to the surface, negative inside."""
    sampling = np.broadcast_to(spacing, 3)
    outside = ndimage.distance_transform_edt(~mask, sampling=sampling)
    inside = ndimage.distance_transform_edt(mask, sampling=sampling)
    return np.asarray(outside - inside)


def opened(mask: BoolArray, radius: float) -> BoolArray:
    """Morphological opening with a ball."""
    eroded = ndimage.distance_transform_edt(mask) > radius
    return np.asarray(ndimage.distance_transform_edt(~eroded) <= radius)


def closed(mask: BoolArray, radius: float) -> BoolArray:
    """Morphological closing with a ball."""
    pad = int(radius) + 2
    outside = ndimage.distance_transform_edt(~np.pad(mask, pad)) > radius
    shrunk = ndimage.distance_transform_edt(~outside) > radius
    inner = (slice(pad, -pad),) * 3
    return np.asarray(shrunk[inner] | mask)


def largest(mask: BoolArray) -> BoolArray:
    """Largest connected part."""
    labels, count = ndimage.label(mask)
    sizes = ndimage.sum(mask, labels, range(1, count + 1))
    return np.asarray(labels == 1 + int(np.argmax(sizes)))


def vertebra(spine: SpineMask, number: int, core_radius: float) -> MaskedVertebra:
    """Cut a vertebra out, resample it to 1 mm and separate its body."""
    where = np.argwhere(spine.labels == number)
    pad = np.ceil(9.0 / spine.spacing_mm).astype(int)
    low = np.maximum(where.min(axis=0) - pad, 0)
    high = np.minimum(where.max(axis=0) + pad + 1, spine.labels.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    distance = signed_distance(spine.labels[box] == number, spine.spacing_mm)
    shape = ((np.array(distance.shape) - 1) * spine.spacing_mm / SHAPE_MM).astype(int)
    nodes = [
        np.arange(n + 1) * SHAPE_MM / s
        for n, s in zip(shape, spine.spacing_mm, strict=True)
    ]
    grid = np.meshgrid(*nodes, indexing="ij")
    smooth = ndimage.map_coordinates(distance, grid, order=3, mode="nearest")
    smooth = ndimage.gaussian_filter(smooth, 0.5)
    origin = low * spine.spacing_mm
    bone = smooth < 0
    core = largest(opened(bone, core_radius))
    centre, axes = body_axes(core)
    body, wall = closed_body(bone, centre, axes, core_radius)
    # The basivertebral foramen belongs to the body: fill it.
    filled = ndimage.gaussian_filter(signed_distance(bone | body, 1.0), 0.6)
    distance = np.minimum(smooth, np.where(body & ~bone, filled, np.inf))
    body_centre = np.argwhere(body).mean(axis=0) + origin
    return MaskedVertebra(
        distance.astype(np.float32),
        origin,
        body,
        body_centre,
        axes,
        wall,
        centre + origin,
    )


def body_axes(core: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Centre of a body and its axes: superior is the mean normal of the endplates."""
    points = np.argwhere(core).astype(float)
    centre = points.mean(axis=0)
    superior = np.array([1.0, 0.0, 0.0])
    for _ in range(8):
        posterior = np.array([0.0, 1.0, 0.0]) - superior * superior[1]
        posterior /= np.linalg.norm(posterior)
        left = np.cross(posterior, superior)
        left *= np.sign(left[2])
        axes = np.array([superior, posterior, left])
        local = (points - centre) @ axes.T
        local = local[(np.abs(local[:, 1]) < 9) & (np.abs(local[:, 2]) < 11)]
        column = np.round(local[:, 1:] / 2).astype(int)
        _, index = np.unique(column, axis=0, return_inverse=True)
        slopes = []
        for sign in (1.0, -1.0):
            order = np.argsort(sign * local[:, 0])
            last = np.zeros(index.max() + 1, int)
            last[index[order]] = order
            plate = local[last]
            design = np.c_[np.ones(len(plate)), plate[:, 1:]]
            slopes.append(np.linalg.lstsq(design, plate[:, 0], rcond=None)[0])
        mean = 0.5 * (slopes[0] + slopes[1])
        superior = superior - mean[1] * posterior - mean[2] * left
        superior /= np.linalg.norm(superior)
    return centre, axes


def closed_body(
    bone: BoolArray, centre: FloatArray, axes: FloatArray, core_radius: float
) -> tuple[BoolArray, FloatArray]:
    """Bone in front of a quadratic surface through the posterior wall, closed."""
    heights, lateral = np.arange(-14.0, 15.0), np.arange(-10.0, 11.0)
    back = np.arange(0.0, 40.0, 0.25)
    h, x, y = np.meshgrid(heights, lateral, back, indexing="ij")
    points = np.stack([h, y, x], axis=-1) @ axes + centre
    distance = signed_distance(bone, 1.0)
    value = ndimage.map_coordinates(
        distance, np.moveaxis(points, -1, 0), order=1, mode="nearest"
    )
    leaves = (value > 0).any(axis=-1) & (value[..., 0] < 0)
    wall = back[np.argmax(value > 0, axis=-1)]
    usable = leaves & (wall > 5) & (wall < 25)
    hh, xx = np.meshgrid(heights, lateral, indexing="ij")
    h1, x1 = hh[usable], xx[usable]
    design = np.c_[np.ones(h1.size), h1, h1**2, x1**2]
    weight = np.ones(h1.size)
    for _ in range(20):
        fit = np.linalg.lstsq(
            design * weight[:, None], wall[usable] * weight, rcond=None
        )[0]
        rest = wall[usable] - design @ fit
        weight = np.where(rest > 0, 1.0, 0.5) / (1.0 + rest**2)
    local = (np.indices(bone.shape).reshape(3, -1).T - centre) @ axes.T
    s, p, q = (part.reshape(bone.shape) for part in local.T)
    surface = fit[0] + fit[1] * s + fit[2] * np.clip(s, -14, 14) ** 2
    surface += fit[3] * np.clip(np.abs(q), 0, 12) ** 2
    front = p < surface
    solid = (closed(bone & front, 6.0) & front) | (bone & front)
    core = largest(opened(solid, min(6.0, core_radius - 1.0)))
    near = ndimage.distance_transform_edt(~core) <= 3.0
    body = near & solid
    body = ndimage.binary_fill_holes(closed(body, 6.0) & front)
    return np.asarray(body), np.asarray(fit)


def stored(name: str, shape: MaskedVertebra) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays of one level as they go into the file."""
    limit = round(SURFACE_LIMIT_MM / SURFACE_STEP_MM)
    steps = np.clip(np.rint(shape.distance_mm / SURFACE_STEP_MM), -limit, limit)
    steps = steps.astype(np.int8)
    used = np.argwhere(steps < limit)
    low, high = used.min(axis=0), used.max(axis=0) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return {
        f"{name}_surface": np.diff(steps[box], axis=2, prepend=np.int8(0)),
        f"{name}_body": np.packbits(shape.body[box]),
        f"{name}_origin_mm": (shape.origin_mm + low).astype(np.float32),
        f"{name}_source_axes": shape.axes,
        f"{name}_source_body_centre_mm": shape.body_centre_mm,
        f"{name}_wall": shape.wall,
        f"{name}_wall_centre_mm": shape.wall_centre_mm,
    }


def main() -> None:
    """Read the arguments and write the atlas."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mask")
    parser.add_argument("out")
    parser.add_argument("--levels", nargs="+", default=list(USUAL_LEVELS))
    options = parser.parse_args()
    spine = read_mask(options.mask)
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name in options.levels:
        shape = vertebra(spine, VERSE_NUMBERS[name], CORE_RADIUS_MM[name[0]])
        arrays |= stored(name, shape)
        print(  # noqa: T201 - a script reports to its user
            name,
            f"body {shape.body.sum() / 1000:.1f} mL,",
            f"vertebra {(shape.distance_mm < 0).sum() / 1000:.1f} mL,",
            "superior",
            np.round(shape.axes[0], 2).tolist(),
            "centre",
            np.round(shape.body_centre_mm, 1).tolist(),
        )
    np.savez_compressed(options.out, **arrays)


if __name__ == "__main__":
    main()
