"""Lucent rim around cement: a dark zone between the cement of a body and its bone.

After vertebroplasty it was seen in one vertebra of six and went with renewed collapse
(Int J Spine Surg 2021, 15:302). It is measured like that of a screw: profiles outwards
from the surface, and widths weighed by `lucency_widths`. The surface of cement without
metal beside it is seen where its brightness has fallen by half. Where metal is near, or
the wall of the body, nothing is told.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from cemscope.findings import CementRim, NotAssessed
from cemscope.measurement.cement_surface import CementSurface, cement_surface
from cemscope.measurement.lucency_power import with_gap
from cemscope.measurement.lucency_profiles import (
    ANGLES,
    CEMENT,
    DISTANCE_MM,
    FAR_EXIT_MM,
    LEAK,
    OTHER_METAL,
    SCREW,
    CellState,
    ShaftProfiles,
)
from cemscope.measurement.lucency_streaks import CleanProfiles
from cemscope.measurement.lucency_surface import LucencySettings
from cemscope.measurement.lucency_surroundings import BoneLevels, WidthSettings
from cemscope.measurement.lucency_widths import WIDTHS_MM, WidthMap, weigh_widths
from cemscope.measurement.marrow_level import TEXTURE_SHARE, marrow_of
from cemscope.resampling import label_boxes
from cemscope.segmentation.implants.screw_profile import (
    TYPICAL_BLUR_SIGMA_MM,
    ShaftProfile,
)
from cemscope.segmentation.scan_region import FloatArray, ScanRegion, widened
from cemscope.spine import Spine
from cemscope.volume import CTVolume, LabelArray

MARGIN_MM = 8.0
"""Profiles of 6 mm must fit around the cement."""

LEAST_VOXELS = 60
"""Less cement has no surface to speak of."""

RAY_MM = np.arange(-2.0, 7.01, 0.2)
RAY_MM.setflags(write=False)

SMOOTH_MM, PATCH_MM = 1.5, 3.0
"""Radii within which profiles are averaged, and evidence is joined."""

METAL_MM = 5.0
"""Metal this near to a ray hides it."""

LEAST_SEEN_MM2 = 100.0
"""A seen surface smaller than a disc of 11 mm tells too little [ours]."""

LEFT_HU = 15.0
"""What streaks leave beside cement without metal near by [ours]."""


@dataclass(frozen=True, slots=True)
class RimOfVertebra:
    """Result for one vertebra."""

    level: str
    rim: CementRim | NotAssessed


def measure_cement_rims(
    ct: CTVolume,
    spine: Spine,
    materials: LabelArray,
    blur_mm: float = TYPICAL_BLUR_SIGMA_MM,
    settings: LucencySettings | None = None,
) -> tuple[RimOfVertebra, ...]:
    """Measure the rim around the cement of every vertebra.

    Parameters
    ----------
    ct, spine
        The scan and its vertebrae.
    materials
        Cement and metal on the scan's grid, numbered as in ``materials.nii.gz``.
    blur_mm
        Blur of the scan (standard deviation).
    settings
        Limits; None for the defaults.

    Returns
    -------
    tuple of RimOfVertebra
        In the order of the vertebrae.
    """
    settings = settings or LucencySettings()
    slice_mm = max(ct.spacing_mm[0], ct.acquisition.slice_thickness_mm or 0.0)
    boxes = label_boxes(spine.labels.labels)
    found = []
    for vertebra in spine.vertebrae:
        rim: CementRim | NotAssessed
        body = boxes.get(vertebra.level.number)
        if slice_mm > settings.thickest_slice_mm + 1e-3:
            rim = NotAssessed(
                f"slices of {slice_mm:.2f} mm; a rim of 1 mm needs "
                f"{settings.thickest_slice_mm:.1f} mm or less"
            )
        elif body is None:
            rim = NotAssessed("the body of this vertebra is not outlined")
        else:
            box = widened(body, MARGIN_MM, ct.geometry)
            rim = rim_of(
                ScanRegion.of_box(ct, spine.labels, box),
                materials[box],
                vertebra.level.number,
                (blur_mm, settings),
            )
        found.append(RimOfVertebra(vertebra.level.name, rim))
    return tuple(found)


def rim_of(
    region: ScanRegion,
    materials: LabelArray,
    number: int,
    how: tuple[float, LucencySettings],
) -> CementRim | NotAssessed:
    """Measure the rim around the cement in one body.

    Parameters
    ----------
    region
        The body with its surroundings.
    materials
        Cement and metal on the region's grid.
    number
        Of the body among the region's labels.
    how
        Blur of the scan in mm, and limits.
    """
    blur_mm, settings = how
    cement = np.isin(materials, (CEMENT, LEAK))
    within = (materials == CEMENT) & (region.labels == number)
    if within.sum() < LEAST_VOXELS:
        return NotAssessed("there is no cement in the body to have a rim")
    marrow = marrow_of(region, materials, number)
    if marrow is None:
        return NotAssessed("no bone of this vertebra is seen away from the implants")
    levels = BoneLevels(marrow[0], TEXTURE_SHARE * marrow[1], LEFT_HU)
    if levels.marrow_hu - settings.widths.gap_hu < settings.least_contrast_hu:
        return NotAssessed(f"marrow of {levels.marrow_hu:.0f} HU is as dark as a gap")
    surface = cement_surface(within, cement, region)
    if surface is None:
        return NotAssessed("there is no cement in the body to have a rim")
    cleaned, shaft, seen_hu = _profiles(region, materials, number, surface, blur_mm)
    around = seen_hu[..., _FAR].mean(axis=-1) - levels.marrow_hu
    state = cleaned.profiles.state
    streak = (around < -settings.dark_streak_hu) | (around > settings.bright_streak_hu)
    state[(state == CellState.SEEN) & streak] = CellState.HIDDEN
    return _judged(cleaned, shaft, levels, (surface, settings))


_FAR = (DISTANCE_MM >= 2.0) & (DISTANCE_MM <= 4.5)


def _judged(
    cleaned: CleanProfiles,
    shaft: ShaftProfile,
    levels: BoneLevels,
    known: tuple[CementSurface, LucencySettings],
) -> CementRim | NotAssessed:
    surface, settings = known
    state = cleaned.profiles.state
    in_bone = (state != CellState.OUTSIDE).ravel()
    widths = _widths(cleaned, shaft, levels, known)
    unsure = widths.deviation_mm > settings.hidden_deviation_mm
    walled = cleaned.profiles.exit_mm - widths.width_mm < settings.wall_mm
    lucent = widths.at_least(settings.lucent_width_mm) >= settings.lucent_probability
    seen = (state == CellState.SEEN) & ~unsure & ~(lucent & walled)
    seen_share = float(seen.sum() / max(in_bone.sum(), 1))
    if (
        seen_share < settings.least_seen_fraction
        or seen.sum() * surface.area_mm2 < LEAST_SEEN_MM2
    ):
        return NotAssessed(
            f"metal, streaks and the wall of the body hide "
            f"{100.0 * (1.0 - seen_share):.0f} % of the cement's surface"
        )
    rim = lucent & seen & (widths.endless <= 0.5)
    share = float(rim.sum() / seen.sum())
    if share < settings.suspicious_length_fraction:
        width_mm = settings.loose_width_mm
        worn = with_gap(cleaned, shaft, width_mm, settings.widths.gap_hu)
        told = _widths(worn, shaft, levels, known)
        enough = told.at_least(settings.lucent_width_mm) >= settings.lucent_probability
        told_share = float(enough[seen].mean())
        if told_share < settings.power.least_told:
            return NotAssessed(
                f"a rim of {width_mm:.1f} mm would have been told on "
                f"{100.0 * told_share:.0f} % of the cement's surface only"
            )
    width = widths.width_mm[rim]
    return CementRim(
        float(np.quantile(width, MAX_QUANTILE)) if width.size else 0.0,
        float(width.mean()) if width.size else 0.0,
        share,
        seen_share,
        float(in_bone.sum()) * surface.area_mm2,
    )


MAX_QUANTILE = 0.95
"""Of the widths; a largest one must be kept by more than a single place."""


def _widths(
    cleaned: CleanProfiles,
    shaft: ShaftProfile,
    levels: BoneLevels,
    known: tuple[CementSurface, LucencySettings],
) -> WidthMap:
    """Width at every place, from the evidence of the patch around it."""
    surface, settings = known
    evidence = weigh_widths(cleaned, shaft, levels, settings.widths)
    shape = evidence.shape
    used = (cleaned.profiles.state == CellState.SEEN).ravel()
    flat = evidence.reshape(-1, shape[-1]) * used[:, None]
    near = _neighbours(surface.points_mm, PATCH_MM)
    count = np.maximum(near @ used, 1.0)
    # Neighbours are not independent: a patch is worth a few of them.
    worth = np.minimum(settings.widths.pool_gain, count) / count
    pooled = (near @ flat) * worth[:, None] + np.log(_priors(settings.widths))
    pooled -= pooled.max(axis=1, keepdims=True)
    probability = np.exp(pooled)
    probability /= probability.sum(axis=1, keepdims=True)
    return WidthMap(probability.reshape(shape), np.zeros(shape[:2]))


def _priors(settings: WidthSettings) -> FloatArray:
    """Probability of each width where nothing else is known, shape (widths,)."""
    loose = (WIDTHS_MM > 0.0) & np.isfinite(WIDTHS_MM)
    each = (1.0 - settings.tight_prior - settings.endless_prior) / loose.sum()
    prior = np.where(loose, each, 0.0)
    prior[0], prior[-1] = settings.tight_prior, settings.endless_prior
    return prior


def _neighbours(points_mm: FloatArray, radius_mm: float) -> FloatArray:
    """Matrix of 0 and 1: which places lie within a radius of which."""
    tree = cKDTree(points_mm)
    near = tree.sparse_distance_matrix(tree, radius_mm, output_type="coo_matrix")
    matrix: FloatArray = np.eye(len(points_mm))
    matrix[near.row, near.col] = 1.0
    return matrix


def _profiles(
    region: ScanRegion,
    materials: LabelArray,
    number: int,
    surface: CementSurface,
    blur_mm: float,
) -> tuple[CleanProfiles, ShaftProfile, FloatArray]:
    """Profiles outwards without the cement's own blur, as if unrolled."""
    spacing = np.array(region.geometry.spacing_mm)
    start, ray = surface.points_mm[:, None], surface.outwards[:, None]
    hu = _at(region.hu.astype(np.float64), start + ray * RAY_MM[:, None], spacing, 1)
    near = _neighbours(surface.points_mm, SMOOTH_MM)
    near /= near.sum(axis=1, keepdims=True)
    hu = near @ hu
    top = hu[:, (RAY_MM >= -2.0) & (RAY_MM <= -0.6)].max(axis=1)
    beyond = np.median(hu[:, (RAY_MM >= 2.0) & (RAY_MM <= 4.5)], axis=1)
    half = 0.5 * (top + beyond)
    # The surface is where the brightness has fallen by half.
    first = int(np.argmax(RAY_MM >= -1.0))
    below = hu[:, first:] < half[:, None]
    moved = RAY_MM[first + np.argmax(below, axis=1)] - 0.1
    clear = below.any(axis=1) & (np.abs(moved) < 1.2) & (top > beyond + CLEAR_HU)
    place = moved[:, None] + DISTANCE_MM
    step = RAY_MM[1] - RAY_MM[0]
    hu = ndimage.map_coordinates(
        hu,
        np.stack(
            [
                np.broadcast_to(np.arange(len(hu))[:, None], place.shape),
                (place - RAY_MM[0]) / step,
            ]
        ),
        order=1,
        mode="nearest",
    )
    shaft = ShaftProfile(CEMENT_RADIUS_MM, blur_mm, float(np.median(top)))
    share = shaft.metal_share(DISTANCE_MM)
    rest = hu - top[:, None] * share
    points = start + ray * place[..., None]
    label = _at(region.labels, points, spacing, 0)
    kinds = _at(materials, points, spacing, 0)
    metal = np.isin(materials, (SCREW, OTHER_METAL))
    away = (
        ndimage.distance_transform_edt(~metal, sampling=spacing)
        if metal.any()
        else np.full(metal.shape, np.inf)
    )
    bone = label == number
    state = np.where(
        bone[:, DISTANCE_MM <= 3.0].mean(axis=1) >= 0.6,
        CellState.SEEN,
        CellState.OUTSIDE,
    ).astype(np.uint8)
    other = np.isin(
        kinds[:, (DISTANCE_MM >= 1.4) & (DISTANCE_MM <= 4.0)], (CEMENT, LEAK)
    )
    hidden = other.any(axis=1) | ~clear
    hidden |= _at(away, start, spacing, 1)[:, 0] < METAL_MM
    state[hidden & (state == CellState.SEEN)] = CellState.HIDDEN
    last = bone.shape[1] - 1 - np.argmax(bone[:, ::-1], axis=1)
    exits = np.where(bone[:, -1], FAR_EXIT_MM, DISTANCE_MM[last])
    count = len(rest) // ANGLES
    blur = float(np.hypot(blur_mm, np.sqrt((spacing**2).mean() / 6.0)))
    rolled = ShaftProfiles(
        np.arange(count, dtype=float),
        np.zeros(ANGLES),
        rest.reshape(count, ANGLES, -1),
        state.reshape(count, ANGLES),
        np.ones(count, np.bool_),
        np.full(ANGLES, blur),
        np.full(ANGLES, blur),
        exits.reshape(count, ANGLES),
        np.zeros((0, 3)),
    )
    removed = np.zeros(rolled.hu.shape)
    return CleanProfiles(rolled, removed), shaft, rolled.hu


CEMENT_RADIUS_MM = 6.0
"""Usual radius of a lump of cement: how far blur moves its half value inwards."""

CLEAR_HU = 300.0
"""Cement stands out by this much, or its surface is not seen."""


def _at(
    values: LabelArray | FloatArray,
    points_mm: FloatArray,
    spacing: FloatArray,
    order: int,
) -> FloatArray:
    where = np.moveaxis(points_mm / spacing, -1, 0)
    found: FloatArray = ndimage.map_coordinates(
        values, where, order=order, mode="nearest"
    )
    return found
