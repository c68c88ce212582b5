"""The best chain of discs along the spine, and how sure each link is.

Second-order dynamic programming: a state is a vertebra (a disc and the disc below it),
so that neighbouring heights can be compared. Running it in both directions gives, for
every vertebra that could be, the score of the best chain that holds it; from these
the margin follows by which a disc is better than the best chain without it, and by
which a vertebra is better than the best chain that cuts it in two.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.geometry import FloatArray
from cemscope.segmentation.discs.chain_scores import (
    ChainLinks,
    ChainSettings,
    chain_links,
    cut_scores,
    uneven_price,
    wall_steps,
)
from cemscope.segmentation.discs.disc_evidence import DiscEvidence


@dataclass(frozen=True, slots=True, eq=False)
class DiscChain:
    """The best chain.

    Attributes
    ----------
    steps : tuple of int
        Discs on the bodies' axis, from the lowest to the highest; may be one.
    score : float
        Of the chain.
    disc_margins : tuple of float
        By how much each disc is better than the best chain without it.
    inner_margins : tuple of float
        By how much each vertebra between two discs is better than the best chain
        that has a disc inside it; one less than `steps`.
    """

    steps: tuple[int, ...]
    score: float
    disc_margins: tuple[float, ...]
    inner_margins: tuple[float, ...]


def best_chain(evidence: DiscEvidence, settings: ChainSettings) -> DiscChain | None:
    """Choose the best chain of discs; None where nothing speaks for a vertebra."""
    links = chain_links(evidence, settings)
    below, came_from = _from_below(links, settings)
    above = _from_above(links, settings)
    through = below + above
    alone = _single(links, evidence, settings)
    best = float(through.max())
    if max(best, alone.score) <= 0.0 or not np.isfinite(max(best, alone.score)):
        return None
    if alone.score > best:
        return alone
    top, k = (int(i) for i in np.unravel_index(int(through.argmax()), through.shape))
    steps = _traced(top, k, links, came_from, above, settings)
    return DiscChain(
        steps,
        best,
        tuple(best - _without(step, links, below, above, settings) for step in steps),
        tuple(
            best - _with_inner(low, high, links, through, settings)
            for low, high in itertools.pairwise(steps)
        ),
    )


def _from_below(
    links: ChainLinks, settings: ChainSettings
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Best score of chains that end with each vertebra, and the vertebra below it."""
    best = np.full(links.vertebra.shape, -np.inf)
    came_from = np.full(links.vertebra.shape, -1)
    for top in range(len(best)):
        if not np.isfinite(links.disc[top]):
            continue
        bottom = top - links.offsets
        k = np.flatnonzero(np.isfinite(links.vertebra[top]) & (bottom >= 0))
        k = k[np.isfinite(links.disc[bottom[k]])]
        if not len(k):
            continue
        bottom = bottom[k]
        follow = best[bottom] - uneven_price(
            links.height_mm[bottom], links.height_mm[top, k][:, None], settings
        )
        chosen = follow.argmax(axis=1)
        gain = follow[np.arange(len(k)), chosen]
        start = links.disc[bottom] + links.cut_below[top, k]
        came_from[top, k] = np.where(gain > start, chosen, -1)
        best[top, k] = (
            np.maximum(gain, start) + links.disc[top] + links.vertebra[top, k]
        )
    return best, came_from


def _from_above(links: ChainLinks, settings: ChainSettings) -> FloatArray:
    """Best score of what may follow above each vertebra."""
    best = links.cut_above.copy()
    count = len(best)
    reach = links.offsets
    for top in range(count - 1, -1, -1):
        over = top + reach
        k = np.arange(len(reach))[over < count]
        over = over[over < count]
        if not len(over):
            continue
        gain = links.disc[over] + links.vertebra[over, k] + best[over, k]
        if not np.isfinite(gain).any():
            continue
        price = uneven_price(
            links.height_mm[top][:, None], links.height_mm[over, k][None, :], settings
        )
        best[top] = np.maximum(best[top], (gain[None, :] - price).max(axis=1))
    return best


def _traced(
    top: int,
    k: int,
    links: ChainLinks,
    came_from: npt.NDArray[np.int64],
    above: FloatArray,
    settings: ChainSettings,
) -> tuple[int, ...]:
    """Discs of the best chain through a vertebra."""
    steps = [top]
    low, state = top, k
    while state >= 0:
        previous = int(came_from[low, state])
        low -= int(links.offsets[state])
        steps.insert(0, low)
        state = previous
    while True:
        over = top + links.offsets
        states = np.arange(len(over))[over < len(above)]
        over = over[over < len(above)]
        if not len(over):
            return tuple(steps)
        follow = (
            links.disc[over]
            + links.vertebra[over, states]
            + above[over, states]
            - uneven_price(
                np.full(len(over), links.height_mm[top, k]),
                links.height_mm[over, states],
                settings,
            )
        )
        chosen = int(follow.argmax())
        if follow[chosen] <= links.cut_above[top, k]:
            return tuple(steps)
        top, k = int(over[chosen]), int(states[chosen])
        steps.append(top)


def _without(
    step: int,
    links: ChainLinks,
    below: FloatArray,
    above: FloatArray,
    settings: ChainSettings,
) -> float:
    """Score of the best chain that has no disc near a step."""
    top = np.arange(len(below))[:, None]
    bottom = top - links.offsets[None, :]
    apart = settings.apart_mm
    best = 0.0
    across = (bottom < step - apart) & (top > step + apart)
    if across.any():
        best = max(best, float((below + above)[across].max()))
    under = np.broadcast_to(top < step - apart, below.shape)
    if under.any():
        best = max(best, float((below + links.cut_above)[under].max()))
    over = bottom > step + apart
    if over.any():
        start = links.disc[np.maximum(bottom, 0)] + links.cut_below
        whole = start + links.disc[:, None] + links.vertebra + above
        best = max(best, float(whole[over].max()))
    return best


def _with_inner(
    low: int,
    high: int,
    links: ChainLinks,
    through: FloatArray,
    settings: ChainSettings,
) -> float:
    """Score of the best chain with a disc between two discs."""
    top = np.arange(len(through))[:, None]
    bottom = top - links.offsets[None, :]
    first, last = low + settings.apart_mm, high - settings.apart_mm
    inner = ((top > first) & (top < last)) | ((bottom > first) & (bottom < last))
    return max(0.0, float(through[inner].max())) if inner.any() else 0.0


def _single(
    links: ChainLinks, evidence: DiscEvidence, settings: ChainSettings
) -> DiscChain:
    """Best single disc between two cut vertebrae."""
    inside = np.flatnonzero(evidence.inside)
    walls = wall_steps(evidence)
    span = np.arange(
        settings.lowest_vertebra_mm, settings.highest_vertebra_mm + 1.0, 2.0
    )
    here = walls[:, :, None] + 0.0 * span
    cut = cut_scores(evidence, here - span, here, settings) + cut_scores(
        evidence, here, here + span, settings
    )
    if len(inside):
        # Both neighbours must be cut, else there would be another disc.
        at = walls.mean(axis=0)[:, None]
        cut[(at - span > inside[0]) | (at + span < inside[-1])] = -np.inf
    score = links.disc + cut.max(axis=1)
    step = int(score.argmax())
    best = float(score[step])
    apart = np.abs(np.arange(len(score)) - step) > settings.apart_mm
    other = float(score[apart].max()) if apart.any() else 0.0
    return DiscChain((step,), best, (best - max(other, 0.0),), ())
