"""Which part of a path counts as canal, with and without streaks."""

from dataclasses import dataclass

import numpy as np
import pytest

from cemscope.segmentation.canal.canal_part import MOST_HIDDEN_MM, canal_part

SPACING_MM = 3.0
CLEAR, NOTHING = 0.5, 0.02


@dataclass(frozen=True)
class Path:
    """Stretches of slices: (number, score, hidden by streaks), and what is canal."""

    name: str
    stretches: tuple[tuple[int, float, bool], ...]
    canal: tuple[int, int]


PATHS = [
    Path("all clear", ((40, CLEAR, False),), (0, 40)),
    Path("ends in the pelvis", ((20, NOTHING, False), (40, CLEAR, False)), (20, 60)),
    Path("a centimetre without a sign",
         ((30, CLEAR, False), (4, NOTHING, False), (30, CLEAR, False)), (0, 64)),
    Path("six centimetres of streaks between clear parts",
         ((30, CLEAR, False), (20, NOTHING, True), (30, CLEAR, False)), (0, 80)),
    Path("streaks at the end",
         ((20, NOTHING, False), (12, NOTHING, True), (40, CLEAR, False)), (20, 72)),
    Path("streaks on to a hip",
         ((60, NOTHING, True), (40, CLEAR, False)),
         (60 - round(MOST_HIDDEN_MM / SPACING_MM), 100)),
    Path("nothing but streaks", ((40, NOTHING, True),), (0, 0)),
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_canal_is_bridged_and_ends_where_it_ends(path):
    scores = np.concatenate([np.full(n, score) for n, score, _ in path.stretches])
    hidden = np.concatenate([np.full(n, seen) for n, _, seen in path.stretches])
    found = canal_part(scores, hidden, SPACING_MM, 0.45, (0.18, 0.3))
    assert found == path.canal
