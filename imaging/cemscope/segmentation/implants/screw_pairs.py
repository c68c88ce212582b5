"""One size for the two screws of a vertebra.

Surgeons put two screws of one size into a vertebra where both pedicles allow it, and
cement can only widen what is seen of a shaft: of two radii that may be the same, the
narrower one counts more. A tip that cement hides is looked for where the other screw's
length puts it.
"""

from dataclasses import replace

import numpy as np

from cemscope.segmentation.implants.screw_model import ScrewModel

SAME_SIZE_MM = 0.1
"""Fits of one size differ by this (1 sigma) beside what each is unsure of [ours]."""

SAME_SIZE_SIGMAS = 2.0
"""Radii further apart are of two sizes: these come in steps of 0.5 to 1 mm."""

MOST_APART_MM, UNSURE_APART_MM, UNSURE_MM = 0.75, 0.6, 0.25
"""Sizes are hardly ever more than a step apart: beyond the first one was misread, and
beyond the second if one is as unsure as the third (1 sigma) [ours]."""

BARE_SHARE = 0.2
"""A shaft with no more than this share of its brightness around it lies in marrow
[ours: marrow reads 0.05 to 0.35]."""

NARROWER_COUNTS = 3.0
"""Weight of the narrower radius over that of the wider one [ours]."""

PAIR_SHARE, OWN_SHARE = 0.25, 0.5
"""The deviation of a shared radius: this part of what lies between the two, and so much
that two of them reach what was read at the screw itself, which may be right after all:
pairs of two sizes are rare, not unknown [ours]."""


def share_sizes(
    screws: tuple[ScrewModel, ...], cement_hu: float
) -> tuple[ScrewModel, ...]:
    """Give the two screws of a vertebra one radius where theirs may be the same.

    Parameters
    ----------
    screws
        All screws of a scan.
    cement_hu
        As bright as cement usually is at most.
    """
    return tuple(_shared(screw, screws, cement_hu) for screw in screws)


def _shared(
    screw: ScrewModel, screws: tuple[ScrewModel, ...], cement_hu: float
) -> ScrewModel:
    twin = next(
        (k for k in screws if k.level == screw.level and k.side is not screw.side), None
    )
    if twin is None:
        return screw
    narrow, wide = sorted((screw.shaft, twin.shaft), key=lambda shaft: shaft.radius_mm)
    apart = wide.radius_mm - narrow.radius_mm
    deviations = (narrow.radius_deviation_mm, wide.radius_deviation_mm)
    doubt = float(np.linalg.norm([*deviations, SAME_SIZE_MM]))
    unsure = max(deviations) >= UNSURE_MM
    wider = screw if wide is screw.shaft else twin
    most_mm = UNSURE_APART_MM if unsure else MOST_APART_MM
    misread = apart > most_mm and not _is_bare(wider, cement_hu)
    if apart > SAME_SIZE_SIGMAS * doubt and not misread:
        return screw
    weights = (NARROWER_COUNTS / deviations[0] ** 2, 1.0 / deviations[1] ** 2)
    radius = narrow.radius_mm + apart * weights[1] / sum(weights)
    moved = abs(radius - screw.shaft.radius_mm)
    doubts_mm = (PAIR_SHARE * apart, OWN_SHARE * moved)
    shaft = replace(
        screw.shaft,
        radius_mm=radius,
        groove_mm=screw.shaft.groove_mm * radius / screw.shaft.radius_mm,
        radius_deviation_mm=float(np.linalg.norm([min(deviations), *doubts_mm])),
    )
    thread = replace(screw.thread, metal_radius_mm=shaft.metal_radius_mm)
    return replace(screw, shaft=shaft, thread=thread)


def _is_bare(screw: ScrewModel, cement_hu: float) -> bool:
    """Tell whether no cement can have widened what is seen of a shaft.

    Its edge lies at half of its brightness; a layer of darker cement is outside.
    """
    dark = screw.surrounded_share <= BARE_SHARE
    return dark and 0.5 * screw.shaft.metal_hu > cement_hu


LENGTHS_DIFFER_MM = 2.5
"""Lengths of a vertebra's two screws differ by this (1 sigma): mostly by nothing, at
times by a step of 5 mm; heads are told to 1 or 2 mm [ours]."""

HIDDEN_TIP_MM = 3.0
"""Tips that are known less exactly than this follow the other screw's, if that is
known better."""


def share_lengths(screws: tuple[ScrewModel, ...]) -> tuple[ScrewModel, ...]:
    """Bring tips that cement hides near to where the other screw's length puts them."""
    return tuple(_as_long(screw, screws) for screw in screws)


def _as_long(screw: ScrewModel, screws: tuple[ScrewModel, ...]) -> ScrewModel:
    twin = next(
        (k for k in screws if k.level == screw.level and k.side is not screw.side), None
    )
    own_mm = screw.tip_uncertainty_mm
    if twin is None or own_mm < HIDDEN_TIP_MM:
        return screw
    if twin.tip_uncertainty_mm >= HIDDEN_TIP_MM:
        return screw
    # Half-widths of uniform distributions.
    own = (own_mm / np.sqrt(3.0)) ** 2
    other = twin.tip_uncertainty_mm**2 / 3.0 + LENGTHS_DIFFER_MM**2
    shift = (twin.tip_mm - screw.tip_mm) * own / (own + other)
    if abs(shift) > own_mm:
        return screw
    left_mm = float(np.sqrt(3.0 * own * other / (own + other)))
    return replace(
        screw, tip_mm=screw.tip_mm + float(shift), tip_uncertainty_mm=left_mm
    )
