"""How bright cement can be on a shaft of this scan, before cement is searched."""

import numpy as np

from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.scan_region import ScanRegion, label_boxes
from cemscope.segmentation.tissue_levels import eroded_hu
from cemscope.spine import Spine

CLEAR_MM = 3.0
"""Beyond this distance from a shaft its blur and crests do not brighten cement [ours].
"""

SOLID_RADIUS_MM, DENSE_HU, LEAST_ML = 1.0, 800.0, 0.02
"""Cement is what is this dense after an erosion by the radius, in so much volume: bone
of bodies is thinner or darker (`CementSettings.minimum_core_hu`)."""

BRIGHTEST_QUANTILE, MIXTURE_SPREAD = 0.99, 1.15
"""The brightest of the solid cement, and how much brighter cement of the same mixture
may lie elsewhere in the scan [ours]."""

CLEAR_OF_CEILING = 0.97
"""Above this share of the ceiling brightness is not known."""


def cement_bound_hu(
    region: ScanRegion,
    spine: Spine,
    screws: tuple[ScrewModel, ...],
    ceiling_hu: float | None,
    usual_hu: float,
) -> float:
    """Bound the brightness of cement from what lies in the bodies away from shafts.

    Parameters
    ----------
    region
        The whole spine.
    spine
        Its vertebrae.
    screws
        All screws found.
    ceiling_hu
        Where the scan is clipped, else None.
    usual_hu
        As bright as cement usually is at most: returned where this scan tells no less.
    """
    boxes = label_boxes(region)
    found = []
    for vertebra in spine.vertebrae:
        box = boxes.get(vertebra.level.number)
        if box is None:
            continue
        part = region.sub_box(box)
        solid = eroded_hu(part.hu, part.geometry, SOLID_RADIUS_MM)
        seen = (part.labels == vertebra.level.number) & (solid >= DENSE_HU)
        for screw in screws:
            if seen.any():
                distance, _ = screw.distances_on(part.geometry)
                seen &= distance > CLEAR_MM
        found.append(solid[seen])
    dense = np.concatenate(found) if found else np.zeros(0)
    if dense.size * region.voxel_ml < LEAST_ML:
        return usual_hu
    brightest = float(np.quantile(dense, BRIGHTEST_QUANTILE))
    if ceiling_hu is not None and brightest >= CLEAR_OF_CEILING * ceiling_hu:
        return usual_hu
    return min(usual_hu, MIXTURE_SPREAD * brightest)
