"""Share of each voxel that is cement, and which vertebra it belongs to."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special
from skimage.segmentation import watershed

from cemscope.measurement.pure_cement import local_level_hu
from cemscope.segmentation.cement.cement import CementRegion
from cemscope.segmentation.cement.cement_background import background_hu
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.cement.cement_settings import CementSettings
from cemscope.segmentation.cement.shaft_layers import BLURRED_MM, THIN_MM
from cemscope.segmentation.implants.metal import box_near
from cemscope.segmentation.implants.shaft_streaks import CREST_REACH_MM
from cemscope.segmentation.scan_region import (
    ScanRegion,
    closed,
    grown,
    joint,
    label_boxes,
    widened,
)
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.spine import Spine
from cemscope.volume import BoolArray, HUArray, LabelArray

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ImageQuality:
    """Noise and blur of a scan; the interval is built from them.

    Attributes
    ----------
    blur_sigma_mm : float
        Gaussian blur of edges within a slice.
    noise_hu : float
        Standard deviation of voxel noise.
    ceiling_hu : int or None
        Value at which the scan is clipped.
    """

    blur_sigma_mm: float
    noise_hu: float
    ceiling_hu: int | None


@dataclass(frozen=True, slots=True, eq=False)
class FractionMap:
    """Cement shares on one box, split by how well they are known.

    Attributes
    ----------
    fraction : ndarray of float32
        Share of cement per voxel, by partial volume; shell voxels by extrapolation.
    halo : ndarray of bool
        Voxels that count: pieces and the blur around them.
    shell : ndarray of bool
        Voxels beside a shaft whose share was extrapolated.
    saturated : ndarray of bool
        Voxels at the ceiling.
    background, pure_hu : ndarray of float32
        Local tissue and local pure cement, HU.
    continued : ndarray of float32
        Shares as another model of the rim has them: those of the nearest voxels
        outside the shell, whatever the contour of the layers says.
    """

    part: CementRegion
    fraction: Float32Array
    halo: BoolArray
    shell: BoolArray
    saturated: BoolArray
    background: Float32Array
    pure_hu: Float32Array
    continued: Float32Array


def map_fractions(
    part: CementRegion,
    level: CementLevel,
    levels: TissueLevels,
    quality: ImageQuality,
    settings: CementSettings,
) -> FractionMap:
    """Share of cement per voxel: (HU - background) / (cement - background).

    Clipped voxels count as full, less what the blur takes from those next to the
    flank. Beside a shaft the metal's own blur hides everything: there the thickness of
    the layer of cement counts, and round the tip the share of the nearest voxel outside
    the shell.
    """
    region = part.region
    spacing = region.geometry.spacing_mm
    halo = grown(part.solid, settings.halo_mm + 0.5 * max(spacing), region.geometry)
    halo &= ~part.forbidden
    background = background_hu(part, levels, halo).astype(np.float32)
    saturated = np.zeros(halo.shape, np.bool_)
    if quality.ceiling_hu is not None:
        saturated = halo & (region.hu >= 0.985 * quality.ceiling_hu)
    across_mm = levels.slice_blur_mm(spacing[0])
    sigma_mm = (across_mm, quality.blur_sigma_mm, quality.blur_sigma_mm)
    pure = local_level_hu(part, level, settings, sigma_mm)
    fraction = share_of_cement(part.tissue_hu, background, pure, levels.noise_hu)
    if level.clipped and saturated.any():
        fraction = np.where(
            saturated,
            _saturated_share(saturated, region, level, levels, quality),
            fraction,
        )
    faint = np.full(halo.shape, FAINT_SHARE, np.float32)
    faint[grown(part.shell, CREST_REACH_MM, region.geometry)] = FAINT_BESIDE_METAL
    halo &= ~_is_faint(fraction, halo & ~part.shell, spacing, faint)
    fraction = np.where(halo & ~part.shell, fraction, 0.0).astype(np.float32)
    shell = part.shell & ~part.forbidden
    continued = fraction
    if shell.any():
        continued = _continue_into_shell(fraction, shell, part)
        fraction = _with_layers(continued.copy(), shell, part)
    counted = halo | (shell & (fraction > 0))
    return FractionMap(
        part, fraction, counted, shell, saturated, background, pure, continued
    )


FAINT_SHARE = 0.1
"""Cement does not rise above the background where its blur is below this: tails of the
point spread and uneven marrow add there what the ends of a Gaussian edge would lose.
Chosen on the tuning scenes, where it takes the mean error from +4 to +2 %."""

FAINT_BESIDE_METAL = 0.2
"""Streaks beside shafts are brighter than the tails of a point spread [ours]."""

FAINT_SIGMA_MM = 0.6
"""Shares are averaged over about a CT's blur before they are called faint, else noise
would be counted where it is bright only."""


def _is_faint(
    fraction: Float32Array,
    counted: BoolArray,
    spacing_mm: tuple[float, float, float],
    least: Float32Array,
) -> BoolArray:
    """Voxels of the fringe that are left out."""
    sigma = FAINT_SIGMA_MM / np.array(spacing_mm)
    shares = np.where(counted, fraction, 0.0).astype(np.float32)
    weight = ndimage.gaussian_filter(counted.astype(np.float32), sigma)
    mean = ndimage.gaussian_filter(shares, sigma) / np.maximum(weight, 1e-3)
    faint: BoolArray = counted & (mean < least)
    return faint


def share_of_cement(
    tissue_hu: npt.NDArray[np.floating] | HUArray,
    background: Float32Array,
    level_hu: Float32Array,
    noise_hu: float,
) -> Float32Array:
    """Linear mixing, with room for noise on both sides so that its mean stays right."""
    way = np.maximum(level_hu - background, 100.0)
    slack = np.clip(2.0 * noise_hu / way, 0.0, 0.25)
    share = (tissue_hu - background) / way
    clipped: Float32Array = np.clip(share, -slack, 1.0 + slack).astype(np.float32)
    return clipped


def _saturated_share(
    saturated: BoolArray,
    region: ScanRegion,
    level: CementLevel,
    levels: TissueLevels,
    quality: ImageQuality,
) -> Float32Array:
    """Share of clipped voxels: Phi(z + depth), from the nearest one below the ceiling.

    That one lies z blurs inside the half value; depth counts in blurs of each axis.
    """
    spacing = region.geometry.spacing_mm
    within_mm = quality.blur_sigma_mm
    across_mm = max(levels.slice_blur_mm(spacing[0]), 0.5 * within_mm)
    depth, nearest = ndimage.distance_transform_edt(
        saturated,
        sampling=np.array(spacing) / (across_mm, within_mm, within_mm),
        return_indices=True,
    )
    below = region.hu[tuple(nearest)] - levels.marrow_hu
    z = special.ndtri(np.clip(below / (level.hu - levels.marrow_hu), 0.01, 0.999))
    z = np.maximum(z + depth, ceiling_height(level.hu, levels, quality))
    share: Float32Array = special.ndtr(z).astype(np.float32)
    return share


def ceiling_height(
    cement_hu: float, levels: TissueLevels, quality: ImageQuality
) -> float:
    """Where a blurred edge of cement meets the ceiling, in blurs from its middle."""
    ceiling_hu = float(quality.ceiling_hu or 0)
    share = (ceiling_hu - levels.marrow_hu) / (cement_hu - levels.marrow_hu)
    return float(special.ndtri(np.clip(share, 0.3, 0.999)))


def _continue_into_shell(
    fraction: Float32Array, shell: BoolArray, part: CementRegion
) -> Float32Array:
    spacing = part.region.geometry.spacing_mm
    index = ndimage.distance_transform_edt(
        shell, sampling=spacing, return_distances=False, return_indices=True
    )
    continued = np.clip(fraction[tuple(index)], 0.0, 1.0)
    result = np.where(shell, continued * (1.0 - part.metal), fraction)
    return np.asarray(result, np.float32)


def _with_layers(
    fraction: Float32Array, shell: BoolArray, part: CementRegion
) -> Float32Array:
    """Set the shares beside shafts to those of the layers on them."""
    geometry = part.region.geometry
    voxel_mm = geometry.voxel_volume_mm3 ** (1 / 3)
    reach_mm = THIN_MM + BLURRED_MM
    for layer in part.layers:
        box = box_near(part.region, layer.screw, reach_mm)
        if any(side.stop <= side.start for side in box):
            continue
        distance, _ = layer.screw.distances_on(geometry.crop(box))
        near = (distance <= reach_mm) & ~part.forbidden[box]
        if not near.any():
            continue
        start = [side.start for side in box]
        points = geometry.index_to_lps(np.argwhere(near) + start)
        held = layer.joined_to(part.region, part.solid)
        share, thickness, known = held.share(points, voxel_mm)
        thin = (thickness > 0.0) & (thickness < THIN_MM)
        thin &= distance[near] <= thickness + BLURRED_MM
        used = known & (shell[box][near] | thin)
        free = 1.0 - part.metal[box][near]
        view = fraction[box]
        view[near] = np.where(used, share * free, view[near])
    return fraction


@dataclass(frozen=True, slots=True, eq=False)
class Ownership:
    """Which vertebra each cement voxel belongs to, and where it lies.

    Attributes
    ----------
    owner : ndarray of uint8
        Index + 1 into the spine's vertebrae; 0: not cement.
    inside : ndarray of bool
        Inside the closed surface of the owner's body.
    bone : ndarray of bool
        Inside an arch or pedicle.
    outside_mm : ndarray of float32
        Distance from the owner's closed body; 0 inside.
    """

    owner: LabelArray
    inside: BoolArray
    bone: BoolArray
    outside_mm: Float32Array


def assign_owners(fractions: FractionMap, spine: Spine) -> Ownership:
    """Give every piece of cement to a vertebra.

    Cement inside a body or arch belongs to it. A piece outside goes, as a whole, to the
    level whose cement it touches most, else to the nearest vertebra.
    """
    region = fractions.part.region
    spacing = region.geometry.spacing_mm
    bodies, arches = _closed_bodies(region, spine)
    solid = (fractions.fraction >= 0.35) & fractions.halo
    anywhere = np.where(bodies > 0, bodies, arches)
    owner = np.where(solid, anywhere, 0).astype(np.uint8)
    outside = solid & (anywhere == 0)
    if outside.any():
        index = ndimage.distance_transform_edt(
            anywhere == 0, sampling=spacing, return_distances=False, return_indices=True
        )
        nearest = anywhere[tuple(index)]
        pieces, _ = ndimage.label(outside, np.ones((3, 3, 3)))
        for number, box in enumerate(ndimage.find_objects(pieces), start=1):
            wide = tuple(slice(max(p.start - 1, 0), p.stop + 1) for p in box)
            piece = pieces[wide] == number
            contact = ndimage.binary_dilation(piece, np.ones((3, 3, 3))) & ~piece
            touched = owner[wide][contact & (anywhere[wide] > 0)]
            touched = touched[touched > 0]
            votes = np.bincount(touched if touched.size else nearest[wide][piece])
            if touched.size and (votes >= SHARED_CONTACT * votes.sum()).sum() > 1:
                _divide(owner[wide], piece, votes, fractions.fraction[wide])
            else:
                owner[wide][piece] = int(np.argmax(votes))
    if solid.any():
        index = ndimage.distance_transform_edt(
            ~solid, sampling=spacing, return_distances=False, return_indices=True
        )
        owner = np.where(fractions.halo, owner[tuple(index)], 0).astype(np.uint8)
    outside_mm = np.zeros(solid.shape, np.float32)
    for number, box in enumerate(ndimage.find_objects(owner), start=1):
        if box is None:
            continue
        mine = owner[box] == number
        present = bodies == number
        if present.any():
            wide = joint((box, ndimage.find_objects(present.view(np.uint8))[0]))
            distance = ndimage.distance_transform_edt(~present[wide], sampling=spacing)
            view = outside_mm[wide]
            own = owner[wide] == number
            view[own] = distance[own]
        else:
            outside_mm[box][mine] = np.where(arches[box][mine] > 0, 0.0, np.inf)
    inside = (owner > 0) & (bodies == owner)
    return Ownership(owner, inside, arches > 0, outside_mm)


SHARED_CONTACT = 0.25
"""A piece that touches the cement of two levels is divided between them if each has at
least this share of the contact."""


def _divide(
    owner: LabelArray,
    piece: BoolArray,
    votes: npt.NDArray[np.int64],
    fraction: Float32Array,
) -> None:
    """Let the cement of each level grow into a piece, the densest parts first."""
    sharing = np.flatnonzero(votes >= SHARED_CONTACT * votes.sum())
    contact = ndimage.binary_dilation(piece, np.ones((3, 3, 3))) & ~piece
    markers = np.where(contact & np.isin(owner, sharing), owner, 0).astype(np.int32)
    divided = watershed(  # type: ignore[no-untyped-call]  # no annotations
        -fraction, markers, mask=piece | (markers > 0)
    )
    owner[piece] = divided[piece]


def _closed_bodies(region: ScanRegion, spine: Spine) -> tuple[LabelArray, LabelArray]:
    """Bodies closed over veins and cement voids, and arches widened by a voxel."""
    bodies = np.zeros(region.hu.shape, np.uint8)
    arches = np.zeros(region.hu.shape, np.uint8)
    boxes = label_boxes(region)
    for index, vertebra in enumerate(spine.vertebrae, start=1):
        number, arch_number = vertebra.level.number, vertebra.level.arch_number
        if number in boxes:
            box = widened(boxes[number], 2.0 * CLOSING_MM, region.geometry)
            geometry = region.geometry.crop(box)
            body = region.labels[box] == number
            full = closed(body, CLOSING_MM, geometry) | body
            bodies[box][full & ((bodies[box] == 0) | body)] = index
        if arch_number in boxes:
            box = widened(boxes[arch_number], 2.0 * ARCH_RIM_MM, region.geometry)
            geometry = region.geometry.crop(box)
            arch = grown(region.labels[box] == arch_number, ARCH_RIM_MM, geometry)
            arches[box][arch & (arches[box] == 0)] = index
    if spine.canal is not None:
        arches[spine.canal.voxels[region.box]] = 0
    arches[bodies > 0] = 0
    return bodies, arches


CLOSING_MM = 2.5
"""Veins and cement voids up to twice as wide are part of the body."""

ARCH_RIM_MM = 1.0
"""Cortex that an outline of the arch misses."""
