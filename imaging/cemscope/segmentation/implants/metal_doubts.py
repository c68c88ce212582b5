"""Parts counted as metal that may be leaked cement, where the scale cannot tell.

On a clipped scale cement that touches a screw's head is as bright as the head. What
surgeons hang on a head (rods, cross-links, set screws) lies level with it or behind it;
cement that came back along a shaft lies in front.
"""

import numpy as np
from scipy import ndimage

from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.scan_region import ScanRegion, box_around
from cemscope.volume import Notice

LEAST_PART_ML = 0.3
"""Corners of heads and set screws hold up to 0.2 mL; smaller leaks go unnoticed."""

IN_FRONT_MM = 2.0
"""A part whose middle lies this far from a head's centre towards the tip is in front of
it: simulated rods, cross-links and set screws lie at -10 to 0 mm [ours]."""

BESIDE_MM = 20.0
"""Nearest head of a part, from its middle."""

OTHER_HARDWARE = 3


def doubted_metal_notices(
    region: ScanRegion,
    hardware: np.ndarray,
    screws: tuple[ScrewModel, ...],
    ceiling_hu: float | None,
) -> tuple[Notice, ...]:
    """Name parts in front of screw heads that may be leaked cement.

    Parameters
    ----------
    region
        The spine with margin.
    hardware
        Heads, rods and other parts, as `SpinalMetal.hardware` numbers them.
    screws
        All screws found.
    ceiling_hu
        Where the scale is clipped; None where brightness tells.
    """
    other = hardware == OTHER_HARDWARE
    crop = box_around(other, region.geometry, 0.0)
    if ceiling_hu is None or crop is None or not screws:
        return ()
    parts, _ = ndimage.label(other[crop], np.ones((3, 3, 3)))
    notices = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        index = np.argwhere(parts[box] == number)
        ml = len(index) * region.voxel_ml
        if ml < LEAST_PART_ML:
            continue
        start = [a.start + b.start for a, b in zip(crop, box, strict=True)]
        points = region.geometry.index_to_lps(index + start)
        away = [np.linalg.norm(np.median(points, 0) - s.head_lps_mm) for s in screws]
        screw = screws[int(np.argmin(away))]
        _, along = screw.distances_mm(points)
        if min(away) <= BESIDE_MM and float(np.median(along)) >= IN_FRONT_MM:
            notices.append(
                Notice(
                    "metal_or_cement",
                    f"{ml:.1f} mL in front of the head of the {screw.side} screw of "
                    f"{screw.level} counts as metal, but may be leaked cement: at the "
                    f"ceiling of the scale ({ceiling_hu:.0f} HU) both look the same. "
                    "Check it on the images.",
                )
            )
    return tuple(notices)
