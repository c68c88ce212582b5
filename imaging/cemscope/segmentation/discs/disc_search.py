"""Find the discs of a straightened spine, with the confidence of each."""

import itertools
from dataclasses import dataclass, field, replace

import numpy as np

from cemscope.segmentation.canal.spine_axis import SpineAxis
from cemscope.segmentation.discs.chain_scores import ChainSettings
from cemscope.segmentation.discs.disc import BODY_DEPTH_MM, Disc
from cemscope.segmentation.discs.disc_chain import DiscChain, best_chain
from cemscope.segmentation.discs.disc_evidence import (
    DiscEvidence,
    DiscSight,
    EvidenceSettings,
)
from cemscope.segmentation.discs.lumbosacral_bend import (
    BENDS_DEG,
    bent_axis,
    lower_part,
)

SETTLE_STEPS = 2
"""A disc is moved onto the best evidence within this many steps."""

SETTLE_TILT_DEG = 10.0
"""And within this change of tilt."""

SETTLE_WIDTH = 0.03
"""Planes this much less disc-like than the best share in the settled position."""

WEAK_DISC = 0.3
"""Below this likeness a disc takes part of its tilt from its neighbours."""

CLEAR_DISC = 0.5
"""From this likeness on a disc is sure enough to build upon."""

SURE_MARGIN = 1.5
"""So is a disc that the best chain is better with than without by so much."""

BENT_DISCS = 2
"""One of so many discs next below must be clear along a bent axis, or the bend shows
nothing."""

MARGIN_LOST = 0.5
"""The margin of the disc at the bend may be so much less along the bent axis; that of
a wrong chain, which squeezes a disc in beside it, falls by 1 and more."""

ROOM_SHARE = 0.8
"""Below the last clear disc there is room for another, if so much of the height of
the vertebra above is in view."""

BEYOND_STEPS = 20
"""The lower part of the axis reaches this far beyond the discs that it must hold."""

SAME_DISC_STEPS = 4
"""Discs of two chains no further apart than this are the same."""

SAME_TILT_DEG = 4.0
"""Nor with tilts that differ by less."""

BEND_PRICE = 0.3
"""Score by which a bent axis must be better than the canal's own course."""

SHORT_SCAN_MM = 28.0
"""Height of a cut vertebra where no neighbour is whole (between T8 and L1)."""


@dataclass(frozen=True, slots=True)
class DiscSettings:
    """Tunables of the search for discs.

    Attributes
    ----------
    evidence, chain
        Tunables of its parts.
    thick_share : float
        Where discs take more than this share of the height of a vertebra, from disc
        to disc, they may be the marrow of bodies between two thin discs: another row
        is looked for. Lumbar discs take a quarter to a third, thoracic ones less;
        those beside a collapsed body more.
    thin : ChainSettings
        Tunables of the chain of that row, in which thick discs are dear.
    """

    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)
    chain: ChainSettings = field(default_factory=ChainSettings)
    thick_share: float = 0.42
    thin: ChainSettings = field(
        default_factory=lambda: ChainSettings(
            thick_share=0.3, thick_price=8.0, thicker_counts=True
        )
    )


@dataclass(frozen=True, slots=True, eq=False)
class FoundDiscs:
    """Discs from the lowest to the highest.

    Attributes
    ----------
    discs : tuple of Disc
        Ends that are only supposed included; empty where none was found.
    axis : SpineAxis
        The axis that the discs' steps mean.
    margins : tuple of float
        Per vertebra between two of them: by how much the chain is better than the
        best one that lacks one of its discs or puts one more inside it. About 1 per
        clear sign; below 0.5 the chain is not sure.
    """

    discs: tuple[Disc, ...]
    axis: SpineAxis
    margins: tuple[float, ...]

    def thickest_share(self) -> float:
        """Largest share of the height of a vertebra that its two discs' halves take."""
        seen = [disc for disc in self.discs if not disc.supposed]
        return max(
            (
                (lower.thickness_mm + upper.thickness_mm)
                / (2.0 * max(upper.step - lower.step, 1.0))
                for lower, upper in itertools.pairwise(seen)
            ),
            default=0.0,
        )

    def is_like(self, other: "FoundDiscs") -> bool:
        """Tell whether both rows hold the same discs, seen in the same way."""
        return len(self.discs) == len(other.discs) and all(
            mine.supposed == theirs.supposed
            and abs(mine.step - theirs.step) < 1.0
            and abs(mine.sagittal_tilt_deg - theirs.sagittal_tilt_deg) < SAME_TILT_DEG
            and abs(mine.lateral_tilt_deg - theirs.lateral_tilt_deg) < SAME_TILT_DEG
            for mine, theirs in zip(self.discs, other.discs, strict=True)
        )


