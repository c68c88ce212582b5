"""The tip of a screw: where its bright core ends."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, special

from cemscope.segmentation.implants.screw_profile import (
    AXIAL_STEP_MM,
    CrossSections,
    ScrewAxis,
    ShaftProfile,
)
from cemscope.segmentation.scan_region import FloatArray, ScanRegion

USUAL_TIP_IN_CEMENT = 0.8
"""Cement leaves a fenestrated screw through holes in its front third, and more of it
lies behind the tip than in front [ours]. A guess within a range, which is reported."""

CEMENT_BEHIND_TIP_MM = 8.0
"""Cement in front of a tip also lies around the shaft within this length behind it."""

TIP_SHARE = 0.3
"""Tips are cones: half of the core's brightness is reached well behind their end, and
the more so in cannulated screws, whose tips are thin rings [ours]."""

HIDDEN_LIMIT = (0.6, 0.95)
"""Range of the same limit on a clipped scan, over its ceiling."""

CLEAR_OF_CEILING = 0.985
"""Noise clips voxels a little below the ceiling, too."""

PLUG_MM, STEADY_MM = (1.0, 12.0), 8.0
"""Length of nearly clipped cement ahead of a tip, and length of shaft at the ceiling
behind it: starved shafts leave the ceiling here and there [ours]."""

LONGEST_POINT_MM = 1.8
"""The two ends of that range are no farther apart on the cone of a screw's tip [ours].
"""

SEEN_TIP_MM = 1.0
"""How far a tip that is seen may be off: its point is thinner than the blur."""

CEMENT_LIKE_METAL, BLENDED_TIP_MM = 0.75, 2.0
"""Cement that reaches this share of the ceiling can read as much as the thin end of a
tip: the tip may then be off by this [ours]."""

SIDE_HOLE_MM = 2.5
"""Fenestrations are 1.5 to 2 mm wide along the shaft."""


@dataclass(frozen=True, slots=True)
class TipEstimate:
    """Position of the tip on the axis and how far it may be off (half-width)."""

    t_mm: float
    uncertainty_mm: float


def find_tip(
    region: ScanRegion,
    axis: ScrewAxis,
    start_mm: float,
    shaft: ShaftProfile,
    ceiling_hu: float | None,
) -> TipEstimate | None:
    """Follow the axis forwards to the end of the shaft.

    The end is the crossing midway between the core's value and that of the ring
    around it. Where cement and metal are both clipped the tip is hidden: it lies
    between the last plane that shows a bare shaft and the end of the clipped run, and
    that range is returned as uncertainty.

    Parameters
    ----------
    start_mm
        A place on the axis where the shaft is free.

    Returns
    -------
    TipEstimate or None
        None where the axis is not bright at its start.
    """
    t = start_mm + np.arange(0.0, 70.0, AXIAL_STEP_MM)
    sections = CrossSections.sample(region, axis, t)
    r = sections.radius_mm
    core = sections.plateau_hu(shaft.radius_mm)
    rim = (r >= shaft.radius_mm + 1.2) & (r <= shaft.radius_mm + 2.4)
    ring = ndimage.median_filter(
        # Cement on one side tells how bright it is, too.
        np.quantile(sections.hu[:, :, rim].mean(axis=2), 0.75, axis=1),
        5,
        mode="nearest",
    )
    top = float(np.median(core[: int(8.0 / AXIAL_STEP_MM)]))
    hidden = ceiling_hu is not None and top > 0.97 * ceiling_hu
    # Cement may reach further than the tip: what surrounded the shaft just behind
    # tells its brightness. The shaft itself gets brighter outside dense bone.
    behind = round(CEMENT_BEHIND_TIP_MM / AXIAL_STEP_MM)
    around = ndimage.maximum_filter1d(ring, behind, origin=(behind - 1) // 2)
    inner = ndimage.maximum_filter1d(core, behind, origin=(behind - 1) // 2)
    around = np.minimum(around, 0.8 * inner)
    limit = around + TIP_SHARE * (inner - around)
    if hidden:
        # The metal's own brightness is unknown: between the ceiling and around it.
        limit = np.clip(0.35 * around + 0.65 * top, HIDDEN_LIMIT[0] * top, None)
        highest = np.full_like(limit, _highest_limit(core, top))
        limit = np.minimum(limit, highest)
    found = _end(core, limit)
    if found is None:
        return None
    last, part = found
    seen_mm = SEEN_TIP_MM
    if hidden:
        sure = _end(core, highest)
        apart_mm = (last + part - sum(sure)) * AXIAL_STEP_MM if sure else 0.0
        if sure and apart_mm > LONGEST_POINT_MM:
            # Longer than the point of a screw: cement that almost clips lies ahead.
            (last, part), seen_mm = sure, max(0.5 * apart_mm, BLENDED_TIP_MM)
            limit = highest
        elif around[last] > CEMENT_LIKE_METAL * top:
            seen_mm = BLENDED_TIP_MM
    end = float(t[last]) + AXIAL_STEP_MM * part
    if not hidden:
        # Cement at the ceiling is brighter than a starved shaft: the end is cement's.
        bright = np.minimum(core, ring) >= CEMENT_LIKE_METAL * (ceiling_hu or np.inf)
        covered_mm = float(np.sum(bright[: last + 1])) * AXIAL_STEP_MM
        return TipEstimate(end, max(SEEN_TIP_MM, 0.5 * covered_mm))
    # The clipped contour lies in front of the half-value contour of the end face.
    ahead = float(np.median(core[last + 4 : last + 8])) if last + 8 < len(t) else 0.0
    share = (limit[last] - ahead) / max(shaft.metal_hu - ahead, 1.0)
    shift = float(special.ndtri(1.0 - np.clip(share, 0.02, 0.5))) * shaft.sigma_mm
    radius = np.median(sections.edge_mm(0.95 * top), axis=1)[: last + 1]
    wide = np.flatnonzero(radius > shaft.radius_mm + 1.0)
    if wide.size == 0:
        return TipEstimate(end - shift, seen_mm)
    # Bare shaft again in front of the cement: the end seen is that of the screw.
    tail = radius[wide[-1] + 1 : last + 1 - round(1.0 / AXIAL_STEP_MM)]
    long_enough = tail.size * AXIAL_STEP_MM >= 2.5
    if long_enough and float(np.ptp(tail[tail.size // 3 :])) < 0.5:
        return TipEstimate(end - shift, seen_mm)
    # Cement as bright as metal wraps the tip.
    low = float(t[wide[0]])
    high = max(end - 1.0, low + 1.0)
    likely = low + USUAL_TIP_IN_CEMENT * (high - low)
    return TipEstimate(likely, 0.5 * (high - low))


def _highest_limit(core: FloatArray, top: float) -> float:
    """Limit on a clipped scan that nearly clipped cement stays below, if there is any.

    Metal is at the ceiling throughout. Where its core leaves the ceiling a good way
    before it leaves the usual limit, cement lies ahead that is almost as bright.
    """
    usual, clear = HIDDEN_LIMIT[1] * top, CLEAR_OF_CEILING * top
    far, near = (_end(core, np.full_like(core, x)) for x in (usual, clear))
    if far is None or near is None:
        return usual
    apart_mm = (sum(far) - sum(near)) * AXIAL_STEP_MM
    behind = core[max(near[0] - round(STEADY_MM / AXIAL_STEP_MM), 0) : near[0]]
    steady = bool(behind.size and behind.min() >= clear)
    beyond = PLUG_MM[0] < apart_mm < PLUG_MM[1]
    return clear if steady and beyond else usual


def _end(core: FloatArray, limit: FloatArray) -> tuple[int, float] | None:
    """Last plane of the run above a limit, and the part of the step beyond it."""
    # Side holes near the tip of a fenestrated screw darken a few planes.
    hole = np.ones(round(SIDE_HOLE_MM / AXIAL_STEP_MM) + 1, np.bool_)
    reaches = core >= limit
    inside = ndimage.binary_closing(np.pad(reaches, hole.size), hole)
    inside = inside[hole.size : -hole.size] | reaches
    if inside.all() or int(np.argmin(inside)) < 2:
        return None
    last = int(np.argmin(inside)) - 1
    drop = core[last] - core[last + 1]
    part = (core[last] - limit[last + 1]) / max(drop, 1e-6)
    return last, float(np.clip(part, 0.0, 1.0))
