"""Width of the lucent rim at every place of a shaft, with its probability.

What a profile looks like for each width: `lucency_surroundings`. All parts but the
width enter linearly with a Gaussian prior, so that each width has a closed evidence
(Gaussian marginal likelihood; Bishop 2006, Pattern Recognition and Machine Learning,
section 3.5).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cemscope.measurement.lucency_profiles import (
    ANGLES,
    AXIAL_STEP_MM,
    DISTANCE_MM,
    FAR_EXIT_MM,
    CellState,
    ShaftProfiles,
)
from cemscope.measurement.lucency_streaks import CleanProfiles
from cemscope.measurement.lucency_surroundings import (
    BLUR_STEP_MM,
    BoneLevels,
    Surroundings,
    WidthSettings,
)
from cemscope.segmentation.implants.screw_profile import ShaftProfile
from cemscope.segmentation.scan_region import FloatArray
from cemscope.volume import BoolArray

WIDTHS_MM = np.concatenate([[0.0], np.arange(0.4, 3.61, 0.1), [np.inf]])
"""Widths that are weighed; the last is soft tissue without an end."""

WIDTHS_MM.setflags(write=False)


@dataclass(frozen=True, slots=True, eq=False)
class WidthMap:
    """Posterior of the width, arrays (planes, angles).

    Attributes
    ----------
    probability : ndarray, shape (planes, angles, len(WIDTHS_MM))
        Of each width.
    rim_hu : ndarray
        Density beyond the gap of the likeliest width, above the patient's marrow.
    """

    probability: FloatArray
    rim_hu: FloatArray

    def at_least(self, width_mm: float) -> FloatArray:
        """Probability of a gap that ends, at least so wide."""
        wide = (width_mm - 1e-6 <= WIDTHS_MM) & np.isfinite(WIDTHS_MM)
        total: FloatArray = self.probability[..., wide].sum(axis=-1)
        return total

    @property
    def endless(self) -> FloatArray:
        """Probability that nothing bounds the dark zone."""
        last: FloatArray = self.probability[..., -1]
        return last

    @property
    def width_mm(self) -> FloatArray:
        """Mean of the width, given that there is a gap that ends."""
        gap = (WIDTHS_MM > 0.0) & np.isfinite(WIDTHS_MM)
        weight = self.probability[..., gap]
        total = np.maximum(weight.sum(axis=-1), 1e-12)
        mean: FloatArray = (weight @ WIDTHS_MM[gap]) / total
        return mean

    @property
    def deviation_mm(self) -> FloatArray:
        """Standard deviation of the width, no gap counted as 0."""
        finite = np.isfinite(WIDTHS_MM)
        weight = self.probability[..., finite]
        weight = weight / np.maximum(weight.sum(axis=-1, keepdims=True), 1e-12)
        mean = weight @ WIDTHS_MM[finite]
        square = weight @ WIDTHS_MM[finite] ** 2
        deviation: FloatArray = np.sqrt(np.maximum(square - mean**2, 0.0))
        return deviation


def weigh_widths(
    cleaned: CleanProfiles,
    shaft: ShaftProfile,
    levels: BoneLevels,
    settings: WidthSettings,
) -> FloatArray:
    """Weigh every width at every place of a shaft.

    Returns
    -------
    ndarray, shape (planes, angles, len(WIDTHS_MM))
        Logarithm of each width's likelihood, 0 for the best one; 0 for all where
        nothing is seen.
    """
    profiles = cleaned.profiles
    planes, angles, _ = profiles.hu.shape
    evidence = np.zeros((planes, angles, len(WIDTHS_MM)))
    # Places of like blur and distance from the surface share one model.
    exits = np.clip(np.round(profiles.exit_mm), 0.0, FAR_EXIT_MM)
    kinds = np.stack(
        [
            np.broadcast_to(np.round(blur / BLUR_STEP_MM) * BLUR_STEP_MM, exits.shape)
            for blur in (profiles.blur_mm, profiles.metal_blur_mm)
        ]
        + [exits],
        axis=-1,
    ).reshape(-1, 3)
    used = (profiles.state == CellState.SEEN).ravel()
    hu = profiles.hu.reshape(-1, DISTANCE_MM.size)
    doubt = settings.streak_doubt * cleaned.removed_hu.reshape(hu.shape)
    flat = evidence.reshape(-1, len(WIDTHS_MM))
    for kind in np.unique(kinds[used], axis=0):
        here = used & (kinds == kind).all(axis=1)
        model = Surroundings.of(shaft, (kind[0], kind[1]), levels, settings)
        found = _log_evidence(model, hu[here], doubt[here], float(kind[2]))
        found -= found.max(axis=1, keepdims=True)
        flat[here] = np.logaddexp(found, -settings.surprise)
    return evidence


def _log_evidence(
    model: Surroundings, hu: FloatArray, doubt: FloatArray, exit_mm: float
) -> FloatArray:
    """Log evidence of all widths, shape (places, widths), up to a constant.

    ``doubt`` has the shape of ``hu``: a curve of its own for each place, whose
    strength is unknown with deviation 1.
    """
    s = model.settings
    either = [
        _of_texture(model, hu, doubt, (exit_mm, texture_hu))
        for texture_hu in (s.texture_hu, s.sparse_texture_hu)
    ]
    joined: FloatArray = np.logaddexp(*either)
    return joined


def _of_texture(
    model: Surroundings,
    hu: FloatArray,
    doubt: FloatArray,
    where: tuple[float, float],
) -> FloatArray:
    evidence = np.empty((len(hu), len(WIDTHS_MM)))
    for k, width in enumerate(WIDTHS_MM):
        mean, covariance = model.gap(float(width), *where)
        lower = np.linalg.cholesky(covariance)
        inverse = np.linalg.inv(lower)
        error, curve = (hu - mean) @ inverse.T, doubt @ inverse.T
        # The curve enters as a further direction of the covariance (Woodbury).
        size = 1.0 + (curve**2).sum(axis=1)
        square = (error**2).sum(axis=1) - (error * curve).sum(axis=1) ** 2 / size
        volume = np.log(np.diagonal(lower)).sum() + 0.5 * np.log(size)
        evidence[:, k] = -0.5 * square - volume
    return evidence


def posterior(
    evidence: FloatArray,
    profiles: ShaftProfiles,
    levels: BoneLevels,
    expected_mm: FloatArray,
    settings: WidthSettings,
) -> WidthMap:
    """Probability of each width, given the evidence of `weigh_widths`.

    Parameters
    ----------
    expected_mm
        Where all of the shaft's evidence together tells a gap, its width; else 0.
        There a gap of about this width is no surprise. Shape (planes, angles).
    """
    loose = (WIDTHS_MM > 0.0) & np.isfinite(WIDTHS_MM)
    flat = np.where(loose, 1.0 / loose.sum(), 0.0)
    apart = (WIDTHS_MM - expected_mm[..., None])[..., loose] / settings.alike_mm
    near = np.zeros((*expected_mm.shape, WIDTHS_MM.size))
    near[..., loose] = np.exp(-0.5 * apart**2) + 1e-3
    near /= near.sum(axis=-1, keepdims=True)
    told = expected_mm > 0.0
    tight = np.where(told, settings.told_tight_prior, settings.tight_prior)
    shape = np.where(told[..., None], near, flat)
    prior = (1.0 - tight - settings.endless_prior)[..., None] * shape
    prior[..., 0], prior[..., -1] = tight, settings.endless_prior
    pooled = _pooled(evidence, profiles.state == CellState.SEEN, settings)
    pooled += np.log(prior)
    pooled -= pooled.max(axis=-1, keepdims=True)
    probability = np.exp(pooled)
    probability /= probability.sum(axis=-1, keepdims=True)
    return WidthMap(probability, _rim_hu(profiles, probability, levels))


def _pooled(
    evidence: FloatArray, used: BoolArray, settings: WidthSettings
) -> FloatArray:
    """Join the evidence of neighbours on the shaft's surface."""
    evidence = evidence - evidence.max(axis=-1, keepdims=True)
    weight = used.astype(float)
    sigma = (
        settings.pool_along_mm / AXIAL_STEP_MM,
        settings.pool_around_deg * ANGLES / 360.0,
    )

    def smooth(values: FloatArray) -> FloatArray:
        for axis, mode in ((0, "constant"), (1, "wrap")):
            values = ndimage.gaussian_filter1d(values, sigma[axis], axis, mode=mode)
        return values

    total = smooth(evidence * weight[..., None])
    around = np.maximum(smooth(weight), 1e-6)
    # At an edge a patch is smaller and worth less.
    gain = np.maximum(settings.pool_gain * around, 1.0)
    pooled: FloatArray = total * (gain / around)[..., None]
    return pooled


RIM_REACH_MM = 1.2
"""A sclerotic rim is looked for within this distance beyond the gap."""


def _rim_hu(
    profiles: ShaftProfiles,
    probability: FloatArray,
    levels: BoneLevels,
) -> FloatArray:
    best = WIDTHS_MM[:-1][probability[..., :-1].argmax(axis=-1)]
    d = DISTANCE_MM
    beyond = (d >= best[..., None]) & (d <= best[..., None] + RIM_REACH_MM)
    tissue = np.where(beyond, profiles.hu, -np.inf)
    rim: FloatArray = tissue.max(axis=-1) - levels.marrow_hu
    return rim
