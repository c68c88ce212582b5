from dataclasses import dataclass

import pytest

from cemscope.anatomy import VertebraLevel
from cemscope.segmentation.level_landmarks import LevelLandmarks, SideLandmarks
from cemscope.segmentation.level_names import LevelSettings, name_levels

SACRUM = SideLandmarks(ala=0.5, process_reach_mm=84.0, seen_to_mm=84.0)
PROCESS = SideLandmarks(ala=0.08, process_reach_mm=44.0, seen_to_mm=84.0)
RIB = SideLandmarks(ala=0.02, process_reach_mm=80.0, seen_to_mm=84.0)
CUT_OFF = SideLandmarks(ala=None, process_reach_mm=40.0, seen_to_mm=40.0)
STOUT = SideLandmarks(ala=0.2, process_reach_mm=50.0, seen_to_mm=84.0)
MARKS = {"S": SACRUM, "p": PROCESS, "r": RIB, "?": CUT_OFF, "w": STOUT}


def landmarks(text):
    """One letter per vertebra from the lowest; two letters are left and right."""
    entries = []
    for letters in text.split():
        left, right = letters[0], letters[-1]
        entries.append(LevelLandmarks(MARKS[left], MARKS[right]))
    return tuple(entries)


@dataclass(frozen=True)
class Case:
    name: str
    marks: str
    lowest: str
    notice: str | None
    confidence: float


CASES = [
    Case("sacrum and ribs agree", "S p p p p p r r", "S1", None, 0.95),
    Case("sacrum only", "S p p p p", "S1", "levels_from_sacrum_only", 0.75),
    Case("ribs only", "p p p r r", "L3", "levels_from_ribs_only", 0.6),
    Case("nothing in view", "p p p p", "V1", "levels_not_told", 0.0),
    Case("narrow field of view", "? ? ? ?", "V1", "levels_not_told", 0.0),
    Case("four lumbar", "S p p p p r r", "V1", "levels_not_told", 0.0),
    Case("six lumbar", "S p p p p p p r", "V1", "levels_not_told", 0.0),
    Case("no ribs where T12 should be", "S p p p p p p", "V1", "levels_not_told", 0.0),
    Case("one-sided ala", "S Sp p p p", "V1", "levels_not_told", 0.0),
    Case("stout process of L5", "S w p p p p r", "V1", "levels_not_told", 0.0),
    Case("one-sided lowest rib", "p p rp r r", "V1", "levels_not_told", 0.0),
    Case("ribs start at the lowest vertebra", "r r r", "V1", "levels_not_told", 0.0),
    Case("gap in the ribs", "p p r p r", "V1", "levels_not_told", 0.0),
    Case("free vertebra below the sacrum", "p S p p", "V1", "levels_not_told", 0.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_names_need_clear_landmarks(case):
    names = name_levels(landmarks(case.marks), LevelSettings())
    assert names.levels[0].name == case.lowest
    assert names.confidence == case.confidence
    codes = [notice.code for notice in names.notices]
    assert (case.notice in codes) if case.notice else not codes
    assert len({level.name for level in names.levels}) == len(names.levels)


def test_unnamed_levels_hint_at_the_anchor():
    names = name_levels(landmarks("p p p"), LevelSettings())
    assert [level.name for level in names.levels] == ["V1", "V2", "V3"]
    assert "--anchor" in names.notices[0].message


def test_unusual_count_is_said():
    names = name_levels(landmarks("S p p p p r r"), LevelSettings())
    codes = [notice.code for notice in names.notices]
    said = " ".join(notice.message for notice in names.notices)
    assert "transitional_anatomy" in codes or "only 4 vertebrae" in said


@pytest.mark.parametrize(
    ("index", "level", "expected"),
    [
        (0, "L4", ["L4", "L3", "L2", "L1"]),
        (2, "L3", ["L5", "L4", "L3", "L2"]),
        (0, "L6", ["L6", "L5", "L4", "L3"]),
        (1, "T13", ["L1", "T13", "T12", "T11"]),
    ],
)
def test_anchor_names_everything(index, level, expected):
    names = name_levels(
        landmarks("p p p p"), LevelSettings(), (index, VertebraLevel(level))
    )
    assert [found.name for found in names.levels] == expected
    assert names.confidence == 1.0
    assert not names.notices


def test_anchor_drops_what_lies_below_the_sacrum():
    names = name_levels(landmarks("p p p"), LevelSettings(), (1, VertebraLevel("S1")))
    assert names.levels[0] is None
    assert [level.name for level in names.levels[1:]] == ["S1", "L5"]


def test_anchor_against_the_landmarks_is_used_but_said():
    names = name_levels(
        landmarks("S p p p p p r"), LevelSettings(), (1, VertebraLevel("L4"))
    )
    assert names.levels[1].name == "L4"
    assert names.confidence == 0.5
    assert names.notices[0].code == "anchor_conflict"
