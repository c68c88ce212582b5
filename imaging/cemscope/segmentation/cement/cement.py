"""Bone cement: which voxels hold it and how bright pure cement is in this scan.

There is no fixed threshold. Something is cement if it is solid (bright after an erosion
that makes cortex vanish), brighter than the scan's own compact bone, not metal by
shape, and inside a vertebra or joined to cement that is.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cemscope.materials import CORTICAL_BONE_MAX_HU
from cemscope.segmentation.cement.cement_cores import (
    VertebraCores,
    solid_cores,
)
from cemscope.segmentation.cement.cement_level import (
    CementLevel,
    FlankSamples,
    level_of_cores,
    level_of_flanks,
    level_of_strands,
    sample_flanks,
)
from cemscope.segmentation.cement.cement_pieces import accepted_pieces
from cemscope.segmentation.cement.cement_settings import CementSettings
from cemscope.segmentation.cement.shaft_layers import ShaftLayer, measure_layers
from cemscope.segmentation.implants.shaft_rim import TissueImage
from cemscope.segmentation.scan_region import (
    ScanRegion,
    box_around,
    grown,
    merged_boxes,
    widened,
)
from cemscope.segmentation.tissue_levels import THICKEST_ERODED, TissueLevels
from cemscope.spine import Spine
from cemscope.volume import BoolArray, HUArray

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class CementRegion:
    """Cement of one cluster of pieces, on a box of the spine's region.

    Attributes
    ----------
    region : ScanRegion
        The box with a margin for the halo.
    solid : ndarray of bool
        Voxels above the lower limit that belong to accepted pieces.
    shell : ndarray of bool
        Uncertain voxels: shafts and their rim of blooming.
    metal : ndarray of float32
        Share of metal (shafts) in each voxel.
    tissue_hu : ndarray of int16
        HU without the blurred share of the shafts.
    corrected : ndarray of bool
        Voxels from which a noticeable share of metal was subtracted.
    forbidden : ndarray of bool
        Hardware with its rim: never cement.
    layers : tuple of ShaftLayer
        Bright matter on the surface of the shafts.
    """

    region: ScanRegion
    solid: BoolArray
    shell: BoolArray
    metal: Float32Array
    tissue_hu: HUArray
    corrected: BoolArray
    forbidden: BoolArray
    layers: tuple[ShaftLayer, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FoundCement:
    """The cement of a scan.

    Attributes
    ----------
    level : CementLevel or None
        None where there is no cement.
    parts : tuple of CementRegion
        One per cluster of neighbouring pieces.
    dark_levels : frozenset of str
        Vertebrae whose dense matter is as dark as bone, unlike cement elsewhere.
    """

    level: CementLevel | None
    parts: tuple[CementRegion, ...] = ()
    dark_levels: frozenset[str] = frozenset()


def find_cement(
    region: ScanRegion,
    spine: Spine,
    tissue: TissueImage,
    levels: TissueLevels,
    settings: CementSettings,
    doubtful: frozenset[str] = frozenset(),
) -> FoundCement:
    """Find the cement of the spine's region.

    Parameters
    ----------
    region
        Spine with margin.
    spine
        Its vertebrae.
    tissue
        The same region without the blur of metal, and where nothing can be measured.
    levels
        Bone of this scan.
    settings
        What counts as cement.
    doubtful
        Names of vertebrae with metal that no shape was fitted to: the level of cement
        is not read there if it can be read elsewhere.
    """
    cores = solid_cores(region, spine, tissue, levels, settings)
    if not cores:
        return FoundCement(None)
    held = {v.level.number for v in spine.vertebrae if v.level.name in doubtful}
    clear = [item for item in cores if item.number not in held]
    level = _scan_level(region, tissue, clear or cores, levels, settings)
    tissue = _without_metal(region, tissue, level, settings)
    solid_pieces, piece_boxes = accepted_pieces(
        region, tissue, cores, level, levels, settings
    )
    boxes = [
        widened(box, 2.0 * settings.halo_mm + 4.0, region.geometry)
        for box in piece_boxes
    ]
    layers = measure_layers(region, tissue.screws, level, levels)
    clusters = []
    for box in merged_boxes(boxes):
        solid = solid_pieces[box]
        clusters.append(
            CementRegion(
                region.sub_box(box),
                solid,
                tissue.shell[box],
                tissue.metal[box].astype(np.float32) / np.float32(100.0),
                tissue.hu[box],
                tissue.corrected[box],
                tissue.forbidden[box],
                layers,
            )
        )
    dark = {item.number for item in cores if _is_dark(item, tissue, level, levels)}
    names = frozenset(v.level.name for v in spine.vertebrae if v.level.number in dark)
    return FoundCement(level, tuple(clusters), names)


DARK_SHARE = 0.6
"""Cement of one mixture varies less than this from vertebra to vertebra [ours]."""


def _is_dark(
    item: VertebraCores, tissue: TissueImage, level: CementLevel, levels: TissueLevels
) -> bool:
    """Tell a bone island from the scan's cement.

    Not where metal spoils brightness, nor of thin strands, which are darker than the
    cement that they are made of.
    """
    if item.fine or tissue.shell[item.box].any():
        return False
    bone = max(CORTICAL_BONE_MAX_HU, 1.1 * levels.arch_upper_hu)
    top = float(np.quantile(tissue.hu[item.box][item.all], 0.95))
    return top < min(DARK_SHARE * level.hu, bone)


MINIMUM_CLEAN_ML = 0.03
"""Cement away from metal that is enough to read the level from."""

STRAND_REACH_MM = 1.0
"""The middle of a strand lies this near to what is left of it by the erosion."""

FLANK_REACH_MM = 3.5
"""Flanks of cement end within this distance of its solid core."""


def _scan_level(
    region: ScanRegion,
    tissue: TissueImage,
    cores: list[VertebraCores],
    levels: TissueLevels,
    settings: CementSettings,
) -> CementLevel:
    """Read the level where it is least disturbed.

    Best are cores deep in a body (metal lies in pedicles and behind) and away from
    shafts.
    """
    if all(item.fine for item in cores):
        strands = [
            tissue.hu[item.box][
                grown(item.all, STRAND_REACH_MM, region.geometry.crop(item.box))
            ]
            for item in cores
        ]
        return level_of_strands(np.concatenate(strands).astype(np.float64))
    cores = [item for item in cores if not item.fine]
    for clean, deep in ((True, True), (False, True), (True, False), (False, False)):
        chosen = [
            (
                item.box,
                (item.deep if deep else item.all)
                & ~(clean & tissue.corrected[item.box]),
            )
            for item in cores
        ]
        if sum(core.sum() for _, core in chosen) * region.voxel_ml >= MINIMUM_CLEAN_ML:
            break
    values = np.concatenate([tissue.hu[box][core] for box, core in chosen])
    spacing_mm = region.geometry.spacing_mm
    thick = max(spacing_mm) > THICKEST_ERODED * settings.levels.core_radius_mm
    level = level_of_cores(values.astype(np.float64), levels.ceiling_hu, thick=thick)
    if not level.clipped:
        return level
    samples = []
    for box, core in chosen:
        near = grown(core, FLANK_REACH_MM, region.geometry.crop(box))
        near &= ~tissue.shell[box] & ~tissue.forbidden[box] & ~tissue.corrected[box]
        samples.append(
            sample_flanks(
                region.hu[box], near, spacing_mm, float(levels.ceiling_hu or 0)
            )
        )
    flanks = FlankSamples(
        np.concatenate([part.hu for part in samples]),
        np.concatenate([part.falls for part in samples]),
    )
    return level_of_flanks(flanks, spacing_mm, levels)


METAL_FACTOR = 1.5
"""What is brighter than this scan's cement by this factor is metal: opacifier is mixed
more evenly than that [our choice]."""


def _without_metal(
    region: ScanRegion,
    tissue: TissueImage,
    level: CementLevel,
    settings: CementSettings,
) -> TissueImage:
    """Leave out what is far brighter than cement: metal that no shape was fitted to."""
    if level.clipped:
        return tissue
    bright = (tissue.hu > METAL_FACTOR * level.hu) & ~tissue.shell & ~tissue.forbidden
    box = box_around(bright, region.geometry, settings.halo_mm + 1.0)
    if box is None:
        return tissue
    forbidden = tissue.forbidden.copy()
    rim = grown(bright[box], settings.halo_mm, region.geometry.crop(box))
    forbidden[box] |= rim & ~tissue.shell[box]
    return replace(tissue, forbidden=forbidden)
