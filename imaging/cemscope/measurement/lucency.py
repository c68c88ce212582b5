"""Lucent rim around a screw: its width, extent and grade, and what was not seen.

Loosening shows on CT as a dark zone of 1 mm and more around the shaft, often bounded by
a denser line, the double halo (Wu 2019, doi:10.1186/s13018-018-1046-0). Dark streaks of
the metal look alike: places where they reign are counted as not seen.
"""

import logging
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.findings import Lucency, LucencyGrade, LucencyPart, NotAssessed, Side
from cemscope.measurement.lucency_profiles import (
    ANGLES,
    AXIAL_STEP_MM,
    DISTANCE_MM,
    CellState,
    ProfileSettings,
    ShaftProfiles,
    read_profiles,
)
from cemscope.measurement.lucency_streaks import CleanProfiles, remove_streaks
from cemscope.measurement.lucency_widths import (
    BoneLevels,
    WidthMap,
    WidthSettings,
    weigh_widths,
)
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.scan_region import FloatArray, ScanRegion, box_around
from cemscope.volume import BoolArray, LabelArray

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LucencySettings:
    """Limits of the lucent rim.

    Attributes
    ----------
    thickest_slice_mm
        Thicker slices (distance or thickness) are not assessed.
    lucent_width_mm
        A place counts as lucent from this width ...
    lucent_probability
        ... if it is that wide with this probability.
    suspicious_width_mm, suspicious_arc_deg, suspicious_length_fraction
        Suspicious: a rim of this mean width over this arc and share of the length in
        bone (definition: >= 1 mm, Wu 2019).
    loose_width_mm
        Loose: suspicious, and this wide.
    rim_hu
        A double halo's outer line is this much denser than the patient's marrow ...
    rim_fraction
        ... over this share of the lucent rim.
    measuring_error_mm
        Widths within this of a limit reach it: bias to be expected of the method.
    least_seen_fraction
        Less of the surface in bone seen, cement left out: not assessed.
    least_length_mm
        Nor a shaft with less length in bone outside cement.
    hidden_deviation_mm
        A place whose width is not known better than this is not seen.
    dark_streak_hu, bright_streak_hu
        Surroundings so far below or above the patient's marrow are streaks, not bone.
    profiles, widths
        How profiles are read and judged.
    """

    thickest_slice_mm: float = 1.5
    lucent_width_mm: float = 0.7
    lucent_probability: float = 0.5
    suspicious_width_mm: float = 1.0
    suspicious_arc_deg: float = 90.0
    suspicious_length_fraction: float = 1.0 / 3.0
    loose_width_mm: float = 2.0
    rim_hu: float = 100.0
    rim_fraction: float = 0.5
    measuring_error_mm: float = 0.2
    least_seen_fraction: float = 0.3
    least_length_mm: float = 8.0
    hidden_deviation_mm: float = 0.8
    dark_streak_hu: float = 170.0
    bright_streak_hu: float = 700.0
    profiles: ProfileSettings = field(default_factory=ProfileSettings)
    widths: WidthSettings = field(default_factory=WidthSettings)


