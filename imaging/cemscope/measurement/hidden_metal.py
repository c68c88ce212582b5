"""Titanium or a stronger metal, where the end of the scale hides its brightness.

Steel and cobalt chrome on a clipped scale look like wider titanium: their shafts are
then fitted 0.3 to 1 mm too wide. But what rays lack goes with the square of what they
lose in metal, so that stronger metals throw streaks many times as strong.
"""

from enum import Enum, auto

from cemscope.segmentation.implants.implant_metals import titanium_hu


class HiddenMetal(Enum):
    """What is known of a metal."""

    SHOWN = auto()
    """The scale does not hide it."""

    TITANIUM = auto()
    STRONGER = auto()
    UNTOLD = auto()
    """Hidden, and no streaks tell it."""


TITANIUM_STREAKS = 57.0
"""Strength of the streaks by L^2 (`metal_shadow`) that titanium throws, per square of
its brightness in the body in thousands of HU [ours: 36 simulated scenes of tuning
seeds, 80 to 140 kVp, have 0.5 to 1.3 times as much, 3 tell none; 13 with steel and
cobalt chrome 2.1 to 6.7 times]."""

TITANIUM_SHARE, STRONGER_SHARE = 0.5, 1.7
"""From so much of that on the metal is titanium, and stronger [ours: half of it, and
the geometric mean of 1.3 and 2.1]."""


def hidden_metal(streak_strength: float, kvp: float | None) -> HiddenMetal:
    """Tell a metal that the scale hides by the streaks that it throws.

    Parameters
    ----------
    streak_strength
        What rays lack by L^2; 0 where no streaks are told.
    kvp
        Tube voltage; None is taken for 120 kVp.
    """
    share = streak_strength / (TITANIUM_STREAKS * (titanium_hu(kvp) / 1000.0) ** 2)
    if share > STRONGER_SHARE:
        return HiddenMetal.STRONGER
    return HiddenMetal.TITANIUM if share >= TITANIUM_SHARE else HiddenMetal.UNTOLD
