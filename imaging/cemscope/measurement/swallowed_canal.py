"""Cement in the canal that an outline of the body has swallowed.

An outline by brightness runs round cement that lies on the posterior wall. Above and
below the cement the wall is seen; between, it runs no further back than straight from
the one to the other, as it is hollow.
"""

import numpy as np
import numpy.typing as npt

from cemscope.measurement.body_shell import BodyShell, signed_distance_mm
from cemscope.measurement.cortex_ray import meets_cortex
from cemscope.measurement.vertebra_grid import Float32Array
from cemscope.segmentation.scan_region import FloatArray
from cemscope.volume import BoolArray

MIDDLE_SHARE = 0.2
"""The wall is looked at within this share of the body's width of the midline."""

CANAL_SHARE = 0.3
"""The canal lies within this share of it."""

BARE_SHARE = 0.2
"""Less cement than this moves no outline."""

BESIDE_WALL_MM = (-3.0, 3.0)
"""Cement so far before and behind the outline moves it."""

PAST_CEMENT_MM = 2.0
"""So far above and below cement the outline is moved, too."""

SLACK_MM = 0.7
"""Outlines are wrong by about this everywhere."""

LEAST_BULGE_MM = 1.5
"""A bulge of less behind the line is how the wall is formed [our choice]."""

LEAST_CEMENT = 60
"""Cells of cement in such a bulge: 0.02 mL."""

SOLID_SHARE = 0.35
"""As for the pieces of a leak."""

BONY_SHARE = 0.4
"""Where a cortex follows behind this share of it, the bulge is bone: a fragment of the
body that a fracture has driven back."""


def without_swallowed_canal(
    shell: BodyShell, neighbours: BoolArray, cement: Float32Array, hu: Float32Array
) -> BodyShell:
    """Take from a body what its outline swallowed of the canal.

    Parameters
    ----------
    shell
        The body, by an outline by brightness.
    neighbours
        Cells of the bodies above and below.
    cement, hu
        Share of cement, and CT values; 0 where the scan was not cut out.

    Returns
    -------
    BodyShell
        The same one where the posterior wall has no such bulge.
    """
    left, back = shell.grid.axis_mm(0), shell.grid.axis_mm(1)
    aside = np.abs(left - shell.middle_mm) / float(shell.size_mm[0])
    wall = _line_mm(shell, neighbours, cement, aside <= MIDDLE_SHARE)
    if wall is None:
        return shell
    behind = back[None, :, None] > wall[None, None, :] + SLACK_MM
    bulge = shell.inside & behind & (aside <= CANAL_SHARE)[:, None, None]
    far = back[None, :, None] > wall[None, None, :] + LEAST_BULGE_MM
    solid = bulge & (cement >= SOLID_SHARE)
    if int((solid & far).sum()) < LEAST_CEMENT:
        return shell
    index = np.argwhere(solid)
    posterior = np.array([0.0, 1.0, 0.0])
    if float(meets_cortex(index, posterior, cement, hu, shell.grid.cell_mm).mean()) >= (
        BONY_SHARE
    ):
        return shell
    inside = shell.inside & ~bulge
    distance = signed_distance_mm(inside, shell.grid.cell_mm)
    return BodyShell(shell.grid, distance, shell.lower_mm, shell.upper_mm)


def _line_mm(
    shell: BodyShell,
    neighbours: BoolArray,
    cement: Float32Array,
    middle: npt.NDArray[np.bool_],
) -> FloatArray | None:
    """Depth of the posterior wall at each height, straight past cement.

    Infinite where nothing tells it; None where nothing hides it.
    """
    cell = shell.grid.cell_mm
    back, heights = shell.grid.axis_mm(1), shell.grid.axis_mm(2)
    bone = (shell.inside | neighbours)[middle]
    deepest = np.where(bone, back[None, :, None], -np.inf).max(axis=1)
    offset = back[None, :, None] - deepest[:, None, :]
    beside = (offset >= BESIDE_WALL_MM[0]) & (offset <= BESIDE_WALL_MM[1])
    hidden = ((cement[middle] >= BARE_SHARE) & beside).any(axis=(0, 1))
    reach = 2 * round(PAST_CEMENT_MM / cell) + 1
    hidden = np.convolve(hidden, np.ones(reach), "same") > 0.5
    body = (heights >= shell.lower_mm[2]) & (heights <= shell.upper_mm[2])
    if not (hidden & body).any():
        return None
    seen = np.isfinite(deepest).mean(axis=0) >= SEEN_SHARE
    usual = np.median(deepest[:, body][np.isfinite(deepest[:, body])])
    # Of a slanting endplate only the front is left in a plane.
    seen &= np.median(deepest, axis=0) >= usual - LEANING_MM
    known = np.flatnonzero(seen & ~hidden)
    if known.size * cell < LEAST_SEEN_MM:
        return None
    depth = np.array([
        np.median(deepest[np.isfinite(deepest[:, n]), n]) for n in known
    ])  # fmt: skip
    wall = np.interp(np.arange(len(heights)), known, depth)
    return np.where(hidden & body, wall, np.inf)


SEEN_SHARE = 0.8
"""A plane tells the wall if bone is met in this share of its middle."""

LEAST_SEEN_MM = 5.0
"""Height of wall, of this body or the next, that tells the rest [our choice]."""

LEANING_MM = 5.0
"""A posterior wall leans forwards by no more against its own middle [our choice]."""
