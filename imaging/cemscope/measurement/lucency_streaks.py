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
    DISTANCE_MM,
    OTHER_METAL,
    SCREW,
    CellState,
    ProfileSettings,
    ShaftProfiles,
    read_profiles,
    smoothed,
)
from cemscope.measurement.metal_shadow import TERMS, MetalShadow, cast_shadow
from cemscope.measurement.shaft_blur import OWN_BLUR_MM
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.scan_region import FloatArray, ScanRegion
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


def clean_profiles(
    region: ScanRegion,
    materials: LabelArray,
    screws: tuple[ScrewModel, ...],
    settings: ProfileSettings,
) -> tuple[CleanProfiles | None, ...]:
    """Read the profiles of all shafts, and take the predicted streaks off.

    They are read twice: the flank of a shaft tells its blur only when the streaks
    beside it are known.

    Parameters
    ----------
    region
        Whole planes of the scan.
    materials
        Cement and metal on the region's grid.
    screws
        All fitted screws.

    Returns
    -------
    tuple
        In the order of the screws; None for a shaft that cannot be looked at.
    """
    read = [read_profiles(region, materials, s, settings) for s in screws]
    sigma = [screw.shaft.sigma_mm for screw in screws]
    shadow = cast_shadow(
        region.hu,
        np.isin(materials, (SCREW, OTHER_METAL)),
        region.geometry,
        float(np.median(sigma)) if sigma else 0.5,
    )
    terms = [None if one is None else _terms(shadow, one, settings) for one in read]
    strengths = _strengths(read, terms)
    if shadow is not None and strengths.any():
        first = strengths

        def streak(points_lps_mm: FloatArray) -> FloatArray:
            found: FloatArray = shadow.at(points_lps_mm) @ first
            return found

        read = [read_profiles(region, materials, s, settings, streak) for s in screws]
        strengths = _strengths(read, terms)
    cleaned: list[CleanProfiles | None] = []
    for one, shape in zip(read, terms, strict=True):
        if one is None or shape is None:
            cleaned.append(None)
            continue
        removed = shape @ strengths
        cleaned.append(CleanProfiles(replace(one, hu=one.hu - removed), removed))
    return tuple(cleaned)


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
        for k in range(TERMS)
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
