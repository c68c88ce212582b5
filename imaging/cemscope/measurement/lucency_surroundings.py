"""What a profile beside a shaft looks like for each width of the gap.

Metal blurred over its surroundings, then a homogeneous gap of some width (none, for a
screw that holds), then bone: marrow with its texture, and often a denser rim. Streaks
add a smooth curve. All parts but the width enter linearly with a Gaussian prior.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from cemscope.measurement.lucency_profiles import DISTANCE_MM
from cemscope.segmentation.implants.screw_profile import ShaftProfile
from cemscope.segmentation.scan_region import FloatArray


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
    level_spread_hu, slope_hu_per_mm
        Deviation of its level, and of its rise outwards, that is the same all the way.
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
    level_spread_hu: float = 0.0
    slope_hu_per_mm: float = 0.0
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
class Surroundings:
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
    ) -> "Surroundings":
        """Lay out what all widths beside a shaft share; blurs: bone's, metal's."""
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
            s.level_spread_hu * bone,
            s.slope_hu_per_mm * d * bone,
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
