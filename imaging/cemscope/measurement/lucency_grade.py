"""Grade of a lucent rim from the unrolled surface of its shaft.

Suspicious: a rim of 1 mm and more over a quarter of the circle and a third of the
length in bone. Loose: 2 mm and more, or a double halo (Wu 2019,
doi:10.1186/s13018-018-1046-0; arc and length are our definition).
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.findings import Lucency, LucencyGrade, LucencyPart, NotAssessed
from cemscope.measurement.lucency_profiles import ANGLES, AXIAL_STEP_MM, CellState
from cemscope.measurement.lucency_surface import LucencyMap, LucencySettings
from cemscope.segmentation.scan_region import FloatArray
from cemscope.volume import BoolArray


def judge_surface(
    surface: LucencyMap, settings: LucencySettings
) -> Lucency | NotAssessed:
    """Grade an unrolled surface."""
    everywhere = np.ones(surface.t_mm.size, np.bool_)
    whole = _part(surface, everywhere, settings)
    if isinstance(whole, NotAssessed):
        return whole
    in_bone = surface.state != CellState.OUTSIDE
    lucent = surface.width_mm > 0.0
    double = bool(
        lucent.any()
        and (surface.rim_hu[lucent] >= settings.rim_hu).mean() >= settings.rim_fraction
    )
    error = settings.measuring_error_mm
    large = (
        whole.arc_deg >= settings.suspicious_arc_deg
        and whole.length_fraction >= settings.suspicious_length_fraction
    )
    if surface.told is not None:
        # Single places alone never make a screw suspicious. What the whole shaft
        # tells of is as large as the definition asks for.
        large = _confirmed(surface, surface.told, settings) or (
            large and surface.sure and bool(surface.told.any())
        )
    suspicious = large and whole.mean_width_mm >= settings.suspicious_width_mm - error
    wide = whole.mean_width_mm >= settings.loose_width_mm - error
    grade = LucencyGrade.NONE
    if suspicious:
        loose = (wide or double) and surface.sure
        grade = LucencyGrade.LOOSE if loose else LucencyGrade.SUSPICIOUS
    cement = surface.state == CellState.CEMENT
    return Lucency(
        grade,
        whole,
        _part(surface, ~surface.in_body, settings),
        _part(surface, surface.in_body, settings),
        double and suspicious,
        float(cement.sum() / max(in_bone.sum(), 1)),
    )


def _confirmed(surface: LucencyMap, told: BoolArray, settings: LucencySettings) -> bool:
    """Tell whether the places of a gap show it one by one, too.

    In a window of the least arc marrow imitates a gap most easily: there the single
    places must be as many as the definition asks for.
    """
    if told.any(axis=0).sum() * 360.0 / ANGLES <= settings.suspicious_arc_deg:
        return False
    seen = told & (surface.state == CellState.SEEN)
    share = (surface.width_mm[seen] > 0.0).mean() if seen.any() else 0.0
    least = settings.sure_share if surface.sure else settings.told_share
    return bool(share >= least)


def _part(
    surface: LucencyMap, planes: BoolArray, settings: LucencySettings
) -> LucencyPart | NotAssessed:
    state, width = surface.state[planes], surface.width_mm[planes]
    open_ = (state == CellState.SEEN) | (state == CellState.HIDDEN)
    # A plane counts where bone, not cement, lies on a quarter of the circle.
    counted = open_.mean(axis=1) >= 0.25
    length_mm = float(counted.sum()) * AXIAL_STEP_MM
    if length_mm < settings.least_length_mm:
        return NotAssessed(
            f"only {length_mm:.0f} mm of the shaft lie in bone and outside cement"
        )
    seen = (state == CellState.SEEN) & counted[:, None]
    share = float(seen.sum() / max((open_ & counted[:, None]).sum(), 1))
    if share < settings.least_seen_fraction:
        return NotAssessed(
            f"streaks or metal hide {100.0 * (1.0 - share):.0f} % of the shaft's "
            "surface in bone"
        )
    lucent = seen & (width > 0.0)
    arc = lucent.sum(axis=1) * 360.0 / ANGLES
    # What is not seen of a circle continues what is seen of it.
    visible = seen.sum(axis=1)
    enough = visible >= 0.25 * ANGLES
    arc = np.where(enough, arc * _unseen_factor(open_, visible), arc)
    if surface.told is not None:
        # Of an arc that the whole shaft tells of single places may be missing.
        told = surface.told[planes]
        kept = (lucent & told).sum(axis=1) >= settings.told_share * np.maximum(
            (seen & told).sum(axis=1), 1
        )
        told_deg = told.sum(axis=1) * 360.0 / ANGLES
        arc = np.where(kept, np.maximum(arc, told_deg), arc)
    rimmed = arc >= settings.suspicious_arc_deg
    judged = counted & enough
    fraction = float((rimmed & judged).sum() / max(judged.sum(), 1))
    rows = rimmed & judged
    mean_mm = float(width[lucent & rows[:, None]].mean()) if rows.any() else 0.0
    return LucencyPart(
        max(_patch_maximum_mm(np.where(lucent, width, 0.0)), mean_mm),
        mean_mm,
        float(np.median(arc[rows])) if rows.any() else 0.0,
        fraction,
        share,
        length_mm,
    )


def _unseen_factor(open_: BoolArray, visible: npt.NDArray[np.int_]) -> FloatArray:
    factor: FloatArray = open_.sum(axis=1) / np.maximum(visible, 1)
    return np.clip(factor, 1.0, MOST_CONTINUED)


MOST_CONTINUED = 1.5
"""An arc goes on over what is hidden of its circle at most by this factor [ours]."""


PATCH_MM, PATCH_DEG = 4.0, 50.0
"""A largest width must be kept by a patch of the surface, not by a single place."""


def _patch_maximum_mm(width: FloatArray) -> float:
    """Largest mean width of a patch, of which half is lucent at least."""
    lucent = (width > 0.0).astype(float)
    size = (round(PATCH_MM / AXIAL_STEP_MM), round(PATCH_DEG * ANGLES / 360.0))
    modes = ("constant", "wrap")
    total = ndimage.uniform_filter(width, size, mode=modes)
    weight = ndimage.uniform_filter(lucent, size, mode=modes)
    mean = total / np.maximum(weight, 1e-9)
    return float(mean[weight >= 0.5].max()) if (weight >= 0.5).any() else 0.0
