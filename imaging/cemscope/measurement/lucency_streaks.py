"""Profiles around shafts without the streaks that the metal of the scan throws.

Shape of the streaks: `metal_shadow`. Their strengths are read from all shafts at once,
by regression of what lies beside them on the shapes; bone and cement differ from place
to place, streaks have one cause.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from cemscope.measurement.lucency_profiles import (
    CEMENT,
    DISTANCE_MM,
    LEAK,
    LEAST_PLANES,
    OTHER_METAL,
    SCREW,
    CellState,
    ProfileSettings,
    ShaftProfiles,
    looked_at_mm,
    read_profiles,
    shaft_box,
    smoothed,
)
from cemscope.measurement.metal_shadow import (
    TERMS,
    HardParts,
    MetalShadow,
    cast_shadow,
)
from cemscope.measurement.shaft_blur import (
    MOST_METAL_HU,
    TissueBeside,
    thickness_mm2,
)
from cemscope.measurement.shaft_fit import FittedShafts, fit_flanks, metal_beside
from cemscope.measurement.shaft_flank import ExpectedMetal, metal_of, read_flank
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.scan_region import Box, FloatArray, ScanRegion
from cemscope.volume import LabelArray


@dataclass(frozen=True, slots=True, eq=False)
class CleanProfiles:
    """Profiles of one shaft without streaks.

    Attributes
    ----------
    profiles : ShaftProfiles
        With the predicted streaks taken off.
    removed_hu : ndarray, shape (planes, angles, distances)
        The predicted streaks.
    """

    profiles: ShaftProfiles
    removed_hu: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class CleanShaft(CleanProfiles):
    """The same with the screw they count from: fitted again with all others.

    Attributes
    ----------
    screw : ScrewModel
        The screw.
    streak_strength : float
        What rays lack by L^2, of all shafts together: it tells titanium from stronger
        metals. 0 where no streaks are told.
    """

    screw: ScrewModel
    streak_strength: float = 0.0


def clean_profiles(
    region: ScanRegion,
    materials: LabelArray,
    screws: tuple[ScrewModel, ...],
    settings: ProfileSettings,
    metal: ExpectedMetal | None = None,
) -> tuple[CleanShaft | None, ...]:
    """Read the profiles of all shafts, and take the predicted streaks off.

    They are read twice: the flanks of the shafts tell radius and blur only when the
    streaks beside and in them are known.

    Parameters
    ----------
    region
        Whole planes of the scan.
    materials
        Cement and metal on the region's grid.
    screws
        All fitted screws.
    metal
        What is known of their metal; None to ask the scan.

    Returns
    -------
    tuple
        In the order of the screws; None for a shaft that cannot be looked at.
    """
    read = [read_profiles(region, materials, s, settings) for s in screws]
    shadow = _shadow(region, materials, screws)
    terms = [None if one is None else _terms(shadow, one, settings) for one in read]
    strengths = _strengths(read, terms)
    streaks = None if shadow is None else shadow.of_strength(strengths)
    fitted = _fitted(region, materials, screws, streaks, (settings, metal))
    cleaned: list[CleanShaft | None] = []
    for screw, metal_hu in zip(fitted.screws, fitted.metal_hu, strict=True):

        def strip(
            box: Box, screw: ScrewModel = screw, metal_hu: float = metal_hu
        ) -> TissueBeside:
            part = region.sub_box(box)
            removed = _on_voxels(streaks, box)
            removed += metal_beside(part, screw, metal_hu, fitted.blur)
            seen = removed < MOST_METAL_HU
            hu = np.where(seen, part.hu - removed, 0.0).astype(np.float32)
            return TissueBeside(hu, seen.astype(np.float32), fitted.blur)

        one = read_profiles(
            region, materials, screw, settings, strip if metal_hu > 0.0 else None
        )
        if one is None:
            cleaned.append(None)
            continue
        removed = _terms(streaks, one, settings)[..., 0]
        if metal_hu <= 0.0:
            one = replace(one, hu=one.hu - removed)
        cleaned.append(CleanShaft(one, removed, screw, -float(strengths[0])))
    return tuple(cleaned)


def _shadow(
    region: ScanRegion, materials: LabelArray, screws: tuple[ScrewModel, ...]
) -> MetalShadow | None:
    hard = HardParts(
        np.isin(materials, (SCREW, OTHER_METAL)),
        np.isin(materials, (CEMENT, LEAK)),
        float(np.median([screw.shaft.metal_hu for screw in screws] or [1.0])),
    )
    sigma = [screw.shaft.sigma_mm for screw in screws]
    blur_mm = float(np.median(sigma)) if sigma else 0.5
    return cast_shadow(region.hu, hard, region.geometry, blur_mm)


def _on_voxels(streaks: MetalShadow | None, box: Box) -> FloatArray:
    if streaks is None:
        return np.zeros([part.stop - part.start for part in box])
    return streaks.on_voxels(box).astype(float)


def _fitted(
    region: ScanRegion,
    materials: LabelArray,
    screws: tuple[ScrewModel, ...],
    streaks: MetalShadow | None,
    known: tuple[ProfileSettings, ExpectedMetal | None],
) -> FittedShafts:
    """Fit the flanks of all shafts together."""
    settings, metal = known
    ceiling_hu = metal.ceiling_hu if metal else float(region.hu.max()) + 1.0
    flanks = []
    for screw in screws:
        box = shaft_box(region, screw)
        t = looked_at_mm(screw, settings)
        flanks.append(
            None
            if t.size < LEAST_PLANES
            else read_flank(
                region.sub_box(box),
                _on_voxels(streaks, box),
                materials[box] > 0,
                screw,
                (float(t[0]), float(t[-1])),
                ceiling_hu,
            )
        )
    if metal is None:
        metal = metal_of(flanks, ceiling_hu)
    elif streaks is None or not streaks.filtered.any():
        # What rays lose in the metal is not known, and still in its brightness.
        fitted = float(np.median([screw.shaft.metal_hu for screw in screws]))
        metal = replace(metal, metal_hu=fitted, spread=UNTOLD_SPREAD)
    return fit_flanks(flanks, screws, thickness_mm2(region), metal)


UNTOLD_SPREAD = 0.25
"""Relative spread of clipped metal's brightness around the one that the first fits took
it to have, where streaks are not told [ours]."""

OWN_BLUR_MM = 0.9
"""Nearer to a shaft the shape of streaks is that of the metal itself."""

_FITTED = DISTANCE_MM >= 1.2
"""Nearer to the shaft its own blur decides."""

_STRIDE = 2


def _terms(
    shadow: MetalShadow | None, profiles: ShaftProfiles, settings: ProfileSettings
) -> FloatArray:
    """Shapes of the streaks on the profiles; read at every second place."""
    if shadow is None:
        return np.zeros((*profiles.hu.shape, TERMS))
    coarse = shadow.at(profiles.points_lps_mm[::_STRIDE, :, ::_STRIDE])
    planes, angles, steps = profiles.hu.shape
    where = np.meshgrid(
        np.arange(planes) / _STRIDE,
        np.arange(angles),
        np.arange(steps) / _STRIDE,
        indexing="ij",
    )
    fine = [
        ndimage.map_coordinates(coarse[..., k], where, order=1, mode="nearest")
        for k in range(coarse.shape[-1])
    ]
    shape = smoothed(np.stack(fine, axis=-1), settings)
    # Nearer than the blur the shape is that of the metal itself.
    first = int(np.argmax(DISTANCE_MM >= OWN_BLUR_MM))
    shape[:, :, :first] = shape[:, :, first, None]
    return shape


def _strengths(
    profiles: list[ShaftProfiles | None],
    terms: list[FloatArray | None],
) -> FloatArray:
    """Robust regression over all shafts, each with a level of its own."""
    shapes, values, owners = [], [], []
    for number, (one, shape) in enumerate(zip(profiles, terms, strict=True)):
        if one is None or shape is None:
            continue
        used = (one.state == CellState.SEEN)[..., None] & _FITTED
        used[1::2] = False
        shapes.append(shape[used])
        values.append(one.hu[used])
        owners.append(np.full(int(used.sum()), number))
    if not values or sum(len(v) for v in values) < LEAST_PLACES:
        return np.zeros(TERMS)
    shape, value = np.concatenate(shapes), np.concatenate(values)
    owner = np.concatenate(owners)
    levels = (owner[:, None] == np.unique(owner)).astype(float)
    # Errors of rays darken what metal shades: the signs of all shapes are known.
    design = np.hstack([shape @ _SIGNED, levels, -levels])
    weight = np.ones(len(value))
    found = np.zeros(design.shape[1])
    for _ in range(4):
        scaled = design * weight[:, None]
        found, _ = optimize.nnls(scaled.T @ design, scaled.T @ value)
        error = np.abs(value - design @ found)
        spread = max(1.4826 * float(np.median(error)), 10.0)
        weight = 1.0 / np.maximum(error / (1.5 * spread), 1.0)
    count = _SIGNED.shape[1]
    explained = error.mean() / np.abs(value - levels @ _medians(value, owner)).mean()
    if explained > CLEAR_SHARE:
        # Bone alone can look a little like streaks: no more is taken off than is told.
        return np.zeros(TERMS)
    strengths: FloatArray = _SIGNED @ found[:count]
    return strengths


def _medians(value: FloatArray, owner: npt.NDArray[np.int_]) -> FloatArray:
    return np.array([np.median(value[owner == one]) for one in np.unique(owner)])


CLEAR_SHARE = 0.85
"""Streaks count where they explain at least the rest of the mean deviation [ours]."""


_SIGNED = np.array([[-1.0, -1.0, 0.0], [0.0, 0.25, 0.0], [0.0, 0.0, -1.0]])
"""What rays lack: by L^2, by L^2 that levels off on long ways, and by L T."""

LEAST_PLACES = 2000
"""Fewer values do not tell streaks from bone."""
