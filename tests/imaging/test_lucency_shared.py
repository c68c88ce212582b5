"""What all places of a shaft tell together, of gaps and of errors that they share.

Bone is drawn from the textures that the model expects, on the places of a phantom's
shaft; gaps are worn into it by calculation.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from cases.halo_profiles import halo_profiles
from cemscope.measurement.lucency_power import PowerSettings, share_gained, with_gap
from cemscope.measurement.lucency_profiles import (
    ANGLES,
    DISTANCE_MM,
    FAR_EXIT_MM,
    CellState,
)
from cemscope.measurement.lucency_shared import SharedSettings, shared_evidence
from cemscope.measurement.lucency_streaks import CleanProfiles
from cemscope.measurement.lucency_widths import BoneLevels, WidthSettings, metal_share
from cemscope.measurement.lucency_window import SharedGap, strongest_shared_gap
from cemscope.segmentation.implants.screw_profile import ShaftProfile

MARROW_HU = 140.0
LEVELS = BoneLevels(MARROW_HU, 10.0, 15.0)
SETTINGS, WIDTHS = SharedSettings(), WidthSettings()
PATCH = (9, 4)
"""Planes and angles that share one bone: close to `SharedSettings.places_of_one`."""


@cache
def drawn() -> tuple[CleanProfiles, ShaftProfile]:
    """A tight shaft in bone as the model expects it."""
    cleaned, screw = halo_profiles(0.0)
    profiles, shaft = cleaned.profiles, screw.shaft
    planes = profiles.t_mm.size
    apart = np.abs(DISTANCE_MM[:, None] - DISTANCE_MM)
    texture = WIDTHS.texture_hu**2 * np.exp(-0.5 * (apart / WIDTHS.texture_mm) ** 2)
    texture += WIDTHS.bone_spread_hu**2 * np.exp(
        -0.5 * (apart / WIDTHS.bone_change_mm) ** 2
    )
    root = np.linalg.cholesky(texture + np.eye(DISTANCE_MM.size))
    counts = (-(-planes // PATCH[0]), ANGLES // PATCH[1])
    bone = np.random.default_rng(4).normal(size=(*counts, DISTANCE_MM.size)) @ root.T
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


def told(cleaned: CleanProfiles, shaft: ShaftProfile) -> SharedGap:
    read = shared_evidence(cleaned, shaft, LEVELS, WIDTHS, SETTINGS)
    return strongest_shared_gap(read, SETTINGS)


def test_a_tight_shaft_speaks_for_no_gap() -> None:
    assert told(*drawn()).evidence < SETTINGS.doubtful_evidence


@pytest.mark.parametrize("width_mm", [1.3, 1.6, 2.0])
def test_a_gap_is_told_with_its_width(width_mm: float) -> None:
    tight, shaft = drawn()
    found = told(with_gap(tight, shaft, width_mm, WIDTHS.gap_hu), shaft)
    assert found.evidence > SETTINGS.doubtful_evidence
    # A neighbour among the widths that are tried may win.
    assert found.width_mm == pytest.approx(width_mm, abs=0.41)


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
    off = replace(cleaned, profiles=replace(profiles, hu=profiles.hu + wrong - right))
    assert told(off, shaft).evidence < SETTINGS.doubtful_evidence


def test_a_gap_along_half_of_the_shaft_is_told() -> None:
    cleaned, shaft = drawn()
    worn = with_gap(cleaned, shaft, 1.6, WIDTHS.gap_hu)
    read, of_gap = (
        shared_evidence(one, shaft, LEVELS, WIDTHS, SETTINGS) for one in (cleaned, worn)
    )
    half = slice(read.seen.shape[0] // 2, None)
    found = strongest_shared_gap(read.with_places_of(of_gap, half), SETTINGS)
    whole = strongest_shared_gap(of_gap, SETTINGS)
    assert SETTINGS.doubtful_evidence < found.evidence < whole.evidence


def test_power_needs_places_and_no_gap_that_is_there() -> None:
    cleaned, shaft = drawn()

    def gained(state: np.ndarray, settings: SharedSettings = SETTINGS) -> float:
        one = replace(cleaned, profiles=replace(cleaned.profiles, state=state))
        looked = (PowerSettings(), WIDTHS, settings)
        return share_gained(one, shaft, LEVELS, looked)

    state = cleaned.profiles.state
    assert gained(state) >= PowerSettings().least_told
    # What is there already speaks for a gap: nothing is told of another.
    assert gained(state, replace(SETTINGS, doubtful_evidence=-100.0)) == 0.0
    few = state.copy()
    few[:, 4:] = CellState.HIDDEN
    assert gained(few) == 0.0
    assert gained(np.full_like(state, CellState.HIDDEN)) == 0.0
