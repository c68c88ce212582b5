"""Evidence of a gap when the errors of a shaft are shared by all of its places.

A radius that is 0.1 mm wrong, a blur, metal's brightness and streaks are wrong at all
places of a shaft alike. Place by place each of them can pass for a narrow gap; all
together they can not, since one and the same error must explain every place. They enter
linearly with Gaussian priors and are integrated out over the whole shaft, for a gap in
some window against none (Bishop 2006, Pattern Recognition and Machine Learning, section
3.5; windows as in `lucency_joint`).
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from cemscope.measurement.lucency_profiles import (
    DISTANCE_MM,
    FAR_EXIT_MM,
    CellState,
)
from cemscope.measurement.lucency_streaks import CleanProfiles
from cemscope.measurement.lucency_widths import (
    BLUR_STEP_MM,
    LEAST_NOISE_HU,
    NOISE_MM,
    BoneLevels,
    WidthSettings,
    metal_share,
)
from cemscope.segmentation.implants.screw_profile import ShaftProfile
from cemscope.segmentation.scan_region import FloatArray
from cemscope.volume import BoolArray


@dataclass(frozen=True, slots=True)
class SharedSettings:
    """What is expected of the errors that a shaft's places share, and what they tell.

    Attributes
    ----------
    doubtful_evidence
        From this logarithm of the likelihood of a gap over that of none on, no gap is
        excluded.
    least_gain
        A gap placed by calculation is told where it raises that by so much.
    widths_mm
        Widths that are tried.
    bone_above_hu, bone_spread_hu
        Bone beside screws over the marrow of the body, and its spread from shaft to
        shaft: pedicles are denser.
    window_bone_hu
        Spread of the bone from one window to the rest of its shaft.
    gap_spread_hu, rim_hu
        Spread of the gap's density and of the density of its line.
    axis_mm, blur_share, metal_share
        Errors of the axis and relative ones of blur and brightness.
    least_edge_mm
        Least error of the radius; more where its fit says so.
    least_streak_hu, streak_share
        Streaks that are left: at least so strong, and so much of what was taken off.
    streak_doubt
        Relative error of the predicted streaks' strength.
    local_edge_mm, local_streak
        What places have of their own: surface, and streaks relative to the shared ones.
    outlier
        A place whose deviation is more than this times the expected counts for less.
    places_of_one
        So many places of the surface (0.5 mm x 10 degrees) tell one thing together.
    length_fractions, arcs_deg, least_seen
        As in `lucency_joint.JointSettings`.
    """

    doubtful_evidence: float = 10.0
    least_gain: float = 15.0
    widths_mm: tuple[float, ...] = (1.0, 1.3, 1.6, 2.0)
    bone_above_hu: float = 40.0
    bone_spread_hu: float = 100.0
    window_bone_hu: float = 60.0
    gap_spread_hu: float = 30.0
    rim_hu: float = 250.0
    axis_mm: float = 0.05
    blur_share: float = 0.06
    metal_share: float = 0.1
    least_edge_mm: float = 0.06
    least_streak_hu: float = 20.0
    streak_share: float = 0.1
    streak_doubt: float = 0.15
    local_edge_mm: float = 0.05
    local_streak: float = 0.5
    outlier: float = 1.5
    places_of_one: float = 40.0
    length_fractions: tuple[float, ...] = (1.0 / 3.0, 0.5, 0.75, 1.0)
    arcs_deg: tuple[float, ...] = (90.0, 140.0, 180.0, 270.0, 360.0)
    least_seen: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class SharedEvidence:
    """Sums over places, from which every window's evidence follows.

    Attributes
    ----------
    sums : ndarray, shape (planes, angles, hypotheses, PARAMETERS^2 + PARAMETERS + 1)
        Of each place of every second plane and angle: normal matrix, right side and
        constant under each hypothesis (none; then each width, without and with a line).
    seen : ndarray of bool, shape (planes, angles)
        Places that count.
    """

    sums: FloatArray
    seen: BoolArray

    def with_places_of(self, other: "SharedEvidence", part: slice) -> "SharedEvidence":
        """Take some planes from the same shaft, read otherwise."""
        sums = self.sums.copy()
        sums[part] = other.sums[part]
        return SharedEvidence(sums, self.seen)


ANGULAR = (0.5, 0.35, 0.35, 0.25, 0.25)
"""Shares of a streak's deviation: all around, and of its first two harmonics [ours]."""

