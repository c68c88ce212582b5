"""A wall behind cement is continued from its surroundings and the other side."""

import numpy as np

from cemscope.segmentation.bodies.body_surface import WALL_ANGLES_RAD, WALL_LEVELS
from cemscope.segmentation.bodies.hidden_wall import (
    beside_implant,
    continued_wall,
    mirrored,
)

WAIST_MM = 2.0 * (1.0 - (2.0 * WALL_LEVELS - 1.0) ** 2)


def body_wall(lean_mm: float = 0.0) -> np.ndarray:
    """An outline wider than deep, with a waist; it leans to the left."""
    outline = 17.0 + 4.0 * np.cos(WALL_ANGLES_RAD) ** 2
    lean = lean_mm * np.cos(WALL_ANGLES_RAD)
    return (outline + lean)[:, None] - WAIST_MM[None, :]


def test_one_side_is_continued_from_the_other() -> None:
    true = body_wall(lean_mm=1.0)
    hidden = np.zeros(true.shape, bool)
    hidden[20:27, 3:9] = True  # right wall, over half of the height
    bulging = np.where(hidden, true + 4.0, true)
    found = continued_wall(bulging, hidden)
    np.testing.assert_array_equal(found[~hidden], true[~hidden])
    # The lean differs by 2 mm * (1 - cos 26 deg) over half the gap.
    np.testing.assert_allclose(found[hidden], true[hidden], atol=0.2)


def test_the_midline_is_continued_from_above_and_below() -> None:
    true = body_wall()
    hidden = np.zeros(true.shape, bool)
    hidden[9:16, 3:9] = True  # back, both sides of the midline
    found = continued_wall(np.where(hidden, true + 4.0, true), hidden)
    # No more than the waist can be missed.
    assert np.abs(found - true)[hidden].max() < 0.7 * WAIST_MM.max()
    assert np.abs(found - true)[hidden].mean() < 0.8


def test_nothing_seen_leaves_the_wall() -> None:
    true = body_wall()
    for hidden in (np.zeros(true.shape, bool), np.ones(true.shape, bool)):
        np.testing.assert_array_equal(continued_wall(true, hidden), true)


def test_a_hidden_ring_takes_the_shape_of_the_other_heights() -> None:
    true = body_wall()
    hidden = np.zeros(true.shape, bool)
    hidden[:, 5:7] = True
    found = continued_wall(np.where(hidden, 30.0, true), hidden)
    np.testing.assert_allclose(found[hidden], true[hidden], atol=0.5)


def test_mirror_keeps_front_and_back() -> None:
    lateral = np.cos(WALL_ANGLES_RAD)
    np.testing.assert_allclose(mirrored(lateral), -lateral, atol=1e-12)
    np.testing.assert_allclose(
        mirrored(np.sin(WALL_ANGLES_RAD)), np.sin(WALL_ANGLES_RAD), atol=1e-12
    )


def test_places_near_implant_are_hidden_with_their_neighbours() -> None:
    implant = np.zeros((8, 5, 20), bool)
    implant[0, 2, 12] = True
    hidden = beside_implant(implant, np.full((8, 5), 9.0), reach=3)
    expected = np.zeros((8, 5), bool)
    expected[[7, 0, 1], 1:4] = True
    np.testing.assert_array_equal(hidden, expected)
    assert not beside_implant(implant, np.full((8, 5), 8.0), reach=3).any()
