"""The chain of discs and its margins on evidence made by hand."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest

from cemscope.segmentation.discs.chain_scores import (
    ChainSettings,
    chain_links,
    uneven_price,
)
from cemscope.segmentation.discs.disc_chain import best_chain
from cemscope.segmentation.discs.disc_evidence import DiscEvidence
from cemscope.segmentation.discs.disc_planes import DiscPlanes
from cemscope.segmentation.discs.disc_search import DiscSettings
from cemscope.segmentation.discs.pedicle_evidence import PedicleEvidence

SETTINGS = ChainSettings()


def evidence(likeness, bridge, first=0, last=None):
    """A straight spine along z with untilted discs; the scan covers first..last."""
    count = len(likeness)
    last = count - 1 if last is None else last
    steps = np.arange(count)
    inside = (steps >= first) & (steps <= last)
    nothing = np.zeros((1, 1, count), np.float32)
    planes = DiscPlanes(
        nothing, nothing, nothing, np.float32(likeness)[None, None],
        np.zeros(1), np.zeros(1), inside.astype(float),
    )  # fmt: skip
    return DiscEvidence(
        planes,
        PedicleEvidence(np.stack([bridge, bridge]), np.stack([inside, inside])),
        np.where(inside, likeness, 0.0),
        np.zeros((count, 2)),
        np.zeros(count),
        np.stack([0 * steps, 0 * steps, steps], axis=1).astype(float),
        np.tile([0.0, 0.0, 1.0], (count, 1)),
        inside,
    )


def spine(discs, count, pedicles=True):
    """Likeness and pedicles of vertebrae between given discs."""
    likeness, bridge = np.zeros(count), np.zeros(count)
    for disc in discs:
        likeness[disc] = 0.9
    ends = [2 * discs[0] - discs[1], *discs, 2 * discs[-1] - discs[-2]]
    for low, high in itertools.pairwise(ends):
        height = high - low
        start, stop = round(low + 0.42 * height), round(low + 0.9 * height)
        bridge[max(start, 0) : max(stop, 0)] = 1.0 if pedicles else 0.5
    return likeness, bridge


DISCS = [30, 64, 97, 128, 158, 187]
VIEW = (15, 200)


@dataclass(frozen=True)
class Disturbance:
    name: str
    erased: tuple[int, ...] = ()
    false: tuple[tuple[int, float], ...] = ()
    no_pedicles: bool = False


@pytest.mark.parametrize("case", [
    Disturbance("clear"),
    Disturbance("a disc that cannot be seen", erased=(97,)),
    Disturbance("a vein or a screw across a body", false=((112, 0.8),)),
    Disturbance("a streak through every body", false=tuple(
        (disc + 17, 0.5) for disc in DISCS[:-1])),
    Disturbance("no pedicle can be told", no_pedicles=True),
    Disturbance("one disc hidden, one body crossed", erased=(128,), false=((46, 0.7),)),
], ids=lambda case: case.name)  # fmt: skip
def test_neighbours_and_pedicles_decide(case):
    likeness, bridge = spine(DISCS, 220, pedicles=not case.no_pedicles)
    likeness[list(case.erased)] = 0.0
    for step, value in case.false:
        likeness[step] = value
    chain = best_chain(evidence(likeness, bridge, *VIEW), SETTINGS)
    assert len(chain.steps) == len(DISCS)
    for found, true in zip(chain.steps, DISCS, strict=True):
        # A disc that is not seen is placed by its neighbours and the pedicles alone.
        assert abs(found - true) <= (4 if true in case.erased else 0)
    assert len(chain.disc_margins) == len(DISCS)
    assert len(chain.inner_margins) == len(DISCS) - 1
    assert min(*chain.disc_margins, *chain.inner_margins) > 0


def test_marrow_between_thin_discs_is_dear_where_thick_discs_are() -> None:
    # Thin discs melt into faint lines; the marrow between them looks like a disc.
    true = list(range(30, 200, 26))
    marrow = [step + 13 for step in true[:-1]]
    likeness, _ = spine(true, 220)
    likeness[true], likeness[marrow] = 0.35, 0.5
    seen = evidence(likeness, np.full(220, 0.5), 20, 195)
    thickness = np.zeros(220)
    thickness[marrow] = 14.0
    seen = replace(seen, thickness_mm=thickness)
    usual = best_chain(seen, SETTINGS)
    assert set(usual.steps) <= set(marrow)
    thin = best_chain(seen, DiscSettings().thin)
    assert set(thin.steps) <= set(true)
    assert len(thin.steps) == len(true)


def test_margin_falls_where_the_evidence_is_doubtful():
    likeness, bridge = spine(DISCS, 220)
    clear = best_chain(evidence(likeness, bridge, *VIEW), SETTINGS)
    doubtful = likeness.copy()
    doubtful[97] = 0.0
    doubtful[112] = 0.9
    other = best_chain(evidence(doubtful, bridge, *VIEW), SETTINGS)
    # The third disc is missing, and something crosses the vertebra above it.
    assert other.disc_margins[2] < 0.6 * clear.disc_margins[2]
    assert other.inner_margins[2] < clear.inner_margins[2]
    # Far away nothing has changed by much.
    assert other.inner_margins[0] == pytest.approx(clear.inner_margins[0], abs=1.0)


def test_a_collapsed_vertebra_is_kept():
    discs = [30, 64, 82, 114, 146]
    likeness, bridge = spine(discs, 180)
    chain = best_chain(evidence(likeness, bridge, 15, 165), SETTINGS)
    assert list(chain.steps) == discs


@pytest.mark.parametrize(
    ("angle_deg", "cheaper"), [(0.0, 0.0), (14.0, 0.0), (28.0, 0.784), (-28.0, 0.0)]
)
def test_only_the_lowest_vertebra_may_be_a_steep_wedge(angle_deg, cheaper):
    """An end on the sacrum: 14 degrees beyond the free 14 are forgiven, 0.4 * 1.4^2."""
    given = evidence(*spine(DISCS, 220))
    flat = chain_links(given, SETTINGS)
    # The lowest disc falls to the front (a positive angle) against those above.
    angle = np.radians(angle_deg)
    given.normals[: DISCS[0] + 1] = [0.0, -np.sin(angle), np.cos(angle)]
    links = chain_links(given, SETTINGS)
    top, k = DISCS[1], DISCS[1] - DISCS[0] - int(links.offsets[0])
    lost = flat.vertebra[top, k] - links.vertebra[top, k]
    assert lost == pytest.approx(0.784 if abs(angle_deg) > 14.0 else 0.0, abs=1e-6)
    refund = links.cut_below[top, k] - flat.cut_below[top, k]
    assert refund == pytest.approx(cheaper, abs=1e-6)


def test_short_scan_with_one_disc():
    likeness, bridge = spine([10, 42, 74], 90)
    likeness[[10, 74]] = 0.0
    chain = best_chain(evidence(likeness, bridge, first=24, last=60), SETTINGS)
    assert chain.steps == (42,)
    assert chain.inner_margins == ()


def test_nothing_there():
    assert best_chain(evidence(np.zeros(120), np.ones(120)), SETTINGS) is None


def chain_score(steps, links):
    """Score of one chain, added up link by link."""
    total, heights = 0.0, []
    for bottom, top in itertools.pairwise(steps):
        found = np.flatnonzero(links.offsets == top - bottom)
        if not len(found):
            return -np.inf
        total += links.vertebra[top, found[0]]
        heights.append((top, int(found[0])))
    total += sum(links.disc[step] for step in steps)
    total += links.cut_below[heights[0]] + links.cut_above[heights[-1]]
    for low, high in itertools.pairwise(heights):
        total -= float(
            uneven_price(links.height_mm[low], links.height_mm[high], SETTINGS)
        )
    return total


@pytest.mark.parametrize("seed", range(6))
def test_against_all_chains(seed):
    random = np.random.default_rng(seed)
    places = np.sort(random.choice(np.arange(4, 116, 4), 11, replace=False))
    likeness = np.zeros(120)
    likeness[places] = random.uniform(0.1, 1.0, len(places))
    bridge = np.clip(np.sin(np.arange(120) / 5.0 + seed), 0.0, 1.0)
    given = evidence(likeness, bridge)
    chain = best_chain(given, SETTINGS)
    links = chain_links(given, SETTINGS)
    candidates = sorted({*places.tolist(), *chain.steps})
    scored = {
        steps: chain_score(steps, links)
        for count in range(2, 6)
        for steps in itertools.combinations(candidates, count)
    }
    # Discs may also lie where nothing is seen: no chain of places may be better.
    assert max(scored.values()) <= chain.score + 1e-9
    assert chain_score(chain.steps, links) == pytest.approx(chain.score)
    for k, step in enumerate(chain.steps):
        without = [
            score
            for steps, score in scored.items()
            if all(abs(other - step) > SETTINGS.apart_mm for other in steps)
        ]
        assert chain.disc_margins[k] <= chain.score - max(without) + 1e-9
    for k, (low, high) in enumerate(itertools.pairwise(chain.steps)):
        inner = [
            score
            for steps, score in scored.items()
            if any(low + 6 < other < high - 6 for other in steps)
        ]
        if inner and max(inner) > 0:
            assert chain.inner_margins[k] <= chain.score - max(inner) + 1e-9