def find_discs(
    axis: SpineAxis,
    sight: DiscSight,
    settings: ChainSettings,
    streaked_weight: float = 1.0,
) -> FoundDiscs:
    """Find the discs along a spine.

    Parameters
    ----------
    axis
        The spine's axis.
    sight
        What discs are looked for in.
    settings
        Tunables of the chain.
    streaked_weight
        What planes with streaks count (0-1).
    """
    search = _Search(sight, settings, streaked_weight)
    links = search.discs_along(axis)
    if links is None:
        return FoundDiscs((), axis, ())
    links = _with_bend(links, search)
    return _with_cut_ends(links, settings)


@dataclass(frozen=True, slots=True, eq=False)
class _Links:
    """Discs along an axis, before the ends that are cut are added."""

    axis: SpineAxis
    discs: tuple[Disc, ...]
    chain: DiscChain
    first: float
    last: float


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """One way to look for discs."""

    sight: DiscSight
    settings: ChainSettings
    streaked_weight: float

    def discs_along(self, axis: SpineAxis) -> _Links | None:
        evidence = self.sight.along(axis, self.streaked_weight)
        chain = best_chain(evidence, self.settings)
        if chain is None:
            return None
        discs = _straightened([_settled(step, evidence) for step in chain.steps])
        inside = np.flatnonzero(evidence.inside)
        return _Links(axis, tuple(discs), chain, float(inside[0]), float(inside[-1]))


def _with_bend(links: _Links, search: _Search) -> _Links:
    """Look again below the last clear disc, along an axis that turns to the back."""
    steps, discs = links.chain.steps, links.discs
    lowest = _lowest_sure(discs, links.chain.disc_margins)
    if lowest is None or lowest + 1 >= len(steps):
        return links
    pivot = round(discs[lowest].step)
    height = steps[lowest + 1] - steps[lowest]
    if pivot - links.first < ROOM_SHARE * height:
        return links
    stop = min(steps[min(lowest + 2, len(steps) - 1)] + BEYOND_STEPS, len(links.axis))
    straight = search.discs_along(lower_part(links.axis, stop))
    best, best_axis = straight, links.axis
    for bend in BENDS_DEG:
        axis = bent_axis(links.axis, pivot, bend)
        other = search.discs_along(lower_part(axis, stop))
        if other is None or not _is_believed(other, straight, steps[lowest]):
            continue
        price = BEND_PRICE if best is straight else 0.0
        if best is None or other.chain.score > best.chain.score + price:
            best, best_axis = other, axis
    if best is None or best is straight:
        return links
    return _joined(best, best_axis, links, lowest)


def _lowest_sure(discs: tuple[Disc, ...], margins: tuple[float, ...]) -> int | None:
    """Lowest disc to build upon: it is clear, or the chain cannot do without it."""
    clear = [k for k, disc in enumerate(discs) if disc.likeness >= CLEAR_DISC]
    # A clear disc under one that is not may be an endplate of the sacrum, seen askew.
    firm = [k for k in clear if k + 1 >= len(discs) or k + 1 in clear]
    sure = [k for k, margin in enumerate(margins) if margin >= SURE_MARGIN]
    known = [*(firm or clear)[:1], *sure[:1]]
    return min(known) if known else None


def _is_believed(bent: _Links, straight: _Links | None, step: int) -> bool:
    """Whether a chain along a bent axis keeps the disc at the bend and finds more.

    That disc lies on both axes, and must be as sure as before; below it, one must be
    clear.
    """
    k = _nearest(bent, step)
    if abs(bent.chain.steps[k] - step) > SAME_DISC_STEPS:
        return False
    if straight is not None:
        before = straight.chain.disc_margins[_nearest(straight, step)]
        if bent.chain.disc_margins[k] < before - MARGIN_LOST:
            return False
    below = range(max(k - BENT_DISCS, 0), k)
    return any(
        bent.discs[j].likeness >= CLEAR_DISC
        or bent.chain.disc_margins[j] >= SURE_MARGIN
        for j in below
    )


def _nearest(links: _Links, step: int) -> int:
    """Disc of a chain next to a step."""
    return int(np.argmin([abs(other - step) for other in links.chain.steps]))


