"""Lucent rim around a screw: its width, extent and grade, and what was not seen.

Loosening shows on CT as a dark zone of 1 mm and more around the shaft, often bounded by
a denser line, the double halo (Wu 2019, doi:10.1186/s13018-018-1046-0). Dark streaks of
the metal look alike: places where they reign are counted as not seen.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np

from cemscope.anatomy import VertebraLevel
from cemscope.findings import Lucency, LucencyGrade, NotAssessed
from cemscope.measurement.hidden_metal import is_stronger_than_titanium
from cemscope.measurement.lucency_grade import judge_surface
from cemscope.measurement.lucency_power import share_told
from cemscope.measurement.lucency_profiles import (
    DISTANCE_MM,
    CellState,
    ShaftProfiles,
)
from cemscope.measurement.lucency_streaks import CleanShaft, clean_profiles
from cemscope.measurement.lucency_surface import LucencyMap, LucencySettings
from cemscope.measurement.lucency_surroundings import BoneLevels
from cemscope.measurement.lucency_widths import WidthMap, posterior, weigh_widths
from cemscope.measurement.lucency_window import WindowGap, strongest_gap
from cemscope.measurement.marrow_level import TEXTURE_SHARE, marrow_of
from cemscope.measurement.shaft_fit import BRIGHT_SPREAD
from cemscope.measurement.shaft_flank import ExpectedMetal
from cemscope.segmentation.implants.implant_metals import titanium_hu
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.scan_region import ScanRegion
from cemscope.volume import BoolArray, LabelArray

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class ScrewLucency:
    """Result for one screw, with the map it comes from where there is one."""

    finding: Lucency | NotAssessed
    surface: LucencyMap | None


@dataclass(frozen=True, slots=True, eq=False)
class LucencyScan:
    """What the rims of a scan are measured on.

    Attributes
    ----------
    region : ScanRegion
        Whole planes of the scan, and its vertebrae.
    materials : ndarray of uint8
        Cement and metal on the region's grid, numbered as in ``materials.nii.gz``.
    slice_mm : float
        Thickness or distance of the slices, the larger one.
    clipped_at_hu : float or None
        End of the scale where it hides the metal's brightness.
    kvp : float or None
        Tube voltage.
    """

    region: ScanRegion
    materials: LabelArray
    slice_mm: float
    clipped_at_hu: float | None = None
    kvp: float | None = None


def measure_lucency(
    scan: LucencyScan,
    screws: tuple[ScrewModel, ...],
    settings: LucencySettings | None = None,
) -> tuple[ScrewLucency, ...]:
    """Measure the lucent rim around every screw of a scan.

    Parameters
    ----------
    scan
        The scan with what was found in it.
    screws
        All fitted screws: their metal throws the streaks.
    settings
        Limits; None for the defaults.

    Returns
    -------
    tuple of ScrewLucency
        In the order of ``screws``.
    """
    settings = settings or LucencySettings()
    if scan.slice_mm > settings.thickest_slice_mm + 1e-3:
        reason = NotAssessed(
            f"slices of {scan.slice_mm:.2f} mm; a rim of 1 mm needs "
            f"{settings.thickest_slice_mm:.1f} mm or less"
        )
        return tuple(ScrewLucency(reason, None) for _ in screws)
    marrow = [
        marrow_of(scan.region, scan.materials, VertebraLevel(screw.level).number)
        for screw in screws
    ]
    metal = expected_metal(scan, screws)
    cleaned = clean_profiles(
        scan.region, scan.materials, screws, settings.profiles, metal
    )
    return tuple(
        _screw_lucency(screw, one, bone, settings, scan)
        for screw, one, bone in zip(screws, cleaned, marrow, strict=True)
    )


def expected_metal(
    scan: LucencyScan, screws: tuple[ScrewModel, ...]
) -> ExpectedMetal | None:
    """Expect a brightness where clipping hides it; None where it does not."""
    if scan.clipped_at_hu is None:
        return None
    titanium = titanium_hu(scan.kvp)
    fitted = float(np.median([s.shaft.metal_hu for s in screws] or [titanium]))
    stronger = max(fitted / titanium, 1.0)
    return ExpectedMetal(
        THIN_OVER_THICK * titanium * stronger,
        BRIGHT_SPREAD if stronger == 1.0 else STRONG_SPREAD,
        scan.clipped_at_hu,
    )


THIN_OVER_THICK = 1.5
"""Titanium that hardens no beam reads so much more than a shaft in the body: 9,800 HU
at 120 kVp [ours, from simulated scans; 11,700 HU is calculated for a free grain]."""

STRONG_SPREAD = 0.3


def _screw_lucency(
    screw: ScrewModel,
    cleaned: CleanShaft | None,
    marrow: tuple[float, float] | None,
    settings: LucencySettings,
    scan: LucencyScan,
) -> ScrewLucency:
    if cleaned is None:
        short = "the shaft is too short to be looked at"
        return ScrewLucency(NotAssessed(short), None)
    if marrow is None:
        unseen = "no bone of this vertebra is seen away from the implants"
        return ScrewLucency(NotAssessed(unseen), None)
    clipped = scan.clipped_at_hu is not None
    if clipped and is_stronger_than_titanium(cleaned.streak_strength, scan.kvp):
        strong = (
            "metal stronger than titanium on a scale that hides its brightness: the "
            "shaft's surface is not known"
        )
        return ScrewLucency(NotAssessed(strong), None)
    unsure_mm = cleaned.screw.shaft.radius_deviation_mm
    if clipped:
        # A brighter metal would look like a wider shaft; the first fit weighs that.
        unsure_mm = max(unsure_mm, screw.shaft.radius_deviation_mm)
    if unsure_mm > settings.largest_radius_deviation_mm:
        vague = f"the shaft's surface is known to {unsure_mm:.2f} mm only (1 sigma)"
        return ScrewLucency(NotAssessed(vague), None)
    profiles, screw = cleaned.profiles, cleaned.screw
    left = _streak_hu(profiles, marrow[0])
    levels = BoneLevels(marrow[0], TEXTURE_SHARE * marrow[1], left)
    evidence = weigh_widths(cleaned, screw.shaft, levels, settings.widths)
    gap = strongest_gap(cleaned, screw.shaft, levels, settings.widths, settings.window)
    told = gap.evidence >= settings.window.least_evidence
    expected = np.where(gap.inside & told, gap.width_mm, 0.0)
    widths = posterior(evidence, profiles, levels, expected, settings.widths)
    told_inside = gap.inside & told
    surface = _surface(screw, profiles, (widths, told_inside), levels, settings)
    sure = gap.evidence >= settings.window.sure_evidence
    surface = replace(surface, sure=sure)
    log.info(
        "%s %s: marrow %.0f HU, streaks of %.0f HU removed, %.0f HU left, evidence "
        "of a gap %.1f",
        screw.level,
        screw.side,
        levels.marrow_hu,
        np.median(np.abs(cleaned.removed_hu)),
        left,
        gap.evidence,
    )
    finding = judge_surface(surface, settings)
    if isinstance(finding, Lucency):
        if _as_dark_as_a_gap(levels, settings):
            # A dense line beyond may as well be the end of fatty marrow.
            finding = NotAssessed(
                f"marrow of {levels.marrow_hu:.0f} HU is as dark as a gap"
            )
        elif finding.grade is LucencyGrade.NONE:
            finding = _why_not_none(finding, cleaned, levels, gap, settings) or finding
    return ScrewLucency(finding, surface)


def _why_not_none(
    finding: Lucency,
    cleaned: CleanShaft,
    levels: BoneLevels,
    gap: WindowGap,
    settings: LucencySettings,
) -> NotAssessed | None:
    """Tell why no rim was found though there may be one; None where there is none."""
    if gap.evidence >= settings.window.doubtful_evidence:
        return _fits_a_gap(gap.width_mm)
    if _dark_in_part(finding, settings):
        return NotAssessed(
            f"a dark zone of {finding.whole.mean_width_mm:.1f} mm lies along "
            f"{100.0 * finding.whole.length_fraction:.0f} % of the shaft: too "
            "little for a rim, too much for none"
        )
    shaft = cleaned.screw.shaft
    looked = (settings.power, settings.widths, settings.window)
    share = share_told(cleaned, shaft, levels, looked, gap.evidence)
    if share >= settings.power.least_told:
        return None
    return _too_weak(settings, share)


def _fits_a_gap(width_mm: float) -> NotAssessed:
    return NotAssessed(
        f"what is seen fits a gap of {width_mm:.1f} mm nearly as well as none"
    )


def _dark_in_part(finding: Lucency, settings: LucencySettings) -> bool:
    least_mm = settings.suspicious_width_mm - settings.measuring_error_mm
    return (
        finding.whole.mean_width_mm >= least_mm
        and finding.whole.length_fraction >= settings.doubtful_length_fraction
    )


def _too_weak(settings: LucencySettings, share: float) -> NotAssessed:
    return NotAssessed(
        f"no rim was found, but a gap of {settings.power.width_mm:.1f} mm would have "
        f"been told at {100.0 * share:.0f} % of its places only"
    )


def _as_dark_as_a_gap(levels: BoneLevels, settings: LucencySettings) -> bool:
    contrast_hu = levels.marrow_hu - settings.widths.gap_hu
    return contrast_hu < settings.least_contrast_hu


def _surface(
    screw: ScrewModel,
    profiles: ShaftProfiles,
    found: tuple[WidthMap, BoolArray],
    levels: BoneLevels,
    settings: LucencySettings,
) -> LucencyMap:
    widths, told = found
    state = profiles.state.copy()
    seen = state == CellState.SEEN
    around = profiles.hu[..., _FAR].mean(axis=-1) - levels.marrow_hu
    streak = (around < -settings.dark_streak_hu) | (around > settings.bright_streak_hu)
    unsure = widths.deviation_mm > settings.hidden_deviation_mm
    endless = widths.endless > 0.5
    state[seen & (streak | unsure | endless)] = CellState.HIDDEN
    lucent = widths.at_least(settings.lucent_width_mm) >= settings.lucent_probability
    # Dark marrow between a shaft and the wall of its pedicle looks like a gap: where
    # the wall could be what bounds the dark zone, single places tell nothing. What all
    # of them tell together is read short of walls.
    beyond = profiles.exit_mm - widths.width_mm
    way_mm = profiles.exit_mm - settings.window.wall_mm
    read = told & (way_mm >= settings.window.least_way_mm)
    walled = lucent & (beyond < settings.wall_mm) & ~read
    state[seen & walled] = CellState.HIDDEN
    width = np.where(lucent & (state == CellState.SEEN), widths.width_mm, 0.0)
    return LucencyMap(
        screw.level,
        screw.side,
        profiles.t_mm,
        profiles.in_body,
        state,
        width,
        widths.rim_hu,
        levels.marrow_hu,
        levels.streak_hu,
        told,
    )


_FAR = (DISTANCE_MM >= 2.0) & (DISTANCE_MM <= 4.5)


def _streak_hu(profiles: ShaftProfiles, marrow_hu: float) -> float:
    """Strength of the streaks that are left, from what lasts along the shaft.

    Cortex and cement only brighten: the darker bone along each direction is compared
    with the marrow.
    """
    bone = profiles.state == CellState.SEEN
    level = np.where(bone, profiles.hu[..., _FAR].mean(axis=-1), np.nan)
    enough = bone.sum(axis=0) >= 6
    if not enough.any():
        return MOST_STREAK_HU
    usual = np.nanquantile(level[:, enough], 0.25, axis=0)
    deviation = LASTING_SHARE * float(np.median(np.abs(usual - marrow_hu)))
    return float(np.clip(deviation, LEAST_STREAK_HU, MOST_STREAK_HU))


LASTING_SHARE = 0.5
"""Part of what lasts along a shaft that is streak; the rest is denser bone [ours]."""

LEAST_STREAK_HU, MOST_STREAK_HU = 15.0, 500.0
