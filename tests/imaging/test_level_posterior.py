"""The weight of the counts against simulated patients."""

import numpy as np
import pytest

from cemscope.segmentation.levels.level_evidence import (
    EXPECTED,
    EvidenceSettings,
    Place,
    read_level,
)
from cemscope.segmentation.levels.level_landmarks import LevelLandmarks, SideLandmarks
from cemscope.segmentation.levels.level_names import LevelSettings, name_levels
from cemscope.segmentation.levels.level_posterior import (
    VARIANTS,
    Count,
    Variant,
    count_posterior,
)

NUMBER_NAMES = [
    *(f"C{k}" for k in range(1, 8)),
    *(f"T{k}" for k in range(1, 13)),
    *(f"L{k}" for k in range(1, 6)),
    "S1",
]


def test_shares_add_up_and_agree_with_the_series():
    assert sum(v.share for v in VARIANTS) == pytest.approx(1.0)
    presacral = {
        n: sum(v.share for v in VARIANTS if v.presacral == n) for n in (23, 24, 25)
    }
    # Tins and Balain 2016: 14 + 8, 374 and 18 + 4 of 418 patients.
    assert presacral[24] == pytest.approx(374 / 418, abs=0.02)
    assert presacral[23] == pytest.approx(22 / 418, abs=0.02)
    assert presacral[25] == pytest.approx(22 / 418, abs=0.02)


@pytest.mark.parametrize("place", list(Place))
def test_expectations_are_probabilities(place):
    expected = EXPECTED[place]
    parts = (expected.rib, expected.pelvis, expected.stub, expected.process)
    assert min(parts) > 0.0
    assert sum(parts) == pytest.approx(1.0)
    assert 0.0 < expected.ala < 1.0
    assert 0.0 < expected.head < 1.0


@pytest.mark.parametrize(
    ("variant", "places"),
    [
        (Variant(12, 24, 1.0), {0: "S1", 1: "L5", 5: "L1", 6: "T12", 18: "C7"}),
        (Variant(11, 24, 1.0), {1: "L5", 5: "L1", 6: "T12", 7: "T11"}),
        (Variant(12, 25, 1.0), {1: "S1", 2: "L5", 6: "L1", 7: "T12"}),
        (Variant(13, 24, 1.0), {1: "L5", 4: "L2", 5: "L1", 6: "T12"}),
    ],
)
def test_numbers_are_counted_from_c1(variant, places):
    count = Count(variant, 0)
    for index, name in places.items():
        assert NUMBER_NAMES[count.number(index) - 1] == name
    first_rib = variant.rib_free + 1
    assert count.place(first_rib) is Place.LOWEST_RIBS
    assert count.place(first_rib - 1) is Place.HIGHEST_LUMBAR
    assert count.place(first_rib + variant.rib_pairs) is Place.CERVICAL
    assert count.place(-1) is Place.BELOW_S1


def test_nothing_in_view_leaves_everything_open():
    unseen = SideLandmarks(None, 30.0, 30.0)
    reading = read_level(LevelLandmarks(unseen, unseen), EvidenceSettings())
    posterior = count_posterior([reading] * 3, [None] * 3)
    assert sum(posterior.probabilities) == pytest.approx(1.0)
    assert posterior.of_shift(posterior.best_shift()) < 0.1
    for place in Place:
        assert reading.log_likelihood(place) == 0.0


def drawn_side(place, rng):
    """A side as the table expects it at a place."""
    expected = EXPECTED[place]
    ala = 0.6 if rng.random() < expected.ala else 0.02
    head = 0.4 if rng.random() < expected.head else 0.0
    parts = [expected.rib, expected.pelvis, expected.stub, expected.process]
    reach_mm, section_mm2 = [
        (84.0, 60.0),
        (84.0, 500.0),
        (36.0, None),
        (50.0, None),
    ][rng.choice(4, p=parts)]
    if rng.random() < 0.1:
        return SideLandmarks(None, 30.0, 30.0)
    return SideLandmarks(ala, reach_mm, 84.0, section_mm2, head)


def drawn_patient(rng):
    """A patient's vertebrae in a field of view, and their true names."""
    share = [v.share for v in VARIANTS]
    variant = VARIANTS[rng.choice(len(VARIANTS), p=share)]
    count = Count(variant, -int(rng.integers(-1, 9)))
    entries, names = [], []
    for k in range(int(rng.integers(3, 10))):
        place = count.place(k)
        if place is Place.BELOW_S1:
            continue
        entries.append(LevelLandmarks(drawn_side(place, rng), drawn_side(place, rng)))
        number = count.number(k)
        lumbarised = number == 25 and place is not Place.S1
        names.append("L6" if lumbarised else (*NUMBER_NAMES, "S2")[number - 1])
    return tuple(entries), names


def test_confidence_is_not_too_high():
    """Over many patients names are right at least as often as they claim to be."""
    rng = np.random.default_rng(5)
    claimed, right, silent_wrong, patients = 0.0, 0, 0, 600
    named = 0
    for _ in range(patients):
        entries, truth = drawn_patient(rng)
        found = name_levels(entries, LevelSettings())
        if found.confidence == 0.0:
            continue
        named += 1
        claimed += found.confidence
        got = [None if level is None else level.name for level in found.levels]
        is_right = got == truth
        right += is_right
        silent_wrong += not is_right and not found.notices
    # Declining everything would be calibrated too.
    assert named > patients / 5
    # Two standard deviations of a share of 0.9 in some 200 patients are 0.04.
    assert right / named > claimed / named - 0.04
    # Five rib-free vertebrae in a patient with 11 or 13 pairs of ribs look usual.
    assert silent_wrong / patients < 0.03
