"""Named places around a vertebral body, on a grid of its own frame."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import ARCH_OFFSET
from cemscope.measurement.arch_bone import ArchImage, arch_bone
from cemscope.measurement.body_shell import RIM_MM, BodyShell, signed_distance_mm
from cemscope.measurement.canal_room import canal_room
from cemscope.measurement.cement_fraction import FractionMap, Ownership
from cemscope.measurement.streak_share import crowded_planes, streak_share
from cemscope.measurement.swallowed_canal import without_swallowed_canal
from cemscope.measurement.vertebra_grid import Float32Array, VertebraGrid
from cemscope.segmentation.scan_region import FloatArray, ScanRegion
from cemscope.spine import Spine, Vertebra, VertebraSource
from cemscope.volume import BoolArray, LabelArray

PLACES = (
    "none",
    "epidural",
    "disc_superior",
    "disc_inferior",
    "foraminal_left",
    "foraminal_right",
    "prevertebral",
    "paravertebral_left",
    "paravertebral_right",
    "needle_track",
)
"""Places of the report; the index is the code on the grid."""

BODY_MARGIN_MM = 14.0
BEHIND_MM = 42.0
"""Grid beside and behind the body: canal and pedicles lie on it in any case."""

REACH_MM = 45.0
"""Leaked cement further from the body's box than this is cut off the grid."""

DISC_MM = 16.0
"""No disc is higher."""

FORAMEN_DEPTH_MM = 15.0
"""Foramina reach so far behind the posterior wall, to the facet joint."""

LEAST_BLUR_MM, VOXEL_BLUR = 0.7, 0.4
"""Sigma of the blur of an edge: that of the scanner, or this share of a voxel."""

RIM_OF_METAL_MM = 1.0
"""Blooming around metal."""

HARDWARE_RIM_MM = 2.0
"""Heads and rods come with a rim of their blur around them: none is thinner."""

FRONT_DEG = 50.0
"""Prevertebral: within this angle of straight ahead, seen from the body's centre."""


@dataclass(frozen=True, slots=True, eq=False)
class VertebraRegions:
    """A body, the bone around it and the named places outside it.

    Attributes
    ----------
    vertebra : Vertebra
        Whose frame the grid has.
    shell : BodyShell
        Its closed body.
    bone_mm : ndarray of float32
        Distance from bone (this body, all arches, other bodies); negative inside.
    arch : ndarray of bool
        Bone of arches.
    canal : ndarray of bool or None
        Spinal canal with the anterior epidural space.
    places : ndarray of uint8
        Index into `PLACES`; 0 within the body.
    cement : ndarray of float32
        Share of cement of this vertebra.
    hu : ndarray of float32
        CT values.
    metal_mm : ndarray of float32
        Distance from the nearest shaft, or from the rim of other metal; infinite
        without any.
    bare_mm : ndarray of float32
        The same from the metal itself, without its rim.
    streak_share : ndarray of float32
        What streaks can read as a share of cement there; 0 without metal.
    seen : ndarray of bool
        Cells that the scan holds.
    """

    vertebra: Vertebra
    shell: BodyShell
    bone_mm: Float32Array
    arch: BoolArray
    canal: BoolArray | None
    places: LabelArray
    cement: Float32Array
    hu: Float32Array
    metal_mm: Float32Array
    bare_mm: Float32Array
    streak_share: Float32Array
    seen: BoolArray

    @property
    def grid(self) -> VertebraGrid:
        """Grid of all arrays."""
        return self.shell.grid


