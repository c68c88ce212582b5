"""Leaks of levels whose cement is refused: what metal there cannot explain.

Streaks, or a screw that no shape was fitted to, forbid to measure the cement of a
level. Cement that lies clear of both is a leak all the same, and a reader must know of
it: it is listed as indeterminate, with the volume that stands out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from cemscope.findings import (
    Certainty,
    Leak,
    LeakType,
    NotAssessed,
    Side,
)
from cemscope.measurement.leak_pieces import BLOOM_MM, MOST_SHARE, LeakPiece
from cemscope.measurement.leak_regions import VertebraRegions, wall_depth_mm
from cemscope.measurement.refused_levels import MetalDoubts
from cemscope.measurement.vertebra_grid import Float32Array
from cemscope.segmentation.scan_region import FloatArray
from cemscope.volume import BoolArray, Notice


@dataclass(frozen=True, slots=True)
class LevelDoubts:
    """Levels whose cement is refused.

    Attributes
    ----------
    metal : mapping of str to tuple of Side
        Refused because of metal; the sides with what may be a screw that was not
        fitted, but for lone ones: no other metal says that there are screws.
    unlike : frozenset of str
        Refused because their dense matter may be no cement: no leak is told there.
    lone
        Those of ``metal`` with a lone object: a screw, or cement of a needle.
    """

    metal: Mapping[str, tuple[Side, ...]] = field(default_factory=dict)
    unlike: frozenset[str] = frozenset()
    lone: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, seen: MetalDoubts, refused: frozenset[str], unlike: frozenset[str]
    ) -> "LevelDoubts":
        """Sort the refused levels by their reason."""
        sides = {
            name: tuple(
                item.side
                for item in seen.unexplained
                if item.level == name and not item.lone
            )
            for name in refused - unlike
        }
        lone = frozenset(item.level for item in seen.unexplained if item.lone)
        return cls(sides, unlike, lone & frozenset(sides))


@dataclass(frozen=True, slots=True)
class DoubtSettings:
    """What stands out beside strong metal [our operational definition].

    Attributes
    ----------
    sure_share, far_share
        Least share of cement in a cell that is surely cement, and more than what
        streaks feign in its planes: beside metal, and far from it, where dark streaks
        take more from cement than bright ones add to tissue.
    metal_mm, bone_mm
        Its distance from metal and from bone.
    far_mm
        Distance from metal at which ``far_share`` holds.
    sure_part
        Least part of a leak in such cells.
    shaft_diameter_mm
        What is wider across the pedicle's direction is no screw.
    toed_in_deg, sloping_deg
        Screws point no further inwards or outwards, up or down.
    """

    sure_share: float = 0.7
    far_share: float = 0.5
    metal_mm: float = 5.0
    far_mm: float = 9.0
    bone_mm: float = 1.0
    sure_part: float = 0.2
    shaft_diameter_mm: float = 9.0
    toed_in_deg: float = 35.0
    sloping_deg: float = 30.0


def sure_share(regions: VertebraRegions, settings: DoubtSettings) -> Float32Array:
    """Share of cement that makes a cell surely cement, by its distance from metal.

    Behind the posterior wall heads and rods are never far.
    """
    shares = np.interp(
        regions.metal_mm,
        (settings.metal_mm, settings.far_mm),
        (settings.sure_share, settings.far_share),
    )
    behind = regions.grid.axis_mm(1) > wall_depth_mm(regions.shell)
    behind = np.broadcast_to(behind[None, :, None], shares.shape)
    if regions.canal is not None:
        behind = behind & ~regions.canal
    shares = np.where(behind, settings.sure_share, shares)
    return np.asarray(np.maximum(shares, regions.streak_share), np.float32)


def stands_out(
    piece: LeakPiece,
    volume_ml: float,
    regions: VertebraRegions,
    sides: tuple[Side, ...],
    settings: DoubtSettings,
) -> bool:
    """Tell whether neither streaks nor a screw that was not fitted explain a piece.

    Parameters
    ----------
    piece
        Connected cement outside the bone.
    volume_ml
        Of all of it.
    regions
        Around its vertebra.
    sides
        Of the vertebra, with what may be a screw that was not fitted.
    settings
        Limits.
    """
    sure = piece.cells & (regions.cement >= sure_share(regions, settings))
    sure &= (regions.bone_mm >= settings.bone_mm) & (regions.streak_share <= MOST_SHARE)
    sure &= regions.metal_mm >= settings.metal_mm
    # These cells are nearly full: their number is their volume.
    sure_ml = float(sure.sum()) * regions.grid.cell_mm**3 / 1000.0
    if sure_ml < settings.sure_part * volume_ml:
        return False
    return not any(_may_be_screw(sure, regions, side, settings) for side in sides)


def _may_be_screw(
    sure: BoolArray, regions: VertebraRegions, side: Side, settings: DoubtSettings
) -> bool:
    """Tell whether a piece may be a part of a screw through one pedicle.

    Behind the posterior wall that is all on this side outside the canal; in front of
    it what is as slender as a shaft and lies in its directions.
    """
    index = np.argwhere(sure)
    points = regions.grid.local_mm(index)
    shell = regions.shell
    aside = points[:, 0] - shell.middle_mm
    aside = aside if side is Side.LEFT else -aside
    behind = points[:, 1] - wall_depth_mm(shell)
    in_canal = np.zeros(len(index), np.bool_)
    if regions.canal is not None:
        in_canal = regions.canal[tuple(index.T)]
    if float(((aside > 0.0) & (behind > 0.0) & ~in_canal).mean()) >= HALF:
        return True
    pedicle = np.array([PEDICLE_ASIDE * float(shell.size_mm[0]), PEDICLE_BEHIND_MM])
    inwards = np.degrees(np.arctan2(pedicle[0] - aside, pedicle[1] - behind))
    height = points[:, 2] - 0.5 * float(shell.lower_mm[2] + shell.upper_mm[2])
    sloping = np.degrees(np.arctan2(height, pedicle[1] - behind))
    ahead = (behind <= 0.0) & (np.abs(inwards) <= settings.toed_in_deg)
    ahead &= np.abs(sloping) <= settings.sloping_deg
    if float(ahead.mean()) < HALF:
        return False
    middle = np.array([aside.mean(), behind.mean(), height.mean()])
    way = middle - [pedicle[0], pedicle[1], 0.0]
    return _width_mm(np.stack([aside, behind, height], 1) - middle, way) <= (
        settings.shaft_diameter_mm
    )


PEDICLE_ASIDE, PEDICLE_BEHIND_MM = 0.35, 8.0
"""Middle of a pedicle: share of the body's width, and behind the posterior wall."""

