"""Cortex as bright as cement: what of a volume may be endplate and wall.

Cement begins above the scan's own cortex. Weakly opaque cement leaves no room for that:
its lower limit then lies within the cortex's range, and endplates that touch cement
count with it. The interval must reach down to what is left without them.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.findings import CementVolume, Interval
from cemscope.measurement.cement_volume import CementCluster
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.cement.cement_pieces import lower_limit_hu
from cemscope.segmentation.cement.cement_settings import CementSettings
from cemscope.segmentation.scan_region import widened
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.spine import Spine
from cemscope.volume import Notice

CORTEX_MM = 2.5
"""Depth of endplates with their blur and an outline's usual error [ours]."""


def cortex_counts(
    level: CementLevel | None, levels: TissueLevels, settings: CementSettings
) -> bool:
    """Tell whether the lower limit of cement lies within the range of cortex."""
    if level is None or level.clipped:
        return False
    return lower_limit_hu(levels, level, settings) < levels.cortex_upper_hu


def cement_at_cortex_ml(
    clusters: tuple[CementCluster, ...], spine: Spine
) -> npt.NDArray[np.float64]:
    """Cement within `CORTEX_MM` of the surface of bone, per vertebra.

    Parameters
    ----------
    clusters
        The cement of the scan.
    spine
        Its vertebrae; the result is in their order.
    """
    result = np.zeros(len(spine.vertebrae))
    for cluster in clusters:
        region, owner = cluster.fractions.part.region, cluster.owners.owner
        for number, box in enumerate(ndimage.find_objects(owner), start=1):
            if box is None:
                continue
            wide = widened(box, 2.0 * CORTEX_MM, region.geometry)
            body = region.labels[wide] == spine.vertebrae[number - 1].level.number
            depth_mm = ndimage.distance_transform_edt(
                body, sampling=region.geometry.spacing_mm
            )
            # Depths run from the middle of the first voxel beyond the surface.
            reach_mm = CORTEX_MM + 0.5 * max(region.geometry.spacing_mm)
            rim = (owner[wide] == number) & (depth_mm <= reach_mm)
            share = cluster.fractions.fraction[wide][rim]
            result[number - 1] += float(share.sum(dtype=np.float64)) * region.voxel_ml
    return result


def doubt_cortex(
    measured: tuple[CementVolume | None, ...],
    at_cortex_ml: npt.NDArray[np.float64],
) -> tuple[CementVolume | None, ...]:
    """Let intervals reach down to what is left without cement at the cortex."""
    return tuple(
        None if value is None else _reaching_down(value, float(rim_ml))
        for value, rim_ml in zip(measured, at_cortex_ml, strict=True)
    )


def _reaching_down(value: CementVolume, rim_ml: float) -> CementVolume:
    low_ml = min(value.interval.low_ml, max(value.volume_ml - rim_ml, 0.0))
    return replace(value, interval=Interval(low_ml, value.interval.high_ml))


def cortex_notices(counts: bool, level: CementLevel | None) -> tuple[Notice, ...]:
    """Tell that endplates and walls may be among the cement."""
    if level is None or not counts:
        return ()
    return (
        Notice(
            "cortex_like_cement",
            f"This scan's cement reads {level.hu:.0f} HU, hardly more than its cortex: "
            "endplates and walls that touch cement may count as cement. The intervals "
            "reach down to what is left without them. Check it on the images.",
        ),
    )