def find_regions(
    fractions: FractionMap,
    owners: Ownership,
    spine: Spine,
    number: int,
    whole: ScanRegion | None = None,
) -> VertebraRegions | None:
    """Lay a grid over a vertebra and its cement, and name its places.

    Parameters
    ----------
    number
        Index + 1 of the vertebra.
    whole
        The spine with margin; without it only what was cut out around the cement is
        known.

    Returns
    -------
    VertebraRegions or None
        None where the body is not outlined.
    """
    vertebra = spine.vertebrae[number - 1]
    bounds = _body_bounds(spine, vertebra)
    if bounds is None:
        return None
    region = fractions.part.region
    mine = (owners.owner == number) & fractions.halo & (fractions.fraction >= 0.2)
    held = vertebra.frame.to_local_mm(region.geometry.index_to_lps(np.argwhere(mine)))
    low = bounds[0] - BODY_MARGIN_MM
    high = bounds[1] + [BODY_MARGIN_MM, BEHIND_MM, BODY_MARGIN_MM]
    if len(held):
        low = np.minimum(low, np.maximum(held.min(axis=0) - 4.0, bounds[0] - REACH_MM))
        high = np.maximum(
            high, np.minimum(held.max(axis=0) + 4.0, bounds[1] + REACH_MM)
        )
    grid = VertebraGrid.around(vertebra.frame, low, high)
    box = grid.scan_box(spine.labels.geometry)
    if box is None:
        return None
    share = np.where(mine, fractions.fraction, 0.0).astype(np.float32)
    labels, scan = spine.labels.labels[box], spine.labels.geometry.crop(box)
    shafts, hardware = fractions.part.metal > 0.5, fractions.part.forbidden
    crowd = crowded_planes(shafts | hardware, region.geometry).astype(np.uint8)
    # A reader waits for this: the parts do not depend on each other.
    with ThreadPoolExecutor(2) as pool:
        later = pool.submit(BodyShell.of_vertebra, spine.labels, vertebra, grid)
        cement, hu, nearest, on_shaft, on_hardware, crowded = pool.map(
            grid.sample,
            (np.clip(share, 0.0, 1.0), fractions.part.tissue_hu, labels,
             shafts, hardware, crowd),
            (region.geometry, region.geometry, scan, *[region.geometry] * 3),
            (1, 1, 0, 0, 0, 0),
        )  # fmt: skip
        shaft_mm, rim_mm = (
            signed_distance_mm(metal > 0, grid.cell_mm)
            if metal.any()
            else np.full(grid.shape, np.inf, np.float32)
            for metal in (on_shaft, on_hardware)
        )
        metal_mm = np.minimum(shaft_mm, rim_mm)
        shell = later.result()
    if shell is None:
        return None
    outline = nearest > ARCH_OFFSET
    own = nearest == vertebra.level.arch_number
    image = ArchImage(
        outline,
        own,
        hu,
        hu if whole is None else grid.sample(whole.hu, whole.geometry),
        cement,
        metal_mm <= RIM_OF_METAL_MM,
        float(np.median(fractions.pure_hu)),
        max(LEAST_BLUR_MM, VOXEL_BLUR * max(region.geometry.spacing_mm)),
        vertebra.source is not VertebraSource.EMBEDDED,
    )
    neighbours = (nearest > 0) & ~outline & (nearest != vertebra.level.number)
    swallowed = np.zeros(hu.shape, np.bool_)
    if not image.trusted:
        drawn, shell = shell, without_swallowed_canal(shell, neighbours, cement, hu)
        swallowed = drawn.inside & ~shell.inside
    canal = canal_room(shell, spine, vertebra, neighbours | _firm(image))
    arch = arch_bone(image, shell, canal) & ~shell.inside & ~swallowed
    if canal is not None:
        arch &= ~canal
    bone = shell.inside | arch | neighbours
    places = _places(shell, arch, neighbours, canal)
    bone_mm = signed_distance_mm(bone, grid.cell_mm)
    return VertebraRegions(
        vertebra,
        shell,
        bone_mm,
        arch,
        canal,
        places,
        cement,
        hu,
        metal_mm,
        np.minimum(shaft_mm, rim_mm + np.float32(HARDWARE_RIM_MM)),
        streak_share(hu, metal_mm, bone_mm, image.cement_hu, crowded > 0),
        grid.sees(spine.labels.geometry),
    )


def _firm(image: ArchImage) -> BoolArray:
    """Bone that bounds the canal: an arch away from cement, which may be a leak."""
    near = ndimage.binary_dilation(image.cement >= 0.35, iterations=3)
    return np.asarray(image.outline & ~near, np.bool_)


