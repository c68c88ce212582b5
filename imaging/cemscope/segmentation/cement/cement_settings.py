"""What counts as cement: the tunables of the search."""

from dataclasses import dataclass, field

from cemscope.segmentation.implants.shaft_rim import ShaftRimSettings
from cemscope.segmentation.tissue_levels import TissueLevelSettings


@dataclass(frozen=True, slots=True)
class CementSettings:
    """What counts as cement.

    Attributes
    ----------
    core_margin
        A core must exceed the scan's compact bone (99.9th percentile) by this factor.
    minimum_core_hu
        And never be darker than this: 10 % zirconium dioxide at 120-140 kVp reads
        1,000-1,300 HU, sclerotic bone seldom more than 800 HU.
    core_depth_mm
        A core darker than the densest arch must lie this deep in a body.
    body_reach_mm
        Brighter cores may lie anywhere in a vertebra, or this near to one.
    minimum_volume_ml
        Smaller pieces are not told from bone.
    level_share
        A voxel belongs to cement above this share of the way from marrow to cement.
    soaked_share
        Below a body's surface a voxel above this share belongs to cement that it
        touches.
    satellite_reach_mm
        Pieces this near to cement count as cement even where no voxel joins them.
    halo_mm
        How far blurred cement reaches beyond its half-value contour.
    levels, rim
        How bone and the surroundings of shafts are read.
    """

    core_margin: float = 1.3
    minimum_core_hu: float = 800.0
    core_depth_mm: float = 2.0
    body_reach_mm: float = 2.0
    minimum_volume_ml: float = 0.03
    level_share: float = 0.5
    soaked_share: float = 0.2
    satellite_reach_mm: float = 10.0
    halo_mm: float = 1.6
    levels: TissueLevelSettings = field(default_factory=TissueLevelSettings)
    rim: ShaftRimSettings = field(default_factory=ShaftRimSettings)