CURVES = 4
STREAK = slice(0, 5 * CURVES)
EDGE, AXIS, BLUR, BRIGHT = 20, slice(21, 23), 23, 24
DOUBT, BONE, GAP, LINE = 25, 26, 27, 28
PARAMETERS = 29
STRIDE = 2
LINE_LOCAL_HU = 100.0
"""How much a dense line differs from place to place [ours]."""


def shared_evidence(
    cleaned: CleanProfiles,
    shaft: ShaftProfile,
    levels: BoneLevels,
    widths: WidthSettings,
    settings: SharedSettings,
) -> SharedEvidence:
    """Collect what all places of a shaft tell of each width.

    Parameters
    ----------
    cleaned, shaft, levels, widths
        What `lucency_widths.weigh_widths` was given.
    settings
        Errors that the places share.
    """
    profiles = cleaned.profiles
    seen = (profiles.state == CellState.SEEN)[::STRIDE, ::STRIDE]
    place = np.argwhere(seen)
    hu = profiles.hu[::STRIDE, ::STRIDE][seen]
    removed = cleaned.removed_hu[::STRIDE, ::STRIDE][seen]
    exits = np.clip(
        np.round(profiles.exit_mm[::STRIDE, ::STRIDE][seen]), 0, FAR_EXIT_MM
    )
    angle = profiles.angle_rad[::STRIDE][place[:, 1]]
    blurs = [
        np.round(blur[::STRIDE][place[:, 1]] / BLUR_STEP_MM) * BLUR_STEP_MM
        for blur in (profiles.blur_mm, profiles.metal_blur_mm)
    ]
    kinds = np.stack([*blurs, exits], axis=-1)
    usual = float(np.median(np.abs(removed))) if removed.size else 0.0
    streak_hu = float(
        np.hypot(
            max(levels.streak_hu, settings.least_streak_hu),
            settings.streak_share * usual,
        )
    )
    hypotheses = [(0.0, False)] + [
        (w, r) for w in settings.widths_mm for r in (False, True)
    ]
    size = PARAMETERS**2 + PARAMETERS + 1
    told = np.zeros((len(place), len(hypotheses), size))
    odd = np.full(len(place), np.inf)
    for kind in np.unique(kinds, axis=0):
        here = np.flatnonzero((kinds == kind).all(axis=1))
        model = _Kind(shaft, levels, widths, settings, streak_hu, tuple(kind))
        for k, (width, line) in enumerate(hypotheses):
            parts = model.sums(hu[here], removed[here], angle[here], width, line)
            normal, right, square, volume = parts
            step = np.linalg.solve(normal + np.eye(PARAMETERS), right[..., None])[
                ..., 0
            ]
            odd[here] = np.minimum(odd[here], square - (right * step).sum(axis=1))
            told[here, k] = np.concatenate(
                [normal.reshape(here.size, -1), right, (square + volume)[:, None]], 1
            )
    weight = np.minimum(
        settings.outlier * DISTANCE_MM.size / np.maximum(odd, 1e-6), 1.0
    )
    weight *= STRIDE**2 / settings.places_of_one
    sums = np.zeros((*seen.shape, len(hypotheses), size))
    sums[seen] = told * weight[:, None, None]
    return SharedEvidence(sums, seen)


_apart = np.abs(DISTANCE_MM[:, None] - DISTANCE_MM)


def _smooth_curves(length_mm: float) -> FloatArray:
    """Strongest shapes of curves that change over some distance."""
    size, shape = np.linalg.eigh(np.exp(-0.5 * (_apart / length_mm) ** 2))
    curves: FloatArray = (shape * np.sqrt(np.maximum(size, 0.0)))[:, ::-1][:, :CURVES]
    return curves


