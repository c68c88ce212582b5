"""Whether a gap would have been told, had there been one: a test on the scan itself.

Streaks, the blur of the metal, thin marrow and a near cortex can each hide a gap, and
how much they hide differs from shaft to shaft. So where no gap is told, one is placed
by calculation into the very profiles that were read, and judged like these. A shaft
beside which it would not have been told is no shaft without a gap: it is not assessed.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from cemscope.measurement.lucency_profiles import ANGLES, DISTANCE_MM, CellState
from cemscope.measurement.lucency_streaks import CleanProfiles
from cemscope.measurement.lucency_surroundings import (
    BoneLevels,
    WidthSettings,
    metal_share,
)
from cemscope.measurement.lucency_window import WindowSettings, strongest_gap
from cemscope.segmentation.implants.screw_profile import ShaftProfile


@dataclass(frozen=True, slots=True)
class PowerSettings:
    """The gap that must not be missed: all around the shaft, without a dense line.

    Attributes
    ----------
    width_mm
        Its width.
    length_fraction
        Its share of the seen length.
    least_rise, least_evidence
        It is told where it raises the evidence of `lucency_window` by so much: seven
        times likelier than what was read; and to so much, clearly more than what a
        shaft without a grade may have (`doubtful_evidence`).
    least_told
        Of the places where it may lie, it must be told at this share.

    Notes
    -----
    [ours] Shafts of titanium with a gap of 1.5 mm and more, in slices up to 1 mm: 57 of
    tuning seeds, none with an evidence below 0 that such a gap would have raised so.
    """

    width_mm: float = 1.5
    length_fraction: float = 0.5
    least_rise: float = 2.0
    least_evidence: float = 1.0
    least_told: float = 0.5


def share_told(
    cleaned: CleanProfiles,
    shaft: ShaftProfile,
    levels: BoneLevels,
    settings: tuple[PowerSettings, WidthSettings, WindowSettings],
    read: float | None = None,
) -> float:
    """Share of the places along a shaft where a gap would be told.

    Parameters
    ----------
    cleaned, shaft, levels
        What `lucency_window.strongest_gap` was given.
    settings
        The gap, and how it is looked for.
    read
        Evidence of what was read; None to ask for it.
    """
    power, widths, window = settings
    profiles = cleaned.profiles
    rows = np.flatnonzero((profiles.state == CellState.SEEN).any(axis=1))
    if rows.size == 0:
        return 0.0
    if read is None:
        read = strongest_gap(cleaned, shaft, levels, widths, window).evidence
    least = max(read + power.least_rise, power.least_evidence)
    worn = with_gap(cleaned, shaft, power.width_mm, widths.gap_hu).profiles.hu
    first, count = int(rows[0]), int(rows[-1]) + 1 - int(rows[0])
    planes = max(round(power.length_fraction * count), 1)
    starts = np.linspace(0, count - planes, max(round(1 / power.length_fraction), 1))
    told = []
    for start in first + np.round(starts).astype(int):
        hu = profiles.hu.copy()
        hu[start : start + planes] = worn[start : start + planes]
        with_it = replace(cleaned, profiles=replace(profiles, hu=hu))
        found = strongest_gap(with_it, shaft, levels, widths, window)
        told.append(found.evidence >= least)
    return float(np.mean(told))


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
