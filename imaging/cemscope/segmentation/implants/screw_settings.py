"""What counts as a pedicle screw, and how bright metal is in a scan."""

from dataclasses import dataclass

import numpy as np

from cemscope.segmentation.implants.implant_metals import TITANIUM_HU
from cemscope.segmentation.scan_region import FloatArray


@dataclass(frozen=True, slots=True)
class ScrewSettings:
    """What counts as a pedicle screw.

    Attributes
    ----------
    minimum_radius_mm, maximum_radius_mm
        Radius of the shaft at its free part.
    minimum_length_mm
        Straight core from head to tip.
    minimum_free_length_mm
        Length on which the shaft must be round, even and free of cement.
    minimum_head_radius_mm
        Smaller widenings behind a shaft are no head.
    headless_free_length_mm, headless_radius_mm
        Length and radius without which a shaft whose head lies outside the scan is
        undecided: cement in the track of a needle can be as straight.
    certain_share
        A shaft that reaches this share of titanium's brightness needs no head. Only
        where the scan is not clipped.
    darkest_share
        Nothing below this share of titanium's brightness is metal. Likewise.
    maximum_roughness_mm
        Root mean square deviation of a free cross-section from a circle.
    maximum_elongation
        Half the difference of a section's longest and shortest radius, over the
        radius.
    search_angle_deg
        Widest angle between screw and the vertebra's posterior axis.
    """

    minimum_radius_mm: float = 1.5
    maximum_radius_mm: float = 4.75
    minimum_length_mm: float = 20.0
    minimum_free_length_mm: float = 5.0
    minimum_head_radius_mm: float = 4.0
    headless_free_length_mm: float = 15.0
    headless_radius_mm: float = 2.0
    certain_share: float = 0.65
    darkest_share: float = 0.45
    maximum_roughness_mm: float = 0.45
    maximum_elongation: float = 0.3
    search_angle_deg: float = 45.0


@dataclass(frozen=True, slots=True)
class Brightness:
    """How bright metal is in a scan.

    Attributes
    ----------
    level_hu : float
        The line was searched among voxels at least this bright.
    ceiling_hu : float or None
        Value at which the scan is clipped.
    titanium_hu : float
        What a titanium shaft would read without clipping.
    """

    level_hu: float
    ceiling_hu: float | None
    titanium_hu: float = TITANIUM_HU

    def edge_levels_hu(self, plateau_hu: FloatArray, outside_hu: float) -> FloatArray:
        """Value at which the edge of a shaft is read, per plane.

        Half-way to what lies outside; just below the ceiling where it hides the
        shaft's own brightness.
        """
        beside = np.minimum(max(outside_hu, 0.0), 0.5 * plateau_hu)
        levels: FloatArray = 0.5 * (plateau_hu + beside)
        if self.ceiling_hu is not None:
            hidden = plateau_hu >= HIDING_SHARE * self.ceiling_hu
            top = max(self.level_hu, 0.93 * self.ceiling_hu)
            levels = np.where(hidden, top, levels)
        return levels


HIDING_SHARE = 0.97
"""A shaft that reaches this share of the ceiling may be brighter than that."""
