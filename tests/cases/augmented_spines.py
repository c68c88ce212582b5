"""Analytic phantoms with cement and metal, shared by several tests."""

from functools import cache

import numpy as np

from cemscope.findings import CementVolume
from cemscope.geometry import VoxelGeometry
from cemscope.measurement.augmentation import Augmentation, measure_augmentation
from cemscope.spine import Spine
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid, Solid, ThreadedShaft
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
    scanner: Scanner | None = None,
    contrast: Contrast | None = None,
) -> Phantom:
    """L3 untouched, L2 with one ball of cement and extra pieces."""
    pieces = tuple(Implant(solid, level="L2") for solid in (BODY, *extra))
    return build_phantom(
        ("L3", "L2"), pieces, scanner or Scanner(), contrast or Contrast()
    )


@cache
def fixation(
    scanner: Scanner | None = None,
    contrast: Contrast | None = None,
    radius_mm: float = 3.0,
    levels: tuple[str, ...] = ("L4",),
    cemented: bool = True,
) -> Phantom:
    """An untouched vertebra and above it levels with two screws each.

    Two levels are joined by rods.
    """
    parts: list[Implant] = []
    for index, level in enumerate(levels, start=1):
        for side in (-1, 1):
            _, tip = screw_axis(index, side)
            centre = (tip[0], tip[1] + 3.0, tip[2])
            if cemented:
                parts.append(Implant(Ellipsoid(centre, (6.0, 8.0, 6.0)), level=level))
            parts.extend(pedicle_screw(index, side, radius_mm))
    if len(levels) > 1:
        parts.extend((rod(1, 1, 2), rod(-1, 1, 2)))
    return build_phantom(
        ("L5", *levels), tuple(parts), scanner or Scanner(), contrast or Contrast()
    )


@cache
def analysed(phantom: Phantom) -> Augmentation:
    """Measure a phantom once for all tests that look at it."""
    return measure_augmentation(phantom.ct, phantom.spine)


def cement_of(found: Augmentation, level: str) -> CementVolume:
    """Cement of a level that must have been assessed."""
    value = next(item.cement for item in found.cement if item.level == level)
    assert isinstance(value, CementVolume)
    return value


THREADED_TRUTH = ThreadedShaft((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), 3.25)
"""Dimensions of the screws in `threaded_fixation`."""


@cache
def threaded_fixation() -> Phantom:
    """L4 with two cemented screws of 6.5 mm, threaded, with conical tips."""
    parts: list[Implant] = []
    for side in (-1, 1):
        head, tip = screw_axis(1, side)
        centre = (tip[0], tip[1] + 3.0, tip[2])
        parts.append(Implant(Ellipsoid(centre, (6.5, 8.5, 6.5)), level="L4"))
        parts.append(Implant(ThreadedShaft(head, tip, 3.25), is_metal=True))
        parts.append(Implant(Ellipsoid(head, (6.5, 6.5, 6.5)), is_metal=True))
    scanner = Scanner(spacing_mm=(0.8, 0.6, 0.6))
    return build_phantom(("L5", "L4"), tuple(parts), scanner)


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
