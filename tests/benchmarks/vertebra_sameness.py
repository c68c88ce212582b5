"""Do the outlines of the vertebrae stay the same when the same scan is laid otherwise?

    python tests/benchmarks/vertebra_sameness.py --series FOLDER
    python tests/benchmarks/vertebra_sameness.py --scenes FOLDER...

The scan is reversed, cropped, turned and resampled; Dice of each body that is whole in
both with the same body on the original grid, as surfaces in patient space. Turned and
resampled scans are interpolated (cubic), which is itself a change of the data. The goal
is 0.97 for every body.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.dicom import read_series
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.bodies.body_surface import BodySurface
from cemscope.segmentation.bodies.found_body import FoundBody
from cemscope.segmentation.bodies.vertebra_surfaces import (
    SurfaceSettings,
    find_surfaces,
)
from cemscope.testing.spine_scene import CT_FILE, read_nifti
from cemscope.volume import CTVolume

GOAL = 0.97
POINTS_MM = 1.0
FIELD_MM = 150.0
LEAST_SPACING_FACTOR = 0.75

Change = Callable[[CTVolume], CTVolume]


def changes(centre_lps_mm: npt.NDArray[np.float64]) -> Iterator[tuple[str, Change]]:
    yield "slices in reverse order", reversed_slices
    yield "cropped to 15 cm", lambda ct: cropped(ct, centre_lps_mm)
    yield "10 mm less at the first slices", lambda ct: without(ct, 0, 10.0)
    yield "10 mm less at the last slices", lambda ct: without(ct, 0, -10.0)
    yield "10 mm less at one side", lambda ct: without(ct, 2, 10.0)
    yield "oblique by 10 degrees", lambda ct: turned(ct, 10.0, (1, 2))
    yield "oblique by 15 degrees, tilted", lambda ct: turned(ct, 15.0, (0, 1))
    yield "voxels 1.2 times as large", lambda ct: resampled(ct, 1.2)
    yield "voxels 0.75 times as large", lambda ct: resampled(ct, LEAST_SPACING_FACTOR)


def reversed_slices(ct: CTVolume) -> CTVolume:
    affine = ct.geometry.affine_lps.copy()
    affine[:3, 3] = ct.geometry.index_to_lps([len(ct.hu) - 1, 0, 0])
    affine[:3, 0] *= -1.0
    return CTVolume(
        np.ascontiguousarray(ct.hu[::-1]), VoxelGeometry(ct.hu.shape, affine)
    )


def cropped(ct: CTVolume, centre_lps_mm: npt.NDArray[np.float64]) -> CTVolume:
    index = ct.geometry.lps_to_index(centre_lps_mm)
    half = FIELD_MM / 2 / np.array(ct.spacing_mm)
    box = (
        slice(0, len(ct.hu)),
        *(
            slice(max(int(index[k] - half[k]), 0), int(index[k] + half[k]) + 1)
            for k in (1, 2)
        ),
    )
    return part(ct, box)


def without(ct: CTVolume, axis: int, removed_mm: float) -> CTVolume:
    """Cut a slab off the beginning, or with a negative length off the end."""
    count = round(abs(removed_mm) / ct.spacing_mm[axis])
    box = [slice(0, n) for n in ct.hu.shape]
    stop = ct.hu.shape[axis]
    box[axis] = slice(count, stop) if removed_mm > 0 else slice(0, stop - count)
    return part(ct, (box[0], box[1], box[2]))


def part(ct: CTVolume, box: tuple[slice, slice, slice]) -> CTVolume:
    return CTVolume(np.ascontiguousarray(ct.hu[box]), ct.geometry.crop(box))


def turned(ct: CTVolume, degrees: float, axes: tuple[int, int]) -> CTVolume:
    """Turn the grid about its centre, in the plane of two of its axes."""
    geometry = ct.geometry
    turn = np.eye(3)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = axes
    turn[[first, second], [first, second]] = cosine
    turn[first, second], turn[second, first] = -sine, sine
    middle = (np.array(geometry.shape) - 1) / 2
    affine = np.eye(4)
    affine[:3, :3] = geometry.directions_lps @ turn * np.array(ct.spacing_mm)
    affine[:3, 3] = geometry.index_to_lps(middle) - affine[:3, :3] @ middle
    return on_grid(ct, VoxelGeometry(geometry.shape, affine))


def resampled(ct: CTVolume, factor: float) -> CTVolume:
    affine = ct.geometry.affine_lps.copy()
    affine[:3, :3] *= factor
    shape = tuple(int((n - 1) / factor) + 1 for n in ct.geometry.shape)
    return on_grid(ct, VoxelGeometry((shape[0], shape[1], shape[2]), affine))


def on_grid(ct: CTVolume, target: VoxelGeometry) -> CTVolume:
    mapping = np.linalg.inv(ct.geometry.affine_lps) @ target.affine_lps
    values = ndimage.affine_transform(
        ct.hu.astype(np.float32),
        mapping[:3, :3],
        mapping[:3, 3],
        target.shape,
        order=3,
        mode="constant",
        cval=-1024,
    )
    clipped = np.clip(np.rint(values), -1024, 32767)
    return CTVolume(clipped.astype(np.int16), target)


def dice(first: BodySurface, second: BodySurface) -> float:
    reach = [np.arange(-r - 6.0, r + 6.0, POINTS_MM) for r in first.reach_mm()]
    local = np.stack(np.meshgrid(*reach, indexing="ij"), axis=-1).reshape(-1, 3)
    one = first.depth_mm(local) > 0
    there = second.frame.to_local_mm(first.frame.to_lps_mm(local))
    other = second.depth_mm(there) > 0
    return 2.0 * float((one & other).sum()) / max(1.0, float(one.sum() + other.sum()))


def compared(reference: list[FoundBody], found: list[FoundBody]) -> list[float]:
    """Dice of each body that is whole in both scans; 0 for one that was lost."""
    scores = []
    for body in reference:
        nearest = max(found, key=lambda other: dice(body.surface, other.surface))
        score = dice(body.surface, nearest.surface)
        if nearest.complete or score < 0.5:
            scores.append(score if score >= 0.5 else 0.0)
    return scores


def judge(name: str, ct: CTVolume) -> None:
    whole = [b for b in find_surfaces(ct, SurfaceSettings()).bodies if b.complete]
    origins = [body.surface.frame.origin_lps_mm for body in whole]
    # A crop leaves the canal and the arches in view.
    behind = 15.0 * whole[len(whole) // 2].surface.frame.posterior
    centre = np.mean(origins, axis=0) + behind
    print(f"{name}: {len(whole)} whole bodies", flush=True)
    for what, change in changes(centre):
        found = find_surfaces(change(ct), SurfaceSettings())
        scores = compared(whole, list(found.bodies))
        verdict = "pass" if scores and min(scores) >= GOAL else "FAIL"
        each = " ".join(f"{score:.3f}" for score in scores)
        print(f"  {verdict} {what:32s} least {min(scores):.3f}  ({each})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=Path, nargs="*", default=[])
    parser.add_argument("--scenes", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    if not options.series and not options.scenes:
        parser.error("expected --series or --scenes with at least one folder")
    for folder in options.series:
        judge(folder.name, read_series(folder))
    for folder in options.scenes:
        hu, geometry = read_nifti(folder / CT_FILE)
        judge(folder.name, CTVolume(np.clip(hu, -1024, 32767).astype("i2"), geometry))


if __name__ == "__main__":
    main()
