"""What tells cement in a vein, in muscle or in the lung from what is as dense."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from cemscope.materials import CORTICAL_BONE_MAX_HU
from cemscope.measurement.coarse_scan import CELL_MM, CoarseScan
from cemscope.measurement.dense_object import DenseObject
from cemscope.measurement.distant_places import DistantPlace
from cemscope.segmentation.scan_region import FloatArray
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.volume import BoolArray


@dataclass(frozen=True, slots=True)
class DistantSettings:
    """What counts as cement away from the vertebrae [our operational definition].

    Attributes
    ----------
    thin_share
        In lung, the core of a thin tube reaches this share of the scan's cement: blur
        darkens fine lines. Nothing darker is looked at anywhere.
    lung_share
        The core of any other object in lung, this share.
    soft_share
        In veins and muscle, this share.
    metal_share
        What is brighter than cement by this factor is metal.
    metal_flank_share, cement_flank_share
        On a clipped scale, flanks thinner than those of the vertebrae's own cement by
        the first factor are of metal, by the second are not told from it.
    metal_rim_mm, metal_rim_share
        Nothing is told of an object of which this share lies so near to the spine's
        screws and rods: it is their rim.
    highest_share
        Where bone and calcification reach more than this share of cement, soft tissue
        is not searched.
    minimum_width_mm
        Thinner lines in soft tissue are not told from wires, leads and clips.
    longest_tube_mm
        Longer tubes are not told from leads, catheters and drains.
    longest_mm
        What reaches further is no cement: ribs, leads, drains.
    tube_elongation
        A tube is this many times as long as wide; calcified granulomas are round.
    solid_width_mm
        An object of this width has a core that blur does not darken.
    lung_shell_share, soft_shell_share
        Least share of lung, or of soft tissue and lung, around an object.
    bone_share, lung_bone_share
        Largest share of bone around an object in soft tissue, and in lung.
    neutral_share
        Largest share of outlined bone or known cement around an object.
    interior_share
        Least brightness of an object's inside against its core: bone holds marrow.
    hollow_share
        Largest volume with what the object encloses, against its own: bone is a tube.
    enclosed_share
        Of the directions, in which bone without an outline is met, within a bone.
    minimum_volume_ml, maximum_volume_ml
        Of the contour; less is noise, more is no leak.
    least_hu
        Nothing darker is looked at: airways and cartilage calcify to less.
    minimum_core_ml, minimum_voxels
        Of the voxels that are looked at.
    rim_mm
        Blur that the volume counts beyond the contour.
    most_objects
        So many bright things are looked at, the largest.
    """

    thin_share: float = 0.35
    lung_share: float = 0.5
    soft_share: float = 0.65
    metal_share: float = 1.4
    metal_flank_share: float = 0.6
    cement_flank_share: float = 0.8
    metal_rim_mm: float = 4.0
    metal_rim_share: float = 0.3
    highest_share: float = 0.95
    minimum_width_mm: float = 2.4
    longest_tube_mm: float = 120.0
    longest_mm: float = 250.0
    tube_elongation: float = 3.0
    solid_width_mm: float = 4.0
    lung_shell_share: float = 0.6
    soft_shell_share: float = 0.6
    bone_share: float = 0.1
    lung_bone_share: float = 0.03
    neutral_share: float = 0.45
    interior_share: float = 0.7
    hollow_share: float = 1.1
    enclosed_share: float = 0.5
    minimum_volume_ml: float = 0.01
    maximum_volume_ml: float = 15.0
    least_hu: float = 700.0
    minimum_core_ml: float = 0.003
    minimum_voxels: int = 4
    rim_mm: float = 1.6
    most_objects: int = 400


CALCIFICATION_MARGIN = 1.05
"""Plaques, nodes and stones reach what solid bone reaches, seldom more [ours]."""

BONE_OVER_VOLTAGE = ((80.0, 100.0, 120.0, 140.0), (1.41, 1.13, 1.0, 0.91))
"""Tube voltage, and solid bone against its value at 120 kVp: ICRU cortical bone behind
25 cm of water, computed."""

SHELL_BONE_HU = 300
"""Brightest voxel of a cell with cortex."""

ENCLOSED_MM = 30.0
"""Cortex of the bone that an object lies in is met within this distance."""


def calcification_hu(levels: TissueLevels) -> float:
    """Brightness that bone and calcification of a scan do not exceed."""
    ratio = float(np.interp(levels.kvp or 120.0, *BONE_OVER_VOLTAGE))
    bone = max(CORTICAL_BONE_MAX_HU * ratio, levels.arch_upper_hu)
    return CALCIFICATION_MARGIN * bone


@dataclass(frozen=True, slots=True, eq=False)
class RuleContext:
    """What the rules need to know of a scan.

    Attributes
    ----------
    level_hu, clipped : float, bool
        Pure cement, and whether the scale clips it.
    ceiling_hu : int or None
        Of the scale.
    calcification_hu : float
        See `calcification_hu`.
    contrast_medium : bool
        Whether vessels are enhanced: iodine in veins, kidneys and ureters can be as
        bright as cement.
    own_flank_mm : float
        Thickness of the flanks of the vertebrae's cement below the ceiling; NaN where
        not known.
    coarse, lung
        The scan on cells, and its lungs.
    settings
        Limits.
    """

    level_hu: float
    clipped: bool
    ceiling_hu: int | None
    calcification_hu: float
    contrast_medium: bool
    own_flank_mm: float
    coarse: CoarseScan
    lung: BoolArray
    settings: DistantSettings

    @property
    def seen_level_hu(self) -> float:
        """How bright the scale shows cement."""
        if self.clipped and self.ceiling_hu is not None:
            return float(self.ceiling_hu)
        return self.level_hu

    @property
    def candidate_hu(self) -> float:
        """Darkest voxel that is looked at."""
        share = self.settings.thin_share
        return max(share * self.seen_level_hu, self.settings.least_hu)

    @property
    def soft_limit_hu(self) -> float:
        """Core that proves cement in soft tissue."""
        share = self.settings.soft_share
        return max(share * self.seen_level_hu, self.calcification_hu)

    @property
    def soft_least_hu(self) -> float:
        """Darkest core that is told in soft tissue."""
        return max(self.settings.soft_share * self.seen_level_hu, DENSEST_HU)

    def beside_lung(self, found: DenseObject) -> bool:
        """Tell whether an object lies in or at the lungs."""
        return found.shell.lung >= LUNG_SIDES and self.lung_near(found)

    def lung_near(self, found: DenseObject) -> bool:
        """Tell whether what is dark around an object can be lung, not air or cloth."""
        points = found.centre_lps_mm + product_mm(LUNG_REACH_MM)
        cells, held = self.coarse.cells_at(points)
        return bool((self.lung[tuple(cells.T)] & held).mean() >= LUNG_NEAR)


LUNG_REACH_MM = 9.0
"""Lung is looked for so far around the middle of an object."""


LUNG_NEAR = 0.15
"""Least share of lung among the cells there."""


def product_mm(reach_mm: float) -> FloatArray:
    """Offsets of a cube of points around a point."""
    steps = np.arange(-reach_mm, reach_mm + 1.0, CELL_MM)
    return np.array(list(product(steps, steps, steps)))


@dataclass(frozen=True, slots=True)
class MetalSigns:
    """What speaks for metal.

    Attributes
    ----------
    rim_share : float
        Share of an object that lies beside the spine's metal.
    flank_mm : float
        Thickness of its flanks below the ceiling of the scale; NaN where not known.
    """

    rim_share: float
    flank_mm: float


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """An object that is cement, or may be: ``doubt`` says why it is not sure."""

    found: DenseObject
    place: DistantPlace
    doubt: str = ""


def judge(
    found: DenseObject, place: DistantPlace, signs: MetalSigns, context: RuleContext
) -> Verdict | None:
    """Tell cement from other dense things.

    Returns
    -------
    Verdict or None
        None for what is surely something else.
    """
    settings = context.settings
    if not settings.minimum_volume_ml <= found.volume_ml <= settings.maximum_volume_ml:
        return None
    if found.hollow > settings.hollow_share:
        return None
    if found.interior_hu < settings.interior_share * found.core_hu:
        return None
    if _is_metal(found, signs, context):
        return None
    if place.location.startswith("lung"):
        return _judge_in_lung(found, place, signs, context)
    return _judge_in_soft_tissue(found, place, signs, context)


def _judge_in_lung(
    found: DenseObject, place: DistantPlace, signs: MetalSigns, context: RuleContext
) -> Verdict | None:
    settings, shell = context.settings, found.shell
    if shell.bone > settings.lung_bone_share or shell.lung < 0.5 * LUNG_SIDES:
        return None
    doubt = _metal_doubt(found, signs, context)
    if shell.lung < settings.lung_shell_share or shell.least_lung < LUNG_SIDES:
        doubt = "it touches the chest wall or the mediastinum"
    tube = found.elongation >= settings.tube_elongation
    if not tube and found.core_hu < settings.lung_share * context.seen_level_hu:
        return None
    wide = found.width_mm >= settings.solid_width_mm
    if wide and found.core_hu < context.soft_limit_hu:
        doubt = "a calcified node or scar can be as bright"
    elif not tube and found.core_hu < context.calcification_hu:
        doubt = "a calcified granuloma can be as bright"
    if found.length_mm > settings.longest_tube_mm:
        doubt = "a drain or lead looks alike"
    return Verdict(found, place, doubt)


LUNG_SIDES = 0.25
"""Least share of lung in each octant around an embolus: ribs have lung on one side."""


DENSEST_HU = 1000.0
"""Few calcifications of soft tissue are brighter; what is darker is not told [ours]."""


def _judge_in_soft_tissue(
    found: DenseObject, place: DistantPlace, signs: MetalSigns, context: RuleContext
) -> Verdict | None:
    settings, shell = context.settings, found.shell
    if found.core_hu < context.soft_least_hu:
        return None
    if shell.bone > settings.bone_share or shell.most_bone > 4.0 * settings.bone_share:
        return None
    if shell.neutral > settings.neutral_share:
        return None
    lung = shell.lung if context.lung_near(found) else 0.0
    gas = shell.gas + shell.lung - lung
    if shell.soft + lung < settings.soft_shell_share or gas > settings.bone_share:
        return None
    if place.beyond:
        return Verdict(found, place, "a vertebra without an outline may hold it")
    if _enclosed_share(found, context) >= settings.enclosed_share:
        return Verdict(found, place, "it lies within a bone that has no outline")
    doubt = _metal_doubt(found, signs, context)
    if doubt and not place.near:
        return None
    faint = found.core_hu < context.soft_limit_hu
    if faint and (context.contrast_medium or found.cut or not place.near):
        return None
    if faint:
        doubt = "calcification can be as bright"
    if found.width_mm < settings.minimum_width_mm:
        doubt = "a wire, clip or lead as thin looks alike"
    if found.length_mm > settings.longest_tube_mm or found.cut:
        doubt = "a lead, catheter or drain looks alike"
    if not place.near:
        doubt = "contents of the bowel, a stone or an implant can be as bright"
    if context.contrast_medium:
        doubt = "the scan was made with contrast medium, which can be as bright"
    return Verdict(found, place, doubt)


def _is_metal(found: DenseObject, signs: MetalSigns, context: RuleContext) -> bool:
    """Tell what is brighter than any cement, or would be on a scale without an end."""
    settings = context.settings
    if signs.rim_share >= settings.metal_rim_share:
        return True
    if found.core_hu > settings.metal_share * context.level_hu:
        return True
    thin = signs.flank_mm < settings.metal_flank_share * context.own_flank_mm
    return bool(thin and _at_ceiling(found, context))


def _at_ceiling(found: DenseObject, context: RuleContext) -> bool:
    ceiling = context.ceiling_hu
    return ceiling is not None and found.core_hu >= CLIPPED_SHARE * ceiling


CLIPPED_SHARE = 0.985
"""Of the ceiling; noise is clipped, too."""


def _metal_doubt(found: DenseObject, signs: MetalSigns, context: RuleContext) -> str:
    """Why an object at the ceiling of a clipped scale may be metal; '' where not."""
    if signs.rim_share > 0.0:
        return "metal beside it may have made it"
    least_mm = context.settings.cement_flank_share * context.own_flank_mm
    if signs.flank_mm >= least_mm or not _at_ceiling(found, context):
        return ""
    return "the scale is clipped, so that metal looks alike"


def _enclosed_share(found: DenseObject, context: RuleContext) -> float:
    """Share of directions in which cortex without an outline is met."""
    ways = np.array([way for way in product((-1, 0, 1), repeat=3) if any(way)], float)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    steps = np.arange(0.5 * found.width_mm + 4.0, ENCLOSED_MM, 0.8 * CELL_MM)
    points = found.centre_lps_mm + ways[:, None, :] * steps[None, :, None]
    cells, held = context.coarse.cells_at(points.reshape(-1, 3))
    place = tuple(cells.T)
    bone = context.coarse.max_hu[place] >= SHELL_BONE_HU
    bone &= held & ~context.coarse.labelled[place]
    # Blur of the object itself is no cortex.
    inside = _cells_of(found, context)
    bone &= ~inside[place]
    return float(bone.reshape(len(ways), -1).any(axis=1).mean())


def _cells_of(found: DenseObject, context: RuleContext) -> BoolArray:
    """Cells that an object touches, with their neighbours."""
    marked = np.zeros(context.coarse.geometry.shape, np.bool_)
    index = np.argwhere(found.voxels) + [side.start for side in found.box]
    cells = np.stack(context.coarse.cells_of(index), -1)
    for step in product((-1, 0, 1), repeat=3):
        near = np.clip(cells + step, 0, np.array(marked.shape) - 1)
        marked[tuple(near.T)] = True
    return marked