def _joined(low: _Links, axis: SpineAxis, links: _Links, at: int) -> _Links:
    """Put the lower part of one chain under the upper part of another."""
    step = links.chain.steps[at]
    k = _nearest(low, step)
    chain = DiscChain(
        (*low.chain.steps[:k], *links.chain.steps[at:]),
        links.chain.score,
        (*low.chain.disc_margins[:k], *links.chain.disc_margins[at:]),
        (*low.chain.inner_margins[:k], *links.chain.inner_margins[at:]),
    )
    discs = (*low.discs[:k], *links.discs[at:])
    return _Links(axis, discs, chain, low.first, links.last)


def _settled(step: int, evidence: DiscEvidence) -> Disc:
    """Centre of the most disc-like planes about a step."""
    planes = evidence.planes
    low, high = max(step - SETTLE_STEPS, 0), min(step + SETTLE_STEPS + 1, len(evidence))
    near = planes.likeness[:, :, low:high]
    middle = np.array([*evidence.tilts_deg[step]])
    sagittal, lateral, at = np.meshgrid(
        planes.sagittal_deg, planes.lateral_deg, np.arange(low, high), indexing="ij"
    )
    turned = np.hypot(sagittal - middle[0], lateral - middle[1])
    allowed = turned <= SETTLE_TILT_DEG
    best = float(near[allowed].max())
    weight = np.exp((near - best) / SETTLE_WIDTH) * allowed
    weight /= weight.sum()
    alpha, beta, place = (
        float((weight * x).sum()) for x in (sagittal, lateral, at.astype(float))
    )
    wall = place - BODY_DEPTH_MM * float(np.tan(np.radians(alpha)))
    thickness = float(evidence.thickness_mm[step])
    return Disc(wall, alpha, beta, best, thickness_mm=thickness)


def _straightened(discs: list[Disc]) -> list[Disc]:
    """Let discs that are hardly seen lie between their neighbours' tilts."""
    result = []
    for k, disc in enumerate(discs):
        beside = [discs[j] for j in (k - 1, k + 1) if 0 <= j < len(discs)]
        beside = [other for other in beside if other.likeness >= WEAK_DISC]
        if disc.likeness >= WEAK_DISC or not beside:
            result.append(disc)
            continue
        own = disc.likeness / WEAK_DISC
        sagittal = own * disc.sagittal_tilt_deg + (1 - own) * float(
            np.mean([other.sagittal_tilt_deg for other in beside])
        )
        lateral = own * disc.lateral_tilt_deg + (1 - own) * float(
            np.mean([other.lateral_tilt_deg for other in beside])
        )
        place = disc.step + BODY_DEPTH_MM * np.tan(np.radians(disc.sagittal_tilt_deg))
        wall = float(place - BODY_DEPTH_MM * np.tan(np.radians(sagittal)))
        result.append(
            replace(
                disc, step=wall, sagittal_tilt_deg=sagittal, lateral_tilt_deg=lateral
            )
        )
    return result


def _with_cut_ends(links: _Links, settings: ChainSettings) -> FoundDiscs:
    """Add the far ends of the vertebrae that the field of view cuts."""
    discs, chain = list(links.discs), links.chain
    margins = [
        min(chain.disc_margins[k], chain.disc_margins[k + 1], chain.inner_margins[k])
        for k in range(len(discs) - 1)
    ]
    lowest = _cut_end(links, settings, -1)
    highest = _cut_end(links, settings, 1)
    if lowest is not None:
        discs, margins = [lowest, *discs], [chain.disc_margins[0], *margins]
    if highest is not None:
        discs, margins = [*discs, highest], [*margins, chain.disc_margins[-1]]
    return FoundDiscs(tuple(discs), links.axis, tuple(margins))


def _cut_end(links: _Links, settings: ChainSettings, direction: int) -> Disc | None:
    """Supposed disc at the far end of a vertebra that is cut; None if none is."""
    discs = links.discs if direction > 0 else links.discs[::-1]
    last = discs[-1]
    border = links.last if direction > 0 else links.first
    seen_mm = direction * (border - last.step)
    if len(discs) > 1:
        height = abs(last.step - discs[-2].step)
    else:
        height = max(SHORT_SCAN_MM, seen_mm + 1.0)
    if not settings.least_cut_mm <= seen_mm <= height + settings.border_mm:
        return None  # hardly seen, or the chain ended of itself
    return Disc(last.step + direction * height, 0.0, 0.0, 0.0, supposed=True)
