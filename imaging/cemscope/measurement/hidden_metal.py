"""Metal stronger than titanium, where the end of the scale hides its brightness.

Steel and cobalt chrome on a clipped scale look like wider titanium: their shafts are
then fitted 0.3 to 1 mm too wide. But what rays lack goes with the square of what they
lose in metal, so that stronger metals throw streaks many times as strong.
"""

from cemscope.segmentation.implants.implant_metals import titanium_hu

TITANIUM_STREAKS = 57.0
"""Strength of the streaks by L^2 (`metal_shadow`) that titanium throws, per square of
its brightness in the body in thousands of HU [ours: 36 simulated scenes of tuning
seeds, 80 to 140 kVp, have 0.5 to 1.3 times as much, 3 tell none; 13 with steel and
cobalt chrome 2.1 to 6.7 times]."""

STRONGER_SHARE = 1.7
"""From so much of that on a metal is stronger [ours, geometric mean of 1.3 and 2.1]."""


def is_stronger_than_titanium(streak_strength: float, kvp: float | None) -> bool:
    """Tell a strong metal by the streaks that it throws.

    Parameters
    ----------
    streak_strength
        What rays lack by L^2; 0 where no streaks are told.
    kvp
        Tube voltage; None is taken for 120 kVp.
    """
    usual = TITANIUM_STREAKS * (titanium_hu(kvp) / 1000.0) ** 2
    return streak_strength > STRONGER_SHARE * usual
