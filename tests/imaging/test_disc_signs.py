"""The open ring at discs of any width, and which disc an axis is bent at."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.canal.spine_axis import SpineAxis
from cemscope.segmentation.discs.cortical_ring import RingSettings, open_ring
from cemscope.segmentation.discs.disc import BODY_DEPTH_MM, Disc
from cemscope.segmentation.discs.disc_chain import DiscChain
from cemscope.segmentation.discs.disc_search import _is_believed, _Links, _lowest_sure
from cemscope.segmentation.spine_working_volume import WorkingVolume

STEPS = 120
WALL_MM = -8.0
DISCS = (20.0, 60.0, 100.0)
"""Middle of the discs; between them, at 40 and 80, the middle of the bodies."""

HALF_GAP_MM, CORTEX_HU = 3.0, 300.0

TILTS = (np.zeros(1), np.zeros(1))


@dataclass(frozen=True)
class Stack:
    """Bodies along z; their front is at negative y.

    Ribs stand beside the discs, 8 mm beside the body.
    """

    name: str
    half_width_mm: float
    half_depth_mm: float
    marrow_hu: float = 150.0
    ribs: bool = False

    def volume(self):
        y, x = np.mgrid[-55.0:20.0, -45.0:46.0]
        z = np.arange(STEPS, dtype=float)[:, None, None]
        middle = WALL_MM - self.half_depth_mm
        away = np.hypot(x / self.half_width_mm, (y - middle) / self.half_depth_mm)
        inward = (1.0 - away) * self.half_depth_mm
        apart = np.abs(z[..., None] - np.array(DISCS)).min(axis=-1)
        # Millimetres of bone between here and the nearest endplate.
        depth = apart - HALF_GAP_MM
        inside = inward > 0
        hu = np.where(inside, 90.0, 50.0) + 0.0 * z
        bone = inside & (depth > 0)
        hu = np.where(bone, self.marrow_hu, hu)
        hu = np.where(bone & ((depth < 1.5) | (inward < 1.5)), CORTEX_HU, hu)
        if self.ribs:
            side = np.abs(x) - (self.half_width_mm + 12.0)
            rib = (side**2 + (y - middle) ** 2 < 16.0) & (apart < 7.0)
            hu = np.where(rib, CORTEX_HU, hu)
        hu = ndimage.gaussian_filter(hu, 0.8).astype(np.float32)
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, ::-1]
        affine[:3, 3] = -45.0, -55.0, 0.0
        geometry = VoxelGeometry(hu.shape, affine)
        return WorkingVolume(hu, np.ones(hu.shape, np.float32), geometry)


def axis():
    steps = np.arange(STEPS, dtype=float)
    points = np.stack([0 * steps, 0 * steps, steps], axis=1)
    return SpineAxis(
        points, np.tile([0.0, 0, 1], (STEPS, 1)), np.tile([0.0, 1, 0], (STEPS, 1)),
        np.tile([1.0, 0, 0], (STEPS, 1)), np.full(STEPS, WALL_MM), 0, STEPS,
    )  # fmt: skip


@pytest.mark.parametrize("stack", [
    Stack("T6, ribs beside it", 14.0, 12.5, ribs=True),
    Stack("T10, osteoporosis", 16.0, 14.0, marrow_hu=50.0),
    Stack("L2", 22.0, 16.0),
    Stack("L5 of a large man", 29.0, 20.0, marrow_hu=50.0),
], ids=lambda stack: stack.name)  # fmt: skip
def test_ring_opens_at_discs_of_any_width(stack):
    found = open_ring(axis(), stack.volume(), None, TILTS, RingSettings())[0, 0]
    assert min(found[round(disc)] for disc in DISCS) > 0.8
    assert max(found[35:46].max(), found[75:86].max()) < 0.15


@dataclass(frozen=True)
class Ladder:
    """Likeness and margin of discs, from the lowest; which one is built upon."""

    name: str
    likeness: tuple[float, ...]
    margins: tuple[float, ...]
    expected: int | None


@pytest.mark.parametrize("case", [
    Ladder("all clear", (0.8, 0.8, 0.8), (3.0, 3.0, 3.0), 0),
    Ladder("an endplate of the sacrum", (0.6, 0.2, 0.8, 0.8), (0.3, 0.3, 1.0, 1.0), 2),
    Ladder("screws hide the lower discs", (0.3, 0.3, 0.4, 0.2, 0.7, 0.7),
           (0.4, 0.5, 2.9, 1.8, 3.0, 3.0), 2),
    Ladder("thin discs in thick slices", (0.2, 0.4, 0.4), (0.5, 1.8, 1.8), 1),
    Ladder("nothing is sure", (0.2, 0.4, 0.4), (0.5, 0.8, 0.8), None),
], ids=lambda case: case.name)  # fmt: skip
def test_lowest_sure_disc(case):
    discs = tuple(
        Disc(30.0 * k + BODY_DEPTH_MM, 0.0, 0.0, likeness)
        for k, likeness in enumerate(case.likeness)
    )
    assert _lowest_sure(discs, case.margins) == case.expected


def links(likeness, margins):
    """Discs every 30 steps, and what speaks for each."""
    steps = tuple(30 * (k + 1) for k in range(len(likeness)))
    discs = tuple(
        Disc(float(step), 0.0, 0.0, like)
        for step, like in zip(steps, likeness, strict=True)
    )
    chain = DiscChain(steps, 1.0, margins, (1.0,) * (len(steps) - 1))
    return _Links(axis(), discs, chain, 0.0, float(STEPS))


@pytest.mark.parametrize(
    ("likeness", "margins", "believed"),
    [
        ((0.6, 0.8), (0.2, 2.0), True),
        ((0.4, 0.8), (1.9, 2.0), True),
        ((0.4, 0.8), (1.0, 2.0), False),
        ((0.4, 0.8), (1.9, 1.0), False),
    ],
    ids=["clear disc below", "sure disc below", "weak disc", "disc at the bend lost"],
)
def test_a_bend_must_show_a_disc_below(likeness, margins, believed):
    straight = links((0.0, 0.8), (0.1, 2.0))
    assert _is_believed(links(likeness, margins), straight, 60) is believed
