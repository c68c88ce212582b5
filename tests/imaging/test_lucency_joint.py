"""The evidence of a whole shaft: the strongest window, against brute force."""

from dataclasses import dataclass

import numpy as np
import pytest

from cemscope.measurement.lucency_joint import (
    JOINT_WIDTHS_MM,
    JointSettings,
    strongest_gap,
)
from cemscope.measurement.lucency_profiles import ANGLES
from cemscope.measurement.lucency_widths import WIDTHS_MM

PLANES = 60
COLUMN = int(np.argmin(np.abs(WIDTHS_MM[:-1] - 1.6)))


def evidence_of(gain: np.ndarray) -> np.ndarray:
    """Evidence that speaks for 1.6 mm as told, and for nothing else."""
    evidence = np.full((*gain.shape, WIDTHS_MM.size), -4.0)
    evidence[..., 0] = 0.0
    evidence[..., COLUMN] = gain
    return evidence


@dataclass(frozen=True)
class Patch:
    name: str
    planes: slice
    first_angle: int
    angles: int


PATCHES = (
    Patch("all around", slice(0, 60), 0, 36),
    Patch("half of the circle, half of the length", slice(30, 60), 5, 18),
    Patch("across the first angle", slice(10, 40), 31, 14),
)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda p: p.name)
def test_the_window_is_where_the_gap_is(patch: Patch) -> None:
    true = np.zeros((PLANES, ANGLES), bool)
    turns = (patch.first_angle + np.arange(patch.angles)) % ANGLES
    true[patch.planes, turns] = True
    found = strongest_gap(
        evidence_of(np.where(true, 2.0, -3.0)),
        np.ones(true.shape, bool),
        JointSettings(),
    )
    assert found.width_mm == pytest.approx(1.6)
    assert found.strength > JointSettings().least_evidence
    assert true[found.inside].mean() > 0.95
    assert found.inside.sum() > 0.6 * true.sum()


def test_a_patch_smaller_than_the_definition_is_not_enough() -> None:
    gain = np.full((PLANES, ANGLES), -3.0)
    gain[10:18, 3:8] = 4.0  # 4 mm x 50 degrees
    found = strongest_gap(evidence_of(gain), np.ones(gain.shape, bool), JointSettings())
    assert found.strength < JointSettings().least_evidence


def test_nothing_seen_tells_nothing() -> None:
    gain = np.full((PLANES, ANGLES), 4.0)
    found = strongest_gap(
        evidence_of(gain), np.zeros(gain.shape, bool), JointSettings()
    )
    assert found.strength == -np.inf
    assert not found.inside.any()


@pytest.mark.parametrize("seed", range(3))
def test_no_window_is_stronger(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen = rng.random((24, ANGLES)) < 0.8
    evidence = rng.normal(-1.0, 2.0, (24, ANGLES, WIDTHS_MM.size))
    settings = JointSettings(length_fractions=(0.5,), arcs_deg=(90.0, 180.0))
    best = -np.inf
    for width in JOINT_WIDTHS_MM:
        column = int(np.argmin(np.abs(WIDTHS_MM[:-1] - width)))
        gain = evidence[..., column] - evidence[..., 0]
        for first in range(13):
            for angles in (9, 18):
                for turn in range(ANGLES):
                    turns = (turn + np.arange(angles)) % ANGLES
                    part = np.ix_(np.arange(first, first + 12), turns)
                    count = seen[part].sum()
                    if count < 0.5 * 12 * angles:
                        continue
                    mean = gain[part][seen[part]].mean()
                    best = max(best, mean * np.sqrt(count / 40.0))
    found = strongest_gap(evidence, seen, settings)
    assert found.strength == pytest.approx(best)
