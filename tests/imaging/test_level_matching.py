from dataclasses import dataclass

import numpy as np
import pytest

from cemscope.anatomy import VertebraLevel
from cemscope.geometry import VoxelGeometry
from cemscope.registration.initial_pose import LevelPair
from cemscope.registration.level_matching import Implants, match_levels
from cemscope.spine import Spine, Vertebra, VertebraFrame, VertebraSource
from cemscope.volume import LabelMap

HEIGHTS = {"L5": 0.0, "L4": 36.0, "L3": 71.0, "L2": 105.0, "L1": 138.0, "T12": 168.0}


def spine(names: dict[str, str], shift_mm: float = 0.0) -> Spine:
    """Vertebrae by their true level, under the given names; lowest first."""
    vertebrae = tuple(
        Vertebra(
            VertebraLevel(name),
            1.0,
            VertebraSource.EMBEDDED,
            True,
            VertebraFrame(np.array([0.0, 0.0, HEIGHTS[true] + shift_mm]), *np.eye(3)),
            30.0 - 0.1 * HEIGHTS[true],
        )
        for true, name in names.items()
    )
    grid = VoxelGeometry.from_axes((1, 1, 1), (1.0, 1.0, 1.0))
    return Spine(LabelMap(np.zeros((1, 1, 1), np.uint8), grid), vertebrae)


def plain(*levels: str) -> dict[str, str]:
    return {level: level for level in levels}


@dataclass(frozen=True)
class Case:
    name: str
    before: dict[str, str]
    after: dict[str, str]
    implants: tuple[Implants, Implants]
    true_share: float
    expected: dict[str, str]
    notices: tuple[str, ...] = ()


L4_HELD: Implants = {"L4": frozenset({"screw left", "screw right"})}
L3_HELD: Implants = {"L3": frozenset({"screw left", "screw right"})}

CASES = (
    Case(
        "names agree",
        plain("L5", "L4", "L3"),
        plain("L5", "L4", "L3", "L2"),
        (L4_HELD, L4_HELD),
        0.95,
        plain("L5", "L4", "L3"),
    ),
    Case(
        "the later scan is named one level too high",
        plain("L5", "L4", "L3", "L2"),
        {"L5": "L4", "L4": "L3", "L3": "L2", "L2": "L1"},
        (L4_HELD, L3_HELD),
        0.95,
        {"L5": "L4", "L4": "L3", "L3": "L2", "L2": "L1"},
        ("levels_disagree",),
    ),
    Case(
        "the same without implants",
        plain("L4", "L3", "L2"),
        {"L4": "L5", "L3": "L4", "L2": "L3"},
        ({}, {}),
        0.9,
        {"L4": "L5", "L3": "L4", "L2": "L3"},
        ("levels_disagree",),
    ),
    Case(
        "one scan could not be named",
        plain("L5", "L4", "L3"),
        {"L4": "V1", "L3": "V2", "L2": "V3"},
        (L4_HELD, {"V1": L4_HELD["L4"]}),
        0.9,
        {"L4": "V1", "L3": "V2"},
        ("levels_matched_by_bone",),
    ),
    Case(
        "a new screw is no reason to doubt the names",
        plain("L5", "L4", "L3"),
        plain("L5", "L4", "L3"),
        (L4_HELD, {**L4_HELD, **L3_HELD}),
        0.9,
        plain("L5", "L4", "L3"),
    ),
    Case(
        "nothing agrees: names are kept and doubted",
        plain("L5", "L4", "L3"),
        plain("L5", "L4", "L3"),
        (L4_HELD, L4_HELD),
        0.4,
        plain("L5", "L4", "L3"),
        ("levels_not_proven",),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same_bones_are_compared(case: Case) -> None:
    first, second = spine(case.before), spine(case.after, 20.0)
    true_names = (
        {name: true for true, name in case.before.items()},
        {name: true for true, name in case.after.items()},
    )

    def agreement(pair: LevelPair, _: tuple[LevelPair, ...]) -> float:
        same = true_names[0][pair[0].level.name] == true_names[1][pair[1].level.name]
        return case.true_share if same else 0.35

    match = match_levels(first, second, case.implants, agreement)
    found = {a.level.name: b.level.name for a, b in match.pairs}
    by_true = {case.before[k]: v for k, v in case.expected.items()}
    assert found == by_true
    assert tuple(n.code for n in match.notices) == case.notices


def test_names_that_agree_cost_no_further_comparison() -> None:
    asked: list[LevelPair] = []

    def agreement(pair: LevelPair, _: tuple[LevelPair, ...]) -> float:
        asked.append(pair)
        return 0.9

    whole = spine(plain("L5", "L4", "L3", "L2", "L1"))
    match_levels(whole, whole, ({}, {}), agreement)
    assert len(asked) == 2


def test_scans_without_a_common_vertebra_match_nothing() -> None:
    match = match_levels(
        spine(plain("L5")), spine(plain("T12")), ({}, {}), lambda *_: 0.2
    )
    assert match.pairs == ()
    assert [n.code for n in match.notices] == ["levels_not_matched"]
