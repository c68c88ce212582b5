"""Which pieces of dense matter are cement: those with a core, and what joins them."""

import numpy as np
from scipy import ndimage

from cemscope.anatomy import ARCH_OFFSET
from cemscope.materials import CORTICAL_BONE_MAX_HU
from cemscope.segmentation.cement.cement_cores import (
    VertebraCores,
    core_limit_hu,
    deep_in,
)
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.cement.cement_settings import CementSettings
from cemscope.segmentation.cement.other_bone import joined_to_cement, other_bone
from cemscope.segmentation.implants.shaft_rim import TissueImage
from cemscope.segmentation.implants.shaft_streaks import CREST_REACH_MM
from cemscope.segmentation.scan_region import (
    Box,
    ScanRegion,
    box_around,
    grown,
    joint,
    narrowed,
    widened,
)
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.volume import BoolArray


def lower_limit_hu(
    levels: TissueLevels, level: CementLevel, settings: CementSettings
) -> float:
    """Lower limit of a cement voxel: part of the way from marrow to cement.

    Never below the cortex of the scan's unaugmented bodies, unless that would exceed
    three quarters of the way (weakly opaque cement).
    """
    way = level.hu - levels.marrow_hu
    if level.clipped and levels.ceiling_hu is not None:
        way = min(way, 2.0 * (0.9 * levels.ceiling_hu - levels.marrow_hu))
    half = levels.marrow_hu + settings.level_share * way
    return float(max(half, min(levels.cortex_upper_hu, levels.marrow_hu + 0.75 * way)))


def interior_limit_hu(
    levels: TissueLevels, level: CementLevel, settings: CementSettings
) -> float:
    """Lower limit of a cement voxel below the surface of a body.

    There is no cortex: what is brighter than this patient's cancellous bone can be is
    marrow that cement has soaked.
    """
    bone = settings.core_margin * levels.compact_upper_hu + 3.0 * levels.noise_hu
    way = level.hu - levels.marrow_hu
    least = max(bone, levels.marrow_hu + settings.soaked_share * way)
    return float(min(least, lower_limit_hu(levels, level, settings)))


SOAKED_REACH_MM = 5.0
"""Marrow soaked with cement lies around solid cement."""

SOAKED_DEPTH_MM = 3.0
"""Nearer to the surface the blur of an endplate is as bright: at 2 mm, endplates that
cement touched counted with it, up to a third of a volume [ours, on phantoms]."""

STREAK_REACH_MM = 20.0
"""Streaks of cobalt chrome as bright as bone reach this far from metal [ours]."""


STRAND_LENGTH_MM = 20.0
"""Strands of cement run no farther from its core than through half a body [ours]."""


def _with_cores(
    region: ScanRegion, dense: BoolArray, cores: list[VertebraCores]
) -> BoolArray:
    """Dense voxels of each vertebra's surroundings that hang together with its core."""
    result = np.zeros(dense.shape, np.bool_)
    for item in cores:
        box = widened(item.box, STRAND_LENGTH_MM, region.geometry)
        pieces, _ = ndimage.label(dense[box], np.ones((3, 3, 3)))
        inner = tuple(
            slice(own.start - wide.start, own.stop - wide.start)
            for own, wide in zip(item.box, box, strict=True)
        )
        held = np.unique(pieces[inner][item.all])
        result[box] |= np.isin(pieces, held[held > 0])
    return result


DULL_REACH_MM = 3.0
"""Pieces that may be bone by their brightness join cement over this only: farther off
they are dense endplates and osteophytes [ours]."""

LONGEST_CHAIN = 3
"""Pieces that join by way of others, from the body through the pedicle."""


