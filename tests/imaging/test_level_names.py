"""Names from tables of landmark readings: no images."""

from dataclasses import dataclass, replace

import pytest

from cemscope.anatomy import VertebraLevel
from cemscope.segmentation.levels.anchored_names import names_from_anchor
from cemscope.segmentation.levels.level_landmarks import (
    BodyShape,
    LevelLandmarks,
    SideLandmarks,
)
from cemscope.segmentation.levels.level_names import (
    LevelNames,
    LevelSettings,
    name_levels,
    sacral_indices,
    unless_doubtful,
)

SETTINGS = LevelSettings()
MARKS = {
    # The first sacral segment: ala, then the ilium.
    "S": SideLandmarks(0.55, 84.0, 84.0, 600.0, 0.4),
    # Its transverse process touches the ilium (L5, sometimes L4).
    "i": SideLandmarks(0.08, 84.0, 84.0, 500.0, 0.2),
    "p": SideLandmarks(0.02, 48.0, 84.0, None, 0.0),
    # The short process of L1.
    "q": SideLandmarks(0.01, 38.0, 84.0, None, 0.0),
    "r": SideLandmarks(0.02, 80.0, 84.0, 60.0, 0.3),
    # A last rib of 3-4 cm.
    "s": SideLandmarks(0.02, 50.0, 84.0, 20.0, 0.3),
    "w": SideLandmarks(0.33, 56.0, 84.0, 150.0, 0.2),
    "?": SideLandmarks(None, 40.0, 40.0),
    # Cut above a rib's descent, but the rib itself is seen far out.
    "c": SideLandmarks(None, 80.0, 0.0, 60.0, None),
}


def landmarks(text, bodies=None):
    """One letter per vertebra from the lowest; two letters are left and right."""
    entries = [
        LevelLandmarks(MARKS[letters[0]], MARKS[letters[-1]])
        for letters in text.split()
    ]
    if bodies is not None:
        entries = [
            replace(entry, body=body)
            for entry, body in zip(entries, bodies, strict=True)
        ]
    return tuple(entries)


def row(distances_mm, heights_mm=None, width_mm=46.0):
    """Bodies one above the other."""
    heights_mm = heights_mm or [27.0] * (len(distances_mm) + 1)
    z, bodies = 0.0, []
    for k, height in enumerate(heights_mm):
        bodies.append(BodyShape((0.0, 0.0, z), height, width_mm))
        z += distances_mm[k] if k < len(distances_mm) else 0.0
    return bodies


def names_of(found):
    return [None if level is None else level.name for level in found.levels]


def codes_of(found):
    return [notice.code for notice in found.notices]


@dataclass(frozen=True)
class Named:
    name: str
    marks: str
    lowest: str
    notices: tuple[str, ...]
    least: float
    most: float


SACRUM_ONLY, RIBS_ONLY = ("levels_from_sacrum_only",), ("levels_from_ribs_only",)
THORACIC = "thoracic_levels_from_lowest_ribs"
"""Told with every thoracic name that rests on both landmarks: no sign of a doubt."""

NAMED = [
    # 0.84 of people have 12 pairs of ribs and 24 vertebrae; of those with five
    # rib-free vertebrae some 5 % have another count all the same.
    Named("sacrum and ribs", "S i p p p q r r", "S1", (THORACIC,), 0.90, 0.96),
    Named("sacrum and a cut T12", "S i p p p q c", "S1", (THORACIC,), 0.90, 0.96),
    Named("short last ribs", "S i p p p q s r", "S1", SACRUM_ONLY, 0.75, 0.95),
    Named("pelvis at L4 too", "S i i p p q r", "S1", (THORACIC,), 0.90, 0.96),
    # 0.89 of people have 24 vertebrae above the sacrum.
    Named("sacrum only", "S i p p", "S1", SACRUM_ONLY, 0.80, 0.95),
    Named("sacrum, narrow beyond", "S ? ?", "S1", SACRUM_ONLY, 0.76, 0.95),
    Named("ribs only", "p p q r r", "L3", RIBS_ONLY, 0.80, 0.95),
    Named("S2 in the chain", "S S i p p p q r", "S1", (THORACIC,), 0.85, 0.96),
]  # fmt: skip