@dataclass(frozen=True, slots=True, eq=False)
class _Kind:
    """Places of like blur and distance from the vertebra's surface."""

    shaft: ShaftProfile
    levels: BoneLevels
    widths: WidthSettings
    settings: SharedSettings
    streak_hu: float
    kind: tuple[float, ...]

    def sums(
        self,
        hu: FloatArray,
        removed: FloatArray,
        angle: FloatArray,
        width_mm: float,
        line: bool,
    ) -> tuple[FloatArray, FloatArray, FloatArray, float]:
        """Return normal matrices, right sides, squares, and the covariance's volume."""
        s, w = self.settings, self.widths
        blur_mm, metal_blur_mm, exit_mm = self.kind
        d = DISTANCE_MM
        bright = self.shaft.metal_hu
        share, wider = (
            metal_share(self.shaft, d, metal_blur_mm * f) for f in (1.0, 1.02)
        )
        edge = (
            bright * (metal_share(self.shaft, d - 0.02, metal_blur_mm) - share) / 0.02
        )
        free = 1.0 - share
        bone = free
        if width_mm > 0.0:
            bone = np.minimum(special.ndtr((d - width_mm) / blur_mm), free)
        gap = free - bone
        beyond = special.ndtr((d - width_mm - w.rim_mm) / blur_mm)
        dense = np.maximum(bone - beyond, 0.0) * line
        mean = w.gap_hu * gap + (self.levels.marrow_hu + s.bone_above_hu) * bone
        wall = bone * special.ndtr((d - exit_mm + w.cortex_mm) / blur_mm)
        own = self._covariance(bone, wall)
        for change in (s.local_edge_mm * edge, LINE_LOCAL_HU * dense):
            own = own + np.outer(change, change)
        white = np.linalg.inv(np.linalg.cholesky(own))
        shared = np.zeros((len(hu), d.size, PARAMETERS))
        around = (
            np.ones(angle.size), np.cos(angle), np.sin(angle),
            np.cos(2.0 * angle), np.sin(2.0 * angle),
        )  # fmt: skip
        curves = self.streak_hu * _smooth_curves(w.streak_mm)
        for j, (turn, part) in enumerate(zip(around, ANGULAR, strict=True)):
            columns = slice(CURVES * j, CURVES * (j + 1))
            shared[:, :, columns] = part * turn[:, None, None] * curves
        known_mm = max(self.shaft.radius_deviation_mm, s.least_edge_mm)
        shared[:, :, EDGE] = known_mm * edge
        shared[:, :, AXIS] = s.axis_mm * np.stack(
            [turn[:, None] * edge for turn in around[1:3]], axis=-1
        )
        shared[:, :, BLUR] = bright * s.blur_share * (wider - share) / 0.02
        shared[:, :, BRIGHT] = bright * s.metal_share * share
        shared[:, :, DOUBT] = s.streak_doubt * removed
        shared[:, :, BONE] = s.bone_spread_hu * bone
        shared[:, :, GAP] = s.gap_spread_hu * gap
        shared[:, :, LINE] = s.rim_hu * dense
        columns_ = white @ shared
        error = (hu - mean) @ white.T
        turned = np.swapaxes(columns_, 1, 2)
        right = (turned @ error[..., None])[..., 0]
        volume = -2.0 * float(np.log(np.diagonal(white)).sum())
        return turned @ columns_, right, (error**2).sum(axis=1), volume

    def _covariance(self, bone: FloatArray, wall: FloatArray) -> FloatArray:
        """Add up what places have of their own."""
        w = self.widths
        fine = np.exp(-0.5 * (_apart / w.texture_mm) ** 2)
        texture = w.texture_hu**2 * fine
        texture += w.bone_spread_hu**2 * np.exp(-0.5 * (_apart / w.bone_change_mm) ** 2)
        own = self.levels.noise_hu**2 * np.exp(-0.5 * (_apart / NOISE_MM) ** 2)
        own += LEAST_NOISE_HU**2 * np.eye(DISTANCE_MM.size)
        own += texture * np.outer(bone, bone)
        own += w.cortex_hu**2 * fine * np.outer(wall, wall)
        local_hu = self.settings.local_streak * self.streak_hu
        own += local_hu**2 * np.exp(-0.5 * (_apart / w.streak_mm) ** 2)
        return own
