"""The spinal canal behind a body, with the room that leaked cement takes from it."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cemscope.measurement.body_shell import BodyShell
from cemscope.spine import Spine, Vertebra
from cemscope.volume import BoolArray

IntArray = npt.NDArray[np.int64]

REPAIR_MM = 9.0
"""Planes so far above and below tell what cement hides of the canal: half of a body's
height and less than a pedicle's distance [our choice]."""

EPIDURAL_MM = 7.0
"""Deepest anterior epidural space: behind the concave posterior wall, in front of
what was outlined as canal."""

OFF_ENDPLATE_MM = 1.5
"""Above and below the body the line of the posterior wall at its rim goes on."""

BEYOND_MM = 8.0
"""Where the source has no canal, one is drawn so far beyond the endplates."""


def canal_room(
    shell: BodyShell, spine: Spine, vertebra: Vertebra, bone: BoolArray
) -> BoolArray | None:
    """Find the canal on a vertebra's grid, from the posterior wall to the laminae.

    An outline of the canal may run round cement that lies in it. The outline of the
    neighbouring planes and the posterior wall tell where it would be.

    Parameters
    ----------
    shell
        The body.
    spine, vertebra
        For the canal's outline; where there is none, the hole of the arch is taken.
    bone : ndarray of bool
        Cells of all bodies and arches.

    Returns
    -------
    ndarray of bool or None
        None where neither tells a canal.
    """
    canal = _outlined(shell, spine)
    if canal is None:
        canal = _hole(shell, spine, vertebra)
    if canal is None or not canal.any():
        return None
    reach = 2 * round(REPAIR_MM / shell.grid.cell_mm) + 1
    share = ndimage.uniform_filter1d(
        canal.astype(np.float32), reach, axis=2, mode="nearest"
    )
    present = canal.any(axis=(0, 1))
    usual = (share >= 0.5) & present
    whole = canal | usual
    whole |= _before(whole, shell)
    return np.asarray(whole & ~bone & ~shell.inside, np.bool_)


def _outlined(shell: BodyShell, spine: Spine) -> BoolArray | None:
    if spine.canal is None:
        return None
    geometry = spine.labels.geometry
    box = shell.grid.scan_box(geometry)
    if box is None:
        return None
    mask = spine.canal.voxels[box]
    outlined: BoolArray = shell.grid.sample(mask, geometry.crop(box), order=0) > 0
    return outlined


def _hole(shell: BodyShell, spine: Spine, vertebra: Vertebra) -> BoolArray | None:
    """Look along the vertebra's axis through the hole of its arch."""
    geometry = spine.labels.geometry
    box = shell.grid.scan_box(geometry)
    if box is None:
        return None
    level = vertebra.level
    arch = (spine.labels.labels[box] == level.arch_number).astype(np.uint8)
    own = shell.inside | (shell.grid.sample(arch, geometry.crop(box)) >= 0.5)
    heights = shell.grid.axis_mm(2)
    low, high = shell.lower_mm[2], shell.upper_mm[2]
    for lowest in (-np.inf, low, low + 0.4 * (high - low)):
        seen = own[:, :, (heights >= lowest) & (heights <= high)].any(axis=2)
        seen = ndimage.binary_closing(np.pad(seen, 4), iterations=2)[4:-4, 4:-4]
        holes, count = ndimage.label(ndimage.binary_fill_holes(seen) & ~seen)
        sizes = np.bincount(holes.ravel(), minlength=count + 1)[1:]
        if count and sizes.max() * shell.grid.cell_mm**2 >= LEAST_CANAL_MM2:
            hole = holes == 1 + int(np.argmax(sizes))
            near = (heights >= low - BEYOND_MM) & (heights <= high + BEYOND_MM)
            extruded: BoolArray = hole[:, :, None] & near
            return extruded
    return None


LEAST_CANAL_MM2 = 80.0
"""A canal is larger than this: 100 mm2 is severe stenosis (Schizas 2010)."""


def _before(canal: BoolArray, shell: BodyShell) -> BoolArray:
    """Cells between the posterior wall and the canal, over the canal's width."""
    inside = shell.inside
    depth = inside.shape[1]
    order = np.arange(depth)[None, :, None]
    wall = np.where(inside, order, -1).max(axis=1)
    heights = shell.grid.axis_mm(2)
    low, high = shell.lower_mm[2] + OFF_ENDPLATE_MM, shell.upper_mm[2] - OFF_ENDPLATE_MM
    known = np.flatnonzero((heights >= low) & (heights <= high))
    if known.size == 0:
        return np.zeros_like(canal)
    wall = wall[:, np.clip(np.arange(len(heights)), known[0], known[-1])]
    first = np.where(canal.any(axis=1), canal.argmax(axis=1), -1)
    gap = (first - wall) * shell.grid.cell_mm
    fits = (first >= 0) & (wall >= 0) & (gap > 0) & (gap <= EPIDURAL_MM)
    between: BoolArray = (
        fits[:, None, :] & (order > wall[:, None, :]) & (order < first[:, None, :])
    )
    return between
