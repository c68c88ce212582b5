"""What of an arch's outline is bone, where cement and metal are as bright as bone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from cemscope.measurement.arch_mirror import mirrored, other_half
from cemscope.measurement.body_shell import BodyShell
from cemscope.measurement.cell_distance import cells_within, distance_from
from cemscope.measurement.vertebra_grid import Float32Array
from cemscope.volume import BoolArray

MIRROR_SLACK_MM = 1.0
"""Both halves of an arch are alike to about this [our choice]."""

BLUR_REACH_MM = 3.0
"""Beyond this distance from the edge of cement none of its blur is left."""

EDGE_SHIFT_MM = 0.4
"""The edge of cement is known to about this."""

PEAK_MM, LEAST_PEAK = 4.0, 0.4
"""The brightest cement so far around is what a piece of it is made of; what is darker
than this share of the scan's cement may be bone [our choice]."""

BONE_HU = 220.0
"""Bone of an arch is brighter than muscle that holds contrast medium."""

BESIDE_MM = 3.4
"""Bone that encloses cement is met within this distance beyond it."""

RAY_MM = 14.0
"""A ray is followed through cement and metal so far."""

RAYS = 16
"""Directions in the plane across a pedicle."""

ENCLOSED_SHARE = 0.55
"""Cement is in the bone if bone is met in this share of the directions: cement that
lies against an arch from outside has bone on less than half of its sides."""

OUTLINE_MM = 2.5
"""Outlines of arches are cut short by up to this beside cement."""

PEDICLE_ROOT_MM = 4.0
"""Pedicles spring from the body this far in front of its hindmost part."""

RAY_SMOOTHING_MM = 2.0
"""Shares are means over cement so far around."""


@dataclass(frozen=True, slots=True, eq=False)
class ArchImage:
    """What is seen of the arches on a vertebra's grid.

    Attributes
    ----------
    outline, own : ndarray of bool
        Outlines of all arches, and that of this vertebra.
    hu, scan_hu : ndarray of float32
        CT values without the blur of metal, 0 where the scan was not cut out, and CT
        values, 0 where the scan ends.
    cement : ndarray of float32
        Share of cement.
    metal : ndarray of bool
        Shafts, hardware and their rim.
    cement_hu, blur_mm : float
        Brightness of cement above bone, and sigma of the blur of its edges.
    trusted : bool
        Whether the outline was drawn by something that tells cement from bone; one by
        brightness does not.
    """

    outline: BoolArray
    own: BoolArray
    hu: Float32Array
    scan_hu: Float32Array
    cement: Float32Array
    metal: BoolArray
    cement_hu: float
    blur_mm: float
    trusted: bool


def arch_bone(image: ArchImage, shell: BodyShell, canal: BoolArray | None) -> BoolArray:
    """Tell which cells of the arches' outlines are bone.

    An outline by brightness runs round cement and metal that touch the bone. There,
    bone is where bone is met on most sides, or where the other half of the arch is.
    """
    if image.trusted:
        return image.outline
    cell = shell.grid.cell_mm
    depth = shell.grid.axis_mm(1)[None, :, None]
    behind = depth > float(shell.upper_mm[1]) - PEDICLE_ROOT_MM
    cement = (image.outline | behind) & (image.cement >= 0.35) & ~shell.inside
    if canal is not None:
        cement &= ~canal
    if not cement.any():
        return image.outline
    # Where a piece of cement is darker than the scan's, its edge is at half of it.
    size = 2 * round(PEAK_MM / cell) + 1
    peak = ndimage.maximum_filter(np.where(cement, image.cement, 0.0), size)
    solid = image.cement >= 0.5 * np.where(peak >= LEAST_PEAK, peak, 1.0)
    away = distance_from(solid) * cell
    tail = special.ndtr((EDGE_SHIFT_MM - away) / image.blur_mm)
    bright = image.hu > BONE_HU + image.cement_hu * tail
    own = ndimage.binary_dilation(image.own, iterations=round(OUTLINE_MM / cell))
    bone = bright & ~solid & ~image.metal & (own | shell.inside)
    share = _enclosed_share(cement, solid | image.metal, bone, cell)
    known = image.outline & ~image.metal & (away > BLUR_REACH_MM)
    alike = ndimage.binary_dilation(
        mirrored(known, shell), iterations=round(MIRROR_SLACK_MM / cell)
    )
    hidden = cells_within(solid | image.metal, BLUR_REACH_MM / cell)
    soft = other_half(image.scan_hu, hidden, shell, cement).soft
    within = cement & ~soft & ((share >= ENCLOSED_SHARE) | (alike & image.outline))
    outside = cement & ~within
    if outside.any():
        near = cells_within(outside, BLUR_REACH_MM / cell)
        outside |= near & (~bright | soft) & ~cement
    # Outlines by brightness may leave out what is brighter than bone.
    kept: BoolArray = (image.outline & ~outside) | within
    return kept


def _enclosed_share(
    cement: BoolArray, opaque: BoolArray, bone: BoolArray, cell_mm: float
) -> npt.NDArray[np.float64]:
    """Share of the directions across a pedicle in which bone follows on cement."""
    index = np.argwhere(cement)
    met = np.zeros(len(index))
    limit = np.array(cement.shape) - 1
    beside = round(BESIDE_MM / cell_mm)
    for angle in (np.arange(RAYS) + 0.5) * 2.0 * np.pi / RAYS:
        step = np.array([np.cos(angle), 0.0, np.sin(angle)])
        left = np.full(len(index), beside)
        hit = np.zeros(len(index), np.bool_)
        for distance in range(1, round(RAY_MM / cell_mm) + 1):
            at = np.clip(np.rint(index + distance * step).astype(int), 0, limit)
            place = tuple(at.T)
            hit |= bone[place] & (left > 0)
            left -= ~opaque[place]
            if not (left > 0).any():
                break
        met += hit
    share = np.zeros(cement.shape)
    share[cement] = met / RAYS
    sigma = RAY_SMOOTHING_MM / cell_mm
    weight = ndimage.gaussian_filter(cement.astype(float), sigma)
    smooth: npt.NDArray[np.float64] = ndimage.gaussian_filter(
        share, sigma
    ) / np.maximum(weight, 1e-6)
    return smooth