@pytest.mark.parametrize("case", NAMED, ids=lambda case: case.name)
def test_clear_landmarks_give_names(case):
    found = name_levels(landmarks(case.marks), SETTINGS)
    expected = [None, "S1"] if case.name == "S2 in the chain" else [case.lowest]
    assert names_of(found)[: len(expected)] == expected
    assert tuple(codes_of(found)) == case.notices
    assert case.least <= found.confidence <= case.most
    named = [name for name in names_of(found) if name]
    assert len(set(named)) == len(named)


@dataclass(frozen=True)
class Declined:
    name: str
    marks: str
    transitional: bool = False


DECLINED = [
    Declined("nothing in view", "p p p p"),
    Declined("L1 to L5 without landmark", "p p p p q"),
    Declined("narrow field of view", "? ? ? ?"),
    Declined("ribs on the lowest vertebra already", "r r r r"),
    Declined("one vertebra", "r"),
    Declined("what lies below the ribs is cut off", "? r r"),
    Declined("four rib-free", "S i p q r r", transitional=True),
    Declined("six rib-free", "S i p p p p q r r", transitional=True),
    Declined("no ribs where T12 should be", "S i p p p q q", transitional=True),
    Declined("no ribs on T12", "S i p p p p q r", transitional=True),
    Declined("ala on one side of L5", "S Sp p p", transitional=True),
    Declined("wide processes of L5", "S w p p", transitional=True),
    Declined("lowest rib on one side", "p p rq r r", transitional=True),
    Declined("short last ribs without sacrum", "p q s r r"),
    Declined("gap in the ribs", "p p q r q r"),
    Declined("free vertebra below the sacrum", "p S p p"),
]


@pytest.mark.parametrize("case", DECLINED, ids=lambda case: case.name)
def test_doubtful_landmarks_give_none(case):
    found = name_levels(landmarks(case.marks), SETTINGS)
    assert names_of(found) == [f"V{k + 1}" for k in range(len(found.levels))]
    assert found.confidence == 0.0
    assert codes_of(found)[0] == "levels_not_told"
    assert "--anchor" in found.notices[0].message
    assert ("transitional_anatomy" in codes_of(found)) is case.transitional


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        ("S i p q r r", ["four rib-free", "sacralised", "T13"]),
        ("S i p p p p q r r", ["six rib-free", "lumbarised", "L6"]),
        ("S wp p p", ["on the left", "Castellvi"]),
        ("S i p p p q qr r", ["right side only", "lumbar rib"]),
    ],
)
def test_transitional_anatomy_is_said_in_words(marks, words):
    found = name_levels(landmarks(marks), SETTINGS)
    said = " ".join(n.message for n in found.notices if n.code.startswith("trans"))
    assert all(word in said for word in words)


def test_a_variant_next_to_agreeing_landmarks_lowers_the_confidence():
    clear = name_levels(landmarks("S i p p p q r r"), SETTINGS)
    wide = name_levels(landmarks("S wi p p p q r r"), SETTINGS)
    assert names_of(wide) == names_of(clear)
    assert wide.confidence < clear.confidence
    assert codes_of(wide) == [THORACIC, "transitional_anatomy"]


@pytest.mark.parametrize("mark", list(MARKS))
@pytest.mark.parametrize("index", range(8))
def test_one_misread_vertebra_never_shifts_names_in_silence(index, mark):
    """Any single reading may be wrong: names stay, are declined, or are doubted."""
    marks = list("Sipppqrr")
    marks[index] = mark
    found = name_levels(landmarks(" ".join(marks)), SETTINGS)
    right = ["S1", "L5", "L4", "L3", "L2", "L1", "T12", "T11"]
    assert names_of(found) == right or set(codes_of(found)) - {THORACIC}


@pytest.mark.parametrize("index", range(7))
@pytest.mark.parametrize("invented", [False, True])
def test_one_vertebra_missed_or_invented_is_never_silent(index, invented):
    marks = list("Sipppqrr")
    if invented:
        marks.insert(index, marks[index])
    else:
        del marks[index]
    found = name_levels(landmarks(" ".join(marks)), SETTINGS)
    if 1 <= index <= 5:
        assert found.confidence == 0.0
    doubted = set(codes_of(found)) - {THORACIC}
    assert doubted or names_of(found)[:2] == ["S1", "L5"] or index in (0, 6)


@dataclass(frozen=True)
class Row:
    name: str
    distances_mm: tuple[float, ...]
    heights_mm: tuple[float, ...] | None
    words: str | None


