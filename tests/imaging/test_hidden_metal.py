"""Metals told by their streaks where the scale is clipped."""

from dataclasses import dataclass, replace

import pytest

from cases.halo_profiles import halo_profiles
from cemscope.findings import NotAssessed
from cemscope.measurement.hidden_metal import HiddenMetal, hidden_metal
from cemscope.measurement.lucency import _screw_lucency
from cemscope.measurement.lucency_streaks import CleanShaft
from cemscope.measurement.lucency_surface import LucencySettings


@dataclass(frozen=True)
class MetalCase:
    name: str
    streak_strength: float
    kvp: float | None
    metal: HiddenMetal


CASES = (
    # Strengths of simulated scenes of tuning seeds (6, 10, 108, 20; 21, 14, 7, 182).
    MetalCase("titanium, 140 kVp", 1649.0, 140.0, HiddenMetal.TITANIUM),
    MetalCase("titanium, 100 kVp", 3639.0, 100.0, HiddenMetal.TITANIUM),
    MetalCase("titanium, 120 kVp", 2834.0, 120.0, HiddenMetal.TITANIUM),
    MetalCase("titanium, 80 kVp", 6536.0, 80.0, HiddenMetal.TITANIUM),
    MetalCase("cobalt chrome, 120 kVp", 5681.0, 120.0, HiddenMetal.STRONGER),
    MetalCase("steel, 120 kVp", 6768.0, 120.0, HiddenMetal.STRONGER),
    MetalCase("cobalt chrome, 140 kVp", 7054.0, 140.0, HiddenMetal.STRONGER),
    MetalCase("steel, voltage unknown", 6768.0, None, HiddenMetal.STRONGER),
    MetalCase("no streaks", 0.0, 120.0, HiddenMetal.UNTOLD),
    MetalCase("hardly any", 300.0, 120.0, HiddenMetal.UNTOLD),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_streaks_tell_the_metal(case: MetalCase) -> None:
    assert hidden_metal(case.streak_strength, case.kvp) is case.metal


UNSURE_MM = 0.4


@pytest.mark.parametrize(
    ("metal", "words"),
    [
        (HiddenMetal.STRONGER, "stronger than titanium"),
        (HiddenMetal.UNTOLD, "known to 0.40 mm"),
    ],
)
def test_shafts_of_unknown_surface_are_not_assessed(
    metal: HiddenMetal, words: str
) -> None:
    """The first fit weighs that the metal may be brighter; titanium needs no doubt."""
    cleaned, screw = halo_profiles(2.0, 200.0)
    first = replace(screw, shaft=replace(screw.shaft, radius_deviation_mm=UNSURE_MM))
    read = CleanShaft(cleaned.profiles, cleaned.removed_hu, screw)
    settings = LucencySettings()
    finding = _screw_lucency(first, read, (200.0, 10.0), settings, metal).finding
    assert isinstance(finding, NotAssessed)
    assert words in finding.reason
    for known in (HiddenMetal.TITANIUM, HiddenMetal.SHOWN):
        finding = _screw_lucency(first, read, (200.0, 10.0), settings, known).finding
        assert not isinstance(finding, NotAssessed), finding