def _body_bounds(
    spine: Spine, vertebra: Vertebra
) -> tuple[FloatArray, FloatArray] | None:
    """Extent of a body's outline in its own frame."""
    geometry = spine.labels.geometry
    span = VertebraGrid.around(vertebra.frame, np.full(3, -45.0), np.full(3, 45.0))
    box = span.scan_box(geometry)
    if box is None:
        return None
    index = np.argwhere(spine.labels.labels[box] == vertebra.level.number)
    if len(index) < 8:
        return None
    local = vertebra.frame.to_local_mm(geometry.crop(box).index_to_lps(index))
    return local.min(axis=0), local.max(axis=0)


def _places(
    shell: BodyShell,
    arch: BoolArray,
    neighbours: BoolArray,
    canal: BoolArray | None,
) -> LabelArray:
    """Name every cell outside the body."""
    grid = shell.grid
    left, back = grid.axis_mm(0), grid.axis_mm(1)
    aside = left[:, None, None] - shell.middle_mm
    depth = back[None, :, None]
    centre = 0.5 * float(shell.lower_mm[1] + shell.upper_mm[1])
    angle = np.degrees(np.arctan2(np.abs(aside), centre - depth))
    names = np.zeros(grid.shape, np.uint8)
    names[:] = np.where(
        angle <= FRONT_DEG,
        PLACES.index("prevertebral"),
        np.where(
            aside > 0,
            PLACES.index("paravertebral_left"),
            PLACES.index("paravertebral_right"),
        ),
    )
    wall = _wall_mm(shell)[None, None, :]
    half, end = _canal_half_width(shell, canal), _pedicle_side_mm(shell, arch)
    behind = depth > wall
    foramen = behind & (depth <= wall + FORAMEN_DEPTH_MM) & (np.abs(aside) <= end)
    names[foramen & (aside > 0)] = PLACES.index("foraminal_left")
    names[foramen & (aside <= 0)] = PLACES.index("foraminal_right")
    names[foramen & (np.abs(aside) <= half)] = PLACES.index("epidural")
    names[np.broadcast_to(depth > wall + FORAMEN_DEPTH_MM, names.shape)] = PLACES.index(
        "needle_track"
    )
    if canal is not None:
        names[canal] = PLACES.index("epidural")
    for name, beyond in _discs(shell, neighbours):
        names[beyond & (depth <= wall + RIM_SLACK_MM)] = PLACES.index(name)
    names[shell.inside] = 0
    return names