ROWS = [
    Row("even", (33, 34, 35, 34, 33), None, None),
    Row("small person", (26, 27, 28, 27, 26), (21, 21, 22, 22, 21, 20), None),
    Row("flattened L3", (33, 32, 28, 28, 34), (27, 27, 27, 13, 27, 27), None),
    Row("missed", (33, 34, 68, 34, 33), None, "68 mm apart"),
    Row("halved", (33, 26, 17, 26, 33), (27, 27, 13, 13, 27, 27), "two parts"),
    Row("all halved", (17, 16, 17, 17, 16), (14, 13, 13, 13, 14, 13), "two parts"),
    Row("all joined", (68, 70, 70, 70, 68), (60, 62, 62, 61, 60, 60), "68 mm apart"),
    Row(
        "two flat neighbours", (33, 28, 22.5, 30.5, 34), (27, 27, 11, 16, 27, 27), None
    ),
    Row("merged", (33, 44, 44, 34, 33), (27, 27, 62, 27, 27, 27), "62 mm high"),
]


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_a_break_in_the_row_is_said(case):
    bodies = row(case.distances_mm, case.heights_mm and list(case.heights_mm))
    found = name_levels(landmarks("S i p p p q", bodies), SETTINGS)
    if case.words is None:
        assert codes_of(found) == ["levels_from_sacrum_only"]
        return
    assert found.confidence == 0.0
    said = [n.message for n in found.notices if n.code == "vertebra_row_doubtful"]
    assert len(said) >= 1
    assert any(case.words in message for message in said)


def test_a_break_between_agreeing_landmarks_lowers_the_confidence():
    even = row([34] * 6)
    broken = row([34, 34, 60, 34, 34, 34])
    marks = "S i p p p q r"
    clear = name_levels(landmarks(marks, even), SETTINGS)
    doubtful = name_levels(landmarks(marks, broken), SETTINGS)
    assert names_of(doubtful) == names_of(clear)
    assert doubtful.confidence < clear.confidence
    assert codes_of(doubtful) == [THORACIC, "vertebra_row_doubtful"]


@pytest.mark.parametrize(
    ("margin", "named"), [(5.0, True), (1.0, True), (0.1, False), (0.0, False)]
)
def test_unclear_discs_lower_the_confidence(margin, named):
    margins = [3.0, 3.0, margin, 3.0]
    found = name_levels(landmarks("S i p p"), SETTINGS, chain_margins=margins)
    assert (found.confidence > 0) is named
    assert ("vertebra_row_doubtful" in codes_of(found)) is (margin < 0.5)
    clear = name_levels(landmarks("S i p p"), SETTINGS)
    assert found.confidence <= clear.confidence


@pytest.mark.parametrize(
    ("distances_mm", "named"), [((34, 34, 34), True), ((34, 15, 34), False)]
)
def test_even_distances_vouch_for_unclear_discs(distances_mm, named):
    bodies = row(distances_mm)
    found = name_levels(
        landmarks("S i p p", bodies), SETTINGS, chain_margins=[3.0, 3.0, 0.0, 3.0]
    )
    assert (found.confidence > 0) is named
    assert ("vertebra_row_doubtful" in codes_of(found)) is not named


def test_the_height_of_a_cut_body_says_nothing():
    bodies = row([34, 34, 34, 38], [27, 27, 27, 27, 48])
    bodies[-1] = replace(bodies[-1], whole=False)
    found = name_levels(landmarks("S i p p p", bodies), SETTINGS)
    assert codes_of(found) == ["levels_from_sacrum_only"]


def test_the_width_of_the_bodies_alone_names_nothing():
    narrow = row([23.0] * 4, [18.0] * 5, width_mm=29.0)
    found = name_levels(landmarks("r r r r r", narrow), SETTINGS)
    assert found.confidence == 0.0


@pytest.mark.parametrize(
    ("index", "level", "expected"),
    [
        (0, "L4", ["L4", "L3", "L2", "L1"]),
        (2, "L3", ["L5", "L4", "L3", "L2"]),
        (0, "L6", ["L6", "L5", "L4", "L3"]),
        (1, "T13", ["L1", "T13", "T12", "T11"]),
        (1, "S1", [None, "S1", "L5", "L4"]),
    ],
)
def test_anchor_names_everything(index, level, expected):
    anchor = (index, VertebraLevel(level))
    found = names_from_anchor(landmarks("p p p p"), SETTINGS, anchor)
    assert names_of(found) == expected
    assert found.confidence == 1.0
    assert not found.notices


