"""Width of the lucent rim at every place of a shaft, with its probability.

A profile beside a shaft is metal blurred over its surroundings, then a homogeneous gap
of some width (none, for a screw that holds), then bone: marrow with its texture, and
often a denser rim. Streaks add a smooth curve. All parts but the width enter linearly
with a Gaussian prior, so that each width has a closed evidence (Gaussian marginal
likelihood; Bishop 2006, Pattern Recognition and Machine Learning, section 3.5).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage, special

from cemscope.measurement.lucency_profiles import (
    ANGLES,
    AXIAL_STEP_MM,
    DISTANCE_MM,
    FAR_EXIT_MM,
    CellState,
    ShaftProfiles,
)
from cemscope.measurement.lucency_streaks import CleanProfiles
from cemscope.segmentation.implants.screw_profile import ShaftProfile
from cemscope.segmentation.scan_region import FloatArray
from cemscope.volume import BoolArray

WIDTHS_MM = np.concatenate([[0.0], np.arange(0.4, 3.61, 0.1), [np.inf]])
"""Widths that are weighed; the last is soft tissue without an end."""

WIDTHS_MM.setflags(write=False)


@dataclass(frozen=True, slots=True)
class WidthSettings:
    """What is expected beside a shaft before its profile is seen.

    Attributes
    ----------
    gap_hu, gap_spread_hu
        Fluid and granulation tissue in the gap around a loose screw.
    bone_spread_hu, bone_change_mm
        Deviation of the bone beside a screw from the patient's marrow, and the way on
        which it changes: marrow is fat in one place and dense in the next.
    texture_hu, sparse_texture_hu, texture_mm
        Trabeculae after the smoothing, in usual and in sparse bone (either may lie
        beside a screw), and their size.
    rim_hu, rim_mm
        Density of a sclerotic rim, and its width.
    cortex_hu, cortex_mm
        Cortex, and how far it reaches inwards from the outlined surface of the
        vertebra: what is dense there bounds no gap.
    edge_mm
        Deviation of the shaft's surface from the fitted one.
    blur_share
        Relative deviation of the blur.
    streak_mm
        Streaks that are left change over such a distance.
    streak_doubt
        Part of a predicted streak that may be wrong.
    surprise
        A profile that no width explains says little: the logarithm of the likelihood
        of a width is at most so far below that of the best one.
    tight_prior, endless_prior
        Probability that a place has no gap, and that it lies in soft tissue though
        the outline says bone.
    told_tight_prior, alike_mm
        The same within a gap that the whole shaft tells of, and by how much its width
        differs from place to place.
    pool_along_mm, pool_around_deg
        A gap keeps its width over about such a patch (standard deviations).
    pool_gain
        As many independent profiles a patch is worth; streaks make it fewer than
        its area says.
    """

    gap_hu: float = 15.0
    gap_spread_hu: float = 40.0
    bone_spread_hu: float = 100.0
    bone_change_mm: float = 2.5
    texture_hu: float = 60.0
    sparse_texture_hu: float = 20.0
    texture_mm: float = 0.8
    rim_hu: float = 250.0
    rim_mm: float = 1.0
    cortex_hu: float = 350.0
    cortex_mm: float = 2.2
    edge_mm: float = 0.08
    blur_share: float = 0.08
    streak_mm: float = 2.2
    streak_doubt: float = 0.3
    surprise: float = 4.0
    tight_prior: float = 0.6
    endless_prior: float = 0.02
    told_tight_prior: float = 0.15
    alike_mm: float = 0.5
    pool_along_mm: float = 3.0
    pool_around_deg: float = 18.0
    pool_gain: float = 4.0


@dataclass(frozen=True, slots=True)
class BoneLevels:
    """What the scan shows of the vertebra away from the screw.

    Attributes
    ----------
    marrow_hu : float
        Median of its cancellous bone.
    noise_hu : float
        Noise of a smoothed profile.
    streak_hu : float
        Strength of the streaks that are left beside this shaft.
    """

    marrow_hu: float
    noise_hu: float
    streak_hu: float


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
        model = _Surroundings.of(shaft, (kind[0], kind[1]), levels, settings)
        found = model.log_evidence(hu[here], doubt[here], float(kind[2]))
        found -= found.max(axis=1, keepdims=True)
        flat[here] = np.logaddexp(found, -settings.surprise)
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


@dataclass(frozen=True, slots=True, eq=False)
class _Surroundings:
    """Parts of a profile that do not depend on the width."""

    blur_mm: float
    free: FloatArray
    shared: FloatArray
    levels: BoneLevels
    settings: WidthSettings

    @classmethod
    def of(
        cls,
        shaft: ShaftProfile,
        blurs_mm: tuple[float, float],
        levels: BoneLevels,
        settings: WidthSettings,
    ) -> "_Surroundings":
        d = DISTANCE_MM
        blur_mm, sigma_mm = blurs_mm
        metal_hu = shaft.metal_hu
        share, wider = (metal_share(shaft, d, sigma_mm * f) for f in (1.0, 1.02))
        edge = (metal_share(shaft, d - 0.02, sigma_mm) - share) / 0.02
        apart = np.abs(d[:, None] - d)
        shared = levels.noise_hu**2 * np.exp(-0.5 * (apart / NOISE_MM) ** 2)
        shared += levels.streak_hu**2 * np.exp(-0.5 * (apart / settings.streak_mm) ** 2)
        for change in (
            metal_hu * settings.edge_mm * edge,
            metal_hu * settings.blur_share * (wider - share) / 0.02,
            METAL_SPREAD * metal_hu * share,
        ):
            shared += np.outer(change, change)
        shared += np.eye(d.size) * LEAST_NOISE_HU**2
        return cls(blur_mm, 1.0 - share, shared, levels, settings)

    def log_evidence(
        self, hu: FloatArray, doubt: FloatArray, exit_mm: float
    ) -> FloatArray:
        """Log evidence of all widths, shape (places, widths), up to a constant.

        ``doubt`` has the shape of ``hu``: a curve of its own for each place, whose
        strength is unknown with deviation 1.
        """
        s = self.settings
        either = [
            self._log_evidence(hu, doubt, exit_mm, texture_hu)
            for texture_hu in (s.texture_hu, s.sparse_texture_hu)
        ]
        joined: FloatArray = np.logaddexp(*either)
        return joined

    def _log_evidence(
        self, hu: FloatArray, doubt: FloatArray, exit_mm: float, texture_hu: float
    ) -> FloatArray:
        evidence = np.empty((len(hu), len(WIDTHS_MM)))
        for k, width in enumerate(WIDTHS_MM):
            mean, covariance = self.gap(float(width), exit_mm, texture_hu)
            lower = np.linalg.cholesky(covariance)
            inverse = np.linalg.inv(lower)
            error, curve = (hu - mean) @ inverse.T, doubt @ inverse.T
            # The curve enters as a further direction of the covariance (Woodbury).
            size = 1.0 + (curve**2).sum(axis=1)
            square = (error**2).sum(axis=1) - (error * curve).sum(axis=1) ** 2 / size
            volume = np.log(np.diagonal(lower)).sum() + 0.5 * np.log(size)
            evidence[:, k] = -0.5 * square - volume
        return evidence

    def gap(
        self, width_mm: float, exit_mm: float, texture_hu: float
    ) -> tuple[FloatArray, FloatArray]:
        """Mean and covariance of a profile with a gap of some width."""
        d, s = DISTANCE_MM, self.settings
        if np.isinf(width_mm):
            bone = np.zeros(d.size)
            rim = np.zeros(d.size)
        else:
            edge = special.ndtr((d - width_mm) / self.blur_mm)
            bone = self.free if width_mm == 0.0 else np.minimum(edge, self.free)
            rim = bone - special.ndtr((d - width_mm - s.rim_mm) / self.blur_mm)
        gap = self.free - bone
        mean = s.gap_hu * gap + self.levels.marrow_hu * bone
        apart = np.abs(d[:, None] - d)
        texture = texture_hu**2 * np.exp(-0.5 * (apart / s.texture_mm) ** 2)
        texture += s.bone_spread_hu**2 * np.exp(-0.5 * (apart / s.bone_change_mm) ** 2)
        wall = bone * special.ndtr((d - exit_mm + s.cortex_mm) / self.blur_mm)
        cortex = s.cortex_hu**2 * np.exp(-0.5 * (apart / s.texture_mm) ** 2)
        covariance = self.shared + texture * np.outer(bone, bone)
        if np.isinf(width_mm):
            # Muscle, fat and vessels are no homogeneous gap.
            covariance = covariance + texture * np.outer(gap, gap)
        covariance = covariance + cortex * np.outer(wall, wall)
        for change in (
            s.gap_spread_hu * gap,
            s.rim_hu * np.maximum(rim, 0.0),
        ):
            covariance = covariance + np.outer(change, change)
        return mean, covariance


BLUR_STEP_MM = 0.05
"""How finely blur is told apart."""

NOISE_MM = 0.5
"""Noise of CT is alike within about a pixel."""

LEAST_NOISE_HU = 5.0

METAL_SPREAD = 0.1
"""Relative deviation of the metal's brightness along and around a shaft."""


def metal_share(
    shaft: ShaftProfile, outside_mm: FloatArray, blur_mm: float
) -> FloatArray:
    """Calculate the share of metal as `ShaftProfile.metal_share`, with another blur."""
    return replace(shaft, sigma_mm=blur_mm).metal_share(outside_mm)


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
