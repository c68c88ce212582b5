"""Analytic phantoms with cement and metal, shared by several tests."""

from functools import cache

import numpy as np

from cemscope.geometry import VoxelGeometry
from cemscope.spine import Spine
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid, Solid
from cemscope.testing.phantoms import (
    Contrast,
    Implant,
    Phantom,
    Scanner,
    build_phantom,
    pedicle_screw,
    rod,
    screw_axis,
)
from cemscope.volume import CTVolume, LabelMap, Mask

BODY = Ellipsoid((4.0, -2.0, 36.0), (10.0, 9.0, 8.0))
"""Cement in the middle of the upper body of a phantom of two vertebrae."""


@cache
def vertebroplasty(
    extra: tuple[Solid, ...] = (),
    scanner: Scanner = Scanner(),
    contrast: Contrast = Contrast(),
) -> Phantom:
    """L3 untouched, L2 with one ball of cement and extra pieces."""
    pieces = tuple(Implant(solid, level="L2") for solid in (BODY, *extra))
    return build_phantom(("L3", "L2"), pieces, scanner, contrast)


@cache
def fixation(
    scanner: Scanner = Scanner(),
    contrast: Contrast = Contrast(),
    radius_mm: float = 3.0,
    cement_offset_mm: float = 3.0,
) -> Phantom:
    """L4-L3 with four cemented screws and two rods; L5 untouched."""
    parts: list[Implant] = []
    for index, level in ((1, "L4"), (2, "L3")):
        for side in (-1, 1):
            _, tip = screw_axis(index, side)
            centre = (tip[0], tip[1] + cement_offset_mm, tip[2])
            parts.append(Implant(Ellipsoid(centre, (6.0, 8.0, 6.0)), level=level))
            parts.extend(pedicle_screw(index, side, radius_mm))
    parts.extend((rod(1, 1, 2), rod(-1, 1, 2)))
    return build_phantom(("L5", "L4", "L3"), tuple(parts), scanner, contrast)


def regridded(
    ct: CTVolume, spine: Spine, order: tuple[int, ...], flips: tuple[int, ...]
) -> tuple[CTVolume, Spine]:
    """The same patient on an array with other axis order and directions."""
    geometry = ct.geometry
    affine = geometry.affine_lps.copy()
    last = np.zeros(3)
    for axis in flips:
        last[axis] = geometry.shape[axis] - 1
    origin = geometry.index_to_lps(last)
    steps = affine[:3, :3].copy()
    for axis in flips:
        steps[:, axis] *= -1
    moved = np.eye(4)
    moved[:3, :3] = steps[:, list(order)]
    moved[:3, 3] = origin

    def change(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.flip(array, flips).transpose(order))

    hu = change(ct.hu)
    changed = VoxelGeometry(hu.shape, moved, geometry.frame_of_reference_uid)
    canal = None if spine.canal is None else Mask(change(spine.canal.voxels), changed)
    labels = LabelMap(change(spine.labels.labels), changed)
    return (
        CTVolume(hu, changed, clipped_at_hu=ct.clipped_at_hu),
        Spine(labels, spine.vertebrae, canal),
    )


NEEDLE_TRACK = Cylinder((13.0, 8.0, 40.0), (15.0, 34.0, 40.0), 1.5)
DISC_LEAK = (
    Cylinder((0.0, 0.0, 40.0), (0.0, 0.0, 52.0), 2.0),
    Ellipsoid((0.0, 0.0, 51.0), (4.0, 4.0, 2.5)),
)
EPIDURAL_LEAK = (
    Cylinder((2.0, 4.0, 36.0), (2.0, 20.0, 36.0), 1.5),
    Ellipsoid((2.0, 21.0, 36.0), (3.0, 3.0, 5.0)),
)
VEIN_LEAK = (
    Cylinder((10.0, -4.0, 36.0), (14.0, -4.0, 36.0), 1.25),
    Cylinder((14.0, -4.0, 36.0), (40.0, 6.0, 34.0), 1.25),
)
PREVERTEBRAL_LEAK = (
    Cylinder((0.0, -8.0, 36.0), (0.0, -20.0, 36.0), 2.0),
    Ellipsoid((0.0, -21.0, 36.0), (4.0, 3.0, 4.0)),
)
