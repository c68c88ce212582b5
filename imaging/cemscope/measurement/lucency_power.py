"""Whether a gap would have been told, had there been one: a test on the scan itself.

Streaks, the blur of the metal, thin marrow and a near cortex can each hide a gap, and
how much they hide differs from shaft to shaft. So where no gap is told, one is placed
by calculation into the very profiles that were read, and judged like these. A shaft
beside which it would not have been told is no shaft without a gap: it is not assessed.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from cemscope.measurement.lucency_joint import JointSettings, strongest_gap
from cemscope.measurement.lucency_profiles import ANGLES, DISTANCE_MM, CellState
from cemscope.measurement.lucency_shared import (
    SharedSettings,
    shared_evidence,
)
from cemscope.measurement.lucency_streaks import CleanProfiles
from cemscope.measurement.lucency_widths import (
    BoneLevels,
    WidthSettings,
    metal_share,
    weigh_widths,
)
from cemscope.measurement.lucency_window import strongest_shared_gap
from cemscope.segmentation.implants.screw_profile import ShaftProfile
from cemscope.segmentation.scan_region import FloatArray
from cemscope.volume import BoolArray


@dataclass(frozen=True, slots=True)
class PowerSettings:
    """The gap that must not be missed.

    Attributes
    ----------
    width_mm
        Its width; it has no dense line.
    arc_deg, length_fraction
        Its extent.
    least_evidence
        It is told where it raises the evidence of `lucency_joint` to this: clearly
        more than what a shaft without a grade may have (`doubtful_evidence`).
    least_told
        Of the places where it may lie, it must be told at this share.
    """

    width_mm: float = 1.5
    arc_deg: float = 360.0
    length_fraction: float = 0.5
    least_evidence: float = 2.75
    least_told: float = 0.5


def share_told(
    cleaned: CleanProfiles,
    shaft: ShaftProfile,
    levels: BoneLevels,
    evidence: FloatArray,
    settings: tuple[PowerSettings, WidthSettings, JointSettings],
) -> float:
    """Share of the places around and along a shaft where a gap would be told.

    Parameters
    ----------
    cleaned, shaft, levels
        What `lucency_widths.weigh_widths` was given.
    evidence
        What it returned.
    settings
        The gap, and how it is looked for.
    """
    power, widths, joint = settings
    seen = cleaned.profiles.state == CellState.SEEN
    places = _places(seen, power)
    if not places:
        return 0.0
    worn = with_gap(cleaned, shaft, power.width_mm, widths.gap_hu)
    of_gap = weigh_widths(worn, shaft, levels, widths)
    told = [
        strongest_gap(
            np.where(place[..., None], of_gap, evidence), seen, joint
        ).strength
        >= power.least_evidence
        for place in places
    ]
    return float(np.mean(told))


def share_gained(
    cleaned: CleanProfiles,
    shaft: ShaftProfile,
    levels: BoneLevels,
    settings: tuple[PowerSettings, WidthSettings, SharedSettings],
) -> float:
    """Share of the places along a shaft where all places together would tell a gap.

    0 where they speak for one as it is.

    Parameters
    ----------
    cleaned, shaft, levels
        What `lucency_widths.weigh_widths` was given.
    settings
        The gap, and how it is looked for.
    """
    power, widths, shared = settings
    read = shared_evidence(cleaned, shaft, levels, widths, shared)
    rows = np.flatnonzero(read.seen.any(axis=1))
    usual = strongest_shared_gap(read, shared).evidence
    if rows.size == 0 or usual >= shared.doubtful_evidence:
        return 0.0
    worn = with_gap(cleaned, shaft, power.width_mm, widths.gap_hu)
    of_gap = shared_evidence(worn, shaft, levels, widths, shared)
    first, count = int(rows[0]), int(rows[-1]) + 1 - int(rows[0])
    planes = max(round(power.length_fraction * count), 1)
    starts = np.linspace(0, count - planes, max(round(1 / power.length_fraction), 1))
    gains = []
    for start in first + np.round(starts).astype(int):
        both = read.with_places_of(of_gap, slice(int(start), int(start) + planes))
        gains.append(strongest_shared_gap(both, shared).evidence - usual)
    return float(np.mean(np.array(gains) >= shared.least_gain))


def with_gap(
    cleaned: CleanProfiles, shaft: ShaftProfile, width_mm: float, gap_hu: float
) -> CleanProfiles:
    """Wear the bone away all around a shaft, in its profiles.

    The bone is replaced, blurred as the scan blurs; metal, streaks and what lies
    farther away stay as they were read.
    """
    profiles = cleaned.profiles
    distance = DISTANCE_MM
    share = np.empty((ANGLES, distance.size))
    for k in range(ANGLES):
        tissue = 1.0 - metal_share(shaft, distance, profiles.metal_blur_mm[k])
        beyond = special.ndtr((distance - width_mm) / profiles.blur_mm[k])
        share[k] = tissue - np.minimum(beyond, tissue)
    # What is brighter than the bone around is left of the metal: it stays, too.
    around = profiles.hu[..., _AROUND].mean(axis=-1, keepdims=True)
    bone = np.minimum(profiles.hu, around)
    worn = profiles.hu + np.minimum(gap_hu - bone, 0.0) * share
    return replace(cleaned, profiles=replace(profiles, hu=worn))


_AROUND = (DISTANCE_MM >= 2.0) & (DISTANCE_MM <= 4.5)


def _places(seen: BoolArray, power: PowerSettings) -> list[BoolArray]:
    """Places of a gap: a quarter turn apart, and ends to ends along the seen shaft."""
    rows = np.flatnonzero(seen.any(axis=1))
    if rows.size == 0:
        return []
    first, count = int(rows[0]), int(rows[-1]) + 1 - int(rows[0])
    planes = max(round(power.length_fraction * count), 1)
    angles = round(power.arc_deg * ANGLES / 360.0)
    starts = np.linspace(0, count - planes, max(round(1 / power.length_fraction), 1))
    places = []
    for start in np.round(starts).astype(int):
        for turn in range(0, ANGLES if angles < ANGLES else 1, ANGLES // 4):
            place = np.zeros(seen.shape, np.bool_)
            turns = (turn + np.arange(angles)) % ANGLES
            place[first + start : first + start + planes, turns] = True
            places.append(place)
    return places
