"""Metals told by their streaks where the scale is clipped."""

from dataclasses import dataclass, replace

import pytest

from cases.halo_profiles import halo_profiles, halo_scan
from cemscope.findings import NotAssessed
from cemscope.measurement.hidden_metal import is_stronger_than_titanium
from cemscope.measurement.lucency import _screw_lucency
from cemscope.measurement.lucency_streaks import CleanShaft
from cemscope.measurement.lucency_surface import LucencySettings


@dataclass(frozen=True)
class MetalCase:
    name: str
    streak_strength: float
    kvp: float | None
    stronger: bool


CASES = (
    # Strengths of simulated scenes of tuning seeds (6, 10, 108, 20; 21, 14, 7).
    MetalCase("titanium, 140 kVp", 1649.0, 140.0, False),
    MetalCase("titanium, 100 kVp", 3639.0, 100.0, False),
    MetalCase("titanium, 120 kVp", 2834.0, 120.0, False),
    MetalCase("titanium, 80 kVp", 6536.0, 80.0, False),
    MetalCase("cobalt chrome, 120 kVp", 5681.0, 120.0, True),
    MetalCase("steel, 120 kVp", 6768.0, 120.0, True),
    MetalCase("cobalt chrome, 140 kVp", 7054.0, 140.0, True),
    MetalCase("steel, voltage unknown", 6768.0, None, True),
    MetalCase("no streaks", 0.0, 120.0, False),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_streaks_tell_strong_metal(case: MetalCase) -> None:
    told = is_stronger_than_titanium(case.streak_strength, case.kvp)
    assert told is case.stronger


@pytest.mark.parametrize(
    ("streak_strength", "ceiling_hu", "refused"),
    [(2500.0, 3071.0, False), (7000.0, 3071.0, True), (7000.0, None, False)],
)
def test_strong_metal_on_a_clipped_scale_is_not_assessed(
    streak_strength: float, ceiling_hu: float | None, refused: bool
) -> None:
    cleaned, screw = halo_profiles(2.0, 200.0)
    scan = replace(halo_scan(2.0, 200.0)[0], clipped_at_hu=ceiling_hu, kvp=120.0)
    read = CleanShaft(cleaned.profiles, cleaned.removed_hu, screw, streak_strength)
    settings = LucencySettings()
    finding = _screw_lucency(screw, read, (200.0, 10.0), settings, scan).finding
    assert isinstance(finding, NotAssessed) is refused, finding
    assert not refused or "stronger than titanium" in finding.reason
