"""Levels where a screw must be, but none could be fitted.

Metal that no shape was fitted to would be counted as cement: at such a level no volume
is told. A screw shows as dense matter in the pedicle with more of it behind the arch
(head and rod); cement has no head.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cemscope.findings import Side
from cemscope.segmentation.implants.implant_metals import (
    BRIGHTEST_CEMENT_SHARE,
    titanium_hu,
)
from cemscope.segmentation.implants.metal import SpinalMetal
from cemscope.segmentation.implants.screws import ScrewSearch
from cemscope.segmentation.implants.shaft_rim import TissueImage
from cemscope.segmentation.scan_region import FloatArray, ScanRegion
from cemscope.spine import Spine
from cemscope.volume import BoolArray

LEAST_PEDICLE_ML = 0.1
"""Dense matter in a pedicle: a shaft of 4 mm along 8 mm [our choice]."""

LEAST_HEAD_ML = 0.3
"""Dense matter behind an arch: a head holds 0.5 to 1 mL, a rod 0.24 mL per 10 mm."""

PEDICLE_LEFT_MM = 3.0
"""Pedicles lie further than this from the midline."""

BEHIND_LEFT_MM, BEHIND_SUPERIOR_MM = (4.0, 45.0), 20.0
"""Where a vertebra's heads lie, from its midline and above or below its centre."""

BEHIND_POSTERIOR_MM = (25.0, 90.0)
"""Where a vertebra's heads lie behind the centre of its body."""


@dataclass(frozen=True, slots=True)
class UnexplainedMetal:
    """A side of a vertebra with what may be a screw that was not fitted.

    Attributes
    ----------
    level, side
        Where.
    lone : bool
        Whether the spine shows no other metal: screws come in pairs and on rods, so
        that cement of a needle is as likely.
    """

    level: str
    side: Side
    lone: bool = False


def unexplained_metal(
    region: ScanRegion,
    spine: Spine,
    search: ScrewSearch,
    metal: SpinalMetal,
    tissue: TissueImage,
    least_hu: float,
    head_hu: float = 0.0,
) -> tuple[UnexplainedMetal, ...]:
    """Find sides of vertebrae that seem to hold a screw, where none was fitted.

    Parameters
    ----------
    region
        Spine with margin.
    spine
        Its vertebrae.
    search, metal, tissue
        Screws, hardware and shells that were found in the region.
    least_hu
        No screw is darker.
    head_hu
        No head or rod is darker all over; 0 where the scale cannot tell.

    Returns
    -------
    tuple of UnexplainedMetal
        In the spine's order.
    """
    bright = region.hu >= least_hu
    free = bright & ~tissue.shell & (metal.shafts == 0)
    index = np.argwhere(free | (metal.hardware > 0))
    if not len(index):
        return ()
    points = region.geometry.index_to_lps(index.astype(float))
    where = tuple(index.T)
    labels, hu = region.labels[where], region.hu[where]
    in_bone = free[where]
    fitted = {(screw.level, screw.side) for screw in search.screws}
    named = {(item.level, item.side) for item in search.undecided}
    found = []
    for vertebra in spine.vertebrae:
        local = vertebra.frame.to_local_mm(points)
        for side, sign in ((Side.LEFT, 1.0), (Side.RIGHT, -1.0)):
            key = (vertebra.level.name, side)
            if key in fitted:
                continue
            left = sign * local[:, 0]
            arch = in_bone & (labels == vertebra.level.arch_number)
            pedicle_ml = (arch & (left > PEDICLE_LEFT_MM)).sum() * region.voxel_ml
            if key not in named and pedicle_ml < LEAST_PEDICLE_ML:
                continue
            behind = _behind(left, local, labels)
            if behind.sum() * region.voxel_ml < LEAST_HEAD_ML:
                continue
            if float(np.quantile(hu[behind], TOP_QUANTILE)) >= head_hu:
                found.append(UnexplainedMetal(*key))
    alone = not fitted and len(found) == 1 and not (metal.hardware > 0).any()
    if alone and named <= {(item.level, item.side) for item in found}:
        return (replace(found[0], lone=True),)
    return tuple(found)


TOP_QUANTILE = 0.95
"""The brightest twentieth of a head or rod lies inside it, whatever the blur [ours]."""


def _behind(
    left: FloatArray, local: FloatArray, labels: npt.NDArray[np.uint8]
) -> BoolArray:
    """Points where the head of a vertebra's screw may lie."""
    inside: BoolArray = (
        (labels == 0)
        & (left > BEHIND_LEFT_MM[0])
        & (left < BEHIND_LEFT_MM[1])
        & (local[:, 1] > BEHIND_POSTERIOR_MM[0])
        & (local[:, 1] < BEHIND_POSTERIOR_MM[1])
        & (np.abs(local[:, 2]) < BEHIND_SUPERIOR_MM)
    )
    return inside


def lowest_shaft_hu(core_level_hu: float, clipped: bool) -> float:
    """Brightness that every shaft exceeds somewhere.

    On an extended scale heads read up to twice as much as a threaded shaft; on a
    clipped one all are at the ceiling.
    """
    if clipped:
        return core_level_hu
    return max(LOWEST_SHAFT_HU, SHAFT_SHARE * core_level_hu)


def lowest_head_hu(kvp: float | None, clipped: bool) -> float:
    """Brightness that every head and rod exceeds inside, and no cement reaches.

    They are thicker than shafts. On a clipped scale brightness tells nothing: 0. Where
    the tube voltage is not known, that at which metal is darkest.
    """
    return 0.0 if clipped else BRIGHTEST_CEMENT_SHARE * titanium_hu(kvp or HIGHEST_KVP)


HIGHEST_KVP = 140.0


LOWEST_SHAFT_HU, SHAFT_SHARE = 2000.0, 0.45
"""Titanium reads at least twice as much as the first."""
