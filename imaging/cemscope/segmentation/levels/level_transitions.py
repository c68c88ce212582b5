"""Transitional vertebrae and unusual counts, as far as the landmarks show them."""

from collections.abc import Sequence
from dataclasses import dataclass

from cemscope.segmentation.levels import level_notices
from cemscope.segmentation.levels.level_evidence import LIKELY, LevelReading
from cemscope.segmentation.levels.level_posterior import Posterior
from cemscope.volume import Notice

HINTED = 0.3
"""A soft reading above this is worth a word."""


@dataclass(frozen=True, slots=True)
class TransitionSettings:
    """Tunables of what is worth telling.

    Attributes
    ----------
    unusual_above : float
        Probability of an unusual count from which it is said.
    sacrum_certainty : float
        Probability from which the first sacral segment is no transitional vertebra.
    """

    unusual_above: float = 0.4
    sacrum_certainty: float = 0.75


def transitions(
    levels: Sequence[LevelReading], posterior: Posterior, settings: TransitionSettings
) -> tuple[Notice, ...]:
    """Tell what a radiologist would note at both ends of the lumbar spine.

    Parameters
    ----------
    levels
        Readings of the vertebrae, from the lowest upwards.
    posterior
        Weight of all counts.
    settings
        Tunables.

    Returns
    -------
    tuple of Notice
        ``transitional_anatomy``, one per finding; empty in most patients.
    """
    rib_free, probability = posterior.unusual_count()
    if probability > settings.unusual_above:
        return (level_notices.unusual_count(rib_free), *_uneven_ribs(levels, posterior))
    return (
        *_wide_process(levels, posterior, settings),
        *_uneven_ribs(levels, posterior),
    )


def _wide_process(
    levels: Sequence[LevelReading], posterior: Posterior, settings: TransitionSettings
) -> tuple[Notice, ...]:
    """Look for alae on a vertebra above the sacrum, or above what may be it."""
    sacrum = posterior.best.sacrum
    alae = [[side.ala or 0.0 for side in level.sides] for level in levels]
    wide = [k for k, sides in enumerate(alae) if max(sides) > HINTED and k >= sacrum]
    if not wide or wide[-1] > sacrum + 1:
        return ()
    top = wide[-1]
    certain = posterior.of_sacrum(sacrum) >= settings.sacrum_certainty
    if top == sacrum and (certain or top == 0 or max(alae[top - 1]) < HINTED):
        return ()
    left, right = (ala > HINTED for ala in alae[top])
    both = "on both sides" if left and right else None
    return (level_notices.wide_process(both or f"on the {_side(left=left)}"),)


def _uneven_ribs(
    levels: Sequence[LevelReading], posterior: Posterior
) -> tuple[Notice, ...]:
    """Look for a rib on one side only, at the lowest ribs or just below."""
    lowest = posterior.best.lowest_ribs
    for k in (lowest - 1, lowest):
        if not 0 <= k < len(levels):
            continue
        left, right = (side.rib for side in levels[k].sides)
        if left is None or right is None:
            continue
        if (left > LIKELY) != (right > LIKELY):
            return (level_notices.uneven_ribs(_side(left=left > LIKELY)),)
    return ()


def _side(*, left: bool) -> str:
    return "left" if left else "right"