def _wall_mm(shell: BodyShell) -> FloatArray:
    """Where the posterior wall lies near the midline, at each height of the grid."""
    left = shell.grid.axis_mm(0)
    back = shell.grid.axis_mm(1)
    middle = np.abs(left - shell.middle_mm) <= 0.2 * shell.size_mm[0]
    inside = shell.inside[middle]
    deepest = np.where(inside, back[None, :, None], -np.inf).max(axis=1)
    deepest[~np.isfinite(deepest)] = np.nan
    known = np.isfinite(deepest).sum(axis=0) >= max(1, middle.sum() // 2)
    # Beyond a hollow endplate only the front rim may be left.
    usual = np.nanmedian(deepest[:, known]) if known.any() else 0.0
    known &= np.array(
        [k and np.nanmedian(deepest[:, n]) >= usual - LEANING_MM
         for n, k in enumerate(known)]
    )  # fmt: skip
    heights = np.arange(len(shell.grid.axis_mm(2)))
    wall = np.array([np.nanmedian(deepest[:, k]) if known[k] else 0.0 for k in heights])
    if not known.any():
        return np.full(len(heights), shell.upper_mm[1])
    filled: FloatArray = np.interp(heights, heights[known], wall[known])
    return filled


LEANING_MM = 5.0
"""A posterior wall leans forwards by no more against its own middle [our choice]."""


def wall_depth_mm(shell: BodyShell) -> float:
    """Mean depth of the posterior wall near the midline, behind the body's centre."""
    heights = shell.grid.axis_mm(2)
    within = (heights >= shell.lower_mm[2]) & (heights <= shell.upper_mm[2])
    return float(np.median(_wall_mm(shell)[within]))


def _canal_half_width(shell: BodyShell, canal: BoolArray | None) -> float:
    if canal is None or not canal.any():
        return 0.25 * float(shell.size_mm[0])
    wide = canal.any(axis=1).sum(axis=0) * shell.grid.cell_mm
    return 0.5 * float(np.median(wide[wide > 0]))


def _pedicle_side_mm(shell: BodyShell, arch: BoolArray) -> float:
    """Half the distance between the outer sides of the pedicles."""
    half = 0.5 * float(shell.size_mm[0])
    back = shell.grid.axis_mm(1)
    beside = (back > shell.upper_mm[1] - 2.0) & (back < shell.upper_mm[1] + 6.0)
    up = shell.grid.axis_mm(2)
    high = (up > 0.0) & (up < shell.upper_mm[2])
    held = arch[:, beside][:, :, high].sum(axis=(1, 2))
    if not held.any():
        return half
    columns = held >= PEDICLE_SHARE * held.max()
    away = np.abs(shell.grid.axis_mm(0)[columns] - shell.middle_mm)
    return float(np.clip(np.percentile(away, 90), 0.7 * half, half))


PEDICLE_SHARE = 0.35
"""Beside a pedicle, ribs and transverse processes are thinner than this [ours]."""


def _discs(
    shell: BodyShell, neighbours: BoolArray
) -> tuple[tuple[str, BoolArray], ...]:
    """Cells over and under the body, as far as no other body is in the way."""
    inside = shell.inside
    count = inside.shape[2]
    order = np.arange(count)[None, None, :]
    footprint: BoolArray = np.asarray(inside.any(axis=2), np.bool_)
    top = np.where(inside, order, -1).max(axis=2)
    bottom = np.where(inside, order, count).min(axis=2)
    # Under the flared rim the waist is hollow: there the endplate is that further in.
    deep = ndimage.distance_transform_edt(footprint) * shell.grid.cell_mm
    core = deep >= min(RIM_MM, 0.5 * float(deep.max()))
    tall = inside.sum(axis=2)
    core &= tall >= WHOLE_COLUMN * float(np.percentile(tall[core], 90.0))
    nearest = ndimage.distance_transform_edt(
        ~core, return_distances=False, return_indices=True
    )
    slack = round(RIM_SLACK_MM / shell.grid.cell_mm)
    top = np.maximum(top, top[tuple(nearest)] - slack)
    bottom = np.minimum(bottom, bottom[tuple(nearest)] + slack)
    steps = round(DISC_MM / shell.grid.cell_mm)
    above: BoolArray = footprint[..., None] & (order > top[..., None])
    above &= order <= top[..., None] + steps
    below: BoolArray = footprint[..., None] & (order < bottom[..., None])
    below &= order >= bottom[..., None] - steps
    above &= ~np.maximum.accumulate(neighbours & above, axis=2)
    blocked = np.maximum.accumulate((neighbours & below)[:, :, ::-1], axis=2)
    below &= ~blocked[:, :, ::-1]
    return ("disc_superior", above), ("disc_inferior", below)


WHOLE_COLUMN = 0.5
"""Columns with less of a body's height hold only a rim that stands out over the waist;
the front of a wedge mostly keeps more [our choice]."""

RIM_SLACK_MM = 2.0
"""Rims stand no more than this below the endplate further in."""


def location_names(
    places: npt.NDArray[np.uint8], weights: FloatArray, least_share: float
) -> tuple[str, ...]:
    """Places that hold a relevant share of a leak, the largest first."""
    shares = np.bincount(places, weights, minlength=len(PLACES))
    shares[0] = 0.0
    total = max(float(shares.sum()), 1e-9)
    order = [int(k) for k in np.argsort(-shares, kind="stable") if shares[k] > 0]
    named = tuple(PLACES[k] for k in order if shares[k] >= least_share * total)
    return named or tuple(PLACES[k] for k in order[:1]) or ("paravertebral",)


def disc_is_seen(regions: VertebraRegions, name: str) -> bool:
    """Tell whether the scan holds the room of a disc, as far as 3 mm off the body."""
    room = (regions.places == PLACES.index(name)) & (regions.shell.distance_mm <= 3.0)
    return bool(ndimage.minimum(regions.seen, room, 1) if room.any() else False)
