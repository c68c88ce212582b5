"""How much of a shaft's cylinder is metal: thread and tapered tip.

The diameter of a screw is that over its thread. Between the crests there is bone or
cement: the core of pedicle screws of 6 to 7.5 mm measures 57-72 % of the outer diameter
(Weidling 2022, doi:10.1038/s41598-022-11824-2, table 2). Counting the grooves as metal
would lose about 0.1 mL of cement per screw.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from cemscope.segmentation.implants.screw_profile import (
    AXIAL_STEP_MM,
    CrossSections,
    ScrewAxis,
    ShaftProfile,
)
from cemscope.segmentation.implants.screw_tip import TipEstimate
from cemscope.segmentation.scan_region import FloatArray, ScanRegion

LONGEST_PITCH_MM = 4.5
"""Threads of pedicle screws repeat every 2 to 4 mm (Weidling 2022, table 2)."""

SMOOTH_RIPPLE_MM, THREADED_RIPPLE_MM = 0.06, 0.12
"""Ripple of the edge along the axis below which a shaft is smooth (noise and voxel grid
leave 0.02-0.04 mm), and above which it is threaded."""

USUAL_GROOVE, UNSEEN_GROOVE = 0.24, 0.2
"""Depth of a thread over the outer radius. Cores of 57-72 % (Weidling 2022) are those
of the narrow end of conical cores; along the shaft the mean depth is less [ours]. Where
slices are too thick to see a thread a smooth shaft is possible, too."""

MAXIMUM_TAPER_MM = 8.0


@dataclass(frozen=True, slots=True)
class ThreadEstimate:
    """Mean metal of a threaded shaft.

    Attributes
    ----------
    metal_radius_mm : float
        Radius of the smooth cylinder with as much metal as the threaded shaft.
    taper_mm : float
        Length over which the tip narrows to a point; 0 for a flat end.
    """

    metal_radius_mm: float
    taper_mm: float


def expected_groove(
    sections: CrossSections,
    bare: npt.NDArray[np.bool_],
    level_hu: FloatArray | float,
    region: ScanRegion,
) -> float:
    """Depth of the thread over the radius, from the ripple of the edge along the shaft.

    Parameters
    ----------
    sections, bare
        Cross-sections along the axis, and which of them show nothing but the shaft.
    level_hu
        Brightness at which the edge is read.
    region
        The scan; slices or pixels wider than a third of a pitch hide the thread.
    """
    if bare.sum() * AXIAL_STEP_MM < 2.0 * LONGEST_PITCH_MM:
        return UNSEEN_GROOVE
    if max(region.geometry.spacing_mm) > 1.3:
        return UNSEEN_GROOVE
    edge = sections.edge_mm(0.6 * level_hu)[bare]
    width = round(LONGEST_PITCH_MM / AXIAL_STEP_MM)
    ripple = edge - ndimage.uniform_filter1d(edge, width, axis=0)
    amount = 1.4826 * float(np.median(np.abs(ripple)))
    threaded = np.clip(
        (amount - SMOOTH_RIPPLE_MM) / (THREADED_RIPPLE_MM - SMOOTH_RIPPLE_MM), 0.0, 1.0
    )
    return float(threaded) * USUAL_GROOVE


def estimate_taper(
    region: ScanRegion,
    axis: ScrewAxis,
    tip: TipEstimate,
    shaft: ShaftProfile,
    ceiling_hu: float | None,
) -> float:
    """Length of the tip's cone from how the bright core narrows.

    Cement around the tip fills what the cone leaves: the more of it there is, the more
    the usual tip counts.
    """
    usual = USUAL_TAPER_RADII * shaft.radius_mm
    if tip.uncertainty_mm > 2.0:
        return usual
    t = tip.t_mm - np.arange(0.25, 22.0, AXIAL_STEP_MM)[::-1]
    sections = CrossSections.sample(region, axis, t)
    r = sections.radius_mm
    rim = (r >= shaft.radius_mm + 1.2) & (r <= shaft.radius_mm + 2.4)
    ring = np.median(sections.hu[:, :, rim], axis=(1, 2))
    top = 0.5 * (float(np.quantile(ring, 0.9)) + shaft.metal_hu)
    level = top if ceiling_hu is None else min(top, 0.95 * ceiling_hu)
    edge = np.median(sections.edge_mm(level), axis=1)
    # Below half value the contour lies outside the metal, and the more so the brighter
    # the surroundings are: cement at the tip, marrow along the shaft.
    height = (level - ring) / np.maximum(shaft.metal_hu - ring, 1.0)
    edge += special.ndtri(np.clip(height, 0.02, 0.98)) * shaft.sigma_mm
    from_tip = tip.t_mm - t
    shaft_edge = float(np.median(edge[from_tip > 10.0]))
    near = from_tip <= MAXIMUM_TAPER_MM
    share = np.clip(1.0 + (edge[near] - shaft_edge) / shaft.radius_mm, 0.0, 1.0)
    missing_mm = float(np.sum(1.0 - share**2)) * AXIAL_STEP_MM
    # A cone lacks two thirds of its cylinder.
    seen = float(np.clip(1.5 * missing_mm, 0.0, MAXIMUM_TAPER_MM))
    around = float(np.median(ring[near])) / level
    hidden = float(np.interp(around, TIP_IN_CEMENT, (0.0, 1.0)))
    return (1.0 - hidden) * seen + hidden * max(seen, usual)


USUAL_TAPER_RADII = 1.5
"""Tips of pedicle screws narrow along 3 to 8 mm [ours]."""

TIP_IN_CEMENT = (0.2, 0.4)
"""Brightness around a tip over that at which its edge is read: below the first it lies
in marrow and the cone is seen; above the second cement fills what the cone leaves, and
a blunt end is not believed [ours]."""
