"""A rib, a transverse process or the wing of the ilium: bone that begins at a vertebra.

A transverse process ends within some 55 mm of the midline (the longest is that of L3);
a rib goes on as a thin bar; the wing of the ilium, which the lowest processes touch,
is a plate with a section many times that of a rib. The head of a rib lies against the
side of the body or the root of the pedicle, where a lumbar vertebra has only psoas.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.volume import BoolArray

HEAD_BESIDE_MM = (1.5, 7.0)
"""Where the head of a rib lies beside the wall of the body (in a middle-sized adult;
the heads of the last ribs are some 12 mm thick)."""

HEAD_FROM_WALL_MM = (-12.0, 2.0)
"""Where it lies in depth, from the posterior wall of the body."""

HEAD_FROM_HEIGHT = 0.3
"""It lies above this share of the body's height (T11, T12: on the body or pedicle)."""


@dataclass(frozen=True, slots=True)
class RibSettings:
    """Tunables of the search for ribs; lengths as in a middle-sized adult.

    Attributes
    ----------
    seed_width_mm : float
        Width of the strip in which a rib or transverse process must begin.
    begin_below_mm : float
        How far below the middle of the body it may begin: about the lower endplate.
    steepest : float
        Descent per distance to the side up to which bone is followed (the last ribs
        fall by 45 degrees); what lies deeper belongs to the vertebra below.
    outer_mm : float
        Length of the outer part whose section is measured.
    outer_from_mm : float
        Bone that ends nearer to the midline has no outer part.
    least_seen : float
        Share of the place of a rib's head that the scan must show without streaks.
    most_streaked : float
        Share of a vertebra's height in planes with streaks from which a process that
        ends early proves nothing.
    """

    seed_width_mm: float = 8.0
    begin_below_mm: float = 18.0
    steepest: float = 1.2
    outer_mm: float = 16.0
    outer_from_mm: float = 50.0
    least_seen: float = 0.9
    most_streaked: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class BesideGrid:
    """Cubes beside a vertebra, in its own axes.

    Attributes
    ----------
    lateral_mm, posterior_mm, height_mm : ndarray
        Coordinates of the cubes; lateral is positive to either side.
    lower_mm, upper_mm, wall_mm : float
        Height of the endplates and depth of the posterior wall.
    scale : float
        Size of this vertebra against that of a middle-sized adult.
    """

    lateral_mm: FloatArray
    posterior_mm: FloatArray
    height_mm: FloatArray
    lower_mm: float
    upper_mm: float
    wall_mm: float
    scale: float


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """What the scan shows on the cubes, shape (lateral, posterior, height).

    Attributes
    ----------
    bone : ndarray of bool
        Bone, or a streak as bright.
    seen : ndarray of bool
        Inside the field of view.
    streaked : ndarray of bool
        In a plane with much metal: bone there proves nothing.
    """

    bone: BoolArray
    seen: BoolArray
    streaked: BoolArray


@dataclass(frozen=True, slots=True)
class ProcessBone:
    """Bone that begins at a vertebra's side.

    Attributes
    ----------
    reach_mm : float
        Furthest distance from the midline, in the scale of a middle-sized adult.
    section_mm2 : float or None
        Median sagittal section of its outer part, not scaled; None where it ends
        before.
    streaked : bool
        Whether streaks leave open where it ends.
    ends_in_view : bool
        Whether it was found and ends before the border of the view on every side.
    """

    reach_mm: float
    section_mm2: float | None
    streaked: bool = False
    ends_in_view: bool = False


def process_beside(
    beside: Beside, grid: BesideGrid, settings: RibSettings
) -> ProcessBone:
    """Follow the bone that begins at one side of a vertebra.

    It may pass through planes with streaks, but its end must lie outside them.

    Parameters
    ----------
    beside
        What the scan shows.
    grid
        Where the cubes lie.
    settings
        Tunables.
    """
    usual_mm = grid.lateral_mm / grid.scale
    # Rods and worn facets join a vertebra to the one below: not followed down there.
    middle_mm = (grid.lower_mm + grid.upper_mm) / 2
    begin_mm = middle_mm - settings.begin_below_mm * grid.scale
    deepest_mm = begin_mm - settings.steepest * (grid.lateral_mm - grid.lateral_mm[0])
    near = grid.height_mm[None, :] >= deepest_mm[:, None]
    begins = (grid.height_mm >= begin_mm) & (grid.height_mm <= grid.upper_mm)
    streaked = bool(beside.streaked[:, :, begins].mean() > settings.most_streaked)
    numbers, count = ndimage.label(
        beside.bone & near[:, None, :], structure=np.ones((3, 3, 3))
    )
    nothing = ProcessBone(float(usual_mm[0]), None, streaked)
    if not count:
        return nothing
    seeds = np.unique(numbers[usual_mm <= usual_mm[0] + settings.seed_width_mm])
    process = np.isin(numbers, seeds[seeds > 0]) & ~beside.streaked
    beyond = ndimage.binary_dilation(~beside.seen | beside.streaked, iterations=2)
    ends_in_view = not (process & beyond).any()
    section = process.sum(axis=(1, 2))
    if not section.any():
        return nothing
    reach_mm = float(usual_mm[np.flatnonzero(section)[-1]])
    outer = (usual_mm >= settings.outer_from_mm) & (usual_mm <= reach_mm)
    outer &= usual_mm >= reach_mm - settings.outer_mm
    if not outer.any():
        return ProcessBone(reach_mm, None, streaked, ends_in_view)
    face_mm2 = float(grid.lateral_mm[1] - grid.lateral_mm[0]) ** 2
    section_mm2 = float(np.median(section[outer])) * face_mm2
    return ProcessBone(reach_mm, section_mm2, streaked, ends_in_view)


def head_of_rib(
    beside: Beside, grid: BesideGrid, half_width_mm: float, settings: RibSettings
) -> float | None:
    """Share of bone where the head of a rib would lie; None if not in view."""
    place = np.ix_(
        _between(grid.lateral_mm - half_width_mm, HEAD_BESIDE_MM, grid.scale),
        _between(grid.posterior_mm - grid.wall_mm, HEAD_FROM_WALL_MM, grid.scale),
        (
            grid.height_mm
            >= grid.lower_mm + HEAD_FROM_HEIGHT * (grid.upper_mm - grid.lower_mm)
        )
        & (grid.height_mm <= grid.upper_mm),
    )
    clear = beside.seen[place] & ~beside.streaked[place]
    if not clear.size or clear.mean() < settings.least_seen:
        return None
    return float(beside.bone[place].mean())


def _between(
    values_mm: FloatArray, limits_mm: tuple[float, float], scale: float
) -> npt.NDArray[np.bool_]:
    inside: npt.NDArray[np.bool_] = (values_mm >= limits_mm[0] * scale) & (
        values_mm <= limits_mm[1] * scale
    )
    return inside