def accepted_pieces(
    region: ScanRegion,
    tissue: TissueImage,
    cores: list[VertebraCores],
    level: CementLevel,
    levels: TissueLevels,
    settings: CementSettings,
) -> tuple[BoolArray, list[Box]]:
    """Tell which of the pieces above the lower limit are cement.

    A piece needs a core; pieces near to accepted ones (veins are thinner than a core,
    and the shell of a screw cuts cement) need cement's brightness.

    Returns
    -------
    ndarray of bool
        Voxels of the accepted pieces.
    list of tuple of slice
        Box of each.
    """
    low = lower_limit_hu(levels, level, settings)
    dense = tissue.hu >= low
    if levels.arch_upper_hu > low:
        dense &= ~((region.labels > ARCH_OFFSET) & (tissue.hu < levels.arch_upper_hu))
    soaked = interior_limit_hu(levels, level, settings)
    for item in cores:
        box = widened(item.box, SOAKED_REACH_MM, region.geometry)
        part = region.sub_box(box)
        # Streaks beside metal are as bright as soaked marrow.
        clear = ~grown(tissue.shell[box], CREST_REACH_MM, part.geometry)
        candidate = (tissue.hu[box] >= soaked) & clear
        dense[box] |= deep_in(
            part, item.number, SOAKED_DEPTH_MM, candidate & ~dense[box]
        )
    dense &= ~tissue.forbidden & ~tissue.shell
    dark = other_bone(region, tissue.hu, dense, levels.arch_upper_hu)
    if dark.any():
        inside = _with_cores(region, dense & ~dark, cores)
        dark &= ~joined_to_cement(region, tissue.hu, dark, inside, level.hu)
        dense &= ~dark
    solid = np.zeros(dense.shape, np.bool_)
    crop = box_around(dense, region.geometry, 0.0)
    if crop is None:
        return solid, []
    pieces, count = ndimage.label(dense[crop], np.ones((3, 3, 3)))
    ml = np.bincount(pieces[dense[crop]], minlength=count + 1) * region.voxel_ml
    start = np.array([part.start for part in crop])
    core_ml = np.zeros(count + 1)
    for item in cores:
        box = item.box
        core = item.all & dense[box]
        index = np.argwhere(core) + [part.start for part in box] - start
        held = pieces[tuple(index.T)]
        core_ml += np.bincount(held, minlength=count + 1) * region.voxel_ml
    accepted = core_ml >= 0.2 * settings.minimum_volume_ml
    accepted &= ml >= settings.minimum_volume_ml
    accepted[0] = False
    if not accepted.any():
        return solid, []
    found = ndimage.find_objects(pieces)
    part = region.sub_box(crop)
    own = [found[k - 1] for k in np.flatnonzero(accepted)]
    reach_mm = LONGEST_CHAIN * settings.satellite_reach_mm
    around = widened(joint(tuple(own)), reach_mm, part.geometry)
    bone = max(settings.core_margin * levels.arch_upper_hu, CORTICAL_BONE_MAX_HU)
    limit = max(1.1 * core_limit_hu(levels, settings), min(0.75 * level.hu, bone))
    beside_metal = max(limit, 0.75 * level.hu)
    far_limit = max(limit, bone)
    if levels.ceiling_hu is not None:
        far_limit = min(far_limit, 0.97 * levels.ceiling_hu)
        limit = min(limit, 0.97 * levels.ceiling_hu)
        beside_metal = min(beside_metal, 0.97 * levels.ceiling_hu)
    candidates = (ml >= 0.5 * settings.minimum_volume_ml) & ~accepted
    candidates[0] = False
    bright = candidates[pieces[around]] & (part.hu[around] >= limit)
    if bright.any():
        # Streaks beside metal can be brighter than bone.
        streaky = grown(
            tissue.shell[crop][around], STREAK_REACH_MM, part.geometry.crop(around)
        )
        bright &= ~streaky | (part.hu[around] >= beside_metal)
    beyond_bone = bright & (part.hu[around] >= far_limit)
    if beyond_bone.any():
        # Strands without a core that no bone and no streak can be.
        sure = beyond_bone & ~streaky & (part.labels[around] > 0)
        held_ml = np.bincount(pieces[around][sure], minlength=count + 1)
        accepted |= held_ml * region.voxel_ml >= settings.minimum_volume_ml
    for _ in range(LONGEST_CHAIN if bright.any() else 0):
        joining = np.concatenate(
            [
                pieces[around][
                    near
                    & grown(
                        accepted[pieces[around]], reach_mm, part.geometry.crop(around)
                    )
                ]
                for near, reach_mm in (
                    (bright, DULL_REACH_MM),
                    (beyond_bone, settings.satellite_reach_mm),
                )
                if near.any()
            ]
        )
        if accepted[joining].all():
            break
        accepted[joining] = True
    solid[crop] = accepted[pieces]
    boxes = [narrowed(crop, found[k - 1]) for k in np.flatnonzero(accepted)]
    return solid, boxes