@pytest.mark.parametrize(
    ("marks", "index", "level", "words"),
    [
        ("S i p p p q r", 1, "L4", "the sacrum would be L5"),
        ("S i p p p q r", 2, "L5", "a level below S1"),
        ("p p q r r", 0, "L4", "the lowest ribs would belong to L1"),
    ],
)
def test_anchor_against_the_landmarks_is_used_but_said(marks, index, level, words):
    anchor = (index, VertebraLevel(level))
    found = names_from_anchor(landmarks(marks), SETTINGS, anchor)
    assert names_of(found)[index] == level
    assert found.confidence == 0.5
    assert found.notices[0].code == "anchor_conflict"
    assert words in found.notices[0].message


@pytest.mark.parametrize(
    ("marks", "index", "level", "words"),
    [
        ("S i p p p p q r", 2, "L4", "the thoracic names would be wrong by one"),
        ("p p p q r r", 4, "T12", "the lumbar names would be wrong by one"),
        ("? p p p p p", 1, "L5", "S1 would be L6"),
    ],
)
def test_names_that_the_anchor_cannot_settle_are_said(marks, index, level, words):
    anchor = (index, VertebraLevel(level))
    found = names_from_anchor(landmarks(marks), SETTINGS, anchor)
    said = [n for n in found.notices if n.code == "levels_counted_from_anchor"]
    assert len(said) == 1
    assert words in said[0].message
    assert found.confidence < 1.0


@pytest.mark.parametrize("level", ["L6", "L5"])
def test_anchor_settles_six_lumbar_vertebrae(level):
    marks = landmarks("S i p p p p q r")
    found = names_from_anchor(marks, SETTINGS, (1, VertebraLevel(level)))
    assert names_of(found)[:2] == ["S1", level]
    # L6 explains both landmarks; L5 leaves the lowest ribs to T11.
    assert (found.confidence == 1.0) is (level == "L6")


@pytest.mark.parametrize(
    ("marks", "index", "level", "expected"),
    [
        ("S i p p p p q r", 5, "L2", ["S1", "L6", "L5"]),
        ("S i p p p p", 2, "L5", ["S1", "L6", "L5"]),
        # The sacrum lies below the view, and what would be S1 has no alae.
        ("i p p p p q r", 1, "L5", ["L6", "L5", "L4"]),
    ],
)
def test_a_sixth_lumbar_vertebra_is_named_by_the_sacrum(marks, index, level, expected):
    anchor = (index, VertebraLevel(level))
    found = names_from_anchor(landmarks(marks), SETTINGS, anchor)
    assert names_of(found)[:3] == expected
    assert "transitional_anatomy" in codes_of(found)
    assert found.confidence < 1.0


def test_anchor_does_not_hide_a_broken_row():
    bodies = row([34, 34, 68, 34])
    found = names_from_anchor(
        landmarks("p p p p p", bodies), SETTINGS, (0, VertebraLevel("L5"))
    )
    assert names_of(found) == ["L5", "L4", "L3", "L2", "L1"]
    assert found.confidence < 1.0
    assert codes_of(found) == ["vertebra_row_doubtful"]


@pytest.mark.parametrize(
    ("marks", "sacral"),
    [
        ("S i p p p q r", {0}),
        ("S S i p p", {0, 1}),
        ("S? i p p", {0}),
        ("i p p", set()),
        ("? ? ?", set()),
        ("p q r r", set()),
    ],
)
def test_the_sacrum_is_no_lowest_vertebra(marks, sacral):
    assert sacral_indices(landmarks(marks), SETTINGS) == sacral


@pytest.mark.parametrize(
    ("doubtful", "lowest", "confidence"),
    [
        ((False, False, False), "S1", 0.8),
        ((False, True, True), "S1", 0.8),
        ((True, False, False), "V1", 0.0),
    ],
)
def test_names_do_not_rest_on_a_sacrum_with_a_doubtful_outline(
    doubtful: tuple[bool, ...], lowest: str, confidence: float
) -> None:
    told = tuple(VertebraLevel(name) for name in ("S1", "L5", "L4"))
    names = unless_doubtful(LevelNames(told, 0.8, ()), doubtful)
    assert names.levels[0] == VertebraLevel(lowest)
    assert names.confidence == confidence
    codes = [notice.code for notice in names.notices]
    assert codes == ([] if lowest == "S1" else ["levels_not_told"])
