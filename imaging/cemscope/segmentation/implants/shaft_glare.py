"""How bright streaks get beside a shaft where there is no cement.

Cobalt chrome and steel starve the rays so much that streaks beside a shaft reach what
cement reads. They are seen best behind the body, where cement is rare: a crest runs
along the whole shaft, several millimetres wide.
"""

import numpy as np

from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screw_profile import CrossSections
from cemscope.segmentation.scan_region import ScanRegion

REAR_MM = (1.0, 14.0)
"""Part of the shaft that is looked at, from its neck: pedicle and arch."""

RING_MM = (2.5, 5.0)
"""Outside the surface: beyond the blur, and beyond cement that follows a shaft
[our choice]."""

BRIGHT_RAYS = 0.9
"""A crest takes a tenth of the directions or more, on both sides of a shaft."""

_STEP_MM = 1.0


def shaft_glare_hu(region: ScanRegion, screw: ScrewModel) -> float:
    """Brightness that a crest beside the rear part of a shaft keeps along it.

    Returns
    -------
    float
        HU; -1024 for a shaft too short to tell.
    """
    rear = screw.neck_mm + np.array(REAR_MM)
    t = np.arange(rear[0], min(rear[1], screw.tip_mm), _STEP_MM)
    if t.size < 4:
        return -1024.0
    sections = CrossSections.sample(region, screw.axis, t)
    outside = sections.radius_mm - screw.shaft.radius_mm
    ring = (outside > RING_MM[0]) & (outside < RING_MM[1])
    rays = sections.hu[:, :, ring].mean(axis=2)
    return float(np.median(np.quantile(rays, BRIGHT_RAYS, axis=1)))
