"""What all places of a shaft tell together, of gaps and of errors that they share.

Bone is drawn from the textures that the model expects, on the places of a phantom's
shaft; gaps are worn into it by calculation.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from cases.halo_profiles import halo_profiles, halo_scan
from cemscope.measurement.lucency import _screw_lucency
from cemscope.measurement.lucency_power import PowerSettings, share_told, with_gap
from cemscope.measurement.lucency_profiles import (
    ANGLES,
    DISTANCE_MM,
    FAR_EXIT_MM,
    CellState,
)
from cemscope.measurement.lucency_streaks import CleanProfiles, CleanShaft
from cemscope.measurement.lucency_surface import LucencySettings
from cemscope.measurement.lucency_surroundings import (
    BoneLevels,
    WidthSettings,
    metal_share,
)
from cemscope.measurement.lucency_window import (
    WindowGap,
    WindowSettings,
    strongest_gap,
)
from cemscope.segmentation.implants.screw_profile import ShaftProfile

MARROW_HU = 160.0
BLUR_MM, METAL_BLUR_MM, RADIUS_MM = 0.5, 0.45, 0.08
"""Blur of a thin slice, and how well its radius is known."""

LEVELS = BoneLevels(MARROW_HU, 10.0, 15.0)
SETTINGS, WIDTHS = WindowSettings(), WidthSettings()
PATCH = (9, 4)
"""Planes and angles that share one bone: close to `WindowSettings.places_of_one`."""


@cache
def drawn(seed: int = 4) -> tuple[CleanProfiles, ShaftProfile]:
    """A tight shaft in bone as the model expects it."""
    cleaned, screw = halo_profiles(0.0)
    shaft = replace(screw.shaft, radius_deviation_mm=RADIUS_MM)
    profiles = replace(
        cleaned.profiles,
        blur_mm=np.full(ANGLES, BLUR_MM),
        metal_blur_mm=np.full(ANGLES, METAL_BLUR_MM),
    )
    planes = profiles.t_mm.size
    apart = np.abs(DISTANCE_MM[:, None] - DISTANCE_MM)
    texture = WIDTHS.texture_hu**2 * np.exp(-0.5 * (apart / WIDTHS.texture_mm) ** 2)
    texture += WIDTHS.bone_spread_hu**2 * np.exp(
        -0.5 * (apart / WIDTHS.bone_change_mm) ** 2
    )
    root = np.linalg.cholesky(texture + np.eye(DISTANCE_MM.size))
    counts = (-(-planes // PATCH[0]), ANGLES // PATCH[1])
    rng = np.random.default_rng(seed)
    bone = rng.normal(size=(*counts, DISTANCE_MM.size)) @ root.T
    bone = bone.repeat(PATCH[0], axis=0)[:planes].repeat(PATCH[1], axis=1)
    share = [metal_share(shaft, DISTANCE_MM, blur) for blur in profiles.metal_blur_mm]
    hu = (1.0 - np.stack(share)) * (MARROW_HU + bone)
    even = replace(
        profiles,
        hu=hu,
        state=np.full_like(profiles.state, CellState.SEEN),
        exit_mm=np.full_like(profiles.exit_mm, FAR_EXIT_MM),
    )
    return replace(
        cleaned, profiles=even, removed_hu=np.zeros_like(cleaned.removed_hu)
    ), shaft


def told(cleaned: CleanProfiles, shaft: ShaftProfile) -> WindowGap:
    return strongest_gap(cleaned, shaft, LEVELS, WIDTHS, SETTINGS)


def read_as(cleaned: CleanProfiles, **changes: np.ndarray) -> CleanProfiles:
    return replace(cleaned, profiles=replace(cleaned.profiles, **changes))


@pytest.mark.parametrize("seed", range(4, 8))
def test_a_tight_shaft_speaks_for_no_gap(seed: int) -> None:
    assert told(*drawn(seed)).evidence < SETTINGS.least_evidence


@pytest.mark.parametrize("width_mm", [1.3, 1.6, 2.0, 2.5])
def test_a_gap_is_told_with_its_width(width_mm: float) -> None:
    tight, shaft = drawn()
    found = told(with_gap(tight, shaft, width_mm, WIDTHS.gap_hu), shaft)
    assert found.evidence > SETTINGS.least_evidence
    # A neighbour among the widths that are tried may win.
    assert found.width_mm == pytest.approx(width_mm, abs=0.51)


@dataclass(frozen=True)
class SharedError:
    """An error that is the same at all places."""

    name: str
    radius_mm: float = 0.0
    blur_share: float = 0.0
    bright_share: float = 0.0


ERRORS = (
    SharedError("radius", radius_mm=-0.1),
    SharedError("blur", blur_share=-0.06),
    SharedError("brightness", bright_share=-0.1),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.name)
def test_an_error_that_all_places_share_is_no_gap(error: SharedError) -> None:
    cleaned, shaft = drawn()
    profiles = cleaned.profiles
    blur = float(np.median(profiles.metal_blur_mm))
    right = shaft.metal_hu * metal_share(shaft, DISTANCE_MM, blur)
    wrong = shaft.metal_hu * (1.0 + error.bright_share)
    wrong = wrong * metal_share(
        shaft, DISTANCE_MM - error.radius_mm, blur * (1.0 + error.blur_share)
    )
    # Darker by as much as a gap in bone, beside the metal.
    assert (wrong - right).min() < -100.0
    off = read_as(cleaned, hu=profiles.hu + wrong - right)
    assert told(off, shaft).evidence < SETTINGS.least_evidence


@dataclass(frozen=True)
class Patch:
    name: str
    first: float
    last: float
    first_angle: int
    angles: int


PATCHES = (
    Patch("all around, along all of it", 0.0, 1.0, 0, 36),
    Patch("half of the circle, half of the length", 0.5, 1.0, 5, 18),
    Patch("across the first angle", 0.2, 0.8, 29, 18),
)


def worn_within(patch: Patch) -> tuple[CleanProfiles, ShaftProfile, np.ndarray]:
    cleaned, shaft = drawn()
    planes = cleaned.profiles.t_mm.size
    inside = np.zeros((planes, ANGLES), bool)
    turns = (patch.first_angle + np.arange(patch.angles)) % ANGLES
    inside[round(patch.first * planes) : round(patch.last * planes), turns] = True
    worn = with_gap(cleaned, shaft, 2.5, WIDTHS.gap_hu).profiles.hu
    hu = np.where(inside[..., None], worn, cleaned.profiles.hu)
    return read_as(cleaned, hu=hu), shaft, inside


@pytest.mark.parametrize("patch", PATCHES, ids=lambda p: p.name)
def test_the_window_is_where_the_gap_is(patch: Patch) -> None:
    cleaned, shaft, true = worn_within(patch)
    found = told(cleaned, shaft)
    assert found.evidence > SETTINGS.least_evidence
    assert true[found.inside].mean() > 0.8
    assert found.inside.sum() > 0.4 * true.sum()


def test_a_patch_smaller_than_the_definition_is_not_enough() -> None:
    cleaned, shaft, _ = worn_within(Patch("5 mm x 50 degrees", 0.4, 0.55, 3, 5))
    assert told(cleaned, shaft).evidence < SETTINGS.least_evidence


def test_nothing_beyond_the_wall_counts() -> None:
    cleaned, shaft = drawn()
    near = np.full_like(cleaned.profiles.exit_mm, 4.4)
    wall = 4.4 - SETTINGS.wall_mm < DISTANCE_MM
    plain = told(read_as(cleaned, exit_mm=near), shaft)
    bright = np.where(wall, 600.0, cleaned.profiles.hu)
    walled = told(read_as(cleaned, exit_mm=near, hu=bright), shaft)
    assert walled.evidence == pytest.approx(plain.evidence)
    # What is farther away would otherwise bound a gap.
    assert told(read_as(cleaned, hu=bright), shaft).evidence > plain.evidence + 1.0


def test_places_without_a_way_before_the_wall_tell_nothing() -> None:
    cleaned, shaft = drawn()
    worn = with_gap(cleaned, shaft, 2.0, WIDTHS.gap_hu)
    near = np.full_like(cleaned.profiles.exit_mm, 3.0)
    assert told(read_as(worn, exit_mm=near), shaft).evidence == -np.inf


def test_places_near_a_wall_are_not_told_by_the_others() -> None:
    """A gap is told where profiles are long enough, and only there."""
    cleaned, screw = halo_profiles(2.0, 200.0)
    exit_mm = np.full_like(cleaned.profiles.exit_mm, FAR_EXIT_MM)
    # 2 mm of gap and 2.2 mm of cortex: where the bone ends here, either may be dark.
    near = np.zeros(exit_mm.shape, np.bool_)
    near[:, ::3] = True
    exit_mm[near] = 3.6
    profiles = replace(cleaned.profiles, exit_mm=exit_mm)
    read = CleanShaft(profiles, cleaned.removed_hu, screw)
    looked = LucencySettings(), halo_scan(2.0, 200.0)[0]
    found = _screw_lucency(screw, read, (200.0, 10.0), *looked)
    assert found.surface is not None
    assert found.surface.told is not None
    judged = found.surface.told & (profiles.state == CellState.SEEN)
    lucent = found.surface.width_mm > 0.0
    assert (judged & near).sum() > 50
    assert lucent[judged & ~near].mean() > 0.8
    assert lucent[judged & near].mean() < 0.05
    assert (found.surface.state[judged & near] == CellState.HIDDEN).mean() > 0.8


def test_nothing_seen_tells_nothing() -> None:
    cleaned, shaft = drawn()
    hidden = np.full_like(cleaned.profiles.state, CellState.HIDDEN)
    found = told(read_as(cleaned, state=hidden), shaft)
    assert found.evidence == -np.inf
    assert not found.inside.any()


def test_streaks_that_were_taken_off_leave_doubt() -> None:
    cleaned, shaft = drawn()
    worn = with_gap(cleaned, shaft, 2.0, WIDTHS.gap_hu)
    streaked = replace(worn, removed_hu=np.full_like(worn.removed_hu, 800.0))
    assert told(streaked, shaft).evidence < 0.9 * told(worn, shaft).evidence


def test_power_needs_places() -> None:
    cleaned, shaft = drawn()

    def share(state: np.ndarray) -> float:
        looked = (PowerSettings(), WIDTHS, SETTINGS)
        return share_told(read_as(cleaned, state=state), shaft, LEVELS, looked)

    state = cleaned.profiles.state
    assert share(state) >= PowerSettings().least_told
    few = state.copy()
    few[:, 4:] = CellState.HIDDEN
    assert share(few) == 0.0