HALF = 0.5


def _width_mm(points: FloatArray, way: FloatArray) -> float:
    """Extent across a direction."""
    along = way / max(float(np.linalg.norm(way)), 1e-6)
    across = points - np.outer(points @ along, along)
    return 2.0 * float(np.linalg.norm(across, axis=1).max(initial=0.0))


def doubted(leak: Leak, doubts: LevelDoubts) -> Leak:
    """Put down that a leak's level is refused: its way beside metal is not sure."""
    return _indeterminate(
        leak,
        (LeakType.INSTRUMENT, LeakType.CORTICAL),
        "this is cement of a needle, or the head of a lone screw that was not fitted"
        if leak.level in doubts.lone
        else f"the cement of {leak.level} itself was not assessed beside metal: what "
        "of this leak stands out from it was measured",
    )


def doubted_outline(leak: Leak) -> Leak:
    """Put down that the end of the scan cuts a leak's vertebra.

    What the finder outlines of a cut body is narrower than the body at times; cement
    beside such an outline may lie within the bone.
    """
    return _indeterminate(
        leak,
        (LeakType.CORTICAL, LeakType.SEGMENTAL),
        f"{leak.level} is cut by the end of the scan and its outline unsure: this may "
        "be cement within the body",
    )


TOUCHING_SHARE, TOUCHING_MM = 0.3, 1.0
"""A leak touches metal if this share of its surface lies so near to where cement begins
to count. Of 8 such leaks 3 were told with half of their volume or less, 2 with a third
too much [our choice, on tuning scenes]."""


def touches_metal(piece: LeakPiece, regions: VertebraRegions) -> bool:
    """Tell whether a piece may go on where metal hides cement."""
    surface = piece.cells & ~ndimage.binary_erosion(piece.cells)
    beside = regions.bare_mm[surface] <= BLOOM_MM + TOUCHING_MM
    return bool(beside.size) and float(beside.mean()) >= TOUCHING_SHARE


def unsure_volume(leak: Leak) -> Leak:
    """Put down that metal may hide a part of a leak."""
    evidence = leak.evidence
    if isinstance(evidence, NotAssessed):
        return leak
    words = (
        f"{evidence.sentence}; it touches metal, which hides a part of it or adds to "
        "it: its volume is unsure"
    )
    return replace(leak, evidence=replace(evidence, sentence=words))


def _indeterminate(leak: Leak, rivals: tuple[LeakType, LeakType], why: str) -> Leak:
    """Add a doubt to a leak; of the rivals the first one that it is not."""
    evidence = leak.evidence
    if not isinstance(evidence, NotAssessed):
        kind = leak.types[0]
        rival = rivals[1] if kind is rivals[0] else rivals[0]
        evidence = replace(
            evidence,
            candidates=evidence.candidates or (kind, rival),
            sentence=f"{evidence.sentence}; {why}",
        )
    return replace(leak, certainty=Certainty.INDETERMINATE, evidence=evidence)


def doubt_notices(leaks: tuple[Leak, ...], doubts: LevelDoubts) -> tuple[Notice, ...]:
    """Tell which leaks lie at refused levels, and that none excludes none."""
    notices = []
    for level in sorted(doubts.metal):
        mine = [leak.leak_id for leak in leaks if leak.level == level]
        why = (
            "may be cement of a needle or the head of a lone screw"
            if level in doubts.lone
            else "stands out from the metal"
        )
        listed = (
            f"{', '.join(mine)} {why} and is listed as indeterminate, outside the "
            "totals"
            if mine
            else "no leak stands out from the metal"
        )
        notices.append(
            Notice(
                "leaks_beside_metal",
                f"The cement of {level} was not assessed: {listed}. Other leaks "
                "beside the metal there cannot be excluded.",
            )
        )
    return tuple(notices)


def streaks_notice(level: str, volume_ml: float) -> Notice:
    """Tell what was taken for streaks of metal at a level that is assessed."""
    return Notice(
        "streaks_or_leak",
        f"{volume_ml:.2f} mL of bright matter outside the bone of {level}, beside "
        "metal, was taken for streaks: a leak there cannot be excluded. Check it on "
        "the images.",
    )
