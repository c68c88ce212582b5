"""What of an arch's surroundings is bone, as the vertebra's other half shows it.

Where cement hides the wall of a pedicle, the same place of the other half tells whether
it is bone: soft tissue reaches a place from outside, and marrow lies behind a cortex.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.measurement.body_shell import BodyShell
from cemscope.measurement.cell_distance import cells_within
from cemscope.measurement.vertebra_grid import Float32Array
from cemscope.volume import BoolArray

CORTEX_HU = 160.0
"""A cortex thinner than a voxel is brighter than this, muscle and marrow of old people
mostly not; what noise adds to it only keeps more for bone [our choice]."""

SMOOTHED_MM = 0.35
"""Noise is smoothed by this sigma: more would open a thin cortex."""

PEDICLE_DEPTH_MM = (-2.0, 8.0)
"""Pedicles are met between these distances behind the body's hindmost part."""

PEDICLE_ASIDE = (0.25, 0.5)
"""They lie so far from the midline, against the body's width (Panjabi 1992)."""

OWN_SHARE = 0.15
"""Bone is the vertebra's own if it holds this share of what is bone there: ribs touch
pedicles only at a joint [our choice]."""

CUT_MM2 = 200.0
"""Marrow of a transverse or spinous process that the grid's rim cuts is smaller than
this, soft tissue there is not [our choice]."""

RAYS, RAY_MM, SEALED_SHARE = 16, 7.0, 0.8
"""Marrow whose cortex is too thin to be seen has bone all the same in this share of the
directions across a pedicle; between a pedicle and a rib it is less [our choice]."""


@dataclass(frozen=True, slots=True, eq=False)
class OtherHalf:
    """The other half of a vertebra, laid over each half.

    Attributes
    ----------
    known : ndarray of bool
        Cells whose mirrored place neither cement nor metal hides, in a half whose
        pedicle is seen.
    bone : ndarray of bool
        Cells whose mirrored place is bone of the vertebra.
    marrow : ndarray of bool
        Cells whose mirrored place may be marrow, by the bone around it.
    """

    known: BoolArray
    bone: BoolArray
    marrow: BoolArray

    @property
    def soft(self) -> BoolArray:
        """Cells whose mirrored place is surely outside the vertebra."""
        outside: BoolArray = self.known & ~self.bone & ~self.marrow
        return outside


def other_half(
    hu: Float32Array, hidden: BoolArray, shell: BodyShell, asked: BoolArray
) -> OtherHalf:
    """Look at the mirrored place of each cell.

    Parameters
    ----------
    hu
        CT values on the grid of the shell; 0 where the scan ends.
    hidden
        Cells with cement, metal or their blur.
    shell
        The body.
    asked
        Cells that may be marrow are looked for only at the mirrored places of these.
    """
    dense = ndimage.gaussian_filter(hu, SMOOTHED_MM / shell.grid.cell_mm) > CORTEX_HU
    bone = _own_bone(dense, shell)
    marrow = np.zeros_like(bone)
    index = np.argwhere(mirrored(asked, shell) & ~bone & ~hidden)
    if len(index):
        met = _met_share(index, bone, round(RAY_MM / shell.grid.cell_mm))
        marrow[tuple(index[met >= SEALED_SHARE].T)] = True
    known = (hu != 0.0) & ~hidden
    place = _pedicle_place(shell) & bone
    left = shell.grid.axis_mm(0) > shell.middle_mm
    for half in (left, ~left):
        if not place[half].any():
            # Where the cortex of a pedicle is too faint, marrow looks like muscle.
            known[half] = False
    return OtherHalf(
        mirrored(known, shell),
        mirrored(bone, shell),
        mirrored(marrow, shell),
    )


def _own_bone(dense: BoolArray, shell: BodyShell) -> BoolArray:
    """Bone of the arch with its marrow: what cannot be reached from outside."""
    room = ndimage.binary_erosion(~dense & ~shell.inside, border_value=1)
    parts, count = ndimage.label(room)
    outer = np.zeros(count + 1, np.bool_)
    for rim in (parts[0], parts[-1], parts[:, -1]):
        faces, _ = ndimage.label(rim > 0)
        area = np.bincount(faces.ravel()) * shell.grid.cell_mm**2
        area[0] = 0.0
        outer[rim[area[faces] >= CUT_MM2]] = True
    reached = cells_within(outer[parts], 1.0) & ~dense
    solid = ~reached & ~shell.inside
    firm, count = ndimage.label(ndimage.binary_erosion(solid))
    place = _pedicle_place(shell) & (firm > 0)
    held = np.bincount(firm[place], minlength=count + 1)
    own = np.flatnonzero(held >= max(OWN_SHARE * float(held.sum()), 1.0))
    found: BoolArray = cells_within(np.isin(firm, own), 1.8) & solid
    return found


def _pedicle_place(shell: BodyShell) -> BoolArray:
    grid = shell.grid
    aside = np.abs(grid.axis_mm(0) - shell.middle_mm) / float(shell.size_mm[0])
    behind = grid.axis_mm(1) - float(shell.upper_mm[1])
    up = grid.axis_mm(2)
    place = ((aside >= PEDICLE_ASIDE[0]) & (aside <= PEDICLE_ASIDE[1]))[:, None, None]
    place = (
        place
        & ((behind >= PEDICLE_DEPTH_MM[0]) & (behind <= PEDICLE_DEPTH_MM[1]))[
            None, :, None
        ]
    )
    middle = 0.5 * float(shell.lower_mm[2] + shell.upper_mm[2])
    return np.asarray(place & ((up >= middle) & (up <= shell.upper_mm[2])), np.bool_)


def _met_share(
    index: npt.NDArray[np.int64], bone: BoolArray, steps: int
) -> npt.NDArray[np.float64]:
    """Share of the directions across a pedicle in which bone is met."""
    limit = np.array(bone.shape) - 1
    met = np.zeros(len(index))
    for turn in (np.arange(RAYS) + 0.5) * 2.0 * np.pi / RAYS:
        way = np.array([np.cos(turn), 0.0, np.sin(turn)])
        hit = np.zeros(len(index), np.bool_)
        for step in range(1, steps + 1):
            at = np.clip(np.rint(index + step * way).astype(int), 0, limit)
            hit |= bone[tuple(at.T)]
        met += hit
    share: npt.NDArray[np.float64] = met / RAYS
    return share


def mirrored(mask: BoolArray, shell: BodyShell) -> BoolArray:
    """Reflect a mask at the vertebra's midline."""
    left = shell.grid.axis_mm(0)
    source = (2.0 * shell.middle_mm - left - left[0]) / shell.grid.cell_mm
    index = np.rint(source).astype(int)
    within = (index >= 0) & (index < len(left))
    reflected = np.zeros_like(mask)
    reflected[within] = mask[index[within]]
    return reflected
