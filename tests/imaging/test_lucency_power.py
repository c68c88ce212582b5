"""A gap that is placed by calculation, against one that is in the phantom."""

from dataclasses import replace

import numpy as np
import pytest

from cases.halo_profiles import halo_profiles, halo_scan
from cemscope.findings import Lucency, NotAssessed
from cemscope.measurement.lucency import measure_lucency
from cemscope.measurement.lucency_power import (
    PowerSettings,
    share_told,
    with_gap,
)
from cemscope.measurement.lucency_profiles import DISTANCE_MM, CellState
from cemscope.measurement.lucency_streaks import CleanProfiles
from cemscope.measurement.lucency_surface import LucencySettings
from cemscope.measurement.lucency_surroundings import BoneLevels, WidthSettings
from cemscope.measurement.lucency_window import WindowSettings, strongest_gap
from cemscope.segmentation.implants.screw_model import ScrewModel

GAP_HU = 10.0
"""Of the phantoms."""


def told(cleaned: CleanProfiles, screw: ScrewModel, levels: BoneLevels) -> float:
    looked = (PowerSettings(), WidthSettings(), WindowSettings())
    return share_told(cleaned, screw.shaft, levels, looked)


@pytest.mark.parametrize("width_mm", [1.5, 2.0])
def test_a_calculated_gap_looks_like_a_real_one(width_mm: float) -> None:
    tight, screw = halo_profiles(0.0)
    real, _ = halo_profiles(width_mm)
    worn = with_gap(tight, screw.shaft, width_mm, GAP_HU)
    seen = tight.profiles.state == CellState.SEEN
    mean = [p.profiles.hu[seen].mean(axis=0) for p in (tight, real, worn)]
    # Nearer than this the metal's own blur rules. Beyond it noise, texture, the
    # pedicle's cortex, and the flank, fitted to each of the two scans by itself, leave
    # 0.3 of the contrast of marrow and gap, 130 HU.
    judged = DISTANCE_MM >= 0.8
    error = np.abs(mean[2] - mean[1])[judged]
    assert error.max() < 39.0, mean
    missing = np.abs(mean[0] - mean[1])[judged]
    assert missing.max() > 1.5 * 39.0


def test_what_lies_beyond_the_gap_stays() -> None:
    tight, screw = halo_profiles(0.0)
    worn = with_gap(tight, screw.shaft, 1.5, GAP_HU)
    far = DISTANCE_MM > 3.5
    np.testing.assert_allclose(
        worn.profiles.hu[..., far], tight.profiles.hu[..., far], atol=3.0
    )


def test_darker_than_the_gap_stays() -> None:
    tight, screw = halo_profiles(0.0)
    dark = replace(
        tight, profiles=replace(tight.profiles, hu=np.full_like(tight.profiles.hu, -50))
    )
    worn = with_gap(dark, screw.shaft, 2.0, GAP_HU)
    np.testing.assert_array_equal(worn.profiles.hu, dark.profiles.hu)


def test_a_clear_scan_tells_and_a_hidden_one_does_not() -> None:
    tight, screw = halo_profiles(0.0, 200.0)
    levels = BoneLevels(204.0, 10.0, 15.0)
    assert told(tight, screw, levels) >= PowerSettings().least_told
    state = tight.profiles.state.copy()
    state[:, ::4] = state[:, 1::4] = state[:, 2::4] = CellState.HIDDEN
    hidden = replace(tight, profiles=replace(tight.profiles, state=state))
    assert told(hidden, screw, levels) == 0.0


def test_a_gap_must_be_likelier_than_what_was_read() -> None:
    tight, screw = halo_profiles(0.0, 200.0)
    levels, power = BoneLevels(204.0, 10.0, 15.0), PowerSettings()
    looked = (power, WidthSettings(), WindowSettings())
    read = strongest_gap(tight, screw.shaft, levels, *looked[1:]).evidence
    shares = [
        share_told(tight, screw.shaft, levels, looked, evidence)
        for evidence in (None, read, read + 20.0)
    ]
    assert shares[0] == shares[1] >= power.least_told
    assert shares[2] == 0.0


def test_nothing_seen_tells_nothing() -> None:
    tight, screw = halo_profiles(0.0)
    state = np.full_like(tight.profiles.state, CellState.HIDDEN)
    blind = replace(tight, profiles=replace(tight.profiles, state=state))
    assert told(blind, screw, BoneLevels(144.0, 10.0, 15.0)) == 0.0


def test_marrow_as_dark_as_a_gap_is_not_assessed() -> None:
    scan, screw = halo_scan(0.0, 20.0)
    finding = measure_lucency(scan, (screw,))[0].finding
    assert isinstance(finding, NotAssessed), finding
    assert "as dark as a gap" in finding.reason
    # The limit is a setting.
    lax = replace(LucencySettings(), least_contrast_hu=-100.0)
    found = measure_lucency(scan, (screw,), lax)[0].finding
    assert isinstance(found, Lucency) or "as dark as a gap" not in found.reason


def test_a_shaft_of_unsure_radius_is_not_assessed() -> None:
    scan, screw = halo_scan(0.0, 140.0)
    unsure = replace(screw, shaft=replace(screw.shaft, radius_deviation_mm=0.4))
    finding = measure_lucency(scan, (unsure,))[0].finding
    assert isinstance(finding, NotAssessed)
    assert "0.40 mm" in finding.reason