@dataclass(frozen=True, slots=True, eq=False)
class LucencyMap:
    """The unrolled surface of one shaft, arrays (planes, angles).

    Attributes
    ----------
    level : str
        Vertebra.
    side : Side
        Side of the screw.
    t_mm : ndarray, shape (planes,)
        Position on the axis, from the head's centre.
    in_body : ndarray of bool, shape (planes,)
        Body, else pedicle or arch.
    state : ndarray of uint8
        `CellState`.
    width_mm : ndarray of float
        Width of the rim; 0 where there is none or nothing was seen.
    rim_hu : ndarray of float
        Density just outside the rim, above the patient's marrow.
    marrow_hu, streak_hu : float
        What the places were compared with.
    """

    level: str
    side: Side
    t_mm: FloatArray
    in_body: BoolArray
    state: npt.NDArray[np.uint8]
    width_mm: FloatArray
    rim_hu: FloatArray
    marrow_hu: float
    streak_hu: float


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
    """

    region: ScanRegion
    materials: LabelArray
    slice_mm: float


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
    read = [
        read_profiles(scan.region, scan.materials, screw, settings.profiles)
        for screw in screws
    ]
    marrow = [_marrow(scan.region, scan.materials, screw) for screw in screws]
    cleaned = remove_streaks(
        scan.region, scan.materials, screws, tuple(read), settings.profiles
    )
    return tuple(
        _screw_lucency(screw, one, bone, settings)
        for screw, one, bone in zip(screws, cleaned, marrow, strict=True)
    )


def _screw_lucency(
    screw: ScrewModel,
    cleaned: CleanProfiles | None,
    marrow: tuple[float, float] | None,
    settings: LucencySettings,
) -> ScrewLucency:
    if cleaned is None:
        short = "the shaft is too short to be looked at"
        return ScrewLucency(NotAssessed(short), None)
    if marrow is None:
        unseen = "no bone of this vertebra is seen away from the implants"
        return ScrewLucency(NotAssessed(unseen), None)
    profiles = cleaned.profiles
    left = _streak_hu(profiles, marrow[0])
    streak = np.hypot(left, UNCERTAIN_STREAK * cleaned.removed_hu)
    levels = BoneLevels(marrow[0], 0.35 * marrow[1], streak)
    widths = weigh_widths(profiles, screw.shaft, levels, settings.widths)
    surface = _surface(screw, profiles, widths, levels, settings)
    log.info(
        "%s %s: marrow %.0f HU, streaks of %.0f HU removed, %.0f HU left",
        screw.level,
        screw.side,
        levels.marrow_hu,
        cleaned.removed_hu.max(),
        left,
    )
    return ScrewLucency(judge_surface(surface, settings), surface)


UNCERTAIN_STREAK = 0.15
"""Part of a predicted streak that may be wrong [ours]."""


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
    suspicious = (
        whole.mean_width_mm >= settings.suspicious_width_mm - error
        and whole.arc_deg >= settings.suspicious_arc_deg
        and whole.length_fraction >= settings.suspicious_length_fraction
    )
    wide = whole.mean_width_mm >= settings.loose_width_mm - error
    grade = LucencyGrade.NONE
    if suspicious:
        grade = LucencyGrade.LOOSE if wide or double else LucencyGrade.SUSPICIOUS
    cement = surface.state == CellState.CEMENT
    return Lucency(
        grade,
        whole,
        _part(surface, ~surface.in_body, settings),
        _part(surface, surface.in_body, settings),
        double and suspicious,
        float(cement.sum() / max(in_bone.sum(), 1)),
    )


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
    rimmed = arc >= settings.suspicious_arc_deg
    judged = counted & enough
    fraction = float((rimmed & judged).sum() / max(judged.sum(), 1))
    if not lucent.any():
        return LucencyPart(0.0, 0.0, 0.0, 0.0, share, length_mm)
    rows = rimmed & judged if (rimmed & judged).any() else lucent.any(axis=1)
    return LucencyPart(
        _patch_maximum_mm(np.where(seen, width, np.nan)),
        float(width[lucent & rows[:, None]].mean()),
        float(np.median(arc[rows])),
        fraction,
        share,
        length_mm,
    )


def _unseen_factor(open_: BoolArray, visible: npt.NDArray[np.int_]) -> FloatArray:
    factor: FloatArray = open_.sum(axis=1) / np.maximum(visible, 1)
    return np.clip(factor, 1.0, MOST_CONTINUED)


MOST_CONTINUED = 1.5
"""An arc is continued over what is hidden of its circle by this factor at most [ours]."""


PATCH_MM, PATCH_DEG = 4.0, 50.0
"""A largest width must be kept by a patch of the surface, not by a single place."""


def _patch_maximum_mm(width: FloatArray) -> float:
    """Largest mean width of a patch, of which half is seen at least."""
    seen = np.isfinite(width).astype(float)
    size = (round(PATCH_MM / AXIAL_STEP_MM), round(PATCH_DEG * ANGLES / 360.0))
    modes = ("constant", "wrap")
    total = ndimage.uniform_filter(np.nan_to_num(width), size, mode=modes)
    weight = ndimage.uniform_filter(seen, size, mode=modes)
    mean = total / np.maximum(weight, 1e-9)
    return float(mean[weight >= 0.5].max()) if (weight >= 0.5).any() else 0.0


def _surface(
    screw: ScrewModel,
    profiles: ShaftProfiles,
    widths: WidthMap,
    levels: BoneLevels,
    settings: LucencySettings,
) -> LucencyMap:
    state = profiles.state.copy()
    seen = state == CellState.SEEN
    around = profiles.hu[..., _FAR].mean(axis=-1) - levels.marrow_hu
    streak = (around < -settings.dark_streak_hu) | (around > settings.bright_streak_hu)
    unsure = widths.deviation_mm > settings.hidden_deviation_mm
    endless = widths.endless > 0.5
    state[seen & (streak | unsure | endless)] = CellState.HIDDEN
    lucent = widths.at_least(settings.lucent_width_mm) >= settings.lucent_probability
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
        float(np.median(levels.streak_hu)),
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


def _marrow(
    region: ScanRegion, materials: LabelArray, screw: ScrewModel
) -> tuple[float, float] | None:
    """Median and deviation of the vertebra's marrow away from implants and surface."""
    number = VertebraLevel(screw.level).number
    box = box_around(region.labels == number, region.geometry, 2.0)
    if box is None:
        return None
    spacing = region.geometry.spacing_mm
    body = region.labels[box] == number
    depth = ndimage.distance_transform_edt(body, sampling=spacing)
    inside = depth >= min(SURFACE_MM, 0.5 * float(depth.max()))
    implants = materials[box] > 0
    if implants.any():
        away = ndimage.distance_transform_edt(~implants, sampling=spacing)
        inside &= away >= IMPLANT_MM
    if inside.sum() < LEAST_VOXELS:
        return None
    values = region.hu[box][inside].astype(np.float64)
    middle = float(np.median(values))
    return middle, float(1.4826 * np.median(np.abs(values - middle)))


SURFACE_MM, IMPLANT_MM, LEAST_VOXELS = 3.0, 5.0, 200
"""Marrow is read so far from the body's surface and from implants, from so many voxels.
"""
